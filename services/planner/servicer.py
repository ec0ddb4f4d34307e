"""Translate between the wire and the planner's domain; nothing else."""

from __future__ import annotations

from typing import Any

from libs.errors import InvalidRequest
from services.planner.domain import Planner
from tectum.event.v1 import action_pb2
from tectum.observations.types import Screen
from tectum.planner.v1 import planner_pb2, planner_pb2_grpc
from tectum.plugins import PastStep
from tectum.wire import from_wire, to_wire


class PlannerServicer(planner_pb2_grpc.PlannerServiceServicer):
    """The planner's door for direct calls."""

    def __init__(self, planner: Planner) -> None:
        self._planner = planner

    async def ListStrategies(
        self, request: planner_pb2.ListStrategiesRequest, context: Any
    ) -> planner_pb2.ListStrategiesResponse:
        """Every registered strategy, by name."""
        return planner_pb2.ListStrategiesResponse(
            strategies=[
                planner_pb2.StrategyInfo(
                    name=name, summary=plugin.summary, settings_schema=plugin.settings_schema
                )
                for name, plugin in sorted(self._planner.strategies.items())
            ]
        )

    async def Decide(
        self, request: planner_pb2.DecideRequest, context: Any
    ) -> planner_pb2.DecideResponse:
        """The next action for a history that the caller holds."""
        history, screen = _history(request)
        choice = await self._planner.decide(
            request.instruction, request.strategy, request.strategy_settings, history, screen
        )
        return planner_pb2.DecideResponse(
            action=to_wire(choice.action, action_pb2.Action),
            reason=choice.reason,
            exemplar_ids=choice.exemplar_ids,
        )


def _history(request: planner_pb2.DecideRequest) -> tuple[list[PastStep], Screen]:
    try:
        steps = [from_wire(step, PastStep) for step in request.history]
        return steps, from_wire(request.screen, Screen)
    except ValueError as error:
        raise InvalidRequest(
            "HISTORY_MALFORMED",
            f"expected steps with screen and action, and a screen, got: {error}",
        ) from None

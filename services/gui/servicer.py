"""Translate between the wire and the GUI domain; nothing else."""

from __future__ import annotations

from typing import Any

from libs.errors import InvalidRequest
from libs.rpc.call import current_tenant
from services.gui.domain import Environments, OwnScreens
from tectum.actions.types import KIND_NAMES, TERMINAL, Action
from tectum.event.v1 import action_pb2, observation_pb2, outcome_pb2
from tectum.gui.v1 import gui_pb2 as pb
from tectum.gui.v1 import gui_pb2_grpc
from tectum.plugins import EnvironmentProvider
from tectum.protocol.messages import Outcome, Score
from tectum.protocol.types import Epoch
from tectum.wire import from_wire, to_wire


class GuiServicer(gui_pb2_grpc.GuiServiceServicer):
    """Screens for callers who want no session."""

    def __init__(self, environments: Environments, screens: OwnScreens) -> None:
        self._environments = environments
        self._screens = screens

    async def ListEnvironments(
        self, request: pb.ListEnvironmentsRequest, context: Any
    ) -> pb.ListEnvironmentsResponse:
        """What can be opened, and what can be done there."""
        return pb.ListEnvironmentsResponse(
            environments=[_info(provider) for provider in self._environments.providers()]
        )

    async def OpenScreen(
        self, request: pb.OpenScreenRequest, context: Any
    ) -> pb.OpenScreenResponse:
        """Open a screen."""
        opened = await self._screens.open(current_tenant(), request.environment)
        return pb.OpenScreenResponse(
            screen_id=opened.environment_id,
            screen=to_wire(opened.screen, observation_pb2.Screen),
            instruction=opened.instruction,
        )

    async def Observe(self, request: pb.ObserveRequest, context: Any) -> pb.ObserveResponse:
        """Look."""
        screen = await self._screens.observe(current_tenant(), request.screen_id)
        return pb.ObserveResponse(screen=to_wire(screen, observation_pb2.Screen))

    async def Act(self, request: pb.ActRequest, context: Any) -> pb.ActResponse:
        """Act, then look."""
        performed = await self._screens.act(
            current_tenant(), request.screen_id, _action(request.action)
        )
        said = performed.result
        outcome = Outcome(
            session_id="", epoch=Epoch(), step=0, status=said.status, reason=said.reason,
            message=said.message, result=said.result, screen=performed.screen, ended=said.ended,
            acting_ms=performed.acting_ms, settling_ms=said.settling_ms,
            observing_ms=performed.observing_ms, touched=said.touched,
        )  # fmt: skip
        return pb.ActResponse(outcome=to_wire(outcome, outcome_pb2.Outcome))

    async def CloseScreen(
        self, request: pb.CloseScreenRequest, context: Any
    ) -> pb.CloseScreenResponse:
        """Close, and say the score."""
        score = await self._screens.close(current_tenant(), request.screen_id)
        if score is None:
            return pb.CloseScreenResponse()
        said = Score("", 1, score.reward, success=score.success, source="environment")
        return pb.CloseScreenResponse(score=to_wire(said, outcome_pb2.Score))


def _info(provider: EnvironmentProvider) -> pb.EnvironmentInfo:
    return pb.EnvironmentInfo(
        scheme=provider.scheme,
        summary=provider.summary,
        examples=provider.examples,
        actions=sorted(KIND_NAMES[kind] for kind in (*provider.actions, *TERMINAL)),
    )


def _action(message: action_pb2.Action) -> Action:
    try:
        return from_wire(message, Action)
    except ValueError as error:
        raise InvalidRequest("ACTION_MALFORMED", f"expected one kind of action: {error}") from None

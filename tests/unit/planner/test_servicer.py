"""The planner's door for direct calls, without a socket."""

from __future__ import annotations

import json

import pytest

from libs.errors import InvalidRequest
from services.planner.servicer import PlannerServicer
from tectum.actions.types import Action, Click, Point
from tectum.event.v1 import action_pb2, observation_pb2, outcome_pb2
from tectum.planner.v1 import planner_pb2
from tectum.wire import from_wire, to_wire
from tests.unit.planner.worlds import Scripted, Sink, planner, screen


def servicer(mind: Scripted) -> PlannerServicer:
    return PlannerServicer(planner(mind, Sink()))


def wire(number: int) -> observation_pb2.Screen:
    return to_wire(screen(number), observation_pb2.Screen)


async def test_strategies_are_listed_with_their_schema() -> None:
    mind = Scripted()
    mind.settings_schema = '{"type": "object"}'
    response = await servicer(mind).ListStrategies(planner_pb2.ListStrategiesRequest(), None)
    (info,) = response.strategies
    assert (info.name, info.summary) == ("scripted", "for tests")
    assert json.loads(info.settings_schema) == {"type": "object"}


async def test_a_decision_sees_the_callers_history() -> None:
    mind = Scripted()
    clicked = Action(Click(Point.element("b1")))
    request = planner_pb2.DecideRequest(
        instruction="do it",
        strategy="scripted",
        strategy_settings='{"a": 1}',
        history=[
            planner_pb2.Step(
                screen=wire(1),
                action=to_wire(clicked, action_pb2.Action),
                status=outcome_pb2.OUTCOME_STATUS_FAILED,
                reason="DENIED",
            )
        ],
        screen=wire(2),
    )
    response = await servicer(mind).Decide(request, None)
    assert from_wire(response.action, Action) == Action(Click(Point.element("b2")))
    assert (response.reason, list(response.exemplar_ids)) == ("choice 1", ["x1"])
    ((instruction, (past,), seen),) = mind.asked
    assert (instruction, seen) == ("do it", screen(2))
    assert (past.screen, past.action, past.reason) == (screen(1), clicked, "DENIED")
    assert mind.created[0].settings == '{"a": 1}'
    # What is not in a session has no secrets.
    assert mind.created[0].secret_names == ()


@pytest.mark.parametrize(
    "request_",
    [
        planner_pb2.DecideRequest(strategy="scripted"),
        planner_pb2.DecideRequest(
            strategy="scripted", screen=wire(1), history=[planner_pb2.Step(screen=wire(1))]
        ),
    ],
)
async def test_a_history_with_holes_is_refused(request_: planner_pb2.DecideRequest) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await servicer(Scripted()).Decide(request_, None)
    assert caught.value.reason == "HISTORY_MALFORMED"


async def test_an_unknown_strategy_is_refused_with_the_known_ones() -> None:
    request = planner_pb2.DecideRequest(strategy="scriptd", screen=wire(1))
    with pytest.raises(InvalidRequest, match=r"of \['scripted'\], got 'scriptd'") as caught:
        await servicer(Scripted()).Decide(request, None)
    assert caught.value.reason == "STRATEGY_UNKNOWN"

"""Every pair of a plain type and its message survives the round trip."""

from __future__ import annotations

import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tectum.actions.types import Action, Done, Point, TypeText
from tectum.event.v1 import (
    action_pb2,
    common_pb2,
    control_pb2,
    observation_pb2,
    outcome_pb2,
    plan_pb2,
)
from tectum.geometry import Box
from tectum.observations.types import Screen
from tectum.protocol import messages as m
from tectum.protocol.types import Epoch
from tectum.wire import from_wire, to_wire

PAIRS = [
    (Action, action_pb2.Action),
    (Screen, observation_pb2.Screen),
    (m.TurnStarted, observation_pb2.TurnStarted),
    (m.ClientMessageAccepted, observation_pb2.ClientMessageAccepted),
    (m.Plan, plan_pb2.Plan),
    (m.Decision, plan_pb2.Decision),
    (m.ActionIssued, plan_pb2.ActionIssued),
    (m.Started, outcome_pb2.Started),
    (m.Outcome, outcome_pb2.Outcome),
    (m.ExecutorCheckpoint, outcome_pb2.ExecutorCheckpoint),
    (m.Score, outcome_pb2.Score),
    (m.Control, control_pb2.Control),
    (m.SessionState, control_pb2.SessionState),
    (m.TrajectorySealed, control_pb2.TrajectorySealed),
]

FLOATS = st.floats(allow_nan=False, allow_infinity=False)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=8)
COUNTS = st.integers(0, 2**31 - 1)

st.register_type_strategy(float, FLOATS)
st.register_type_strategy(str, TEXTS)
st.register_type_strategy(int, COUNTS)


@pytest.mark.timeout(120)  # A property test, built anew for each pair.
@pytest.mark.parametrize(("plain", "message"), PAIRS, ids=lambda item: item.__name__)
def test_round_trip(plain, message) -> None:
    @given(st.from_type(plain))
    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
    def check(value) -> None:
        data = to_wire(value, message).SerializeToString()
        assert from_wire(message.FromString(data), plain) == value

    check()


@pytest.mark.parametrize(("plain", "message"), PAIRS, ids=lambda item: item.__name__)
def test_neither_side_has_a_field_of_its_own(plain, message) -> None:
    descriptor = message.DESCRIPTOR
    alone = {f.name for f in descriptor.fields if f.containing_oneof is None}
    alone |= {oneof.name for oneof in descriptor.oneofs}
    assert alone == set(plain.__dataclass_fields__)


def test_what_an_older_peer_left_out_is_the_default() -> None:
    message = plan_pb2.Plan(session_id="s", step=3)
    message.action.done.SetInParent()
    message.epoch.term = 1
    message.body.home = "gui/0/1-a"
    message.body.kind = 1  # type: ignore[assignment]
    plan = from_wire(message, m.Plan)
    assert plan.action == Action(Done())
    assert plan.target is None


def test_an_unset_choice_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"tectum\.event\.v1\.Action"):
        from_wire(action_pb2.Action(), Action)


def test_an_unspecified_enum_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"tectum\.event\.v1\.Decision"):
        from_wire(plan_pb2.Decision(session_id="s", epoch={"term": 1}), m.Decision)


def test_an_unknown_enum_of_a_newer_peer_is_refused_by_name() -> None:
    message = to_wire(m.Decision("s", Epoch(1, 0), 1, m.Verdict.ASK), plan_pb2.Decision)
    message.verdict = 99  # type: ignore[assignment]
    with pytest.raises(ValueError, match=r"tectum\.event\.v1\.Decision"):
        from_wire(message, m.Decision)


def test_a_type_without_its_counterpart_is_our_own_mistake() -> None:
    with pytest.raises(TypeError, match="has no field"):
        to_wire(Box(0, 0, 1, 1), common_pb2.Size)


def test_a_text_and_a_reference_are_told_apart() -> None:
    action = Action(TypeText("", Point.screen(1.5, math.pi)))
    assert from_wire(to_wire(action, action_pb2.Action), Action) == action

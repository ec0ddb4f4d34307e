"""The planner's rules, without a log."""

from __future__ import annotations

import asyncio

import pytest

from libs.errors import DeadlineExceeded, DependencyDown, InvalidRequest, PlatformError
from services.planner.ports import TurnRecord
from tectum.actions.types import Action, Click, Done, Fail, Point, WaitUntilStable
from tectum.plugins import PluginError, StrategyContext
from tectum.protocol.messages import Control, ControlKind, OutcomeStatus, Plan, Target
from tectum.protocol.types import Epoch
from tests.unit.planner.worlds import (
    BODY,
    E1,
    E2,
    Scripted,
    Sink,
    Turns,
    outcome,
    planner,
    screen,
    turn,
)


def control(kind: ControlKind, epoch: Epoch = E2, session_id: str = "s1") -> Control:
    return Control(session_id, epoch, kind)


def failed_with(plan: Plan) -> str:
    kind = plan.action.kind
    assert isinstance(kind, Fail)
    return kind.reason


async def test_a_turn_is_planned_step_by_step() -> None:
    mind, sink = Scripted(), Sink()
    it = planner(mind, sink)
    started = turn(
        first_step=5, policy="strict", strategy_settings='{"a": 1}', secret_names=("pin",)
    )
    await it.begin(started)
    await it.go_on(outcome(5, status=OutcomeStatus.FAILED, reason="ELEMENT_GONE"))
    first, second = sink.plans
    assert (first.step, first.epoch, first.body) == (5, E1, BODY)
    assert first.action == Action(Click(Point.element("b5")))
    assert (first.reason, first.exemplar_ids) == ("choice 1", ("x1",))
    assert (first.observation_id, first.strategy, first.policy) == ("o5", "scripted", "strict")
    assert first.target == Target(element_id="b5", role="button", name="OK")
    assert (second.step, second.observation_id) == (6, "o6")
    (context,) = mind.created
    assert (context.settings, context.secret_names) == ('{"a": 1}', ("pin",))
    (_, none, _), (said, (past,), seen) = mind.asked
    assert (none, said, seen) == ((), "do it", screen(6))
    assert (past.screen, past.action) == (screen(5), first.action)
    assert (past.status, past.reason) == (OutcomeStatus.FAILED, "ELEMENT_GONE")


async def test_a_turn_delivered_again_changes_nothing() -> None:
    mind, sink = Scripted(), Sink()
    it = planner(mind, sink)
    await it.begin(turn())
    await it.begin(turn())
    await it.go_on(outcome(1))
    await it.begin(turn())
    assert [plan.step for plan in sink.plans] == [1, 2]
    assert len(mind.asked) == 2


async def test_an_outcome_delivered_again_changes_nothing() -> None:
    mind, sink = Scripted(), Sink()
    it = planner(mind, sink)
    await it.begin(turn())
    for _ in range(2):
        await it.go_on(outcome(1))
    await it.go_on(outcome(7))
    await it.go_on(outcome(2, epoch=Epoch(1, 0)))
    assert [plan.step for plan in sink.plans] == [1, 2]
    assert len(mind.asked) == 2


async def test_a_plan_that_could_not_be_published_is_published_unchanged() -> None:
    mind, sink = Scripted(), Sink()
    it = planner(mind, sink)
    sink.errors = [DependencyDown("LOG_DOWN", "no answer")]
    with pytest.raises(DependencyDown):
        await it.begin(turn())
    await it.begin(turn())
    assert [plan.reason for plan in sink.plans] == ["choice 1"]
    assert len(mind.asked) == 1


async def test_the_next_plan_that_could_not_be_published_comes_after_a_retry() -> None:
    mind, sink = Scripted(), Sink()
    it = planner(mind, sink)
    await it.begin(turn())
    sink.errors = [DependencyDown("LOG_DOWN", "no answer")]
    with pytest.raises(DependencyDown):
        await it.go_on(outcome(1))
    await it.go_on(outcome(1))
    assert [plan.step for plan in sink.plans] == [1, 2]
    assert len(mind.asked) == 2


async def test_turns_of_an_old_epoch_are_dropped() -> None:
    mind, sink = Scripted(), Sink()
    it = planner(mind, sink)
    it.control(control(ControlKind.EPOCH_RAISED))
    await it.begin(turn())
    assert sink.plans == []
    await it.begin(turn(epoch=E2, first_step=9))
    await it.begin(turn())
    assert [(plan.epoch, plan.step) for plan in sink.plans] == [(E2, 9)]
    assert len(mind.asked) == 1


async def test_outcomes_of_an_old_epoch_plan_nothing() -> None:
    mind, sink = Scripted(), Sink()
    it = planner(mind, sink)
    await it.begin(turn())
    it.control(control(ControlKind.EPOCH_RAISED))
    await it.go_on(outcome(1))
    assert len(sink.plans) == 1


async def test_a_closed_session_is_forgotten_and_planned_no_more() -> None:
    mind, sink = Scripted(), Sink()
    turns = Turns(TurnRecord(turn()))
    it = planner(mind, sink, turns)
    await it.begin(turn())
    it.control(control(ControlKind.CLOSED))
    await it.go_on(outcome(1))
    await it.begin(turn())
    assert len(sink.plans) == 1


async def test_an_end_that_is_read_late_does_not_stop_the_next_turn() -> None:
    mind, sink = Scripted(), Sink()
    it = planner(mind, sink)
    await it.begin(turn(epoch=E2))
    it.control(control(ControlKind.TURN_ENDED, E1))
    await it.go_on(outcome(1, epoch=E2))
    assert [plan.step for plan in sink.plans] == [1, 2]


@pytest.mark.parametrize(
    "fields",
    [
        {"ended": True},
        {"status": OutcomeStatus.UNKNOWN, "reason": "ENVIRONMENT_LOST", "screen": None},
        {"status": OutcomeStatus.FAILED, "reason": "BROWSER_GONE", "screen": None},
    ],
)
async def test_a_turn_ends_with_its_outcome(fields: dict[str, object]) -> None:
    mind, sink = Scripted(), Sink()
    it = planner(mind, sink)
    await it.begin(turn())
    await it.go_on(outcome(1, **fields))
    await it.go_on(outcome(2))
    assert len(sink.plans) == 1


async def test_an_unknown_outcome_without_a_screen_is_looked_at_again() -> None:
    mind, sink = Scripted(), Sink()
    it = planner(mind, sink)
    await it.begin(turn())
    unknown = outcome(1, status=OutcomeStatus.UNKNOWN, reason="EXECUTOR_LOST", screen=None)
    await it.go_on(unknown)
    assert sink.plans[1].action == Action(WaitUntilStable())
    assert len(mind.asked) == 1
    await it.go_on(outcome(2))
    _, history, seen = mind.asked[1]
    assert [past.status for past in history] == [OutcomeStatus.UNKNOWN, OutcomeStatus.OK]
    assert [past.action.name for past in history] == ["click", "wait_until_stable"]
    assert seen == screen(3)


@pytest.mark.parametrize(("own", "limit"), [(2, 100), (0, 2)])
async def test_the_limit_of_steps_is_kept(own: int, limit: int) -> None:
    mind, sink = Scripted(), Sink()
    it = planner(mind, sink, steps_max=limit)
    await it.begin(turn(max_steps=own))
    await it.go_on(outcome(1))
    await it.go_on(outcome(2))
    assert "STEP_LIMIT: the limit of 2 steps" in failed_with(sink.plans[2])
    assert len(mind.asked) == 2


def raises(error: Exception) -> Scripted:
    def act(*_: object) -> Done:
        raise error

    return Scripted(act)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (PluginError("MODEL_DOWN", "no answer"), "MODEL_DOWN: no answer"),
        (DependencyDown("MEMORY_DOWN", "no answer"), "MEMORY_DOWN: no answer"),
        (RuntimeError("holds user content"), "STRATEGY_BROKEN: expected a decision"),
    ],
)
async def test_what_a_strategy_raises_becomes_fail(error: Exception, said: str) -> None:
    sink = Sink()
    await planner(raises(error), sink).begin(turn())
    (plan,) = sink.plans
    assert failed_with(plan).startswith(said)
    assert "user content" not in failed_with(plan)
    assert plan.reason == failed_with(plan)


async def test_a_strategy_that_cannot_be_made_fails_the_turn() -> None:
    class Broken(Scripted):
        def create(self, context: StrategyContext) -> Scripted:
            raise KeyError("x")

    for wanted, said in (("scripted", "STRATEGY_BROKEN"), ("other", "STRATEGY_UNKNOWN")):
        sink = Sink()
        await planner(Broken(), sink).begin(turn(strategy=wanted))
        assert failed_with(sink.plans[0]).startswith(said)


async def test_a_strategy_that_was_left_out_is_said_to_be() -> None:
    sink = Sink()
    await planner(Scripted(), sink, left_out=("model",)).begin(turn(strategy="model"))
    said = failed_with(sink.plans[0])
    assert said.startswith("STRATEGY_UNKNOWN: expected a strategy of ['scripted'], got 'model'")
    assert "left out because it is broken" in said


async def test_a_strategy_that_thinks_too_long_fails_the_turn() -> None:
    mind, sink = Scripted(), Sink()
    mind.wait = asyncio.Event()
    await planner(mind, sink, thinking_s=0.01).begin(turn())
    assert failed_with(sink.plans[0]).startswith("STRATEGY_TIMEOUT")


@pytest.mark.parametrize("kind", [ControlKind.EPOCH_RAISED, ControlKind.CLOSED])
async def test_thinking_is_broken_off_by_a_higher_epoch(kind: ControlKind) -> None:
    mind, sink = Scripted(), Sink()
    mind.wait = asyncio.Event()
    it = planner(mind, sink)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(it.begin(turn()))
        await mind.thinking.wait()
        it.control(control(kind))
    assert sink.plans == []


async def test_thinking_may_be_broken_off_twice_while_it_lets_go() -> None:
    mind, sink = Scripted(), Sink()
    mind.wait, letting_go, gone = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def leave() -> None:
        letting_go.set()
        await gone.wait()

    mind.leave = leave
    it = planner(mind, sink)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(it.begin(turn()))
        await mind.thinking.wait()
        it.control(control(ControlKind.EPOCH_RAISED))
        await letting_go.wait()
        it.control(control(ControlKind.EPOCH_RAISED, Epoch(2, 1)))
        it.control(control(ControlKind.CLOSED, Epoch(2, 2)))
        gone.set()
    assert sink.plans == []


async def test_a_decision_that_comes_with_the_interrupt_is_not_published() -> None:
    mind, sink = Scripted(), Sink()
    it = planner(mind, sink)

    def act(*_: object) -> Done:
        it.control(control(ControlKind.EPOCH_RAISED))
        return Done()

    mind.act = act
    await it.begin(turn())
    assert len(mind.asked) == 1
    assert sink.plans == []


async def _recorded(steps: int) -> TurnRecord:
    """A turn as an earlier process left it in the log: so many plans, each with its outcome."""
    sink = Sink()
    it = planner(Scripted(), sink)
    await it.begin(turn())
    outcomes = [outcome(step) for step in range(1, steps)]
    for one in outcomes:
        await it.go_on(one)
    return TurnRecord(turn(), tuple(sink.plans), tuple(outcomes))


async def test_a_turn_is_rebuilt_from_the_log() -> None:
    mind, sink = Scripted(), Sink()
    turns = Turns(await _recorded(3))
    it = planner(mind, sink, turns)
    await it.go_on(outcome(3))
    await it.go_on(outcome(4))
    assert [plan.step for plan in sink.plans] == [4, 5]
    assert turns.reads == 1
    history, seen = mind.asked[0][1:]
    assert [past.screen.observation_id for past in history] == ["o1", "o2", "o3"]
    assert seen == screen(4)


async def test_a_plan_that_is_in_the_log_stands_after_a_restart() -> None:
    record = await _recorded(3)
    mind, sink = Scripted(lambda *_: Done()), Sink()
    it = planner(mind, sink, Turns(record))
    # What was handled but not committed before the restart comes again.
    await it.begin(turn())
    await it.go_on(outcome(1))
    await it.go_on(outcome(2))
    assert (sink.plans, mind.asked) == ([], [])
    await it.go_on(outcome(3))
    assert [(plan.step, plan.action) for plan in sink.plans] == [(4, Action(Done()))]
    assert [past.action for past in mind.asked[0][1]] == [plan.action for plan in record.plans]


async def test_an_outcome_that_comes_again_after_a_restart_plans_nothing_anew() -> None:
    mind, sink = Scripted(lambda *_: Done()), Sink()
    it = planner(mind, sink, Turns(await _recorded(3)))
    await it.go_on(outcome(2))
    assert (sink.plans, mind.asked) == ([], [])
    await it.go_on(outcome(3))
    assert [plan.step for plan in sink.plans] == [4]


async def test_of_two_plans_for_a_step_the_first_was_acted_on() -> None:
    record = await _recorded(2)
    (other,) = (await _recorded(1)).plans
    mind, sink = Scripted(), Sink()
    doubled = TurnRecord(record.started, (*record.plans, other), record.outcomes)
    await planner(mind, sink, Turns(doubled)).go_on(outcome(2))
    assert mind.asked[0][1][0].action is record.plans[0].action


async def test_nothing_is_planned_for_a_session_that_the_log_does_not_know() -> None:
    mind, sink = Scripted(), Sink()
    await planner(mind, sink).go_on(outcome(1))
    assert (sink.plans, mind.asked) == ([], [])


async def test_a_turn_that_made_room_is_read_back() -> None:
    mind, sink = Scripted(), Sink()
    turns = Turns()
    it = planner(mind, sink, turns, turns_max=1)
    await it.begin(turn())
    await it.begin(turn(session_id="s2"))
    turns.record = TurnRecord(turn(), (sink.plans[0],))
    await it.go_on(outcome(1))
    assert [(plan.session_id, plan.step) for plan in sink.plans] == [
        ("s1", 1),
        ("s2", 1),
        ("s1", 2),
    ]


async def test_a_direct_decision_is_the_strategys() -> None:
    mind = Scripted()
    choice = await planner(mind, Sink()).decide("x", "scripted", "{}", (), screen(1))
    assert choice.action == Action(Click(Point.element("b1")))


@pytest.mark.parametrize(
    ("error", "wanted"),
    [
        (PluginError("MODEL_DOWN", "no"), DependencyDown),
        (PluginError("MODEL_URL_FORBIDDEN", "no"), InvalidRequest),
    ],
)
async def test_direct_failures_say_what_the_caller_can_do(
    error: PluginError, wanted: type[PlatformError]
) -> None:
    with pytest.raises(wanted) as caught:
        await planner(raises(error), Sink()).decide("x", "scripted", "", (), screen(1))
    assert caught.value.reason == error.reason


async def test_a_direct_decision_has_an_end() -> None:
    mind = Scripted()
    mind.wait = asyncio.Event()
    with pytest.raises(DeadlineExceeded):
        await planner(mind, Sink(), thinking_s=0.01).decide("x", "scripted", "", (), screen(1))

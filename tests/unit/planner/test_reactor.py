"""The planner's reactor over the log in memory, run by the real consumer runtime."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from libs.clock import SystemClock
from libs.errors import DependencyDown
from libs.events.consumer import StopConsuming
from libs.events.memory import MemoryEventLog
from libs.events.messages import TYPE_PREFIX, decode, encode
from libs.events.port import Event, Position, Producer, Record
from libs.events.settings import LaneSettings
from libs.events.topics import CONTROL, OBSERVATIONS, OUTCOMES, PLANS, topic_specs
from services.planner import reactor as module
from services.planner.domain import Planner
from services.planner.ports import PlannerLimits
from services.planner.reactor import LogPlans, LogTurns, PlannerReactor
from tectum.actions.types import Done
from tectum.protocol.messages import (
    ClientMessageAccepted,
    Control,
    ControlKind,
    OutcomeStatus,
    Plan,
    Score,
    Started,
)
from tests.unit.planner.worlds import BODY, E1, E2, Scripted, outcome, screen, turn

CLOCK = SystemClock()
QUICK = LaneSettings(backoff_s=0.001, backoff_max_s=0.002, commit_interval_s=0.001)


class World:
    """A log, and the other parties as far as the planner sees them."""

    def __init__(self, log: MemoryEventLog, producer: Producer) -> None:
        self.log = log
        self.producer = producer
        self.sent = 0

    async def send(self, topic: str, message: Any, **event: Any) -> None:
        self.sent += 1
        encoded = encode(
            message, event_id=f"t-{self.sent}", subject=message.session_id, at=CLOCK.now()
        )
        await self.producer.publish(topic, replace(encoded, **event))

    async def records(self, topic: str) -> list[Record]:
        found = []
        for partition in range(await self.log.partitions(topic)):
            found += [record async for record in self.log.read(topic, partition)]
        return found

    async def plans(self, count: int, session_id: str = "s1") -> list[Plan]:
        """The session's plans, once there are so many."""
        async with asyncio.timeout(10):
            while True:
                found = [decode(record.event) for record in await self.records(PLANS)]
                found = [plan for plan in found if plan.session_id == session_id]
                if len(found) >= count:
                    return found
                await asyncio.sleep(0.001)

    async def settled(self) -> None:
        """Return once the planner has committed everything that was sent to it."""
        groups = {"planner": (OBSERVATIONS, OUTCOMES), "planner-control/0": (CONTROL,)}
        places = [
            (group, topic, partition)
            for group, topics in groups.items()
            for topic in topics
            for partition in range(await self.log.partitions(topic))
        ]
        async with asyncio.timeout(10):
            for group, topic, partition in places:
                end = await self.log.end_offset(topic, partition)
                while (await self.log.committed(group, topic, partition) or 0) < end:  # noqa: ASYNC110
                    await asyncio.sleep(0.001)

    async def reactor(self, mind: Scripted, producer: Producer | None = None) -> PlannerReactor:
        own = producer or await self.log.producer("planner/0")
        planner = Planner(
            {mind.name: mind},
            None,
            LogPlans(own, CLOCK),
            LogTurns(self.log),
            None,
            CLOCK,
            PlannerLimits(),
        )
        return PlannerReactor(self.log, planner, CLOCK)

    @asynccontextmanager
    async def planning(
        self, mind: Scripted, producer: Producer | None = None
    ) -> AsyncIterator[None]:
        reactor = await self.reactor(mind, producer)
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(reactor.run(QUICK))
            try:
                yield
            finally:
                task.cancel()


@pytest.fixture
async def world() -> AsyncIterator[World]:
    log = MemoryEventLog(CLOCK)
    await log.ensure_topics(topic_specs(4))
    yield World(log, await log.producer("test"))
    await log.aclose()


async def test_outcomes_lead_to_plans(world: World) -> None:
    mind = Scripted()
    async with world.planning(mind):
        await world.send(OBSERVATIONS, turn())
        await world.plans(1)
        await world.send(OUTCOMES, outcome(1))
        first, second = await world.plans(2)
    assert (first.step, second.step) == (1, 2)
    assert second.body == BODY
    ids = [record.event.id for record in await world.records(PLANS)]
    assert ids == ["s1/1.1/1/plan", "s1/1.1/2/plan"]
    assert {record.key for record in await world.records(PLANS)} == {"s1"}


async def test_events_that_come_again_change_nothing(world: World) -> None:
    mind = Scripted()
    async with world.planning(mind):
        for _ in range(2):
            await world.send(OBSERVATIONS, turn())
        await world.plans(1)
        for _ in range(2):
            await world.send(OUTCOMES, outcome(1))
        await world.plans(2)
        await world.settled()
        assert [plan.step for plan in await world.plans(2)] == [1, 2]
    assert len(mind.asked) == 2


async def test_a_planner_that_is_started_anew_goes_on_from_the_log(world: World) -> None:
    async with world.planning(Scripted()):
        await world.send(OBSERVATIONS, turn())
        await world.plans(1)
        await world.send(OUTCOMES, outcome(1))
        await world.plans(2)
        await world.settled()
    mind = Scripted(lambda *_: Done())
    async with world.planning(mind):
        await world.send(OUTCOMES, outcome(2, status=OutcomeStatus.FAILED, reason="DENIED"))
        plans = await world.plans(3)
    assert [plan.step for plan in plans] == [1, 2, 3]
    ((_, history, seen),) = mind.asked
    assert [past.action for past in history] == [plan.action for plan in plans[:2]]
    assert [past.reason for past in history] == ["", "DENIED"]
    assert [past.screen for past in history] == [screen(1), screen(2)]
    assert seen == screen(3)


async def test_what_was_not_committed_comes_again_and_is_not_thought_again(world: World) -> None:
    first = Scripted()
    handler = await world.reactor(first)
    await world.send(OBSERVATIONS, turn())
    (begun,) = await world.records(OBSERVATIONS)
    await handler.handle(begun)
    # Killed before its commit: the next one is handed the same record.
    mind = Scripted(lambda *_: Done())
    async with world.planning(mind):
        await world.settled()
        await world.send(OUTCOMES, outcome(1))
        plans = await world.plans(2)
    assert [(plan.step, plan.action.name) for plan in plans] == [(1, "click"), (2, "done")]
    assert len(mind.asked) == 1


async def test_an_interrupt_breaks_off_thinking_at_once(world: World) -> None:
    mind = Scripted()
    mind.wait = asyncio.Event()
    async with world.planning(mind):
        await world.send(OBSERVATIONS, turn())
        await mind.thinking.wait()
        # Nobody lets the first thought go on: without control the lane would be held for ever.
        await world.send(CONTROL, Control("s1", E2, ControlKind.EPOCH_RAISED))
        await world.settled()
        mind.wait = None
        await world.send(OBSERVATIONS, turn(epoch=E2, first_step=9))
        (plan,) = await world.plans(1)
    assert (plan.epoch, plan.step) == (E2, 9)


async def test_thinking_of_one_session_holds_up_no_other(world: World) -> None:
    mind = Scripted()
    mind.wait = held = asyncio.Event()
    async with world.planning(mind):
        await world.send(OBSERVATIONS, turn())
        await mind.thinking.wait()
        mind.wait = None
        await world.send(OBSERVATIONS, turn(session_id="s2"))
        await world.plans(1, "s2")
        assert await world.plans(0) == []
        held.set()
        await world.plans(1)


async def test_old_epochs_are_dropped(world: World) -> None:
    mind = Scripted()
    async with world.planning(mind):
        await world.send(CONTROL, Control("s1", E2, ControlKind.EPOCH_RAISED))
        await world.settled()
        await world.send(OBSERVATIONS, turn())
        await world.send(OUTCOMES, outcome(1))
        await world.settled()
    assert await world.plans(0) == []
    assert mind.asked == []


async def test_a_verdict_is_never_decoded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[str] = []

    def watched(event: Event, **options: Any) -> Any:
        decoded.append(event.type.removeprefix(TYPE_PREFIX))
        return decode(event, **options)

    monkeypatch.setattr(module, "decode", watched)
    score = Score("s1", 1, 1.0, success=True, source="page")
    mind = Scripted()
    async with world.planning(mind):
        await world.send(OBSERVATIONS, turn())
        await world.plans(1)
        await world.send(OUTCOMES, score)
        # One that could not be decoded at all would end among the dead letters.
        await world.send(OUTCOMES, score, data=b"\xff\xff")
        await world.send(OUTCOMES, Started("s1", E1, 1, "home", 1))
        await world.send(OBSERVATIONS, ClientMessageAccepted("s1", "c", 1, "instruction"))
        await world.send(OUTCOMES, outcome(1))
        await world.plans(2)
        await world.settled()
    # Rebuilding passes over it too.
    rebuilt = await LogTurns(world.log).last_turn("s1")
    assert rebuilt is not None
    assert [one.step for one in rebuilt.outcomes] == [1]
    assert set(decoded) == {"TurnStarted", "Outcome", "Plan"}
    assert await world.records(f"{OUTCOMES}.dlq") == []
    assert "Score" not in str(mind.asked)


async def test_a_fenced_planner_stops(world: World) -> None:
    reactor = await world.reactor(Scripted(), await world.log.producer("planner/0"))
    await world.log.producer("planner/0")
    await world.send(OBSERVATIONS, turn())
    with pytest.raises(StopConsuming, match="another planner has the name"):
        await reactor.run(QUICK)
    assert await world.plans(0) == []


class Flaky:
    """A producer whose log is down for a while."""

    def __init__(self, inner: Producer, failures: int) -> None:
        self.inner = inner
        self.failures = failures

    async def publish(self, topic: str, event: Event, **options: Any) -> Position:
        if self.failures:
            self.failures -= 1
            raise DependencyDown("LOG_DOWN", "no answer")
        return await self.inner.publish(topic, event, **options)


async def test_a_log_that_is_down_for_a_while_costs_no_plan(world: World) -> None:
    mind = Scripted()
    flaky = Flaky(await world.log.producer("planner/0"), 2)
    async with world.planning(mind, flaky):
        await world.send(OBSERVATIONS, turn())
        await world.plans(1)
        flaky.failures = 2
        await world.send(OUTCOMES, outcome(1))
        plans = await world.plans(2)
    assert [plan.reason for plan in plans] == ["choice 1", "choice 2"]


async def test_a_malformed_event_is_given_up_and_the_rest_goes_on(world: World) -> None:
    async with world.planning(Scripted()):
        await world.send(OBSERVATIONS, turn(), data=b"\xff\xff")
        await world.send(OBSERVATIONS, turn())
        await world.plans(1)
    assert len(await world.records(f"{OBSERVATIONS}.dlq")) == 1

"""The guard's reactor over the log in memory, run by the real consumer runtime."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from libs.clock import SystemClock
from libs.errors import DependencyDown
from libs.events.consumer import StopConsuming
from libs.events.memory import MemoryEventLog
from libs.events.messages import TYPE_PREFIX, decode, encode
from libs.events.port import Event, Position, Producer, Record
from libs.events.settings import LaneSettings
from libs.events.topics import (
    ACTIONS_GUI,
    CONTROL,
    DECISIONS,
    OBSERVATIONS,
    OUTCOMES,
    PLANS,
    topic_specs,
)
from services.guard.domain import Desk, Guard
from services.guard.policy_files import load_policies
from services.guard.reactor import GuardReactor
from tectum.actions.types import ActionKind, Click, Point, UploadFiles
from tectum.event.v1 import plan_pb2
from tectum.protocol.messages import (
    ActionIssued,
    ClientMessageAccepted,
    Control,
    ControlKind,
    Decision,
    Outcome,
    OutcomeStatus,
    Plan,
    Verdict,
)
from tectum.protocol.types import BlobRef, Epoch
from tests.unit.guard.plans import BODY, FIRST, plan

CLOCK = SystemClock()
QUICK = LaneSettings(backoff_s=0.001, backoff_max_s=0.002, commit_interval_s=0.001)
GUARD = Guard(load_policies(None), "default")
E1, E2 = Epoch(1, 1), Epoch(1, 2)
UPLOAD = UploadFiles(Point.element("e1"), (BlobRef("0" * 64, 3, "text/plain"),), ("a.txt",))


class World:
    """A log, and the other parties as far as the guard sees them."""

    def __init__(self, log: MemoryEventLog, producer: Producer) -> None:
        self.log = log
        self.producer = producer
        self.guard = GUARD
        self.sent = 0

    async def send(self, topic: str, message: Any, **event: Any) -> None:
        self.sent += 1
        encoded = encode(
            message, event_id=f"t-{self.sent}", subject=message.session_id, at=CLOCK.now()
        )
        await self.producer.publish(topic, replace(encoded, **event))

    async def plan(self, kind: ActionKind | None = None, **fields: Any) -> Plan:
        proposed = plan(kind, **fields)
        await self.send(PLANS, proposed)
        return proposed

    async def approve(self, step: int, *, approved: bool = True, session_id: str = "s1") -> None:
        await self.send(
            OBSERVATIONS,
            ClientMessageAccepted(
                session_id, "c", self.sent, "approval", step=step, approved=approved
            ),
        )

    async def control(self, kind: ControlKind, epoch: Epoch) -> None:
        await self.send(CONTROL, Control("s1", epoch, kind))

    async def records(self, topic: str) -> list[Record]:
        found = []
        for partition in range(await self.log.partitions(topic)):
            found += [record async for record in self.log.read(topic, partition)]
        return found

    async def messages(self, topic: str) -> list[Any]:
        return [decode(record.event) for record in await self.records(topic)]

    async def ids(self, topic: str) -> list[str]:
        return [record.event.id for record in await self.records(topic)]

    @asynccontextmanager
    async def guarding(
        self, sessions_max: int = 100, producer: Producer | None = None
    ) -> AsyncIterator[GuardReactor]:
        own = producer or await self.log.producer("guard/0")
        reactor = GuardReactor(self.log, own, self.guard, Desk(sessions_max), CLOCK)
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(reactor.run(QUICK))
            try:
                yield reactor
            finally:
                task.cancel()

    async def until(self, topic: str, count: int) -> list[Any]:
        async with asyncio.timeout(10):
            while len(found := await self.messages(topic)) < count:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        return found

    async def settled(self) -> None:
        """Return once the guard has committed everything that was sent to it."""
        async with asyncio.timeout(10):
            for topic in (PLANS, OBSERVATIONS, CONTROL):
                for partition in range(await self.log.partitions(topic)):
                    end = await self.log.end_offset(topic, partition)
                    while await self.log.committed("guard", topic, partition) < end:  # noqa: ASYNC110
                        await asyncio.sleep(0.001)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    log = MemoryEventLog(CLOCK)
    await log.ensure_topics(topic_specs(4))
    yield World(log, await log.producer("test"))
    await log.aclose()


def short(decisions: list[Decision]) -> list[tuple[int, str, str]]:
    return [(d.step, d.verdict.value, d.rule_id) for d in decisions]


async def test_an_allowed_plan_is_issued_to_the_partition_of_its_body(world: World) -> None:
    async with world.guarding():
        proposed = await world.plan()
        (issued,) = await world.until(ACTIONS_GUI, 1)
        (decision,) = await world.until(DECISIONS, 1)
    assert issued == ActionIssued(proposed, decision)
    assert decision.verdict is Verdict.ALLOW
    (record,) = await world.records(ACTIONS_GUI)
    assert (record.partition, record.key) == (BODY.partition, "s1")
    assert record.event.id == "s1/1.0/1/action"
    assert await world.ids(DECISIONS) == ["s1/1.0/1/decision"]
    assert await world.messages(OUTCOMES) == []


async def test_a_denied_plan_has_a_decision_and_an_outcome(world: World) -> None:
    async with world.guarding():
        await world.plan(url="https://example.org/")
        (outcome,) = await world.until(OUTCOMES, 1)
        (decision,) = await world.until(DECISIONS, 1)
    assert (outcome.status, outcome.reason) == (OutcomeStatus.FAILED, "DENIED")
    assert (outcome.step, outcome.epoch, outcome.home) == (1, FIRST, BODY.home)
    assert "https://example.org" in outcome.message
    assert decision.verdict is Verdict.DENY
    assert await world.messages(ACTIONS_GUI) == []


@pytest.mark.parametrize("approved", [True, False])
async def test_an_ask_waits_for_the_caller_and_holds_nobody_up(
    world: World, *, approved: bool
) -> None:
    async with world.guarding():
        await world.plan(UPLOAD)
        (asked,) = await world.until(DECISIONS, 1)
        assert (asked.verdict, bool(asked.question)) == (Verdict.ASK, True)
        await world.plan(session_id="s2")
        assert [a.plan.session_id for a in await world.until(ACTIONS_GUI, 1)] == ["s2"]
        await world.settled()
        await world.approve(1, approved=approved)
        decisions = [d for d in await world.until(DECISIONS, 3) if d.session_id == "s1"]
    assert short(decisions)[1] == (1, "allow" if approved else "deny", "caller")
    issued = [a for a in await world.messages(ACTIONS_GUI) if a.plan.session_id == "s1"]
    refused: list[Outcome] = await world.messages(OUTCOMES)
    assert len(issued) == int(approved)
    assert [o.reason for o in refused] == ([] if approved else ["DENIED"])
    if approved:
        assert issued[0].decision == decisions[1]


async def test_an_approval_after_a_restart_finds_its_question_in_the_log(world: World) -> None:
    async with world.guarding():
        await world.plan(UPLOAD, step=7)
        await world.until(DECISIONS, 1)
        await world.settled()
    async with world.guarding():
        await world.approve(7)
        (issued,) = await world.until(ACTIONS_GUI, 1)
        await world.until(DECISIONS, 2)
    assert issued.plan.step == 7


async def test_an_approval_of_a_question_that_memory_dropped_is_found_too(world: World) -> None:
    async with world.guarding(sessions_max=1):
        await world.plan(UPLOAD)
        await world.until(DECISIONS, 1)
        await world.plan(UPLOAD, session_id="s2")
        await world.until(DECISIONS, 2)
        await world.approve(1)
        (issued,) = await world.until(ACTIONS_GUI, 1)
    assert issued.plan.session_id == "s1"


async def test_a_second_approval_and_one_of_another_step_change_nothing(world: World) -> None:
    async with world.guarding() as reactor:
        await world.approve(1)
        await world.settled()
        await world.plan(UPLOAD)
        await world.until(DECISIONS, 1)
        await world.approve(2)
        await world.settled()
        assert await world.messages(ACTIONS_GUI) == []
        await world.approve(1)
        await world.until(ACTIONS_GUI, 1)
        await world.approve(1, approved=False)
        await world.settled()
        assert reactor.counts.unmatched_approvals == 3
    assert len(await world.messages(ACTIONS_GUI)) == 1
    assert await world.messages(OUTCOMES) == []


async def test_a_question_is_not_asked_again_once_it_was_answered(world: World) -> None:
    async with world.guarding():
        await world.plan(UPLOAD)
        await world.until(DECISIONS, 1)
        await world.approve(1)
        await world.until(DECISIONS, 2)
    async with world.guarding() as reactor:
        await world.plan(UPLOAD)
        await world.settled()
        assert reactor.counts.repeated_asks == 1
    assert len(await world.messages(DECISIONS)) == 2


async def test_plans_of_an_old_epoch_are_dropped_and_counted(world: World) -> None:
    async with world.guarding() as reactor:
        await world.control(ControlKind.EPOCH_RAISED, E1)
        await world.settled()
        await world.plan(epoch=FIRST)
        await world.plan(epoch=E1, step=2)
        (issued,) = await world.until(ACTIONS_GUI, 1)
        await world.settled()
        assert reactor.counts.stale == 1
    assert issued.plan.epoch == E1
    assert short(await world.messages(DECISIONS)) == [(2, "allow", "interact-with-local-pages")]


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize(
    ("kind", "epoch", "reason"),
    [
        (ControlKind.EPOCH_RAISED, E1, "EPOCH_RAISED"),
        (ControlKind.CLOSED, FIRST, "SESSION_CLOSED"),
    ],
)
async def test_a_higher_epoch_or_the_end_settles_a_question_without_outcome(
    world: World, kind: ControlKind, epoch: Epoch, reason: str, *, restart: bool
) -> None:
    async with world.guarding():
        await world.plan(UPLOAD)
        await world.until(DECISIONS, 1)
        await world.settled()
        if not restart:
            await world.control(kind, epoch)
            await world.until(DECISIONS, 2)
    if restart:
        async with world.guarding():
            await world.control(kind, epoch)
            await world.until(DECISIONS, 2)
    async with world.guarding() as reactor:
        await world.approve(1)
        await world.settled()
        assert reactor.counts.unmatched_approvals == 1
    last = (await world.messages(DECISIONS))[1]
    assert (last.verdict, last.reason, last.epoch) == (Verdict.DENY, reason, FIRST)
    assert await world.messages(OUTCOMES) == await world.messages(ACTIONS_GUI) == []


async def test_a_plan_of_a_higher_epoch_also_settles_the_question(world: World) -> None:
    async with world.guarding():
        await world.plan(UPLOAD)
        await world.until(DECISIONS, 1)
        await world.plan(epoch=E2, step=5)
        decisions = await world.until(DECISIONS, 3)
    assert sorted(short(decisions)[1:]) == [
        (1, "deny", "epoch"),
        (5, "allow", "interact-with-local-pages"),
    ]


async def test_a_plan_after_its_deadline_is_refused(world: World) -> None:
    async with world.guarding():
        late = CLOCK.now() - timedelta(seconds=1)
        await world.send(PLANS, plan(), deadline_at=late)
        await world.until(OUTCOMES, 1)
        soon = CLOCK.now() + timedelta(hours=1)
        await world.send(PLANS, plan(step=2), deadline_at=soon)
        await world.until(ACTIONS_GUI, 1)
    assert short(await world.messages(DECISIONS))[0] == (1, "deny", "deadline")
    (record,) = await world.records(ACTIONS_GUI)
    assert record.event.deadline_at == soon


async def test_a_plan_that_nobody_can_read_ends_its_step(world: World) -> None:
    async with world.guarding():
        broken = plan_pb2.Plan(session_id="s1", step=4)
        broken.epoch.term = 1
        await world.producer.publish(
            PLANS,
            Event("x", TYPE_PREFIX + "Plan", "s1", broken.SerializeToString(), CLOCK.now()),
        )
        (outcome,) = await world.until(OUTCOMES, 1)
        await world.plan(step=5)
        await world.until(ACTIONS_GUI, 1)
    assert (outcome.step, outcome.reason) == (4, "GUARD_FAILED")
    assert len(await world.records(PLANS + ".dlq")) == 1


async def test_an_action_for_a_partition_that_is_not_there_ends_its_step(world: World) -> None:
    async with world.guarding():
        lost = replace(plan(), body=replace(BODY, partition=99))
        await world.send(PLANS, lost)
        (outcome,) = await world.until(OUTCOMES, 1)
    assert (outcome.step, outcome.reason) == (1, "GUARD_FAILED")


class Stuttering:
    """A producer that fails at chosen publishes, before or after the append."""

    def __init__(self, inner: Producer, fails: Callable[[str, int], str]) -> None:
        self._inner = inner
        self._fails = fails
        self._calls = 0

    @property
    def name(self) -> str:
        return self._inner.name

    @property
    def incarnation(self) -> int:
        return self._inner.incarnation

    async def publish(self, topic: str, event: Event, *, partition: int | None = None) -> Position:
        self._calls += 1
        when = self._fails(topic, self._calls)
        if when == "before":
            raise DependencyDown("LOG_DOWN", "no answer")
        position = await self._inner.publish(topic, event, partition=partition)
        if when == "after":
            raise DependencyDown("LOG_DOWN", "the answer was lost")
        return position

    async def prove(self) -> None:
        await self._inner.prove()


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("topic", [ACTIONS_GUI, DECISIONS])
async def test_a_publish_that_fails_is_repeated_under_the_same_ids(
    world: World, topic: str, when: str
) -> None:
    failed = [True]

    def fails(where: str, _: int) -> str:
        return when if where == topic and failed and failed.pop() else ""

    async with world.guarding(producer=Stuttering(await world.log.producer("guard/0"), fails)):
        await world.plan(Click(Point.element("e1")))
        await world.settled()
    assert set(await world.ids(ACTIONS_GUI)) == {"s1/1.0/1/action"}
    assert set(await world.ids(DECISIONS)) == {"s1/1.0/1/decision"}
    assert await world.records(PLANS + ".dlq") == []


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("topic", [ACTIONS_GUI, DECISIONS])
async def test_an_approval_survives_a_publish_that_fails(
    world: World, topic: str, when: str
) -> None:
    async with world.guarding():
        await world.plan(UPLOAD)
        await world.until(DECISIONS, 1)
        await world.settled()
    failed = [True]

    def fails(where: str, _: int) -> str:
        return when if where == topic and failed and failed.pop() else ""

    async with world.guarding(producer=Stuttering(await world.log.producer("guard/0"), fails)):
        await world.approve(1)
        await world.settled()
    assert set(await world.ids(ACTIONS_GUI)) == {"s1/1.0/1/action"}
    assert "s1/1.0/1/decision/final" in await world.ids(DECISIONS)


async def test_a_guard_whose_name_was_taken_stops(world: World) -> None:
    old = await world.log.producer("guard/0")
    await world.log.producer("guard/0")
    reactor = GuardReactor(world.log, old, world.guard, Desk(10), CLOCK)
    await world.plan()
    with pytest.raises(StopConsuming, match="name"):
        await reactor.run(QUICK)
    assert await world.messages(ACTIONS_GUI) == []
    assert await world.records(PLANS + ".dlq") == []

"""The executor kit over the real log in memory: effects once, holds, recovery, bounds."""

# ruff: noqa: ASYNC110 - what is waited for is in the log or at a fake, and has no event to wait on

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from libs.errors import Conflict, DependencyDown, InvalidRequest, NotFound, Overloaded, WrongState
from libs.events.messages import encode
from libs.events.topics import ACTIONS_GUI, CONTROL, EXECUTORS, OUTCOMES
from libs.executor.executor import Executor
from libs.executor.limits import ExecutorLimits
from libs.executor.port import Hold, LeaseAsk, LeaseGrant, OpenedBody, OpenHome
from tectum.actions.types import Action, Done
from tectum.plugins import EnvironmentScore, PluginError
from tectum.protocol.messages import (
    ActionIssued,
    Control,
    ControlKind,
    Decision,
    ExecutorCheckpoint,
    Outcome,
    OutcomeStatus,
    Plan,
    Score,
    Started,
    Verdict,
)
from tectum.protocol.types import Body, Epoch
from tests.platform_fakes import CLICK, FAST_EXECUTOR, FakeLink, Platform, platform

E0, E1, E2 = Epoch(1, 0), Epoch(1, 1), Epoch(1, 2)


@dataclass
class HandOwner:
    """Grants what the test says."""

    epoch: Epoch | None = E0
    lease_s: float = 5.0
    closed: bool = False
    asks: list[LeaseAsk] = field(default_factory=list)
    addresses: list[str] = field(default_factory=list)

    async def ask_lease(self, owner_address: str, ask: LeaseAsk) -> LeaseGrant:
        self.asks.append(ask)
        self.addresses.append(owner_address)
        if self.closed:
            raise WrongState("SESSION_CLOSED", "it is closed")
        if self.epoch is None:
            raise Overloaded("HOLDING", "ask again")
        return LeaseGrant(
            ask.session_id, ask.home, ask.incarnation, ask.ask, self.epoch, self.lease_s
        )


class Bench:
    """One executor with a hand-made owner."""

    def __init__(self, made: Platform) -> None:
        self.made = made
        self.log = made.log
        self.link = FakeLink()
        self.owner = HandOwner()
        self.body: Body
        self.executor: Executor
        self._tasks: dict[Executor, asyncio.Task[None]] = {}
        self.ended: list[BaseException | None] = []

    async def start(self, limits: ExecutorLimits = FAST_EXECUTOR) -> Executor:
        executor = Executor(
            ordinal=0,
            link=self.link,
            log=self.log,
            owners=self.owner,
            clock=self.made.clock,
            address="gui:0",
            limits=limits,
        )
        await executor.recover()

        async def run() -> None:
            try:
                await executor.run()
            except Conflict as error:
                self.ended.append(error)

        self._tasks[executor] = self.made.tasks.create_task(run())
        await executor.running.wait()
        self.executor = executor
        return executor

    async def kill(self, executor: Executor) -> None:
        """As SIGKILL: what it left at the last link stays there."""
        left = dict(self.link.environments)
        task = self._tasks.pop(executor)
        task.cancel()
        while not task.done():
            await asyncio.sleep(0)
        self.link.environments.update(left)

    def stop(self) -> None:
        for task in self._tasks.values():
            task.cancel()

    async def open(self, opening_id: str = "o1", session_id: str = "s") -> OpenedBody:
        opened = await self.executor.open_home(
            OpenHome(session_id, "fake://x", opening_id, "owner:1")
        )
        self.body = opened.body
        return opened

    async def act(
        self,
        step: int,
        epoch: Epoch = E0,
        action: Action = CLICK,
        body: Body | None = None,
        session_id: str = "s",
    ) -> None:
        plan = Plan(session_id, epoch, step, action, body or self.body)
        issued = ActionIssued(plan, Decision(session_id, epoch, step, Verdict.ALLOW))
        await self.publish(ACTIONS_GUI, issued, f"{session_id}/{step}", session_id, partition=0)

    async def publish(
        self,
        topic: str,
        message: object,
        event_id: str,
        subject: str = "s",
        partition: int | None = None,
    ) -> None:
        producer = await self.log.producer("guard")
        event = encode(message, event_id=event_id, subject=subject, at=self.made.clock.now())
        await producer.publish(topic, event, partition=partition)

    async def outcomes(self, cls: type = Outcome, session_id: str = "s") -> list:  # type: ignore[type-arg]
        return await self.made.of(OUTCOMES, session_id, cls)

    async def outcome(self, step: int, session_id: str = "s") -> Outcome:
        while True:
            for outcome in await self.outcomes(session_id=session_id):
                if outcome.step == step:
                    return outcome  # type: ignore[no-any-return]
            await asyncio.sleep(0.002)

    async def leased(self, epoch: Epoch = E0) -> None:
        home = self.executor._parts.homes.find(self.body.home)
        assert home is not None
        while home.keeper.lease is None or home.keeper.lease.epoch != epoch:
            await asyncio.sleep(0.001)

    def hold(self, epoch: Epoch, *, kill: bool = False, body: Body | None = None) -> Hold:
        body = body or self.body
        return Hold("s", body.home, body.incarnation, epoch, "owner:2", kill=kill)


@asynccontextmanager
async def running() -> AsyncIterator[Bench]:
    async with platform() as made:
        bench = Bench(made)
        try:
            yield bench
        finally:
            bench.stop()


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with running() as made:
        yield made


async def test_started_is_in_the_log_before_the_first_input(bench: Bench) -> None:
    await bench.start()
    await bench.open()
    bench.link.release = asyncio.Event()
    await bench.act(1)
    await bench.link.inside.wait()
    assert [s.step for s in await bench.outcomes(Started)] == [1]
    assert await bench.outcomes() == []
    bench.link.release.set()
    assert (await bench.outcome(1)).status is OutcomeStatus.OK


async def test_a_repeated_action_is_carried_out_once(bench: Bench) -> None:
    await bench.start()
    await bench.open()
    for _ in range(3):
        await bench.act(1)
    await bench.act(2)
    await bench.outcome(2)
    assert len(bench.link.touches) == 2
    assert [s.step for s in await bench.outcomes(Started)] == [1, 2]


async def test_a_step_that_another_home_began_is_left_alone(bench: Bench) -> None:
    await bench.start()
    await bench.open()
    await bench.publish(OUTCOMES, Started("s", E0, 1, "gui/9/1-x", 1), "other")
    await bench.act(1)
    await bench.act(2)
    await bench.outcome(2)
    assert [t.name for t in bench.link.touches] == ["click.0"]
    assert [o.step for o in await bench.outcomes()] == [2], "a loser says nothing"


async def test_an_action_above_the_lease_waits_for_it(bench: Bench) -> None:
    await bench.start()
    await bench.open()
    await bench.leased()
    await bench.act(1, E1)
    await asyncio.sleep(0.03)
    assert bench.link.touches == []
    bench.owner.epoch = E1
    assert (await bench.outcome(1)).status is OutcomeStatus.OK


async def test_an_action_below_the_floor_is_dropped(bench: Bench) -> None:
    await bench.start()
    await bench.open()
    bench.owner.epoch = E1
    await bench.executor.hold(bench.hold(E1))
    await bench.leased(E1)
    await bench.act(1, E0)
    await bench.act(2, E1)
    await bench.outcome(2)
    assert [o.step for o in await bench.outcomes()] == [2]
    assert len(bench.link.touches) == 1


async def test_a_hold_waits_for_the_input_inside_and_then_nothing_begins(bench: Bench) -> None:
    await bench.start()
    await bench.open()
    bench.link.primitives = 3
    bench.link.release = asyncio.Event()
    await bench.act(1)
    await bench.link.inside.wait()
    bench.owner.epoch = None
    async with asyncio.TaskGroup() as tasks:
        hold = tasks.create_task(bench.executor.hold(bench.hold(E1)))
        await asyncio.sleep(0.02)
        assert not hold.done(), "an input is inside the last link"
        bench.link.release.set()
        held = await hold
    assert not held.killed
    assert (held.home, held.incarnation, held.epoch) == (bench.body.home, 1, E1)
    outcome = await bench.outcome(1)
    assert outcome.status is OutcomeStatus.INTERRUPTED
    assert len(bench.link.touches) == 1


async def test_a_last_link_that_hangs_is_destroyed_and_the_step_is_unknown(bench: Bench) -> None:
    await bench.start()
    await bench.open()
    bench.link.release = asyncio.Event()
    await bench.act(1)
    await bench.link.inside.wait()
    held = await bench.executor.hold(bench.hold(E1))
    assert held.killed
    assert bench.link.environments == {}
    outcome = await bench.outcome(1)
    assert (outcome.status, outcome.reason) == (OutcomeStatus.UNKNOWN, "KILLED")
    with pytest.raises(NotFound) as caught:
        await bench.executor.hold(bench.hold(E2))
    assert caught.value.reason == "ENVIRONMENT_LOST"
    assert caught.value.metadata == {"executor": "gui/0", "incarnation": "1"}


async def test_the_winner_that_may_not_act_says_not_begun(bench: Bench) -> None:
    await bench.start()
    await bench.open()
    await bench.leased()
    writer = bench.executor._parts.writer
    publish = writer._producer.publish

    async def held_meanwhile(topic: str, event: object, *, partition: int | None = None) -> object:
        position = await publish(topic, event, partition=partition)  # type: ignore[arg-type]
        if "/started/" in event.id:  # type: ignore[attr-defined]
            bench.owner.epoch = None
            await bench.executor.hold(bench.hold(E1))
        return position

    writer._producer.publish = held_meanwhile  # type: ignore[method-assign,assignment]
    await bench.act(1)
    outcome = await bench.outcome(1)
    assert (outcome.status, outcome.reason) == (OutcomeStatus.FAILED, "NOT_BEGUN")
    assert bench.link.touches == []


async def test_a_terminal_action_ends_the_episode_with_its_score(bench: Bench) -> None:
    await bench.start()
    bench.link.score = EnvironmentScore(0.5, success=True)
    await bench.open()
    await bench.act(1, action=Action(Done()))
    outcome = await bench.outcome(1)
    assert outcome.ended
    scores = await bench.outcomes(Score)
    assert [(s.attempt, s.reward, s.success, s.source) for s in scores] == [
        (1, 0.5, True, "environment")
    ]


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (PluginError("ELEMENT_GONE", "it is gone"), OutcomeStatus.FAILED, "ELEMENT_GONE"),
        (NotFound("ENVIRONMENT_LOST", "no page"), OutcomeStatus.FAILED, "ENVIRONMENT_LOST"),
        (PluginError("HELD", "held"), OutcomeStatus.FAILED, "NOT_BEGUN"),
        (ValueError("a bug"), OutcomeStatus.UNKNOWN, "EXECUTOR_FAULT"),
    ],
)
async def test_every_failure_of_the_last_link_is_an_outcome(
    bench: Bench, error: Exception, status: OutcomeStatus, reason: str
) -> None:
    await bench.start()
    await bench.open()
    bench.link.perform_error = error
    await bench.act(1)
    outcome = await bench.outcome(1)
    assert (outcome.status, outcome.reason) == (status, reason)
    assert bench.executor.running.is_set()


async def test_a_successor_fences_destroys_and_says_unknown(bench: Bench) -> None:
    first = await bench.start()
    await bench.open()
    bench.link.release = asyncio.Event()
    await bench.act(1)
    await bench.link.inside.wait()
    old = bench.body
    await bench.kill(first)
    assert bench.link.environments
    second = await bench.start()
    assert second.incarnation == 2
    assert bench.link.leftovers_destroyed == 2
    outcome = await bench.outcome(1)
    assert (outcome.status, outcome.home, outcome.incarnation) == (
        OutcomeStatus.UNKNOWN,
        old.home,
        1,
    )
    with pytest.raises(NotFound) as caught:
        await second.hold(bench.hold(E1, body=old))
    assert caught.value.metadata["incarnation"] == "2"
    await bench.act(2, body=old)
    lost = await bench.outcome(2)
    assert (lost.status, lost.reason) == (OutcomeStatus.FAILED, "ENVIRONMENT_LOST")


async def test_a_replaced_executor_ends_and_leaves_nothing_alive(bench: Bench) -> None:
    await bench.start()
    await bench.open()
    await bench.leased()
    await bench.log.producer("executor/gui/0")
    await bench.act(1)
    while not bench.ended:
        await asyncio.sleep(0.002)
    assert isinstance(bench.ended[0], Conflict)
    assert bench.link.touches == []
    assert bench.link.environments == {}


async def test_recovery_reads_from_the_checkpoint_on(bench: Bench) -> None:
    first = await bench.start()
    await bench.open()
    await bench.act(1)
    await bench.outcome(1)
    partition = await bench.log.partition_of(OUTCOMES, "s")
    end = await bench.log.end_offset(OUTCOMES, partition)
    while True:
        marks = await bench.made.of(EXECUTORS, "gui/0", ExecutorCheckpoint)
        if marks and marks[-1].outcomes[str(partition)] == end:
            break
        await asyncio.sleep(0.01)
    await bench.kill(first)
    starts = []
    read = bench.log.read

    def noted(topic: str, number: int, **options: object):  # type: ignore[no-untyped-def]
        if topic == OUTCOMES and number == partition:
            starts.append(options["start"])
        return read(topic, number, **options)  # type: ignore[arg-type]

    bench.log.read = noted  # type: ignore[method-assign,assignment]
    await bench.start()
    assert starts == [end]


async def test_one_slow_home_does_not_hold_up_another(bench: Bench) -> None:
    await bench.start()
    slow = (await bench.open("o1", "slow")).body
    quick = (await bench.open("o2", "quick")).body
    bench.link.release = asyncio.Event()
    await bench.act(1, body=slow, session_id="slow")
    await bench.link.inside.wait()
    await bench.act(1, body=quick, session_id="quick", action=Action(Done()))
    assert (await bench.outcome(1, "quick")).ended
    bench.link.release.set()
    await bench.outcome(1, "slow")


async def test_openings_are_limited_repeated_and_refused(bench: Bench) -> None:
    await bench.start(ExecutorLimits(homes_max=2))
    one = await bench.open("o1")
    assert await bench.open("o1") == one, "a repeated request has the same answer"
    await bench.open("o2")
    with pytest.raises(Overloaded) as caught:
        await bench.open("o3")
    assert caught.value.reason == "TOO_MANY_ENVIRONMENTS"
    await bench.executor.close_home("s", one.body.home)
    await bench.executor.close_home("s", one.body.home)
    bench.link.open_error = InvalidRequest("URI_MALFORMED", "expected a task")
    with pytest.raises(InvalidRequest):
        await bench.open("o4")
    bench.link.open_error = None
    await bench.open("o4")


async def test_what_no_owner_wants_is_destroyed(bench: Bench) -> None:
    bench.owner.epoch = None
    await bench.start(ExecutorLimits(unclaimed_s=0.03, ask_retry_max_s=0.01))
    await bench.open()
    while bench.link.environments:
        await asyncio.sleep(0.005)


async def test_a_closed_session_needs_no_home(bench: Bench) -> None:
    await bench.start()
    await bench.open("o1")
    await bench.publish(CONTROL, Control("s", E1, ControlKind.CLOSED), "closed")
    while bench.link.environments:
        await asyncio.sleep(0.005)
    bench.owner.closed = True
    await bench.open("o2")
    while bench.link.environments:
        await asyncio.sleep(0.005)


async def test_the_owner_of_the_highest_epoch_is_asked(bench: Bench) -> None:
    await bench.start()
    await bench.open()
    await bench.leased()
    assert set(bench.owner.addresses) == {"owner:1"}
    bench.owner.epoch = Epoch(2, 0)
    raised = Control("s", Epoch(2, 0), ControlKind.EPOCH_RAISED, owner_address="owner:7")
    await bench.publish(CONTROL, raised, "raised")
    await bench.leased(Epoch(2, 0))
    assert bench.owner.addresses[-1] == "owner:7"


async def test_a_lane_that_is_full_refuses(bench: Bench) -> None:
    bench.owner.epoch = None
    await bench.start(ExecutorLimits(lane_actions_max=2, ask_retry_max_s=0.01))
    await bench.open()
    for step in range(1, 5):
        await bench.act(step)
    outcome = await bench.outcome(4)
    assert (outcome.status, outcome.reason) == (OutcomeStatus.FAILED, "LANE_FULL")


async def test_calls_before_run_are_refused(bench: Bench) -> None:
    executor = Executor(
        ordinal=0,
        link=bench.link,
        log=bench.log,
        owners=bench.owner,
        clock=bench.made.clock,
        address="gui:0",
    )
    with pytest.raises(WrongState):
        await executor.run()
    await executor.recover()
    with pytest.raises(WrongState) as caught:
        await executor.open_home(OpenHome("s", "fake://x", "o1", "owner:1"))
    assert caught.value.reason == "NOT_RUNNING"


async def test_a_log_that_is_down_delays_started_and_nothing_is_touched(bench: Bench) -> None:
    await bench.start()
    await bench.open()
    await bench.leased()
    producer = bench.executor._parts.writer._producer
    publish = producer.publish
    refused: list[object] = []

    async def down(topic: str, event: object, *, partition: int | None = None) -> object:
        if len(refused) < 3:
            refused.append(event)
            raise DependencyDown("LOG_DOWN", "the log does not answer")
        return await publish(topic, event, partition=partition)  # type: ignore[arg-type]

    producer.publish = down  # type: ignore[method-assign,assignment]
    await bench.act(1)
    while len(refused) < 2:
        await asyncio.sleep(0.001)
    assert bench.link.touches == []
    assert (await bench.outcome(1)).status is OutcomeStatus.OK
    assert len(bench.link.touches) == 1

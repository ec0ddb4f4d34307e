"""A small platform in one process for the tests of sessions and executors: real log, real kit, fake last links."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from libs.clock import SystemClock
from libs.errors import DependencyDown, InvalidRequest, NotFound, PlatformError
from libs.events import messages as codec
from libs.events.memory import MemoryEventLog
from libs.events.port import EventLog, Record
from libs.events.topics import (
    ACTIONS,
    CONTROL,
    DECISIONS,
    OBSERVATIONS,
    OUTCOMES,
    PLANS,
    topic_specs,
)
from libs.executor.executor import Executor
from libs.executor.limits import ExecutorLimits
from libs.executor.port import (
    Held,
    Hold,
    LeaseAsk,
    LeaseGrant,
    OpenedBody,
    OpenedHome,
    OpenHome,
    Performed,
)
from services.session.domain.limits import SessionLimits
from services.session.domain.messages import Agent, ClientMessage, Heard, Open, Resume
from services.session.domain.rules import SessionRules
from services.session.domain.sessions import Sessions
from services.session.reactor import SessionReactor
from tectum.actions.types import Action, Answer, Click, Done, Fail, Point, Screenshot
from tectum.geometry import Size
from tectum.observations.types import Screen
from tectum.plugins import ActResult, EnvironmentScore, Gate, PluginError
from tectum.protocol.messages import (
    ActionIssued,
    Control,
    Decision,
    Outcome,
    OutcomeStatus,
    Plan,
    TurnStarted,
    Verdict,
)
from tectum.protocol.types import Body, BodyKind, Epoch

CLICK = Action(Click(Point.screen(1, 1)))


@dataclass
class Touch:
    """One primitive input, as a witness outside the platform sees it."""

    session_id: str
    environment_id: str
    name: str


class FakeLink:
    """A last link in memory: each action is some primitive inputs; tests may stop it inside one."""

    def __init__(self, kind: BodyKind = BodyKind.GUI, *, enforces: bool = False) -> None:
        self.kind = kind
        self.enforces_valid_until = enforces
        self.primitives = 1
        self.primitive_s = 0.0
        self.touches: list[Touch] = []
        self.environments: dict[str, str] = {}
        self.destroyed: list[str] = []
        self.leftovers_destroyed = 0
        self.open_error: PlatformError | None = None
        self.perform_error: Exception | None = None
        self.instruction = ""
        self.score: EnvironmentScore | None = None
        self.release: asyncio.Event | None = None
        """Not None: a primitive input waits inside for it."""
        self.inside = asyncio.Event()
        self._ids = itertools.count(1)

    async def open(
        self,
        session_id: str,
        environment: str,
        secrets: Mapping[str, str],
        *,
        allow_literal_secrets: bool,
    ) -> OpenedHome:
        if self.open_error is not None:
            raise self.open_error
        if environment.endswith("://unknown"):
            raise InvalidRequest("TASK_UNKNOWN", f"expected a known task, got {environment!r}")
        environment_id = f"e{next(self._ids)}"
        self.environments[environment_id] = session_id
        return OpenedHome(environment_id, self.screen(), self.instruction)

    def screen(self) -> Screen:
        return Screen(observation_id=f"o{len(self.touches)}", size=Size(100, 100))

    async def perform(self, environment_id: str, action: Action, gate: Gate) -> Performed:
        if environment_id not in self.environments:
            raise NotFound("ENVIRONMENT_LOST", f"{environment_id} is gone")
        if isinstance(action.kind, Screenshot):
            return Performed(ActResult(), self.screen())
        if self.perform_error is not None:
            raise self.perform_error
        if action.terminal:
            return Performed(ActResult(ended=True), self.screen(), self.score)
        for number in range(self.primitives):
            try:
                async with gate.input():
                    name = f"{action.name}.{number}"
                    session_id = self.environments[environment_id]
                    self.touches.append(Touch(session_id, environment_id, name))
                    self.inside.set()
                    if self.release is not None:
                        await self.release.wait()
                    await asyncio.sleep(self.primitive_s)
            except PluginError as error:
                result = ActResult(OutcomeStatus.INTERRUPTED, error.reason, str(error))
                return Performed(result, self.screen())
        return Performed(ActResult(), self.screen())

    async def destroy(self, environment_id: str) -> None:
        self.environments.pop(environment_id, None)
        self.destroyed.append(environment_id)

    async def destroy_leftovers(self) -> None:
        self.leftovers_destroyed += 1
        self.environments.clear()


@dataclass
class Wires:
    """In-process gateways; a test may cut them."""

    executors: dict[str, Executor] = field(default_factory=dict)
    by_kind: dict[BodyKind, str] = field(default_factory=dict)
    owners: dict[str, Sessions] = field(default_factory=dict)
    cut: set[str] = field(default_factory=set)
    holds: list[Hold] = field(default_factory=list)
    hold_error: PlatformError | None = None

    def _executor(self, address: str) -> Executor:
        if address in self.cut or address not in self.executors:
            raise DependencyDown("UNAVAILABLE", f"nobody answers at {address}")
        return self.executors[address]

    async def open_home(self, kind: BodyKind, request: OpenHome) -> OpenedBody:
        if kind not in self.by_kind:
            raise DependencyDown("UNAVAILABLE", f"no executor of {kind}")
        return await self._executor(self.by_kind[kind]).open_home(request)

    async def hold(self, body: Body, request: Hold) -> Held:
        self.holds.append(request)
        if self.hold_error is not None:
            raise self.hold_error
        return await self._executor(body.address).hold(request)

    async def observe_home(self, body: Body, session_id: str) -> Screen | None:
        return await self._executor(body.address).observe_home(
            session_id, body.home, body.incarnation
        )

    async def close_home(self, body: Body, session_id: str) -> None:
        await self._executor(body.address).close_home(session_id, body.home)

    async def ask_lease(self, owner_address: str, ask: LeaseAsk) -> LeaseGrant:
        if owner_address in self.cut or owner_address not in self.owners:
            raise DependencyDown("UNAVAILABLE", f"nobody answers at {owner_address}")
        return await self.owners[owner_address].ask_lease(ask)


class Mind:
    """A scripted planner and a guard that allows everything: the actions of each turn, by instruction."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self.scripts: dict[str, list[Action]] = {}
        self.default = [CLICK, CLICK, Action(Done())]
        self.turns: list[TurnStarted] = []
        self.silent = False
        self.verdict = Verdict.ALLOW
        self._plans: dict[str, tuple[TurnStarted, int]] = {}

    async def run(self) -> None:
        planner, guard = await self._log.producer("planner"), await self._log.producer("guard")
        start = {
            (topic, partition): await self._log.end_offset(topic, partition)
            for topic in (OBSERVATIONS, OUTCOMES, CONTROL)
            for partition in range(await self._log.partitions(topic))
        }
        async with self._log.tail(start) as tail:
            while True:
                for record in await tail.fetch():
                    message = codec.decode(record.event)
                    if isinstance(message, TurnStarted):
                        self.turns.append(message)
                        self._plans[message.session_id] = (message, message.first_step)
                        await self._plan(planner, guard, message.session_id)
                    elif isinstance(message, Outcome):
                        turn, step = self._plans.get(message.session_id, (None, 0))
                        if turn is None or (message.step, message.epoch) != (step, turn.epoch):
                            continue
                        if message.ended:
                            continue
                        self._plans[message.session_id] = (turn, step + 1)
                        await self._plan(planner, guard, message.session_id)

    async def _plan(self, planner: Any, guard: Any, session_id: str) -> None:
        if self.silent:
            return
        turn, step = self._plans[session_id]
        script = self.scripts.get(turn.instruction, self.default)
        index = step - turn.first_step
        if index >= len(script):
            return
        plan = Plan(session_id, turn.epoch, step, script[index], turn.body)
        where = f"{session_id}/{turn.epoch.term}.{turn.epoch.n}/{step}"
        await self._say(planner, PLANS, plan, f"{where}/plan", session_id)
        decision = Decision(session_id, turn.epoch, step, self.verdict)
        await self._say(guard, DECISIONS, decision, f"{where}/decision", session_id)
        if self.verdict is Verdict.ALLOW:
            await self._say(
                guard,
                ACTIONS[turn.body.kind],
                ActionIssued(plan, decision),
                f"{where}/action",
                session_id,
                turn.body.partition,
            )

    async def _say(
        self,
        producer: Any,
        topic: str,
        message: Any,
        event_id: str,
        subject: str,
        partition: int | None = None,
    ) -> None:
        event = codec.encode(message, event_id=event_id, subject=subject, at=SystemClock().now())
        await producer.publish(topic, event, partition=partition)


class Client:
    """One stream to one replica."""

    def __init__(self, sessions: Sessions, tenant: str = "local") -> None:
        self._sessions = sessions
        self._tenant = tenant
        self._up: asyncio.Queue[ClientMessage | None] = asyncio.Queue()
        self.heard: list[Heard] = []
        self.said: list[Any] = []
        """What was heard, decoded."""
        self.cursor = ""
        self.error: BaseException | None = None
        self.done = asyncio.Event()
        self._news = asyncio.Event()
        self.seq = 0
        self.stall: asyncio.Event | None = None

    async def run(self) -> None:
        try:
            await self._sessions.converse(self._tenant, self._requests(), self._take)
        except PlatformError as error:
            self.error = error
        finally:
            self.done.set()
            self._news.set()

    async def _requests(self) -> AsyncIterator[ClientMessage]:
        while (message := await self._up.get()) is not None:
            yield message

    async def _take(self, heard: Heard) -> None:
        if self.stall is not None:
            await self.stall.wait()
        self.heard.append(heard)
        self.cursor = heard.cursor or self.cursor
        body = heard.body
        self.said.append(codec.decode(body.event) if isinstance(body, Record) else body)
        self._news.set()

    def say(self, message: Any, seq: int | None = None) -> int:
        if seq is None:
            self.seq += 0 if isinstance(message, Resume) else 1
            seq = 0 if isinstance(message, Resume) else self.seq
        self._up.put_nowait(ClientMessage(seq, message))
        return seq

    def half_close(self) -> None:
        self._up.put_nowait(None)

    async def until(self, true: Callable[[Any], bool], *, after: int = 0) -> Any:
        """The first thing heard for which `true`, from position `after` on."""
        position = after
        while True:
            while position < len(self.said):
                if true(self.said[position]):
                    return self.said[position]
                position += 1
            if self.done.is_set():
                raise AssertionError(f"the stream ended with {self.error!r}; heard {self.said}")
            self._news.clear()
            await self._news.wait()

    async def control(self, kind: Any, **fields: Any) -> Control:
        """The first Control of this kind, with these fields."""
        return await self.until(  # type: ignore[no-any-return]
            lambda said: (
                isinstance(said, Control)
                and said.kind is kind
                and all(getattr(said, name) == value for name, value in fields.items())
            )
        )

    async def heard_a(self, cls: type) -> Any:
        return await self.until(lambda said: isinstance(said, cls))


FAST = SessionLimits(
    lease_s=0.4,
    hold_try_s=0.3,
    hold_patience_s=0.3,
    open_s=1.0,
    log_patience_s=1.0,
    log_retry_s=0.005,
    hold_retry_s=0.005,
    silence_s=0.3,
    outcome_grace_s=0.2,
    retire_s=2.0,
    resume_ttl_s=60.0,
)
FAST_EXECUTOR = ExecutorLimits(
    ask_timeout_s=0.3, drain_s=0.15, destroy_s=0.5, open_s=1.0, perform_s=2.0, checkpoint_s=0.05
)


class Platform:
    """Everything, with parts that tests replace."""

    def __init__(
        self,
        *,
        log: EventLog | None = None,
        limits: SessionLimits = FAST,
        executor_limits: ExecutorLimits = FAST_EXECUTOR,
        rules: SessionRules | None = None,
    ) -> None:
        self.clock = SystemClock()
        self.log = log or MemoryEventLog(self.clock)
        self.limits = limits
        self.executor_limits = executor_limits
        self.rules = rules
        self.wires = Wires()
        self.mind = Mind(self.log)
        self.tasks: asyncio.TaskGroup
        self._ids = itertools.count(1)
        self._running: dict[str, asyncio.Task[None]] = {}

    async def executor(self, link: FakeLink, *, address: str = "", ordinal: int = 0) -> Executor:
        """Start an executor; one at the same address takes the place of an earlier one."""
        address = address or f"{link.kind}:{ordinal}"
        executor = Executor(
            ordinal=ordinal,
            link=link,
            log=self.log,
            owners=self.wires,
            clock=self.clock,
            address=address,
            limits=self.executor_limits,
        )
        await executor.recover()
        self.wires.executors[address] = executor
        self.wires.by_kind[link.kind] = address
        self._running[address] = self.tasks.create_task(_quiet(executor.run()))
        await executor.running.wait()
        return executor

    async def replica(self, address: str = "session:1") -> Sessions:
        """Start a replica of the session service."""
        sessions = Sessions(
            log=self.log,
            executors=self.wires,
            codec=codec,
            clock=self.clock,
            rng=random.Random(7),
            new_id=lambda: f"s{next(self._ids)}",
            new_token=lambda: f"token{next(self._ids)}",
            address=address,
            limits=self.limits,
            rules=self.rules,
        )
        reactor = SessionReactor(self.log, sessions)

        async def both() -> None:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(sessions.run())
                tasks.create_task(reactor.run())

        self.wires.owners[address] = sessions
        self._running[address] = self.tasks.create_task(both())
        await sessions.following.wait()
        return sessions

    async def stop(self, address: str) -> None:
        """End a replica or an executor, so that nobody answers there."""
        self.wires.owners.pop(address, None)
        self.wires.executors.pop(address, None)
        task = self._running.pop(address)
        task.cancel()
        await asyncio.wait([task])

    def client(self, sessions: Sessions, tenant: str = "local") -> Client:
        client = Client(sessions, tenant)
        self._running[f"client {id(client)}"] = self.tasks.create_task(client.run())
        return client

    async def lose(self, client: Client) -> None:
        """Break the client's stream, as a lost connection does."""
        task = self._running.pop(f"client {id(client)}")
        task.cancel()
        await asyncio.wait([task])

    async def opened(
        self,
        sessions: Sessions,
        *,
        environment: str = "fake://x",
        instruction: str = "go",
        agent: Agent | None = None,
        **fields: Any,
    ) -> Client:
        """A client with an open session."""
        client = self.client(sessions)
        client.say(
            Open(
                environment=environment,
                instruction=instruction,
                agent=agent or Agent(),
                **fields,
            )
        )
        await client.until(lambda said: True)
        return client

    async def of(self, topic: str, session_id: str, cls: type | None = None) -> list[Any]:
        """What the log has of a session, decoded."""
        partition = await self.log.partition_of(topic, session_id)
        found = [
            codec.decode(record.event)
            async for record in self.log.read(topic, partition, key=session_id)
        ]
        return [message for message in found if cls is None or isinstance(message, cls)]


async def _quiet(work: Any) -> None:
    try:
        await work
    except PlatformError:
        return


@asynccontextmanager
async def platform(**options: Any) -> AsyncIterator[Platform]:
    """A platform with topics and a scripted mind."""
    made = Platform(**options)
    await made.log.ensure_topics(topic_specs(2))
    async with asyncio.TaskGroup() as tasks:
        made.tasks = tasks
        mind = tasks.create_task(made.mind.run())
        await asyncio.sleep(0)
        try:
            yield made
        finally:
            mind.cancel()
            for task in made._running.values():
                task.cancel()


def answer(text: str) -> Action:
    return Action(Answer(text))


def fail(reason: str) -> Action:
    return Action(Fail(reason))


EPOCH0 = Epoch(1, 0)

"""An executor: its homes, and the loops that carry actions out at most once."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from typing import Any

from libs.clock import Clock
from libs.errors import Conflict, DependencyDown, InvalidRequest, WrongState
from libs.events.messages import decode
from libs.events.port import EventLog, Record
from libs.events.topics import ACTIONS, CONTROL, OUTCOMES
from libs.executor.acting import Actor
from libs.executor.answers import LostAnswers
from libs.executor.home import Home
from libs.executor.homes import Homes
from libs.executor.journal import Journal
from libs.executor.limits import ExecutorLimits
from libs.executor.port import Held, Hold, LastLink, OpenedBody, OpenHome, OwnerGateway
from libs.executor.recovery import recover
from libs.executor.rules import ExecutorRules
from libs.executor.writer import Writer
from tectum.actions.types import Action, Screenshot
from tectum.observations.types import Screen
from tectum.plugins import PluginError
from tectum.protocol.messages import (
    ActionIssued,
    Control,
    ControlKind,
    ExecutorCheckpoint,
    Outcome,
    Started,
)

_log = logging.getLogger(__name__)
_FOLLOW_PAUSE_S = 0.2


class _ClosedGate:
    """Lets nothing through: looking needs no input."""

    @asynccontextmanager
    async def input(self) -> AsyncIterator[None]:
        if self is not None:
            raise PluginError("HELD", "only looking is allowed here")
        yield


class _Parts:
    """What exists once the incarnation is known."""

    def __init__(self, writer: Writer, homes: Homes, actor: Actor, lost: LostAnswers) -> None:
        self.writer = writer
        self.homes = homes
        self.actor = actor
        self.lost = lost


class Executor:
    """One executor process of one kind, at one partition of `tectum.actions.<kind>`.

    Call `recover` first, then keep `run` running; the other methods are its answers to owners.
    """

    def __init__(
        self,
        *,
        ordinal: int,
        link: LastLink,
        log: EventLog,
        owners: OwnerGateway,
        clock: Clock,
        address: str,
        limits: ExecutorLimits | None = None,
        rules: ExecutorRules | None = None,
    ) -> None:
        self.name = f"{link.kind}/{ordinal}"
        self._ordinal = ordinal
        self._link = link
        self._event_log = log
        self._owners = owners
        self._clock = clock
        self._address = address
        self._limits = limits or ExecutorLimits()
        self._rules = rules or ExecutorRules()
        self._journal = Journal()
        self._made: _Parts | None = None
        self._tasks: asyncio.TaskGroup | None = None
        self._context: contextvars.Context | None = None
        self._actions_from = 0
        self.running = asyncio.Event()
        """Set while `run` answers."""

    @property
    def incarnation(self) -> int:
        """Of this process; 0 before `recover`."""
        return self._made.writer.incarnation if self._made is not None else 0

    @property
    def _parts(self) -> _Parts:
        if self._made is None:
            raise WrongState("NOT_RECOVERED", f"expected recover() of {self.name} first")
        return self._made

    async def recover(self) -> None:
        """Fence the predecessor, destroy what it left, close its open steps (rule 11)."""
        producer = await self._event_log.producer(f"executor/{self.name}")
        writer = Writer(producer, self._clock, self._limits)
        found = await recover(
            name=self.name, log=self._event_log, link=self._link, writer=writer, rules=self._rules
        )
        for partition, end in found.ends.items():
            self._journal.advance(partition, end)
        # Every home of this incarnation is opened later, so what is addressed to it comes later.
        topic = ACTIONS[self._link.kind]
        self._actions_from = await self._event_log.end_offset(topic, self._ordinal)
        self._made = self._assemble(writer)
        if found.unknown:
            _log.warning("closed steps of a predecessor", extra={"steps": found.unknown})

    def _assemble(self, writer: Writer) -> _Parts:
        homes = Homes(
            name=self.name,
            ordinal=self._ordinal,
            incarnation=writer.incarnation,
            address=self._address,
            link=self._link,
            owners=self._owners,
            clock=self._clock,
            limits=self._limits,
            rules=self._rules,
            spawn=self._spawn,
            opened=self._watch,
            live=self._live,
        )
        actor = Actor(
            name=self.name,
            link=self._link,
            journal=self._journal,
            writer=writer,
            clock=self._clock,
            limits=self._limits,
            rules=self._rules,
            destroy=homes.try_destroy,
            spawn=self._spawn,
        )
        lost = LostAnswers(self.name, self._event_log, writer, self._limits.lane_actions_max)
        return _Parts(writer, homes, actor, lost)

    async def run(self) -> None:
        """Follow the log and carry actions out until cancelled; then destroy every home.

        Raises:
            Conflict: a replacement fenced this executor (PRODUCER_FENCED).
        """
        parts = self._parts
        # Tasks of homes outlive the calls that open them: they must not inherit a caller's deadline.
        self._context = contextvars.copy_context()
        fenced: Conflict | None = None
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                tasks.create_task(self._follow_actions())
                tasks.create_task(self._follow_journal())
                tasks.create_task(self._keep_checkpoint())
                tasks.create_task(parts.lost.run())
                self.running.set()
        except* Conflict as group:
            fenced = _first(group)
        finally:
            self.running.clear()
            self._tasks = None
            await parts.homes.abandon()
        if fenced is not None:
            raise fenced

    async def open_home(self, request: OpenHome) -> OpenedBody:
        """Make a live environment; a repeated opening id gets the same one.

        Raises:
            Overloaded: TOO_MANY_ENVIRONMENTS.
            WrongState: NOT_RUNNING.
            InvalidRequest, NotFound, DependencyDown: as the last link says.
        """
        return await self._parts.homes.open(request)

    async def hold(self, request: Hold) -> Held:
        """Refuse older epochs at once; return once nothing of them can still begin (rule 8).

        Raises:
            NotFound: ENVIRONMENT_LOST, with `executor` and `incarnation` of who answers.
            DependencyDown: LAST_LINK_STUCK, it could not be destroyed; ask again.
        """
        home = self._parts.homes.at(request.home, request.incarnation)
        home.keeper.hold(request.epoch)
        home.heard_owner(request.owner_address, request.epoch)
        home.contact_at = self._clock.monotonic()
        killed = request.kill or not await self._drained(home, request)
        if killed:
            await self._parts.homes.destroy(home)
        home.wake.set()
        return Held(
            request.home, request.incarnation, request.epoch, killed=killed or home.destroyed
        )

    async def observe_home(self, session_id: str, home: str, incarnation: int) -> Screen | None:
        """Look at an environment.

        Raises:
            NotFound: ENVIRONMENT_LOST.
        """
        found = self._parts.homes.at(home, incarnation)
        look = Action(Screenshot())
        performed = await self._link.perform(found.environment_id, look, _ClosedGate())
        return performed.screen

    async def close_home(self, session_id: str, home: str) -> None:
        """Destroy an environment; one that is gone changes nothing.

        Raises:
            DependencyDown: LAST_LINK_STUCK.
        """
        found = self._parts.homes.find(home)
        if found is not None:
            await self._parts.homes.destroy(found)

    async def _drained(self, home: Home, request: Hold) -> bool:
        """Whether the primitive inside the last link has left in time."""
        gate = home.gate
        if gate is None or gate.epoch >= request.epoch or not self._rules.drains():
            return True
        # A hold that is sent again does not start the limit again.
        gate.draining_since = gate.draining_since or self._clock.monotonic()
        left_s = gate.draining_since + self._limits.drain_s - self._clock.monotonic()
        try:
            async with asyncio.timeout(max(left_s, 0.0)):
                await gate.drained()
        except TimeoutError:
            return False
        return True

    async def _watch(self, request: OpenHome) -> None:
        """Know all steps of a session before anything of it is begun here."""
        partition = await self._event_log.partition_of(OUTCOMES, request.session_id)
        self._journal.watch(request.session_id, partition)
        try:
            async for record in self._event_log.read(
                OUTCOMES, partition, start=request.outcomes_from, key=request.session_id
            ):
                self._fold(record)
        except BaseException:
            self._journal.forget(request.session_id)
            raise

    async def _live(self, home: Home) -> None:
        """Until the home is destroyed and its last outcome is in the log."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._parts.homes.keep_lease(home))
                tasks.create_task(self._parts.actor.lane(home))
        finally:
            self._journal.forget(home.session_id)

    # What the log says.

    async def _follow_actions(self) -> None:
        place = (ACTIONS[self._link.kind], self._ordinal)
        await self._follow({place: self._actions_from}, self._route)

    async def _follow_journal(self) -> None:
        start = {
            (OUTCOMES, partition): self._journal.position(partition)
            for partition in range(await self._event_log.partitions(OUTCOMES))
        }
        for partition in range(await self._event_log.partitions(CONTROL)):
            start[CONTROL, partition] = await self._event_log.end_offset(CONTROL, partition)
        await self._follow(start, self._fold_next)

    async def _follow(
        self, start: Mapping[tuple[str, int], int], handle: Callable[[Record], None]
    ) -> None:
        positions = dict(start)
        while True:
            try:
                async with self._event_log.tail(positions) as tail:
                    while True:
                        for record in await tail.fetch():
                            handle(record)
                            positions[record.topic, record.partition] = record.offset + 1
            except DependencyDown as error:
                _log.warning("the log cannot be read", exc_info=error)
                await asyncio.sleep(_FOLLOW_PAUSE_S)

    def _route(self, record: Record) -> None:
        action = _decoded(record, screens=True)
        if not isinstance(action, ActionIssued):
            return
        parts, limit = self._parts, self._limits.lane_actions_max
        home = parts.homes.find(action.plan.body.home)
        if home is None:
            parts.lost.add(action.plan, record.event.traceparent)
        elif not home.enqueue(action, record, limit):
            message = f"{limit} actions wait already"
            self._spawn(parts.actor.refuse(home, action.plan, "LANE_FULL", message))

    def _fold_next(self, record: Record) -> None:
        self._fold(record)
        if record.topic == OUTCOMES:
            self._journal.advance(record.partition, record.offset + 1)

    def _fold(self, record: Record) -> None:
        if not self._journal.watches(record.event.subject):
            return
        message = _decoded(record, screens=False)
        if isinstance(message, Started | Outcome):
            self._journal.fold(message, record.offset)
        elif isinstance(message, Control):
            self._note(message)

    def _note(self, control: Control) -> None:
        """Whoever raised the epoch is the owner now; a closed session needs no home."""
        for home in self._parts.homes.of(control.session_id):
            if control.kind is ControlKind.CLOSED:
                self._spawn(self._parts.homes.try_destroy(home))
            elif control.kind is ControlKind.EPOCH_RAISED:
                home.heard_owner(control.owner_address, control.epoch)
                home.wake.set()

    async def _keep_checkpoint(self) -> None:
        """Write down how far the journal is closed, so that a recovery need not read everything."""
        while True:
            closed: dict[str, int] = {}
            for partition in range(await self._event_log.partitions(OUTCOMES)):
                position = self._journal.position(partition)
                first = self._journal.first_open(partition)
                closed[str(partition)] = position if first is None else min(first, position)
            message = ExecutorCheckpoint(self.name, self.incarnation, closed)
            await self._parts.writer.checkpoint(message)
            await asyncio.sleep(self._limits.checkpoint_s)

    def _spawn(self, work: Awaitable[object]) -> None:
        """Run beside everything else, in the context of `run`."""
        if self._tasks is None or self._context is None:
            if isinstance(work, Coroutine):
                work.close()
            raise WrongState("NOT_RUNNING", f"{self.name} is not running")
        task = _awaited(work)
        try:
            self._tasks.create_task(task, context=self._context.copy())
        except RuntimeError:  # The group is on its way down: nothing new begins.
            task.close()
            if isinstance(work, Coroutine):
                work.close()


async def _awaited(work: Awaitable[object]) -> None:
    await work


def _decoded(record: Record, *, screens: bool) -> Any:
    """The message; None, and a line in the log, where it is malformed."""
    try:
        return decode(record.event, screens=screens)
    except InvalidRequest as error:
        _log.error(
            "skipped a malformed event",
            extra={"topic": record.topic, "partition": record.partition, "offset": record.offset},
            exc_info=error,
        )
        return None


def _first(group: BaseExceptionGroup[Conflict]) -> Conflict:
    found: BaseException = group
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    if not isinstance(found, Conflict):
        raise TypeError(f"expected a Conflict, got {found!r}")
    return found

"""One session at its owner: epochs, leases, interrupts and the end (rules 1 to 9)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

from libs.errors import (
    Conflict,
    DependencyDown,
    NotFound,
    Overloaded,
    PlatformError,
    WrongState,
)
from services.session.domain.bodies import Bodies
from services.session.domain.fencing import Fencing
from services.session.domain.leases import Leases
from services.session.domain.ledger import Ledger
from services.session.domain.limits import SessionLimits
from services.session.domain.messages import Agent, Interrupted
from services.session.domain.rules import SessionRules
from services.session.domain.steps import Steps
from services.session.domain.turns import GONE, Ending, Turn
from services.session.ports import (
    Clock,
    Codec,
    EventLog,
    ExecutorGateway,
    LeaseAsk,
    LeaseGrant,
)
from tectum.protocol.messages import ControlKind, Outcome, Plan, SessionStatus, Started
from tectum.protocol.types import Body, BodyReport, BodyState, Epoch

_log = logging.getLogger(__name__)


class Spawn(Protocol):
    """Runs something beside everything else."""

    def __call__(self, work: Callable[..., Awaitable[object]], *args: Any) -> bool:
        """Begin it soon; False, once the replica stops."""
        ...


@dataclass(frozen=True, slots=True)
class Parts:
    """What every owner of a replica shares."""

    log: EventLog
    executors: ExecutorGateway
    codec: Codec
    clock: Clock
    limits: SessionLimits
    rules: SessionRules
    address: str
    new_id: Callable[[], str]
    spawn: Spawn
    on_fault: Callable[[Exception], None]
    """Told of what nobody expected."""
    traced: Callable[[str], AbstractContextManager[object]] = nullcontext
    """Makes what happens in the block part of the trace that a traceparent names."""


class Owner:
    """Owns one session in one term, until it is closed or another owner takes it."""

    def __init__(
        self, parts: Parts, ledger: Ledger, *, taken_at: float, agent: Agent, taken_over: bool
    ) -> None:
        self.parts = parts
        self.ledger = ledger
        self.agent = agent
        self.session_id = ledger.session_id
        self.tenant = ledger.state.tenant
        self.leases = Leases(taken_at, parts.clock, parts.limits, parts.rules)
        self.fencing = Fencing(
            self.session_id, parts.address, parts.executors, self.leases, parts.clock, parts.limits
        )
        self.bodies = Bodies(
            self.session_id, parts.address, parts.executors, parts.clock, parts.limits, parts.new_id
        )
        self.bodies.allow_literal_secrets = agent.allow_literal_secrets
        self.steps = Steps(parts.clock)
        self.turn: Turn | None = None
        self.cuts = 0
        """Rises with each wish of the caller that ends what is under way."""
        self.gone: PlatformError | None = None
        """Why this owner stopped being one."""
        self.closing = False
        self.closed = asyncio.Event()
        self.unpaused = asyncio.Event()
        self.unpaused.set()
        self.lost: dict[str, str] = {}
        """Homes that are said to be gone, with what was said."""
        self.wake = asyncio.Event()
        self.fresh = True
        """Whether nothing was said of turns in the present epoch."""
        self.on_gone: Callable[[PlatformError], None] | None = None
        self.opened_at: dict[str, float] = {}
        """By home: when it was opened or last answered, monotonic seconds."""
        self._unpausing = asyncio.Lock()
        self._interrupts = 0
        self._numbers = ledger.state.epoch.n
        # Rule 6: an owner that took over grants nothing before it has fenced every body.
        self._fences = 1 if taken_over and parts.rules.fences_at_takeover() else 0

    # Standing.

    @property
    def epoch(self) -> Epoch:
        """The durable epoch."""
        return self.ledger.saved.epoch

    @property
    def fencing_now(self) -> bool:
        """Between the first hold and the durable epoch."""
        return self._fences > 0

    def drop(self, error: PlatformError) -> None:
        """Stop being the owner: grant nothing, say nothing, let the callers go elsewhere."""
        if self.gone is not None or self.closed.is_set():
            return
        if isinstance(error, Conflict):
            error = DependencyDown("NOT_OWNER", "another replica took this session; resume it")
        self.gone = error
        self.unpaused.set()
        self.wake.set()
        if self.on_gone is not None:
            self.on_gone(error)

    async def guarded(self, work: Callable[[], Awaitable[object]]) -> None:
        """Run background work; what makes ownership impossible ends it."""
        try:
            with self.parts.traced(self.ledger.state.traceparent):
                await work()
        except PlatformError as error:
            self.drop(error)
        except Exception as error:  # noqa: BLE001 - one session's bug must not end the others
            _log.error("session failed", extra={"session_id": self.session_id}, exc_info=error)
            self.parts.on_fault(error)
            self.drop(DependencyDown("OWNER_FAULT", "the session's owner failed; resume it"))

    def check(self) -> None:
        """Refuse where nothing can be asked any more.

        Raises:
            DependencyDown: NOT_OWNER, LOG_DOWN.
            WrongState: SESSION_CLOSED.
        """
        if self.gone is not None:
            raise self.gone
        if self.closing:
            raise WrongState("SESSION_CLOSED", f"{self.session_id} is closed, or closing")

    # Leases.

    async def grant(self, ask: LeaseAsk) -> LeaseGrant:
        """Answer one ask (rules 5 to 7).

        Raises:
            WrongState: NOT_OWNER, SESSION_CLOSED.
            Overloaded: HOLDING.
            NotFound: BODY_UNKNOWN.
            DependencyDown: the log does not prove the term.
        """
        self.leases.asked(ask.home, ask.incarnation)
        self._check_grant(ask)
        if self.parts.rules.proves_term():
            try:
                await self.ledger.prove()
            except Conflict as error:
                self.drop(error)
        self._check_grant(ask)  # Much may have happened while the log was asked.
        before = self.leases.epoch_of(ask.home, ask.incarnation)
        epoch = self.parts.rules.lease_epoch(self.epoch, before)
        self.leases.granted(ask.home, ask.incarnation, epoch)
        lease_s = self.parts.limits.lease_s
        return LeaseGrant(self.session_id, ask.home, ask.incarnation, ask.ask, epoch, lease_s)

    def _check_grant(self, ask: LeaseAsk) -> None:
        if self.gone is not None:
            raise WrongState("NOT_OWNER", f"{self.session_id} has another owner")
        if self.closed.is_set():
            raise WrongState("SESSION_CLOSED", f"{self.session_id} is closed")
        if self.closing or not self.parts.rules.may_grant(self._fences):
            raise Overloaded("HOLDING", "a new epoch is on its way", retry_after_s=0.01)
        body = (ask.home, ask.incarnation)
        stands = any((b.home, b.incarnation) == body for b in self.ledger.saved.bodies)
        had_lease = self.leases.epoch_of(*body) is not None
        if not self.parts.rules.leases_to(stands=stands, had_lease=had_lease):
            raise NotFound("BODY_UNKNOWN", f"{ask.home!r} is no body of {self.session_id}")

    # Epochs.

    async def raise_epoch(self, reason: str, message: str = "") -> Interrupted:
        """Hold every body, write the new epoch durably, say so: in this order (rule 8).

        Raises:
            Conflict, DependencyDown: the epoch could not be made durable; this owner is none any more.
        """
        self._numbers += 1
        return await self._fence(Epoch(self.epoch.term, self._numbers), reason, message)

    async def fence_takeover(self) -> Interrupted:
        """Fence every body of the predecessor anew (rule 3); before it nothing is granted."""
        if not self._fences:
            return Interrupted(self.epoch, ())
        raised = await self._fence(Epoch(self.epoch.term, 0), "TAKEN_OVER", "")
        self._fences -= 1
        return raised

    async def _fence(self, epoch: Epoch, reason: str, message: str) -> Interrupted:
        rules, before = self.parts.rules, self.epoch
        self._fences += 1
        bodies = self.ledger.state.bodies
        if rules.holds_before_acknowledging():
            reports = await self.fencing.hold_all(bodies, epoch)
        else:
            self.parts.spawn(self.fencing.hold_all, bodies, epoch)
            reports = tuple(BodyReport(body, BodyState.CONFIRMED) for body in bodies)
        # Not undone on failure: while the new epoch is not durable, nothing may be granted.
        out = {report.body for report in reports if report.state is not BodyState.CONFIRMED}
        state = self.ledger.state
        kept = tuple(body for body in state.bodies if body not in out)
        await self.ledger.save(epoch=max(epoch, state.epoch), bodies=kept)
        self._fences -= 1
        self.fresh = True
        await self.ledger.control(
            ControlKind.EPOCH_RAISED, epoch=epoch, bodies=reports, reason=reason, message=message
        )
        await self._part_with(reports, before)
        return Interrupted(epoch, reports)

    async def _part_with(self, reports: tuple[BodyReport, ...], before: Epoch) -> None:
        """Bodies that are not CONFIRMED are bodies no more; the caller is told, in the old epoch."""
        now = self.parts.clock.monotonic()
        for report in reports:
            if report.state is BodyState.CONFIRMED:
                continue
            self.steps.quiet(report, now)
            self.leases.forget(report.body)
            self.opened_at.pop(report.body.home, None)
            said = self.lost.pop(report.body.home, f"{report.body.home} is {report.state}")
            if report.state is BodyState.EXPIRED:
                self.parts.spawn(self._retire, report.body)
            if not self.closing:
                await self.ledger.control(
                    ControlKind.ENVIRONMENT_LOST,
                    epoch=before,
                    bodies=(report,),
                    reason="ENVIRONMENT_LOST",
                    message=said,
                )

    async def _retire(self, body: Body) -> None:
        """A body that nobody reached: keep trying to destroy it, so that it is quiet for sure."""
        until = self.parts.clock.monotonic() + self.parts.limits.retire_s
        while self.gone is None and self.parts.clock.monotonic() < until:
            state = await self.fencing.probe(body, self.epoch, kill=True)
            if state is not None:
                now = self.parts.clock.monotonic()
                self.steps.quiet(BodyReport(body, BodyState.KILLED), now)
                self.wake.set()
                return
            await asyncio.sleep(1.0)

    # What the caller wants.

    async def interrupt(self, reason: str) -> Interrupted:
        """Stop every body and end the turn.

        Raises:
            Overloaded: TOO_MANY_INTERRUPTS.
            Conflict, DependencyDown: as `raise_epoch`.
        """
        if self._interrupts >= self.parts.limits.interrupts_max:
            raise Overloaded(
                "TOO_MANY_INTERRUPTS", f"{self._interrupts} interrupts are under way already"
            )
        self.cuts += 1
        self._interrupts += 1
        try:
            raised = await self.raise_epoch("INTERRUPTED", reason)
            await self.end_turn(Ending("INTERRUPTED", reason), below=raised.epoch)
        finally:
            self._interrupts -= 1
        return raised

    async def pause(self) -> None:
        """The client is lost: hold at once, raise no epoch before somebody is there again."""
        if not self.unpaused.is_set() or self.closing:
            return
        self.unpaused.clear()
        self._fences += 1
        self._numbers += 1
        epoch = Epoch(self.epoch.term, self._numbers)
        await self.fencing.hold_all(self.ledger.state.bodies, epoch)

    async def unpause(self) -> bool:
        """Somebody is there again; answers whether it was paused. The turn must begin anew."""
        async with self._unpausing:
            if self.unpaused.is_set() or self.closing:
                return False
            await self.raise_epoch("CLIENT_RETURNED")
            self._fences -= 1
            self.unpaused.set()
            return True

    async def end_turn(self, end: Ending, *, below: Epoch | None = None) -> None:
        """Say that the turn has ended; nothing, where none is under way."""
        turn = self.turn
        if turn is None or (below is not None and turn.epoch >= below):
            return
        self.turn = None
        await self.say_ended(end, turn.instruction, turn.epoch)
        # A turn that was cut keeps its range of steps: a late plan of it must not meet a later step.
        clean = turn.ended is not None
        step = max(turn.last_step, turn.first_step) if clean else self.ledger.state.step
        if self.turn is None:
            await self.ledger.save(working=False, step=step)

    async def say_ended(self, end: Ending, instruction: str, epoch: Epoch) -> None:
        """TURN_ENDED, under the turn's own epoch: no later turn has the same."""
        if epoch == self.epoch:
            self.fresh = False
        await self.ledger.control(
            ControlKind.TURN_ENDED,
            epoch=epoch,
            reason=end.reason,
            message=end.message,
            answer=end.answer,
            environment=self.ledger.state.environment,
            instruction=instruction,
        )

    async def close(self, reason: str) -> None:
        """Hold, destroy, say CLOSED; a second call waits for the first."""
        if self.closing:
            await self.closed.wait()
            return
        self.closing, self.cuts = True, self.cuts + 1
        self.unpaused.set()
        bodies = self.ledger.state.bodies
        raised = await self.raise_epoch(reason)
        await self.end_turn(Ending(reason), below=raised.epoch)
        await self.bodies.close_all(dict.fromkeys((*bodies, *self.ledger.state.bodies)))
        await self._await_steps()
        state = self.ledger.state
        await self.ledger.control(
            ControlKind.CLOSED,
            reason=reason,
            environment=state.environment,
            instruction=state.instruction,
            agent=state.agent,
            lesson=self.agent.lesson,
        )
        # CLOSED is said first: a successor that finds the state open says it again, none never says it.
        closed = SessionStatus.CLOSED
        await self.ledger.save(status=closed, working=False, bodies=(), reason=reason)
        self.closed.set()
        self.wake.set()

    async def _await_steps(self) -> None:
        """Outcomes of what was stopped belong into the record: wait for them, a little."""
        until = self.parts.clock.monotonic() + self.parts.limits.outcome_grace_s
        while self.steps.open and (left_s := until - self.parts.clock.monotonic()) > 0:
            try:
                async with asyncio.timeout(left_s):
                    await self.steps.changed()
            except TimeoutError:
                break
        await self.steps.report(self)

    # What the log says.

    def heard(self, message: object) -> None:
        """Fold one record of this session; never waits."""
        if isinstance(message, Started):
            self.steps.started(message)
        elif isinstance(message, Outcome):
            self.steps.outcome(message)
            if self.turn is not None:
                self.turn.saw_outcome(message)
            homes = {body.home for body in self.ledger.state.bodies}
            if message.reason in GONE and message.home in homes:
                self.lost.setdefault(message.home, message.message or message.reason)
        elif isinstance(message, Plan) and self.turn is not None:
            self.turn.saw_plan(message)
        self.wake.set()

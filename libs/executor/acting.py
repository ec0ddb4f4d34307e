"""How one action is carried out: STARTED, won, still under the same lease, then the last link, then the outcome."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from libs.clock import Clock
from libs.errors import PlatformError
from libs.events.port import Record
from libs.executor.gate import LeaseGate
from libs.executor.home import Home
from libs.executor.journal import Journal
from libs.executor.lease import Lease
from libs.executor.limits import ExecutorLimits
from libs.executor.port import LastLink, Performed
from libs.executor.rules import ExecutorRules
from libs.executor.tracing import asking_lease, came, executing, taking, writing_started
from libs.executor.writer import Writer
from tectum.plugins import PluginError
from tectum.protocol.messages import ActionIssued, Outcome, OutcomeStatus, Plan, Score, Started
from tectum.protocol.types import Epoch

_log = logging.getLogger(__name__)

GONE = frozenset({"ENVIRONMENT_LOST", "BROWSER_GONE"})
"""Reasons after which an environment can do nothing more."""


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What came of trying to begin a step."""

    begun: bool
    reason: str = ""


_BEGUN = _Verdict(begun=True)
_LOST = _Verdict(begun=False)


class Actor:
    """Carries out the actions of homes, one at a time for each home."""

    def __init__(
        self,
        *,
        name: str,
        link: LastLink,
        journal: Journal,
        writer: Writer,
        clock: Clock,
        limits: ExecutorLimits,
        rules: ExecutorRules,
        destroy: Callable[[Home], Awaitable[None]],
        spawn: Callable[[Awaitable[object]], None],
    ) -> None:
        self._name = name
        self._link = link
        self._journal = journal
        self._writer = writer
        self._clock = clock
        self._limits = limits
        self._rules = rules
        self._destroy = destroy
        self._spawn = spawn

    async def lane(self, home: Home) -> None:
        """Carry out what arrives for this home until it is gone."""
        while (item := await home.dequeue()) is not None:
            action, record = item
            with taking(record, action.plan, self._name):
                await self._take(home, action, record)

    async def refuse(self, home: Home, plan: Plan, reason: str, message: str) -> None:
        """Report a step that nobody began and nobody will."""
        home.last_step = max(home.last_step, plan.step)
        await self._report(home, plan, OutcomeStatus.FAILED, reason, message)

    async def _take(self, home: Home, action: ActionIssued, record: Record) -> None:
        plan = action.plan
        entry = self._journal.entry(plan.session_id, plan.step)
        if plan.step <= home.last_step or entry.outcome is not None:
            return
        lease = await self._lease_for(home, plan)
        if lease is None:
            await self._drop(home, plan)
            return
        deadline_at = record.event.deadline_at
        if deadline_at is not None and self._clock.now() >= deadline_at:
            await self.refuse(home, plan, "DEADLINE", f"its deadline was {deadline_at.isoformat()}")
            return
        home.last_step = plan.step
        verdict = await self._begin(home, plan, lease)
        if verdict.begun:
            await self._act(home, plan, lease)
        elif verdict.reason:
            await self._report(home, plan, OutcomeStatus.FAILED, "NOT_BEGUN", verdict.reason)

    async def _lease_for(self, home: Home, plan: Plan) -> Lease | None:
        """Wait for a lease of the plan's epoch; None once none can come (rule 13)."""
        lease = _lease_at(home, plan.epoch)
        if lease is not None:
            return lease
        with asking_lease(plan):
            while home.alive and plan.epoch >= home.keeper.floor:
                lease = _lease_at(home, plan.epoch)
                if lease is not None:
                    return lease
                home.wake.set()
                await home.keeper.change()
        return None

    async def _drop(self, home: Home, plan: Plan) -> None:
        """An action of an older epoch is dropped after looking for an open STARTED of it (rule 13)."""
        entry = self._journal.entry(plan.session_id, plan.step)
        if entry.open and entry.started is not None and entry.started.home == home.body.home:
            await self._report(
                home, plan, OutcomeStatus.UNKNOWN, "REPLACED", "begun in an older epoch"
            )
        elif plan.epoch >= home.keeper.floor:
            await self.refuse(home, plan, "ENVIRONMENT_LOST", f"{home.body.home} is gone")

    async def _begin(self, home: Home, plan: Plan, lease: Lease) -> _Verdict:
        """Publish STARTED, wait for the acknowledgement, and read back who was first (rule 10)."""
        started = Started(
            plan.session_id, plan.epoch, plan.step, home.body.home, home.body.incarnation
        )
        if self._journal.entry(plan.session_id, plan.step).started is not None:
            return _LOST
        if not self._rules.waits_for_acknowledgement():
            self._spawn(self._writer.started(started))
            return _BEGUN
        with writing_started(plan):
            position = await self._writer.started(started)
            await self._journal.reached(position.partition, position.offset)
        entry = self._journal.entry(plan.session_id, plan.step)
        if not self._rules.won(entry.started, home.mark) or entry.outcome is not None:
            return _LOST  # Another began it, or its outcome stands already: no effect may follow.
        if not self._rules.may_act(lease, home.keeper.lease):
            return _Verdict(begun=False, reason="the lease of STARTED is held or over")
        return _BEGUN

    async def _act(self, home: Home, plan: Plan, lease: Lease) -> None:
        gate = LeaseGate(home.keeper, lease, self._rules)
        home.gate = gate
        done: list[Outcome | Performed] = []

        async def perform() -> None:
            with executing(plan) as executed:
                done.append(await self._perform(home, plan, gate))
                came(executed, done[0])

        try:
            async with asyncio.TaskGroup() as scope:
                home.acting = scope.create_task(perform())
        finally:
            home.acting = None
            home.gate = None
        result = (
            done[0]
            if done
            else self._unknown(home, plan, "KILLED", "its environment was destroyed")
        )
        await self._publish(home, plan, result)

    async def _perform(self, home: Home, plan: Plan, gate: LeaseGate) -> Outcome | Performed:
        """Call the last link; every failure becomes an outcome."""
        try:
            async with asyncio.timeout(self._limits.perform_s):
                return await self._link.perform(home.environment_id, plan.action, gate)
        except TimeoutError:
            await self._destroy(home)
            return self._unknown(home, plan, "DEADLINE", f"not done in {self._limits.perform_s} s")
        except (PlatformError, PluginError) as error:
            return await self._failed(home, plan, gate, error)
        except Exception as error:  # noqa: BLE001 - a plug-in's bug must not end the executor
            _log.error("last link failed unexpectedly", exc_info=error)
            return self._unknown(home, plan, "EXECUTOR_FAULT", type(error).__name__)

    async def _failed(
        self, home: Home, plan: Plan, gate: LeaseGate, error: PlatformError | PluginError
    ) -> Outcome:
        reason, message = error.reason, str(error)
        if reason in GONE:
            await self._destroy(home)
        if reason == "HELD" and gate.begun == 0:
            return self._outcome(home, plan, OutcomeStatus.FAILED, "NOT_BEGUN", message)
        if reason == "HELD":
            return self._outcome(home, plan, OutcomeStatus.INTERRUPTED, reason, message)
        if gate.begun == 0:
            return self._outcome(home, plan, OutcomeStatus.FAILED, reason, message)
        return self._unknown(home, plan, reason, message)

    async def _publish(self, home: Home, plan: Plan, result: Outcome | Performed) -> None:
        if isinstance(result, Outcome):
            await self._writer.outcome(result)
            return
        said = result.result
        ended = said.ended or (plan.action.terminal and said.status is OutcomeStatus.OK)
        if result.score is not None:
            await self._writer.score(
                Score(
                    session_id=plan.session_id,
                    attempt=home.attempt,
                    reward=result.score.reward,
                    success=result.score.success,
                    source="environment",
                )
            )
        await self._writer.outcome(
            Outcome(
                session_id=plan.session_id,
                epoch=plan.epoch,
                step=plan.step,
                status=said.status,
                reason=said.reason,
                message=said.message,
                result=said.result,
                screen=result.screen,
                home=home.body.home,
                incarnation=home.body.incarnation,
                ended=ended,
                acting_ms=result.acting_ms,
                settling_ms=said.settling_ms,
                observing_ms=result.observing_ms,
                touched=said.touched,
            )
        )

    async def _report(
        self, home: Home, plan: Plan, status: OutcomeStatus, reason: str, message: str
    ) -> None:
        await self._writer.outcome(self._outcome(home, plan, status, reason, message))

    def _unknown(self, home: Home, plan: Plan, reason: str, message: str) -> Outcome:
        return self._outcome(home, plan, OutcomeStatus.UNKNOWN, reason, message)

    def _outcome(
        self, home: Home, plan: Plan, status: OutcomeStatus, reason: str, message: str
    ) -> Outcome:
        return Outcome(
            session_id=plan.session_id,
            epoch=plan.epoch,
            step=plan.step,
            status=status,
            reason=reason,
            message=message,
            home=home.body.home,
            incarnation=home.body.incarnation,
        )


def _lease_at(home: Home, epoch: Epoch) -> Lease | None:
    """The home's lease, if it is alive and of this epoch."""
    if not home.alive or epoch < home.keeper.floor:
        return None
    lease = home.keeper.lease
    return lease if lease is not None and lease.epoch == epoch else None

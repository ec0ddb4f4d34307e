"""Steps that were begun and have no outcome; the owner closes those that nobody else will (rule 11)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from libs.events.topics import OUTCOMES
from services.session.ports import Clock
from tectum.protocol.messages import Outcome, OutcomeStatus, Started
from tectum.protocol.types import BodyReport

if TYPE_CHECKING:
    from services.session.domain.owner import Owner


class Steps:
    """Of one session in one term."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.open: dict[int, Started] = {}
        self._closed: set[int] = set()
        self._quiet: dict[str, tuple[BodyReport, float]] = {}
        self._outcome = asyncio.Event()

    def started(self, message: Started) -> None:
        """Take note of a STARTED; the first of a step counts."""
        if message.step not in self._closed:
            self.open.setdefault(message.step, message)

    def outcome(self, message: Outcome) -> None:
        """Take note of an outcome."""
        self.open.pop(message.step, None)
        self._closed.add(message.step)
        self._outcome.set()
        self._outcome = asyncio.Event()
        if len(self._closed) > 4096:
            self._closed = set(sorted(self._closed)[2048:])

    async def changed(self) -> None:
        """Return after the next outcome."""
        await self._outcome.wait()

    def quiet(self, report: BodyReport, now: float) -> None:
        """A body can begin nothing more, or its leases are over."""
        self._quiet[report.body.home] = (report, now)

    def due(self, owner: Owner) -> list[Started]:
        """Open steps whose own executor has had its time."""
        now, grace_s = self._clock.monotonic(), owner.parts.limits.outcome_grace_s
        found = []
        for started in self.open.values():
            known = self._quiet.get(started.home)
            if known is None or now - known[1] < grace_s:
                continue
            report = known[0]
            enforces = report.body.enforces_valid_until
            if owner.parts.rules.may_report_unknown(report.state, enforces):
                found.append(started)
        return found

    def next_due(self, owner: Owner) -> float | None:
        """When the next one may be, monotonic seconds."""
        times = [
            self._quiet[started.home][1] + owner.parts.limits.outcome_grace_s
            for started in self.open.values()
            if started.home in self._quiet
        ]
        return min(times, default=None)

    async def report(self, owner: Owner) -> None:
        """Say UNKNOWN of what is due."""
        for started in self.due(owner):
            message = Outcome(
                session_id=started.session_id,
                epoch=started.epoch,
                step=started.step,
                status=OutcomeStatus.UNKNOWN,
                reason="EXECUTOR_GONE",
                message="its executor did not say what came of it",
                home=started.home,
                incarnation=started.incarnation,
            )
            event_id = f"{started.session_id}/{started.step}/unknown/owner"
            await owner.ledger.append(OUTCOMES, message, event_id)
            self.outcome(message)

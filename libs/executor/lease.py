"""Leases as one home sees them: asked for, granted for one epoch, held, lapsed."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from libs.clock import Clock
from tectum.protocol.types import Epoch

if TYPE_CHECKING:
    from libs.executor.port import LeaseGrant
    from libs.executor.rules import ExecutorRules

_ASKS_REMEMBERED = 8
"""Asks whose answers may still come; a ninth forgets the oldest."""


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to act for one epoch."""

    number: int
    """Changes whenever the lease is acquired anew, and never when it is renewed."""
    epoch: Epoch
    expires_at: float
    """On the executor's monotonic clock, margin deducted."""


class LeaseKeeper:
    """The leases of one home of one incarnation. Never waits while it decides."""

    def __init__(
        self, *, incarnation: int, clock: Clock, margin: float, rules: ExecutorRules
    ) -> None:
        self._incarnation = incarnation
        self._clock = clock
        self._margin = margin
        self._rules = rules
        self._lease: Lease | None = None
        self._numbers = 0
        self._asks: dict[int, float] = {}
        self._answered = 0
        self._changed = asyncio.Event()
        self.floor = Epoch()
        """The highest epoch this home was held for or granted; anything older is refused."""
        self.closed = False

    @property
    def lease(self) -> Lease | None:
        """The live lease, if there is one."""
        lease = self._lease
        if lease is None or self.closed or self._clock.monotonic() >= lease.expires_at:
            return None
        return lease

    def asked(self, ask: int) -> None:
        """Start the clock of an ask: call it before the ask is sent."""
        while len(self._asks) >= _ASKS_REMEMBERED:
            del self._asks[next(iter(self._asks))]
        self._asks[ask] = self._clock.monotonic()

    def granted(self, grant: LeaseGrant) -> bool:
        """Take a grant; False where it names no open ask of this incarnation, is too old, or too late."""
        sent_at = self._asks.pop(grant.ask, None)
        if sent_at is None or grant.incarnation != self._incarnation or self.closed:
            return False
        if grant.ask <= self._answered or not self._rules.accepts(self.floor, grant.epoch):
            return False
        now = self._clock.monotonic()
        expires_at = sent_at + grant.lease_s * (1.0 - self._margin)
        if not self._rules.in_time(now, expires_at):
            return False
        self._answered = grant.ask
        old = self._lease
        if old is not None and self._rules.renews(now, old, grant.epoch):
            self._lease = Lease(old.number, grant.epoch, max(old.expires_at, expires_at))
        else:
            self._numbers += 1
            self._lease = Lease(self._numbers, grant.epoch, expires_at)
        self.floor = self._rules.floor(self.floor, grant.epoch)
        self._wake()
        return True

    def hold(self, epoch: Epoch) -> None:
        """Refuse everything older than `epoch` from now on."""
        self.floor = self._rules.floor(self.floor, epoch)
        if self._lease is not None and self._lease.epoch < epoch:
            self._lease = None
        self._wake()

    def close(self) -> None:
        """No lease any more, and none to come."""
        self.closed = True
        self._lease = None
        self._wake()

    async def change(self) -> None:
        """Return after the next grant, hold or close."""
        await self._changed.wait()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

"""What stands before the last link: nothing begins without the lease it was admitted under."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from libs.executor.lease import Lease, LeaseKeeper
from libs.executor.rules import ExecutorRules
from tectum.plugins import PluginError
from tectum.protocol.types import Epoch


class LeaseGate:
    """The `tectum.plugins.Gate` of one action under one lease."""

    def __init__(self, keeper: LeaseKeeper, lease: Lease, rules: ExecutorRules) -> None:
        self._keeper = keeper
        self._lease = lease
        self._rules = rules
        self._inside = 0
        self._quiet = asyncio.Event()
        self._quiet.set()
        self.draining_since: float | None = None
        """When a hold first waited for it, monotonic seconds."""
        self.begun = 0
        """How many primitive inputs were let through."""

    @property
    def epoch(self) -> Epoch:
        """The epoch of the action."""
        return self._lease.epoch

    @property
    def valid_until(self) -> float:
        """When the lease ends, on the executor's monotonic clock, for links that refuse late commands."""
        now = self._keeper.lease
        same = now is not None and now.number == self._lease.number
        return now.expires_at if same and now is not None else self._lease.expires_at

    @property
    def open(self) -> bool:
        """Whether an input may begin now."""
        return self._rules.may_act(self._lease, self._keeper.lease)

    @asynccontextmanager
    async def input(self) -> AsyncIterator[None]:
        """Enter before each primitive input.

        Raises:
            PluginError: the lease has ended or the session is held (HELD).
        """
        if not self.open:
            raise PluginError(
                "HELD", f"expected a live lease for epoch {self.epoch}, it is held or over"
            )
        self.begun += 1
        self._inside += 1
        self._quiet.clear()
        try:
            yield
        finally:
            self._inside -= 1
            if self._inside == 0:
                self._quiet.set()

    async def drained(self) -> None:
        """Return once no primitive input is inside."""
        await self._quiet.wait()

"""One live environment at an executor, with its lease, its lane and its end."""

from __future__ import annotations

import asyncio
from collections import deque

from libs.events.port import Record
from libs.executor.gate import LeaseGate
from libs.executor.journal import Mark
from libs.executor.lease import LeaseKeeper
from libs.executor.port import OpenedBody, OpenHome
from tectum.protocol.messages import ActionIssued
from tectum.protocol.types import Body, Epoch


class Home:
    """State only; the executor decides what to do with it."""

    def __init__(
        self,
        request: OpenHome,
        opened: OpenedBody,
        environment_id: str,
        keeper: LeaseKeeper,
        now: float,
    ) -> None:
        self.session_id = request.session_id
        self.opening_id = request.opening_id
        self.attempt = request.attempt
        self.opened = opened
        self.environment_id = environment_id
        self.keeper = keeper
        self.owner_address = request.owner_address
        self.owner_epoch = Epoch()
        self.contact_at = now
        """When an owner last granted or held, monotonic seconds."""
        self.claimed = False
        """Whether an owner ever granted."""
        self.last_step = 0
        """The highest step taken; anything up to it is a repetition."""
        self.gate: LeaseGate | None = None
        self.acting: asyncio.Task[None] | None = None
        self.destroyed = False
        self.destroying = asyncio.Lock()
        self.wake = asyncio.Event()
        """Set when a lease should be asked for now."""
        self._queue: deque[tuple[ActionIssued, Record]] = deque()
        self._arrived = asyncio.Event()

    @property
    def body(self) -> Body:
        """The body that events name."""
        return self.opened.body

    @property
    def mark(self) -> Mark:
        """What stands in its STARTED."""
        return Mark(self.body.home, self.body.incarnation)

    @property
    def alive(self) -> bool:
        """Whether something may still be begun here."""
        return not self.keeper.closed

    def heard_owner(self, address: str, epoch: Epoch) -> None:
        """Remember who owns the session now; an older owner changes nothing."""
        if epoch >= self.owner_epoch:
            self.owner_epoch = epoch
            if address:
                self.owner_address = address

    def enqueue(self, action: ActionIssued, record: Record, limit: int) -> bool:
        """Put an action into the lane; False where it is full."""
        if len(self._queue) >= limit:
            return False
        self._queue.append((action, record))
        self._arrived.set()
        return True

    async def dequeue(self) -> tuple[ActionIssued, Record] | None:
        """The lane's next action; None once the home is gone and the lane is empty."""
        while not self._queue:
            if self.destroyed:
                return None
            self._arrived.clear()
            await self._arrived.wait()
        return self._queue.popleft()

    def finish(self) -> None:
        """The environment is destroyed: let lane and lease loop end."""
        self.destroyed = True
        self._arrived.set()
        self.wake.set()

"""Simulated processes: what a node, its callbacks, its tasks and its clock are."""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from tests.simulation.loop import SimLoop

T = TypeVar("T")

NODE: contextvars.ContextVar[Node] = contextvars.ContextVar("simulated_node")
"""The process that a context belongs to."""


class SimTask(asyncio.Task[Any]):
    """A task that hashes by its serial number, so that sets of tasks have one order in every process."""

    serial = 0

    def __hash__(self) -> int:
        return self.serial


class SimHandle:
    """A callback of one node, at once or at a moment."""

    __slots__ = ("_when", "args", "callback", "context", "gone", "node")

    def __init__(
        self,
        node: Node,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        context: contextvars.Context,
        when: float = 0.0,
    ) -> None:
        self.node = node
        self.callback = callback
        self.args = args
        self.context = context
        self.gone = False
        self._when = when

    def cancel(self) -> None:
        """Never run it."""
        self.gone = True

    def cancelled(self) -> bool:
        """Whether it was cancelled."""
        return self.gone

    def when(self) -> float:
        """The moment, on the clock of its node."""
        return self._when


class Node:
    """One process of the simulated system; a restart is another node of the same name."""

    def __init__(self, loop: SimLoop, name: str, index: int, offset_s: float, rate: float) -> None:
        self.loop = loop
        self.name = name
        self.index = index
        self.offset_s = offset_s
        self.rate = rate
        self.alive = True
        self.paused = False
        self.ready: deque[SimHandle] = deque()
        self.tasks: list[SimTask] = []
        self.fuse = 0
        """Callbacks until `blow` is called; 0: none is set."""
        self.blow: Callable[[], object] = lambda: None
        self.queued = False
        self.context = contextvars.Context()
        self.context.run(NODE.set, self)

    def __repr__(self) -> str:
        return self.name

    def monotonic(self) -> float:
        """Seconds on this node's own clock."""
        return self.offset_s + self.loop.now * self.rate

    def spawn(self, coro: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Start a task that belongs to this node."""
        task: asyncio.Task[T] = self.loop.create_task(coro, context=self.context.copy())
        return task

    def post(self, callback: Callable[..., object], *args: Any) -> None:
        """Let this node run `callback` when it gets to it; dropped where it is dead."""
        if self.alive:
            self.loop.enqueue(SimHandle(self, callback, args, self.context))

    def light(self, callbacks: int, blow: Callable[[], object]) -> None:
        """Call `blow` after this many more callbacks of this node: faults between two steps of one instant."""
        self.fuse, self.blow = max(1, callbacks), blow

    def pause(self) -> None:
        """Run nothing until `resume`; what comes meanwhile is run late, in order."""
        self.paused = True

    def resume(self) -> None:
        """Go on."""
        self.paused = False
        self.loop.requeue(self)

    def kill(self) -> None:
        """Never run anything of it again: no finally block, no callback."""
        self.alive = False
        self.loop.bury(self)


class NodeClock:
    """`libs.clock.Clock` of one node: offset and rate as its node has them."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def now(self) -> datetime:
        """Aware UTC."""
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self._node.monotonic())

    def monotonic(self) -> float:
        """Seconds on the node's clock."""
        return self._node.monotonic()

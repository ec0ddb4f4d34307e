"""A deterministic event loop: virtual time, seeded scheduling, and processes that can be paused and killed."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import heapq
import random
import sys
import warnings
import zlib
from asyncio import events as asyncio_events
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from tests.simulation.node import NODE, Node, SimHandle, SimTask

T = TypeVar("T")

_MASK = (1 << 64) - 1


class SimulationStuckError(AssertionError):
    """Nothing can ever happen again, or too much happened."""


class SimulationEscapeError(AssertionError):
    """Simulated code asked for a thread or a socket."""


class SimLoop(asyncio.BaseEventLoop):
    """Runs callbacks of nodes; time passes only when no node has anything to do.

    A seeded generator picks the node that runs next; inside a node the order is asyncio's. There is no
    thread, socket or real sleep to be had: what asyncio would need for them is not implemented.
    """

    def __init__(self, seed: int, *, step_limit: int = 2_000_000) -> None:
        self._over = False
        self._is_running = False
        super().__init__()
        self._random = random.Random(f"schedule/{seed}")
        self._runnable: list[Node] = []
        self._timers: list[tuple[float, int, SimHandle]] = []
        self._serial = 0
        self._graveyard: list[object] = []
        self._step_limit = step_limit
        self.halted = False
        """Set to end the run although `main` has not ended."""
        self.now = 0.0
        """Seconds since the start, on no node's clock."""
        self.steps = 0
        self.digest = 0
        self.errors: list[str] = []
        self.nodes: list[Node] = []
        self.on_step: Callable[[Node, Callable[..., object]], None] | None = None

    def node(self, name: str, *, offset_s: float = 0.0, rate: float = 1.0) -> Node:
        """A new process."""
        node = Node(self, name, len(self.nodes), offset_s, rate)
        self.nodes.append(node)
        return node

    def mix(self, text: str) -> None:
        """Let something that happened count for the trace's hash."""
        self.digest = (self.digest * 1000003 ^ zlib.crc32(text.encode())) & _MASK

    # scheduling

    def enqueue(self, handle: SimHandle) -> None:
        """Append to the node's own queue."""
        node = handle.node
        if not node.alive:
            return
        node.ready.append(handle)
        if not node.queued and not node.paused:
            node.queued = True
            self._runnable.append(node)

    def requeue(self, node: Node) -> None:
        """Let a node run again that was paused."""
        if node.ready and not node.queued and node.alive:
            node.queued = True
            self._runnable.append(node)

    def bury(self, node: Node) -> None:
        """Keep what a dead node holds, so that no finally block of it runs before the end."""
        self._graveyard.append((node.ready, node.tasks))
        node.ready, node.tasks = deque(), []

    def at(self, when: float, callback: Callable[..., object], *args: Any, node: Node) -> SimHandle:
        """Call back on `node` at a moment of the simulation's own time."""
        handle = SimHandle(node, callback, args, node.context, when)
        self._serial += 1
        heapq.heappush(self._timers, (max(when, self.now), self._serial, handle))
        return handle

    def run(self, main: Coroutine[Any, Any, T], node: Node) -> T | None:
        """Run until `main` has ended on `node`; None where it was halted before.

        Raises:
            SimulationStuckError: nobody can go on although `main` has not ended, or the step limit is reached.
        """
        asyncio_events._set_running_loop(self)
        hooks = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(finalizer=self._finalize)
        self._is_running = True
        try:
            task = node.spawn(main)
            while not task.done():
                while not self._runnable:
                    if not self._advance():
                        raise SimulationStuckError(
                            f"deadlock at {self.now:.3f} s: {task!r} waits for ever"
                        )
                self._turn()
                if self.halted:
                    return None
        finally:
            self._is_running = False
            sys.set_asyncgen_hooks(*hooks)
            asyncio_events._set_running_loop(None)
        return task.result()

    def _turn(self) -> None:
        runnable = self._runnable
        index = int(self._random.random() * len(runnable)) if len(runnable) > 1 else 0
        node = runnable[index]
        ready = node.ready
        if not ready or node.paused:
            node.queued = False
            runnable[index] = runnable[-1]
            runnable.pop()
            return
        handle = ready.popleft()
        if handle.gone:
            return
        self.steps += 1
        if self.steps > self._step_limit:
            raise SimulationStuckError(f"livelock: {self.steps} callbacks by {self.now:.3f} s")
        self.digest = (self.digest * 1000003 ^ node.index) & _MASK
        if self.on_step is not None:
            self.on_step(node, handle.callback)
        try:
            handle.context.run(handle.callback, *handle.args)
        except Exception as error:  # noqa: BLE001
            self.errors.append(f"{node.name}: {error!r} in {handle.callback!r}")
        if node.fuse:
            node.fuse -= 1
            if not node.fuse:
                node.blow()

    def _advance(self) -> bool:
        timers = self._timers
        while timers and timers[0][2].gone:
            heapq.heappop(timers)
        if not timers:
            return False
        self.now = timers[0][0]
        while timers and timers[0][0] <= self.now:
            handle = heapq.heappop(timers)[2]
            if not handle.gone:
                self.enqueue(handle)
        return True

    def _finalize(self, generator: Any) -> None:
        node = NODE.get(None)
        if node is not None and node.alive and not self._over:
            self.create_task(generator.aclose())
        else:
            self._graveyard.append(generator)

    # what asyncio asks of a loop

    def call_soon(  # type: ignore[override]
        self,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> Any:
        """See asyncio."""
        if self._over:
            raise RuntimeError("the simulation is over")
        if context is None:
            context = contextvars.copy_context()
        handle = SimHandle(context[NODE], callback, args, context)
        self.enqueue(handle)
        return handle

    def call_later(  # type: ignore[override]
        self,
        delay: float,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> Any:
        """See asyncio."""
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> Any:
        """See asyncio; `when` is on the clock of the node that calls."""
        if self._over:
            raise RuntimeError("the simulation is over")
        if context is None:
            context = contextvars.copy_context()
        node = context[NODE]
        handle = SimHandle(node, callback, args, context, when)
        moment = max((when - node.offset_s) / node.rate, self.now)
        self._serial += 1
        heapq.heappush(self._timers, (moment, self._serial, handle))
        return handle

    def time(self) -> float:
        """Seconds on the clock of the node that asks."""
        return NODE.get().monotonic()

    def create_future(self) -> asyncio.Future[Any]:
        """See asyncio."""
        return asyncio.Future(loop=self)

    def create_task(
        self,
        coro: Any,
        *,
        name: object = None,
        context: contextvars.Context | None = None,
    ) -> Any:
        """See asyncio; the task belongs to the node that calls."""
        self._serial += 1
        task = SimTask(
            coro, loop=self, name=f"{name}" if name else f"t{self._serial}", context=context
        )
        task.serial = self._serial
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        tasks = (NODE.get() if context is None else context[NODE]).tasks
        tasks.append(task)
        if len(tasks) & 255 == 0:
            tasks[:] = [task for task in tasks if not task.done()]
        return task

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:  # type: ignore[override]
        """Refused: there are no threads.

        Raises:
            SimulationEscapeError: always.
        """
        raise SimulationEscapeError(f"expected no thread, {func!r} wants one")

    def get_debug(self) -> bool:
        """See asyncio."""
        return False

    def is_running(self) -> bool:
        """See asyncio."""
        return self._is_running

    def is_closed(self) -> bool:
        """See asyncio."""
        return self._over

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Keep what nobody handled: it fails the seed."""
        if not self._over:
            error = context.get("exception")
            self.errors.append(f"{NODE.get(None)}: {context.get('message')} ({error!r})")

    def close(self) -> None:
        """Drop everything; finally blocks of what still hangs run now, and what they say is not heard."""
        self._over = True
        super().close()
        with deaf():
            self._timers.clear()
            self._runnable.clear()
            self._graveyard.clear()
            for node in self.nodes:
                node.ready.clear()
                node.tasks.clear()
            self.nodes.clear()


@contextmanager
def deaf() -> Iterator[None]:
    """Hear nothing of what dead processes say while they are taken apart; nothing of them is left after it."""
    hook, sys.unraisablehook = sys.unraisablehook, lambda _: None
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
            gc.collect()
    finally:
        sys.unraisablehook = hook

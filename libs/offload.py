"""Bounded thread pools: the only road to a blocking client."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

from libs.errors import Overloaded

P = ParamSpec("P")
R = TypeVar("R")


class Offload:
    """Runs blocking calls on at most `threads` threads, with at most `waiting` calls waiting for
    one.

    A call that its caller no longer awaits still runs to its end: give the client a time-out of
    its own.
    """

    def __init__(self, name: str, *, threads: int, waiting: int) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._limit = threads + waiting
        # One token for each call, taken out by the thread that ends it: a deque needs no lock for that.
        self._inside: deque[None] = deque()
        self._name = name

    async def run(self, call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Return what `call` returns.

        Raises:
            Overloaded: too many calls are waiting (OFFLOAD_FULL).
        """
        if len(self._inside) >= self._limit:
            raise Overloaded("OFFLOAD_FULL", f"{self._name}: {self._limit} calls are under way")
        future = self._pool.submit(call, *args, **kwargs)
        self._inside.append(None)
        # Of the thread's future, not of ours: a call that nobody awaits any more still has its place.
        future.add_done_callback(self._left)
        return await asyncio.wrap_future(future)

    def _left(self, _: object) -> None:
        self._inside.pop()

    async def aclose(self) -> None:
        """Wait for what runs, refuse what comes."""
        await asyncio.get_running_loop().run_in_executor(
            None, partial(self._pool.shutdown, wait=True)
        )

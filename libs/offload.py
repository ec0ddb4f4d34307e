"""Bounded thread pools: the only road to a blocking client."""

from __future__ import annotations

import asyncio
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
        self._inside = 0
        self._name = name

    async def run(self, call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Return what `call` returns.

        Raises:
            Overloaded: too many calls are waiting (OFFLOAD_FULL).
        """
        if self._inside >= self._limit:
            raise Overloaded("OFFLOAD_FULL", f"{self._name}: {self._limit} calls are under way")
        self._inside += 1
        future = asyncio.get_running_loop().run_in_executor(
            self._pool, partial(call, *args, **kwargs)
        )
        future.add_done_callback(self._left)
        return await future

    def _left(self, _: object) -> None:
        self._inside -= 1

    async def aclose(self) -> None:
        """Wait for what runs, refuse what comes."""
        await asyncio.get_running_loop().run_in_executor(
            None, partial(self._pool.shutdown, wait=True)
        )

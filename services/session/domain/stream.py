"""One client's stream: answers and history, in one order, at the client's own pace."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from libs.errors import PlatformError
from services.session.domain.messages import Heard, Refused
from services.session.domain.view import View
from services.session.ports import Record

_NOTICES_MAX = 16
"""Notices that wait for a slow client; the oldest is dropped first."""


class Stream:
    """Sends one message at a time; a client that does not read holds nobody up."""

    def __init__(self, view: View, send: Callable[[Heard], Awaitable[None]]) -> None:
        self._view = view
        self._send = send
        self._sending = asyncio.Lock()
        self._notices: deque[Refused] = deque(maxlen=_NOTICES_MAX)
        self._noticed = asyncio.Event()
        self._ended = asyncio.Event()
        self._error: PlatformError | None = None

    async def answer(self, heard: Heard) -> None:
        """Send something that is not part of the history."""
        async with self._sending:
            await self._send(heard)

    def offer(self, record: Record) -> None:
        """A fresh record of the session; never waits."""
        self._view.offer(record)

    def notice(self, refused: Refused) -> None:
        """Say something in passing; never waits. The same is not said twice in a row."""
        if self._notices and self._notices[-1] == refused:
            return
        self._notices.append(refused)
        self._noticed.set()

    def end(self, error: PlatformError) -> None:
        """End this stream with an error."""
        if self._error is None:
            self._error = error
            self._ended.set()

    async def show(self) -> None:
        """Send the history until CLOSED was sent."""
        await self._view.run(self._show)
        self._ended.set()

    async def tell(self) -> None:
        """Send notices until cancelled."""
        while True:
            await self._noticed.wait()
            self._noticed.clear()
            while self._notices:
                await self.answer(Heard(self._notices.popleft()))

    async def until_ended(self) -> None:
        """Wait for the end.

        Raises:
            PlatformError: why it ended, if not because the session is closed.
        """
        await self._ended.wait()
        if self._error is not None:
            raise self._error

    async def _show(self, record: Record, cursor: str) -> None:
        await self.answer(Heard(record, cursor))

"""What a client hears: a view of the log from a cursor on; the log is the buffer."""

from __future__ import annotations

import asyncio
import base64
import binascii
import heapq
import json
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from datetime import datetime

from libs.errors import DependencyDown, InvalidRequest
from libs.events.topics import CONTROL, DECISIONS, OBSERVATIONS, OUTCOMES, PLANS
from services.session.ports import Codec, EventLog, Record
from tectum.protocol.messages import Control, ControlKind

TOPICS = (OBSERVATIONS, PLANS, DECISIONS, OUTCOMES, CONTROL)
_SHOWN = frozenset({"TurnStarted", "Plan", "Decision", "Outcome", "Score", "Control"})
_RETRY_S = 0.2


def pack(positions: Mapping[str, int]) -> str:
    """The cursor of these next offsets."""
    numbers = [positions.get(topic, 0) for topic in TOPICS]
    return base64.urlsafe_b64encode(json.dumps(numbers).encode()).decode()


def unpack(cursor: str) -> dict[str, int]:
    """The next offsets of a cursor.

    Raises:
        InvalidRequest: CURSOR_MALFORMED.
    """
    try:
        numbers = json.loads(base64.urlsafe_b64decode(cursor.encode()))
        return {topic: max(int(number), 0) for topic, number in zip(TOPICS, numbers, strict=True)}
    except (binascii.Error, ValueError, TypeError) as error:
        raise InvalidRequest(
            "CURSOR_MALFORMED", f"expected the cursor of a response, got {cursor[:80]!r}"
        ) from error


class View:
    """The history of one session as one stream hears it."""

    def __init__(
        self,
        log: EventLog,
        codec: Codec,
        session_id: str,
        positions: Mapping[str, int],
        records_max: int,
    ) -> None:
        self._log = log
        self._codec = codec
        self._session_id = session_id
        self._positions = dict(positions)
        self._records_max = records_max
        self._buffer: deque[Record] = deque()
        self._overflowed = True
        self._arrived = asyncio.Event()
        self.overflows = 0
        """How often the client was slower than the log, and the log was read again."""

    def offer(self, record: Record) -> None:
        """Take a fresh record; never waits. What is too much is read from the log later."""
        if record.topic not in TOPICS or self._overflowed:
            self._arrived.set()
            return
        if len(self._buffer) >= self._records_max:
            self._buffer.clear()
            self._overflowed = True
            self.overflows += 1
        else:
            self._buffer.append(record)
        self._arrived.set()

    async def run(self, send: Callable[[Record, str], Awaitable[None]]) -> None:
        """Send everything from the cursor on; return after CLOSED was sent."""
        while True:
            if self._overflowed:
                self._overflowed = False
                if await self._catch_up(send):
                    return
            while self._buffer:
                if await self._show(self._buffer.popleft(), send):
                    return
            self._arrived.clear()
            if not self._buffer and not self._overflowed:
                await self._arrived.wait()

    async def _catch_up(self, send: Callable[[Record, str], Awaitable[None]]) -> bool:
        """Read the log from the cursor to its end; records offered meanwhile wait in the buffer."""
        while True:
            try:
                async with aclosing(self._merged()) as records:
                    async for record in records:
                        if await self._show(record, send):
                            return True
            except DependencyDown:
                await asyncio.sleep(_RETRY_S)
            else:
                return False

    async def _merged(self) -> AsyncGenerator[Record, None]:
        """What is there, of all topics, by the time it was appended."""
        heads: list[tuple[datetime, int, Record]] = []
        sources: dict[int, AsyncIterator[Record]] = {}
        for rank, topic in enumerate(TOPICS):
            partition = await self._log.partition_of(topic, self._session_id)
            start = self._positions.get(topic, 0)
            sources[rank] = aiter(
                self._log.read(topic, partition, start=start, key=self._session_id)
            )
            await self._advance(heads, sources, rank)
        while heads:
            _, rank, record = heapq.heappop(heads)
            yield record
            await self._advance(heads, sources, rank)

    async def _advance(
        self,
        heads: list[tuple[datetime, int, Record]],
        sources: dict[int, AsyncIterator[Record]],
        rank: int,
    ) -> None:
        record = await anext(sources[rank], None)
        if record is not None:
            heapq.heappush(heads, (record.appended_at, rank, record))

    async def _show(self, record: Record, send: Callable[[Record, str], Awaitable[None]]) -> bool:
        if record.offset < self._positions.get(record.topic, 0):
            return False
        self._positions[record.topic] = record.offset + 1
        kind = record.event.type.rpartition(".")[2]
        if kind not in _SHOWN:
            return False
        await send(record, pack(self._positions))
        if kind != "Control":
            return False
        message = self._codec.decode(record.event)
        return isinstance(message, Control) and message.kind is ControlKind.CLOSED

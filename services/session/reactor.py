"""What the session service reads of the log."""

from __future__ import annotations

import asyncio
import logging

from libs.errors import DependencyDown, InvalidRequest
from libs.events.port import EventLog, Record
from libs.events.topics import SESSIONS
from services.session.domain.sessions import Sessions
from services.session.domain.view import TOPICS

_log = logging.getLogger(__name__)
_PAUSE_S = 0.2


class SessionReactor:
    """Follows the topics that sessions are made of, without a group: every replica hears everything."""

    def __init__(self, log: EventLog, sessions: Sessions) -> None:
        self._log = log
        self._sessions = sessions

    async def run(self) -> None:
        """Until cancelled."""
        positions = await self._positions()
        while True:
            try:
                async with self._log.tail(positions) as tail:
                    self._sessions.following.set()
                    while True:
                        # Topics have no common order; what one owner wrote reads better in its own.
                        batch = sorted(await tail.fetch(), key=lambda record: record.appended_at)
                        for record in batch:
                            self._hear(record)
                            positions[record.topic, record.partition] = record.offset + 1
            except DependencyDown as error:
                _log.warning("the log cannot be read", exc_info=error)
                await asyncio.sleep(_PAUSE_S)

    async def _positions(self) -> dict[tuple[str, int], int]:
        """The present end of what happens, the beginning of what stands."""
        while True:
            try:
                positions = {
                    (topic, partition): await self._log.end_offset(topic, partition)
                    for topic in TOPICS
                    for partition in range(await self._log.partitions(topic))
                }
                for partition in range(await self._log.partitions(SESSIONS)):
                    positions[SESSIONS, partition] = 0
            except DependencyDown as error:
                _log.warning("the log cannot be read", exc_info=error)
                await asyncio.sleep(_PAUSE_S)
            else:
                return positions

    def _hear(self, record: Record) -> None:
        try:
            self._sessions.heard(record)
        except InvalidRequest as error:
            _log.error(
                "skipped a malformed event",
                extra={"topic": record.topic, "offset": record.offset},
                exc_info=error,
            )

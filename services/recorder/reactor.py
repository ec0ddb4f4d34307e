"""The log's side of the recorder: reads every topic, publishes TrajectorySealed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace

from libs.clock import Clock
from libs.errors import Conflict, DependencyDown, Overloaded, PlatformError, WrongState
from libs.events.deadletters import DeadLetters
from libs.events.messages import encode
from libs.events.port import EventLog, Producer, Record, Subscription
from libs.events.topics import ACTIONS, DEAD_LETTER_SUFFIX, TRAJECTORIES, topic_specs
from services.recorder.domain.recording import Recorder, Rejected, Sealed
from services.recorder.settings import RecorderSettings
from tectum.protocol.messages import TrajectorySealed

GROUP = "recorder"
TOPICS = tuple(s.name for s in topic_specs(1) if not s.name.startswith(TRAJECTORIES))
"""Everything, dead letters included, but what the recorder says itself."""

_FULL_BATCH = 200
"""Records in one fetch from which on the recorder is behind and does not pause."""
_REST_PAGE = 256

_log = logging.getLogger(__name__)


class RecorderReactor:
    """Moves the log to disk in batches.

    The log is the buffer: between two writes nothing is fetched, so memory stays bounded, and offsets are
    committed only after the write. A refused write is tried again until it succeeds, and says so.
    """

    def __init__(
        self,
        recorder: Recorder,
        log: EventLog,
        clock: Clock,
        settings: RecorderSettings,
        on_degraded: Callable[[str], Awaitable[None]],
    ) -> None:
        """`on_degraded` is told the reason when writing begins to fail, and "" when it works again."""
        self._recorder = recorder
        self._log = log
        self._clock = clock
        self._settings = settings
        self._on_degraded = on_degraded
        self._degraded: dict[str, str] = {}
        self._dead_letters = DeadLetters(log, GROUP, clock)
        self._positions: dict[tuple[str, int], int] = {}
        self._one_at_a_time = asyncio.Lock()
        self._closed = asyncio.Event()

    async def run(self) -> None:
        """Record until cancelled, or until another recorder takes over."""
        producer = await self._log.producer(GROUP)
        await self._insist("record", self._recorder.resume)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._seal_all(producer))
                tasks.create_task(self._read_all())
        except* Conflict as error:
            _log.error("replaced by another recorder", extra={"error": str(error.exceptions[0])})
            await self._on_degraded("PRODUCER_FENCED")

    async def _read_all(self) -> None:
        while True:
            try:
                async with self._log.subscribe(GROUP, TOPICS) as subscription:
                    await self._read(subscription)
            except Conflict as error:
                if error.reason != "MEMBER_EVICTED":
                    raise
            except DependencyDown as error:
                _log.warning("the log does not answer", extra={"error": str(error)})
                await asyncio.sleep(self._settings.retry_s)

    async def _read(self, subscription: Subscription) -> None:
        self._look_for_closed()
        while True:
            records = await subscription.fetch()

            async def record(records: Sequence[Record] = records) -> None:
                await self._record(records)

            await self._insist("record", record)
            await self._commit(subscription, records)
            self._look_for_closed()
            if len(records) < _FULL_BATCH:
                await asyncio.sleep(self._settings.flush_s)

    async def _record(self, records: Sequence[Record]) -> None:
        async with self._one_at_a_time:
            for rejected in await self._recorder.record(records):
                await self._reject(rejected)
            for record in records:
                place = (record.topic, record.partition)
                self._positions[place] = max(self._positions.get(place, 0), record.offset + 1)

    async def _reject(self, rejected: Rejected) -> None:
        record, error = rejected.record, rejected.error
        fields = {"reason": error.reason, "topic": record.topic, "offset": record.offset}
        _log.warning("event outside any trajectory", extra=fields)
        if not record.topic.endswith(DEAD_LETTER_SUFFIX):
            await self._dead_letters.put(record, error, attempts=1)

    async def _commit(self, subscription: Subscription, records: Sequence[Record]) -> None:
        """Commit what was read; at once, so that an embedded log needs one transaction for all of it."""
        places = {(record.topic, record.partition) for record in records}

        async def commit(place: tuple[str, int]) -> None:
            try:
                await subscription.commit(*place, self._positions[place])
            except (Conflict, DependencyDown) as error:
                # It will be read again, and known by its offset.
                _log.info("not committed", extra={"topic": place[0], "error": str(error)})

        async with asyncio.TaskGroup() as tasks:
            for place in places:
                tasks.create_task(commit(place))

    def _look_for_closed(self) -> None:
        if self._recorder.closing:
            self._closed.set()

    async def _seal_all(self, producer: Producer) -> None:
        while True:
            await self._closed.wait()
            self._closed.clear()
            await asyncio.sleep(self._settings.seal_delay_s)
            for session_id in self._recorder.closing:

                async def seal(session_id: str = session_id) -> None:
                    await self._seal(session_id, producer)

                await self._insist("seal", seal)

    async def _seal(self, session_id: str, producer: Producer) -> None:
        async with self._one_at_a_time:
            try:
                sealed = await self._recorder.seal(session_id, self._rest(session_id))
            except WrongState as error:
                fields = {"session_id": session_id, "reason": error.reason, "error": str(error)}
                _log.error("a closed session cannot be sealed", extra=fields)
                await self._recorder.set_aside(session_id)
                return
            await self._announce(sealed, producer)
            await self._recorder.forget(sealed)

    async def _announce(self, sealed: Sealed, producer: Producer) -> None:
        manifest = sealed.manifest
        message = TrajectorySealed(
            session_id=manifest.session_id,
            tenant=manifest.tenant,
            manifest_key=sealed.manifest_key,
            success=manifest.success,
            lesson=manifest.lesson,
            instruction=manifest.instructions[-1] if manifest.instructions else "",
            reason=manifest.reason,
        )
        event = encode(
            message,
            event_id=f"{manifest.session_id}/sealed",
            subject=manifest.session_id,
            at=self._clock.now(),
        )
        await producer.publish(TRAJECTORIES, replace(event, traceparent=sealed.traceparent))

    async def _rest(self, session_id: str) -> AsyncIterator[Sequence[Record]]:
        """Events of a closed session in topics that were not read so far, up to their ends as they are now."""
        for topic, partition in await self._places(session_id):
            start = self._positions.get((topic, partition))
            if start is None:
                start = await self._log.committed(GROUP, topic, partition)
            end = await self._log.end_offset(topic, partition)
            if start >= end:
                continue
            page: list[Record] = []
            async for record in self._log.read(
                topic, partition, start=start, end=end, key=session_id
            ):
                page.append(record)
                if len(page) == _REST_PAGE:
                    yield page
                    page = []
            if page:
                yield page

    async def _places(self, session_id: str) -> list[tuple[str, int]]:
        """Where events of a session can be: its own partition, or any of topics that go by home."""
        by_home = {*ACTIONS.values()}
        places: list[tuple[str, int]] = []
        for topic in TOPICS:
            if topic in by_home:
                places += [(topic, n) for n in range(await self._log.partitions(topic))]
            else:
                places.append((topic, await self._log.partition_of(topic, session_id)))
        return places

    async def _insist(self, what: str, call: Callable[[], Awaitable[None]]) -> None:
        """Repeat `call` while disk, blob store or log refuse; nothing is committed meanwhile."""
        pause_s = self._settings.retry_s
        while True:
            try:
                await call()
            except (DependencyDown, Overloaded) as error:
                await self._degrade(what, error)
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, self._settings.retry_max_s)
            else:
                await self._recover(what)
                return

    async def _degrade(self, what: str, error: PlatformError) -> None:
        if self._degraded.get(what) != error.reason:
            self._degraded[what] = error.reason
            fields = {"activity": what, "reason": error.reason, "error": str(error)}
            _log.error("the recorder stands still", extra=fields)
            await self._on_degraded(error.reason)

    async def _recover(self, what: str) -> None:
        if self._degraded.pop(what, ""):
            _log.warning("the recorder goes on", extra={"activity": what})
            await self._on_degraded(next(iter(self._degraded.values()), ""))

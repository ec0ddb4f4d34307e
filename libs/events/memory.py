"""The event log in memory, deterministic: no threads, no clock of its own."""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from operator import attrgetter

from libs.clock import Clock
from libs.errors import Conflict
from libs.events.appending import check_spec, fenced, stamped
from libs.events.groups import Place
from libs.events.local import LocalEventLog
from libs.events.port import Cleanup, Event, Position, Record, TopicSpec
from libs.events.readers import within_bytes
from libs.events.settings import EventSettings
from libs.events.traced import sending

_by_offset = attrgetter("offset")


@dataclass(slots=True)
class _Partition:
    """Records in order of their offsets, which may have gaps where old ones were deleted."""

    records: list[Record] = field(default_factory=list)
    end: int = 0
    uncleaned: int = 0


@dataclass(slots=True, eq=False)
class _Waiting:
    """A publish between its call and its append."""

    place: Place
    event: Event
    traceparent: str
    position: Position | None = None
    error: Conflict | None = None


class MemoryProducer:
    """A Producer; see the port."""

    def __init__(self, log: MemoryEventLog, name: str, incarnation: int) -> None:
        self._log = log
        self._name = name
        self._incarnation = incarnation
        self._seq = 0
        self._waiting: deque[_Waiting] = deque()

    @property
    def name(self) -> str:
        """The name, written as `source`."""
        return self._name

    @property
    def incarnation(self) -> int:
        """Rises with every producer of this name."""
        return self._incarnation

    async def publish(self, topic: str, event: Event, *, partition: int | None = None) -> Position:
        """Append and return; see the port."""
        place = self._log.place(topic, event, partition)
        with sending(topic, event) as traceparent:
            return await self._publish(_Waiting(place, event, traceparent))

    async def _publish(self, waiting: _Waiting) -> Position:
        self._waiting.append(waiting)
        # The way to a real log takes time, and others run meanwhile: a later producer may fence
        # this one here. What one producer sends keeps the order of the calls however the loop
        # schedules.
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            if waiting in self._waiting:
                self._waiting.remove(waiting)
            raise
        while self._waiting and waiting.position is None and waiting.error is None:
            self._append(self._waiting.popleft())
        # So does the way back: the caller may die between the append and its acknowledgement.
        await asyncio.sleep(0)
        if waiting.error is not None:
            raise waiting.error
        assert waiting.position is not None  # noqa: S101 (appended above, by us or another call)
        return waiting.position

    async def prove(self) -> None:
        """Return only if no later producer of this name exists."""
        await asyncio.sleep(0)
        self._log.check_not_fenced(self._name, self._incarnation)

    def _append(self, waiting: _Waiting) -> None:
        try:
            self._log.check_not_fenced(self._name, self._incarnation)
        except Conflict as error:
            waiting.error = error
            return
        self._seq += 1
        event = stamped(
            waiting.event, self._name, self._incarnation, self._seq, waiting.traceparent
        )
        waiting.position = self._log.append(waiting.place, event)


class MemoryEventLog(LocalEventLog):
    """An EventLog; see the port. What it holds ends with the process.

    Compaction and retention run within publishing, once a partition got `clean_records_max`
    new records.
    """

    def __init__(self, clock: Clock, settings: EventSettings | None = None) -> None:
        super().__init__(clock, settings)
        self._partitions: dict[Place, _Partition] = {}
        self._incarnations: dict[str, int] = {}
        self._committed: dict[tuple[str, Place], int] = {}

    async def ensure_topics(self, specs: Sequence[TopicSpec]) -> None:
        """Create what is missing; see the port."""
        await self._hop()
        for spec in specs:
            check_spec(spec, self._specs.get(spec.name))
        for spec in specs:
            self._specs.setdefault(spec.name, spec)
            for partition in range(spec.partitions):
                self._partitions.setdefault((spec.name, partition), _Partition())

    async def producer(self, name: str) -> MemoryProducer:
        """Return a producer that fences every earlier one of this name."""
        await self._hop()
        self._incarnations[name] = incarnation = self._incarnations.get(name, 0) + 1
        return MemoryProducer(self, name, incarnation)

    async def read(
        self,
        topic: str,
        partition: int,
        *,
        start: int = 0,
        end: int | None = None,
        key: str | None = None,
    ) -> AsyncIterator[Record]:
        """What is there from `start` up to `end`, of one key or all."""
        await self._hop()
        self._check_place((topic, partition))
        found = self._partitions[(topic, partition)]
        stop = found.end if end is None else min(end, found.end)
        at = start
        while at < stop:
            records, at = self._slice(found, at, self._settings.fetch_records_max)
            for record in records:
                if record.offset < stop and (key is None or record.key == key):
                    yield record
            await self._hop()

    async def clean(self) -> None:
        """Compact and delete now, in every partition."""
        await self._hop()
        for place, partition in self._partitions.items():
            self._clean(self._specs[place[0]], partition)

    async def aclose(self) -> None:
        """Stop: readers that wait get LOG_DOWN."""
        self._bells.close()
        await asyncio.sleep(0)

    def check_not_fenced(self, name: str, incarnation: int) -> None:
        """Raise Conflict (PRODUCER_FENCED) if a later producer of this name exists."""
        self._bells.check_open()
        if self._incarnations[name] != incarnation:
            raise fenced(name, incarnation)

    def append(self, place: Place, event: Event) -> Position:
        """Put a stamped event at the end of a partition and wake its readers."""
        partition = self._partitions[place]
        position = Position(*place, partition.end)
        partition.records.append(
            Record(*place, partition.end, event.subject, event, self._clock.now())
        )
        partition.end += 1
        partition.uncleaned += 1
        if partition.uncleaned >= self._settings.clean_records_max:
            self._clean(self._specs[place[0]], partition)
        self._bells.ring((place,))
        return position

    async def take(
        self, place: Place, start: int, records_max: int, bytes_max: int
    ) -> tuple[Sequence[Record], int]:
        """Return records from `start` on and where to go on."""
        records, go_on = self._slice(self._partitions[place], start, records_max)
        return within_bytes(records, go_on, bytes_max)

    def end(self, place: Place) -> int:
        """The offset that the next record will have."""
        return self._partitions[place].end

    def committed_offset(self, group: str, place: Place) -> int:
        """The committed offset; 0 where there is none."""
        return self._committed.get((group, place), 0)

    async def store_commit(self, group: str, place: Place, offset: int) -> None:
        """Keep a committed offset; lower than before is ignored."""
        await self._hop()
        if offset > self.committed_offset(group, place):
            self._committed[(group, place)] = offset

    @staticmethod
    def _slice(partition: _Partition, start: int, count: int) -> tuple[list[Record], int]:
        first = bisect_left(partition.records, start, key=_by_offset)
        records = partition.records[first : first + count]
        return records, records[-1].offset + 1 if len(records) == count else partition.end

    def _clean(self, spec: TopicSpec, partition: _Partition) -> None:
        partition.uncleaned = 0
        too_old = self._clock.now() - timedelta(seconds=spec.retention_s)
        if spec.cleanup is Cleanup.DELETE:
            if partition.records and partition.records[0].appended_at < too_old:
                partition.records = [r for r in partition.records if r.appended_at >= too_old]
            return
        latest = {record.key: record.offset for record in partition.records}
        partition.records = [
            r
            for r in partition.records
            if latest[r.key] == r.offset and (r.event.data or r.appended_at >= too_old)
        ]

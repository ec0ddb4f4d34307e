"""The event log on SQLite, for one process: durable, fenced, woken without polling."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Concatenate, ParamSpec, Self

from libs.clock import Clock
from libs.events import store
from libs.events.appending import check_spec, stamped
from libs.events.groups import Place
from libs.events.keeper import FolderLock, Keeper
from libs.events.local import LocalEventLog
from libs.events.port import Event, Position, Record, TopicSpec
from libs.events.readers import within_bytes
from libs.events.settings import EventSettings
from libs.events.store import Lane
from libs.events.traced import sending
from libs.events.writer import Writer
from libs.offload import Offload

P = ParamSpec("P")

FILE_NAME = "events.sqlite"


class EmbeddedProducer:
    """A Producer; see the port."""

    def __init__(self, log: EmbeddedEventLog, name: str, incarnation: int) -> None:
        self._log = log
        self._name = name
        self._incarnation = incarnation
        self._seq = 0

    @property
    def name(self) -> str:
        """The name, written as `source`."""
        return self._name

    @property
    def incarnation(self) -> int:
        """Rises with every producer of this name."""
        return self._incarnation

    async def publish(self, topic: str, event: Event, *, partition: int | None = None) -> Position:
        """Append and return once it is committed; see the port."""
        place = self._log.place(topic, event, partition)
        with sending(topic, event) as traceparent:
            # Nothing is awaited up to the writer's queue: the order of the calls is kept.
            self._seq += 1
            return await self._log.append(
                place, stamped(event, self._name, self._incarnation, self._seq, traceparent)
            )

    async def prove(self) -> None:
        """Return only if the file says so, asked after this call began."""
        await self._log.prove(self._name, self._incarnation)


class _Recent:
    """The newest records of a partition, without gaps, for readers that keep up."""

    def __init__(self, end: int) -> None:
        self.end = end
        self._first = end
        self._records: list[Record] = []
        self._bytes = 0

    def add(self, record: Record, records_max: int, bytes_max: int) -> None:
        """Take the next record in and let old ones go."""
        self._records.append(record)
        self._bytes += len(record.event.data)
        self.end = record.offset + 1
        if len(self._records) >= 2 * records_max or self._bytes > bytes_max:
            keep = self._records[-records_max:]
            size = sum(len(kept.event.data) for kept in keep)
            # Half, so that a partition of large records is not cut again at each.
            while keep and size > bytes_max // 2:
                size -= len(keep.pop(0).event.data)
            self._records, self._bytes = keep, size
            self._first = self.end - len(keep)

    def slice(self, start: int, count: int) -> list[Record] | None:
        """Records from `start` on; None where they are only in the file."""
        if start < self._first:
            return None
        return self._records[start - self._first : start - self._first + count]


class EmbeddedEventLog(LocalEventLog):
    """An EventLog in a folder of this process; see the port. Make it with `open`.

    What an acknowledgement means: the event is in SQLite's write-ahead log, in the kernel's hands. It
    survives a kill -9 of the process, for the kernel writes on. A power cut or a crash of the kernel may,
    with `synchronous=normal` (the default), undo the newest acknowledged transactions: those since the
    last checkpoint that the disk had not got; the file stays consistent and the order whole, so what is
    lost is always a tail of it (https://sqlite.org/pragma.html#pragma_synchronous). With
    `synchronous=full` each commit is synced and a power cut costs nothing acknowledged, as far as the
    disk keeps its word; a publish then waits for the disk.

    Members of consumer groups live in this process and end with it; committed offsets are in the file.
    """

    def __init__(self, clock: Clock, settings: EventSettings, files: _Files) -> None:
        super().__init__(clock, settings)
        self._files = files
        self._commits = files.commits
        self._lanes: dict[Place, Lane] = {}
        self._recent: dict[Place, _Recent] = {}
        for lane in files.lanes:
            self._add(lane)
        self._readers = Offload("log-reader", threads=settings.reader_threads, waiting=10_000)
        self._turns = asyncio.Semaphore(settings.reader_threads)
        self._writer = Writer(
            files.writing,
            self._appended,
            waiting_max=settings.publish_waiting_max,
            batch_max=settings.batch_max,
        )
        self._keeper = Keeper(files.path, settings, self._clean_some, self._writer.put)

    @classmethod
    async def open(cls, folder: Path, *, clock: Clock, settings: EventSettings) -> Self:
        """Open or create the log in `folder`.

        Raises:
            WrongState: another process has it (LOG_LOCKED, with its pid), or another version made it.
            DependencyDown: the folder or file cannot be used (LOG_DOWN, LOG_FULL).
        """
        opening = Offload("log-open", threads=1, waiting=0)
        try:
            files = await opening.run(_open_files, folder, settings)
        finally:
            await opening.aclose()
        return cls(clock, settings, files)

    async def aclose(self) -> None:
        """Write what waits, wake every reader with LOG_DOWN, and free the folder."""
        if self._bells.closed:
            return
        self._bells.close()
        await self._readers.run(self._keeper.close)
        await self._readers.run(self._writer.close)
        # What the writer finished last is delivered by a callback that stands before this one.
        await asyncio.sleep(0)
        await self._readers.run(self._files.close)
        await self._readers.aclose()

    async def ensure_topics(self, specs: Sequence[TopicSpec]) -> None:
        """Create what is missing; see the port."""
        await self._hop()
        for spec in specs:
            check_spec(spec, self._specs.get(spec.name))
        missing = [spec for spec in specs if spec.name not in self._specs]
        if missing:
            for lane in await self._writer.run(partial(_create_topics, missing)):
                self._add(lane)

    async def producer(self, name: str) -> EmbeddedProducer:
        """Return a producer that fences every earlier one of this name."""
        await self._hop()
        incarnation = await self._writer.run(partial(_raise_incarnation, name))
        return EmbeddedProducer(self, name, incarnation)

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
        lane = self._lanes[(topic, partition)]
        now_end = self.end((topic, partition))
        stop = now_end if end is None else min(end, now_end)
        at = start
        limits = self._settings.fetch_records_max, self._settings.fetch_bytes_max
        while at < stop:
            if key is None:
                records, at = await self._read(store.read_rows, lane, at, stop, *limits)
            else:
                records, at = await self._read(store.read_key, lane, key, at, stop, *limits)
            for record in records:
                yield record

    async def clean(self) -> None:
        """Compact and delete now, in every partition, in bounded parts."""
        for lane in list(self._lanes.values()):
            while await self._writer.run(partial(self._clean_one, lane)):
                pass

    async def append(self, place: Place, event: Event) -> Position:
        """Append a stamped event; see Producer.publish."""
        lane = self._lanes[place]
        headers = store.packed_headers(event)
        record: Record = await self._writer.run(
            partial(_append, lane, event, headers, self._clock.now()), alone=True, lane=lane
        )
        return Position(record.topic, record.partition, record.offset)

    async def prove(self, name: str, incarnation: int) -> None:
        """Raise Conflict (PRODUCER_FENCED) if the file knows a later producer of this name."""
        await self._writer.run(partial(_check_incarnation, name, incarnation), alone=True)

    async def take(
        self, place: Place, start: int, records_max: int, bytes_max: int
    ) -> tuple[Sequence[Record], int]:
        """Return records from `start` on and where to go on; from memory for those who keep up."""
        recent = self._recent[place]
        records = recent.slice(start, records_max)
        if records is not None:
            return within_bytes(records, start + len(records), bytes_max)
        lane = self._lanes[place]
        return await self._read(store.read_rows, lane, start, recent.end, records_max, bytes_max)

    def end(self, place: Place) -> int:
        """The offset that the next record will have."""
        return self._recent[place].end

    def committed_offset(self, group: str, place: Place) -> int:
        """The committed offset; 0 where there is none."""
        return self._commits.get((group, place), 0)

    async def store_commit(self, group: str, place: Place, offset: int) -> None:
        """Keep a committed offset in the file."""
        if offset <= self.committed_offset(group, place):
            return
        lane = self._lanes[place]
        await self._writer.run(partial(_store_commit, group, lane, offset), alone=True)
        if offset > self.committed_offset(group, place):
            self._commits[(group, place)] = offset

    def _add(self, lane: Lane) -> None:
        place = (lane.spec.name, lane.partition)
        self._specs[lane.spec.name] = lane.spec
        self._lanes.setdefault(place, lane)
        self._recent.setdefault(place, _Recent(lane.end))

    def _appended(self, records: Sequence[Record]) -> None:
        places: set[Place] = set()
        for record in records:
            place = (record.topic, record.partition)
            self._recent[place].add(
                record, self._settings.recent_records, self._settings.recent_bytes
            )
            places.add(place)
        self._bells.ring(places)

    async def _read(
        self,
        query: Callable[Concatenate[sqlite3.Connection, P], tuple[list[Record], int]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> tuple[list[Record], int]:
        async with self._turns:
            self._bells.check_open()
            return await self._readers.run(partial(self._query, query, *args, **kwargs))

    def _query(
        self,
        query: Callable[Concatenate[sqlite3.Connection, P], tuple[list[Record], int]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> tuple[list[Record], int]:
        # There are as many connections as threads; taking from a list is atomic.
        connection = self._files.reading.pop()
        try:
            return query(connection, *args, **kwargs)
        except sqlite3.Error as error:
            raise store.down(error) from error
        finally:
            self._files.reading.append(connection)

    def _clean_some(self, connection: sqlite3.Connection) -> None:
        """A bounded round of cleaning, in the writer's thread."""
        for lane in list(self._lanes.values()):
            if self._clean_one(lane, connection):
                return

    def _clean_one(self, lane: Lane, connection: sqlite3.Connection) -> bool:
        return store.clean(connection, lane, self._clock.now(), self._settings.clean_records_max)


@dataclass(frozen=True, slots=True)
class _Files:
    """What an open log has open, and what stood there when it was opened."""

    lock: FolderLock
    path: Path
    writing: sqlite3.Connection
    reading: list[sqlite3.Connection]
    lanes: list[Lane]
    commits: dict[tuple[str, Place], int]

    def close(self) -> None:
        """Close the files and free the folder."""
        for connection in self.reading:
            connection.close()
        self.writing.close()
        self.lock.release()


def _open_files(folder: Path, settings: EventSettings) -> _Files:
    path = folder / FILE_NAME
    lock = FolderLock.take(folder)
    try:
        writing = store.connect(path, settings, writer=True)
        try:
            store.prepare(writing)
            lanes, commits = store.load(writing)
            reading = [
                store.connect(path, settings, writer=False) for _ in range(settings.reader_threads)
            ]
        except BaseException:
            writing.close()
            raise
    except BaseException:
        lock.release()
        raise
    return _Files(lock, path, writing, reading, lanes, commits)


def _create_topics(specs: Sequence[TopicSpec], connection: sqlite3.Connection) -> list[Lane]:
    return [lane for spec in specs for lane in store.create_topic(connection, spec)]


def _append(
    lane: Lane, event: Event, headers: str, at: datetime, connection: sqlite3.Connection
) -> Record:
    return store.append(connection, lane, event, headers, at)


def _raise_incarnation(name: str, connection: sqlite3.Connection) -> int:
    return store.raise_incarnation(connection, name)


def _check_incarnation(name: str, incarnation: int, connection: sqlite3.Connection) -> None:
    store.check_incarnation(connection, name, incarnation)


def _store_commit(group: str, lane: Lane, offset: int, connection: sqlite3.Connection) -> None:
    store.store_commit(connection, group, lane, offset)

"""The embedded log's SQLite file: schema and statements; each object belongs to one thread at a time."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from libs.errors import DependencyDown, WrongState
from libs.events.appending import fenced
from libs.events.cloudevents import decode, encode_binary
from libs.events.groups import Place
from libs.events.port import Cleanup, Event, Record, TopicSpec
from libs.events.settings import EventSettings, Synchronous

SCHEMA_VERSION = 1
_SHIFT = 40
"""A record's row id is its lane (number of its partition in this file) shifted, plus its offset."""

_SCHEMA = """
CREATE TABLE topics (
    name TEXT PRIMARY KEY, partitions INTEGER NOT NULL, cleanup TEXT NOT NULL, retention_s REAL NOT NULL
) WITHOUT ROWID, STRICT;
CREATE TABLE lanes (
    lane INTEGER PRIMARY KEY, topic TEXT NOT NULL, partition INTEGER NOT NULL,
    floor INTEGER NOT NULL DEFAULT 0, UNIQUE (topic, partition)
) STRICT;
CREATE TABLE records (
    id INTEGER PRIMARY KEY, lane INTEGER NOT NULL, key TEXT NOT NULL, appended_us INTEGER NOT NULL,
    headers TEXT NOT NULL, value BLOB NOT NULL
) STRICT;
CREATE INDEX records_by_key ON records (lane, key);
CREATE TABLE producers (name TEXT PRIMARY KEY, incarnation INTEGER NOT NULL) WITHOUT ROWID, STRICT;
CREATE TABLE commits (
    consumers TEXT NOT NULL, lane INTEGER NOT NULL, next INTEGER NOT NULL, PRIMARY KEY (consumers, lane)
) WITHOUT ROWID, STRICT;
"""

_APPEND = """
INSERT INTO records (id, lane, key, appended_us, headers, value)
SELECT ?, ?, ?, ?, ?, ? WHERE EXISTS (SELECT 1 FROM producers WHERE name = ? AND incarnation = ?)
"""
_COMMIT = """
INSERT INTO commits (consumers, lane, next) VALUES (?, ?, ?)
ON CONFLICT DO UPDATE SET next = excluded.next WHERE excluded.next > next
"""
_SUPERSEDED = """
SELECT r.id, r.key, length(r.value), r.appended_us, EXISTS (
    SELECT 1 FROM records n WHERE n.lane = r.lane AND n.key = r.key AND n.id > r.id
) FROM records r WHERE r.id >= ? AND r.id < ? ORDER BY r.id LIMIT ?
"""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def microseconds(at: datetime) -> int:
    """Microseconds since 1970 of an aware instant."""
    return (at - _EPOCH) // _MICROSECOND


@dataclass(slots=True)
class Lane:
    """A partition in this file."""

    number: int
    spec: TopicSpec
    partition: int
    end: int
    """The offset that the next record will have. Belongs to the writer."""
    clean_from: int = 0
    """Where compaction goes on. Belongs to the writer."""
    clean_until: int = 0
    """The end at which the last round of compaction began. Belongs to the writer."""

    @property
    def first_id(self) -> int:
        """The row id of offset 0."""
        return self.number << _SHIFT

    @property
    def last_id(self) -> int:
        """The row id after every offset."""
        return (self.number + 1) << _SHIFT


def connect(path: Path, settings: EventSettings, *, writer: bool) -> sqlite3.Connection:
    """Open the file.

    Raises:
        DependencyDown: it cannot be opened or is no database (LOG_DOWN).
    """
    try:
        connection = sqlite3.connect(
            path, isolation_level=None, check_same_thread=False, cached_statements=64
        )
    except sqlite3.Error as error:
        raise down(error) from error
    try:
        connection.execute("PRAGMA busy_timeout = 2000")
        if not writer:
            connection.execute("PRAGMA query_only = ON")
            return connection
        connection.execute("PRAGMA journal_mode = WAL")
        synchronous = "FULL" if settings.synchronous is Synchronous.FULL else "NORMAL"
        connection.execute(f"PRAGMA synchronous = {synchronous}")
        # The keeper folds the write-ahead file in beside the writer; this is for a keeper that is late.
        connection.execute(f"PRAGMA wal_autocheckpoint = {settings.checkpoint_bytes // 4096 * 8}")
        connection.execute(f"PRAGMA journal_size_limit = {settings.checkpoint_bytes * 2}")
        if settings.page_count_max:
            connection.execute(f"PRAGMA max_page_count = {settings.page_count_max}")
    except sqlite3.Error as error:
        connection.close()
        raise down(error) from error
    return connection


def down(error: sqlite3.Error) -> DependencyDown:
    """The platform's error for one of SQLite's."""
    if getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_FULL:
        return DependencyDown("LOG_FULL", "the event log needs space on its disk, there is none")
    return DependencyDown("LOG_DOWN", f"the event log's file cannot be used: {error}")


def prepare(connection: sqlite3.Connection) -> None:
    """Create the tables in a fresh file.

    Raises:
        WrongState: the file was made by another version (LOG_VERSION).
        DependencyDown: it cannot be read or written.
    """
    try:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version == 0:
            connection.executescript(
                f"BEGIN; {_SCHEMA}; PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;"
            )
        elif version != SCHEMA_VERSION:
            raise WrongState(
                "LOG_VERSION", f"expected an event log of version {SCHEMA_VERSION}, got {version}"
            )
    except sqlite3.Error as error:
        raise down(error) from error


def load(
    connection: sqlite3.Connection,
) -> tuple[list[Lane], dict[tuple[str, Place], int]]:
    """Read every partition with its end, and every committed offset.

    Raises:
        DependencyDown: it cannot be read (LOG_DOWN).
    """
    try:
        return _load(connection)
    except sqlite3.Error as error:
        raise down(error) from error


def _load(connection: sqlite3.Connection) -> tuple[list[Lane], dict[tuple[str, Place], int]]:
    specs = {
        name: TopicSpec(name, partitions, Cleanup(cleanup), retention_s)
        for name, partitions, cleanup, retention_s in connection.execute("SELECT * FROM topics")
    }
    lanes: list[Lane] = []
    for number, topic, partition, floor in connection.execute(
        "SELECT lane, topic, partition, floor FROM lanes ORDER BY lane"
    ):
        lane = Lane(number, specs[topic], partition, floor)
        (newest,) = connection.execute(
            "SELECT max(id) FROM records WHERE id >= ? AND id < ?", (lane.first_id, lane.last_id)
        ).fetchone()
        if newest is not None:
            lane.end = max(floor, newest - lane.first_id + 1)
        lanes.append(lane)
    places = {lane.number: (lane.spec.name, lane.partition) for lane in lanes}
    commits = {
        (group, places[number]): offset
        for group, number, offset in connection.execute("SELECT * FROM commits")
    }
    return lanes, commits


def create_topic(connection: sqlite3.Connection, spec: TopicSpec) -> list[Lane]:
    """Write a topic and its partitions unless they are there; return the partitions."""
    connection.execute(
        "INSERT INTO topics VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
        (spec.name, spec.partitions, spec.cleanup.value, spec.retention_s),
    )
    connection.executemany(
        "INSERT INTO lanes (topic, partition) VALUES (?, ?) ON CONFLICT DO NOTHING",
        [(spec.name, partition) for partition in range(spec.partitions)],
    )
    return [
        Lane(number, spec, partition, floor)
        for number, partition, floor in connection.execute(
            "SELECT lane, partition, floor FROM lanes WHERE topic = ?", (spec.name,)
        )
    ]


def raise_incarnation(connection: sqlite3.Connection, name: str) -> int:
    """Fence every earlier producer of this name: the row is updated with its old value as condition."""
    row = connection.execute("SELECT incarnation FROM producers WHERE name = ?", (name,)).fetchone()
    if row is None:
        connection.execute("INSERT INTO producers VALUES (?, 1)", (name,))
        return 1
    changed = connection.execute(
        "UPDATE producers SET incarnation = ? WHERE name = ? AND incarnation = ?",
        (row[0] + 1, name, row[0]),
    )
    if changed.rowcount != 1:
        raise fenced(name, row[0])
    return int(row[0]) + 1


def check_incarnation(connection: sqlite3.Connection, name: str, incarnation: int) -> None:
    """Raise Conflict (PRODUCER_FENCED) if a later producer of this name exists."""
    row = connection.execute("SELECT incarnation FROM producers WHERE name = ?", (name,)).fetchone()
    if row != (incarnation,):
        raise fenced(name, incarnation)


def packed_headers(event: Event) -> str:
    """The record's headers as text: a JSON list of [name, text]."""
    _, headers, _ = encode_binary(event)
    return json.dumps([(name, content.decode()) for name, content in headers], ensure_ascii=False)


def append(
    connection: sqlite3.Connection, lane: Lane, event: Event, headers: str, at: datetime
) -> Record:
    """Append unless the producer was fenced, in one statement; moves the lane's end.

    Raises:
        Conflict: fenced (PRODUCER_FENCED); nothing was appended.
    """
    made = connection.execute(
        _APPEND,
        (
            lane.first_id + lane.end,
            lane.number,
            event.subject,
            microseconds(at),
            headers,
            event.data,
            event.source,
            event.incarnation,
        ),
    )
    if made.rowcount != 1:
        raise fenced(event.source, event.incarnation)
    record = Record(lane.spec.name, lane.partition, lane.end, event.subject, event, at)
    lane.end += 1
    return record


def store_commit(connection: sqlite3.Connection, group: str, lane: Lane, offset: int) -> None:
    """Keep a committed offset; lower than before is ignored."""
    connection.execute(_COMMIT, (group, lane.number, offset))


def read_rows(
    connection: sqlite3.Connection, lane: Lane, start: int, end: int, limit: int, bytes_max: int
) -> tuple[list[Record], int]:
    """Read `start` <= offset < `end`; return records and where to go on."""
    rows = connection.execute(
        "SELECT id, key, appended_us, headers, value FROM records"
        " WHERE id >= ? AND id < ? ORDER BY id LIMIT ?",
        (lane.first_id + start, lane.first_id + end, limit),
    )
    return _records(rows, lane, end, limit, bytes_max)


def read_key(
    connection: sqlite3.Connection,
    lane: Lane,
    key: str,
    start: int,
    end: int,
    limit: int,
    bytes_max: int,
) -> tuple[list[Record], int]:
    """As `read_rows`, of one key, through the index."""
    rows = connection.execute(
        "SELECT id, key, appended_us, headers, value FROM records"
        " WHERE lane = ? AND key = ? AND id >= ? AND id < ? ORDER BY id LIMIT ?",
        (lane.number, key, lane.first_id + start, lane.first_id + end, limit),
    )
    return _records(rows, lane, end, limit, bytes_max)


def _records(
    rows: sqlite3.Cursor, lane: Lane, end: int, limit: int, bytes_max: int
) -> tuple[list[Record], int]:
    records: list[Record] = []
    size = 0
    for row_id, key, appended_us, headers, value in rows:
        size += len(value)
        offset = row_id - lane.first_id
        if records and size > bytes_max:
            rows.close()
            return records, offset
        pairs = [(name, text.encode()) for name, text in json.loads(headers)]
        event = decode(pairs, value, key=key)
        at = _EPOCH + appended_us * _MICROSECOND
        records.append(Record(lane.spec.name, lane.partition, offset, key, event, at))
    return records, records[-1].offset + 1 if len(records) == limit else end


def clean(connection: sqlite3.Connection, lane: Lane, now: datetime, limit: int) -> bool:
    """Do a bounded part of compaction or retention; True where more is to be done at once."""
    too_old_us = microseconds(now - timedelta(seconds=lane.spec.retention_s))
    if lane.spec.cleanup is Cleanup.DELETE:
        return _expire(connection, lane, too_old_us, limit)
    return _compact(connection, lane, too_old_us, limit)


def _expire(connection: sqlite3.Connection, lane: Lane, too_old_us: int, limit: int) -> bool:
    oldest = connection.execute(
        "SELECT id, appended_us FROM records WHERE id >= ? AND id < ? ORDER BY id LIMIT ?",
        (lane.first_id, lane.last_id, limit),
    ).fetchall()
    gone = [row_id for row_id, appended_us in oldest if appended_us < too_old_us]
    _delete(connection, lane, gone)
    return len(gone) == limit


def _compact(connection: sqlite3.Connection, lane: Lane, too_old_us: int, limit: int) -> bool:
    if lane.clean_from == 0:
        lane.clean_until = lane.end
    rows = connection.execute(
        _SUPERSEDED, (lane.first_id + lane.clean_from, lane.first_id + lane.clean_until, limit)
    ).fetchall()
    _delete(
        connection,
        lane,
        [
            row_id
            for row_id, _, size, appended_us, superseded in rows
            if superseded or (size == 0 and appended_us < too_old_us)
        ],
    )
    more = len(rows) == limit
    lane.clean_from = rows[-1][0] - lane.first_id + 1 if more else 0
    return more


def _delete(connection: sqlite3.Connection, lane: Lane, row_ids: Sequence[int]) -> None:
    if not row_ids:
        return
    # The newest record may be among them, and offsets must not be given twice after a restart.
    connection.execute("UPDATE lanes SET floor = ? WHERE lane = ?", (lane.end, lane.number))
    connection.executemany("DELETE FROM records WHERE id = ?", [(row_id,) for row_id in row_ids])

"""Exemplars and turns in one SQLite file; protobuf payloads, float32 vectors as bytes."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from libs.errors import AlreadyExists, DependencyDown
from libs.offload import Offload
from services.memory.types import Entry, Exemplar, KeyTexts, Turn, Vector
from tectum.memory.v1 import memory_pb2
from tectum.wire import to_wire

R = TypeVar("R")

_LAYOUT = 1
_BUSY_S = 5.0

_SCHEMA = """
CREATE TABLE IF NOT EXISTS exemplars (
    exemplar_id TEXT PRIMARY KEY,
    lesson TEXT NOT NULL,
    session_id TEXT NOT NULL,
    written_at REAL NOT NULL,
    key_instruction TEXT NOT NULL,
    key_screen TEXT NOT NULL,
    embedder TEXT NOT NULL,
    vector BLOB NOT NULL,
    summary BLOB NOT NULL,
    payload BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS exemplars_lesson ON exemplars (lesson, exemplar_id);
CREATE INDEX IF NOT EXISTS exemplars_session ON exemplars (session_id);
CREATE TABLE IF NOT EXISTS turns (
    site TEXT NOT NULL,
    turn_id TEXT NOT NULL,
    session_id TEXT NOT NULL,
    finished_at REAL NOT NULL,
    text TEXT NOT NULL,
    PRIMARY KEY (site, turn_id)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS turns_newest ON turns (site, finished_at DESC);
CREATE INDEX IF NOT EXISTS turns_session ON turns (session_id);
"""


class SqliteExemplarStore:
    """An ExemplarStore in one file, used from one thread, which owns the connection.

    Every write is synced before it is acknowledged: teaching is rare and dear. What is deleted is
    overwritten in the file and in its write-ahead file.
    """

    def __init__(self, path: Path, *, waiting: int = 256) -> None:
        self._path = path
        self._offload = Offload("memory-store", threads=1, waiting=waiting)
        self._database: sqlite3.Connection | None = None

    async def entries(self) -> Sequence[Entry]:
        """See `ExemplarStore.entries`."""

        def read(database: sqlite3.Connection) -> list[Entry]:
            rows = database.execute(
                "SELECT exemplar_id, lesson, written_at, embedder, vector FROM exemplars"
                " ORDER BY written_at, exemplar_id"
            )
            return [
                Entry(exemplar_id, lesson, written_at, embedder, _vector(vector))
                for exemplar_id, lesson, written_at, embedder, vector in rows
            ]

        return await self._run(read)

    async def create(
        self, exemplar: Exemplar, key: KeyTexts, entry: Entry, evict: Sequence[str]
    ) -> None:
        """See `ExemplarStore.create`."""

        def write(database: sqlite3.Connection) -> None:
            row = _row(exemplar, key, entry)
            marks = ", ".join("?" * len(row))
            with database:
                database.execute(f"INSERT INTO exemplars VALUES ({marks})", row)  # noqa: S608
                database.executemany(
                    "DELETE FROM exemplars WHERE exemplar_id = ?", [(one,) for one in evict]
                )

        try:
            await self._run(write)
        except sqlite3.IntegrityError:
            raise AlreadyExists(
                "EXEMPLAR_EXISTS", f"an exemplar with the id {exemplar.exemplar_id!r} exists"
            ) from None

    async def fetch(self, exemplar_ids: Sequence[str]) -> Sequence[bytes | None]:
        """See `ExemplarStore.fetch`."""

        def read(database: sqlite3.Connection) -> list[bytes | None]:
            query = "SELECT payload FROM exemplars WHERE exemplar_id = ?"
            rows = [database.execute(query, (one,)).fetchone() for one in exemplar_ids]
            return [None if row is None else bytes(row[0]) for row in rows]

        return await self._run(read)

    async def list(self, lesson: str, after: str, count: int) -> Sequence[tuple[str, bytes]]:
        """See `ExemplarStore.list`."""

        def read(database: sqlite3.Connection) -> Sequence[tuple[str, bytes]]:
            return database.execute(
                "SELECT exemplar_id, summary FROM exemplars WHERE exemplar_id > ?"
                " AND (? = '' OR lesson = ?) ORDER BY exemplar_id LIMIT ?",
                (after, lesson, lesson, count),
            ).fetchall()

        return await self._run(read)

    async def key_texts(self, exemplar_ids: Sequence[str]) -> Sequence[KeyTexts | None]:
        """See `ExemplarStore.key_texts`."""

        def read(database: sqlite3.Connection) -> Sequence[KeyTexts | None]:
            query = "SELECT key_instruction, key_screen FROM exemplars WHERE exemplar_id = ?"
            rows = [database.execute(query, (one,)).fetchone() for one in exemplar_ids]
            return [None if row is None else KeyTexts(*row) for row in rows]

        return await self._run(read)

    async def set_vector(self, exemplar_id: str, embedder: str, vector: Vector) -> None:
        """See `ExemplarStore.set_vector`."""

        def write(database: sqlite3.Connection) -> None:
            with database:
                database.execute(
                    "UPDATE exemplars SET embedder = ?, vector = ? WHERE exemplar_id = ?",
                    (embedder, _bytes(vector), exemplar_id),
                )

        await self._run(write)

    async def forget(
        self, *, exemplar_id: str = "", lesson: str = "", session_id: str = ""
    ) -> Sequence[str]:
        """See `ExemplarStore.forget`."""
        asked = {"exemplar_id": exemplar_id, "lesson": lesson, "session_id": session_id}
        given = {column: value for column, value in asked.items() if value}

        def write(database: sqlite3.Connection) -> list[str]:
            gone: list[str] = []
            with database:
                for column, value in given.items():
                    rows = database.execute(
                        f"DELETE FROM exemplars WHERE {column} = ? RETURNING exemplar_id",  # noqa: S608
                        (value,),
                    )
                    gone += [row[0] for row in rows]
                if session_id:
                    database.execute("DELETE FROM turns WHERE session_id = ?", (session_id,))
            # The write-ahead file still holds what was deleted until it is folded in.
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            return gone

        return await self._run(write)

    async def add_turn(self, turn: Turn, *, per_site: int, sites: int) -> None:
        """See `ExemplarStore.add_turn`."""

        def write(database: sqlite3.Connection) -> None:
            with database:
                for site in turn.sites:
                    database.execute(
                        "INSERT OR REPLACE INTO turns VALUES (?, ?, ?, ?, ?)",
                        (site, turn.turn_id, turn.session_id, turn.finished_at, turn.text),
                    )
                    database.execute(
                        "DELETE FROM turns WHERE site = ?1 AND turn_id NOT IN (SELECT turn_id"
                        " FROM turns WHERE site = ?1 ORDER BY finished_at DESC LIMIT ?2)",
                        (site, per_site),
                    )
                database.execute(
                    "DELETE FROM turns WHERE site NOT IN (SELECT site FROM turns GROUP BY site"
                    " ORDER BY max(finished_at) DESC LIMIT ?)",
                    (sites,),
                )

        await self._run(write)

    async def turns(self, site: str, last: int) -> Sequence[str]:
        """See `ExemplarStore.turns`."""

        def read(database: sqlite3.Connection) -> list[str]:
            rows = database.execute(
                "SELECT text FROM turns WHERE site = ? ORDER BY finished_at DESC LIMIT ?",
                (site, last),
            )
            return [row[0] for row in rows]

        return await self._run(read)

    async def aclose(self) -> None:
        """Close the file."""
        if self._database is not None:
            await self._offload.run(self._database.close)
            self._database = None
        await self._offload.aclose()

    async def _run(self, call: Callable[[sqlite3.Connection], R]) -> R:
        try:
            return await self._offload.run(lambda: call(self._connected()))
        except sqlite3.IntegrityError:
            raise
        except sqlite3.Error as error:
            raise DependencyDown(
                "MEMORY_DOWN", f"expected the file {self._path.name} to answer, got: {error}"
            ) from error

    def _connected(self) -> sqlite3.Connection:
        if self._database is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            database = sqlite3.connect(self._path, timeout=_BUSY_S, check_same_thread=False)
            try:
                database.execute("PRAGMA journal_mode = WAL")
                database.execute("PRAGMA synchronous = FULL")
                database.execute("PRAGMA secure_delete = ON")
                (layout,) = database.execute("PRAGMA user_version").fetchone()
                if layout not in (0, _LAYOUT):
                    raise sqlite3.DatabaseError(f"layout {layout}, expected {_LAYOUT}")
                database.executescript(_SCHEMA)
                database.execute(f"PRAGMA user_version = {_LAYOUT}")
            except sqlite3.Error:
                database.close()
                raise
            self._database = database
        return self._database


def _row(exemplar: Exemplar, key: KeyTexts, entry: Entry) -> tuple[object, ...]:
    payload = to_wire(exemplar, memory_pb2.Exemplar)
    summary = memory_pb2.Exemplar()
    summary.CopyFrom(payload)
    summary.ClearField("last_screen")
    for step in summary.steps:
        step.ClearField("screen")
    return (
        exemplar.exemplar_id,
        exemplar.lesson,
        exemplar.session_id,
        exemplar.written_at,
        key.instruction,
        key.screen,
        entry.embedder,
        _bytes(entry.vector),
        summary.SerializeToString(),
        payload.SerializeToString(),
    )


def _bytes(vector: Vector) -> bytes:
    return vector.astype("<f4").tobytes()


def _vector(data: bytes) -> Vector:
    return np.frombuffer(data, dtype="<f4").astype(np.float32)

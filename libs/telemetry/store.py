"""The spans of this process in a bounded SQLite file, for `tectum trace` and the console."""

from __future__ import annotations

import json
import logging
import sqlite3
import threading
from collections import deque
from collections.abc import Sequence
from contextlib import closing
from dataclasses import fields
from pathlib import Path
from typing import Any

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace import Span as SdkSpan
from opentelemetry.trace import StatusCode

from libs.errors import DependencyDown
from libs.offload import Offload
from libs.telemetry import names
from libs.telemetry.port import Span

_log = logging.getLogger(__name__)

_SCHEMA = """
CREATE TABLE IF NOT EXISTS spans (
  place INTEGER PRIMARY KEY AUTOINCREMENT, trace_id TEXT NOT NULL, span_id TEXT NOT NULL, parent_id TEXT NOT NULL,
  name TEXT NOT NULL, start_ns INTEGER NOT NULL, end_ns INTEGER NOT NULL, service TEXT NOT NULL,
  status TEXT NOT NULL, attributes TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS spans_by_trace ON spans (trace_id);
CREATE TABLE IF NOT EXISTS sessions (
  session_id TEXT NOT NULL, trace_id TEXT NOT NULL, PRIMARY KEY (session_id, trace_id)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS sessions_by_trace ON sessions (trace_id);
"""
_INSERT = """INSERT INTO spans (trace_id, span_id, parent_id, name, start_ns, end_ns, service, status, attributes)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"""
_SELECT = """SELECT DISTINCT trace_id, span_id, parent_id, name, start_ns, end_ns, service, status, attributes
FROM spans WHERE trace_id IN (SELECT trace_id FROM sessions WHERE session_id = ?) ORDER BY start_ns, place LIMIT ?"""
_FIELDS = tuple(field.name for field in fields(Span))
_ANSWER_SPANS_MAX = 50_000
_JOIN_S = 5.0


class SpanStore(SpanProcessor):
    """Keeps the newest spans; written by one thread in batches, so that ending a span is an append.

    A power cut may cost the last seconds, a kill the last `interval_s`: traces are no journal.
    """

    def __init__(
        self,
        path: Path,
        *,
        spans_max: int = 200_000,
        queue_max: int = 16_384,
        interval_s: float = 0.2,
    ) -> None:
        """Keep at most `spans_max` spans in `path`; a batch is written `interval_s` after its first span.

        Opening blocks: call it off the event loop.

        Raises:
            DependencyDown: the file cannot be written (TRACES_DOWN).
        """
        self._path = path
        self._spans_max = spans_max
        self._queue: deque[ReadableSpan] = deque()
        self._queue_max = queue_max
        self._interval_s = interval_s
        self._dropped = 0
        self._filled = threading.Event()
        self._hurry = threading.Event()
        self._written = threading.Condition()
        self._closing = False
        self._readers = Offload("traces-read", threads=1, waiting=32)
        try:
            self._database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = NORMAL")
            self._database.executescript(_SCHEMA)
        except sqlite3.Error as error:
            raise DependencyDown("TRACES_DOWN", f"{path} cannot be written: {error}") from error
        self._thread = threading.Thread(target=self._run, name="traces-write", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """Spans that were not kept, since too many came at once or the disk refused them."""
        return self._dropped

    def on_start(self, span: SdkSpan, parent_context: Context | None = None) -> None:
        """Nothing: only ended spans are kept."""

    def on_end(self, span: ReadableSpan) -> None:
        """Queue the span; when `queue_max` wait, it is dropped and counted."""
        waiting = len(self._queue)
        if waiting >= self._queue_max or self._closing:
            self._dropped += 1
            return
        self._queue.append(span)
        if waiting == 0:
            self._filled.set()

    async def spans(self, session_id: str) -> Sequence[Span]:
        """All spans of the traces that carry the session id, by start; at most 50,000.

        Raises:
            DependencyDown: the file cannot be read (TRACES_DOWN).
            Overloaded: too many ask at once (OFFLOAD_FULL).
        """
        return await self._readers.run(self._read, session_id)

    def _read(self, session_id: str) -> Sequence[Span]:
        self.force_flush(2_000)
        try:
            with closing(sqlite3.connect(self._path)) as database:
                rows = database.execute(_SELECT, (session_id, _ANSWER_SPANS_MAX)).fetchall()
        except sqlite3.Error as error:
            raise DependencyDown("TRACES_DOWN", f"{self._path} cannot be read: {error}") from error
        return [_span(*row) for row in rows]

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Write what waits; answer whether it was done within `timeout_millis`. Blocks."""
        if self._closing:
            return not self._queue
        self._hurry.set()
        self._filled.set()
        with self._written:
            return self._written.wait_for(lambda: not self._filled.is_set(), timeout_millis / 1e3)

    def shutdown(self) -> None:
        """Write what waits and stop; what ends later is dropped. Blocks."""
        self._closing = True
        self._hurry.set()
        self._filled.set()
        self._thread.join(_JOIN_S)

    async def aclose(self) -> None:
        """Shut down off the event loop."""
        await self._readers.run(self.shutdown)
        await self._readers.aclose()

    def _run(self) -> None:
        with closing(self._database):
            while not self._closing:
                self._filled.wait()
                self._hurry.wait(self._interval_s)
                self._hurry.clear()
                self._drain()
            self._drain()

    def _drain(self) -> None:
        # Cleared before the last look at the queue: a span that comes later sets it again.
        while self._queue:
            batch = [self._queue.popleft() for _ in range(min(len(self._queue), 1_024))]
            try:
                self._write(batch)
            except sqlite3.Error:
                self._dropped += len(batch)
                _log.exception("spans could not be written", extra={"spans": len(batch)})
        with self._written:
            self._filled.clear()
            self._written.notify_all()
        if self._queue:
            self._filled.set()

    def _write(self, batch: Sequence[ReadableSpan]) -> None:
        rows = [_row(span) for span in batch]
        sessions = {
            (str((span.attributes or {})[names.GEN_AI_CONVERSATION]), row[0])
            for span, row in zip(batch, rows, strict=True)
            if names.GEN_AI_CONVERSATION in (span.attributes or {})
        }
        database = self._database
        database.execute("BEGIN IMMEDIATE")
        try:
            database.executemany(_INSERT, rows)
            database.executemany("INSERT OR IGNORE INTO sessions VALUES (?, ?)", sessions)
            self._retire()
        except sqlite3.Error:
            database.execute("ROLLBACK")
            raise
        database.execute("COMMIT")

    def _retire(self) -> None:
        """Delete the oldest twentieth once `spans_max` is reached: rarely, since it looks at every trace."""
        last, first = self._database.execute("SELECT max(place), min(place) FROM spans").fetchone()
        if last - first >= self._spans_max:
            oldest = last - self._spans_max + self._spans_max // 20 + 1
            self._database.execute("DELETE FROM spans WHERE place < ?", (oldest,))
            self._database.execute(
                "DELETE FROM sessions WHERE trace_id NOT IN (SELECT trace_id FROM spans)"
            )


def _span(*row: Any) -> Span:
    made: dict[str, Any] = dict(zip(_FIELDS, row, strict=True))
    made["attributes"] = json.loads(made["attributes"])
    return Span(**made)


def _row(span: ReadableSpan) -> tuple[str, str, str, str, int, int, str, str, str]:
    own = span.get_span_context()
    status = span.status
    return (
        "" if own is None else f"{own.trace_id:032x}",
        "" if own is None else f"{own.span_id:016x}",
        "" if span.parent is None else f"{span.parent.span_id:016x}",
        span.name,
        span.start_time or 0,
        span.end_time or 0,
        str(span.resource.attributes.get("service.name", "")),
        f"ERROR {status.description or ''}".strip()
        if status.status_code is StatusCode.ERROR
        else "",
        json.dumps({key: str(value) for key, value in (span.attributes or {}).items()}),
    )

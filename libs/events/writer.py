"""The embedded log's one writing thread: what waits together is committed together."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any

from libs.errors import DependencyDown, Overloaded, PlatformError
from libs.events import store
from libs.events.port import Record

_logger = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class Job:
    """One thing to write."""

    run: Callable[[sqlite3.Connection], Any]
    """Runs in the batch's transaction; what it raises as a PlatformError it raised before any change."""
    future: asyncio.Future[Any] | None
    alone: bool = False
    """It is one statement, which is a transaction by itself."""
    lane: store.Lane | None = None
    """The partition whose end it moves."""
    result: Any = None
    error: Exception | None = None


class Writer:
    """Runs jobs in order, in batches; hands results to the event loop with one wake-up a batch."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        appended: Callable[[Sequence[Record]], None],
        *,
        waiting_max: int,
        batch_max: int,
    ) -> None:
        self._connection = connection
        self._appended = appended
        self._waiting_max = waiting_max
        self._batch_max = batch_max
        self._loop = asyncio.get_running_loop()
        self._queue: SimpleQueue[Job | None] = SimpleQueue()
        self._waiting = 0
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="log-writer", daemon=True)
        self._thread.start()

    async def run(
        self,
        call: Callable[[sqlite3.Connection], Any],
        *,
        alone: bool = False,
        lane: store.Lane | None = None,
    ) -> Any:
        """Run `call` in the writer's thread and return what it returns, once that is committed.

        Raises:
            Overloaded: too many jobs are waiting (LOG_BUSY).
            DependencyDown: closed, or the file cannot be written (LOG_DOWN, LOG_FULL).
            PlatformError: from `call`.
        """
        if self._closed:
            raise DependencyDown("LOG_DOWN", "expected an open event log, this one was closed")
        if self._waiting >= self._waiting_max:
            raise Overloaded(
                "LOG_BUSY", f"{self._waiting_max} calls wait for the log", retry_after_s=0.1
            )
        self._waiting += 1
        future: asyncio.Future[Any] = self._loop.create_future()
        self._queue.put(Job(call, future, alone, lane))
        return await future

    def put(self, call: Callable[[sqlite3.Connection], Any]) -> None:
        """Run `call` some time, from any thread; failures are logged."""
        self._queue.put(Job(call, None))

    def close(self) -> None:
        """Write what waits, then end the thread. Blocks."""
        self._closed = True
        self._queue.put(None)
        self._thread.join()

    def _work(self) -> None:
        going = True
        while going:
            batch: list[Job] = []
            job = self._queue.get()
            while job is not None:
                batch.append(job)
                if len(batch) >= self._batch_max:
                    break
                try:
                    job = self._queue.get_nowait()
                except Empty:
                    break
            going = job is not None
            if batch:
                self._transact(batch)
                try:
                    self._loop.call_soon_threadsafe(self._deliver, batch)
                except RuntimeError:
                    # The loop was closed without closing the log: nobody waits for an answer any more.
                    return

    def _transact(self, batch: Sequence[Job]) -> None:
        """Commit the batch; where that fails, each job by itself, so that one cannot harm others."""
        # Each statement gives up the GIL and takes it back, and behind a busy event loop that is
        # what a publish waits for: no BEGIN and COMMIT around a single INSERT.
        bare = len(batch) == 1 and batch[0].alone
        ends = {id(job.lane): (job.lane, job.lane.end) for job in batch if job.lane is not None}
        try:
            if not bare:
                self._connection.execute("BEGIN IMMEDIATE")
            for job in batch:
                job.error = None
                try:
                    job.result = job.run(self._connection)
                except PlatformError as error:
                    job.error = error
            if not bare:
                self._connection.execute("COMMIT")
        except Exception as error:  # noqa: BLE001 (whoever waits for the job gets it)
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            for lane, end in ends.values():
                lane.end = end
            if len(batch) > 1:
                for job in batch:
                    self._transact([job])
            else:
                batch[0].error = store.down(error) if isinstance(error, sqlite3.Error) else error

    def _deliver(self, batch: Sequence[Job]) -> None:
        """Runs on the event loop: first the readers' view, then those who wait."""
        records = [job.result for job in batch if job.lane is not None and job.error is None]
        if records:
            self._appended(records)
        for job in batch:
            if job.future is None:
                if job.error is not None:
                    _logger.warning(
                        "the event log could not clean up", extra={"error": str(job.error)}
                    )
                continue
            self._waiting -= 1
            if job.future.done():
                continue
            if job.error is not None:
                job.future.set_exception(job.error)
            else:
                job.future.set_result(job.result)

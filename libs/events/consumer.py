"""The one consumer runtime: bounded lanes per session, watermark commits, retries, dead letters."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from random import Random

from libs.clock import Clock
from libs.errors import Conflict, DependencyDown, Overloaded, PlatformError
from libs.events.deadletters import DeadLetters
from libs.events.dedupe import HighWaterMarks
from libs.events.groups import Place
from libs.events.port import EventLog, Record, Subscription, Tail
from libs.events.settings import LaneSettings
from libs.events.topics import DEAD_LETTER_SUFFIX
from libs.events.traced import handling
from libs.events.watermark import Watermarks

_logger = logging.getLogger(__name__)

_RETRIED = (Overloaded, DependencyDown, Conflict)

Handle = Callable[[Record], Awaitable[None]]
OnDeadLetter = Callable[[Record, PlatformError | None], Awaitable[None]]


class StopConsuming(Exception):
    """Raised by a handler to end its reactor, for example because it was fenced.

    The record is neither done nor dead-lettered: whoever has the partition next gets it. `consume`
    commits what is done, leaves the group and raises this on.
    """


class _Evicted(Exception):
    """The group went on without this member."""


@dataclass(slots=True)
class ConsumerCounts:
    """What became of the records, for whoever wants to show it."""

    handled: int = 0
    retried: int = 0
    duplicates: int = 0
    dead_lettered: int = 0
    evictions: int = 0


async def consume(
    log: EventLog,
    group: str,
    topics: Sequence[str],
    handle: Handle,
    *,
    settings: LaneSettings,
    clock: Clock,
    types: Collection[str] | None = None,
    rng: Random | None = None,
    marks: HighWaterMarks | None = None,
    on_dead_letter: OnDeadLetter | None = None,
    counts: ConsumerCounts | None = None,
) -> None:
    """Handle the records of `topics` as a member of `group` until cancelled.

    Records of one key (session) are handled one after another, in the order of their partition and,
    across topics, in the order they were fetched; different keys at the same time, at most
    `lanes_max`. When `in_flight_max` records are fetched and not below the watermark, fetching
    stops. Delivery is at least once; duplicates that the high-water marks know are dropped.

    A handler that raises Overloaded, DependencyDown or Conflict is called again after a pause; any
    other exception, or one too many of those, puts the record into `<topic>.dlq` and calls
    `on_dead_letter` (the error is None for a bug, whose text may hold user content). While the log
    cannot take the dead letter, the handler is tried on. A handler must not swallow CancelledError:
    it is cancelled when this consumer ends or was evicted, and its record comes again.

    Args:
        log: Where to read.
        group: The consumer group.
        topics: Each must have a dead-letter topic.
        handle: The reactor's handler, idempotent on the event id. It may raise StopConsuming.
        settings: Limits.
        clock: For the time of dead letters.
        types: CloudEvents types that `handle` wants, by default all; others are done as they come.
        rng: Jitter of the pauses; injected for simulation.
        marks: High-water marks; a fresh set by default.
        on_dead_letter: Told of each record given up; what it raises is logged, not retried.
        counts: Counted into, if given.

    Raises:
        StopConsuming: from the handler, as it was.
        NotFound: a topic or its dead-letter topic does not exist (TOPIC_NOT_FOUND).
        DependencyDown: the log did not answer `attempts_max` fetches in a row.
    """
    for topic in topics:
        await log.partitions(topic + DEAD_LETTER_SUFFIX)
    counts = counts if counts is not None else ConsumerCounts()
    marks = marks if marks is not None else HighWaterMarks(settings.marks_max)
    letters = DeadLetters(log, group, clock)
    rng = rng or Random()  # noqa: S311
    while True:
        marks.rewind()
        run = _Run(settings, group, handle, types, marks, letters, on_dead_letter, counts, rng)
        try:
            async with log.subscribe(group, topics) as subscription:
                await run.until_stopped(subscription)
        except _Evicted:
            counts.evictions += 1
            _logger.warning("consumer was evicted and joins anew", extra={"group": group})


@asynccontextmanager
async def following(
    log: EventLog,
    topics: Sequence[str],
    *,
    key: str | None = None,
    start: Mapping[Place, int] | None = None,
) -> AsyncIterator[Tail]:
    """Tail whole topics, or of each only the partition of `key`.

    Args:
        log: Where to read.
        topics: Topics to follow.
        key: Follow only the partitions that hold this key; other keys' records come too.
        start: Where to begin; a partition that is not in it begins at its end as it is now.
    """
    places: dict[Place, int] = {}
    for topic in topics:
        if key is None:
            partitions = range(await log.partitions(topic))
        else:
            only = await log.partition_of(topic, key)
            partitions = range(only, only + 1)
        for partition in partitions:
            begin = (start or {}).get((topic, partition))
            places[(topic, partition)] = (
                await log.end_offset(topic, partition) if begin is None else begin
            )
    async with log.tail(places) as tail:
        yield tail


class _Run:
    """One membership, from subscribing to leaving."""

    def __init__(
        self,
        settings: LaneSettings,
        group: str,
        handle: Handle,
        types: Collection[str] | None,
        marks: HighWaterMarks,
        letters: DeadLetters,
        on_dead_letter: OnDeadLetter | None,
        counts: ConsumerCounts,
        rng: Random,
    ) -> None:
        self._settings = settings
        self._group = group
        self._call = handle
        self._types = types
        self._marks = marks
        self._letters = letters
        self._on_dead_letter = on_dead_letter
        self._counts = counts
        self._rng = rng
        self._water = Watermarks()
        self._lanes: dict[str, deque[Record]] = {}
        self._ready: deque[str] = deque()
        self._running = 0
        self._progress = asyncio.Event()
        self._due = asyncio.Event()

    async def until_stopped(self, subscription: Subscription) -> None:
        """Pull, dispatch and commit; always ends with an exception."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._keep_committing(subscription))
                await self._pull(subscription, tasks)
        except BaseExceptionGroup as failed:
            raise _leading(failed) from None
        finally:
            await self._last_commit(subscription)

    async def _pull(self, subscription: Subscription, tasks: asyncio.TaskGroup) -> None:
        failures = 0
        while True:
            try:
                await self._wait_for_room(subscription)
                records = await subscription.fetch()
            except Conflict as error:
                raise _Evicted from error
            except (DependencyDown, Overloaded) as error:
                failures += 1
                if failures >= self._settings.attempts_max:
                    raise
                await self._pause(failures, error)
                continue
            failures = 0
            assigned = subscription.assignment
            for place in self._water.places():
                if place not in assigned:
                    self._forget(place)
            for record in records:
                self._accept(record)
            while self._ready and self._running < self._settings.lanes_max:
                self._running += 1
                tasks.create_task(self._work(self._ready.popleft()))

    async def _wait_for_room(self, subscription: Subscription) -> None:
        while self._water.in_flight >= self._settings.in_flight_max:
            self._progress.clear()
            try:
                async with asyncio.timeout(self._settings.beat_s):
                    await self._progress.wait()
            except TimeoutError:
                await subscription.beat()

    def _accept(self, record: Record) -> None:
        if not self._water.start(record):
            return
        if not self._marks.accept(record):
            self._counts.duplicates += 1
            self._finish(record)
            return
        if self._types is not None and record.event.type not in self._types:
            self._finish(record)
            return
        lane = self._lanes.get(record.key)
        if lane is None:
            lane = self._lanes[record.key] = deque()
            self._ready.append(record.key)
        lane.append(record)

    async def _work(self, key: str) -> None:
        """Handle one record after another, taking turns among the keys that wait."""
        while True:
            lane = self._lanes[key]
            await self._handle(lane[0])
            lane.popleft()
            if lane:
                self._ready.append(key)
            else:
                del self._lanes[key]
            if not self._ready:
                self._running -= 1
                return
            key = self._ready.popleft()

    async def _handle(self, record: Record) -> None:
        attempt = 0
        # Not pending: its partition was revoked, or it was done by an earlier delivery.
        while self._water.pending(record):
            attempt += 1
            failure = await self._try(record)
            if failure is None:
                self._counts.handled += 1
                self._finish(record)
            elif isinstance(failure, _RETRIED) and attempt < self._settings.attempts_max:
                self._counts.retried += 1
                await self._pause(attempt, failure)
            elif await self._give_up(record, failure, attempt):
                self._finish(record)
            else:
                await self._pause(attempt, failure)

    async def _try(self, record: Record) -> Exception | None:
        try:
            with handling(record, self._group):
                await self._call(record)
        except StopConsuming:
            raise
        except PlatformError as error:
            return error
        except Exception as error:  # noqa: BLE001 (a bug in a handler must not stop its reactor)
            return error
        return None

    async def _give_up(self, record: Record, failure: Exception, attempts: int) -> bool:
        """Dead-letter a record; False while the log cannot take it."""
        expected = failure if isinstance(failure, PlatformError) else None
        fields = {
            "group": self._group,
            "topic": record.topic,
            "partition": record.partition,
            "offset": record.offset,
            "attempts": attempts,
            "reason": expected.reason if expected else "INTERNAL",
        }
        try:
            await self._letters.put(record, failure, attempts)
        except (DependencyDown, Overloaded, Conflict) as error:
            _logger.warning(
                "handler failed, and the log cannot take the dead letter",
                extra={**fields, "log_reason": error.reason},
            )
            return False
        _logger.error(
            "handler failed and its record is dead-lettered",
            extra=fields,
            exc_info=None if expected else failure,
        )
        self._counts.dead_lettered += 1
        if self._on_dead_letter is not None:
            try:
                await self._on_dead_letter(record, expected)
            except Exception:  # the record is safe in the dead-letter topic
                _logger.exception("nobody could be told of a dead letter")
        return True

    async def _pause(self, attempt: int, failure: Exception) -> None:
        """Wait before the next attempt: doubling, half of it random, never above the limit."""
        limit = self._settings.backoff_max_s
        pause_s = min(self._settings.backoff_s * 2 ** min(attempt - 1, 30), limit)
        pause_s *= 0.5 + 0.5 * self._rng.random()
        if isinstance(failure, Overloaded):
            pause_s = max(pause_s, min(failure.retry_after_s, limit))
        await asyncio.sleep(pause_s)

    def _finish(self, record: Record) -> None:
        passed = self._water.finish(record)
        for below in passed:
            self._marks.settle(below)
        if passed:
            self._progress.set()
            self._due.set()

    def _forget(self, place: Place) -> None:
        self._water.forget(place)
        self._marks.rewind(place)
        self._progress.set()

    async def _keep_committing(self, subscription: Subscription) -> None:
        while True:
            await self._due.wait()
            self._due.clear()
            await self._commit(subscription)
            await asyncio.sleep(self._settings.commit_interval_s)

    async def _commit(self, subscription: Subscription) -> None:
        for place, offset in self._water.due().items():
            try:
                await subscription.commit(*place, offset)
                self._water.committed(place, offset)
            except Conflict:
                self._forget(place)
            except (DependencyDown, Overloaded) as error:
                self._due.set()
                _logger.warning(
                    "commit failed and is repeated",
                    extra={"group": self._group, "topic": place[0], "reason": error.reason},
                )

    async def _last_commit(self, subscription: Subscription) -> None:
        try:
            async with asyncio.timeout(self._settings.leave_s):
                await self._commit(subscription)
        except TimeoutError:
            _logger.warning("last commit took too long", extra={"group": self._group})


def _leading(failed: BaseExceptionGroup[BaseException]) -> BaseException:
    """The exception to raise for several at once: a wish to stop before an eviction before the rest."""
    leaves: list[BaseException] = []
    groups = [failed]
    while groups:
        for error in groups.pop().exceptions:
            if isinstance(error, BaseExceptionGroup):
                groups.append(error)
            else:
                leaves.append(error)
    return min(leaves, key=_rank)


def _rank(error: BaseException) -> int:
    if isinstance(error, StopConsuming):
        return 0
    return 1 if isinstance(error, _Evicted) else 2

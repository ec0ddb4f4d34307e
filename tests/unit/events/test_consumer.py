"""The consumer runtime over the memory log."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from random import Random

import pytest

from libs.clock import SystemClock
from libs.errors import Conflict, InvalidRequest, NotFound, Overloaded, PlatformError
from libs.events.consumer import ConsumerCounts, StopConsuming, consume, following
from libs.events.dedupe import HighWaterMarks
from libs.events.memory import MemoryEventLog
from libs.events.port import Event, Record, TopicSpec
from libs.events.settings import EventSettings, LaneSettings

CLOCK = SystemClock()
QUICK = LaneSettings(backoff_s=0.001, backoff_max_s=0.002, commit_interval_s=0.001)


def event(number: int, key: str = "s") -> Event:
    return Event(f"{key}-{number}", "t", key, str(number).encode(), CLOCK.now())


@pytest.fixture
async def log() -> AsyncIterator[MemoryEventLog]:
    log = MemoryEventLog(CLOCK)
    await log.ensure_topics(
        [TopicSpec("a", 2), TopicSpec("a.dlq", 1), TopicSpec("b", 2), TopicSpec("b.dlq", 1)]
    )
    yield log
    await log.aclose()


@asynccontextmanager
async def consuming(
    log: MemoryEventLog, handle: Callable[[Record], Awaitable[None]], **kwargs: object
) -> AsyncIterator[None]:
    kwargs.setdefault("settings", QUICK)
    kwargs.setdefault("topics", ["a"])
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(
            consume(log, "g", handle=handle, clock=CLOCK, rng=Random(1), **kwargs)
        )
        try:
            yield
        finally:
            task.cancel()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 (the consumer has no such event)
            await asyncio.sleep(0.001)


async def all_of(log: MemoryEventLog, topic: str) -> list[Record]:
    found = []
    for partition in range(await log.partitions(topic)):
        found += [record async for record in log.read(topic, partition)]
    return found


async def test_a_session_is_serial_and_in_order_while_others_go_on(log: MemoryEventLog) -> None:
    gate = asyncio.Event()
    seen: dict[str, list[bytes]] = {"slow": [], "quick": []}
    inside = 0

    async def handle(record: Record) -> None:
        nonlocal inside
        if record.key == "slow":
            inside += 1
            assert inside == 1
            await gate.wait()
            inside -= 1
        seen[record.key].append(record.event.data)

    producer = await log.producer("p")
    for number in range(5):
        for key in ("slow", "quick"):
            await producer.publish("a", event(number, key), partition=0)
    async with consuming(log, handle):
        await until(lambda: len(seen["quick"]) == 5)
        assert seen["slow"] == []
        # The first record of the partition is not done, so nothing may be committed.
        await asyncio.sleep(0.02)
        assert await log.committed("g", "a", 0) == 0
        gate.set()
        await until(lambda: len(seen["slow"]) == 5)
    assert seen["slow"] == seen["quick"] == [b"0", b"1", b"2", b"3", b"4"]
    assert await log.committed("g", "a", 0) == 10


async def test_retryable_failures_are_retried_then_dead_lettered(log: MemoryEventLog) -> None:
    calls: list[bytes] = []
    told: list[tuple[str, str]] = []

    async def handle(record: Record) -> None:
        calls.append(record.event.data)
        if record.event.data == b"0":
            raise Overloaded("BUSY", "no room", retry_after_s=0.001)
        if record.event.data == b"1" and calls.count(b"1") < 3:
            raise Conflict("RACE", "again")

    async def tell(record: Record, error: PlatformError | None) -> None:
        assert error is not None
        told.append((record.event.id, error.reason))

    producer = await log.producer("p")
    first = await producer.publish("a", event(0))
    await producer.publish("a", event(1))
    counts = ConsumerCounts()
    settings = QUICK.model_copy(update={"attempts_max": 4})
    async with consuming(log, handle, settings=settings, on_dead_letter=tell, counts=counts):
        await until(lambda: counts.handled == 1)
    assert calls == [b"0"] * 4 + [b"1"] * 3
    assert told == [("s-0", "BUSY")]
    assert (counts.dead_lettered, counts.retried, counts.handled) == (1, 5, 1)
    (letter,) = await all_of(log, "a.dlq")
    assert (letter.event.id, letter.event.data, letter.key) == ("s-0", b"0", "s")
    extensions = letter.event.extensions
    assert extensions["dlqreason"] == "BUSY"
    assert extensions["dlqattempts"] == "4"
    assert (extensions["dlqtopic"], extensions["dlqpartition"], extensions["dlqoffset"]) == (
        "a",
        str(first.partition),
        str(first.offset),
    )
    assert (extensions["dlqsource"], extensions["dlqseq"]) == ("p", "1")
    assert await log.committed("g", "a", first.partition) == 2


@pytest.mark.parametrize(
    ("failure", "reason", "message"),
    [
        (InvalidRequest("BROKEN", "expected a, got 'b'"), "BROKEN", "expected a, got 'b'"),
        (KeyError("user content"), "INTERNAL", "KeyError"),
    ],
)
async def test_other_failures_are_dead_lettered_at_once(
    log: MemoryEventLog, failure: Exception, reason: str, message: str
) -> None:
    calls = 0

    async def handle(record: Record) -> None:
        nonlocal calls
        calls += 1
        raise failure

    producer = await log.producer("p")
    await producer.publish("a", event(0))
    counts = ConsumerCounts()
    async with consuming(log, handle, counts=counts):
        await until(lambda: counts.dead_lettered == 1)
    assert calls == 1
    (letter,) = await all_of(log, "a.dlq")
    assert letter.event.extensions["dlqreason"] == reason
    assert letter.event.extensions["dlqmessage"] == message


async def test_a_dead_letter_too_large_loses_its_data_not_its_reasons() -> None:
    log = MemoryEventLog(CLOCK, EventSettings(event_bytes_max=1024))
    await log.ensure_topics([TopicSpec("a", 1), TopicSpec("a.dlq", 1)])

    async def handle(record: Record) -> None:
        raise InvalidRequest("BROKEN", "x")

    producer = await log.producer("p")
    await producer.publish("a", Event("1", "t", "s", b"x" * 980, CLOCK.now()))
    counts = ConsumerCounts()
    async with consuming(log, handle, counts=counts):
        await until(lambda: counts.dead_lettered == 1)
    (letter,) = await all_of(log, "a.dlq")
    assert letter.event.data == b""
    assert letter.event.extensions["dlqdata"] == "omitted"


async def test_full_lanes_stop_fetching_and_the_member_stays(log: MemoryEventLog) -> None:
    gate = asyncio.Event()
    seen: list[str] = []

    async def handle(record: Record) -> None:
        seen.append(record.event.id)
        await gate.wait()

    producer = await log.producer("p")
    for number in range(50):
        await producer.publish("a", event(number, f"k{number}"))
    settings = QUICK.model_copy(update={"in_flight_max": 4, "lanes_max": 3, "beat_s": 0.005})
    small = MemoryEventLog(CLOCK, EventSettings(fetch_records_max=2, member_timeout_s=0.05))
    await small.ensure_topics([TopicSpec("a", 2), TopicSpec("a.dlq", 1)])
    producer = await small.producer("p")
    for number in range(50):
        await producer.publish("a", event(number, f"k{number}"))
    counts = ConsumerCounts()
    async with consuming(small, handle, settings=settings, counts=counts):
        # Longer than the member's time-out: only beats can keep it in.
        await asyncio.sleep(0.2)
        async with small.subscribe("g", ["a"]):
            await asyncio.sleep(0)
        assert len(seen) == 3
        gate.set()
        await until(lambda: len(set(seen)) == 50)
    assert counts.evictions == 0


async def test_stop_consuming_commits_what_is_done_and_is_raised(log: MemoryEventLog) -> None:
    async def handle(record: Record) -> None:
        if record.event.data == b"2":
            raise StopConsuming("fenced")

    producer = await log.producer("p")
    for number in range(4):
        await producer.publish("a", event(number), partition=0)
    with pytest.raises(StopConsuming, match="fenced"):
        await consume(log, "g", ["a"], handle, settings=QUICK, clock=CLOCK)
    assert await log.committed("g", "a", 0) == 2
    async with log.subscribe("g", ["a"]) as after, asyncio.timeout(5):
        assert [record.event.data for record in await after.fetch()] == [b"2", b"3"]


async def test_types_that_nobody_wants_are_passed_over_and_committed(log: MemoryEventLog) -> None:
    seen: list[str] = []

    async def handle(record: Record) -> None:
        seen.append(record.event.id)

    producer = await log.producer("p")
    for number, kind in enumerate(("u", "t", "u", "t", "u")):
        await producer.publish("a", replace(event(number), type=kind), partition=0)
    counts = ConsumerCounts()
    async with consuming(log, handle, types={"t"}, counts=counts):
        await until(lambda: counts.handled == 2)
    assert seen == ["s-1", "s-3"]
    assert await log.committed("g", "a", 0) == 5


async def test_cancelling_commits_what_is_done_and_leaves(log: MemoryEventLog) -> None:
    stuck = asyncio.Event()

    async def handle(record: Record) -> None:
        if record.event.data == b"1":
            stuck.set()
            await asyncio.Event().wait()

    producer = await log.producer("p")
    for number in range(3):
        await producer.publish("a", event(number), partition=0)
    slow = QUICK.model_copy(update={"commit_interval_s": 60.0})
    async with consuming(log, handle, settings=slow):
        await stuck.wait()
    assert await log.committed("g", "a", 0) == 1


async def test_a_duplicate_appended_elsewhere_in_the_partition_is_dropped(
    log: MemoryEventLog,
) -> None:
    """What a resending producer leaves: the same (source, incarnation, seq) at two offsets."""
    seen: list[int] = []

    async def handle(record: Record) -> None:
        seen.append(record.offset)

    producer = await log.producer("p")
    await producer.publish("a", event(0), partition=0)
    (record,) = await all_of(log, "a")
    log.append(("a", 0), record.event)
    await producer.publish("a", event(1), partition=0)
    counts = ConsumerCounts()
    async with consuming(log, handle, counts=counts):
        await until(lambda: len(seen) == 2)
    assert seen == [0, 2]
    assert counts.duplicates == 1
    assert await log.committed("g", "a", 0) == 3


async def test_an_evicted_member_joins_anew_and_loses_nothing() -> None:
    log = MemoryEventLog(CLOCK, EventSettings(member_timeout_s=0.02, fetch_records_max=1))
    await log.ensure_topics([TopicSpec("a", 1), TopicSpec("a.dlq", 1)])
    seen: list[bytes] = []
    gate = asyncio.Event()

    async def handle(record: Record) -> None:
        seen.append(record.event.data)
        await gate.wait()

    producer = await log.producer("p")
    for number in range(6):
        await producer.publish("a", event(number))
    counts = ConsumerCounts()
    # Full at once and beating far too seldom: another member's call evicts it.
    settings = QUICK.model_copy(update={"in_flight_max": 1, "beat_s": 0.2})
    async with consuming(log, handle, settings=settings, counts=counts):
        await until(lambda: len(seen) == 1)
        await asyncio.sleep(0.05)
        async with log.subscribe("g", ["a"]) as other:
            assert other.assignment == {("a", 0)}
        gate.set()
        await until(lambda: len(set(seen)) == 6)
    assert set(seen) == {str(n).encode() for n in range(6)}
    assert await log.committed("g", "a", 0) == 6
    assert counts.evictions == 1


async def test_a_topic_without_a_dead_letter_topic_is_refused(log: MemoryEventLog) -> None:
    await log.ensure_topics([TopicSpec("c", 1)])

    async def handle(record: Record) -> None:
        raise AssertionError

    with pytest.raises(NotFound, match=r"c\.dlq"):
        await consume(log, "g", ["c"], handle, settings=QUICK, clock=CLOCK)


async def test_following_starts_at_the_end_or_where_told(log: MemoryEventLog) -> None:
    producer = await log.producer("p")
    await producer.publish("a", event(0), partition=0)
    async with (
        following(log, ["a", "b"]) as new,
        following(log, ["a"], start={("a", 0): 0}) as old,
        asyncio.timeout(5),
    ):
        await producer.publish("b", event(1))
        assert [r.event.data for r in await new.fetch()] == [b"1"]
        assert [r.event.data for r in await old.fetch()] == [b"0"]
    only = await log.partition_of("b", "s")
    async with following(log, ["b"], key="s") as mine, asyncio.timeout(5):
        await producer.publish("b", event(2), partition=1 - only)
        await producer.publish("b", event(3))
        assert [r.event.data for r in await mine.fetch()] == [b"3"]


class TestMarks:
    def record(
        self, seq: int, *, incarnation: int = 1, topic: str = "a", offset: int = 0
    ) -> Record:
        made = Event("i", "t", "s", b"", CLOCK.now(), "p", incarnation, seq)
        return Record(topic, 0, offset, "s", made, CLOCK.now())

    def test_a_mark_for_each_topic(self) -> None:
        marks = HighWaterMarks(10)
        assert marks.accept(self.record(2))
        assert marks.accept(self.record(1, topic="b"))
        assert not marks.accept(self.record(2))
        assert not marks.accept(self.record(1))

    def test_an_older_incarnation_is_dropped_once_a_newer_was_seen(self) -> None:
        marks = HighWaterMarks(10)
        assert marks.accept(self.record(9, incarnation=1))
        assert marks.accept(self.record(1, incarnation=2))
        assert not marks.accept(self.record(10, incarnation=1))

    def test_what_was_not_done_comes_again_after_a_rewind(self) -> None:
        marks = HighWaterMarks(10)
        for seq in (1, 2, 3):
            assert marks.accept(self.record(seq))
        marks.settle(self.record(1))
        marks.rewind(("a", 0))
        assert not marks.accept(self.record(1))
        assert marks.accept(self.record(2))

    def test_events_of_others_are_never_duplicates(self) -> None:
        marks = HighWaterMarks(10)
        assert marks.accept(self.record(0, incarnation=0))
        assert marks.accept(self.record(0, incarnation=0))

    def test_marks_are_bounded(self) -> None:
        marks = HighWaterMarks(2)
        for topic in "abc":
            assert marks.accept(self.record(1, topic=topic))
        assert marks.accept(self.record(1, topic="a"))
        assert not marks.accept(self.record(1, topic="c"))

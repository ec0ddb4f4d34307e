"""What every EventLog adapter must do. Subclasses supply `log` (with `settings()`) and `clock`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from libs.errors import (
    Conflict,
    DependencyDown,
    InvalidRequest,
    NotFound,
    PlatformError,
    WrongState,
)
from libs.events.port import Cleanup, Event, EventLog, Producer, Record, Subscription, TopicSpec
from libs.events.settings import EventSettings

EVENT_BYTES_MAX = 10_000
MEMBER_TIMEOUT_S = 30.0


class HandClock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.at = datetime(2026, 11, 22, 12, 0, 0, 123456, tzinfo=UTC)
        self.elapsed_s = 1000.0

    def now(self) -> datetime:
        return self.at

    def monotonic(self) -> float:
        return self.elapsed_s

    def move(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)
        self.elapsed_s += seconds


SETTINGS = EventSettings(
    event_bytes_max=EVENT_BYTES_MAX,
    member_timeout_s=MEMBER_TIMEOUT_S,
    fetch_records_max=16,
    recent_records=8,
    clean_records_max=5,
)

TOPICS = [
    TopicSpec("one", 1),
    TopicSpec("four", 4),
    TopicSpec("compacted", 1, Cleanup.COMPACT, 60.0),
    TopicSpec("short", 1, Cleanup.DELETE, 60.0),
]


def event(number: int, key: str = "s", data: bytes | None = None) -> Event:
    at = datetime(2026, 11, 22, 10, 0, 0, 5, tzinfo=UTC)
    content = str(number).encode() if data is None else data
    return Event(f"{key}/{number}", "tectum.event.v1.Plan", key, content, at)


async def read_all(log: EventLog, topic: str, partition: int = 0, **kwargs: object) -> list[Record]:
    return [record async for record in log.read(topic, partition, **kwargs)]


def numbers(records: list[Record]) -> list[int]:
    return [int(record.event.data) for record in records]


async def drain(member: Subscription, count: int) -> list[Record]:
    taken: list[Record] = []
    while len(taken) < count:
        taken.extend(await member.fetch())
    return taken


async def fails(
    reason: str, kind: type[PlatformError], call: Callable[[], object]
) -> PlatformError:
    with pytest.raises(kind) as caught:
        await call()  # type: ignore[misc]
    assert caught.value.reason == reason
    return caught.value


class EventLogContract:
    """Fixtures `log` (topics made, SETTINGS) and `clock` (a HandClock that the log uses)."""

    @pytest.fixture
    async def producer(self, log: EventLog) -> Producer:
        return await log.producer("p")

    # --- publishing and reading -----------------------------------------------------------------

    async def test_an_event_comes_back_as_it_was_with_its_origin(
        self, log: EventLog, producer: Producer, clock: HandClock
    ) -> None:
        sent = Event(
            "id-1",
            "type",
            "sitzung/ä",
            b"\x00\xff",
            datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC),
            content_type="application/json",
            traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            deadline_at=datetime(2026, 1, 2, 3, 5, tzinfo=UTC),
            extensions={"kind": "ö"},
        )
        position = await producer.publish("four", sent)
        (record,) = await read_all(log, "four", position.partition)
        assert (record.topic, record.partition, record.offset) == (
            "four",
            await log.partition_of("four", "sitzung/ä"),
            0,
        )
        assert (position.topic, position.offset) == ("four", 0)
        assert record.key == "sitzung/ä"
        assert record.appended_at == clock.now()
        got = record.event
        assert (got.source, got.incarnation, got.seq) == ("p", producer.incarnation, 1)
        for name in (
            "id", "type", "subject", "data", "time", "content_type", "traceparent", "deadline_at",
        ):  # fmt: skip
            assert getattr(got, name) == getattr(sent, name)
        assert dict(got.extensions) == {"kind": "ö"}

    async def test_order_of_calls_is_order_in_the_partition(
        self, log: EventLog, producer: Producer
    ) -> None:
        async with asyncio.TaskGroup() as tasks:
            for number in range(50):
                tasks.create_task(producer.publish("one", event(number)))
        records = await read_all(log, "one")
        assert numbers(records) == list(range(50))
        assert [record.offset for record in records] == list(range(50))
        assert [record.event.seq for record in records] == list(range(1, 51))

    async def test_many_publishers_at_once_lose_and_repeat_nothing(self, log: EventLog) -> None:
        async def publish(name: str) -> None:
            producer = await log.producer(name)
            for number in range(20):
                await producer.publish("four", event(number, f"{name}-{number % 3}"))

        async with asyncio.TaskGroup() as tasks:
            for index in range(10):
                tasks.create_task(publish(f"p{index}"))
        records = [r for p in range(4) for r in await read_all(log, "four", p)]
        assert len({record.event.id for record in records}) == 200
        assert len(records) == 200
        for partition in range(4):
            inside = [r for r in records if r.partition == partition]
            assert [r.offset for r in inside] == list(range(len(inside)))
            for index in range(10):
                seqs = [r.event.seq for r in inside if r.event.source == f"p{index}"]
                assert seqs == sorted(seqs)

    @pytest.mark.parametrize(
        ("key", "partition"),
        [("21", 0), ("foobar", 2), ("a-little-bit-long-string", 0), ("abc", 3)],
    )
    async def test_the_partition_is_kafkas(
        self, log: EventLog, producer: Producer, key: str, partition: int
    ) -> None:
        assert await log.partition_of("four", key) == partition
        assert (await producer.publish("four", event(1, key))).partition == partition

    async def test_a_partition_may_be_named(self, log: EventLog, producer: Producer) -> None:
        for partition in range(4):
            position = await producer.publish("four", event(1), partition=partition)
            assert (position.partition, position.offset) == (partition, 0)

    async def test_read_by_key_and_range(self, log: EventLog, producer: Producer) -> None:
        for number in range(60):
            await producer.publish("one", event(number, f"k{number % 3}"))
        assert numbers(await read_all(log, "one", start=10, end=13)) == [10, 11, 12]
        assert numbers(await read_all(log, "one", start=58)) == [58, 59]
        assert numbers(await read_all(log, "one", key="k1")) == list(range(1, 60, 3))
        assert numbers(await read_all(log, "one", key="k2", start=6, end=12)) == [8, 11]
        assert await read_all(log, "one", key="nobody") == []
        assert await read_all(log, "one", start=99) == []

    async def test_end_offset_and_partitions(self, log: EventLog, producer: Producer) -> None:
        assert await log.end_offset("one", 0) == 0
        await producer.publish("one", event(1))
        assert await log.end_offset("one", 0) == 1
        assert await log.partitions("four") == 4

    # --- refusals -------------------------------------------------------------------------------

    async def test_unknown_topics_are_named(self, log: EventLog, producer: Producer) -> None:
        async def join() -> None:
            async with log.subscribe("g", ["nowhere"]):
                pass

        async def follow() -> None:
            async with log.tail({("nowhere", 0): 0}):
                pass

        for call in (
            lambda: producer.publish("nowhere", event(1)),
            lambda: log.partitions("nowhere"),
            lambda: log.partition_of("nowhere", "k"),
            lambda: log.end_offset("nowhere", 0),
            lambda: log.committed("g", "nowhere", 0),
            lambda: read_all(log, "nowhere"),
            join,
            follow,
        ):
            error = await fails("TOPIC_NOT_FOUND", NotFound, call)
            assert "nowhere" in str(error)

    async def test_no_such_partition(self, log: EventLog, producer: Producer) -> None:
        for partition in (-1, 4):
            await fails(
                "NO_SUCH_PARTITION",
                InvalidRequest,
                lambda p=partition: producer.publish("four", event(1), partition=p),  # type: ignore[misc]
            )
        await fails("NO_SUCH_PARTITION", InvalidRequest, lambda: log.end_offset("one", 1))

    async def test_size_limit(self, log: EventLog, producer: Producer) -> None:
        await producer.publish("one", event(1, data=b"x" * (EVENT_BYTES_MAX - 100)))
        error = await fails(
            "EVENT_TOO_LARGE",
            InvalidRequest,
            lambda: producer.publish("one", event(2, data=b"x" * (EVENT_BYTES_MAX + 1))),
        )
        assert str(EVENT_BYTES_MAX) in str(error)
        assert await log.end_offset("one", 0) == 1

    @pytest.mark.parametrize(
        ("broken", "attribute"),
        [
            (Event("", "t", "s", b"", datetime.now(UTC)), "id"),
            (Event("i", "", "s", b"", datetime.now(UTC)), "type"),
            (Event("i", "t", "", b"", datetime.now(UTC)), "subject"),
            (Event("i", "t", "s", b"", datetime(2026, 1, 1)), "time"),  # noqa: DTZ001
            (Event("i", "t", "s", b"", datetime.now(UTC), extensions={"A": "x"}), "A"),
            (Event("i", "t", "s", b"", datetime.now(UTC), extensions={"id": "x"}), "id"),
        ],
    )
    async def test_malformed_events_are_refused_by_attribute(
        self, log: EventLog, producer: Producer, broken: Event, attribute: str
    ) -> None:
        error = await fails(
            "EVENT_MALFORMED", InvalidRequest, lambda: producer.publish("one", broken)
        )
        assert error.metadata["attribute"] == attribute
        assert await log.end_offset("one", 0) == 0

    async def test_ensure_topics_is_repeatable_and_names_differences(self, log: EventLog) -> None:
        await log.ensure_topics(TOPICS)
        error = await fails(
            "TOPIC_MISMATCH", WrongState, lambda: log.ensure_topics([TopicSpec("four", 8)])
        )
        assert "four: partitions is 4, expected 8" in str(error)
        async with asyncio.TaskGroup() as tasks:
            for _ in range(3):
                tasks.create_task(log.ensure_topics([TopicSpec("new", 2)]))
        assert await log.partitions("new") == 2

    # --- fencing --------------------------------------------------------------------------------

    async def test_a_later_producer_fences_an_earlier_one(self, log: EventLog) -> None:
        first = await log.producer("p")
        await first.publish("one", event(1))
        await first.prove()
        second = await log.producer("p")
        assert second.incarnation > first.incarnation
        error = await fails("PRODUCER_FENCED", Conflict, lambda: first.publish("one", event(2)))
        assert "'p'" in str(error)
        await fails("PRODUCER_FENCED", Conflict, first.prove)
        await second.prove()
        await second.publish("one", event(3))
        assert numbers(await read_all(log, "one")) == [1, 3]

    async def test_names_do_not_fence_each_other(self, log: EventLog) -> None:
        first = await log.producer("p")
        await log.producer("q")
        await first.publish("one", event(1))
        await first.prove()

    async def test_nothing_of_a_fenced_producer_follows_its_successor(self, log: EventLog) -> None:
        """Publishes in flight while the name is taken: each is before the fence or refused."""
        old = await log.producer("p")
        told: list[int] = []

        async def publish(number: int) -> None:
            try:
                await old.publish("one", event(number))
            except Conflict as error:
                assert error.reason == "PRODUCER_FENCED"
            else:
                told.append(number)

        async with asyncio.TaskGroup() as tasks:
            for number in range(10):
                tasks.create_task(publish(number))
            await asyncio.sleep(0)
            new = await log.producer("p")
            end_at_fence = await log.end_offset("one", 0)
            for number in range(10, 20):
                tasks.create_task(publish(number))
            await new.publish("one", event(100))
        assert sorted(told) == numbers(await read_all(log, "one"))[:-1]
        assert await log.end_offset("one", 0) == end_at_fence + 1
        assert not [number for number in told if number >= 10]

    # --- groups ---------------------------------------------------------------------------------

    async def test_one_member_gets_everything_in_order_and_waits(
        self, log: EventLog, producer: Producer
    ) -> None:
        async with log.subscribe("g", ["one"]) as member, asyncio.timeout(10):
            async with asyncio.TaskGroup() as tasks:
                task = tasks.create_task(member.fetch())
                await asyncio.sleep(0.01)
                assert not task.done()
                await producer.publish("one", event(0))
            assert numbers(list(task.result())) == [0]
            for number in range(1, 40):
                await producer.publish("one", event(number))
            assert numbers(await drain(member, 39)) == list(range(1, 40))

    async def test_members_share_and_groups_do_not(self, log: EventLog, producer: Producer) -> None:
        async with (
            log.subscribe("g", ["four"]) as a,
            log.subscribe("g", ["four"]) as b,
            log.subscribe("h", ["four"]) as other,
            asyncio.timeout(10),
        ):
            assert len(a.assignment) == len(b.assignment) == 2
            assert a.assignment | b.assignment == {("four", p) for p in range(4)}
            assert not a.assignment & b.assignment
            for partition in range(4):
                await producer.publish("four", event(partition), partition=partition)
            got = [await drain(a, 2), await drain(b, 2)]
            assert sorted(numbers(got[0] + got[1])) == [0, 1, 2, 3]
            assert {(r.topic, r.partition) for r in got[0]} == a.assignment
            assert sorted(numbers(await drain(other, 4))) == [0, 1, 2, 3]

    async def test_a_group_goes_on_at_its_commits(self, log: EventLog, producer: Producer) -> None:
        for number in range(5):
            await producer.publish("one", event(number))
        async with log.subscribe("g", ["one"]) as member, asyncio.timeout(10):
            await drain(member, 5)
            await member.commit("one", 0, 3)
            await member.commit("one", 0, 2)
        assert await log.committed("g", "one", 0) == 3
        assert await log.committed("h", "one", 0) == 0
        async with log.subscribe("g", ["one"]) as member, asyncio.timeout(10):
            assert numbers(await drain(member, 2)) == [3, 4]

    async def test_leaving_gives_the_partitions_to_the_rest(
        self, log: EventLog, producer: Producer
    ) -> None:
        async with log.subscribe("g", ["four"]) as stays, asyncio.timeout(10):
            async with log.subscribe("g", ["four"]) as goes:
                for partition in range(4):
                    await producer.publish("four", event(partition), partition=partition)
                for record in await drain(goes, 2):
                    await goes.commit(record.topic, record.partition, record.offset + 1)
                kept = stays.assignment
                assert sorted(numbers(await drain(stays, 2))) == sorted(p for _, p in kept)
            assert len(stays.assignment) == 4
            # What the other committed does not come again; what comes later does.
            for partition in range(4):
                await producer.publish("four", event(10 + partition), partition=partition)
            assert sorted(numbers(await drain(stays, 4))) == [10, 11, 12, 13]

    async def test_a_waiting_member_gets_what_a_leaver_left(
        self, log: EventLog, producer: Producer
    ) -> None:
        async with log.subscribe("g", ["four"]) as stays, asyncio.timeout(10):
            async with asyncio.TaskGroup() as tasks, log.subscribe("g", ["four"]) as goes:
                (lost, *_) = goes.assignment
                task = tasks.create_task(stays.fetch())
                await asyncio.sleep(0.01)
                await producer.publish("four", event(7), partition=lost[1])
                await goes.fetch()
            assert numbers(list(task.result())) == [7]

    async def test_rebalancing_under_load_loses_nothing(
        self, log: EventLog, producer: Producer
    ) -> None:
        seen: set[str] = set()
        done = asyncio.Event()

        async def member(rounds: int) -> None:
            while not done.is_set():
                async with log.subscribe("g", ["four"]) as me:
                    for _ in range(rounds):
                        try:
                            async with asyncio.timeout(0.05):
                                records = await me.fetch()
                        except TimeoutError:
                            continue
                        for record in records:
                            seen.add(record.event.id)
                            try:
                                await me.commit(record.topic, record.partition, record.offset + 1)
                            except Conflict as error:
                                assert error.reason == "PARTITION_REVOKED"
                        if len(seen) == 200:
                            done.set()

        async with asyncio.timeout(15), asyncio.TaskGroup() as tasks:
            for rounds in (2, 3, 5):
                tasks.create_task(member(rounds))
            for number in range(200):
                await producer.publish("four", event(number, f"k{number % 17}"))
        assert len(seen) == 200
        assert sum([await log.committed("g", "four", p) for p in range(4)]) == 200

    async def test_a_member_that_does_not_call_is_evicted(
        self, log: EventLog, producer: Producer, clock: HandClock
    ) -> None:
        await producer.publish("one", event(0))
        await producer.publish("one", event(1))
        async with log.subscribe("g", ["one"]) as dead, asyncio.timeout(10):
            assert numbers(list(await dead.fetch())) == [0, 1]
            await dead.commit("one", 0, 1)
            async with log.subscribe("g", ["one"]) as alive:
                clock.move(MEMBER_TIMEOUT_S - 1)
                await alive.beat()
                assert alive.assignment == frozenset()
                clock.move(2)
                assert numbers(list(await alive.fetch())) == [1]
                assert dead.assignment == frozenset()
                await fails("PARTITION_REVOKED", Conflict, lambda: dead.commit("one", 0, 2))
                await fails("MEMBER_EVICTED", Conflict, dead.fetch)
                await fails("MEMBER_EVICTED", Conflict, dead.beat)
                await alive.commit("one", 0, 2)
        assert await log.committed("g", "one", 0) == 2

    async def test_beats_keep_a_member_that_does_not_fetch(
        self, log: EventLog, clock: HandClock
    ) -> None:
        async with log.subscribe("g", ["one"]) as busy, log.subscribe("g", ["one"]) as other:
            for _ in range(5):
                clock.move(MEMBER_TIMEOUT_S - 1)
                await busy.beat()
                await other.beat()
            assert busy.assignment == {("one", 0)}

    # --- tails ----------------------------------------------------------------------------------

    async def test_a_tail_sees_everything_from_where_it_began(
        self, log: EventLog, producer: Producer
    ) -> None:
        for number in range(30):
            await producer.publish("one", event(number))
        async with (
            log.tail({("one", 0): 0}) as old,
            log.tail({("one", 0): 25, ("four", 2): 0}) as new,
            asyncio.timeout(10),
        ):
            assert numbers(await drain(old, 30)) == list(range(30))
            assert numbers(await drain(new, 5)) == [25, 26, 27, 28, 29]
            async with asyncio.TaskGroup() as tasks:
                waiting = [tasks.create_task(tail.fetch()) for tail in (old, new)]
                await asyncio.sleep(0.01)
                await producer.publish("one", event(30))
            assert [numbers(list(task.result())) for task in waiting] == [[30], [30]]
            await producer.publish("four", event(31), partition=2)
            assert numbers(list(await new.fetch())) == [31]

    async def test_one_reads_ones_own_write(self, log: EventLog, producer: Producer) -> None:
        """What an executor does with its Started: publish, then find it by its tail."""
        async with log.tail({("one", 0): 0}) as tail, asyncio.timeout(10):
            for number in range(20):
                position = await producer.publish("one", event(number))
                (record,) = await tail.fetch()
                assert record.offset == position.offset
                assert await log.end_offset("one", 0) == position.offset + 1

    async def test_a_cancelled_fetch_takes_nothing_away(
        self, log: EventLog, producer: Producer
    ) -> None:
        """Readers bound their waiting with a time-out, which may fall anywhere."""
        for number in range(80):
            await producer.publish("four", event(number), partition=number % 4)
        # Some partitions are read from memory, some, further behind, from the file.
        places = {("four", 0): 4, ("four", 1): 15, ("four", 2): 4, ("four", 3): 15}
        expected = {n for n in range(80) if n // 4 >= places[("four", n % 4)]}
        for patience in range(12):
            async with (
                log.tail(places) as tail,
                log.subscribe(f"g{patience}", ["four"]) as member,
                asyncio.timeout(10),
            ):
                for (topic, partition), offset in places.items():
                    await member.commit(topic, partition, offset)
                for reader in (tail, member):
                    async with asyncio.TaskGroup() as tasks:
                        task = tasks.create_task(reader.fetch())
                        for _ in range(patience):
                            await asyncio.sleep(0)
                        early = task.done()
                        task.cancel()
                    got = list(task.result()) if early else []
                    while len(got) < len(expected):
                        got.extend(await reader.fetch())
                    assert set(numbers(got)) == expected
                    assert len(got) == len(expected)

    # --- compaction and retention ---------------------------------------------------------------

    async def test_compaction_keeps_the_latest_of_each_key(
        self, log: EventLog, producer: Producer
    ) -> None:
        for number in range(40):
            await producer.publish("compacted", event(number, f"k{number % 4}"))
        await log.clean()  # type: ignore[attr-defined]
        assert numbers(await read_all(log, "compacted")) == [36, 37, 38, 39]
        assert numbers(await read_all(log, "compacted", key="k1")) == [37]
        assert await log.end_offset("compacted", 0) == 40
        await producer.publish("compacted", event(40, "k0"))
        await log.clean()  # type: ignore[attr-defined]
        records = await read_all(log, "compacted")
        assert [record.offset for record in records] == [37, 38, 39, 40]
        async with log.tail({("compacted", 0): 0}) as tail, asyncio.timeout(10):
            # Those who keep up may see superseded records, but the latest of each key is among them.
            latest = {r.key: int(r.event.data) for r in await drain(tail, 4)}
            while len(latest) < 4 or latest["k0"] != 40:
                latest.update({r.key: int(r.event.data) for r in await tail.fetch()})
            assert latest == {"k0": 40, "k1": 37, "k2": 38, "k3": 39}

    async def test_a_tombstone_removes_its_key_and_goes_when_old(
        self, log: EventLog, producer: Producer, clock: HandClock
    ) -> None:
        await producer.publish("compacted", event(1, "a"))
        await producer.publish("compacted", event(2, "b"))
        await producer.publish("compacted", event(3, "a", data=b""))
        await log.clean()  # type: ignore[attr-defined]
        assert [(r.key, r.event.data) for r in await read_all(log, "compacted")] == [
            ("b", b"2"),
            ("a", b""),
        ]
        clock.move(61)
        await log.clean()  # type: ignore[attr-defined]
        assert [r.key for r in await read_all(log, "compacted")] == ["b"]
        assert (await producer.publish("compacted", event(4, "a"))).offset == 3

    async def test_retention_deletes_what_is_old_and_gives_no_offset_twice(
        self, log: EventLog, producer: Producer, clock: HandClock
    ) -> None:
        for number in range(12):
            await producer.publish("short", event(number))
        clock.move(40)
        await producer.publish("short", event(12))
        clock.move(30)
        await log.clean()  # type: ignore[attr-defined]
        assert numbers(await read_all(log, "short")) == [12]
        clock.move(40)
        await log.clean()  # type: ignore[attr-defined]
        assert await read_all(log, "short") == []
        assert await log.end_offset("short", 0) == 13
        assert (await producer.publish("short", event(13))).offset == 13
        async with log.subscribe("g", ["short"]) as member, asyncio.timeout(10):
            got = await drain(member, 1)
            assert numbers(got)[-1] == 13

    # --- the end --------------------------------------------------------------------------------

    async def test_closing_wakes_readers_and_refuses_calls(
        self, log: EventLog, producer: Producer
    ) -> None:
        async def wait() -> None:
            async with log.tail({("one", 0): 0}) as tail:
                await fails("LOG_DOWN", DependencyDown, tail.fetch)

        async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
            tasks.create_task(wait())
            await asyncio.sleep(0.01)
            await log.aclose()
        await fails("LOG_DOWN", DependencyDown, lambda: producer.publish("one", event(1)))
        await fails("LOG_DOWN", DependencyDown, lambda: log.end_offset("one", 0))
        await fails("LOG_DOWN", DependencyDown, lambda: log.producer("p"))
        await log.aclose()

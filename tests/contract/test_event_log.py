"""The event log's contract, in memory and embedded."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from libs.errors import DependencyDown, WrongState
from libs.events import store
from libs.events.embedded import EmbeddedEventLog
from libs.events.memory import MemoryEventLog
from libs.events.port import EventLog, TopicSpec
from libs.events.settings import EventSettings
from tests.contract.event_log_contract import (
    SETTINGS,
    TOPICS,
    EventLogContract,
    HandClock,
    event,
    numbers,
    read_all,
)


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


class TestMemory(EventLogContract):
    @pytest.fixture
    async def log(self, clock: HandClock) -> AsyncIterator[EventLog]:
        log = MemoryEventLog(clock, SETTINGS)
        await log.ensure_topics(TOPICS)
        yield log
        await log.aclose()


async def opened(folder: Path, clock: HandClock, **changed: object) -> EmbeddedEventLog:
    settings = SETTINGS.model_copy(update=changed)
    log = await EmbeddedEventLog.open(folder, clock=clock, settings=settings)
    await log.ensure_topics(TOPICS)
    return log


class TestEmbedded(EventLogContract):
    @pytest.fixture
    async def log(self, clock: HandClock, tmp_path: Path) -> AsyncIterator[EventLog]:
        log = await opened(tmp_path, clock)
        yield log
        await log.aclose()

    async def test_everything_is_there_after_opening_anew(
        self, clock: HandClock, tmp_path: Path
    ) -> None:
        log = await opened(tmp_path / "new" / "folder", clock)
        producer = await log.producer("p")
        for number in range(20):
            await producer.publish("one", event(number))
        async with log.subscribe("g", ["one"]) as member:
            await member.fetch()
            await member.commit("one", 0, 7)
        before = await read_all(log, "one")
        await log.aclose()
        log = await opened(tmp_path / "new" / "folder", clock)
        assert await read_all(log, "one") == before
        assert await log.committed("g", "one", 0) == 7
        assert await log.end_offset("one", 0) == 20
        assert (await log.producer("p")).incarnation > producer.incarnation
        with pytest.raises(WrongState, match="partitions is 4, expected 5"):
            await log.ensure_topics([TopicSpec("four", 5)])
        await log.aclose()

    async def test_no_offset_is_given_twice_after_all_was_deleted_and_opened_anew(
        self, clock: HandClock, tmp_path: Path
    ) -> None:
        log = await opened(tmp_path, clock)
        producer = await log.producer("p")
        for number in range(3):
            await producer.publish("short", event(number))
        clock.move(61)
        await log.clean()
        await log.aclose()
        log = await opened(tmp_path, clock)
        assert await log.end_offset("short", 0) == 3
        await log.aclose()

    async def test_a_second_opening_is_refused_with_the_pid(
        self, clock: HandClock, tmp_path: Path
    ) -> None:
        log = await opened(tmp_path, clock)
        with pytest.raises(WrongState, match=f"process {os.getpid()}") as caught:
            await opened(tmp_path, clock)
        assert caught.value.reason == "LOG_LOCKED"
        assert caught.value.metadata["pid"] == str(os.getpid())
        await log.aclose()
        await (await opened(tmp_path, clock)).aclose()

    async def test_a_folder_that_cannot_be_used_is_named(
        self, clock: HandClock, tmp_path: Path
    ) -> None:
        (tmp_path / "file").write_text("x")
        with pytest.raises(DependencyDown, match="folder"):
            await opened(tmp_path / "file", clock)
        (tmp_path / "broken").mkdir()
        (tmp_path / "broken" / "events.sqlite").write_bytes(b"no database " * 1000)
        for _ in range(2):
            with pytest.raises(DependencyDown, match="not a database") as caught:
                await opened(tmp_path / "broken", clock)
            assert caught.value.reason == "LOG_DOWN"

    async def test_a_full_disk_refuses_and_recovers(self, clock: HandClock, tmp_path: Path) -> None:
        log = await opened(tmp_path, clock, page_count_max=60)
        producer = await log.producer("p")
        acknowledged = 0
        with pytest.raises(DependencyDown) as caught:
            for number in range(1000):
                await producer.publish("short", event(number, data=b"%d" % number + b" " * 4000))
                acknowledged += 1
        assert caught.value.reason == "LOG_FULL"
        assert acknowledged > 5
        assert len(await read_all(log, "short")) == acknowledged
        # Others in the same batch as one that does not fit go through.
        async with log.subscribe("g", ["short"]) as member, asyncio.TaskGroup() as tasks:
            tasks.create_task(self.refused(log, b" " * 9000))
            tasks.create_task(member.commit("short", 0, 2))
        assert await log.committed("g", "short", 0) == 2
        clock.move(61)
        await log.clean()
        position = await producer.publish("short", event(1, data=b"x" * 4000))
        assert position.offset == acknowledged
        assert (await read_all(log, "short"))[0].offset == acknowledged
        await log.aclose()

    async def refused(self, log: EventLog, data: bytes) -> None:
        other = await log.producer("q")
        with pytest.raises(DependencyDown):
            await other.publish("short", event(0, data=data))

    async def test_cleaning_runs_in_the_background(self, clock: HandClock, tmp_path: Path) -> None:
        log = await opened(tmp_path, clock, clean_interval_s=0.02)
        producer = await log.producer("p")
        for number in range(30):
            await producer.publish("compacted", event(number, "k"))
        async with asyncio.timeout(10):
            while len(await read_all(log, "compacted")) > 1:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert numbers(await read_all(log, "compacted")) == [29]
        await log.aclose()

    async def test_the_write_ahead_file_is_folded_in_beside_the_writer(
        self, clock: HandClock, tmp_path: Path
    ) -> None:
        log = await opened(tmp_path, clock, checkpoint_bytes=65_536, clean_interval_s=0.02)
        producer = await log.producer("p")
        database = tmp_path / "events.sqlite"
        async with asyncio.timeout(15):
            number = 0
            while database.stat().st_size < 100_000:
                await producer.publish("one", event(number, data=b"%d" % number + b" " * 5000))
                number += 1
                await asyncio.sleep(0.005)
        assert numbers(await read_all(log, "one")) == list(range(number))
        await log.aclose()

    def test_the_key_is_read_through_its_index(self, tmp_path: Path) -> None:
        connection = store.connect(tmp_path / "events.sqlite", SETTINGS, writer=True)
        store.prepare(connection)
        store.create_topic(connection, TOPICS[0])
        seen: list[str] = []
        connection.set_trace_callback(seen.append)
        (lane, *_), _ = store.load(connection)
        store.read_key(connection, lane, "k", 0, 10, 5, 1000)
        plan = connection.execute(f"EXPLAIN QUERY PLAN {seen[-1]}").fetchall()
        connection.close()
        assert [row for row in plan if "records_by_key" in row[3] and "SEARCH" in row[3]]
        assert not [row for row in plan if "TEMP B-TREE" in row[3]]

    def test_settings_reach_sqlite(self, tmp_path: Path) -> None:
        for text, number in (("normal", 1), ("full", 2)):
            settings = EventSettings(synchronous=text)
            connection = store.connect(tmp_path / f"{text}.sqlite", settings, writer=True)
            assert connection.execute("PRAGMA synchronous").fetchone() == (number,)
            assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
            connection.close()

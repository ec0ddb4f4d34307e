"""kill -9 of the process that writes the embedded log: nothing acknowledged is missing, order is kept."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from libs.clock import SystemClock
from libs.errors import WrongState
from libs.events.embedded import EmbeddedEventLog
from libs.events.port import Cleanup, Record, TopicSpec
from libs.events.settings import EventSettings

ROUNDS = 10
PRODUCERS = 4
TOPICS = [TopicSpec("kept", 3), TopicSpec("compacted", 1, Cleanup.COMPACT)]

CHILD = """
import asyncio, os, sys
from pathlib import Path
from libs.clock import SystemClock
from libs.events.embedded import EmbeddedEventLog
from libs.events.port import Event
from libs.events.settings import EventSettings
from tests.faults.test_embedded_log_kill import TOPICS, PRODUCERS

async def main(folder, turn):
    clock = SystemClock()
    # Small limits, so that kills also fall into folding and cleaning.
    settings = EventSettings(checkpoint_bytes=65536, clean_interval_s=0.02, clean_records_max=20)
    log = await EmbeddedEventLog.open(folder, clock=clock, settings=settings)
    await log.ensure_topics(TOPICS)

    async def publish(index):
        producer = await log.producer(f"p{index}")
        number = 0
        while True:
            topic = "compacted" if number % 5 == 4 else "kept"
            event = Event(f"{turn}/{index}/{number}", "t", f"k{index}", os.urandom(600), clock.now())
            at = await producer.publish(topic, event)
            # One write of one line: what arrives in the pipe was acknowledged before the kill.
            os.write(1, f"{at.topic} {at.partition} {at.offset} {event.id}\\n".encode())
            number += 1

    async def commit():
        async with log.subscribe("g", ["kept"]) as member:
            while True:
                for record in await member.fetch():
                    at = record.offset + 1
                    await member.commit("kept", record.partition, at)
                    os.write(1, f"commit {record.partition} {at} -\\n".encode())

    async with asyncio.TaskGroup() as tasks:
        for index in range(PRODUCERS):
            tasks.create_task(publish(index))
        tasks.create_task(commit())

asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
"""


def run_and_kill(folder: Path, turn: int, wait_s: float) -> list[list[str]]:
    """Run the child until it has acknowledged something, kill it at a random moment, return its lines."""
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, str(folder), str(turn)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        try:
            first = child.stdout.readline()
            assert first, child.stderr.read().decode()
            time.sleep(wait_s)
        finally:
            child.send_signal(signal.SIGKILL)
        rest = child.stdout.read()
        assert child.wait() == -signal.SIGKILL
    lines = (first + rest).decode().split("\n")
    # The pipe's writes are shorter than PIPE_BUF, so the last line is whole as well.
    return [line.split() for line in lines if line]


async def opened(folder: Path) -> EmbeddedEventLog:
    log = await EmbeddedEventLog.open(folder, clock=SystemClock(), settings=EventSettings())
    await log.ensure_topics(TOPICS)
    return log


async def read_all(log: EmbeddedEventLog, topic: str, partition: int) -> list[Record]:
    return [record async for record in log.read(topic, partition)]


@pytest.mark.timeout(120)  # ten starts of a process on a busy machine
async def test_nothing_acknowledged_is_missing_after_kill_9(tmp_path: Path) -> None:
    rng = random.Random(20261122)
    acknowledged: dict[tuple[str, int, int], str] = {}
    commits = dict.fromkeys(range(3), 0)
    killed_with = []
    for turn in range(ROUNDS):
        lines = run_and_kill(tmp_path, turn, rng.uniform(0.0, 0.25))
        killed_with.append(len(lines))
        for topic, partition, offset, event_id in lines:
            if topic == "commit":
                commits[int(partition)] = max(commits[int(partition)], int(offset))
                continue
            place = (topic, int(partition), int(offset))
            # No offset was given twice, over all lives of the log.
            assert acknowledged.setdefault(place, event_id) == event_id
        log = await opened(tmp_path)
        await check(log, acknowledged, commits)
        await log.aclose()
    assert min(killed_with) > 0
    assert sum(killed_with) > 20 * ROUNDS


async def check(
    log: EmbeddedEventLog, acknowledged: dict[tuple[str, int, int], str], commits: dict[int, int]
) -> None:
    for topic, partitions in (("kept", 3), ("compacted", 1)):
        for partition in range(partitions):
            records = await read_all(log, topic, partition)
            there = {record.offset: record.event.id for record in records}
            expected = {
                offset: event_id
                for (t, p, offset), event_id in acknowledged.items()
                if (t, p) == (topic, partition)
            }
            if topic == "kept":
                assert list(there) == list(range(len(there)))
                missing = {o: i for o, i in expected.items() if there.get(o) != i}
                assert not missing
            else:
                # The latest acknowledged of each key, or one that came after it, is there.
                newest = {r.key: r.offset for r in records}
                for offset, event_id in expected.items():
                    assert newest[f"k{event_id.split('/')[1]}"] >= offset
            assert await log.end_offset(topic, partition) > max(expected, default=-1)
            check_order(records)
    for partition, offset in commits.items():
        assert await log.committed("g", "kept", partition) >= offset


def check_order(records: list[Record]) -> None:
    """Of one producer, incarnations and numbers rise with the offsets."""
    for index in range(PRODUCERS):
        marks = [
            (record.event.incarnation, record.event.seq)
            for record in records
            if record.event.source == f"p{index}"
        ]
        assert marks == sorted(set(marks))


async def test_the_folder_of_a_living_process_is_refused_and_of_a_killed_one_free(
    tmp_path: Path,
) -> None:
    begin = datetime.now(UTC)
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, str(tmp_path), "0"], stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        try:
            assert child.stdout.readline()
            with pytest.raises(WrongState) as caught:
                await opened(tmp_path)
            assert caught.value.reason == "LOG_LOCKED"
            assert caught.value.metadata["pid"] == str(child.pid)
            assert str(child.pid) in str(caught.value)
        finally:
            child.kill()
        child.wait()
    log = await opened(tmp_path)
    records = await read_all(log, "kept", await log.partition_of("kept", "k0"))
    assert records
    assert records[0].appended_at >= begin
    await log.aclose()

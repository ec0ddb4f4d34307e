"""A full disk under a working reactor: it waits, loses nothing, and goes on when there is space."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from libs.errors import DependencyDown
from libs.events.consumer import ConsumerCounts, consume
from libs.events.embedded import EmbeddedEventLog
from libs.events.port import Event, Record, TopicSpec
from libs.events.settings import EventSettings, LaneSettings
from tests.contract.event_log_contract import HandClock

TOPICS = [TopicSpec(name, 1) for name in ("in", "in.dlq", "out", "out.dlq")]
TOPICS.append(TopicSpec("filler", 1, retention_s=60.0))


async def test_a_reactor_waits_for_space_and_dead_letters_nothing(tmp_path: Path) -> None:
    clock = HandClock()
    log = await EmbeddedEventLog.open(
        tmp_path, clock=clock, settings=EventSettings(page_count_max=100)
    )
    await log.ensure_topics(TOPICS)
    producer = await log.producer("p")
    filler = await log.producer("filler")
    refused = asyncio.Event()
    calls = 0

    async def handle(record: Record) -> None:
        nonlocal calls
        calls += 1
        made = Event(f"out/{record.event.id}", "t", record.key, b"o" * 5000, clock.now())
        try:
            await producer.publish("out", made)
        except DependencyDown as error:
            assert error.reason == "LOG_FULL"
            if calls > 10:
                refused.set()
            raise

    for number in range(3):
        await producer.publish("in", Event(str(number), "t", "s", b"i", clock.now()))
    size = 4000
    # Down to the last bytes, so that not even a dead letter finds room.
    while size > 1:
        try:
            await filler.publish("filler", Event("f", "t", "f", b"f" * size, clock.now()))
        except DependencyDown:
            size //= 2
    counts = ConsumerCounts()
    settings = LaneSettings(attempts_max=3, backoff_s=0.001, backoff_max_s=0.005)
    async with asyncio.timeout(15), asyncio.TaskGroup() as tasks:
        task = tasks.create_task(
            consume(log, "g", ["in"], handle, settings=settings, clock=clock, counts=counts)
        )
        await refused.wait()
        assert counts.handled == 0
        clock.move(61)
        await log.clean()
        while counts.handled < 3:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        task.cancel()
    assert counts.dead_lettered == 0
    assert await log.end_offset("in.dlq", 0) == 0
    out = [record.event.id async for record in log.read("out", 0)]
    assert out == ["out/0", "out/1", "out/2"]
    assert await log.committed("g", "in", 0) == 3
    await log.aclose()
    with pytest.raises(DependencyDown):
        await log.producer("p")

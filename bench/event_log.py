"""What the embedded log adds to bare sqlite3: acknowledged publishes, hops to a handler, throughput.

`python -m bench.event_log [--json FILE]`. Ours and the peer run alternately in one process, on one disk.
The peer is one INSERT of the same payload in autocommit, WAL, synchronous=NORMAL, on the calling thread.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from libs.clock import SystemClock
from libs.events.consumer import consume
from libs.events.embedded import EmbeddedEventLog
from libs.events.port import Event, Record, TopicSpec
from libs.events.settings import EventSettings, LaneSettings

ROUNDS = 5
CALLS = 400
BURST = 2_000
PAYLOAD = b"x" * 1_500
CLOCK = SystemClock()


def event(number: int) -> Event:
    """An event of the size of a plan."""
    return Event(f"id-{number}", "tectum.event.v1.Plan", f"s{number % 8}", PAYLOAD, CLOCK.now())


def bare(path: Path) -> list[float]:
    """Seconds of each INSERT of the peer."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute(
        "CREATE TABLE IF NOT EXISTS records (id INTEGER PRIMARY KEY, key TEXT, headers TEXT, value BLOB)"
    )
    connection.execute("CREATE INDEX IF NOT EXISTS by_key ON records (key)")
    took = []
    for number in range(CALLS):
        begin = time.perf_counter()
        connection.execute(
            "INSERT INTO records (key, headers, value) VALUES (?, ?, ?)",
            (f"s{number % 8}", "h" * 400, PAYLOAD),
        )
        took.append(time.perf_counter() - begin)
    connection.close()
    return took


async def publishes(log: EmbeddedEventLog) -> list[float]:
    """Seconds of each acknowledged publish, one after another."""
    producer = await log.producer("bench")
    took = []
    for number in range(CALLS):
        made = event(number)
        begin = time.perf_counter()
        await producer.publish("bench", made)
        took.append(time.perf_counter() - begin)
    return took


async def hops(log: EmbeddedEventLog, group: str) -> list[float]:
    """Seconds from calling publish to the handler's first line, through the consumer runtime."""
    producer = await log.producer("bench")
    arrived = asyncio.Event()
    at = 0.0

    async def handle(record: Record) -> None:
        nonlocal at
        if record.event.source == "bench" and record.event.id == expected:
            at = time.perf_counter()
            arrived.set()

    took = []
    async with asyncio.TaskGroup() as tasks:
        expected = ""
        # The handler must be waiting, not catching up.
        task = tasks.create_task(
            consume(log, group, ["bench"], handle, settings=LaneSettings(), clock=CLOCK)
        )
        expected = "warm"
        await producer.publish("bench", Event("warm", "t", "s", b"x", CLOCK.now()))
        await arrived.wait()
        for number in range(CALLS):
            arrived.clear()
            made = event(number)
            expected = made.id
            begin = time.perf_counter()
            await producer.publish("bench", made)
            await arrived.wait()
            took.append(at - begin)
        task.cancel()
    return took


async def burst(log: EmbeddedEventLog) -> float:
    """Acknowledged events a second, from 64 publishers at once."""
    producers = [await log.producer(f"burst-{index}") for index in range(64)]

    async def run(index: int) -> None:
        for number in range(BURST // 64):
            await producers[index].publish("bench", event(number))

    begin = time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        for index in range(64):
            tasks.create_task(run(index))
    return BURST // 64 * 64 / (time.perf_counter() - begin)


def shown(seconds: Sequence[float]) -> dict[str, float]:
    """Median and 99th percentile in milliseconds."""
    ordered = sorted(seconds)
    return {
        "p50_ms": round(statistics.median(ordered) * 1e3, 4),
        "p99_ms": round(ordered[int(len(ordered) * 0.99)] * 1e3, 4),
    }


async def measure(folder: Path) -> dict[str, object]:
    """Run everything alternately and return the figures."""
    log = await EmbeddedEventLog.open(folder / "log", clock=CLOCK, settings=EventSettings())
    await log.ensure_topics([TopicSpec("bench", 4), TopicSpec("bench.dlq", 1)])
    peer: list[float] = []
    ours: list[float] = []
    hop: list[float] = []
    rates: list[float] = []
    ratios: list[float] = []
    for number in range(ROUNDS):
        peer_round = bare(folder / "bare.sqlite")
        ours_round = await publishes(log)
        ratios.append(statistics.median(ours_round) / statistics.median(peer_round))
        peer += peer_round
        ours += ours_round
        hop += await hops(log, f"g{number}")
        rates.append(await burst(log))
    await log.aclose()
    return {
        "bare_sqlite_insert": shown(peer),
        "publish_acknowledged": shown(ours),
        "publish_over_bare": {
            "median": round(statistics.median(ratios), 2),
            "low": round(min(ratios), 2),
            "high": round(max(ratios), 2),
        },
        "hop_to_handler": shown(hop),
        "burst_events_per_s": round(statistics.median(rates)),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="also write the figures there")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = asyncio.run(measure(Path(folder)))
    text = json.dumps(figures, indent=2)
    sys.stdout.write(text + "\n")
    if arguments.json:
        arguments.json.write_text(text + "\n")


if __name__ == "__main__":
    main()

"""kill -9 of the process that records: every acknowledged event is in its trajectory, once."""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from libs.blobs.filesystem import FilesystemBlobStore
from libs.blobs.settings import BlobSettings
from libs.clock import SystemClock
from libs.events.embedded import EmbeddedEventLog
from libs.events.settings import EventSettings
from libs.events.topics import CONTROL, TRAJECTORIES
from services.recorder.reactor import TOPICS
from tectum.protocol.messages import Control, ControlKind
from tectum.recorder.v1 import recorder_pb2 as pb
from tectum.recorder.v1 import recorder_pb2_grpc
from tests.integration.recorder_host import recorder_host
from tests.unit.recorder.sample import Story

ROUNDS = 6

CHILD = """
import asyncio, os, sys
from pathlib import Path
from typing import Any
from libs.blobs.filesystem import FilesystemBlobStore
from libs.blobs.settings import BlobSettings
from libs.clock import SystemClock
from libs.events.embedded import EmbeddedEventLog
from libs.events.settings import EventSettings
from libs.events.topics import topic_specs
from services.recorder.settings import RecorderSettings
from tests.faults.test_recorder_kill import closing
from tests.integration.recorder_host import recorder_host
from tests.unit.recorder.sample import solved

async def main(folder, turn, left):
    log = await EmbeddedEventLog.open(folder / "log", clock=SystemClock(), settings=EventSettings())
    await log.ensure_topics(topic_specs(2))
    blobs = await FilesystemBlobStore.open(folder / "blobs", settings=BlobSettings())
    # Small segments, so that kills also fall into finishing them.
    settings = RecorderSettings(flush_s=0.005, seal_delay_s=0.0, segment_bytes=65536)

    async def publish(story):
        producer = await log.producer(f"test/{story.session_id}")
        for topic, event in story.published:
            await producer.publish(topic, event)
            os.write(1, f"{story.session_id} {event.type.rpartition('.')[2]} {event.id}\\n".encode())

    async def work(lane):
        for number in range(500):
            await publish(solved(f"r{turn}-{lane}-{number}"))

    async with recorder_host(log, blobs, folder, settings):
        for session_id in left:
            await publish(closing(session_id))
        async with asyncio.TaskGroup() as tasks:
            for lane in range(3):
                tasks.create_task(work(lane))

asyncio.run(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:]))
"""


def _run_and_kill(folder: Path, turn: int, left: list[str], wait_s: float) -> list[list[str]]:
    """Run the child until it has acknowledged something, kill it a moment later, return what it said."""
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, str(folder), str(turn), *left],
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
        said = (first + child.stdout.read()).decode()
    return [line.split() for line in said.splitlines()]


@pytest.mark.timeout(120)  # Six processes are started, one after the other.
async def test_what_was_acknowledged_is_recorded_once(tmp_path: Path) -> None:
    rng = random.Random(2026)
    acknowledged: dict[str, list[str]] = {}
    left: list[str] = []
    for turn in range(ROUNDS):
        wait_s = rng.uniform(0.02, 0.6)
        said = await asyncio.to_thread(_run_and_kill, tmp_path, turn, left, wait_s)
        for session_id, _, event_id in said:
            acknowledged.setdefault(session_id, []).append(event_id)
        closed = {
            session_id for session_id, kind, event_id in said if event_id.endswith("abandoned")
        }
        mine = {session_id for session_id, *_ in said if session_id.startswith(f"r{turn}-")}
        left = sorted((set(left) - closed) | mine)
    assert len(acknowledged) > ROUNDS

    log = await EmbeddedEventLog.open(
        tmp_path / "log", clock=SystemClock(), settings=EventSettings()
    )
    blobs = await FilesystemBlobStore.open(tmp_path / "blobs", settings=BlobSettings())
    try:
        producer = await log.producer("closing")
        for session_id in left:
            await producer.publish(*closing(session_id).published[0])
        async with recorder_host(log, blobs, tmp_path) as channel:
            stub = recorder_pb2_grpc.RecorderServiceStub(channel)
            await _sealed(log, set(acknowledged))
            for session_id, event_ids in acknowledged.items():
                recorded = await _recorded(stub, session_id)
                assert len(recorded) == len(set(recorded)), session_id
                assert set(event_ids) - set(recorded) <= await _late(log, session_id), session_id
    finally:
        await log.aclose()
        await blobs.aclose()


def closing(session_id: str) -> Story:
    """What the session service says of a session that nobody resumed."""
    story = Story(session_id)
    closed = Control(session_id, story.epoch, ControlKind.CLOSED, reason="ABANDONED")
    story.say(CONTROL, closed, name="abandoned")
    return story


async def _sealed(log: EmbeddedEventLog, session_ids: set[str]) -> None:
    places = {(TRAJECTORIES, p): 0 for p in range(await log.partitions(TRAJECTORIES))}
    async with asyncio.timeout(40), log.tail(places) as tail:
        while session_ids:
            session_ids -= {record.key for record in await tail.fetch()}


async def _recorded(stub: Any, session_id: str) -> list[str]:
    request = pb.GetTrajectoryRequest(session_id=session_id)
    parts = [part async for part in stub.GetTrajectory(request, timeout=10)]
    verified = await stub.VerifyTrajectory(
        pb.VerifyTrajectoryRequest(session_id=session_id), timeout=10
    )
    assert [p for p in verified.problems if "mcap" in p] == []
    return [part.event.attributes["id"] for part in parts if part.HasField("event")]


async def _late(log: EmbeddedEventLog, session_id: str) -> set[str]:
    """Ids that came behind the seal and were put aside, with their reason, for all to see."""
    found: set[str] = set()
    for topic in TOPICS:
        if topic.endswith(".dlq"):
            async for record in log.read(topic, 0, key=session_id):
                assert record.event.extensions["dlqreason"] == "TRAJECTORY_SEALED"
                # Only the second closing of a session that had been closed comes so late.
                assert record.event.id.endswith("abandoned")
                found.add(record.event.id)
    return found

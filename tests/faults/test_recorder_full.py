"""A disk without room: nothing is committed, nothing is lost, and the recorder says so."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2

from libs.blobs.memory import MemoryBlobStore
from libs.blobs.port import blob_key
from libs.clock import SystemClock
from libs.errors import DependencyDown
from libs.events.memory import MemoryEventLog
from libs.events.topics import CONTROL, TRAJECTORIES, topic_specs
from services.recorder.reactor import GROUP
from tectum.recorder.v1 import recorder_pb2 as pb
from tectum.recorder.v1 import recorder_pb2_grpc
from tests.integration.recorder_host import health_of, recorder_host, until
from tests.unit.recorder.sample import Story, solved

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.fixture
def limit_files() -> Iterator[Callable[[int], None]]:
    """Lets no file grow beyond so many bytes: the kernel refuses as it does on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit(size_bytes: int) -> None:
        wanted = before[0] if size_bytes < 0 else size_bytes
        resource.setrlimit(resource.RLIMIT_FSIZE, (wanted, before[1]))

    yield limit
    limit(-1)


class FullBlobStore(MemoryBlobStore):
    """Has no room while `full`."""

    full = False

    def _refuse(self) -> None:
        if self.full:
            raise DependencyDown("BLOBS_FULL", "expected room")

    async def put(self, key: str, data: bytes) -> None:
        self._refuse()
        await super().put(key, data)

    async def create(self, key: str, data: bytes) -> bool:
        self._refuse()
        return await super().create(key, data)


async def _publish(log: MemoryEventLog, blobs: MemoryBlobStore, story: Story) -> None:
    for sha256, data in story.pictures.items():
        await blobs.put(blob_key(sha256), data)
    producer = await log.producer("test")
    for topic, event in story.published:
        await producer.publish(topic, event)


async def _sealed(log: MemoryEventLog) -> None:
    places = {(TRAJECTORIES, p): 0 for p in range(await log.partitions(TRAJECTORIES))}
    async with asyncio.timeout(10), log.tail(places) as tail:
        await tail.fetch()


async def says(channel: grpc.aio.Channel, status: int) -> bool:
    return await health_of(channel) == status


async def _committed(log: MemoryEventLog, offset: int) -> bool:
    return await log.committed(GROUP, CONTROL, 0) >= offset


async def test_a_full_spool_disk(tmp_path: Path, limit_files: Callable[[int], None]) -> None:
    log, blobs, story = MemoryEventLog(SystemClock()), MemoryBlobStore(), solved()
    await log.ensure_topics(topic_specs(1))
    async with recorder_host(log, blobs, tmp_path) as channel:
        limit_files(16)
        await _publish(log, blobs, story)
        await until(lambda: says(channel, NOT_SERVING))
        assert await log.committed(GROUP, CONTROL, 0) == 0
        limit_files(-1)
        await _sealed(log)
        await until(lambda: says(channel, SERVING))
        stub = recorder_pb2_grpc.RecorderServiceStub(channel)
        request = pb.VerifyTrajectoryRequest(session_id="s-solved")
        verified = await stub.VerifyTrajectory(request, timeout=5)
    await log.aclose()
    assert verified.intact
    assert verified.events == len(story.published)


async def test_a_full_blob_store_holds_up_the_seal_only(tmp_path: Path) -> None:
    log, blobs, story = MemoryEventLog(SystemClock()), FullBlobStore(), solved()
    await log.ensure_topics(topic_specs(1))
    async with recorder_host(log, blobs, tmp_path) as channel:
        await _publish(log, blobs, story)
        blobs.full = True
        await until(lambda: says(channel, NOT_SERVING))
        # Others are recorded meanwhile.
        other = solved("s-other")
        producer = await log.producer("other")
        for topic, event in other.published[:5]:
            await producer.publish(topic, event)
        end = await log.end_offset(CONTROL, 0)
        await until(lambda: _committed(log, end))
        assert await log.end_offset(TRAJECTORIES, 0) == 0
        blobs.full = False
        await _sealed(log)
        await until(lambda: says(channel, SERVING))
        stub = recorder_pb2_grpc.RecorderServiceStub(channel)
        request = pb.VerifyTrajectoryRequest(session_id="s-solved")
        assert (await stub.VerifyTrajectory(request, timeout=5)).intact
    await log.aclose()

"""RecorderService over a real socket, fed by the log."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from libs.blobs.memory import MemoryBlobStore
from libs.blobs.port import blob_key
from libs.clock import SystemClock
from libs.events.memory import MemoryEventLog
from libs.events.messages import decode
from libs.events.topics import CONTROL, OUTCOMES, TRAJECTORIES, topic_specs
from libs.telemetry.port import Span
from services.recorder.reactor import GROUP
from tectum.protocol.messages import TrajectorySealed
from tectum.recorder.v1 import recorder_pb2 as pb
from tectum.recorder.v1 import recorder_pb2_grpc
from tests.integration.recorder_host import Traces, recorder_host, until
from tests.unit.recorder.sample import Story, solved, troubled

_SPAN = Span("ab" * 16, "cd" * 8, "", "invoke_agent", 5, 9, "session", "", {"k": "v"})


class Bench:
    """A log, a blob store and whoever publishes into them."""

    def __init__(self, folder: Path) -> None:
        self.log = MemoryEventLog(SystemClock())
        self.blobs = MemoryBlobStore()
        self.folder = folder
        self.stub: Any = None

    async def publish(self, *stories: Story) -> None:
        """Publish the stories, event by event, one in turn with the other."""
        for story in stories:
            for sha256, data in story.pictures.items():
                await self.blobs.put(blob_key(sha256), data)
        producer = await self.log.producer("test")
        longest = max(len(story.published) for story in stories)
        for n in range(longest):
            for story in stories:
                if n < len(story.published):
                    topic, event = story.published[n]
                    await producer.publish(topic, event)

    async def sealed(self, count: int) -> list[TrajectorySealed]:
        """Wait for `count` sealed trajectories."""
        found: list[TrajectorySealed] = []
        start = {(TRAJECTORIES, p): 0 for p in range(await self.log.partitions(TRAJECTORIES))}
        async with asyncio.timeout(15), self.log.tail(start) as tail:
            while len(found) < count:
                found += [decode(record.event) for record in await tail.fetch()]
        return found

    async def get(self, session_id: str, *types: str) -> tuple[Any, list[Any]]:
        parts = [
            part
            async for part in self.stub.GetTrajectory(
                pb.GetTrajectoryRequest(session_id=session_id, types=types), timeout=10
            )
        ]
        assert [part.WhichOneof("part") for part in parts] == ["manifest"] + ["event"] * (
            len(parts) - 1
        )
        return parts[0].manifest, [part.event for part in parts[1:]]


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    bench = Bench(tmp_path)
    await bench.log.ensure_topics(topic_specs(3))
    traces = Traces("s-solved", [_SPAN])
    async with recorder_host(bench.log, bench.blobs, tmp_path, traces=traces) as channel:
        bench.stub = recorder_pb2_grpc.RecorderServiceStub(channel)
        yield bench
    await bench.log.aclose()


async def _reason(call: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        if hasattr(call, "__aiter__"):
            async for _ in call:
                pass
        else:
            await call
    status = rpc_status.from_call(caught.value)
    info = error_details_pb2.ErrorInfo()
    assert status is not None
    assert status.details[0].Unpack(info)
    return caught.value.code(), info.reason


async def test_what_was_published_is_sealed_listed_got_and_verified(bench: Bench) -> None:
    stories = [solved(), troubled()]
    await bench.publish(*stories)
    sealed = {message.session_id: message for message in await bench.sealed(2)}
    assert sealed["s-solved"].success
    assert not sealed["s-troubled"].success
    assert sealed["s-solved"].manifest_key.endswith("/s-solved/manifest.json")
    listed = await bench.stub.ListTrajectories(pb.ListTrajectoriesRequest(), timeout=5)
    assert {manifest.session_id for manifest in listed.manifests} == {"s-solved", "s-troubled"}
    for story in stories:
        manifest, events = await bench.get(story.session_id)
        assert sorted(event.attributes["id"] for event in events) == sorted(
            event.id for _, event in story.published
        )
        assert manifest.privacy_level == "internal"
        verified = await bench.stub.VerifyTrajectory(
            pb.VerifyTrajectoryRequest(session_id=story.session_id), timeout=10
        )
        assert (verified.intact, list(verified.problems)) == (True, [])
        assert verified.events == len(story.published)
        assert verified.blobs == len(story.pictures)


async def test_only_the_types_that_are_asked_for_are_sent(bench: Bench) -> None:
    story = solved()
    await bench.publish(story)
    await bench.sealed(1)
    plan, score = "tectum.event.v1.Plan", "tectum.event.v1.Score"
    wanted = [event.id for _, event in story.published if event.type in (plan, score)]
    assert 0 < len(wanted) < len(story.published)
    _, events = await bench.get("s-solved", plan, score)
    assert sorted(event.attributes["id"] for event in events) == sorted(wanted)


async def test_the_recorder_commits_what_it_has_written(bench: Bench) -> None:
    story = solved()
    await bench.publish(story)
    await bench.sealed(1)
    place = (OUTCOMES, await bench.log.partition_of(OUTCOMES, "s-solved"))

    async def committed() -> bool:
        end = await bench.log.end_offset(*place)
        return await bench.log.committed(GROUP, *place) == end > 0

    await until(committed)


async def test_report_blob_and_trace(bench: Bench) -> None:
    story = solved()
    await bench.publish(story)
    await bench.sealed(1)
    request = pb.RenderReportRequest(session_ids=["s-solved"], title="One session")
    html = b"".join([part.chunk async for part in bench.stub.RenderReport(request, timeout=15)])
    assert html.startswith(b"<!doctype html>")
    assert b"One session" in html
    sha256, data = next(iter(story.pictures.items()))
    blob = [
        part.chunk async for part in bench.stub.GetBlob(pb.GetBlobRequest(sha256=sha256), timeout=5)
    ]
    assert b"".join(blob) == data
    trace = await bench.stub.GetTrace(pb.GetTraceRequest(session_id="s-solved"), timeout=5)
    (span,) = trace.spans
    assert (span.name, span.end_ns, dict(span.attributes)) == ("invoke_agent", 9, {"k": "v"})


async def test_deleted_is_gone(bench: Bench) -> None:
    await bench.publish(solved())
    await bench.sealed(1)
    await bench.stub.DeleteTrajectory(pb.DeleteTrajectoryRequest(session_id="s-solved"), timeout=5)
    request = pb.GetTrajectoryRequest(session_id="s-solved")
    code, reason = await _reason(bench.stub.GetTrajectory(request, timeout=5))
    assert (code, reason) == (grpc.StatusCode.NOT_FOUND, "TRAJECTORY_NOT_FOUND")


async def test_errors_have_their_reasons(bench: Bench) -> None:
    stub, wrong = bench.stub, grpc.StatusCode.INVALID_ARGUMENT
    missing = grpc.StatusCode.NOT_FOUND
    expected = [
        (stub.ListTrajectories(pb.ListTrajectoriesRequest(page_size=5000)), wrong, "PAGE_SIZE_INVALID"),
        (stub.GetTrajectory(pb.GetTrajectoryRequest(session_id="?")), missing, "TRAJECTORY_NOT_FOUND"),
        (stub.VerifyTrajectory(pb.VerifyTrajectoryRequest(session_id="?")), missing, "TRAJECTORY_NOT_FOUND"),
        (stub.DeleteTrajectory(pb.DeleteTrajectoryRequest(session_id="?")), missing, "TRAJECTORY_NOT_FOUND"),
        (stub.RenderReport(pb.RenderReportRequest()), wrong, "SESSION_IDS_INVALID"),
        (stub.RenderReport(pb.RenderReportRequest(session_ids=["?"])), missing, "TRAJECTORY_NOT_FOUND"),
        (stub.GetBlob(pb.GetBlobRequest(sha256="../x")), wrong, "BLOB_HASH_MALFORMED"),
        (stub.GetBlob(pb.GetBlobRequest(sha256="0" * 64)), missing, "BLOB_NOT_FOUND"),
        (stub.GetTrace(pb.GetTraceRequest(session_id="?")), missing, "TRACE_NOT_FOUND"),
    ]  # fmt: skip
    for call, code, reason in expected:
        assert await _reason(call) == (code, reason)


async def test_a_corrupted_segment_is_named(bench: Bench) -> None:
    await bench.publish(solved())
    await bench.sealed(1)
    manifest, whole = await bench.get("s-solved")
    key = manifest.segments[0].key
    data = await bench.blobs.get(key)
    await bench.blobs.put(key, data[: len(data) // 2])
    request = pb.GetTrajectoryRequest(session_id="s-solved")
    call, received = bench.stub.GetTrajectory(request, timeout=5), []
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for part in call:
            received.append(part)
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert key in str(caught.value.details())
    assert received[0].HasField("manifest")
    assert len(received) - 1 <= len(whole)
    verified = await bench.stub.VerifyTrajectory(
        pb.VerifyTrajectoryRequest(session_id="s-solved"), timeout=5
    )
    assert not verified.intact
    assert any(key in problem for problem in verified.problems)


async def test_closed_overtakes_what_other_topics_hold(bench: Bench) -> None:
    story = solved()
    story.published.sort(key=lambda item: item[0] != CONTROL)
    await bench.publish(story)
    await bench.sealed(1)
    _, events = await bench.get("s-solved")
    assert len(events) == len(story.published)


async def test_a_late_event_goes_to_the_dead_letters(bench: Bench) -> None:
    await bench.publish(solved())
    await bench.sealed(1)
    producer = await bench.log.producer("late")
    topic, event = solved().published[-2]
    await producer.publish(topic, replace(event, id="too-late"))
    async with asyncio.timeout(10), bench.log.tail({(f"{topic}.dlq", 0): 0}) as tail:
        (record,) = await tail.fetch()
    assert record.event.id == "too-late"
    assert record.event.extensions["dlqreason"] == "TRAJECTORY_SEALED"


async def test_a_later_process_seals_what_was_left(tmp_path: Path) -> None:
    bench, story = Bench(tmp_path), solved()
    await bench.log.ensure_topics(topic_specs(2))
    end, story.published = story.published[-3:], story.published[:-3]
    async with recorder_host(bench.log, bench.blobs, tmp_path):
        await bench.publish(story)
        place = (CONTROL, await bench.log.partition_of(CONTROL, "s-solved"))

        async def committed() -> bool:
            return await bench.log.committed(GROUP, *place) >= 1

        await until(committed)
    rest = Story("s-solved", published=end)
    await bench.publish(rest)
    async with recorder_host(bench.log, bench.blobs, tmp_path) as channel:
        bench.stub = recorder_pb2_grpc.RecorderServiceStub(channel)
        await bench.sealed(1)
        _, events = await bench.get("s-solved")
    await bench.log.aclose()
    assert [e.attributes["id"] for e in events if e.topic == CONTROL] == [
        event.id for topic, event in (*story.published, *end) if topic == CONTROL
    ]
    assert len(events) == len(story.published) + 3

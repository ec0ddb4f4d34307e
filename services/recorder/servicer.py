"""Translate between the wire and the recorder's domain; nothing else."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from typing import Any

from libs.errors import InvalidRequest, NotFound
from libs.telemetry.port import Span
from services.recorder.domain.archive import Archive
from services.recorder.domain.manifest import Manifest
from services.recorder.events import StoredEvent
from services.recorder.ports import BlobStore, TraceReader, blob_key
from services.recorder.report.render import Reports
from tectum.recorder.v1 import recorder_pb2 as pb
from tectum.recorder.v1 import recorder_pb2_grpc
from tectum.wire import to_wire

_CHUNK_BYTES = 256 * 1024
_SHA256 = re.compile(r"[0-9a-f]{64}")


class RecorderServicer(recorder_pb2_grpc.RecorderServiceServicer):
    """RecorderService over the archive, the reports and the kept traces."""

    def __init__(
        self, archive: Archive, reports: Reports, blobs: BlobStore, traces: TraceReader
    ) -> None:
        self._archive = archive
        self._reports = reports
        self._blobs = blobs
        self._traces = traces

    async def ListTrajectories(
        self, request: pb.ListTrajectoriesRequest, context: Any
    ) -> pb.ListTrajectoriesResponse:
        page = await self._archive.list(request.page_size, request.page_token)
        manifests = [_manifest(manifest) for manifest in page.manifests]
        return pb.ListTrajectoriesResponse(manifests=manifests, next_page_token=page.next_token)

    async def GetTrajectory(
        self, request: pb.GetTrajectoryRequest, context: Any
    ) -> AsyncIterator[pb.GetTrajectoryResponse]:
        manifest = await self._archive.get(request.session_id)
        yield pb.GetTrajectoryResponse(manifest=_manifest(manifest))
        types = frozenset(request.types)
        async for events in self._archive.events(manifest):
            for event in _of_types(events, types):
                yield pb.GetTrajectoryResponse(event=_event(event))

    async def VerifyTrajectory(
        self, request: pb.VerifyTrajectoryRequest, context: Any
    ) -> pb.VerifyTrajectoryResponse:
        found = await self._archive.verify(request.session_id)
        return pb.VerifyTrajectoryResponse(
            intact=not found.problems,
            problems=found.problems,
            events=found.events,
            blobs=found.blobs,
        )

    async def DeleteTrajectory(
        self, request: pb.DeleteTrajectoryRequest, context: Any
    ) -> pb.DeleteTrajectoryResponse:
        await self._archive.delete(request.session_id)
        return pb.DeleteTrajectoryResponse()

    async def RenderReport(
        self, request: pb.RenderReportRequest, context: Any
    ) -> AsyncIterator[pb.RenderReportResponse]:
        async for chunk in self._reports.render(request.session_ids, request.title):
            yield pb.RenderReportResponse(chunk=chunk)

    async def GetBlob(
        self, request: pb.GetBlobRequest, context: Any
    ) -> AsyncIterator[pb.GetBlobResponse]:
        _check_sha256(request.sha256)
        data = await self._blobs.get(blob_key(request.sha256))
        for start in range(0, len(data), _CHUNK_BYTES):
            yield pb.GetBlobResponse(chunk=data[start : start + _CHUNK_BYTES])

    async def GetTrace(self, request: pb.GetTraceRequest, context: Any) -> pb.GetTraceResponse:
        spans = await self._traces.spans(request.session_id)
        if not spans:
            raise NotFound(
                "TRACE_NOT_FOUND", f"expected a traced session, got {request.session_id!r}"
            )
        return pb.GetTraceResponse(spans=[_span(span) for span in spans])


def _check_sha256(sha256: str) -> None:
    if not _SHA256.fullmatch(sha256):
        raise InvalidRequest(
            "BLOB_HASH_MALFORMED",
            f"expected 64 lower-case hexadecimal digits, got {sha256!r}",
            field="sha256",
        )


def _manifest(manifest: Manifest) -> pb.Manifest:
    message: Any = to_wire(manifest, pb.Manifest)
    filled: pb.Manifest = message
    return filled


def _span(span: Span) -> pb.Span:
    message: Any = to_wire(span, pb.Span)
    filled: pb.Span = message
    return filled


def _of_types(events: Sequence[StoredEvent], types: frozenset[str]) -> Sequence[StoredEvent]:
    return [event for event in events if event.type in types] if types else events


def _event(event: StoredEvent) -> pb.RecordedEvent:
    return pb.RecordedEvent(
        attributes=event.attributes,
        data=event.data,
        topic=event.topic,
        partition=event.partition,
        offset=event.offset,
    )

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from libs.blobs.memory import MemoryBlobStore
from libs.blobs.port import blob_key
from libs.events.port import Record
from libs.offload import Offload
from services.recorder.codec import McapCodec
from services.recorder.decode import decode
from services.recorder.domain.archive import Archive
from services.recorder.domain.recording import Limits, Recorder, Rejected, Sealed
from services.recorder.report.render import Reports
from services.recorder.spool import DiskSpool
from tests.unit.recorder.sample import Story


class FixedClock:
    def now(self) -> datetime:
        return datetime(2026, 11, 22, 12, tzinfo=UTC)

    def monotonic(self) -> float:
        return 0.0


@dataclass
class Process:
    """The recorder of one process over a disk and a blob store that outlive it."""

    recorder: Recorder
    archive: Archive
    spool: DiskSpool
    blobs: MemoryBlobStore
    reports: Reports

    async def record(self, records: Sequence[Record]) -> Sequence[Rejected]:
        return await self.recorder.record(records)

    async def seal(self, session_id: str, rest: Sequence[Record] = ()) -> Sealed:
        async def pages() -> AsyncIterator[Sequence[Record]]:
            yield rest

        sealed = await self.recorder.seal(session_id, pages())
        await self.recorder.forget(sealed)
        return sealed

    async def keep(self, *stories: Story) -> None:
        """Record and seal whole stories, with their pictures."""
        for story in stories:
            for sha256, data in story.pictures.items():
                await self.blobs.put(blob_key(sha256), data)
            assert not await self.record(list(story.records()))
            await self.seal(story.session_id)


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Callable[..., Process]]:
    """Starts a process; a second call is what comes after a kill of the first."""
    offload = Offload("recorder", threads=1, waiting=64)
    blobs = MemoryBlobStore()

    def begin(limits: Limits = Limits(), segment_bytes: int = 1 << 20) -> Process:  # noqa: B008
        spool = DiskSpool(tmp_path / "spool", offload, segment_bytes=segment_bytes)
        clock = FixedClock()
        archive = Archive(
            blobs, McapCodec(offload), spool, decode, clock.now, privacy_level="internal"
        )
        recorder = Recorder(spool, archive, decode, limits)
        reports = Reports(archive, spool, blobs, offload, clock, size_bytes=9_500_000)
        return Process(recorder, archive, spool, blobs, reports)

    yield begin
    await offload.aclose()

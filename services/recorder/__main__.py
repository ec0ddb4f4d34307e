"""Composition root of the recorder."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from libs.host import Host
from libs.offload import Offload
from libs.rpc.server import PlatformServer
from services.recorder.codec import McapCodec
from services.recorder.decode import decode
from services.recorder.domain.archive import Archive
from services.recorder.domain.recording import Limits, Recorder
from services.recorder.reactor import RecorderReactor
from services.recorder.report.render import Reports
from services.recorder.servicer import RecorderServicer
from services.recorder.settings import RecorderSettings
from services.recorder.spool import DiskSpool
from tectum.recorder.v1.recorder_pb2_grpc import add_RecorderServiceServicer_to_server

SERVICE = "tectum.recorder.v1.RecorderService"


@asynccontextmanager
async def running(host: Host, settings: RecorderSettings) -> AsyncIterator[None]:
    """Record the host's log and answer RecorderService until the block is left."""
    # One thread, so that the writes of a session keep their order; reading has threads of its own.
    writing = Offload("recorder-write", threads=1, waiting=256)
    reading = Offload("recorder-read", threads=settings.threads, waiting=256)
    spool = DiskSpool(
        settings.spool_dir or host.data_dir / "recorder",
        writing,
        segment_bytes=settings.segment_bytes,
        fsync=settings.fsync,
    )
    archive = Archive(
        host.blobs,
        McapCodec(reading),
        spool,
        decode,
        host.clock.now,
        privacy_level=settings.privacy_level,
    )
    reports = Reports(
        archive, spool, host.blobs, reading, host.clock, size_bytes=settings.report_bytes
    )
    servicer = RecorderServicer(archive, reports, host.blobs, host.traces)
    add_RecorderServiceServicer_to_server(servicer, host.server)

    limits = Limits(settings.open_sessions_max, settings.remembered_ids_max)
    recorder = Recorder(spool, archive, decode, limits)

    async def on_degraded(reason: str) -> None:
        if isinstance(host.server, PlatformServer):
            await host.server.report(SERVICE, serving=not reason)

    reactor = RecorderReactor(recorder, host.log, host.clock, settings, on_degraded)
    task = host.tasks.create_task(reactor.run(), name="recorder")
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await reading.aclose()
        await writing.aclose()

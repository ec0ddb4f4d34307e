"""A host with nothing but the recorder in it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NoReturn

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from libs.blobs.port import BlobStore
from libs.clock import SystemClock
from libs.events.port import EventLog
from libs.host import Host
from libs.rpc.server import PlatformServer, serving
from libs.rpc.settings import RpcSettings
from libs.telemetry.port import Span
from services.recorder.__main__ import SERVICE, running
from services.recorder.settings import RecorderSettings


class Traces:
    """Keeps the spans of one session."""

    def __init__(self, session_id: str, spans: Sequence[Span]) -> None:
        self._session_id = session_id
        self._spans = spans

    async def spans(self, session_id: str) -> Sequence[Span]:
        return self._spans if session_id == self._session_id else ()


def _nobody(name: str) -> NoReturn:
    raise AssertionError(f"the recorder calls nobody, but asked for {name!r}")


@asynccontextmanager
async def recorder_host(
    log: EventLog,
    blobs: BlobStore,
    data_dir: Path,
    settings: RecorderSettings | None = None,
    traces: Traces | None = None,
) -> AsyncIterator[grpc.aio.Channel]:
    """The recorder over `log` and `blobs`; a channel to its server."""
    server = await PlatformServer.bind(RpcSettings(address="127.0.0.1:0", drain_s=0))
    async with asyncio.TaskGroup() as tasks:
        host = Host(
            log=log,
            blobs=blobs,
            server=server,
            tasks=tasks,
            clock=SystemClock(),
            data_dir=data_dir,
            address=server.inner_address,
            channel=_nobody,
            traces=traces or Traces("", ()),
        )
        settings = settings or RecorderSettings(flush_s=0.01, seal_delay_s=0.01, retry_s=0.02)
        async with (
            running(host, settings),
            serving(server, drain_s=0),
            grpc.aio.insecure_channel(server.address) as channel,
        ):
            yield channel


async def health_of(channel: grpc.aio.Channel) -> int:
    stub = health_pb2_grpc.HealthStub(channel)
    answer = await stub.Check(health_pb2.HealthCheckRequest(service=SERVICE), timeout=5)
    return int(answer.status)


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Return once it holds; ten seconds are enough for everything here."""
    async with asyncio.timeout(10):
        while not await holds():  # noqa: ASYNC110 - it happens behind a port, without an event
            await asyncio.sleep(0.01)

"""The embedded shape: every service in one process, on one port, with nothing else to install."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from deploy.settings import EmbeddedSettings
from libs.blobs.filesystem import FilesystemBlobStore
from libs.blobs.settings import BlobSettings
from libs.clock import SystemClock
from libs.errors import DependencyDown
from libs.events.embedded import EmbeddedEventLog
from libs.events.settings import EventSettings
from libs.events.topics import topic_specs
from libs.host import Host
from libs.offload import Offload
from libs.rpc.channels import Channels
from libs.rpc.server import PlatformServer, serving
from libs.rpc.settings import RpcSettings
from libs.settings import refuse_unknown
from libs.telemetry.setup import TelemetrySettings, running_telemetry
from services.guard.__main__ import running as running_guard
from services.guard.settings import GuardSettings
from services.gui.__main__ import running as running_gui
from services.gui.settings import GuiSettings
from services.memory.__main__ import running as running_memory
from services.memory.settings import MemorySettings
from services.planner.__main__ import running as running_planner
from services.planner.settings import PlannerSettings
from services.recorder.__main__ import running as running_recorder
from services.recorder.settings import RecorderSettings
from services.session.__main__ import running as running_session
from services.session.settings import SessionSettings


@asynccontextmanager
async def platform(settings: EmbeddedSettings) -> AsyncIterator[PlatformServer]:
    """Serve everything until the block exits, then drain in the reverse order.

    Raises:
        PlatformError: a part cannot start; the reason says which and why.
        ValueError: a setting is unknown or out of range.
    """
    rpc = RpcSettings.load()
    async with AsyncExitStack() as stack:
        server = await PlatformServer.bind(rpc)
        folder = await _folder(settings.data_dir.expanduser())
        host = await _host(stack, server, rpc, settings, folder)
        # What others read from starts first and stops last.
        await stack.enter_async_context(running_recorder(host, RecorderSettings.load()))
        await stack.enter_async_context(running_memory(host, MemorySettings.load()))
        await stack.enter_async_context(running_guard(host, GuardSettings.load()))
        await stack.enter_async_context(running_planner(host, PlannerSettings.load()))
        await stack.enter_async_context(running_gui(host, GuiSettings.load()))
        await stack.enter_async_context(running_session(host, SessionSettings.load()))
        refuse_unknown()
        await stack.enter_async_context(serving(server, drain_s=rpc.drain_s))
        yield server


async def _host(
    stack: AsyncExitStack,
    server: PlatformServer,
    rpc: RpcSettings,
    settings: EmbeddedSettings,
    folder: Path,
) -> Host:
    traces = await stack.enter_async_context(running_telemetry(TelemetrySettings.load(), folder))
    clock = SystemClock()
    log = await EmbeddedEventLog.open(folder / "log", clock=clock, settings=EventSettings.load())
    stack.push_async_callback(log.aclose)
    await log.ensure_topics(topic_specs(settings.partitions))
    blobs = await FilesystemBlobStore.open(folder / "blobs", settings=BlobSettings.load())
    stack.push_async_callback(blobs.aclose)
    channels = Channels(rpc, own_address=server.inner_address, inner_token=server.inner_token)
    stack.push_async_callback(channels.aclose)
    tasks = await stack.enter_async_context(asyncio.TaskGroup())
    return Host(
        log=log,
        blobs=blobs,
        server=server,
        tasks=tasks,
        clock=clock,
        data_dir=folder,
        address=server.inner_address,
        channel=channels,
        traces=traces,
    )


async def _folder(path: Path) -> Path:
    offload = Offload("data-dir", threads=1, waiting=0)
    try:
        await offload.run(path.mkdir, parents=True, exist_ok=True)
    except OSError as error:
        raise DependencyDown("DATA_DIR_DOWN", f"{path} cannot be made: {error}") from error
    finally:
        await offload.aclose()
    return path

"""A host with the GUI service in it, over memory adapters and a real socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from libs.blobs.memory import MemoryBlobStore
from libs.clock import SystemClock
from libs.events.memory import MemoryEventLog
from libs.events.topics import topic_specs
from libs.host import Host
from libs.rpc.client import PlatformChannel, connect
from libs.rpc.server import PlatformServer, serving
from libs.rpc.settings import RpcSettings
from services.gui.__main__ import running
from services.gui.settings import GuiSettings
from tests.integration.recorder_host import Traces

RPC = RpcSettings(address="127.0.0.1:0", drain_s=0)


@asynccontextmanager
async def gui_host(
    folder: Path, settings: GuiSettings | None = None
) -> AsyncIterator[tuple[Host, PlatformChannel]]:
    """The GUI service; its host and a channel to its server."""
    async with AsyncExitStack() as stack:
        log = MemoryEventLog(SystemClock())
        stack.push_async_callback(log.aclose)
        await log.ensure_topics(topic_specs(2))
        server = await PlatformServer.bind(RPC)
        channel = connect(server.inner_address, RPC)
        stack.push_async_callback(channel.close)
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        host = Host(
            log=log,
            blobs=MemoryBlobStore(),
            server=server,
            tasks=tasks,
            clock=SystemClock(),
            data_dir=folder,
            address=server.inner_address,
            channel=lambda _: channel,
            traces=Traces("", ()),
        )
        await stack.enter_async_context(running(host, settings or GuiSettings()))
        await stack.enter_async_context(serving(server, drain_s=0))
        yield host, channel

"""A host with recorder, memory and guard on one port, over any log."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from libs.blobs.memory import MemoryBlobStore
from libs.clock import SystemClock
from libs.events.messages import encode
from libs.events.port import EventLog, Record
from libs.host import Host
from libs.rpc.client import PlatformChannel, connect
from libs.rpc.server import PlatformServer, serving
from libs.rpc.settings import RpcSettings
from services.guard.__main__ import running as running_guard
from services.guard.settings import GuardSettings
from services.memory.__main__ import running as running_memory
from services.memory.settings import MemorySettings
from services.recorder.__main__ import running as running_recorder
from services.recorder.settings import RecorderSettings
from tests.integration.recorder_host import Traces

RPC = RpcSettings(address="127.0.0.1:0", drain_s=0)


@asynccontextmanager
async def learning_host(
    log: EventLog, folder: Path, guard: GuardSettings | None = None
) -> AsyncIterator[PlatformChannel]:
    """The three services; a channel to their server."""
    async with AsyncExitStack() as stack:
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
        quick = RecorderSettings(flush_s=0.01, seal_delay_s=0.01, retry_s=0.02)
        await stack.enter_async_context(running_recorder(host, quick))
        await stack.enter_async_context(running_memory(host, MemorySettings()))
        await stack.enter_async_context(running_guard(host, guard or GuardSettings()))
        await stack.enter_async_context(serving(server, drain_s=0))
        yield channel


class Others:
    """Whoever else publishes and reads."""

    def __init__(self, log: EventLog) -> None:
        self.log = log
        self._sent = 0

    async def publish(self, *messages: tuple[str, Any]) -> None:
        producer = await self.log.producer("test")
        for topic, message in messages:
            self._sent += 1
            event = encode(
                message,
                event_id=f"t-{self._sent}",
                subject=message.session_id,
                at=SystemClock().now(),
            )
            await producer.publish(topic, event)

    async def wait_for(self, topic: str, wanted: Callable[[Record], bool]) -> Record:
        """The first record of the topic that is wanted, from its beginning."""
        start = {(topic, p): 0 for p in range(await self.log.partitions(topic))}
        async with asyncio.timeout(15), self.log.tail(start) as tail:
            while True:
                for record in await tail.fetch():
                    if wanted(record):
                        return record

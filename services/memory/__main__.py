"""Composition root of memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress

from libs.engine.catalogue import MINILM
from libs.engine.local import LocalEngine
from libs.events.settings import LaneSettings
from libs.host import Host
from services.memory.domain.memory import Limits, Memory
from services.memory.reactor import MemoryReactor
from services.memory.servicer import MemoryServicer
from services.memory.settings import MemorySettings
from services.memory.store import SqliteExemplarStore
from services.memory.trajectories import RecorderTrajectories
from tectum.memory.v1 import memory_pb2_grpc

FILE = "memory.sqlite"


@asynccontextmanager
async def running(host: Host, settings: MemorySettings) -> AsyncIterator[None]:
    """Serve and learn until the block exits.

    Raises:
        DependencyDown: the store cannot be opened (MEMORY_DOWN).
    """
    async with AsyncExitStack() as stack:
        engine = LocalEngine(settings.models_dir, threads=settings.threads)
        stack.push_async_callback(engine.aclose)
        store = SqliteExemplarStore(host.data_dir / FILE)
        stack.push_async_callback(store.aclose)
        limits = Limits(
            settings.exemplars_max,
            settings.lesson_max,
            settings.turns_per_site,
            settings.sites_max,
        )
        memory = Memory(engine, store, host.clock, limits, dimensions=MINILM.dimensions)
        await memory.open()
        memory_pb2_grpc.add_MemoryServiceServicer_to_server(MemoryServicer(memory), host.server)
        trajectories = RecorderTrajectories(
            host.channel("recorder"),
            events_max=settings.trajectory_events_max,
            timeout_s=settings.recorder_timeout_s,
        )
        reactor = MemoryReactor(
            host.log, memory, trajectories, host.clock, history=settings.history
        )
        lanes = LaneSettings.load().model_copy(update={"lanes_max": settings.lanes_max})
        task = host.tasks.create_task(reactor.run(lanes), name="memory")
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

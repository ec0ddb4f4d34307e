"""Composition root of the planner."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from importlib.metadata import entry_points

from libs.events.settings import LaneSettings
from libs.host import Host
from libs.offload import Offload
from services.planner.domain import Planner
from services.planner.exemplars import MemoryExemplars
from services.planner.plugins import load_strategies
from services.planner.ports import PlannerLimits
from services.planner.reactor import LogPlans, LogTurns, PlannerReactor
from services.planner.servicer import PlannerServicer
from services.planner.settings import ModelSettings, PlannerSettings
from tectum.planner.v1 import planner_pb2_grpc
from tectum.plugins import STRATEGIES, StrategyPlugin


def _installed() -> tuple[dict[str, StrategyPlugin], tuple[str, ...]]:
    return load_strategies(entry_points(group=STRATEGIES))


@asynccontextmanager
async def running(host: Host, settings: PlannerSettings) -> AsyncIterator[None]:
    """Serve and plan until the block exits."""
    # What is wrong with a setting stops the start; what is wrong with a plug-in does not, and one
    # cannot be told from the other once the plug-in reads its settings itself.
    ModelSettings.load()
    async with AsyncExitStack() as stack:
        offload = Offload("planner", threads=settings.threads, waiting=settings.waiting_max)
        stack.push_async_callback(offload.aclose)
        strategies, left_out = await offload.run(_installed)
        producer = await host.log.producer(f"planner/{settings.replica}")
        planner = Planner(
            strategies,
            MemoryExemplars(host.channel("memory"), timeout_s=settings.memory_timeout_s),
            LogPlans(producer, host.clock),
            LogTurns(host.log),
            offload,
            host.clock,
            PlannerLimits(settings.turns_max, settings.steps_max, settings.thinking_s),
            left_out,
        )
        servicer = PlannerServicer(planner)
        planner_pb2_grpc.add_PlannerServiceServicer_to_server(servicer, host.server)
        reactor = PlannerReactor(host.log, planner, host.clock, replica=settings.replica)
        task = host.tasks.create_task(reactor.run(LaneSettings.load()), name="planner")
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

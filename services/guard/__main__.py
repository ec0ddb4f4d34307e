"""Composition root of the guard."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from libs.events.settings import LaneSettings
from libs.host import Host
from libs.offload import Offload
from services.guard.domain import Desk, Guard
from services.guard.policy_files import load_policies
from services.guard.reactor import GuardReactor
from services.guard.servicer import GuardServicer
from services.guard.settings import GuardSettings
from tectum.guard.v1 import guard_pb2_grpc


@asynccontextmanager
async def running(host: Host, settings: GuardSettings) -> AsyncIterator[None]:
    """Serve and react until the block exits.

    Raises:
        InvalidRequest: a policy is malformed (POLICY_MALFORMED names file and line), or its folder
            is missing (POLICY_FOLDER_MISSING).
        NotFound: the default policy does not exist (POLICY_UNKNOWN).
    """
    reading = Offload("guard-policies", threads=1, waiting=0)
    try:
        policies = await reading.run(load_policies, settings.policies_dir)
    finally:
        await reading.aclose()
    guard = Guard(policies, settings.default_policy)
    guard_pb2_grpc.add_GuardServiceServicer_to_server(GuardServicer(guard), host.server)
    producer = await host.log.producer(f"guard/{settings.replica}")
    reactor = GuardReactor(host.log, producer, guard, Desk(settings.sessions_max), host.clock)
    task = host.tasks.create_task(reactor.run(LaneSettings.load()), name="guard")
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

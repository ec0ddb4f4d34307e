"""Composition root of the session service."""

from __future__ import annotations

import asyncio
import random
import secrets
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from libs.events import messages
from libs.host import Host
from libs.telemetry.trace import continuing
from services.session.domain.sessions import Sessions
from services.session.executors import GrpcExecutorGateway
from services.session.reactor import SessionReactor
from services.session.servicer import LeaseServicer, SessionServicer
from services.session.settings import SessionSettings
from tectum.session.v1 import session_pb2_grpc


@asynccontextmanager
async def running(host: Host, settings: SessionSettings) -> AsyncIterator[None]:
    """Serve sessions until the block exits; what is open then waits in the log for its client."""
    sessions = Sessions(
        log=host.log,
        executors=GrpcExecutorGateway(
            host.channel, call_s=settings.hold_try_s, open_s=settings.open_s
        ),
        codec=messages,
        clock=host.clock,
        rng=random.Random(),  # noqa: S311 - spreads replicas in time, guards nothing
        new_id=lambda: uuid.uuid4().hex,
        new_token=lambda: secrets.token_urlsafe(32),
        address=host.address,
        limits=settings.limits(),
        traced=continuing,
    )
    session_pb2_grpc.add_SessionServiceServicer_to_server(SessionServicer(sessions), host.server)
    session_pb2_grpc.add_LeaseServiceServicer_to_server(LeaseServicer(sessions), host.server)
    tasks = [
        host.tasks.create_task(sessions.run(), name="sessions"),
        host.tasks.create_task(SessionReactor(host.log, sessions).run(), name="session reactor"),
    ]
    await sessions.following.wait()
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task

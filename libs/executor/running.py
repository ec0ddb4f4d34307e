"""How a service that has a last link becomes an executor."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from libs.executor.executor import Executor
from libs.executor.gateway import GrpcOwnerGateway
from libs.executor.limits import ExecutorLimits
from libs.executor.port import LastLink
from libs.executor.servicer import ExecutorServicer
from libs.host import Host
from tectum.executor.v1 import executor_pb2_grpc


@asynccontextmanager
async def running_executor(
    host: Host, link: LastLink, *, ordinal: int = 0, limits: ExecutorLimits | None = None
) -> AsyncIterator[Executor]:
    """Recover, then serve ExecutorService on the host and act, until the block exits.

    A replacement that fences this executor ends `host.tasks`, and so the process: it must not go on.

    Args:
        host: The process.
        link: The last link, whose kind names the topic.
        ordinal: The partition of `tectum.actions.<kind>` that this executor reads.
        limits: Its bounds.

    Raises:
        DependencyDown: the log does not answer.
    """
    executor = Executor(
        ordinal=ordinal,
        link=link,
        log=host.log,
        owners=GrpcOwnerGateway(host.channel),
        clock=host.clock,
        address=host.address,
        limits=limits,
    )
    await executor.recover()
    executor_pb2_grpc.add_ExecutorServiceServicer_to_server(ExecutorServicer(executor), host.server)
    task = host.tasks.create_task(executor.run(), name=f"executor {executor.name}")
    await executor.running.wait()
    try:
        yield executor
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

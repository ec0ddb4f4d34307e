"""Composition root of the GUI service."""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from libs.executor.limits import ExecutorLimits
from libs.executor.running import running_executor
from libs.host import Host
from libs.offload import Offload
from services.gui.domain import Environments, OwnScreens
from services.gui.providers import StoredBlobs, load_providers
from services.gui.servicer import GuiServicer
from services.gui.settings import GuiSettings
from tectum.gui.v1 import gui_pb2_grpc


@asynccontextmanager
async def running(host: Host, settings: GuiSettings) -> AsyncIterator[None]:
    """Serve screens, and act for sessions, until the block exits; then every environment is destroyed.

    Raises:
        DependencyDown: the log does not answer; or a warm browser is wanted and does not start (BROWSER_MISSING).
        WrongState: an installed environment is broken (PLUGIN_BROKEN).
    """
    loading = Offload("gui-plugins", threads=1, waiting=1)
    try:
        providers = await loading.run(load_providers)
        owner = await loading.run(_owner, host.data_dir, settings.ordinal)
    finally:
        await loading.aclose()
    environments = Environments(
        providers,
        blobs=StoredBlobs(host.blobs),
        clock=host.clock,
        new_id=lambda: uuid.uuid4().hex[:16],
        owner=owner,
        environments_max=settings.environments_max,
    )
    screens = OwnScreens(environments, host.clock, idle_s=settings.idle_s)
    limits = ExecutorLimits(homes_max=settings.environments_max)
    try:
        async with running_executor(host, environments, ordinal=settings.ordinal, limits=limits):
            gui_pb2_grpc.add_GuiServiceServicer_to_server(
                GuiServicer(environments, screens), host.server
            )
            sweeping = host.tasks.create_task(_sweep(screens, settings.sweep_s), name="gui sweep")
            try:
                yield
            finally:
                sweeping.cancel()
                with suppress(asyncio.CancelledError):
                    await sweeping
    finally:
        await environments.aclose()


async def _sweep(screens: OwnScreens, every_s: float) -> None:
    while True:
        await asyncio.sleep(every_s)
        await screens.close_idle()


def _owner(data_dir: Path, ordinal: int) -> str:
    """A word for this executor that its next incarnation knows, and no other process on the machine."""
    place = f"{data_dir.resolve()} {ordinal}"
    return hashlib.sha256(place.encode()).hexdigest()[:24]

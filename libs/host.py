"""What a process gives to the services in it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import grpc

from libs.blobs.port import BlobStore
from libs.clock import Clock
from libs.events.port import EventLog
from libs.telemetry.port import TraceReader


@dataclass(frozen=True, slots=True)
class Host:
    """The parts that a service's composition root builds upon.

    A service is `running(host, settings)`, an async context manager in its `__main__`: it registers
    its servicers on `server`, starts its reactors in `tasks`, and on leaving ends what it started.
    `server` is started after every service was entered and stopped before the first is left.
    """

    log: EventLog
    blobs: BlobStore
    server: grpc.aio.Server
    tasks: asyncio.TaskGroup
    clock: Clock
    data_dir: Path
    """A folder of this process, that survives it."""
    address: str
    """host:port where others reach `server`."""
    channel: Callable[[str], grpc.aio.Channel]
    """A channel to a service by name (session, gui …) or to a host:port; owned by the host."""
    traces: TraceReader
    """The spans that this process keeps."""

"""The owner's way to executors, over gRPC."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc

from libs.executor.port import Held, Hold, OpenedBody, OpenHome
from tectum.executor.v1 import executor_pb2, executor_pb2_grpc
from tectum.observations.types import Screen
from tectum.protocol.types import Body, BodyKind
from tectum.wire import from_wire, to_wire


class GrpcExecutorGateway:
    """Finds the executor of a kind by the service's name, and that of a body by its address."""

    def __init__(
        self, channel: Callable[[str], grpc.aio.Channel], *, call_s: float, open_s: float
    ) -> None:
        """`call_s` bounds a hold or a close, `open_s` what may start a browser; both in seconds."""
        self._channel = channel
        self._call_s = call_s
        self._open_s = open_s

    async def open_home(self, kind: BodyKind, request: OpenHome) -> OpenedBody:
        """See `ExecutorGateway`."""
        wire = to_wire(request, executor_pb2.OpenHomeRequest)
        response = await self._stub(kind.value).OpenHome(wire, timeout=self._open_s)
        return from_wire(response, OpenedBody)

    async def hold(self, body: Body, request: Hold) -> Held:
        """See `ExecutorGateway`."""
        wire = to_wire(request, executor_pb2.HoldRequest)
        return from_wire(await self._stub(body.address).Hold(wire, timeout=self._call_s), Held)

    async def observe_home(self, body: Body, session_id: str) -> Screen | None:
        """See `ExecutorGateway`."""
        request = executor_pb2.ObserveHomeRequest(
            session_id=session_id, home=body.home, incarnation=body.incarnation
        )
        response = await self._stub(body.address).ObserveHome(request, timeout=self._open_s)
        return from_wire(response.screen, Screen) if response.HasField("screen") else None

    async def close_home(self, body: Body, session_id: str) -> None:
        """See `ExecutorGateway`."""
        request = executor_pb2.CloseHomeRequest(session_id=session_id, home=body.home)
        await self._stub(body.address).CloseHome(request, timeout=self._call_s)

    def _stub(self, name: str) -> Any:
        return executor_pb2_grpc.ExecutorServiceStub(self._channel(name))

"""ExecutorService over gRPC."""

from __future__ import annotations

from typing import Any

from libs.errors import InvalidRequest
from libs.executor.executor import Executor
from libs.executor.port import Hold, OpenHome
from tectum.executor.v1 import executor_pb2, executor_pb2_grpc
from tectum.wire import from_wire, to_wire


class ExecutorServicer(executor_pb2_grpc.ExecutorServiceServicer):
    """Translates; the executor decides."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    async def OpenHome(  # noqa: N802
        self, request: executor_pb2.OpenHomeRequest, context: Any
    ) -> executor_pb2.OpenHomeResponse:
        """Make a live environment for a session."""
        opened = await self._executor.open_home(_read(request, OpenHome))
        return to_wire(opened, executor_pb2.OpenHomeResponse)

    async def Hold(  # noqa: N802
        self, request: executor_pb2.HoldRequest, context: Any
    ) -> executor_pb2.HoldResponse:
        """Stop acting for every epoch below the request's."""
        held = await self._executor.hold(_read(request, Hold))
        return to_wire(held, executor_pb2.HoldResponse)

    async def ObserveHome(  # noqa: N802
        self, request: executor_pb2.ObserveHomeRequest, context: Any
    ) -> executor_pb2.ObserveHomeResponse:
        """Look at the environment without touching it."""
        screen = await self._executor.observe_home(
            request.session_id, request.home, request.incarnation
        )
        response = executor_pb2.ObserveHomeResponse()
        if screen is not None:
            response.screen.CopyFrom(to_wire(screen, type(response.screen)))
        return response

    async def CloseHome(  # noqa: N802
        self, request: executor_pb2.CloseHomeRequest, context: Any
    ) -> executor_pb2.CloseHomeResponse:
        """Destroy the environment."""
        await self._executor.close_home(request.session_id, request.home)
        return executor_pb2.CloseHomeResponse()


def _read(request: Any, cls: Any) -> Any:
    try:
        return from_wire(request, cls)
    except ValueError as error:
        raise InvalidRequest("MESSAGE_MALFORMED", str(error)) from None

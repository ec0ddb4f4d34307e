"""The executor's way to the owners of sessions, over gRPC."""

from __future__ import annotations

from collections.abc import Callable

import grpc

from libs.executor.port import LeaseAsk, LeaseGrant
from tectum.session.v1 import session_pb2, session_pb2_grpc
from tectum.wire import from_wire, to_wire

_TIMEOUT_S = 5.0


class GrpcOwnerGateway:
    """Asks over the host's channels, which turn statuses into platform errors."""

    def __init__(self, channel: Callable[[str], grpc.aio.Channel]) -> None:
        self._channel = channel

    async def ask_lease(self, owner_address: str, ask: LeaseAsk) -> LeaseGrant:
        """See `OwnerGateway`."""
        stub = session_pb2_grpc.LeaseServiceStub(self._channel(owner_address))
        request = to_wire(ask, session_pb2.AskLeaseRequest)
        return from_wire(await stub.AskLease(request, timeout=_TIMEOUT_S), LeaseGrant)

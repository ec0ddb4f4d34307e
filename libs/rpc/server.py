"""The one way to run a gRPC server: boundary, health, reflection, one port, drain on SIGTERM."""

from __future__ import annotations

import asyncio
import errno
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from libs.errors import InvalidRequest, WrongState
from libs.rpc.call import INTERNAL_SCOPE, Caller
from libs.rpc.edge import Edge
from libs.rpc.interceptors import Boundary
from libs.rpc.settings import RpcSettings

# What gRPC itself refuses: above the boundary's limit, so that between the two the caller gets a reason.
_HARD_LIMIT_FACTOR = 4
_INNER_TENANT = "platform"
_PORT_MAX = 65_535


if TYPE_CHECKING:
    _Handlers = grpc.GenericRpcHandler[Any, Any]
else:
    _Handlers = grpc.GenericRpcHandler


class _GuardedHandlers(_Handlers):
    """Generic handlers, each method guarded once."""

    def __init__(self, inner: Any, boundary: Boundary) -> None:
        self._inner = inner
        self._boundary = boundary
        self._guarded: dict[str, Any] = {}

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        method = str(handler_call_details.method)
        guarded = self._guarded.get(method)
        if guarded is None:
            handler = self._inner.service(handler_call_details)
            if handler is None:
                return None
            guarded = self._guarded[method] = self._boundary.guard(handler, method)
        return guarded


class PlatformServer(grpc.aio.Server):
    """A grpc.aio server whose handlers stand behind the boundary; bound when made, serving once started."""

    def __init__(self, settings: RpcSettings, edge: Edge) -> None:
        """Bind the port; `bind` reads the edge, too.

        Raises:
            InvalidRequest: the address cannot be bound (ADDRESS_WRONG).
            WrongState: somebody else has the port (PORT_IN_USE).
        """
        self._settings = settings
        self._authority = edge.authority
        self._boundary = Boundary(
            settings.domain,
            authority=self._authority,
            max_message_bytes=settings.max_message_bytes,
            concurrent_calls=settings.concurrent_calls,
        )
        self._server = grpc.aio.server(options=_options(settings))
        asynchronous: Any = health  # Its stubs do not know the aio half.
        self._health = asynchronous.aio.HealthServicer()
        self._services: list[str] = []
        self._stopped = False
        credentials = edge.server_credentials()
        self.port = _bind(self._server, settings.address, credentials)
        self.address = f"{settings.address.rpartition(':')[0]}:{self.port}"
        self.inner_address = self.address
        """host:port of this process's own calls: loopback and in clear, also where `address` has TLS."""
        if credentials is not None:
            self.inner_address = f"127.0.0.1:{_bind(self._server, '127.0.0.1:0', None)}"
        self.inner_token = (
            None
            if self._authority is None
            else self._authority.issue(Caller(_INNER_TENANT, frozenset({INTERNAL_SCOPE})))
        )
        """Bearer token of this process's own calls; None where no tokens are needed."""

    @classmethod
    async def bind(cls, settings: RpcSettings) -> PlatformServer:
        """Return a server that is bound as the settings say; errors as its constructor and Edge.load."""
        return cls(settings, await Edge.load(settings))

    @property
    def services(self) -> Sequence[str]:
        """Full names of what was registered."""
        return tuple(self._services)

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Any) -> None:
        """Register handlers behind the boundary, as generated code does."""
        self._server.add_generic_rpc_handlers(
            tuple(_GuardedHandlers(handler, self._boundary) for handler in generic_rpc_handlers)
        )

    def add_registered_method_handlers(
        self, service_name: str, method_handlers: Mapping[str, Any]
    ) -> None:
        """Register a service behind the boundary, as generated code does."""
        self._services.append(service_name)
        server: Any = self._server
        server.add_registered_method_handlers(
            service_name,
            {
                name: self._boundary.guard(handler, f"/{service_name}/{name}")
                for name, handler in method_handlers.items()
            },
        )

    def add_insecure_port(self, address: str) -> int:
        """Refuse: the one port comes from the settings."""
        raise WrongState("PORT_BOUND", f"the server is bound to {self.address}, not to {address!r}")

    def add_secure_port(self, address: str, server_credentials: grpc.ServerCredentials) -> int:
        """Refuse: the one port comes from the settings."""
        return self.add_insecure_port(address)

    async def start(self) -> None:
        """Add health and reflection for all that was registered, then serve."""
        names = (*self._services, health.SERVICE_NAME, reflection.SERVICE_NAME)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self)
        reflection.enable_server_reflection(names, self)
        for name in ("", *names):
            await self._health.set(name, health_pb2.HealthCheckResponse.NOT_SERVING)
        await self._server.start()
        for name in ("", *names):
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)

    async def report(self, service: str, *, serving: bool) -> None:
        """Say through grpc.health.v1 whether `service` can do its work; ignored once stopping."""
        status = health_pb2.HealthCheckResponse
        await self._health.set(service, status.SERVING if serving else status.NOT_SERVING)

    async def stop(self, grace: float | None = None) -> None:
        """Say NOT_SERVING, refuse new calls, wait `grace` seconds for those under way, cut the rest."""
        if not self._stopped:
            self._stopped = True
            await self._health.enter_graceful_shutdown()
        await self._server.stop(grace)

    async def wait_for_termination(self, timeout: float | None = None) -> bool:
        """Wait until stopped."""
        return await self._server.wait_for_termination(timeout)


@asynccontextmanager
async def serving(server: PlatformServer, *, drain_s: float) -> AsyncIterator[PlatformServer]:
    """Serve what was registered until the block exits, then drain for at most `drain_s` seconds."""
    await server.start()
    try:
        yield server
    finally:
        await server.stop(drain_s)


@asynccontextmanager
async def running_server(
    register: Callable[[grpc.aio.Server], None], settings: RpcSettings
) -> AsyncIterator[PlatformServer]:
    """Bind, register, serve until the block exits, drain; errors as PlatformServer.bind."""
    server = await PlatformServer.bind(settings)
    register(server)
    async with serving(server, drain_s=settings.drain_s):
        yield server


@contextmanager
def termination() -> Iterator[asyncio.Event]:
    """An event that SIGTERM or SIGINT sets, from the start of the block: enter it before saying "ready"."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGTERM, signal.SIGINT)
    for number in numbers:
        loop.add_signal_handler(number, stop.set)
    try:
        yield stop
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


def _options(settings: RpcSettings) -> list[tuple[str, int]]:
    return [
        # With SO_REUSEPORT, gRPC's default, a second server would share the port and take half the calls.
        ("grpc.so_reuseport", 0),
        ("grpc.max_receive_message_length", settings.max_message_bytes * _HARD_LIMIT_FACTOR),
        ("grpc.max_send_message_length", settings.max_message_bytes),
        ("grpc.keepalive_time_ms", round(settings.keepalive_s * 1e3)),
        ("grpc.keepalive_timeout_ms", round(settings.keepalive_timeout_s * 1e3)),
        ("grpc.keepalive_permit_without_calls", 1),
        # Our own clients ping as often as this server does; others may, too, before they are cut off.
        ("grpc.http2.min_ping_interval_without_data_ms", 500),
        ("grpc.http2.max_ping_strikes", 0),
    ]


def _bind(server: Any, address: str, credentials: grpc.ServerCredentials | None) -> int:
    port = address.rpartition(":")[2]
    # gRPC would bind 99999 as 34463, and a name as whatever /etc/services says.
    if not address.startswith("unix:") and not (port.isdecimal() and int(port) <= _PORT_MAX):
        raise InvalidRequest("ADDRESS_WRONG", f"expected host:port, got {address!r}", name=address)
    try:
        if credentials is None:
            return int(server.add_insecure_port(address))
        return int(server.add_secure_port(address, credentials))
    except RuntimeError as error:
        raise _why_not_bound(address) from error


def _why_not_bound(address: str) -> InvalidRequest | WrongState:
    """Ask the operating system, since gRPC does not say."""
    host, _, port = address.rpartition(":")
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(
            host.strip("[]"), int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(place)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return WrongState(
                "PORT_IN_USE",
                f"{address} is in use: stop what listens there, or set TECTUM_RPC_ADDRESS to another port",
                name=address,
            )
        return InvalidRequest(
            "ADDRESS_WRONG", f"{address!r} cannot be bound: {error}", name=address
        )
    return InvalidRequest(
        "ADDRESS_WRONG", f"{address!r} cannot be bound; is the TLS key pair valid?", name=address
    )

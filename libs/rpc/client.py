"""The one way to call: deadline, bounded retries, platform errors, trace context."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, NoReturn

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool

from libs.errors import DeadlineExceeded
from libs.rpc.call import current_caller, remaining_s
from libs.rpc.edge import Edge
from libs.rpc.interceptors import TENANT_KEY
from libs.rpc.retry import RetryBudget
from libs.rpc.settings import RpcSettings
from libs.rpc.status import from_rpc_error, retry_after_s
from libs.telemetry.trace import TRACEPARENT_KEY, current_traceparent

# Half a second instead of gRPC's two minutes: a channel is back 0.5 s after a partition heals, not 5.7 s.
_RECONNECT_MS_MAX = 500
_BACKOFF_FACTOR_MAX = 20


@dataclass(frozen=True, slots=True)
class _Policy:
    """What all calls of a channel have in common."""

    timeout_s: float
    attempts: int
    backoff_s: float
    authorization: str | None
    inner: bool
    """Whether the token is the platform's own, which speaks for tenants."""
    budget: RetryBudget

    def metadata(self, given: Any) -> list[tuple[str, Any]]:
        pairs = [] if given is None else list(given)
        if traceparent := current_traceparent():
            pairs.append((TRACEPARENT_KEY, traceparent))
        if self.authorization is not None:
            pairs.append(("authorization", self.authorization))
            if self.inner:
                pairs.append((TENANT_KEY, current_caller().tenant))
        return pairs

    def limit_s(self, timeout: float | None, default: float | None) -> float | None:
        """The shortest of what the caller says (or else the default) and what is left of its own time."""
        left = remaining_s()
        own = default if timeout is None else timeout
        if left is None:
            return own
        if left <= 0:
            raise DeadlineExceeded("DEADLINE_EXCEEDED", "no time is left for this call")
        return left if own is None else min(left, own)

    def wait_s(self, tried: int, asked_s: float) -> float:
        """Seconds before the next try: exponential, jittered by half, at least what the peer asks for."""
        mean = self.backoff_s * min(2.0 ** (tried - 1), _BACKOFF_FACTOR_MAX)
        return max(asked_s, mean * random.uniform(0.5, 1.5))  # noqa: S311 - jitter, not a secret


class _Unary:
    """A method with one answer; calling it gives a coroutine that starts when awaited."""

    def __init__(self, inner: Any, policy: _Policy, method: str, *, streams: bool) -> None:
        self._inner = inner
        self._policy = policy
        self._attempts = 1 if streams or not is_idempotent(method) else policy.attempts

    async def __call__(
        self,
        request: Any,
        *,
        timeout: float | None = None,
        metadata: Any = None,
        wait_for_ready: bool | None = None,
    ) -> Any:
        policy = self._policy
        limit_s = policy.limit_s(timeout, policy.timeout_s)
        pairs = policy.metadata(metadata)
        if self._attempts == 1:
            return await self._once(request, limit_s, pairs, wait_for_ready)
        return await self._retried(request, limit_s, pairs, wait_for_ready)

    async def _once(
        self, request: Any, limit_s: float | None, pairs: Any, wait_for_ready: bool | None
    ) -> Any:
        try:
            return await self._inner(
                request, timeout=limit_s, metadata=pairs, wait_for_ready=wait_for_ready
            )
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from error

    async def _retried(
        self, request: Any, limit_s: float | None, pairs: Any, wait_for_ready: bool | None
    ) -> Any:
        policy = self._policy
        loop = asyncio.get_running_loop()
        end = None if limit_s is None else loop.time() + limit_s
        for tried in range(1, self._attempts + 1):
            left = None if end is None else end - loop.time()
            try:
                answer = await self._inner(
                    request, timeout=left, metadata=pairs, wait_for_ready=wait_for_ready
                )
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise from_rpc_error(error) from error
                wait_s = policy.wait_s(tried, retry_after_s(error))
                out_of_time = end is not None and loop.time() + wait_s >= end
                if not policy.budget.failed() or tried == self._attempts or out_of_time:
                    raise from_rpc_error(error) from error
            else:
                policy.budget.succeeded()
                return answer
            await asyncio.sleep(wait_s)
        raise AssertionError("the last try returns or raises")


class RemoteStream:
    """A call with many answers, as grpc.aio's, whose failures are platform errors."""

    def __init__(self, call: Any) -> None:
        self._call = call
        self._answers: AsyncIterator[Any] | None = None

    def __aiter__(self) -> RemoteStream:
        return self

    async def __anext__(self) -> Any:
        if self._answers is None:
            self._answers = self._call.__aiter__()
        try:
            return await anext(self._answers)
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from error

    async def read(self) -> Any:
        """The next answer, or grpc.aio.EOF."""
        try:
            return await self._call.read()
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from error

    async def write(self, request: Any) -> None:
        """Send; returns once gRPC has taken it (flow control holds it back)."""
        try:
            await self._call.write(request)
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError) as error:
            await self._raise_end(error)

    async def done_writing(self) -> None:
        """Say that no more requests come."""
        try:
            await self._call.done_writing()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError) as error:
            await self._raise_end(error)

    async def _raise_end(self, error: Exception) -> NoReturn:
        """A write to a call that has ended says so only; the status says why."""
        if isinstance(error, grpc.aio.AioRpcError):
            raise from_rpc_error(error) from error
        metadata = grpc.aio.Metadata()
        status = grpc.aio.AioRpcError(
            await self._call.code(),
            metadata,
            await self._call.trailing_metadata() or metadata,
            await self._call.details(),
            None,
        )
        raise from_rpc_error(status) from error

    async def code(self) -> grpc.StatusCode:
        """Wait for the end; its code."""
        code: grpc.StatusCode = await self._call.code()
        return code

    async def initial_metadata(self) -> Any:
        """Wait for the peer's first metadata."""
        return await self._call.initial_metadata()

    async def wait_for_connection(self) -> None:
        """Wait until the call is on a connection."""
        try:
            await self._call.wait_for_connection()
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from error

    def cancel(self) -> bool:
        """End the call; answers whether it was still going."""
        return bool(self._call.cancel())

    def cancelled(self) -> bool:
        """Whether it was cancelled from this side."""
        return bool(self._call.cancelled())

    def done(self) -> bool:
        """Whether it has ended."""
        return bool(self._call.done())

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        """Call back when it has ended."""
        self._call.add_done_callback(callback)

    def time_remaining(self) -> float | None:
        """Seconds until the deadline; None: no limit."""
        left: float | None = self._call.time_remaining()
        return left


class _Streaming:
    """A method with many answers. It has no deadline but the caller's own: sessions last for hours."""

    def __init__(self, inner: Any, policy: _Policy) -> None:
        self._inner = inner
        self._policy = policy

    def __call__(
        self,
        request: Any = None,
        *,
        timeout: float | None = None,
        metadata: Any = None,
        wait_for_ready: bool | None = None,
    ) -> RemoteStream:
        return RemoteStream(
            self._inner(
                request,
                timeout=self._policy.limit_s(timeout, None),
                metadata=self._policy.metadata(metadata),
                wait_for_ready=wait_for_ready,
            )
        )


class PlatformChannel(grpc.aio.Channel):
    """A channel whose stubs raise libs.errors and keep the caller's deadline."""

    def __init__(self, inner: grpc.aio.Channel, policy: _Policy) -> None:
        self._inner: Any = inner
        self._policy = policy

    async def __aenter__(self) -> PlatformChannel:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close(None)

    async def close(self, grace: float | None = None) -> None:
        """Close, waiting `grace` seconds for calls under way."""
        await self._inner.close(grace)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        """The connection's state."""
        state: grpc.ChannelConnectivity = self._inner.get_state(try_to_connect)
        return state

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Wait until it is another one."""
        await self._inner.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        """Wait for a connection."""
        await self._inner.channel_ready()

    def unary_unary(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """As grpc.aio's; the call is a coroutine."""
        inner = self._inner.unary_unary(method, *args, **kwargs)
        return _Unary(inner, self._policy, method, streams=False)

    def stream_unary(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """As grpc.aio's; the call is a coroutine and takes an iterator of requests."""
        inner = self._inner.stream_unary(method, *args, **kwargs)
        return _Unary(inner, self._policy, method, streams=True)

    def unary_stream(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """As grpc.aio's; the call is a RemoteStream."""
        return _Streaming(self._inner.unary_stream(method, *args, **kwargs), self._policy)

    def stream_stream(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """As grpc.aio's; the call is a RemoteStream."""
        return _Streaming(self._inner.stream_stream(method, *args, **kwargs), self._policy)


def is_idempotent(method: str) -> bool:
    """Whether the proto marks /package.Service/Method as idempotent or free of side effects."""
    service, _, name = method.lstrip("/").partition("/")
    try:
        found = descriptor_pool.Default().FindServiceByName(service).methods_by_name[name]
    except KeyError:
        return False
    unknown = descriptor_pb2.MethodOptions.IDEMPOTENCY_UNKNOWN
    return bool(found.GetOptions().idempotency_level != unknown)


def connect(
    address: str, settings: RpcSettings, edge: Edge | None = None, *, inner_token: str | None = None
) -> PlatformChannel:
    """Return a channel to host:port; it connects at the first call, and reconnects by itself.

    With `inner_token`, a server's own, the call stays in this machine and speaks for the current tenant; else
    the roots and the token of `edge` count.
    """
    options = [
        ("grpc.max_receive_message_length", settings.max_message_bytes),
        ("grpc.max_send_message_length", settings.max_message_bytes),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", _RECONNECT_MS_MAX),
        ("grpc.keepalive_time_ms", round(settings.keepalive_s * 1e3)),
        ("grpc.keepalive_timeout_ms", round(settings.keepalive_timeout_s * 1e3)),
    ]
    secured = Edge() if edge is None or inner_token is not None else edge
    token = inner_token or secured.token
    if secured.roots is not None:
        credentials = grpc.ssl_channel_credentials(secured.roots)
        inner = grpc.aio.secure_channel(address, credentials, options=options)
    else:
        inner = grpc.aio.insecure_channel(address, options=options)
    policy = _Policy(
        timeout_s=settings.timeout_s,
        attempts=settings.attempts,
        backoff_s=settings.backoff_s,
        authorization=None if token is None else f"Bearer {token}",
        inner=inner_token is not None,
        budget=RetryBudget(),
    )
    return PlatformChannel(inner, policy)

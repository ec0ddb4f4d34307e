"""The boundary: the last code between a servicer and the wire, wrapped once around every method."""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from datetime import datetime
from typing import Any, NoReturn

import grpc
from opentelemetry.context import attach
from opentelemetry.trace import Span, SpanKind
from opentelemetry.trace import Status as SpanStatus
from opentelemetry.trace import StatusCode as SpanStatusCode
from opentelemetry.trace.propagation import set_span_in_context

from libs.errors import (
    DeadlineExceeded,
    InvalidRequest,
    Overloaded,
    PermissionDenied,
    PlatformError,
)
from libs.rpc.auth import Authority
from libs.rpc.call import INTERNAL_SCOPE, LOCAL_CALLER, Caller, CallScope, enter_call
from libs.rpc.status import INTERNAL_REASON, to_internal_status, to_status
from libs.telemetry import names
from libs.telemetry.trace import TRACEPARENT_KEY, child_context, tracer

_log = logging.getLogger(__name__)

DEADLINE_KEY = "tectum-deadline"
"""Metadata: the RFC 3339 instant by which the whole chain of calls must be done."""
TENANT_KEY = "tectum-tenant"
"""Metadata of the platform's own calls: the tenant on whose behalf it calls."""

# Health is asked by probes that have no token, and says nothing about tenants.
_OPEN_SERVICES = ("/grpc.health.v1.Health/",)

_FACTORIES: dict[tuple[bool, bool], tuple[str, Callable[..., Any]]] = {
    (False, False): ("unary_unary", grpc.unary_unary_rpc_method_handler),
    (False, True): ("unary_stream", grpc.unary_stream_rpc_method_handler),
    (True, False): ("stream_unary", grpc.stream_unary_rpc_method_handler),
    (True, True): ("stream_stream", grpc.stream_stream_rpc_method_handler),
}


class _Unreadable:
    """Stands for a request that could not be read, so that the boundary can say why."""

    __slots__ = ("error",)

    def __init__(self, error: InvalidRequest) -> None:
        self.error = error


class Boundary:
    """Gives every handler its caller, its deadline and its limits, and turns what it raises into a status.

    Without it grpc.aio answers UNKNOWN and puts the exception text on the wire. It is wrapped around the
    handlers when they are registered, not an interceptor of grpc.aio, which would be run anew for each call.
    """

    def __init__(
        self,
        domain: str,
        *,
        authority: Authority | None = None,
        max_message_bytes: int = 4 * 2**20,
        concurrent_calls: int = 1_024,
    ) -> None:
        """Serve `concurrent_calls` at once; without `authority` everybody is the local tenant."""
        self._domain = domain
        self._authority = authority
        self._max_message_bytes = max_message_bytes
        self._concurrent_calls = concurrent_calls
        self._inside = 0

    def guard(self, handler: Any, method: str) -> Any:
        """Return `handler` of `method` (/package.Service/Method) with the boundary around it.

        Raises:
            TypeError: the handler is neither a coroutine function nor an async generator function.
        """
        attribute, factory = _FACTORIES[
            bool(handler.request_streaming), bool(handler.response_streaming)
        ]
        behaviour = getattr(handler, attribute)
        if inspect.isasyncgenfunction(behaviour):
            guarded = self._generator(behaviour, method, streams=bool(handler.request_streaming))
        elif inspect.iscoroutinefunction(behaviour):
            guarded = self._coroutine(behaviour, method, streams=bool(handler.request_streaming))
        elif behaviour.__module__.endswith("_pb2_grpc"):
            guarded = self._coroutine(_unimplemented, method, streams=False)
        else:
            raise TypeError(f"{method}: expected an async handler, got {behaviour!r}")
        return factory(
            guarded,
            request_deserializer=self._reader(handler.request_deserializer),
            response_serializer=handler.response_serializer,
        )

    def _reader(self, deserialize: Callable[[bytes], Any] | None) -> Callable[[bytes], Any]:
        limit = self._max_message_bytes

        def read(data: bytes) -> Any:
            if len(data) > limit:
                return _Unreadable(
                    InvalidRequest(
                        "MESSAGE_TOO_LARGE", f"expected at most {limit} bytes, got {len(data)}"
                    )
                )
            if deserialize is None:
                return data
            try:
                return deserialize(data)
            except Exception:  # noqa: BLE001 - whatever the parser raises, the bytes are the caller's
                return _Unreadable(
                    InvalidRequest("MESSAGE_MALFORMED", f"{len(data)} bytes are no such message")
                )

        return read

    def _coroutine(
        self, behaviour: Callable[..., Any], method: str, *, streams: bool
    ) -> Callable[..., Any]:
        attributes = _span_attributes(method)

        async def call(request: Any, context: Any) -> Any:
            self._inside += 1
            span = None
            try:
                sent = _Sent(context.invocation_metadata())
                span = _begin_span(attributes, sent.traceparent)
                extra_s = self._enter(method, context, sent)
                checked = _each(request) if streams else _readable(request)
                if extra_s is None:
                    return await behaviour(checked, context)
                async with _deadline(extra_s):
                    return await behaviour(checked, context)
            except Exception as error:  # noqa: BLE001 - the last stop before the wire
                await self._abort(context, error, span)
            finally:
                self._inside -= 1
                if span is not None:
                    span.end()

        return call

    def _generator(
        self, behaviour: Callable[..., Any], method: str, *, streams: bool
    ) -> Callable[..., Any]:
        attributes = _span_attributes(method)

        async def stream(request: Any, context: Any) -> AsyncIterator[Any]:
            self._inside += 1
            span = None
            try:
                sent = _Sent(context.invocation_metadata())
                span = _begin_span(attributes, sent.traceparent)
                extra_s = self._enter(method, context, sent)
                checked = _each(request) if streams else _readable(request)
                async with _deadline(extra_s), aclosing(behaviour(checked, context)) as responses:
                    async for response in responses:
                        yield response
            except Exception as error:  # noqa: BLE001 - the last stop before the wire
                await self._abort(context, error, span)
            finally:
                self._inside -= 1
                if span is not None:
                    span.end()

        return stream

    def _enter(self, method: str, context: Any, sent: _Sent) -> float | None:
        """Make the call's scope; return the seconds that gRPC does not limit by itself, if any."""
        if self._inside > self._concurrent_calls:
            raise Overloaded(
                "TOO_MANY_CALLS", f"{self._concurrent_calls} calls are under way", retry_after_s=0.5
            )
        caller = self._caller(method, sent)
        remaining: float | None = context.time_remaining()
        extra = None
        if sent.deadline is not None:
            extra = _seconds_until(sent.deadline)
            if remaining is None or extra < remaining:
                remaining = extra
            else:
                extra = None
        if remaining is None:
            enter_call(CallScope(caller, None))
            return None
        if remaining <= 0:
            raise DeadlineExceeded("DEADLINE_EXCEEDED", "the time was over before the call began")
        enter_call(CallScope(caller, time.monotonic() + remaining))
        return extra

    def _caller(self, method: str, sent: _Sent) -> Caller:
        if self._authority is None or method.startswith(_OPEN_SERVICES):
            return LOCAL_CALLER
        caller = self._authority.caller(sent.authorization)
        if sent.tenant is not None and INTERNAL_SCOPE in caller.scopes:
            return Caller(sent.tenant, caller.scopes)
        service = service_of(method)
        if not caller.may_call(service):
            raise PermissionDenied(
                "SCOPE_MISSING", f"expected a token with scope {service!r}", scope=service
            )
        return caller

    async def _abort(self, context: Any, error: Exception, span: Span | None) -> NoReturn:
        if isinstance(error, grpc.aio.AbortError):
            raise error
        if isinstance(error, PlatformError):
            status = to_status(error, domain=self._domain)
            reason = error.reason
        else:
            incident = uuid.uuid4().hex
            _log.error("unexpected error", extra={"incident": incident}, exc_info=error)
            status = to_internal_status(incident, domain=self._domain)
            reason = INTERNAL_REASON
            if span is not None:
                span.set_attribute(names.INCIDENT, incident)
        if span is not None:
            span.set_attribute(names.RPC_STATUS, status.code.value[0])
            span.set_attribute(names.ERROR_TYPE, reason)
            span.set_status(SpanStatus(SpanStatusCode.ERROR, reason))
        await context.abort_with_status(status)
        raise AssertionError("abort always raises")


class _Sent:
    """What the platform reads of a call's metadata."""

    __slots__ = ("authorization", "deadline", "tenant", "traceparent")

    def __init__(self, metadata: Any) -> None:
        self.authorization: str | None = None
        self.deadline: str | None = None
        self.tenant: str | None = None
        self.traceparent = ""
        for key, value in metadata or ():
            if key == "authorization":
                self.authorization = value
            elif key == TRACEPARENT_KEY:
                self.traceparent = value
            elif key == DEADLINE_KEY:
                self.deadline = value
            elif key == TENANT_KEY:
                self.tenant = value


def _span_attributes(method: str) -> tuple[str, dict[str, str]]:
    """Name and attributes of a method's spans, made once."""
    name = method.lstrip("/")
    service, _, short = name.partition("/")
    return name, {
        names.RPC_SYSTEM: names.GRPC,
        names.RPC_SERVICE: service,
        names.RPC_METHOD: short,
    }


def _begin_span(named: tuple[str, dict[str, str]], traceparent: str) -> Span:
    """Start the call's span and make it the task's current one; gRPC runs every call in its own task."""
    name, attributes = named
    parent = child_context(traceparent)
    span = tracer().start_span(name, parent, SpanKind.SERVER, attributes)
    attach(set_span_in_context(span, parent))
    return span


async def _unimplemented(request: Any, context: Any) -> NoReturn:
    """Stand for a method that the servicer leaves to the generated, synchronous base class."""
    await context.abort(grpc.StatusCode.UNIMPLEMENTED, "this method is not implemented here")
    raise AssertionError("abort always raises")


def service_of(method: str) -> str:
    """The short name of a method's service: `session` of /tectum.session.v1.SessionService/Converse.

    Outside of tectum it is the package: `grpc.reflection.v1alpha`.
    """
    package = method.lstrip("/").partition("/")[0].rpartition(".")[0]
    parts = package.split(".")
    return parts[1] if parts[0] == "tectum" and len(parts) > 1 else package


def _readable(request: Any) -> Any:
    if type(request) is _Unreadable:
        raise request.error
    return request


async def _each(requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
    async for request in requests:
        yield _readable(request)


class _deadline:  # noqa: N801 - used as a statement, as asyncio.timeout is
    """As asyncio.timeout, and says DeadlineExceeded; None: no limit beyond gRPC's own."""

    def __init__(self, seconds: float | None) -> None:
        self._limit = asyncio.timeout(seconds)

    async def __aenter__(self) -> None:
        await self._limit.__aenter__()

    async def __aexit__(self, *exc: Any) -> None:
        try:
            await self._limit.__aexit__(*exc)
        except TimeoutError:
            if not self._limit.expired():
                raise
            raise DeadlineExceeded("DEADLINE_EXCEEDED", "the caller's time is over") from None


def _seconds_until(text: Any) -> float:
    try:
        instant = datetime.fromisoformat(str(text))
    except ValueError:
        instant = datetime.min  # noqa: DTZ901 - has no time zone, so it is refused below
    if instant.tzinfo is None:
        raise InvalidRequest(
            "DEADLINE_MALFORMED",
            f"expected RFC 3339 with a time zone in {DEADLINE_KEY}, got {str(text)[:64]!r}",
            field=DEADLINE_KEY,
        )
    return instant.timestamp() - time.time()

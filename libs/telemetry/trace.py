"""Spans and W3C trace context: what gRPC, the log and the services use."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import (
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    Tracer,
)
from opentelemetry.trace.propagation import set_span_in_context

from libs.errors import PlatformError
from libs.telemetry import names

__all__ = [
    "Attributes",
    "child_context",
    "consumer_span",
    "continuing",
    "current_traceparent",
    "fail",
    "producer_span",
    "span",
    "traceparent_of",
    "tracer",
]

Attributes = Mapping[str, str | int | float | bool]

TRACEPARENT_KEY = "traceparent"
_EMPTY = Context()
_FLAGS = (TraceFlags(0), TraceFlags(1))
_TRACEPARENT_CHARS = 55
_chosen: list[Tracer] = [trace.NoOpTracer()]


def tracer() -> Tracer:
    """The process's tracer; it keeps nothing until libs.telemetry.setup has chosen one."""
    return _chosen[-1]


def choose_tracer(new: Tracer) -> None:
    """Make `new` the process's tracer (libs.telemetry.setup alone calls this)."""
    _chosen.append(new)


def drop_tracer(old: Tracer) -> None:
    """Go back to the tracer that was chosen before `old`."""
    _chosen.remove(old)


def traceparent_of(span_context: SpanContext) -> str:
    """The W3C header of a span; empty where there is none."""
    if not span_context.is_valid:
        return ""
    flags = span_context.trace_flags & 0xFF
    return f"00-{span_context.trace_id:032x}-{span_context.span_id:016x}-{flags:02x}"


def current_traceparent() -> str:
    """The W3C header of the current span; empty outside of a trace."""
    return traceparent_of(trace.get_current_span().get_span_context())


def child_context(traceparent: str) -> Context:
    """The context of a span whose parent `traceparent` names; an empty one where it is malformed or empty."""
    if len(traceparent) != _TRACEPARENT_CHARS or traceparent[:3] != "00-":
        return _EMPTY
    try:
        parent = SpanContext(
            trace_id=int(traceparent[3:35], 16),
            span_id=int(traceparent[36:52], 16),
            is_remote=True,
            trace_flags=_FLAGS[int(traceparent[53:], 16) & 1],
        )
    except ValueError:
        return _EMPTY
    return set_span_in_context(NonRecordingSpan(parent), _EMPTY) if parent.is_valid else _EMPTY


@contextmanager
def continuing(traceparent: str) -> Iterator[None]:
    """Make the span that `traceparent` names, made elsewhere or earlier, the current one of the block."""
    token = otel_context.attach(child_context(traceparent))
    try:
        yield
    finally:
        otel_context.detach(token)


def fail(failed: Span, error: BaseException) -> None:
    """Mark a span as failed, with the error's reason and never its text."""
    reason = error.reason if isinstance(error, PlatformError) else type(error).__name__
    failed.set_attribute(names.ERROR_TYPE, reason)
    failed.set_status(Status(StatusCode.ERROR, reason))


@contextmanager
def _current(started: Span) -> Iterator[Span]:
    """Make `started` the current span of the block and end it; a failure marks it."""
    token = otel_context.attach(set_span_in_context(started))
    try:
        yield started
    except Exception as error:
        fail(started, error)
        raise
    finally:
        otel_context.detach(token)
        started.end()


@contextmanager
def span(
    name: str, attributes: Attributes | None = None, *, session_id: str = ""
) -> Iterator[Span]:
    """A span of our own work, child of the current one; `session_id` ties its trace to a session."""
    made = dict(attributes or {})
    if session_id:
        made[names.GEN_AI_CONVERSATION] = session_id
    with _current(tracer().start_span(name, attributes=made)) as started:
        yield started


@contextmanager
def consumer_span(
    topic: str, *, traceparent: str, session_id: str = "", attributes: Attributes | None = None
) -> Iterator[Span]:
    """The span of handling one record of `topic`: its parent is the span that published the event.

    An event without `traceparent` begins a trace of its own.
    """
    made: dict[str, str | int | float | bool] = {
        names.MESSAGING_SYSTEM: names.MESSAGING_SYSTEM_TECTUM,
        names.MESSAGING_TOPIC: topic,
        names.MESSAGING_OPERATION: names.PROCESS,
        **(attributes or {}),
    }
    if session_id:
        made[names.GEN_AI_CONVERSATION] = session_id
    started = tracer().start_span(
        f"{names.PROCESS} {topic}",
        context=child_context(traceparent),
        kind=SpanKind.CONSUMER,
        attributes=made,
    )
    with _current(started):
        yield started


@contextmanager
def producer_span(
    topic: str, *, session_id: str = "", attributes: Attributes | None = None
) -> Iterator[Span]:
    """The span of appending one event to `topic`; inside it `current_traceparent()` is the event's."""
    made: dict[str, str | int | float | bool] = {
        names.MESSAGING_SYSTEM: names.MESSAGING_SYSTEM_TECTUM,
        names.MESSAGING_TOPIC: topic,
        names.MESSAGING_OPERATION: names.SEND,
        **(attributes or {}),
    }
    if session_id:
        made[names.GEN_AI_CONVERSATION] = session_id
    started = tracer().start_span(f"{names.SEND} {topic}", kind=SpanKind.PRODUCER, attributes=made)
    with _current(started):
        yield started

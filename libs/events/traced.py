"""One trace across the log: the event carries the W3C context, its handler continues it."""

from __future__ import annotations

from opentelemetry import trace


def current_traceparent() -> str:
    """The W3C `traceparent` of the current span; empty outside a trace."""
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return ""
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags & 0xFF:02x}"

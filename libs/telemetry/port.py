"""The traces that the platform keeps, as a service sees them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

__all__ = ["Span", "TraceReader"]


@dataclass(frozen=True, slots=True)
class Span:
    """One span of a trace; times are nanoseconds since the Unix epoch."""

    trace_id: str
    """32 hexadecimal digits."""
    span_id: str
    """16 hexadecimal digits."""
    parent_span_id: str
    """Empty of a root; else maybe of a span that is not kept, since it has not ended or was dropped."""
    name: str
    start_ns: int
    end_ns: int
    service: str = ""
    status: str = ""
    """Empty, or ERROR with the reason."""
    attributes: Mapping[str, str] = field(default_factory=dict)


class TraceReader(Protocol):
    """The spans that this platform keeps."""

    async def spans(self, session_id: str) -> Sequence[Span]:
        """All spans of the session's traces, by start; empty where there are none."""
        ...

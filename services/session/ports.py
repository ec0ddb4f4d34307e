"""What the session domain needs from the outside world."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Protocol

from libs.clock import Clock
from libs.events.port import Event, EventLog, Producer, Record
from libs.executor.port import Held, Hold, LeaseAsk, LeaseGrant, OpenedBody, OpenHome
from tectum.observations.types import Screen
from tectum.protocol.types import Body, BodyKind

__all__ = [
    "Clock", "Codec", "Event", "EventLog", "ExecutorGateway", "Held", "Hold", "LeaseAsk", "LeaseGrant", "OpenHome",
    "OpenedBody", "Producer", "Record",
]  # fmt: skip


class ExecutorGateway(Protocol):
    """The owner's way to executors. A call may be lost, late, or carried out twice."""

    async def open_home(self, kind: BodyKind, request: OpenHome) -> OpenedBody:
        """Ask an executor of this kind for a live environment.

        Raises:
            InvalidRequest, NotFound: ENVIRONMENT_UNKNOWN, URI_MALFORMED, TASK_UNKNOWN.
            Overloaded: TOO_MANY_ENVIRONMENTS.
            DependencyDown, DeadlineExceeded: BROWSER_MISSING, PAGE_UNREACHABLE, or no answer.
        """
        ...

    async def hold(self, body: Body, request: Hold) -> Held:
        """Ask the body's executor to hold.

        Raises:
            NotFound: ENVIRONMENT_LOST; metadata `executor` and `incarnation` say who answers.
            DependencyDown, DeadlineExceeded: no answer.
        """
        ...

    async def observe_home(self, body: Body, session_id: str) -> Screen | None:
        """Look at the environment; raises as `hold`."""
        ...

    async def close_home(self, body: Body, session_id: str) -> None:
        """Destroy the environment; gone already is fine. Raises as `hold`, without NotFound."""
        ...


class Codec(Protocol):
    """The wire's form of events; `libs.events.messages` is the one implementation."""

    def encode(self, message: Any, *, event_id: str, subject: str, at: datetime) -> Event:
        """Return a data class of `tectum.protocol.messages` as an event."""
        ...

    def decode(self, event: Event, *, screens: bool = True) -> Any:
        """Return an event's data class; None for a type that nobody here knows."""
        ...

"""What this replica knows of all sessions, from the compacted topic."""

from __future__ import annotations

from dataclasses import dataclass

from libs.errors import InvalidRequest
from services.session.ports import Clock
from tectum.protocol.messages import SessionState, SessionStatus


@dataclass(frozen=True, slots=True)
class Known:
    """The last word on a session, and when this replica heard it (monotonic seconds)."""

    state: SessionState
    heard_at: float


class Directory:
    """Bounded: the oldest closed sessions are forgotten first; the log has them still."""

    def __init__(self, clock: Clock, listed_max: int) -> None:
        self._clock = clock
        self._listed_max = listed_max
        self._known: dict[str, Known] = {}

    def heard(self, session_id: str, state: SessionState | None) -> None:
        """Take the last word; None: the session is forgotten."""
        if state is None:
            self._known.pop(session_id, None)
            return
        self._known[session_id] = Known(state, self._clock.monotonic())
        if len(self._known) > self._listed_max:
            self._trim()

    def find(self, session_id: str) -> SessionState | None:
        """What is known; None for nothing."""
        known = self._known.get(session_id)
        return known.state if known is not None else None

    def open_of(self, tenant: str | None) -> set[str]:
        """Open sessions of a tenant, or of all."""
        return {
            session_id
            for session_id, known in self._known.items()
            if known.state.status is SessionStatus.OPEN
            and (tenant is None or known.state.tenant == tenant)
        }

    def silent(self, for_s: float) -> list[str]:
        """Open sessions of which nothing was heard for so long: nobody owns them."""
        before = self._clock.monotonic() - for_s
        return [
            session_id
            for session_id, known in self._known.items()
            if known.state.status is SessionStatus.OPEN and known.heard_at < before
        ]

    def page(self, tenant: str, size: int, token: str) -> tuple[list[SessionState], str]:
        """Newest first; the token names the last one of the page before.

        Raises:
            InvalidRequest: PAGE_SIZE_INVALID, PAGE_TOKEN_INVALID.
        """
        if not 0 <= size <= 1000:
            raise InvalidRequest("PAGE_SIZE_INVALID", f"expected 0 to 1000, got {size}")
        size = size or 100
        states = sorted(
            (known.state for known in self._known.values() if known.state.tenant == tenant),
            key=lambda state: (state.opened_at, state.session_id),
            reverse=True,
        )
        if token:
            opened_at, _, session_id = token.partition("/")
            try:
                after = (float(opened_at), session_id)
            except ValueError:
                raise InvalidRequest(
                    "PAGE_TOKEN_INVALID", f"expected a token of this list, got {token[:80]!r}"
                ) from None
            states = [state for state in states if (state.opened_at, state.session_id) < after]
        page = states[:size]
        more = len(states) > size
        last = page[-1] if more else None
        return page, f"{last.opened_at!r}/{last.session_id}" if last is not None else ""

    def _trim(self) -> None:
        closed = [
            (known.state.opened_at, session_id)
            for session_id, known in self._known.items()
            if known.state.status is SessionStatus.CLOSED
        ]
        for _, session_id in sorted(closed)[: max(1, self._listed_max // 10)]:
            del self._known[session_id]

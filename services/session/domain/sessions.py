"""All sessions of one replica: who is admitted, who owns, who listens."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from services.session.domain.limits import SessionLimits
from services.session.domain.messages import ClientMessage, Heard, Interrupted
from services.session.domain.rules import SessionRules
from services.session.ports import (
    Clock,
    Codec,
    EventLog,
    ExecutorGateway,
    LeaseAsk,
    LeaseGrant,
    Record,
)
from tectum.protocol.messages import SessionState


class Sessions:
    """One replica of the session service. `run` carries its background work."""

    def __init__(
        self,
        *,
        log: EventLog,
        executors: ExecutorGateway,
        codec: Codec,
        clock: Clock,
        rng: random.Random,
        new_id: Callable[[], str],
        new_token: Callable[[], str],
        address: str,
        limits: SessionLimits | None = None,
        rules: SessionRules | None = None,
    ) -> None: ...

    async def run(self) -> None:
        """Watch turns, clients and abandoned sessions until cancelled."""

    def heard(self, record: Record) -> None:
        """Take note of a record that the reactor read; never waits."""

    async def converse(
        self,
        tenant: str,
        requests: AsyncIterator[ClientMessage],
        send: Callable[[Heard], Awaitable[None]],
    ) -> None:
        """Serve one stream until the session closes, the client leaves, or a newer stream replaces it.

        Raises:
            PlatformError: as SessionService.Converse lists.
        """

    async def ask_lease(self, ask: LeaseAsk) -> LeaseGrant: ...  # type: ignore[empty-body]

    async def interrupt(self, tenant: str, session_id: str, reason: str) -> Interrupted: ...  # type: ignore[empty-body]

    async def close_session(self, tenant: str, session_id: str, reason: str) -> None: ...

    async def get(self, tenant: str, session_id: str) -> SessionState: ...  # type: ignore[empty-body]

    async def list_page(  # type: ignore[empty-body]
        self, tenant: str, page_size: int, page_token: str
    ) -> tuple[Sequence[SessionState], str]: ...

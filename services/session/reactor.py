"""What the session service reads of the log."""

from __future__ import annotations

from libs.events.port import EventLog
from services.session.domain.sessions import Sessions


class SessionReactor:
    """Follows the topics that sessions are made of, and keeps the replica's background work running."""

    def __init__(self, log: EventLog, sessions: Sessions) -> None: ...

    async def run(self) -> None:
        """Until cancelled."""

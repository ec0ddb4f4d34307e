"""An executor: homes, their leases, and the loop that carries actions out at most once."""

from __future__ import annotations

from libs.clock import Clock
from libs.events.port import EventLog
from libs.executor.limits import ExecutorLimits
from libs.executor.port import Held, Hold, LastLink, OpenedBody, OpenHome, OwnerGateway
from libs.executor.rules import ExecutorRules
from tectum.observations.types import Screen


class Executor:
    """One executor process of one kind, at one partition of `tectum.actions.<kind>`.

    Call `recover` first, then keep `run` running; the other methods are its answers to owners.
    """

    def __init__(
        self,
        *,
        ordinal: int,
        link: LastLink,
        log: EventLog,
        owners: OwnerGateway,
        clock: Clock,
        address: str,
        limits: ExecutorLimits | None = None,
        rules: ExecutorRules | None = None,
    ) -> None:
        self.name = f"{link.kind}/{ordinal}"

    async def recover(self) -> None:
        """Fence the predecessor, destroy what it left, close its open steps (rule 11)."""

    async def run(self) -> None:
        """Follow the log and carry actions out until cancelled.

        Raises:
            Conflict: a replacement fenced this executor (PRODUCER_FENCED); every home was destroyed.
        """

    async def open_home(self, request: OpenHome) -> OpenedBody: ...  # type: ignore[empty-body]

    async def hold(self, request: Hold) -> Held: ...  # type: ignore[empty-body]

    async def observe_home(self, session_id: str, home: str, incarnation: int) -> Screen | None: ...

    async def close_home(self, session_id: str, home: str) -> None: ...

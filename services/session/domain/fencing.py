"""Holding bodies: each is accounted for as CONFIRMED, KILLED or EXPIRED (rules 3 and 8)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from libs.errors import NotFound, PlatformError
from services.session.domain.leases import Leases
from services.session.domain.limits import SessionLimits
from services.session.ports import Clock, ExecutorGateway, Held, Hold
from tectum.protocol.types import Body, BodyReport, BodyState, Epoch


class Fencing:
    """Holds the bodies of one session."""

    def __init__(
        self,
        session_id: str,
        address: str,
        executors: ExecutorGateway,
        leases: Leases,
        clock: Clock,
        limits: SessionLimits,
    ) -> None:
        self._session_id = session_id
        self._address = address
        self._executors = executors
        self._leases = leases
        self._clock = clock
        self._limits = limits

    async def hold_all(self, bodies: Sequence[Body], epoch: Epoch) -> tuple[BodyReport, ...]:
        """Hold every body in parallel; return once each is accounted for."""
        states: dict[Body, BodyState] = {}

        async def one(body: Body) -> None:
            states[body] = await self._hold(body, epoch)

        async with asyncio.TaskGroup() as tasks:
            for body in bodies:
                tasks.create_task(one(body))
        return tuple(BodyReport(body, states[body]) for body in bodies)

    async def probe(self, body: Body, epoch: Epoch, *, kill: bool = False) -> BodyState | None:
        """One try; None where it says nothing."""
        request = Hold(
            self._session_id, body.home, body.incarnation, epoch, self._address, kill=kill
        )
        try:
            async with asyncio.timeout(self._limits.hold_try_s):
                held = await self._executors.hold(body, request)
        except NotFound as error:
            return BodyState.KILLED if gone(body, error) else None
        except (PlatformError, TimeoutError):
            return None
        if not _answers(held, request):
            return None
        return BodyState.KILLED if held.killed else BodyState.CONFIRMED

    async def _hold(self, body: Body, epoch: Epoch) -> BodyState:
        began_at = self._clock.monotonic()
        kill = False
        while True:
            state = await self.probe(body, epoch, kill=kill)
            if state is not None:
                return state
            now = self._clock.monotonic()
            if now >= self._leases.quiet_at(body):
                return BodyState.EXPIRED
            kill = now - began_at >= self._limits.hold_patience_s
            await asyncio.sleep(self._limits.hold_retry_s)


def gone(body: Body, error: NotFound) -> bool:
    """Whether an answer of ENVIRONMENT_LOST means that the body can begin nothing more.

    It does where the same executor says so at the same incarnation (it destroyed the home) or a later one
    (which destroyed what its predecessor left before it answered anybody).
    """
    executor = error.metadata.get("executor", "")
    incarnation = error.metadata.get("incarnation", "")
    if error.reason != "ENVIRONMENT_LOST" or not incarnation.isdecimal():
        return False
    return body.home.startswith(f"{executor}/") and int(incarnation) >= body.incarnation


def _answers(held: Held, request: Hold) -> bool:
    """CONFIRMED echoes home, incarnation and epoch; anything else is not about this hold."""
    return (held.home, held.incarnation, held.epoch) == (
        request.home,
        request.incarnation,
        request.epoch,
    )

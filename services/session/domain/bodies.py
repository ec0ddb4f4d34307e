"""The live environments of one session: opened, looked at, destroyed."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable, Mapping

from libs.errors import (
    DeadlineExceeded,
    DependencyDown,
    InvalidRequest,
    NotFound,
    PlatformError,
)
from services.session.domain.limits import SessionLimits
from services.session.ports import Clock, ExecutorGateway, OpenedBody, OpenHome
from tectum.observations.types import Screen
from tectum.protocol.types import Body, BodyKind

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]{0,31})://\S*", re.IGNORECASE)
_KINDS = {"robot": BodyKind.ROBOT, "speech": BodyKind.SPEECH}
_RETRY_S = 0.1
_CLOSE_TRIES = 3


def environments(text: str) -> tuple[str, ...]:
    """The URIs of a session's bodies.

    Raises:
        InvalidRequest: URI_MALFORMED.
    """
    uris = tuple(text.split())
    for uri in uris:
        if not _SCHEME.fullmatch(uri) or len(uri) > 4096:
            raise InvalidRequest(
                "URI_MALFORMED", f"expected scheme://…, got {uri[:200]!r}", field="environment"
            )
    if not 1 <= len(uris) <= 8:
        raise InvalidRequest(
            "URI_MALFORMED",
            f"expected 1 to 8 environments with a space between them, got {len(uris)}",
            field="environment",
        )
    return uris


def kind_of(uri: str) -> BodyKind:
    """The kind of executor that opens this environment; a screen where nothing else is said."""
    return _KINDS.get(uri.partition("://")[0].lower(), BodyKind.GUI)


class Bodies:
    """Makes and unmakes the bodies of one session; what stands is kept by the owner."""

    def __init__(
        self,
        session_id: str,
        address: str,
        executors: ExecutorGateway,
        clock: Clock,
        limits: SessionLimits,
        new_id: Callable[[], str],
    ) -> None:
        self._session_id = session_id
        self._address = address
        self._executors = executors
        self._clock = clock
        self._limits = limits
        self._new_id = new_id
        self.secrets: Mapping[str, str] = {}
        self.allow_literal_secrets = False

    async def open(self, uri: str, attempt: int, outcomes_from: int) -> OpenedBody:
        """Open one environment; a lost answer is asked for again under the same opening id.

        Raises:
            PlatformError: as the executor says; DependencyDown where it does not answer (EXECUTOR_DOWN).
        """
        request = OpenHome(
            session_id=self._session_id,
            environment=uri,
            opening_id=self._new_id(),
            owner_address=self._address,
            secrets=self.secrets,
            allow_literal_secrets=self.allow_literal_secrets,
            attempt=attempt,
            outcomes_from=outcomes_from,
        )
        until = self._clock.monotonic() + self._limits.open_s
        while True:
            left_s = max(until - self._clock.monotonic(), 0.001)
            try:
                async with asyncio.timeout(left_s):
                    return await self._executors.open_home(kind_of(uri), request)
            except (DependencyDown, DeadlineExceeded, TimeoutError) as error:
                if isinstance(error, DependencyDown) and error.reason not in _NO_ANSWER:
                    raise
                if self._clock.monotonic() + _RETRY_S >= until:
                    raise DependencyDown(
                        "EXECUTOR_DOWN", f"no {kind_of(uri)} executor opened {uri!r} in time"
                    ) from error
            await asyncio.sleep(_RETRY_S)

    async def look(self, body: Body) -> Screen | None:
        """What is on the screen now.

        Raises:
            NotFound: ENVIRONMENT_LOST.
            DependencyDown: no answer.
        """
        try:
            async with asyncio.timeout(self._limits.open_s):
                return await self._executors.observe_home(body, self._session_id)
        except TimeoutError:
            raise DependencyDown("EXECUTOR_DOWN", f"{body.home} does not answer") from None

    async def close_all(self, bodies: Iterable[Body]) -> None:
        """Destroy them; one that cannot be reached hears CLOSED from the log, or becomes an orphan."""
        async with asyncio.TaskGroup() as tasks:
            for body in bodies:
                tasks.create_task(self.close(body))

    async def close(self, body: Body) -> bool:
        """Destroy one; False where it did not answer."""
        for _ in range(_CLOSE_TRIES):
            try:
                async with asyncio.timeout(self._limits.hold_try_s):
                    await self._executors.close_home(body, self._session_id)
            except NotFound:
                return True
            except (PlatformError, TimeoutError):
                await asyncio.sleep(self._limits.hold_retry_s)
            else:
                return True
        return False


_NO_ANSWER = frozenset({"UNAVAILABLE", "RPC_DEADLINE", "NOT_RUNNING", "DEPENDENCY_DOWN"})
"""Reasons that say that nobody answered, rather than what an executor said."""

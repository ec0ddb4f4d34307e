"""What the owner writes: with one fenced producer, tried again while the log is down, the state never backwards."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from libs.errors import DeadlineExceeded, DependencyDown, Overloaded
from libs.events.port import Position
from libs.events.topics import CONTROL, SESSIONS
from services.session.domain.limits import SessionLimits
from services.session.ports import Clock, Codec, Producer
from tectum.protocol.messages import Control, ControlKind, SessionState

_PUBLISH_S = 5.0
"""An append that was not acknowledged for so long is sent again under the same event id."""
_PAUSE_S_MAX = 1.0


class Ledger:
    """One session's writes in one term."""

    def __init__(
        self,
        producer: Producer,
        codec: Codec,
        clock: Clock,
        limits: SessionLimits,
        state: SessionState,
        on_trouble: Callable[[str], None] | None = None,
    ) -> None:
        self._producer = producer
        self._codec = codec
        self._clock = clock
        self._limits = limits
        self._saving = asyncio.Lock()
        self._version = 0
        self._controls = 0
        self.on_trouble = on_trouble
        self.state = state
        """What the owner believes."""
        self.saved = state
        """What the log has."""
        self.saved_at = clock.monotonic()

    @property
    def session_id(self) -> str:
        """Of whom all this is."""
        return self.state.session_id

    async def save(self, **changes: Any) -> None:
        """Change the state and return once the log has it, or something newer.

        Raises:
            Conflict: another owner took the session (PRODUCER_FENCED).
            DependencyDown: the log stayed away for `log_patience_s` (LOG_DOWN).
        """
        self.state = replace(self.state, **changes)
        async with self._saving:
            # Writers overtake each other here, so each writes what holds now: never backwards.
            state, self._version = self.state, self._version + 1
            event_id = f"{self.session_id}/state/{state.epoch.term}/{self._version}"
            await self.append(SESSIONS, state, event_id)
            self.saved, self.saved_at = state, self._clock.monotonic()

    async def control(self, kind: ControlKind, **fields: Any) -> None:
        """Say something to every service; raises as `save`."""
        self._controls += 1
        fields.setdefault("epoch", self.saved.epoch)
        message = Control(
            session_id=self.session_id,
            kind=kind,
            owner_address=self.state.owner_address,
            tenant=self.state.tenant,
            **fields,
        )
        term = self.state.epoch.term
        event_id = f"{self.session_id}/control/{term}/{self._controls}/{kind}"
        await self.append(CONTROL, message, event_id)

    async def append(self, topic: str, message: Any, event_id: str) -> Position:
        """Append and return once it is acknowledged; raises as `save`."""
        event = self._codec.encode(
            message, event_id=event_id, subject=self.session_id, at=self._clock.now()
        )
        until = self._clock.monotonic() + self._limits.log_patience_s
        pause_s = self._limits.log_retry_s
        while True:
            try:
                async with asyncio.timeout(_PUBLISH_S):
                    return await self._producer.publish(topic, event)
            except (DependencyDown, DeadlineExceeded, Overloaded, TimeoutError) as error:
                if self._clock.monotonic() >= until:
                    raise DependencyDown(
                        "LOG_DOWN",
                        f"the log did not take {event_id} in {self._limits.log_patience_s} s",
                    ) from error
                if self.on_trouble is not None:
                    self.on_trouble(str(error) or "no acknowledgement")
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, _PAUSE_S_MAX)

    async def prove(self) -> None:
        """Return only if this owner's term was the last when the log looked, after this call.

        Raises:
            Conflict: another owner took the session (PRODUCER_FENCED).
            DependencyDown: the log does not answer.
        """
        try:
            async with asyncio.timeout(self._limits.lease_s):
                await self._producer.prove()
        except TimeoutError:
            raise DependencyDown("LOG_DOWN", "the log did not prove the term in time") from None

"""How an executor appends: one fenced producer, tried again until the log has it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

from libs.clock import Clock
from libs.errors import DeadlineExceeded, DependencyDown, InvalidRequest, Overloaded
from libs.events.messages import encode
from libs.events.port import Position, Producer
from libs.events.topics import EXECUTORS, OUTCOMES
from libs.executor.limits import ExecutorLimits
from tectum.protocol.messages import ExecutorCheckpoint, Outcome, Score, Started

_PUBLISH_S = 5.0
"""An append that was not acknowledged for so long is sent again under the same event id."""
_FIRST_PAUSE_S = 0.02


class Writer:
    """Writes the journal of one executor incarnation."""

    def __init__(self, producer: Producer, clock: Clock, limits: ExecutorLimits) -> None:
        self._producer = producer
        self._clock = clock
        self._limits = limits

    @property
    def incarnation(self) -> int:
        """Of the producer, and so of the executor."""
        return self._producer.incarnation

    async def started(self, message: Started) -> Position:
        """Append STARTED and return once it is acknowledged."""
        return await self._append(OUTCOMES, message, message.session_id, _id(message, "started"))

    async def score(self, message: Score) -> None:
        """Append what the environment's scorer said."""
        event_id = f"{message.session_id}/score/{message.attempt}/{self._producer.name}"
        await self._append(OUTCOMES, message, message.session_id, event_id)

    async def outcome(self, message: Outcome) -> None:
        """Append an outcome; without its screen where it is too large with it."""
        event_id = _id(message, f"outcome/{self.incarnation}")
        try:
            await self._append(OUTCOMES, message, message.session_id, event_id)
        except InvalidRequest as error:
            if error.reason != "EVENT_TOO_LARGE":
                raise
            note = f"{message.message} (too large for the log: {error})"[:2000]
            slim = replace(message, screen=None, result=message.result[:2000], message=note)
            await self._append(OUTCOMES, slim, message.session_id, event_id)

    async def checkpoint(self, message: ExecutorCheckpoint) -> None:
        """Append where the next recovery may begin."""
        event_id = f"{message.executor}/{message.incarnation}/checkpoint"
        await self._append(EXECUTORS, message, message.executor, event_id)

    async def _append(self, topic: str, message: Any, subject: str, event_id: str) -> Position:
        """Retry while the log is down: until then the step stays open, and nobody else may close it.

        Raises:
            Conflict: a replacement fenced this executor (PRODUCER_FENCED).
        """
        event = encode(message, event_id=event_id, subject=subject, at=self._clock.now())
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                async with asyncio.timeout(_PUBLISH_S):
                    return await self._producer.publish(topic, event)
            except (DependencyDown, DeadlineExceeded, Overloaded, TimeoutError):
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, self._limits.publish_retry_max_s)


def _id(message: Started | Outcome, what: str) -> str:
    epoch = message.epoch
    return f"{message.session_id}/{epoch.term}.{epoch.n}/{message.step}/{what}/{message.home}"

"""Memory on the log: sealed trajectories in, exemplars and history kept."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from libs.clock import Clock
from libs.errors import AlreadyExists, InvalidRequest, NotFound
from libs.events.consumer import consume
from libs.events.messages import decode
from libs.events.port import EventLog, Record
from libs.events.settings import LaneSettings
from libs.events.topics import TRAJECTORIES
from services.memory.domain.distil import exemplar_of, turns_of
from services.memory.domain.memory import Memory
from services.memory.ports import TrajectoryReader
from tectum.protocol.messages import TrajectorySealed

_logger = logging.getLogger(__name__)

GROUP = "memory"


@dataclass(slots=True)
class MemoryCounts:
    """What became of sealed trajectories, since nothing is dropped silently."""

    written: int = 0
    known: int = 0
    refused: int = 0
    gone: int = 0
    turns: int = 0


class MemoryReactor:
    """Learns from each sealed trajectory once; idempotent on the exemplar's and the turns' ids."""

    def __init__(
        self,
        log: EventLog,
        memory: Memory,
        trajectories: TrajectoryReader,
        clock: Clock,
        *,
        history: bool = True,
    ) -> None:
        self._log = log
        self._memory = memory
        self._trajectories = trajectories
        self._clock = clock
        self._history = history
        self.counts = MemoryCounts()

    async def run(self, settings: LaneSettings) -> None:
        """Consume until cancelled."""
        await consume(
            self._log, GROUP, [TRAJECTORIES], self.handle, settings=settings, clock=self._clock
        )

    async def handle(self, record: Record) -> None:
        """Learn from what one record says was sealed."""
        sealed = decode(record.event)
        if not isinstance(sealed, TrajectorySealed):
            return
        teaches = sealed.success and bool(sealed.lesson)
        if not (teaches or self._history):
            return
        try:
            messages = await self._trajectories.read(sealed.session_id, screens=teaches)
        except NotFound:
            # It was deleted meanwhile, and what is gone is not to be learned from.
            self.counts.gone += 1
            return
        if self._history:
            at = record.event.time.timestamp()
            turns = turns_of(messages, session_id=sealed.session_id, finished_at=at)
            for turn in turns:
                await self._memory.finish_turn(turn)
                self.counts.turns += 1
        if teaches:
            exemplar = exemplar_of(messages, session_id=sealed.session_id, lesson=sealed.lesson)
            if exemplar is None:
                self.counts.refused += 1
                _logger.warning(
                    "a trajectory sealed as success shows none",
                    extra={"session": sealed.session_id},
                )
                return
            try:
                await self._memory.write(exemplar)
                self.counts.written += 1
            except AlreadyExists:
                self.counts.known += 1
            except InvalidRequest as error:
                self.counts.refused += 1
                _logger.warning(
                    "an exemplar was refused",
                    extra={"session": sealed.session_id, "reason": error.reason},
                )

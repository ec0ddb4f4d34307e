"""The planner on the log: turns and outcomes in, plans out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import TypeVar

from libs.clock import Clock
from libs.errors import Conflict, InvalidRequest
from libs.events.consumer import StopConsuming, consume
from libs.events.messages import TYPE_PREFIX, decode, encode
from libs.events.port import EventLog, Producer, Record
from libs.events.settings import LaneSettings
from libs.events.topics import CONTROL, OBSERVATIONS, OUTCOMES, PLANS
from services.planner.domain import Planner
from services.planner.ports import TurnRecord
from services.planner.traced import for_step
from tectum.protocol.messages import Control, Outcome, Plan, TurnStarted

M = TypeVar("M", TurnStarted, Plan, Outcome)

GROUP = "planner"
TOPICS = (OBSERVATIONS, OUTCOMES)

_READ = frozenset(TYPE_PREFIX + message.__name__ for message in (TurnStarted, Outcome, Control))
"""What a planner may see; a Score is not even decoded (ADR 0004)."""


class LogPlans:
    """Publishes plans with the planner's producer."""

    def __init__(self, producer: Producer, clock: Clock) -> None:
        self._producer = producer
        self._clock = clock

    async def publish(self, plan: Plan) -> None:
        """Return once the plan is acknowledged; the same plan twice is one event."""
        epoch = plan.epoch
        event = encode(
            plan,
            event_id=f"{plan.session_id}/{epoch.term}.{epoch.n}/{plan.step}/plan",
            subject=plan.session_id,
            at=self._clock.now(),
        )
        await self._producer.publish(PLANS, event)


class LogTurns:
    """Reads a session's last turn back from the log."""

    def __init__(self, log: EventLog) -> None:
        self._log = log

    async def last_turn(self, session_id: str) -> TurnRecord | None:
        """The last turn with its plans and outcomes; None where none was begun."""
        started: TurnStarted | None = None
        async for turn in self._of(session_id, OBSERVATIONS, TurnStarted):
            started = turn
        if started is None:
            return None
        epoch = started.epoch
        plans = [p async for p in self._of(session_id, PLANS, Plan) if p.epoch == epoch]
        outcomes = [o async for o in self._of(session_id, OUTCOMES, Outcome) if o.epoch == epoch]
        return TurnRecord(started, plans, outcomes)

    async def _of(self, session_id: str, topic: str, wanted: type[M]) -> AsyncIterator[M]:
        """The session's messages of one class; what is malformed is among the dead letters."""
        partition = await self._log.partition_of(topic, session_id)
        async for record in self._log.read(topic, partition, key=session_id):
            if record.event.type != TYPE_PREFIX + wanted.__name__:
                continue
            message = None
            with suppress(InvalidRequest):
                message = decode(record.event)
            if isinstance(message, wanted):
                yield message


class PlannerReactor:
    """Handles one record at a time for each session; thinking of one session holds up no other."""

    def __init__(
        self, log: EventLog, planner: Planner, clock: Clock, *, replica: str = "0"
    ) -> None:
        self._log = log
        self._planner = planner
        self._clock = clock
        # A group for each replica: whichever thinks for a session has to hear what ends it.
        self._groups = {GROUP: TOPICS, f"{GROUP}-control/{replica}": (CONTROL,)}

    async def run(self, settings: LaneSettings) -> None:
        """Consume until cancelled.

        Control has lanes of its own: a raised epoch breaks off the thinking that holds a session's
        lane.

        Raises:
            StopConsuming: another planner took this one's name.
        """
        try:
            async with asyncio.TaskGroup() as tasks:
                for group, topics in self._groups.items():
                    tasks.create_task(self._consume(group, topics, settings))
        except ExceptionGroup as failed:
            # The first to fail ended the other one.
            raise failed.exceptions[0] from None

    async def _consume(self, group: str, topics: Sequence[str], settings: LaneSettings) -> None:
        await consume(
            self._log,
            group,
            topics,
            self.handle,
            settings=settings,
            clock=self._clock,
            types=_READ,
        )

    async def handle(self, record: Record) -> None:
        """Take one record in and publish what follows from it; idempotent on the event id."""
        if record.event.type not in _READ:
            return
        message = decode(record.event)
        try:
            match message:
                case TurnStarted():
                    with for_step(message.first_step):
                        await self._planner.begin(message)
                case Outcome():
                    with for_step(message.step + (not message.ended)):
                        await self._planner.go_on(message)
                case Control():
                    self._planner.control(message)
        except Conflict as error:
            if error.reason == "PRODUCER_FENCED":
                raise StopConsuming(f"another planner has the name: {error}") from error
            raise

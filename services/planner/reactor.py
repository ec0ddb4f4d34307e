"""The planner on the log: turns and outcomes in, plans out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

from libs.clock import Clock
from libs.errors import Conflict
from libs.events.consumer import StopConsuming, consume
from libs.events.messages import decode, encode
from libs.events.port import EventLog, Producer, Record
from libs.events.settings import LaneSettings
from libs.events.topics import CONTROL, OBSERVATIONS, OUTCOMES, PLANS
from services.planner.domain import Planner
from services.planner.ports import TurnRecord
from services.planner.traced import for_step
from tectum.protocol.messages import Control, Outcome, Plan, TurnStarted

GROUP = "planner"
TOPICS = (OBSERVATIONS, OUTCOMES)

_READ = frozenset(
    f"tectum.event.v1.{message.__name__}" for message in (TurnStarted, Outcome, Control)
)
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
        async for record in self._of(session_id, OBSERVATIONS):
            message = decode(record.event)
            if isinstance(message, TurnStarted):
                started = message
        if started is None:
            return None
        plans, outcomes = [], []
        async for record in self._of(session_id, PLANS):
            message = decode(record.event)
            if isinstance(message, Plan) and message.epoch == started.epoch:
                plans.append(message)
        async for record in self._of(session_id, OUTCOMES):
            message = decode(record.event) if record.event.type in _READ else None
            if isinstance(message, Outcome) and message.epoch == started.epoch:
                outcomes.append(message)
        return TurnRecord(started, plans, outcomes)

    async def _of(self, session_id: str, topic: str) -> AsyncIterator[Record]:
        partition = await self._log.partition_of(topic, session_id)
        async for record in self._log.read(topic, partition, key=session_id):
            yield record


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
        await consume(self._log, group, topics, self.handle, settings=settings, clock=self._clock)

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
                    with for_step(message.step + 1):
                        await self._planner.go_on(message)
                case Control():
                    self._planner.control(message)
        except Conflict as error:
            if error.reason == "PRODUCER_FENCED":
                raise StopConsuming(f"another planner has the name: {error}") from error
            raise

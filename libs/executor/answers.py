"""Answers to actions whose home is gone: the planner and the owner must hear of it."""

from __future__ import annotations

import asyncio
from collections import deque

from libs.events.messages import decode
from libs.events.port import EventLog
from libs.events.topics import OUTCOMES
from libs.executor.writer import Writer
from libs.telemetry.trace import continuing
from tectum.protocol.messages import Outcome, OutcomeStatus, Plan, Started


class LostAnswers:
    """Reports ENVIRONMENT_LOST beside the lanes; at most `limit` wait, the oldest is dropped first.

    A dropped one is not lost for good: the session's owner probes bodies that are silent.
    """

    def __init__(self, name: str, log: EventLog, writer: Writer, limit: int) -> None:
        self._name = name
        self._log = log
        self._writer = writer
        self._waiting: deque[tuple[Plan, str]] = deque(maxlen=limit)
        self._arrived = asyncio.Event()
        self.dropped = 0

    def add(self, plan: Plan, traceparent: str) -> None:
        """Take an action that no home here takes, of this trace; it may be somebody else's."""
        mine = plan.body.home.startswith(f"{self._name}/")
        if not mine or plan.body.incarnation > self._writer.incarnation:
            return
        if len(self._waiting) == self._waiting.maxlen:
            self.dropped += 1
        self._waiting.append((plan, traceparent))
        self._arrived.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while self._waiting:
                plan, traceparent = self._waiting.popleft()
                with continuing(traceparent):
                    await self._answer(plan)

    async def _answer(self, plan: Plan) -> None:
        """Nobody can begin it any more: its home is destroyed, and an earlier incarnation is fenced."""
        partition = await self._log.partition_of(OUTCOMES, plan.session_id)
        begun = False
        async for record in self._log.read(OUTCOMES, partition, key=plan.session_id):
            message = decode(record.event, screens=False)
            if not isinstance(message, Started | Outcome) or message.step != plan.step:
                continue
            if isinstance(message, Outcome):
                return
            begun = True
        if begun and plan.body.incarnation == self._writer.incarnation:
            return  # The lane that began it still has its outcome to report.
        await self._writer.outcome(
            Outcome(
                session_id=plan.session_id,
                epoch=plan.epoch,
                step=plan.step,
                status=OutcomeStatus.UNKNOWN if begun else OutcomeStatus.FAILED,
                reason="ENVIRONMENT_LOST",
                message=f"{plan.body.home} is gone",
                home=plan.body.home,
                incarnation=plan.body.incarnation,
            )
        )

"""The guard on the log: plans in, decisions and issued actions out."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from google.protobuf.message import DecodeError

from libs.clock import Clock
from libs.errors import Conflict, PlatformError
from libs.events.consumer import StopConsuming, consume
from libs.events.messages import TYPE_PREFIX, decode, encode
from libs.events.port import EventLog, Producer, Record
from libs.events.settings import LaneSettings
from libs.events.topics import ACTIONS, CONTROL, DECISIONS, OBSERVATIONS, OUTCOMES, PLANS
from libs.telemetry import names
from libs.telemetry.trace import Attributes, span
from services.guard.domain import Answered, Desk, Guard, Pending
from services.guard.domain.desk import CALLER, answered, open_question
from tectum.event.v1 import plan_pb2
from tectum.protocol.messages import (
    ActionIssued,
    ClientMessageAccepted,
    Control,
    ControlKind,
    Decision,
    Outcome,
    OutcomeStatus,
    Plan,
    Verdict,
)
from tectum.protocol.types import Epoch

_logger = logging.getLogger(__name__)

GROUP = "guard"
TOPICS = (PLANS, OBSERVATIONS, CONTROL)
_READ = frozenset(
    TYPE_PREFIX + message.__name__ for message in (Plan, ClientMessageAccepted, Control)
)

_APPROVAL = "approval"
_ENDS = (ControlKind.EPOCH_RAISED, ControlKind.CLOSED)


@dataclass(slots=True)
class GuardCounts:
    """What was dropped and why, since nothing is dropped silently."""

    stale: int = 0
    repeated_asks: int = 0
    unmatched_approvals: int = 0


class GuardReactor:
    """Handles one record at a time for each session; nothing here waits for a person."""

    def __init__(
        self, log: EventLog, producer: Producer, guard: Guard, desk: Desk, clock: Clock
    ) -> None:
        self._log = log
        self._producer = producer
        self._guard = guard
        self._desk = desk
        self._clock = clock
        self.counts = GuardCounts()

    async def run(self, settings: LaneSettings) -> None:
        """Consume until cancelled; raises StopConsuming where another guard took this one's name."""
        await consume(
            self._log,
            GROUP,
            TOPICS,
            self.handle,
            settings=settings,
            clock=self._clock,
            types=_READ,
            on_dead_letter=self.give_up,
        )

    async def handle(self, record: Record) -> None:
        """Decide what one record asks for, and publish it; idempotent on the event id."""
        message = decode(record.event)
        try:
            match message:
                case Plan():
                    await self._plan(message, record.event.deadline_at)
                case ClientMessageAccepted(kind=kind) if kind == _APPROVAL:
                    await self._approval(message)
                case Control(kind=kind) if kind in _ENDS:
                    await self._control(message)
        except Conflict as error:
            if error.reason == "PRODUCER_FENCED":
                raise StopConsuming(f"another guard has the name: {error}") from error
            raise

    async def give_up(self, record: Record, error: PlatformError | None) -> None:
        """Tell the session that its plan went to the dead letters, so that it does not wait."""
        if record.topic != PLANS:
            return
        try:
            plan = plan_pb2.Plan.FromString(record.event.data)
        except DecodeError:
            return
        epoch = Epoch(plan.epoch.term, plan.epoch.n)
        why = error.reason if error is not None else "INTERNAL"
        outcome = Outcome(
            session_id=record.key,
            epoch=epoch,
            step=plan.step,
            status=OutcomeStatus.FAILED,
            reason="GUARD_FAILED",
            message=f"the guard could not handle the plan: {why}",
            home=plan.body.home,
            incarnation=plan.body.incarnation,
        )
        await self._publish(OUTCOMES, outcome, _id(record.key, epoch, plan.step, "denied"))

    async def _plan(self, plan: Plan, deadline_at: datetime | None) -> None:
        if self._desk.stale(plan.session_id, plan.epoch):
            self.counts.stale += 1
            _logger.info("plan of an old epoch is dropped", extra={"session": plan.session_id})
            return
        await self._end(self._desk.see(plan.session_id, plan.epoch))
        decision = self._decide(plan, deadline_at)
        match decision.verdict:
            case Verdict.ASK:
                await self._ask(plan, decision)
            case Verdict.ALLOW:
                await _both(
                    self._issue(plan, decision, deadline_at), self._say(decision, "decision")
                )
            case Verdict.DENY:
                await _both(self._refuse(plan, decision), self._say(decision, "decision"))

    def _decide(self, plan: Plan, deadline_at: datetime | None) -> Decision:
        step: Attributes = {names.STEP: plan.step, names.EPOCH: f"{plan.epoch.term}.{plan.epoch.n}"}
        with span(names.DECIDE_POLICY, step, session_id=plan.session_id) as deciding:
            if deadline_at is not None and deadline_at <= self._clock.now():
                decision = self._guard.late(plan)
            else:
                decision = self._guard.decide(plan)
            deciding.set_attribute(names.VERDICT, decision.verdict.value)
        return decision

    async def _ask(self, plan: Plan, decision: Decision) -> None:
        # After a crash this plan may come again although its question was answered meanwhile.
        said = await self._decisions(plan.session_id)
        if any(d.verdict is not Verdict.ASK and _step(d) == _step(decision) for d in said):
            self.counts.repeated_asks += 1
            return
        await self._say(decision, "decision")
        self._desk.remember(plan.session_id, plan.epoch, Pending(plan, decision))

    async def _approval(self, message: ClientMessageAccepted) -> None:
        session_id, step = message.session_id, message.step
        pending = self._desk.find(session_id, step) or await self._recall(session_id, step)
        if pending is None or self._desk.stale(session_id, pending.plan.epoch):
            self.counts.unmatched_approvals += 1
            _logger.info(
                "approval answers no open question", extra={"session": session_id, "step": step}
            )
            return
        allowed = message.approved
        reason = "the caller approved" if allowed else "the caller refused"
        answer = answered(pending, allowed=allowed, rule_id=CALLER, reason=reason)
        # The effect first: the last word marks the question as settled, and a crash in between
        # must repeat both.
        if allowed:
            await self._issue(answer.plan, answer.decision, None)
        else:
            await self._refuse(answer.plan, answer.decision)
        await self._settle(answer)

    async def _control(self, message: Control) -> None:
        session_id = message.session_id
        if not self._desk.recalled(session_id):
            await self._recall(session_id, None)
        if message.kind is ControlKind.CLOSED:
            await self._end(self._desk.close(session_id, message.epoch))
        else:
            await self._end(self._desk.see(session_id, message.epoch))

    async def _end(self, answer: Answered | None) -> None:
        if answer is not None:
            await self._settle(answer)

    async def _settle(self, answer: Answered) -> None:
        await self._say(answer.decision, "decision/final")
        self._desk.settle(answer.plan.session_id, answer.plan.step)

    async def _recall(self, session_id: str, step: int | None) -> Pending | None:
        """Read the session's open question from the log; None where it has none about `step`."""
        question = open_question(await self._decisions(session_id))
        if question is None:
            return None
        partition = await self._log.partition_of(PLANS, session_id)
        async for record in self._log.read(PLANS, partition, key=session_id):
            plan = decode(record.event)
            if isinstance(plan, Plan) and (plan.epoch, plan.step) == _step(question):
                self._desk.remember(session_id, plan.epoch, Pending(plan, question))
                return Pending(plan, question) if step in (None, plan.step) else None
        return None

    async def _decisions(self, session_id: str) -> list[Decision]:
        partition = await self._log.partition_of(DECISIONS, session_id)
        events = [
            decode(record.event)
            async for record in self._log.read(DECISIONS, partition, key=session_id)
        ]
        return [event for event in events if isinstance(event, Decision)]

    async def _say(self, decision: Decision, what: str) -> None:
        name = _id(decision.session_id, decision.epoch, decision.step, what)
        await self._publish(DECISIONS, decision, name)

    async def _issue(self, plan: Plan, decision: Decision, deadline_at: datetime | None) -> None:
        event = encode(
            ActionIssued(plan, decision),
            event_id=_id(plan.session_id, plan.epoch, plan.step, "action"),
            subject=plan.session_id,
            at=self._clock.now(),
        )
        await self._producer.publish(
            ACTIONS[plan.body.kind],
            replace(event, deadline_at=deadline_at),
            partition=plan.body.partition,
        )

    async def _refuse(self, plan: Plan, decision: Decision) -> None:
        outcome = Outcome(
            session_id=plan.session_id,
            epoch=plan.epoch,
            step=plan.step,
            status=OutcomeStatus.FAILED,
            reason="DENIED",
            message=f"{decision.rule_id}: {decision.reason}",
            home=plan.body.home,
            incarnation=plan.body.incarnation,
        )
        await self._publish(
            OUTCOMES, outcome, _id(plan.session_id, plan.epoch, plan.step, "denied")
        )

    async def _publish(self, topic: str, message: Decision | Outcome, event_id: str) -> None:
        event = encode(message, event_id=event_id, subject=message.session_id, at=self._clock.now())
        await self._producer.publish(topic, event)


def _id(session_id: str, epoch: Epoch, step: int, what: str) -> str:
    return f"{session_id}/{epoch.term}.{epoch.n}/{step}/{what}"


def _step(message: Decision | Plan) -> tuple[Epoch, int]:
    return message.epoch, message.step


async def _both(first: Coroutine[Any, Any, None], second: Coroutine[Any, Any, None]) -> None:
    try:
        async with asyncio.TaskGroup() as publishing:
            publishing.create_task(first)
            publishing.create_task(second)
    except ExceptionGroup as failed:
        # One error, as callers expect: a bug before an expected failure.
        raise min(failed.exceptions, key=lambda e: isinstance(e, PlatformError)) from None

"""What the guard remembers of sessions: the highest epoch, and the question that is open."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, replace

from tectum.protocol.messages import Decision, Plan, Verdict
from tectum.protocol.types import Epoch

CALLER = "caller"
"""Rule id of an ask that the caller answered."""

EPOCH = "epoch"
"""Rule id of an ask that a higher epoch ended."""

SESSION = "session"
"""Rule id of an ask that the end of its session ended."""


@dataclass(frozen=True, slots=True)
class Pending:
    """An ASK that waits for the caller, with the plan it is about."""

    plan: Plan
    decision: Decision


@dataclass(frozen=True, slots=True)
class Answered:
    """The last word on an ASK."""

    plan: Plan
    decision: Decision


@dataclass(slots=True)
class _Session:
    epoch: Epoch
    pending: Pending | None = None
    recalled: bool = False


class Desk:
    """Bounded memory over the log: what it forgets, or never knew, its caller reads from the log.

    A planner waits for the outcome of a step before it plans the next, so a session has at most
    one open question; a later one replaces it. Over `sessions_max` the session that was quiet
    longest is forgotten.
    """

    def __init__(self, sessions_max: int) -> None:
        self._sessions_max = sessions_max
        self._sessions: OrderedDict[str, _Session] = OrderedDict()

    def recalled(self, session_id: str) -> bool:
        """Whether the open question of the session, or that it has none, is known."""
        session = self._sessions.get(session_id)
        return session is not None and session.recalled

    def stale(self, session_id: str, epoch: Epoch) -> bool:
        """Whether a higher epoch of the session is known."""
        session = self._sessions.get(session_id)
        return session is not None and epoch < session.epoch

    def see(self, session_id: str, epoch: Epoch) -> Answered | None:
        """Take note of `epoch`; answer the question that it ends, if one is open below it."""
        session = self._touch(session_id, epoch)
        session.epoch = max(session.epoch, epoch)
        if session.pending is None or session.pending.plan.epoch >= session.epoch:
            return None
        return answered(session.pending, allowed=False, rule_id=EPOCH, reason="EPOCH_RAISED")

    def close(self, session_id: str, epoch: Epoch) -> Answered | None:
        """Take note that the session was closed; answer the question that this ends."""
        session = self._touch(session_id, epoch)
        if session.pending is None:
            return None
        return answered(session.pending, allowed=False, rule_id=SESSION, reason="SESSION_CLOSED")

    def remember(self, session_id: str, epoch: Epoch, pending: Pending | None) -> None:
        """Take note of the open question of a session, or that it has none."""
        session = self._touch(session_id, epoch)
        session.pending, session.recalled = pending, True

    def find(self, session_id: str, step: int) -> Pending | None:
        """The open question about this step, if it is remembered."""
        session = self._sessions.get(session_id)
        if session is None or session.pending is None or session.pending.plan.step != step:
            return None
        return session.pending

    def settle(self, session_id: str, step: int) -> None:
        """Forget the question about this step: its last word is in the log."""
        if self.find(session_id, step) is not None:
            self._sessions[session_id].pending = None

    def _touch(self, session_id: str, epoch: Epoch) -> _Session:
        session = self._sessions.setdefault(session_id, _Session(epoch))
        self._sessions.move_to_end(session_id)
        while len(self._sessions) > self._sessions_max:
            self._sessions.popitem(last=False)
        return session


def answered(pending: Pending, *, allowed: bool, rule_id: str, reason: str) -> Answered:
    """The last word on a question."""
    verdict = Verdict.ALLOW if allowed else Verdict.DENY
    return Answered(
        pending.plan,
        replace(pending.decision, verdict=verdict, rule_id=rule_id, reason=reason, question=""),
    )


def open_question(decisions: Iterable[Decision]) -> Decision | None:
    """The last ASK without a last word, among the decisions of one session.

    A repeated ASK of a step that has its last word stays settled.
    """
    asked: list[Decision] = []
    settled: set[tuple[Epoch, int]] = set()
    for decision in decisions:
        if decision.verdict is Verdict.ASK:
            asked.append(decision)
        else:
            settled.add((decision.epoch, decision.step))
    still = (ask for ask in reversed(asked) if (ask.epoch, ask.step) not in settled)
    return next(still, None)

"""One turn as its owner sees it. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from tectum.actions.types import Answer, AskUser, Done, Fail
from tectum.protocol.messages import Outcome, OutcomeStatus, Plan
from tectum.protocol.types import Epoch

GONE = frozenset({"ENVIRONMENT_LOST", "BROWSER_GONE", "KILLED"})
"""Reasons of an outcome after which its environment can do nothing more."""

SPARE_STEPS = 2
"""Steps after the limit: the planner's own word that the limit is reached, and its outcome."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How a turn ended."""

    reason: str
    message: str = ""
    answer: str = ""


@dataclass(slots=True)
class Turn:
    """From TurnStarted to TURN_ENDED."""

    instruction: str
    epoch: Epoch
    first_step: int
    max_steps: int
    attempt: int
    began_at: float
    """Monotonic seconds."""
    last_step: int = 0
    plan: Plan | None = None
    ended: Outcome | None = None
    beyond: bool = False
    """The planner goes on after the limit."""
    outcomes: set[int] = field(default_factory=set)

    @property
    def reserved(self) -> int:
        """The highest step that a plan of this turn may have, however late it comes."""
        return self.first_step + self.max_steps + SPARE_STEPS

    def saw_plan(self, plan: Plan) -> None:
        """Take note of a plan."""
        if plan.epoch != self.epoch:
            return
        self.plan = plan
        self.last_step = max(self.last_step, plan.step)
        if plan.step >= self.first_step + self.max_steps and not plan.action.terminal:
            self.beyond = True

    def saw_outcome(self, outcome: Outcome) -> bool:
        """Take note of an outcome; False where it is not the first of a step of this turn."""
        mine = self.first_step <= outcome.step <= self.reserved and outcome.epoch == self.epoch
        if not mine or outcome.step in self.outcomes:
            return False
        self.outcomes.add(outcome.step)
        self.last_step = max(self.last_step, outcome.step)
        if outcome.ended and self.ended is None:
            self.ended = outcome
        return True


def ending(outcome: Outcome, plan: Plan | None) -> Ending:
    """How the turn ended, from its last outcome and the plan of that step."""
    kind = plan.action.kind if plan is not None and plan.step == outcome.step else None
    match kind:
        case Answer(text=text):
            return Ending("DONE", answer=text)
        case Done():
            return Ending("DONE")
        case Fail(reason=reason):
            return Ending("FAILED", message=reason)
        case AskUser(question=question):
            return Ending("ASKED", message=question)
    if outcome.status is OutcomeStatus.OK:
        return Ending("ENDED", message="the environment ended the episode")
    return Ending(outcome.reason or "FAILED", message=outcome.message)

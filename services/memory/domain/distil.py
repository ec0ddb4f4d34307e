"""From the record of a session: the exemplar of its success, and its turns as text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from services.memory.types import Exemplar, ExemplarStep, Turn
from tectum.actions.types import (
    Action,
    Answer,
    AskUser,
    Fail,
    GoTo,
    KeyChord,
    Screenshot,
    SecretRef,
    SelectOption,
    TypeText,
    Wait,
    WaitUntilStable,
    Zoom,
)
from tectum.observations.types import Screen
from tectum.protocol.messages import Outcome, OutcomeStatus, Plan, Score, Target, TurnStarted
from tectum.protocol.types import Epoch

_LEFT_OUT = (Wait, WaitUntilStable, Screenshot, Zoom, Fail, AskUser)
"""What teaches nothing: waiting, looking, giving up."""

_LINE_CHARACTERS = 200
_TURN_CHARACTERS = 8_000
_SITES_MAX = 8


@dataclass(slots=True)
class _Record:
    """The events of one session, by what they belong to."""

    turns: list[TurnStarted] = field(default_factory=list)
    plans: dict[int, list[Plan]] = field(default_factory=dict)
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    scores: list[Score] = field(default_factory=list)

    @classmethod
    def of(cls, messages: Iterable[Any]) -> _Record:
        record = cls()
        for message in messages:
            match message:
                case TurnStarted():
                    record.turns.append(message)
                case Plan(step=step):
                    record.plans.setdefault(step, []).append(message)
                case Outcome(step=step):
                    # The first outcome of a step counts; later ones are evidence.
                    record.outcomes.setdefault(step, message)
                case Score():
                    record.scores.append(message)
        # Across topics nothing is ordered by arrival.
        record.turns.sort(key=lambda turn: (turn.first_step, turn.epoch))
        return record

    def steps(self, turn: TurnStarted) -> list[int]:
        """Steps of a turn that have an outcome, ascending."""
        later = [t.first_step for t in self.turns if t.first_step > turn.first_step]
        end = min(later, default=None)
        return sorted(
            step
            for step in self.outcomes
            if step >= turn.first_step and (end is None or step < end)
        )

    def plan(self, step: int, epoch: Epoch) -> Plan | None:
        """The plan that the outcome of the step is about."""
        plans = self.plans.get(step, [])
        return next((plan for plan in plans if plan.epoch == epoch), plans[-1] if plans else None)

    def success(self) -> tuple[TurnStarted, Score] | None:
        """The last turn of the last attempt that a scorer called a success."""
        for score in reversed(self.scores):
            turns = [turn for turn in self.turns if turn.attempt == score.attempt]
            if score.success and turns:
                return turns[-1], score
        return None


def exemplar_of(messages: Iterable[Any], *, session_id: str, lesson: str) -> Exemplar | None:
    """Return the exemplar of the last attempt that succeeded; None where none did, or no step counts.

    Only steps that were carried out are kept, without waits and looks. Each has the screen that
    its action was planned on.
    """
    record = _Record.of(messages)
    found = record.success()
    if found is None:
        return None
    turn, score = found
    seen: dict[str, Screen] = {turn.screen.observation_id: turn.screen}
    screen: Screen | None = turn.screen
    steps: list[ExemplarStep] = []
    for step in record.steps(turn):
        outcome = record.outcomes[step]
        plan = record.plan(step, outcome.epoch)
        before = screen if plan is None else seen.get(plan.observation_id, screen)
        if plan is not None and before is not None and _teaches(plan.action, outcome):
            steps.append(ExemplarStep(before, plan.action))
        if outcome.screen is not None:
            screen = outcome.screen
            seen[screen.observation_id] = screen
    if not steps:
        return None
    return Exemplar(
        exemplar_id=f"{session_id}/{turn.attempt}",
        lesson=lesson,
        instruction=turn.instruction,
        steps=tuple(steps),
        last_screen=None if screen is turn.screen else screen,
        session_id=session_id,
        verified_by=score.source,
    )


def turns_of(messages: Iterable[Any], *, session_id: str, finished_at: float) -> Sequence[Turn]:
    """Return the turns that acted on a page with a host, rendered as text, in their order."""
    record = _Record.of(messages)
    turns = []
    for number, turn in enumerate(record.turns):
        steps = record.steps(turn)
        plans = [plan for step in steps if (plan := record.plan(step, record.outcomes[step].epoch))]
        urls = [turn.screen.url, *(plan.target.url for plan in plans if plan.target is not None)]
        sites = tuple(dict.fromkeys(filter(None, map(site_of, urls))))[:_SITES_MAX]
        if not sites or not plans:
            continue
        lines = [f"Task: {_cut(turn.instruction)}", f"Site: {', '.join(sites)}"]
        for plan in plans:
            lines.append(f"{len(lines) - 1}. {_line(plan, record.outcomes[plan.step])}")
        lines.append(f"Result: {_result(record, turn)}")
        text = "\n".join(lines)
        if len(text) > _TURN_CHARACTERS:
            text = text[: _TURN_CHARACTERS - 1] + "…"
        # Turns of one session were finished in this order; a microsecond each keeps it.
        turns.append(
            Turn(f"{session_id}/{number}", session_id, sites, finished_at + number * 1e-6, text)
        )
    return turns


def site_of(url: str) -> str:
    """The host of a URL in lower case; empty where it has none."""
    try:
        return (urlsplit(url).hostname or "").lower()
    except ValueError:
        return ""


def _teaches(action: Action, outcome: Outcome) -> bool:
    return outcome.status is OutcomeStatus.OK and not isinstance(action.kind, _LEFT_OUT)


def _result(record: _Record, turn: TurnStarted) -> str:
    scores = [score for score in record.scores if score.attempt == turn.attempt]
    if not scores:
        return "not judged"
    return "success" if scores[-1].success else "failure"


def _line(plan: Plan, outcome: Outcome) -> str:
    target = plan.target or Target()
    parts = [plan.action.name]
    if target.role or target.name:
        parts.append(f"{target.role} {_cut(target.name)!r}".strip())
    said = _said(plan.action, secret=target.secret)
    if said:
        parts.append(said)
    if outcome.status is not OutcomeStatus.OK:
        parts.append(f"({outcome.status.value}: {outcome.reason})")
    return " ".join(parts)


def _said(action: Action, *, secret: bool) -> str:
    match action.kind:
        case TypeText(source=SecretRef(name=name)):
            return f"<secret {name}>"
        case TypeText(source=str(text)):
            return "<secret>" if secret else repr(_cut(text))
        case KeyChord(keys=keys):
            return "+".join(keys)
        case SelectOption(labels=labels):
            return ", ".join(repr(_cut(label)) for label in labels)
        case GoTo(url=url) | Answer(text=url):
            return _cut(url)
        case _:
            return ""


def _cut(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LINE_CHARACTERS else line[: _LINE_CHARACTERS - 1] + "…"

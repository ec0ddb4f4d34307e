"""From recorded messages to what the report shows. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from statistics import median

from services.recorder.report.model import (
    EpisodeView,
    NoteView,
    PageView,
    Picture,
    StepView,
)
from services.recorder.report.notes import INTERRUPTS, client_note, control_note, score_note
from services.recorder.report.steps import Step, picture_of
from tectum.observations.types import Screen
from tectum.protocol.messages import (
    ClientMessageAccepted,
    Control,
    ControlKind,
    Decision,
    Outcome,
    Plan,
    Score,
    TurnStarted,
)

_CLOSED_BADGES = {
    "ABANDONED": ("abandoned", "warn"),
    "INTERRUPTED": ("interrupted", "warn"),
    "FAILED": ("gave up", "bad"),
    "STEP_LIMIT": ("step limit", "bad"),
    "DEADLINE": ("out of time", "bad"),
}


class Episode:
    """Folds the messages of one session, in the order of the record, into its view."""

    def __init__(self, session_id: str) -> None:
        self._session_id = session_id
        self._entries: list[Step | NoteView] = []
        self._steps: dict[tuple[int, int, int], Step] = {}
        self._screens: dict[str, Screen] = {}
        self._last_screen: Screen | None = None
        self._since_ns = 0
        self._first_ns = 0
        self._last_ns = 0
        self._opened: Control | None = None
        self._closed: Control | None = None
        self._answer = ""
        self._instruction = ""
        self._strategy = ""
        self._score: Score | None = None
        self._attempts = 0
        self._interrupts = 0
        self._acted: set[int] = set()

    def add(self, message: object, appended_ns: int) -> None:
        """Take one message; `appended_ns` is nanoseconds since the Unix epoch."""
        self._first_ns = self._first_ns or appended_ns
        self._last_ns = max(self._last_ns, appended_ns)
        match message:
            case TurnStarted():
                self._turn(message, appended_ns)
            case Plan():
                self._plan(message, appended_ns)
            case Decision():
                step = self._steps.get((message.epoch.term, message.epoch.n, message.step))
                if step is not None:
                    step.decided(message, appended_ns)
            case ClientMessageAccepted():
                self._client(message, appended_ns)
            case Outcome():
                self._outcome(message, appended_ns)
            case Score():
                self._score = message
                self._note(score_note(message, self._offset_s(appended_ns)))
            case Control():
                self._control(message, appended_ns)

    def view(self, problem: str = "") -> EpisodeView:
        """What was folded; `problem` says what could not be read."""
        badge, tone = self._badge()
        opened, closed, score = self._opened, self._closed, self._score
        steps = list(self._steps.values())
        entries = tuple(e.view() if isinstance(e, Step) else e for e in self._entries)
        return EpisodeView(
            session_id=self._session_id,
            instruction=self._instruction or "(no instruction)",
            badge=badge,
            tone=tone,
            environment=opened.environment if opened else "",
            agent=self._strategy or _agent(opened.agent if opened else ""),
            reason=closed.reason if closed else "",
            lesson=opened.lesson if opened else "",
            answer=self._answer,
            reward="" if score is None else f"{score.reward:g}",
            opened_at=_moment(self._first_ns),
            wall_s=(self._last_ns - self._first_ns) / 1e9,
            steps=sum(1 for step in steps if step.acted),
            step_ms=tuple(step.total_ms for step in steps if step.acted),
            scored=score is not None,
            solved=score is not None and score.success,
            attempts=self._attempts,
            interrupts=self._interrupts,
            entries=entries,
            last=_last(entries, self._last_screen),
            problem=problem,
        )

    def _turn(self, message: TurnStarted, at_ns: int) -> None:
        self._see(message.screen)
        self._since_ns = at_ns
        self._strategy = message.strategy
        self._attempts = max(self._attempts, message.attempt)
        again = message.attempt > 1
        if again or (self._instruction and message.instruction != self._instruction):
            title = f"Attempt {message.attempt}" if again else "New turn"
            text = "A fresh environment was opened." if again else message.instruction
            self._note(NoteView(title, text, "quiet", self._offset_s(at_ns)))
        self._instruction = message.instruction or self._instruction

    def _plan(self, message: Plan, at_ns: int) -> None:
        key = (message.epoch.term, message.epoch.n, message.step)
        if key in self._steps:
            return
        seen = self._screens.get(message.observation_id, self._last_screen)
        step = Step(message, seen, since_ns=self._since_ns or at_ns, first_ns=self._first_ns)
        self._steps[key] = step
        self._entries.append(step)

    def _outcome(self, message: Outcome, at_ns: int) -> None:
        if message.screen is not None:
            self._see(message.screen)
        self._since_ns = at_ns
        key = (message.epoch.term, message.epoch.n, message.step)
        step = self._steps.get(key) or next(
            (step for (_, _, number), step in self._steps.items() if number == message.step), None
        )
        if message.step in self._acted or step is None:
            text = f"step {message.step}: {message.status.value} {message.reason}".rstrip()
            self._note(NoteView("A later report", text, "quiet", self._offset_s(at_ns)))
            return
        self._acted.add(message.step)
        step.came_out(message, at_ns)

    def _client(self, message: ClientMessageAccepted, at_ns: int) -> None:
        if message.kind == "approval":
            for step in self._steps.values():
                if step.number == message.step:
                    step.answered(approved=message.approved, at_ns=at_ns)
            return
        self._note(client_note(message, self._offset_s(at_ns)))

    def _control(self, message: Control, at_ns: int) -> None:
        match message.kind:
            case ControlKind.OPENED:
                self._opened = self._opened or message
                self._instruction = self._instruction or message.instruction
                return
            case ControlKind.CLOSED:
                self._closed = self._closed or message
            case ControlKind.TURN_ENDED:
                self._answer = message.answer or self._answer
            case ControlKind.EPOCH_RAISED:
                self._interrupts += message.reason in INTERRUPTS
                for step in self._steps.values():
                    step.overtaken(message.epoch)
        self._note(control_note(message, self._offset_s(at_ns)))

    def _see(self, screen: Screen) -> None:
        self._last_screen = screen
        # Plans are made on what was seen last; a few more, since events of two topics may cross.
        self._screens[screen.observation_id] = screen
        while len(self._screens) > 4:
            self._screens.pop(next(iter(self._screens)))

    def _note(self, note: NoteView | None) -> None:
        if note is not None:
            self._entries.append(note)

    def _offset_s(self, at_ns: int) -> float:
        return max(0.0, (at_ns - self._first_ns) / 1e9)

    def _badge(self) -> tuple[str, str]:
        if self._closed is None:
            return "open", "warn"
        if self._score is not None:
            return ("solved", "good") if self._score.success else ("not solved", "bad")
        return _CLOSED_BADGES.get(self._closed.reason, ("not scored", "quiet"))


def page(title: str, episodes: Sequence[EpisodeView], now: datetime) -> PageView:
    """The whole report; `now` is when it is made."""
    scored = [episode for episode in episodes if episode.scored]
    solved = sum(episode.solved for episode in scored)
    step_ms = [ms for episode in episodes for ms in episode.step_ms]
    interrupts = sum(episode.interrupts for episode in episodes)
    lost = sum(episode.attempts > 1 for episode in episodes)
    totals = [
        ("Solved", f"{solved}/{len(episodes)}", _unscored(len(episodes) - len(scored))),
        ("Sessions", str(len(episodes)), _plural(lost, "with a fresh attempt", "with fresh attempts")),
        ("Steps", str(sum(episode.steps for episode in episodes)), f"median {_ms(step_ms)}"),
        ("Time", seconds(sum(episode.wall_s for episode in episodes)), "all sessions together"),
        ("Interrupts", str(interrupts), "acknowledged"),
    ]  # fmt: skip
    return PageView(
        title=title or "Recorded sessions",
        generated_at=now.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        episodes=tuple(episodes),
        totals=tuple(totals),
    )


def seconds(value: float) -> str:
    """A length for a person."""
    if value < 60:
        return f"{value:.1f} s"
    return f"{int(value // 60)} min {value % 60:.0f} s"


def milliseconds(value: float) -> str:
    """A short length for a person."""
    if value >= 9_999.5:
        return f"{value / 1000:.1f} s"
    return f"{value:.0f} ms" if value >= 9.95 else f"{value:.1f} ms"


def _ms(values: Iterable[float]) -> str:
    found = list(values)
    return milliseconds(median(found)) if found else "–"  # noqa: RUF001


def _plural(count: int, one: str, many: str) -> str:
    return f"{count} {one if count == 1 else many}" if count else "one attempt each"


def _unscored(count: int) -> str:
    return f"{count} not scored" if count else "all of them scored"


def _last(entries: Sequence[StepView | NoteView], screen: Screen | None) -> Picture | None:
    """The screen at the end, unless the last step shows it already."""
    picture = picture_of(screen)
    last = next((entry for entry in reversed(entries) if isinstance(entry, StepView)), None)
    shown = last is not None and last.picture == picture and not last.markers
    return None if shown else picture


def _moment(at_ns: int) -> str:
    return datetime.fromtimestamp(at_ns / 1e9, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _agent(settings: str) -> str:
    try:
        found = json.loads(settings or "{}")
    except ValueError:
        return settings[:80]
    return str(found.get("strategy", "")) if isinstance(found, dict) else ""

"""What the report's template is given: plain data, ready to show."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class Picture:
    """A screenshot; `width` and `height` are those of the screen, in pixels."""

    sha256: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Marker:
    """Where a step touched the screen, in percent of its width and height."""

    left: float
    top: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a step's time; `share` in percent of the step."""

    name: str
    ms: float
    share: float


@dataclass(frozen=True, slots=True)
class Ruling:
    """What the guard, or the caller it asked, said."""

    verdict: str
    rule: str
    reason: str


@dataclass(frozen=True, slots=True)
class StepView:
    """One step."""

    is_step: ClassVar[bool] = True
    number: int
    words: str
    kind: str
    reason: str
    strategy: str
    exemplars: tuple[str, ...]
    rulings: tuple[Ruling, ...]
    tone: str
    """Of good, bad, warn, quiet."""
    status: str
    status_reason: str
    message: str
    result: str
    picture: Picture | None
    markers: tuple[Marker, ...]
    url: str
    parts: tuple[Part, ...]
    total_ms: float
    offset_s: float
    """Since the session began."""


@dataclass(frozen=True, slots=True)
class NoteView:
    """Something that happened between steps."""

    is_step: ClassVar[bool] = False
    title: str
    text: str
    tone: str
    offset_s: float


@dataclass(frozen=True, slots=True)
class EpisodeView:
    """One session."""

    session_id: str
    instruction: str
    badge: str
    tone: str
    environment: str
    agent: str
    reason: str
    lesson: str
    answer: str
    reward: str
    opened_at: str
    wall_s: float
    steps: int
    step_ms: tuple[float, ...]
    scored: bool
    solved: bool
    attempts: int
    interrupts: int
    entries: tuple[StepView | NoteView, ...]
    last: Picture | None
    problem: str = ""
    """What of the record could not be read."""


@dataclass(frozen=True, slots=True)
class PageView:
    """The whole report."""

    title: str
    generated_at: str
    episodes: tuple[EpisodeView, ...]
    totals: tuple[tuple[str, str, str], ...] = field(default=())
    """Label, value and a word about it."""

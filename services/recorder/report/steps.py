"""One step of the report, folded from its plan, decisions, approval and outcome. Pure."""

from __future__ import annotations

from services.recorder.report.model import Marker, Part, Picture, Ruling, StepView
from services.recorder.report.words import describe
from tectum.actions import types as actions
from tectum.actions.frames import FrameError, to_screen
from tectum.geometry import Box
from tectum.observations.types import Screen
from tectum.protocol.messages import Decision, Outcome, OutcomeStatus, Plan, Verdict
from tectum.protocol.types import Epoch

_TONES = {
    OutcomeStatus.OK: "good",
    OutcomeStatus.FAILED: "bad",
    OutcomeStatus.UNKNOWN: "warn",
    OutcomeStatus.INTERRUPTED: "warn",
}


class Step:
    """What is known of one plan and what became of it."""

    def __init__(self, plan: Plan, seen: Screen | None, *, since_ns: int, first_ns: int) -> None:
        """`since_ns`: when the screen was seen that `plan` is about; `first_ns`: when the session began."""
        self.number = plan.step
        self._plan = plan
        self._offset_s = max(0.0, (since_ns - first_ns) / 1e9)
        self._since_ns = since_ns
        self._words = describe(plan.action, seen, plan.target)
        self._picture = picture_of(seen)
        # Kept apart from the screen, whose element tree is large.
        self._size = (seen.size.width, seen.size.height) if seen else (0, 0)
        self._planned = tuple(_places(plan.action, seen)) if seen else ()
        self._url = seen.url if seen else ""
        self._rulings: list[Ruling] = []
        self._asked_ns = 0
        self._waited_ms = 0.0
        self._outcome: Outcome | None = None
        self._overtaken = False
        self.total_ms = 0.0

    @property
    def acted(self) -> bool:
        """Whether there is an outcome."""
        return self._outcome is not None

    def decided(self, decision: Decision, at_ns: int) -> None:
        """The guard said something."""
        if decision.verdict is Verdict.ASK:
            self._asked_ns = at_ns
        reason = decision.question or decision.reason
        self._rulings.append(Ruling(decision.verdict.value, decision.rule_id, reason))

    def answered(self, *, approved: bool, at_ns: int) -> None:
        """The caller answered the guard's question."""
        if self._asked_ns:
            self._waited_ms = max(0.0, (at_ns - self._asked_ns) / 1e6)
        said = "approved" if approved else "refused"
        self._rulings.append(Ruling(said, "caller", "The person at the other end decided."))

    def overtaken(self, epoch: Epoch) -> None:
        """A new epoch came; a step of an older one that has no outcome was dropped."""
        self._overtaken = self._overtaken or (not self.acted and self._plan.epoch < epoch)

    def came_out(self, outcome: Outcome, at_ns: int) -> None:
        """The first outcome."""
        # The screen is not needed, and large.
        self._outcome = Outcome(
            outcome.session_id,
            outcome.epoch,
            outcome.step,
            outcome.status,
            reason=outcome.reason,
            message=outcome.message,
            result=outcome.result,
            ended=outcome.ended,
            acting_ms=outcome.acting_ms,
            settling_ms=outcome.settling_ms,
            observing_ms=outcome.observing_ms,
            touched=outcome.touched,
        )
        self.total_ms = max(0.0, (at_ns - self._since_ns) / 1e6)

    def view(self) -> StepView:
        """What was folded."""
        plan, outcome = self._plan, self._outcome
        status, tone = self._status()
        boxes = (outcome.touched if outcome else ()) or self._planned
        return StepView(
            number=self.number,
            words=self._words,
            kind=plan.action.name,
            reason=plan.reason,
            strategy=plan.strategy,
            exemplars=plan.exemplar_ids,
            rulings=tuple(self._rulings),
            tone=tone,
            status=status,
            status_reason=outcome.reason if outcome else "",
            message=outcome.message if outcome else "",
            result=outcome.result if outcome else "",
            picture=self._picture,
            markers=tuple(m for m in (_marker(box, self._size) for box in boxes) if m),
            url=self._url,
            parts=self._parts(),
            total_ms=self.total_ms,
            offset_s=self._offset_s,
        )

    def _status(self) -> tuple[str, str]:
        if self._outcome is None:
            return ("dropped", "quiet") if self._overtaken else ("no outcome", "warn")
        if isinstance(self._plan.action.kind, actions.Fail):
            return "gave up", "bad"
        return self._outcome.status.value, _TONES[self._outcome.status]

    def _parts(self) -> tuple[Part, ...]:
        """Thinking, acting, settling and observing as they were reported; the rest is the platform's."""
        outcome = self._outcome
        if outcome is None or self.total_ms <= 0:
            return ()
        known = {
            "thinking": self._plan.thinking_ms,
            "person": self._waited_ms,
            "acting": outcome.acting_ms,
            "settling": outcome.settling_ms,
            "observing": outcome.observing_ms,
        }
        known["platform"] = max(0.0, self.total_ms - sum(known.values()))
        whole = sum(known.values()) or 1.0
        order = ("thinking", "platform", "person", "acting", "settling", "observing")
        return tuple(
            Part(name, known[name], 100 * known[name] / whole) for name in order if known[name] > 0
        )


def picture_of(screen: Screen | None) -> Picture | None:
    """The screenshot, if there is one."""
    if screen is None or screen.screenshot is None:
        return None
    return Picture(screen.screenshot.sha256, screen.size.width, screen.size.height)


def _places(action: actions.Action, screen: Screen) -> list[Box]:
    """Where the plan meant to act, for steps that do not say where they did."""
    found: list[Box] = []
    for point in _points(action.kind):
        element = (
            screen.find(point.frame.element_id)
            if isinstance(point.frame, actions.ElementPoint)
            else None
        )
        if element is not None and element.box is not None:
            found.append(element.box)
            continue
        try:
            at = to_screen(point, screen)
        except FrameError:
            continue
        found.append(Box(at.x, at.y, 0, 0))
    return found


def _points(kind: actions.ActionKind) -> list[actions.Point]:
    if isinstance(kind, actions.Drag):
        return [kind.path[0], kind.path[-1]]
    named = (getattr(kind, name, None) for name in ("at", "into", "start", "end"))
    return [point for point in named if isinstance(point, actions.Point)]


def _marker(box: Box, size: tuple[int, int]) -> Marker | None:
    width, height = size
    if width < 1 or height < 1:
        return None
    left, top = _percent(box.x, width), _percent(box.y, height)
    right, bottom = _percent(box.x + box.width, width), _percent(box.y + box.height, height)
    return Marker(left, top, round(right - left, 3), round(bottom - top, 3))


def _percent(value: float, whole: int) -> float:
    return round(min(100.0, max(0.0, 100 * value / whole)), 3)

"""Strategy `script`: demonstrated steps, their targets found on the present screen."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from services.planner.strategies.views import View
from tectum.actions import types as a
from tectum.actions.types import Action, ActionKind, Point
from tectum.demonstrations import DemonstrationError, Step, Target, parse_steps
from tectum.observations.types import Screen
from tectum.plugins import Choice, PastStep, PluginError, Strategy, StrategyContext
from tectum.protocol.messages import OutcomeStatus

_SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["steps"],
    "properties": {
        "steps": {
            "type": "array",
            "maxItems": 200,
            "description": "Steps as in a demonstration, such as {click: {role: button, name: Ok}}.",
        }
    },
}
_LOOKS = 8
_LOOK_S = 0.25
"""A target that is not there yet is waited for: 8 times 0.25 s, then it is an error."""


class Script:
    """Plays its steps once; where it stands is read off the history, so that a restart changes
    nothing.
    """

    def __init__(self, steps: Sequence[Step]) -> None:
        self._steps = steps

    async def decide(self, instruction: str, history: Sequence[PastStep], screen: Screen) -> Choice:
        """The next step.

        Raises:
            PluginError: no element is what the step means, or several are (TARGET_NOT_FOUND,
            TARGET_AMBIGUOUS),
                or the step before failed (STEP_FAILED).
        """
        last = next((past for past in history if past.status is not OutcomeStatus.OK), None)
        if last is not None:
            raise PluginError(
                "STEP_FAILED",
                f"expected the demonstrated {last.action.name} to succeed, got {last.status}: {last.reason}",
            )
        looks = 0
        played = 0
        for past in history:
            if isinstance(past.action.kind, a.WaitUntilStable | a.Wait) and _is_look(past.action):
                looks += 1
            else:
                played, looks = played + 1, 0
        if played >= len(self._steps):
            return Choice(
                Action(a.Done()), f"all {len(self._steps)} demonstrated steps were played"
            )
        step = self._steps[played]
        try:
            action = act(step, View(screen))
        except PluginError as error:
            if error.reason == "TARGET_NOT_FOUND" and looks < _LOOKS:
                return Choice(Action(a.Wait(_LOOK_S)), f"the target is not there yet: {error}")
            raise
        return Choice(action, f"demonstrated step {played + 1} of {len(self._steps)}: {step.kind}")


def _is_look(action: Action) -> bool:
    return isinstance(action.kind, a.Wait) and action.kind.duration_s == _LOOK_S


class ScriptPlugin:
    """Registers `script`."""

    name = "script"
    summary = "Plays demonstrated steps with symbolic targets; teaches a lesson."
    settings_schema = json.dumps(_SCHEMA)

    def create(self, context: StrategyContext) -> Strategy:
        """A strategy for one turn.

        Raises:
            PluginError: STRATEGY_SETTINGS_INVALID.
        """
        try:
            settings: Any = json.loads(context.settings or "{}")
        except ValueError as error:
            raise _invalid(f"expected JSON, got {context.settings[:80]!r}: {error}") from None
        if not isinstance(settings, dict) or settings.keys() != {"steps"}:
            raise _invalid(f"expected steps, got {str(settings)[:200]!r}")
        try:
            return Script(parse_steps(settings["steps"]))
        except DemonstrationError as error:
            raise _invalid(str(error)) from None


def plugin() -> ScriptPlugin:
    """The entry point."""
    return ScriptPlugin()


def _invalid(message: str) -> PluginError:
    return PluginError("STRATEGY_SETTINGS_INVALID", f"script: {message}")


def act(step: Step, view: View) -> Action:
    """The action that carries out a demonstrated step on this screen.

    Raises:
        PluginError: TARGET_NOT_FOUND, TARGET_AMBIGUOUS.
    """
    points = [resolve(target, view) for target in step.targets]
    if step.kind == "drag" and len(points) == 1:
        points.append(_moved(points[0], step, view))
    return Action(_ACTS[step.kind](step, points))


def _moved(start: Point, step: Step, view: View) -> Point:
    if isinstance(start.frame, a.ScreenPoint):
        return Point.screen(start.frame.x + step.dx, start.frame.y + step.dy)
    if not isinstance(start.frame, a.ElementPoint):
        raise PluginError("TARGET_NOT_FOUND", f"expected an element to drag, got {start.frame!r}")
    position = view.position[start.frame.element_id]
    box = view.elements[position].box
    if box is None:
        raise PluginError(
            "TARGET_NOT_FOUND", f"expected a box to drag, got {view.describe(position)}"
        )
    offset = start.frame.offset
    fx, fy = (offset.x, offset.y) if offset is not None else (0.5, 0.5)
    return Point.screen(box.x + fx * box.width + step.dx, box.y + fy * box.height + step.dy)


def resolve(target: Target, view: View) -> Point:
    """The point of the one element that is meant.

    Raises:
        PluginError: TARGET_NOT_FOUND, TARGET_AMBIGUOUS.
    """
    if target.point is not None:
        return Point.screen(*target.point)
    element_id = view.elements[find(target, view)].id
    if target.offset is None:
        return Point.element(element_id)
    return Point(a.ElementPoint(element_id, a.NormalisedPoint(*target.offset)))


def find(target: Target, view: View) -> int:
    """The position of the one element that is meant.

    Raises:
        PluginError: TARGET_NOT_FOUND, TARGET_AMBIGUOUS.
    """
    matching = [i for i in range(len(view.elements)) if _matches(target, view, i)]
    if target.row:
        anchors = [
            i for i, e in enumerate(view.elements) if _says(target.row, e.name, e.text, e.value)
        ]
        matching = [i for i in matching if any(view.same_row(i, j) and i != j for j in anchors)]
    if target.within is not None:
        whole = find(target.within, view)
        matching = [i for i in matching if view.inside(i, whole)]
    if target.after is not None:
        before = find(target.after, view)
        matching = [i for i in matching if i > before and not view.inside(i, before)]
    matching = view.innermost(matching)
    if len(matching) > 1:
        matching = [i for i in matching if view.visible(i)] or matching
    if target.near is not None and matching:
        centre = find(target.near, view)
        return min((i for i in matching if i != centre), key=lambda i: view.distance(i, centre))
    return _one(target, view, matching)


def _one(target: Target, view: View, matching: Sequence[int]) -> int:
    if target.nth is not None and -len(matching) <= target.nth < len(matching):
        return matching[target.nth]
    if len(matching) == 1 and target.nth is None:
        return matching[0]
    if matching and target.nth is None:
        shown = ", ".join(view.describe(i) for i in matching[:5])
        raise PluginError(
            "TARGET_AMBIGUOUS",
            f"expected one element for {_short(target)}, got {len(matching)}: {shown}",
        )
    shown = ", ".join(view.describe(i) for i in range(min(12, len(view.elements))))
    raise PluginError(
        "TARGET_NOT_FOUND",
        f"expected an element for {_short(target)}, got {len(matching)} that match; on the screen: {shown}",
    )


def _matches(target: Target, view: View, i: int) -> bool:
    element = view.elements[i]
    texts = (element.name, element.text, element.value)
    checks: tuple[tuple[object, Callable[[], bool]], ...] = (
        (target.role, lambda: element.role == target.role),
        (target.name, lambda: _says(target.name, element.name)),
        (target.text, lambda: _says(target.text, *texts)),
        (target.value, lambda: _says(target.value, element.value)),
        (target.contains, lambda: any(_even(target.contains) in _even(text) for text in texts)),
        (target.state, lambda: all(_in_state(element.states, state) for state in target.state)),
        (
            target.label,
            lambda: _even(view.label_of(i)).rstrip(": ") == _even(target.label).rstrip(": "),
        ),
    )
    return all(check() for wanted, check in checks if wanted)


def _in_state(states: Sequence[str], wanted: str) -> bool:
    return wanted[1:] not in states if wanted.startswith("!") else wanted in states


def _says(wanted: str, *texts: str) -> bool:
    return any(_even(text) == _even(wanted) for text in texts)


def _even(text: str) -> str:
    return " ".join(text.split())


def _short(target: Target) -> str:
    empty = Target()
    fields = {
        name: getattr(target, name)
        for name in Target.__slots__
        if getattr(target, name) != getattr(empty, name)
    }
    return str(fields)


def _type(step: Step, at: Sequence[Point]) -> ActionKind:
    source = a.SecretRef(step.secret) if step.secret else step.text
    return a.TypeText(source, at[0] if at else None, clear=step.clear, submit=step.submit)


def _select_text(step: Step, at: Sequence[Point]) -> ActionKind:
    return a.SelectText(at[0], at[1] if len(at) > 1 else None, step.text)


def _drag(step: Step, at: Sequence[Point]) -> ActionKind:
    return a.Drag(tuple(at))


def _scroll(step: Step, at: Sequence[Point]) -> ActionKind:
    return a.Scroll(at[0] if at else None, step.dx, step.dy)


_ACTS: dict[str, Callable[[Step, Sequence[Point]], ActionKind]] = {
    "click": lambda step, at: a.Click(at[0]),
    "double_click": lambda step, at: a.Click(at[0], count=2),
    "triple_click": lambda step, at: a.Click(at[0], count=3),
    "right_click": lambda step, at: a.Click(at[0], button=a.MouseButton.RIGHT),
    "hover": lambda step, at: a.Hover(at[0]),
    "mouse_down": lambda step, at: a.MouseDown(at[0]),
    "mouse_up": lambda step, at: a.MouseUp(at[0]),
    "focus": lambda step, at: a.Focus(at[0]),
    "clear": lambda step, at: a.ClearField(at[0]),
    "type": _type,
    "select": lambda step, at: a.SelectOption(at[0], step.labels),
    "select_text": _select_text,
    "key": lambda step, at: a.KeyChord(step.keys),
    "drag": _drag,
    "scroll": _scroll,
    "wait": lambda step, at: a.Wait(step.duration_s),
    "wait_until_stable": lambda step, at: a.WaitUntilStable(),
    "dialog": lambda step, at: a.AnswerDialog(step.accept, step.text),
    "go_to": lambda step, at: a.GoTo(step.text),
    "back": lambda step, at: a.Navigate(a.HistoryDirection.BACK),
    "forward": lambda step, at: a.Navigate(a.HistoryDirection.FORWARD),
    "reload": lambda step, at: a.Navigate(a.HistoryDirection.RELOAD),
    "tab": lambda step, at: a.OperateTab(a.TabOperation(step.text), step.index),
    "copy": lambda step, at: a.SetClipboard(step.text),
    "answer": lambda step, at: a.Answer(step.text),
    "ask_user": lambda step, at: a.AskUser(step.text),
    "done": lambda step, at: a.Done(),
    "fail": lambda step, at: a.Fail(step.text),
}

"""Actions in words, for a person."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tectum.actions import types as a
from tectum.observations.types import Element, Screen
from tectum.protocol.messages import Target

_TEXT_MAX = 160
_GENERIC_ROLES = {"", "generic", "none", "presentation", "text", "statictext"}
_COUNTS = {1: "Click", 2: "Double-click", 3: "Triple-click"}


def describe(action: a.Action, screen: Screen | None, target: Target | None) -> str:
    """One sentence in the imperative; `screen` is what the action was planned on."""
    return _DESCRIBERS[type(action.kind)](action.kind, _Places(screen, target))


class _Places:
    """Names places by what is there."""

    def __init__(self, screen: Screen | None, target: Target | None) -> None:
        self._screen = screen
        self._target = target

    def __call__(self, point: a.Point | None) -> str:
        if point is None:
            return "where the focus is"
        frame = point.frame
        match frame:
            case a.ElementPoint(element_id):
                return self._element(element_id)
            case a.MarkPoint(mark_id):
                return f"mark {mark_id}"
            case a.NormalisedPoint(x, y):
                return f"({x:.0%}, {y:.0%})"
            case a.ScreenPoint(x, y) | a.ModelPoint(x, y):
                named = self._named(self._target.name, self._target.role) if self._target else ""
                return f"{named} at ({x:.0f}, {y:.0f})" if named else f"({x:.0f}, {y:.0f})"

    def _element(self, element_id: str) -> str:
        target = self._target
        if target is not None and target.element_id == element_id and (target.name or target.role):
            return self._named(target.name, target.role)
        element = self._screen.find(element_id) if self._screen else None
        return self._known(element) if element else f"element {element_id}"

    def _known(self, element: Element) -> str:
        return self._named(element.name or element.text or element.value, element.role)

    @staticmethod
    def _named(name: str, role: str) -> str:
        role = "" if role.lower() in _GENERIC_ROLES else role
        return " ".join(part for part in ("the", quoted(name) if name else "", role) if part)


def quoted(text: str) -> str:
    """The text in quotation marks, on one line and at most 160 characters long."""
    line = " ".join(text.split())
    return f"“{line if len(line) <= _TEXT_MAX else line[: _TEXT_MAX - 1] + '…'}”"


def _click(kind: a.Click, where: _Places) -> str:
    button = "" if kind.button is a.MouseButton.LEFT else f" with the {kind.button.value} button"
    keys = f" holding {_keys(kind.modifiers)}" if kind.modifiers else ""
    return f"{_COUNTS.get(kind.count, 'Click')} {where(kind.at)}{button}{keys}"


def _type(kind: a.TypeText, where: _Places) -> str:
    secret = isinstance(kind.source, a.SecretRef)
    what = f"the secret {quoted(kind.source.name)}" if secret else quoted(str(kind.source))  # type: ignore[union-attr]
    into = f" into {where(kind.into)}" if kind.into else ""
    verb = "Replace the text with" if kind.clear else "Type"
    return f"{verb} {what}{into}{', then press Enter' if kind.submit else ''}"


def _drag(kind: a.Drag, where: _Places) -> str:
    via = f" through {len(kind.path) - 2} points" if len(kind.path) > 2 else ""
    return f"Drag from {where(kind.path[0])} to {where(kind.path[-1])}{via}"


def _scroll(kind: a.Scroll, where: _Places) -> str:
    ways = ((kind.dy, "down", "up"), (kind.dx, "right", "left"))
    parts = [f"{plus if by > 0 else minus} by {abs(by):.0f} px" for by, plus, minus in ways if by]
    at = f" at {where(kind.at)}" if kind.at else ""
    return f"Scroll {' and '.join(parts) or 'by nothing'}{at}"


def _select_text(kind: a.SelectText, where: _Places) -> str:
    if kind.text:
        return f"Select {quoted(kind.text)} in {where(kind.start)}"
    end = f" to {where(kind.end)}" if kind.end else ""
    return f"Mark the text from {where(kind.start)}{end}"


def _tab(kind: a.OperateTab, _: _Places) -> str:
    if kind.operation is a.TabOperation.NEW:
        return "Open a new tab"
    verb = "Go to" if kind.operation is a.TabOperation.FOCUS else "Close"
    return f"{verb} tab {kind.index + 1}"


def _dialog(kind: a.AnswerDialog, _: _Places) -> str:
    text = f" with {quoted(kind.text)}" if kind.text else ""
    return f"{'Accept' if kind.accept else 'Dismiss'} the dialog{text}"


def _keys(keys: tuple[str, ...]) -> str:
    return " + ".join("Space" if key == " " else key for key in keys)


def _list(items: tuple[str, ...]) -> str:
    return ", ".join(quoted(item) for item in items)


_DESCRIBERS: dict[type, Callable[[Any, _Places], str]] = {
    a.Click: _click,
    a.Hover: lambda k, at: f"Hover over {at(k.at)}",
    a.MouseDown: lambda k, at: f"Press the {k.button.value} mouse button on {at(k.at)}",
    a.MouseUp: lambda k, at: f"Release the {k.button.value} mouse button on {at(k.at)}",
    a.Drag: _drag,
    a.Scroll: _scroll,
    a.TypeText: _type,
    a.KeyChord: lambda k, _: f"Press {_keys(k.keys)}",
    a.HoldKey: lambda k, _: f"Hold {_keys(k.keys)} for {k.duration_s:g} s",
    a.KeyDown: lambda k, _: f"Press and hold {_keys((k.key,))}",
    a.KeyUp: lambda k, _: f"Release {_keys((k.key,))}",
    a.LongPress: lambda k, at: f"Long-press {at(k.at)} for {k.duration_s:g} s",
    a.Swipe: lambda k, at: f"Swipe from {at(k.start)} to {at(k.end)}",
    a.Pinch: lambda k, at: (
        f"{'Spread' if k.scale > 1 else 'Pinch'} by {k.scale:g} around {at(k.at)}"
    ),
    a.PressSystemButton: lambda k, _: f"Press the {k.button.value} button",
    a.OpenApp: lambda k, _: f"Open the app {quoted(k.name)}",
    a.OperateWindow: lambda k, _: f"{k.operation.value.capitalize()} the window {quoted(k.title)}",
    a.SelectOption: lambda k, at: f"Choose {_list(k.labels)} in {at(k.at)}",
    a.SelectText: _select_text,
    a.Focus: lambda k, at: f"Focus {at(k.at)}",
    a.ClearField: lambda k, at: f"Empty {at(k.at)}",
    a.UploadFiles: lambda k, at: f"Upload {_list(k.names)} to {at(k.at)}",
    a.GoTo: lambda k, _: f"Go to {quoted(k.url)}",
    a.Navigate: lambda k, _: (
        "Reload the page" if k.direction.value == "reload" else f"Go {k.direction.value}"
    ),
    a.OperateTab: _tab,
    a.SetClipboard: lambda k, _: f"Copy {quoted(k.text)} to the clipboard",
    a.GetClipboard: lambda _k, _: "Read the clipboard",
    a.AnswerDialog: _dialog,
    a.Wait: lambda k, _: f"Wait {k.duration_s:g} s",
    a.WaitUntilStable: lambda _k, _: "Wait until the screen is still",
    a.Screenshot: lambda _k, _: "Look again",
    a.Zoom: lambda k, _: f"Look closely at {k.region.width:.0f}×{k.region.height:.0f} px",  # noqa: RUF001
    a.Answer: lambda k, _: f"Answer {quoted(k.text)}",
    a.AskUser: lambda k, _: f"Ask {quoted(k.question)}",
    a.Done: lambda _k, _: "Say that it is done",
    a.Fail: lambda k, _: f"Give up: {' '.join(k.reason.split())[:_TEXT_MAX]}",
}

"""The BrowserGym dialect: calls such as `click('12')` on element ids (bids) and on screen pixels.

Source: BrowserGym's `HighLevelActionSet`, subsets chat, infeas, bid, coord, nav and tab.
Coordinates are pixels of the screenshot; key names are Playwright's, which are the W3C `key` values
joined by `+`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tectum.actions.dialect import (
    Call,
    DialectError,
    inexpressible,
    number,
    parse_calls,
    plain,
    string,
    strings,
)
from tectum.actions.frames import to_screen
from tectum.actions.types import (
    Action,
    ActionKind,
    Answer,
    ClearField,
    Click,
    Drag,
    ElementPoint,
    Fail,
    Focus,
    GoTo,
    HistoryDirection,
    Hover,
    KeyChord,
    KeyDown,
    KeyUp,
    MouseButton,
    MouseDown,
    MouseUp,
    Navigate,
    OperateTab,
    Point,
    ScreenPoint,
    Scroll,
    SelectOption,
    TabOperation,
    TypeText,
    Wait,
)
from tectum.observations.types import Screen

_MODIFIERS = ("Alt", "Control", "ControlOrMeta", "Meta", "Shift")


@dataclass(frozen=True, slots=True)
class BrowserGym:
    """The codec between BrowserGym's calls and canonical actions."""

    def parse(self, text: str, screen: Screen | None = None) -> list[Action]:
        """Return the actions that `text`, one call a line, asks for.

        Args:
            text: Calls; a fence or a comment is not accepted.
            screen: The observation, for the calls that mean "the tab in front".

        Raises:
            DialectError: DIALECT_SYNTAX, DIALECT_CALL_UNKNOWN, DIALECT_ARGUMENTS.
        """
        return [Action(kind) for call in parse_calls(text) for kind in _kinds(call, screen)]

    def print(self, action: Action, screen: Screen | None = None) -> str:
        """Return `action` as text, one call a line.

        Args:
            action: Any action.
            screen: What the action was chosen on; needed where its points are neither elements nor
                screen pixels, and to close a tab.

        Raises:
            DialectError: ACTION_INEXPRESSIBLE, naming what the dialect has no word for.
            FrameError: a point is not on `screen`.
        """
        for printer in (_print_pointer, _print_field, _print_rest):
            lines = printer(action.kind, screen)
            if lines:
                return "\n".join(lines)
        raise inexpressible("BrowserGym", action.kind)


def _bid(value: object) -> Point:
    return Point(ElementPoint(string(value, "bid")))


def _button(value: object) -> MouseButton:
    try:
        return MouseButton(string(value, "button"))
    except ValueError as error:
        raise DialectError(
            "DIALECT_ARGUMENTS", f"expected left, middle or right as button, got {value!r}"
        ) from error


def _modifiers(value: object) -> tuple[str, ...]:
    names = strings(value, "modifiers")
    for name in names:
        if name not in _MODIFIERS:
            raise DialectError(
                "DIALECT_ARGUMENTS", f"expected modifiers of {_MODIFIERS}, got {name!r}"
            )
    return tuple("Control" if name == "ControlOrMeta" else name for name in names)


_COMB = re.compile(r"(\+|[^+]+)(?:\+|$)")
"""One key of a combination; a plus sign is itself a key where a key is expected."""


def _keys(value: object) -> tuple[str, ...]:
    text = string(value, "key")
    parts = [found.group(1) for found in _COMB.finditer(text)]
    if "+".join(parts) != text or not parts:
        raise DialectError("DIALECT_ARGUMENTS", f"expected keys joined by +, got {text!r}")
    return tuple({"ControlOrMeta": "Control", "Space": " "}.get(part, part) for part in parts)


def _comb(keys: Sequence[str]) -> str:
    return "+".join("Space" if key == " " else key for key in keys)


def _front(screen: Screen | None) -> int:
    active = [index for index, tab in enumerate(screen.tabs if screen else ()) if tab.active]
    if not active:
        raise DialectError(
            "DIALECT_ARGUMENTS", "tab_close() needs a screen that says which tab is in front"
        )
    return active[0]


_Parser = Callable[[Call, Screen | None], Sequence[ActionKind]]


def _clicker(count: int) -> _Parser:
    def parse(call: Call, screen: Screen | None) -> Sequence[ActionKind]:
        bid, button, modifiers = call.bind(
            "bid", "button", "modifiers", button="left", modifiers=()
        )
        return [Click(_bid(bid), _button(button), count, _modifiers(modifiers))]

    return parse


def _mouse(make: Callable[[Point, MouseButton], ActionKind]) -> _Parser:
    def parse(call: Call, screen: Screen | None) -> Sequence[ActionKind]:
        x, y, button = call.bind("x", "y", "button", button="left")
        return [make(Point.screen(number(x, "x"), number(y, "y")), _button(button))]

    return parse


def _mouse_drag(call: Call, screen: Screen | None) -> Sequence[ActionKind]:
    x1, y1, x2, y2 = (
        number(value, "coordinate") for value in call.bind("from_x", "from_y", "to_x", "to_y")
    )
    return [Drag((Point.screen(x1, y1), Point.screen(x2, y2)))]


def _mouse_move(call: Call, screen: Screen | None) -> Sequence[ActionKind]:
    x, y = call.bind("x", "y")
    return [Hover(Point.screen(number(x, "x"), number(y, "y")))]


def _drag(call: Call, screen: Screen | None) -> Sequence[ActionKind]:
    start, end = call.bind("from_bid", "to_bid")
    return [Drag((_bid(start), _bid(end)))]


def _fill(call: Call, screen: Screen | None) -> Sequence[ActionKind]:
    bid, value = call.bind("bid", "value")
    return [TypeText(string(value, "value"), _bid(bid), clear=True)]


def _press(call: Call, screen: Screen | None) -> Sequence[ActionKind]:
    bid, keys = call.bind("bid", "key_comb")
    return [Focus(_bid(bid)), KeyChord(_keys(keys))]


def _select(call: Call, screen: Screen | None) -> Sequence[ActionKind]:
    bid, options = call.bind("bid", "options")
    return [SelectOption(_bid(bid), strings(options, "options"))]


def _scroll(call: Call, screen: Screen | None) -> Sequence[ActionKind]:
    dx, dy = call.bind("delta_x", "delta_y")
    return [Scroll(None, number(dx, "delta_x"), number(dy, "delta_y"))]


def _one(name: str, make: Callable[[object], ActionKind], **defaults: object) -> _Parser:
    def parse(call: Call, screen: Screen | None) -> Sequence[ActionKind]:
        return [make(*call.bind(name, **defaults))]

    return parse


def _none(kind: ActionKind) -> _Parser:
    def parse(call: Call, screen: Screen | None) -> Sequence[ActionKind]:
        call.bind()
        return [kind]

    return parse


def _close(call: Call, screen: Screen | None) -> Sequence[ActionKind]:
    call.bind()
    return [OperateTab(TabOperation.CLOSE, _front(screen))]


def _tab(index: object) -> ActionKind:
    position = number(index, "index")
    if position < 0 or position != int(position):
        raise DialectError(
            "DIALECT_ARGUMENTS", f"expected a position from 0 as index, got {index!r}"
        )
    return OperateTab(TabOperation.FOCUS, int(position))


_PARSERS: dict[str, _Parser] = {
    "clear": _one("bid", lambda bid: ClearField(_bid(bid))),
    "click": _clicker(1),
    "dblclick": _clicker(2),
    "drag_and_drop": _drag,
    "fill": _fill,
    "focus": _one("bid", lambda bid: Focus(_bid(bid))),
    "go_back": _none(Navigate(HistoryDirection.BACK)),
    "go_forward": _none(Navigate(HistoryDirection.FORWARD)),
    "goto": _one("url", lambda url: GoTo(string(url, "url"))),
    "hover": _one("bid", lambda bid: Hover(_bid(bid))),
    "keyboard_down": _one("key", lambda key: KeyDown(*_keys(key))),
    "keyboard_insert_text": _one("text", lambda text: TypeText(string(text, "text"))),
    "keyboard_press": _one("key", lambda key: KeyChord(_keys(key))),
    "keyboard_type": _one("text", lambda text: TypeText(string(text, "text"))),
    "keyboard_up": _one("key", lambda key: KeyUp(*_keys(key))),
    "mouse_click": _mouse(Click),
    "mouse_dblclick": _mouse(lambda at, button: Click(at, button, 2)),
    "mouse_down": _mouse(MouseDown),
    "mouse_drag_and_drop": _mouse_drag,
    "mouse_move": _mouse_move,
    "mouse_up": _mouse(MouseUp),
    "new_tab": _none(OperateTab(TabOperation.NEW)),
    "noop": _one("wait_ms", lambda ms: Wait(number(ms, "wait_ms") / 1000.0), wait_ms=1000),
    "press": _press,
    "report_infeasible": _one("reason", lambda reason: Fail(string(reason, "reason"))),
    "scroll": _scroll,
    "select_option": _select,
    "send_msg_to_user": _one("text", lambda text: Answer(string(text, "text"))),
    "tab_close": _close,
    "tab_focus": _one("index", _tab),
}


def _kinds(call: Call, screen: Screen | None) -> Sequence[ActionKind]:
    parser = _PARSERS.get(call.name)
    if parser is None:
        raise DialectError(
            "DIALECT_CALL_UNKNOWN", f"expected one of {sorted(_PARSERS)}, got {call.name!r}"
        )
    try:
        return parser(call, screen)
    except TypeError:
        raise DialectError("DIALECT_ARGUMENTS", f"expected one key for {call.name}") from None


def _element(point: Point) -> str | None:
    frame = point.frame
    return frame.element_id if isinstance(frame, ElementPoint) and frame.offset is None else None


def _xy(point: Point, screen: Screen | None) -> str:
    if screen is not None:
        at = to_screen(point, screen)
    elif isinstance(point.frame, ScreenPoint):
        at = point.frame
    else:
        raise inexpressible("BrowserGym without the screen", point.frame)
    return f"{plain(at.x)}, {plain(at.y)}"


def _print_pointer(kind: ActionKind, screen: Screen | None) -> list[str]:
    match kind:
        case Click(at, button, count, modifiers):
            return [_click_line(kind, at, button, count, modifiers, screen)]
        case Hover(at):
            bid = _element(at)
            return [f"mouse_move({_xy(at, screen)})" if bid is None else f"hover({bid!r})"]
        case MouseDown(at, button):
            return [f"mouse_down({_xy(at, screen)}, {button.value!r})"]
        case MouseUp(at, button):
            return [f"mouse_up({_xy(at, screen)}, {button.value!r})"]
        case Drag((start, end), MouseButton.LEFT):
            ends = _element(start), _element(end)
            if None not in ends:
                return [f"drag_and_drop({ends[0]!r}, {ends[1]!r})"]
            return [f"mouse_drag_and_drop({_xy(start, screen)}, {_xy(end, screen)})"]
        case Scroll(None, dx, dy):
            return [f"scroll({plain(dx)}, {plain(dy)})"]
    return []


def _click_line(
    kind: Click,
    at: Point,
    button: MouseButton,
    count: int,
    modifiers: Sequence[str],
    screen: Screen | None,
) -> str:
    bid = _element(at)
    if count > 2 or (bid is None and modifiers) or any(key not in _MODIFIERS for key in modifiers):
        raise inexpressible("BrowserGym", kind)
    if bid is None:
        return f"mouse_{'dbl' * (count - 1)}click({_xy(at, screen)}, {button.value!r})"
    held = f", {list(modifiers)!r}" if modifiers else ""
    return f"{'dbl' * (count - 1)}click({bid!r}, {button.value!r}{held})"


def _print_field(kind: ActionKind, screen: Screen | None) -> list[str]:
    match kind:
        case TypeText(str(text), None, clear=False, submit=False):
            return [f"keyboard_type({text!r})"]
        case TypeText(str(text), Point() as into, clear, submit) if bid := _element(into):
            lines = (
                [f"fill({bid!r}, {text!r})"]
                if clear
                else [f"click({bid!r})", f"keyboard_type({text!r})"]
            )
            return [*lines, "keyboard_press('Enter')"] if submit else lines
        case Focus(at) if bid := _element(at):
            return [f"focus({bid!r})"]
        case ClearField(at) if bid := _element(at):
            return [f"clear({bid!r})"]
        case SelectOption(at, labels) if bid := _element(at):
            return [f"select_option({bid!r}, {list(labels)!r})"]
    return []


def _print_rest(kind: ActionKind, screen: Screen | None) -> list[str]:
    match kind:
        case OperateTab(TabOperation.CLOSE, index):
            if index != _front(screen):
                raise inexpressible("BrowserGym", kind)
            return ["tab_close()"]
        case OperateTab(TabOperation.FOCUS, index):
            return [f"tab_focus({index})"]
        case OperateTab(TabOperation.NEW):
            return ["new_tab()"]
        case Navigate(HistoryDirection.BACK | HistoryDirection.FORWARD as direction):
            return [f"go_{direction.value}()"]
        case GoTo(url):
            return [f"goto({url!r})"]
        case Wait(duration_s):
            return [f"noop({plain(duration_s * 1000.0)})"]
    return _print_words(kind)


def _print_words(kind: ActionKind) -> list[str]:
    match kind:
        case KeyChord(keys):
            return [f"keyboard_press({_comb(keys)!r})"]
        case KeyDown(key):
            return [f"keyboard_down({_comb([key])!r})"]
        case KeyUp(key):
            return [f"keyboard_up({_comb([key])!r})"]
        case Answer(text):
            return [f"send_msg_to_user({text!r})"]
        case Fail(reason):
            return [f"report_infeasible({reason!r})"]
    return []

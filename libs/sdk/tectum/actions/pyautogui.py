"""The pyautogui dialect: Aguvis (fractions of the screen) and OSWorld (pixels).

Sources: Aguvis' unified action space (base actions and the `browser.` and `mobile.` functions) and
OSWorld's `desktop_env/actions.py`, with its words WAIT, DONE and FAIL.
"""

from __future__ import annotations

import enum
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
    Click,
    Done,
    Drag,
    Fail,
    Hover,
    KeyChord,
    KeyDown,
    KeyUp,
    LongPress,
    MouseButton,
    MouseDown,
    MouseUp,
    NormalisedPoint,
    OpenApp,
    Point,
    PressSystemButton,
    ScreenPoint,
    Scroll,
    SelectOption,
    Swipe,
    SystemButton,
    TypeText,
    Wait,
)
from tectum.observations.types import Screen

SCROLL_PX = 100.0
"""Screen pixels of one unit of `scroll`: a wheel notch as Chromium's WebDriver tests count it."""

LONG_PRESS_S = 0.8
SWIPE_S = 0.3

_TO_W3C = {
    "alt": "Alt",
    "backspace": "Backspace",
    "capslock": "CapsLock",
    "command": "Meta",
    "ctrl": "Control",
    "delete": "Delete",
    "down": "ArrowDown",
    "end": "End",
    "enter": "Enter",
    "esc": "Escape",
    "home": "Home",
    "insert": "Insert",
    "left": "ArrowLeft",
    "pagedown": "PageDown",
    "pageup": "PageUp",
    "right": "ArrowRight",
    "shift": "Shift",
    "space": " ",
    "tab": "Tab",
    "up": "ArrowUp",
} | {f"f{n}": f"F{n}" for n in range(1, 25)}
_ALIASES = {
    "return": "enter",
    "escape": "esc",
    "del": "delete",
    "win": "command",
    "control": "ctrl",
}
_FROM_W3C = {w3c: name for name, w3c in _TO_W3C.items()}


class Coordinates(enum.StrEnum):
    """What the numbers of the dialect mean."""

    NORMALISED = "normalised"
    """Aguvis: fractions of the screenshot."""
    SCREEN = "screen"
    """OSWorld: pixels of the screenshot."""


@dataclass(frozen=True, slots=True)
class PyAutoGui:
    """The codec between pyautogui text and canonical actions."""

    coordinates: Coordinates = Coordinates.NORMALISED

    def parse(self, text: str) -> list[Action]:
        """Return the actions that `text`, one call a line, asks for.

        Raises:
            DialectError: DIALECT_SYNTAX, DIALECT_CALL_UNKNOWN, DIALECT_ARGUMENTS.
        """
        word = text.strip()
        if word in _WORDS:
            return [Action(_WORDS[word])]
        actions: list[Action] = []
        pointer: Point | None = None
        for call in parse_calls(text):
            for kind in self._kinds(call, pointer):
                if isinstance(kind, Drag) and actions and actions[-1].kind == Hover(kind.path[0]):
                    actions.pop()
                actions.append(Action(kind))
                pointer = _pointer_after(kind, pointer)
        return actions

    def print(self, action: Action, screen: Screen | None = None) -> str:
        """Return `action` as text, one call a line.

        Args:
            action: Any action.
            screen: What the action was chosen on; needed where its points are in another frame.

        Raises:
            DialectError: ACTION_INEXPRESSIBLE, naming what the dialect has no word for.
            FrameError: a point is not on `screen`.
        """
        return "\n".join(self._lines(action.kind, screen))

    def _kinds(self, call: Call, pointer: Point | None) -> Sequence[ActionKind]:
        name = call.name.removeprefix("pyautogui.")
        parser = _PARSERS.get(name)
        if parser is None:
            raise DialectError(
                "DIALECT_CALL_UNKNOWN", f"expected one of {sorted(_PARSERS)}, got {call.name!r}"
            )
        return parser(self, call, pointer)

    def point(self, x: object, y: object, pointer: Point | None = None) -> Point:
        """Return the point that two arguments mean; without them, where the pointer is."""
        if x is None and y is None:
            if pointer is None:
                raise DialectError(
                    "DIALECT_ARGUMENTS", "expected x and y: nothing has moved the pointer yet"
                )
            return pointer
        frame = NormalisedPoint if self.coordinates is Coordinates.NORMALISED else ScreenPoint
        return Point(frame(number(x, "x"), number(y, "y")))

    def _xy(self, point: Point, screen: Screen | None) -> str:
        normalised = self.coordinates is Coordinates.NORMALISED
        frame = point.frame
        if isinstance(frame, NormalisedPoint if normalised else ScreenPoint):
            return f"{plain(frame.x)}, {plain(frame.y)}"
        if screen is None:
            raise inexpressible(f"pyautogui ({self.coordinates}) without the screen", frame)
        at = to_screen(point, screen)
        if normalised:
            return f"{plain(at.x / screen.size.width)}, {plain(at.y / screen.size.height)}"
        return f"{plain(at.x)}, {plain(at.y)}"

    def _lines(self, kind: ActionKind, screen: Screen | None) -> list[str]:
        match kind:
            case Click() | Hover() | MouseDown() | MouseUp():
                return [self._pointer_line(kind, screen)]
            case Drag((start, end), button):
                return [
                    f"pyautogui.moveTo({self._xy(start, screen)})",
                    f"pyautogui.dragTo({self._xy(end, screen)}, button={button.value!r})",
                ]
            case Scroll():
                return self._scroll_lines(kind, screen)
            case TypeText():
                return self._type_lines(kind, screen)
            case SelectOption(at, (label,)):
                return [f"browser.select_option({self._xy(at, screen)}, {label!r})"]
            case LongPress(at, duration_s) if duration_s == LONG_PRESS_S:
                return [f"mobile.long_press({self._xy(at, screen)})"]
            case Swipe(start, end, duration_s) if duration_s == SWIPE_S:
                ends = f"[{self._xy(start, screen)}], [{self._xy(end, screen)}]"
                return [f"mobile.swipe({ends})"]
        return [_placeless_line(kind)]

    def _pointer_line(
        self, kind: Click | Hover | MouseDown | MouseUp, screen: Screen | None
    ) -> str:
        at = self._xy(kind.at, screen)
        match kind:
            case Click(modifiers=[_, *_]):
                raise inexpressible("pyautogui", kind)
            case Click(_, button, count):
                other = ("click", f", clicks={count}, button={button.value!r}")
                name, extra = _CLICKS.get((button, count), other)
                return f"pyautogui.{name}({at}{extra})"
            case Hover():
                return f"pyautogui.moveTo({at})"
            case MouseDown(_, button):
                return f"pyautogui.mouseDown({at}, button={button.value!r})"
            case MouseUp(_, button):
                return f"pyautogui.mouseUp({at}, button={button.value!r})"

    def _scroll_lines(self, kind: Scroll, screen: Screen | None) -> list[str]:
        at = "" if kind.at is None else ", " + self._xy(kind.at, screen)
        lines = []
        if kind.dy or not kind.dx:
            lines.append(f"pyautogui.scroll({plain(-kind.dy / SCROLL_PX)}{at})")
        if kind.dx:
            lines.append(f"pyautogui.hscroll({plain(kind.dx / SCROLL_PX)}{at})")
        return lines

    def _type_lines(self, kind: TypeText, screen: Screen | None) -> list[str]:
        if not isinstance(kind.source, str):
            raise inexpressible("pyautogui", kind.source)
        lines = [] if kind.into is None else [f"pyautogui.click({self._xy(kind.into, screen)})"]
        if kind.clear:
            lines += ["pyautogui.hotkey('ctrl', 'a')", "pyautogui.press('delete')"]
        lines.append(f"pyautogui.write({kind.source!r})")
        return [*lines, "pyautogui.press('enter')"] if kind.submit else lines


_WORDS: dict[str, ActionKind] = {"WAIT": Wait(1.0), "DONE": Done(), "FAIL": Fail("infeasible")}

_CLICKS = {
    (MouseButton.LEFT, 1): ("click", ""),
    (MouseButton.LEFT, 2): ("doubleClick", ""),
    (MouseButton.LEFT, 3): ("tripleClick", ""),
    (MouseButton.RIGHT, 1): ("rightClick", ""),
    (MouseButton.MIDDLE, 1): ("middleClick", ""),
}

_Parser = Callable[[PyAutoGui, Call, Point | None], Sequence[ActionKind]]


def _pointer_after(kind: ActionKind, pointer: Point | None) -> Point | None:
    match kind:
        case Click(at) | Hover(at) | MouseDown(at) | MouseUp(at):
            return at
        case Drag(path):
            return path[-1]
    return pointer


def _button(value: object) -> MouseButton:
    try:
        return MouseButton(string(value, "button"))
    except ValueError as error:
        raise DialectError(
            "DIALECT_ARGUMENTS", f"expected left, middle or right as button, got {value!r}"
        ) from error


def _times(value: object, what: str, limit: int) -> int:
    times = number(value, what)
    if times != int(times) or not 1 <= times <= limit:
        raise DialectError("DIALECT_ARGUMENTS", f"expected 1 to {limit} as {what}, got {value!r}")
    return int(times)


def _click(codec: PyAutoGui, call: Call, pointer: Point | None) -> Sequence[ActionKind]:
    x, y, clicks, interval, button = call.bind(
        "x",
        "y",
        "clicks",
        "interval",
        "button",
        x=None,
        y=None,
        clicks=1,
        interval=0,
        button="left",
    )
    number(interval, "interval")
    return [Click(codec.point(x, y, pointer), _button(button), _times(clicks, "clicks", 3))]


def _clicker(button: MouseButton, count: int) -> _Parser:
    def parse(codec: PyAutoGui, call: Call, pointer: Point | None) -> Sequence[ActionKind]:
        x, y = call.bind("x", "y", x=None, y=None)
        return [Click(codec.point(x, y, pointer), button, count)]

    return parse


def _mover(make: Callable[[Point, MouseButton], ActionKind]) -> _Parser:
    def parse(codec: PyAutoGui, call: Call, pointer: Point | None) -> Sequence[ActionKind]:
        x, y, button = call.bind("x", "y", "button", x=None, y=None, button="left")
        return [make(codec.point(x, y, pointer), _button(button))]

    return parse


def _drag(codec: PyAutoGui, call: Call, pointer: Point | None) -> Sequence[ActionKind]:
    x, y, duration, button = call.bind("x", "y", "duration", "button", duration=0, button="left")
    number(duration, "duration")
    return [Drag((codec.point(None, None, pointer), codec.point(x, y)), _button(button))]


def _move(codec: PyAutoGui, call: Call, pointer: Point | None) -> Sequence[ActionKind]:
    x, y, duration = call.bind("x", "y", "duration", duration=0)
    number(duration, "duration")
    return [Hover(codec.point(x, y))]


def _write(codec: PyAutoGui, call: Call, pointer: Point | None) -> Sequence[ActionKind]:
    message, interval = call.bind("message", "interval", interval=0)
    number(interval, "interval")
    return [TypeText(string(message, "message"))]


def _press(codec: PyAutoGui, call: Call, pointer: Point | None) -> Sequence[ActionKind]:
    keys, presses = call.bind("keys", "presses", presses=1)
    chords = [KeyChord((_w3c(key),)) for key in strings(keys, "keys")]
    return chords * _times(presses, "presses", 100)


def _hotkey(codec: PyAutoGui, call: Call, pointer: Point | None) -> Sequence[ActionKind]:
    keys = call.keywords.get("keys", call.arguments)
    if len(keys) == 1 and not isinstance(keys[0], str):
        keys = keys[0]
    return [KeyChord(tuple(_w3c(key) for key in strings(keys, "keys")))]


def _scroll(codec: PyAutoGui, call: Call, pointer: Point | None) -> Sequence[ActionKind]:
    amount = "page" if "page" in call.keywords else "clicks"
    clicks, x, y = call.bind(amount, "x", "y", x=None, y=None)
    at = None if x is None and y is None else codec.point(x, y)
    distance = number(clicks, amount) * SCROLL_PX
    return [
        Scroll(at, distance, 0.0) if call.name.endswith("hscroll") else Scroll(at, 0.0, -distance)
    ]


def _select(codec: PyAutoGui, call: Call, pointer: Point | None) -> Sequence[ActionKind]:
    x, y, value = call.bind("x", "y", "value")
    return [SelectOption(codec.point(x, y), (string(value, "value"),))]


def _swipe(codec: PyAutoGui, call: Call, pointer: Point | None) -> Sequence[ActionKind]:
    ends = call.bind("from_coord", "to_coord")
    for end in ends:
        if not isinstance(end, list | tuple) or len(end) != 2:
            raise DialectError("DIALECT_ARGUMENTS", f"expected two numbers, got {end!r}")
    (x1, y1), (x2, y2) = ends
    return [Swipe(codec.point(x1, y1), codec.point(x2, y2), SWIPE_S)]


def _long_press(codec: PyAutoGui, call: Call, pointer: Point | None) -> Sequence[ActionKind]:
    x, y = call.bind("x", "y")
    return [LongPress(codec.point(x, y), LONG_PRESS_S)]


def _one(name: str, make: Callable[[object], ActionKind], **defaults: object) -> _Parser:
    def parse(codec: PyAutoGui, call: Call, pointer: Point | None) -> Sequence[ActionKind]:
        return [make(*call.bind(name, **defaults))]

    return parse


def _none(kind: ActionKind) -> _Parser:
    def parse(codec: PyAutoGui, call: Call, pointer: Point | None) -> Sequence[ActionKind]:
        call.bind()
        return [kind]

    return parse


def _terminate(status: object) -> ActionKind:
    if status == "success":
        return Done()
    if status == "failure":
        return Fail("infeasible")
    raise DialectError(
        "DIALECT_ARGUMENTS", f"expected success or failure as status, got {status!r}"
    )


_PARSERS: dict[str, _Parser] = {
    "answer": _one("text", lambda value: Answer(string(value, "text"))),
    "browser.select_option": _select,
    "click": _click,
    "doubleClick": _clicker(MouseButton.LEFT, 2),
    "dragTo": _drag,
    "hotkey": _hotkey,
    "hscroll": _scroll,
    "keyDown": _one("key", lambda value: KeyDown(_w3c(string(value, "key")))),
    "keyUp": _one("key", lambda value: KeyUp(_w3c(string(value, "key")))),
    "middleClick": _clicker(MouseButton.MIDDLE, 1),
    "mobile.back": _none(PressSystemButton(SystemButton.BACK)),
    "mobile.home": _none(PressSystemButton(SystemButton.HOME)),
    "mobile.long_press": _long_press,
    "mobile.open_app": _one("app_name", lambda value: OpenApp(string(value, "app_name"))),
    "mobile.swipe": _swipe,
    "mobile.wait": _one("seconds", lambda value: Wait(number(value, "seconds"))),
    "mouseDown": _mover(MouseDown),
    "mouseUp": _mover(MouseUp),
    "moveTo": _move,
    "press": _press,
    "rightClick": _clicker(MouseButton.RIGHT, 1),
    "scroll": _scroll,
    "terminate": _one("status", _terminate, status="success"),
    "time.sleep": _one("seconds", lambda value: Wait(number(value, "seconds"))),
    "tripleClick": _clicker(MouseButton.LEFT, 3),
    "typewrite": _write,
    "write": _write,
}


def _placeless_line(kind: ActionKind) -> str:  # noqa: C901 - one line for each word of the dialect
    match kind:
        case KeyChord((key,)):
            return f"pyautogui.press({_name(key)!r})"
        case KeyChord(keys):
            return f"pyautogui.hotkey({', '.join(repr(_name(key)) for key in keys)})"
        case KeyDown(key):
            return f"pyautogui.keyDown({_name(key)!r})"
        case KeyUp(key):
            return f"pyautogui.keyUp({_name(key)!r})"
        case PressSystemButton(SystemButton.HOME | SystemButton.BACK as button):
            return f"mobile.{button.value}()"
        case OpenApp(name):
            return f"mobile.open_app({name!r})"
        case Wait(duration_s):
            return f"time.sleep({plain(duration_s)})"
        case Answer(text):
            return f"answer({text!r})"
        case Done():
            return "terminate('success')"
        case Fail():  # the reason is for people; the dialect has no room for it
            return "terminate('failure')"
    raise inexpressible("pyautogui", kind)


def _w3c(name: str) -> str:
    if len(name) == 1:
        return name
    known = _ALIASES.get(name.lower(), name.lower())
    if known not in _TO_W3C:
        raise DialectError("DIALECT_ARGUMENTS", f"expected a key name of pyautogui, got {name!r}")
    return _TO_W3C[known]


def _name(key: str) -> str:
    if key in _FROM_W3C:
        return _FROM_W3C[key]
    if len(key) == 1:
        return key
    raise inexpressible("pyautogui", key)

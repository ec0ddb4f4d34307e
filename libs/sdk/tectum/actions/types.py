"""The canonical action space as plain data; `protos/tectum/event/v1/action.proto` says what each
field means.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from tectum.geometry import Box, Size
from tectum.protocol.types import BlobRef


class ResizeRule(enum.StrEnum):
    """How the screenshot, or its crop, became the picture that a model saw."""

    STRETCH = "stretch"
    LETTERBOX = "letterbox"
    PAD_END = "pad_end"


class MouseButton(enum.StrEnum):
    """A button of the mouse."""

    LEFT = "left"
    MIDDLE = "middle"
    RIGHT = "right"


@dataclass(frozen=True, slots=True)
class ScreenPoint:
    """Pixels of the screenshot."""

    x: float
    y: float


@dataclass(frozen=True, slots=True)
class NormalisedPoint:
    """Fractions of the screenshot, 0 to 1."""

    x: float
    y: float


@dataclass(frozen=True, slots=True)
class ModelPoint:
    """Pixels of the picture that a model was shown."""

    x: float
    y: float
    size: Size
    resize: ResizeRule = ResizeRule.STRETCH
    crop: Box | None = None


@dataclass(frozen=True, slots=True)
class ElementPoint:
    """An element of the observation; `offset` is a fraction of its box, None where it receives
    the pointer.
    """

    element_id: str
    offset: NormalisedPoint | None = None


@dataclass(frozen=True, slots=True)
class MarkPoint:
    """A number of a set-of-marks overlay."""

    mark_id: int


PointFrame = ScreenPoint | NormalisedPoint | ModelPoint | ElementPoint | MarkPoint


@dataclass(frozen=True, slots=True)
class Point:
    """A place that carries its frame."""

    frame: PointFrame

    @classmethod
    def screen(cls, x: float, y: float) -> Point:
        """A point in screenshot pixels."""
        return cls(ScreenPoint(x, y))

    @classmethod
    def element(cls, element_id: str) -> Point:
        """Where the element receives the pointer."""
        return cls(ElementPoint(element_id))


@dataclass(frozen=True, slots=True)
class Click:
    at: Point
    button: MouseButton = MouseButton.LEFT
    count: int = 1
    modifiers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Hover:
    at: Point


@dataclass(frozen=True, slots=True)
class MouseDown:
    at: Point
    button: MouseButton = MouseButton.LEFT


@dataclass(frozen=True, slots=True)
class MouseUp:
    at: Point
    button: MouseButton = MouseButton.LEFT


@dataclass(frozen=True, slots=True)
class Drag:
    path: tuple[Point, ...]
    button: MouseButton = MouseButton.LEFT


@dataclass(frozen=True, slots=True)
class Scroll:
    at: Point | None
    dx: float
    dy: float


@dataclass(frozen=True, slots=True)
class SecretRef:
    name: str


@dataclass(frozen=True, slots=True)
class TypeText:
    """Type `source` (a text, or a reference to a secret), into `into` or where the focus is."""

    source: str | SecretRef
    into: Point | None = None
    clear: bool = False
    submit: bool = False


@dataclass(frozen=True, slots=True)
class KeyChord:
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class HoldKey:
    keys: tuple[str, ...]
    duration_s: float


@dataclass(frozen=True, slots=True)
class KeyDown:
    key: str


@dataclass(frozen=True, slots=True)
class KeyUp:
    key: str


@dataclass(frozen=True, slots=True)
class LongPress:
    at: Point
    duration_s: float = 0.8


@dataclass(frozen=True, slots=True)
class Swipe:
    start: Point
    end: Point
    duration_s: float = 0.3


@dataclass(frozen=True, slots=True)
class Pinch:
    at: Point
    scale: float


class SystemButton(enum.StrEnum):
    HOME = "home"
    BACK = "back"
    RECENTS = "recents"


@dataclass(frozen=True, slots=True)
class PressSystemButton:
    button: SystemButton


@dataclass(frozen=True, slots=True)
class OpenApp:
    name: str


class WindowOperation(enum.StrEnum):
    FOCUS = "focus"
    MINIMISE = "minimise"
    MAXIMISE = "maximise"
    RESTORE = "restore"
    CLOSE = "close"


@dataclass(frozen=True, slots=True)
class OperateWindow:
    title: str
    operation: WindowOperation


@dataclass(frozen=True, slots=True)
class SelectOption:
    at: Point
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SelectText:
    start: Point
    end: Point | None = None
    text: str = ""


@dataclass(frozen=True, slots=True)
class Focus:
    at: Point


@dataclass(frozen=True, slots=True)
class ClearField:
    at: Point


@dataclass(frozen=True, slots=True)
class UploadFiles:
    at: Point
    files: tuple[BlobRef, ...]
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class GoTo:
    url: str


class HistoryDirection(enum.StrEnum):
    BACK = "back"
    FORWARD = "forward"
    RELOAD = "reload"


@dataclass(frozen=True, slots=True)
class Navigate:
    direction: HistoryDirection


class TabOperation(enum.StrEnum):
    NEW = "new"
    FOCUS = "focus"
    CLOSE = "close"


@dataclass(frozen=True, slots=True)
class OperateTab:
    operation: TabOperation
    index: int = 0


@dataclass(frozen=True, slots=True)
class SetClipboard:
    text: str


@dataclass(frozen=True, slots=True)
class GetClipboard:
    pass


@dataclass(frozen=True, slots=True)
class AnswerDialog:
    accept: bool
    text: str = ""


@dataclass(frozen=True, slots=True)
class Wait:
    duration_s: float


@dataclass(frozen=True, slots=True)
class WaitUntilStable:
    pass


@dataclass(frozen=True, slots=True)
class Screenshot:
    pass


@dataclass(frozen=True, slots=True)
class Zoom:
    region: Box


@dataclass(frozen=True, slots=True)
class Answer:
    text: str


@dataclass(frozen=True, slots=True)
class AskUser:
    question: str


@dataclass(frozen=True, slots=True)
class Done:
    pass


@dataclass(frozen=True, slots=True)
class Fail:
    reason: str


ActionKind = (
    Click
    | Hover
    | MouseDown
    | MouseUp
    | Drag
    | Scroll
    | TypeText
    | KeyChord
    | HoldKey
    | KeyDown
    | KeyUp
    | LongPress
    | Swipe
    | Pinch
    | PressSystemButton
    | OpenApp
    | OperateWindow
    | SelectOption
    | SelectText
    | Focus
    | ClearField
    | UploadFiles
    | GoTo
    | Navigate
    | OperateTab
    | SetClipboard
    | GetClipboard
    | AnswerDialog
    | Wait
    | WaitUntilStable
    | Screenshot
    | Zoom
    | Answer
    | AskUser
    | Done
    | Fail
)

TERMINAL = (Answer, AskUser, Done, Fail)
"""Actions that end the turn."""


@dataclass(frozen=True, slots=True)
class Action:
    """One canonical action."""

    kind: ActionKind

    @property
    def name(self) -> str:
        """The wire name of its kind, such as `key_chord`."""
        return KIND_NAMES[type(self.kind)]

    @property
    def terminal(self) -> bool:
        """Whether it ends the turn."""
        return isinstance(self.kind, TERMINAL)


def _snake(name: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() and i else c.lower() for i, c in enumerate(name))


KIND_NAMES: dict[type, str] = {kind: _snake(kind.__name__) for kind in ActionKind.__args__}

"""Demonstrations as people write them: a lesson with its environments and their steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = [
    "Demonstration",
    "DemonstrationError",
    "Lesson",
    "Step",
    "Target",
    "parse_lesson",
    "parse_steps",
]

MAX_STEPS = 200
MAX_DEMONSTRATIONS = 20
_MAX_DEPTH = 5


class DemonstrationError(ValueError):
    """A demonstration does not follow the format.

    The message names the place, what was expected, what came.
    """


@dataclass(frozen=True, slots=True)
class Target:
    """Which element a step means, by what a person sees; every field that is given must hold.

    Texts are compared without regard to repeated white space.
    """

    role: str = ""
    name: str = ""
    """The accessible name."""
    text: str = ""
    """The name, the own text or the value, whichever equals it."""
    contains: str = ""
    """A part of the name, the own text or the value."""
    label: str = ""
    """The field's name, or the text that stands before or above it."""
    value: str = ""
    state: tuple[str, ...] = ()
    """States it must have; with a leading `!`, must not have."""
    row: str = ""
    """It stands in the same row as an element with this text."""
    near: Target | None = None
    """Of those that match, the one nearest to this one."""
    within: Target | None = None
    """It is a descendant of this one."""
    after: Target | None = None
    """It comes later in the page than this one."""
    nth: int | None = None
    """Of those that match, in the order of the page: 0 the first, -1 the last."""
    offset: tuple[float, float] | None = None
    """Where in its box to point, as fractions; absent: where it receives the pointer."""
    point: tuple[float, float] | None = None
    """A point in screen pixels instead of an element."""


@dataclass(frozen=True, slots=True)
class Step:
    """One demonstrated action.

    `kind` is one of `KINDS`. `targets` are the elements it names (drag: the path, in order;
    scroll, type and
    the like: none or one). The other fields matter where the kind uses them.
    """

    kind: str
    targets: tuple[Target, ...] = ()
    text: str = ""
    """Typed, answered or selected text, the reason of a fail, the address of a go_to, the name
    of a tab."""
    secret: str = ""
    """Of type: the name of a secret instead of a text."""
    labels: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    dx: float = 0.0
    dy: float = 0.0
    duration_s: float = 0.0
    clear: bool = False
    submit: bool = False
    accept: bool = True
    index: int = 0


@dataclass(frozen=True, slots=True)
class Demonstration:
    """What was done once; `instruction` empty: the environment's own."""

    environment: str
    steps: tuple[Step, ...]
    instruction: str = ""
    source: tuple[Any, ...] = ()
    """The steps as they were written: what the strategy `script` takes."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """Demonstrations of one task."""

    name: str
    demonstrations: tuple[Demonstration, ...]


def parse_lesson(data: object, where: str = "lesson") -> Lesson:
    """Read a lesson from what a YAML or JSON reader returns.

    The form is `{lesson: NAME, demonstrations: [{environment: URI, instruction: TEXT?, steps:
    [STEP, …]}, …]}`.

    Raises:
        DemonstrationError: it does not follow the format.
    """
    top = _mapping(data, where, {"lesson", "demonstrations"})
    name = _text(top.get("lesson"), f"{where}.lesson")
    if not name:
        raise DemonstrationError(f"{where}.lesson: expected a name, got an empty text")
    entries = _list(top.get("demonstrations"), f"{where}.demonstrations", MAX_DEMONSTRATIONS)
    demonstrations = []
    for i, entry in enumerate(entries):
        place = f"{where}.demonstrations[{i}]"
        fields = _mapping(entry, place, {"environment", "instruction", "steps"})
        demonstrations.append(
            Demonstration(
                _text(fields.get("environment"), f"{place}.environment"),
                parse_steps(fields.get("steps"), f"{place}.steps"),
                _text(fields.get("instruction", ""), f"{place}.instruction"),
                tuple(fields["steps"]),
            )
        )
    return Lesson(name, tuple(demonstrations))


def parse_steps(data: object, where: str = "steps") -> tuple[Step, ...]:
    """Read a list of steps, each a mapping of one kind to what it needs, such as `{click:
    {name: Ok}}`.

    Raises:
        DemonstrationError: it does not follow the format.
    """
    return tuple(
        _step(entry, f"{where}[{i}]") for i, entry in enumerate(_list(data, where, MAX_STEPS))
    )


def _step(entry: object, where: str) -> Step:
    if isinstance(entry, str):
        entry = {entry: None}
    if not isinstance(entry, Mapping) or len(entry) != 1:
        raise DemonstrationError(
            f"{where}: expected a mapping with one kind of {sorted(KINDS)}, got {entry!r}"
        )
    kind, body = next(iter(entry.items()))
    if kind not in KINDS:
        raise DemonstrationError(f"{where}: expected a kind of {sorted(KINDS)}, got {kind!r}")
    return KINDS[kind](str(kind), body, f"{where}.{kind}")


def _pointing(kind: str, body: object, where: str) -> Step:
    return Step(kind, (_target(body, where),))


def _typing(kind: str, body: object, where: str) -> Step:
    if isinstance(body, str):
        return Step(kind, text=body)
    fields = _mapping(body, where, {"into", "text", "secret", "clear", "submit"})
    into = fields.get("into")
    return Step(
        kind,
        () if into is None else (_target(into, f"{where}.into"),),
        text=_text(fields.get("text", ""), f"{where}.text"),
        secret=_text(fields.get("secret", ""), f"{where}.secret"),
        clear=_flag(fields.get("clear", False), f"{where}.clear"),
        submit=_flag(fields.get("submit", False), f"{where}.submit"),
    )


def _selecting(kind: str, body: object, where: str) -> Step:
    fields = _mapping(body, where, {"at", "labels", "label"})
    labels = fields.get("labels", [fields["label"]] if "label" in fields else [])
    if isinstance(labels, str):
        labels = [labels]
    texts = tuple(_text(label, f"{where}.labels") for label in _list(labels, where, MAX_STEPS))
    return Step(kind, (_target(fields.get("at"), f"{where}.at"),), labels=texts)


def _select_text(kind: str, body: object, where: str) -> Step:
    fields = _mapping(body, where, {"at", "to", "text"})
    targets = [_target(fields.get("at"), f"{where}.at")]
    if fields.get("to") is not None:
        targets.append(_target(fields["to"], f"{where}.to"))
    return Step(kind, tuple(targets), text=_text(fields.get("text", ""), f"{where}.text"))


def _pressing(kind: str, body: object, where: str) -> Step:
    keys = body.split("+") if isinstance(body, str) and len(body) > 1 else body
    if isinstance(keys, str):
        keys = [keys]
    names = tuple(_text(key, where) for key in _list(keys, where, 8))
    if not names or not all(names):
        raise DemonstrationError(f"{where}: expected keys such as Control+a, got {body!r}")
    return Step(kind, keys=names)


def _dragging(kind: str, body: object, where: str) -> Step:
    if isinstance(body, Mapping):
        fields = _mapping(body, where, {"from", "to", "path", "dx", "dy"})
        if "dx" in fields or "dy" in fields:
            return Step(
                kind,
                (_target(fields.get("from"), f"{where}.from"),),
                dx=_number(fields.get("dx", 0), f"{where}.dx"),
                dy=_number(fields.get("dy", 0), f"{where}.dy"),
            )
        body = fields.get("path", [fields.get("from"), fields.get("to")])
    path = _list(body, where, 256)
    if len(path) < 2:
        raise DemonstrationError(
            f"{where}: expected from and to, or 2 points or more, got {body!r}"
        )
    return Step(kind, tuple(_target(point, f"{where}[{i}]") for i, point in enumerate(path)))


def _scrolling(kind: str, body: object, where: str) -> Step:
    fields = _mapping(body, where, {"at", "dx", "dy"})
    at = fields.get("at")
    return Step(
        kind,
        () if at is None else (_target(at, f"{where}.at"),),
        dx=_number(fields.get("dx", 0), f"{where}.dx"),
        dy=_number(fields.get("dy", 0), f"{where}.dy"),
    )


def _waiting(kind: str, body: object, where: str) -> Step:
    seconds = 0.0 if body is None else _number(body, where)
    if not 0 <= seconds <= 60:
        raise DemonstrationError(f"{where}: expected 0 to 60 seconds, got {body!r}")
    return Step(kind, duration_s=seconds)


def _saying(kind: str, body: object, where: str) -> Step:
    return Step(kind, text="" if body is None else _text(body, where))


def _dialog(kind: str, body: object, where: str) -> Step:
    if isinstance(body, str):
        body = {"accept": body == "accept"}
    fields = _mapping(body, where, {"accept", "text"})
    return Step(
        kind,
        text=_text(fields.get("text", ""), f"{where}.text"),
        accept=_flag(fields.get("accept", True), f"{where}.accept"),
    )


def _tab(kind: str, body: object, where: str) -> Step:
    fields = _mapping(body, where, {"operation", "index"})
    operation = _text(fields.get("operation"), f"{where}.operation")
    if operation not in ("new", "focus", "close"):
        raise DemonstrationError(f"{where}: expected new, focus or close, got {operation!r}")
    return Step(kind, text=operation, index=int(_number(fields.get("index", 0), f"{where}.index")))


KINDS: dict[str, Callable[[str, object, str], Step]] = {
    "click": _pointing,
    "double_click": _pointing,
    "triple_click": _pointing,
    "right_click": _pointing,
    "hover": _pointing,
    "mouse_down": _pointing,
    "mouse_up": _pointing,
    "focus": _pointing,
    "clear": _pointing,
    "type": _typing,
    "select": _selecting,
    "select_text": _select_text,
    "key": _pressing,
    "drag": _dragging,
    "scroll": _scrolling,
    "wait": _waiting,
    "wait_until_stable": _saying,
    "dialog": _dialog,
    "go_to": _saying,
    "back": _saying,
    "forward": _saying,
    "reload": _saying,
    "tab": _tab,
    "copy": _saying,
    "answer": _saying,
    "ask_user": _saying,
    "done": _saying,
    "fail": _saying,
}
"""The kinds of step, each with its reader."""

_TARGET_TEXTS = ("role", "name", "text", "contains", "label", "value", "row")
_TARGET_TARGETS = ("near", "within", "after")
_TARGET_FIELDS = {*_TARGET_TEXTS, *_TARGET_TARGETS, "in", "state", "nth", "offset", "point"}


def _target(data: object, where: str, depth: int = 0) -> Target:
    if isinstance(data, str):
        return Target(text=data)
    if depth > _MAX_DEPTH:
        raise DemonstrationError(f"{where}: expected at most {_MAX_DEPTH} nested targets")
    fields = dict(_mapping(data, where, _TARGET_FIELDS))
    if not fields:
        raise DemonstrationError(f"{where}: expected a target, got an empty mapping")
    if "in" in fields:
        fields["within"] = fields.pop("in")
    values: dict[str, Any] = {
        key: _text(fields[key], f"{where}.{key}") for key in _TARGET_TEXTS if key in fields
    }
    for key in _TARGET_TARGETS:
        if fields.get(key) is not None:
            values[key] = _target(fields[key], f"{where}.{key}", depth + 1)
    if "state" in fields:
        states = [fields["state"]] if isinstance(fields["state"], str) else fields["state"]
        values["state"] = tuple(_text(s, f"{where}.state") for s in _list(states, where, 10))
    if "nth" in fields:
        values["nth"] = int(_number(fields["nth"], f"{where}.nth"))
    for key in {"offset", "point"} & fields.keys():
        values[key] = _pair(fields[key], f"{where}.{key}")
    return Target(**values)


def _pair(data: object, where: str) -> tuple[float, float]:
    pair = _list(data, where, 2)
    if len(pair) != 2:
        raise DemonstrationError(f"{where}: expected [x, y], got {data!r}")
    return (_number(pair[0], where), _number(pair[1], where))


def _mapping(data: object, where: str, known: set[str]) -> Mapping[str, Any]:
    if not isinstance(data, Mapping):
        raise DemonstrationError(f"{where}: expected a mapping of {sorted(known)}, got {data!r}")
    unknown = sorted(str(key) for key in data if key not in known)
    if unknown:
        raise DemonstrationError(f"{where}: expected only {sorted(known)}, got also {unknown}")
    return data


def _list(data: object, where: str, most: int) -> Sequence[Any]:
    if not isinstance(data, Sequence) or isinstance(data, str):
        raise DemonstrationError(f"{where}: expected a list, got {data!r}")
    if len(data) > most:
        raise DemonstrationError(f"{where}: expected at most {most} entries, got {len(data)}")
    return data


def _text(data: object, where: str) -> str:
    if isinstance(data, bool) or not isinstance(data, str | int | float):
        raise DemonstrationError(f"{where}: expected a text, got {data!r}")
    return str(data)


def _number(data: object, where: str) -> float:
    if isinstance(data, bool) or not isinstance(data, int | float):
        raise DemonstrationError(f"{where}: expected a number, got {data!r}")
    return float(data)


def _flag(data: object, where: str) -> bool:
    if not isinstance(data, bool):
        raise DemonstrationError(f"{where}: expected true or false, got {data!r}")
    return data

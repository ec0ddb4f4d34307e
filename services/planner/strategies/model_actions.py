"""The actions that a language model may answer with: their JSON schema, and both ways of translating."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from services.planner.targets import target_of
from tectum.actions import types as a
from tectum.observations.types import Screen

_ANSWER_CHARACTERS = 65_536
_WAIT_S_MAX = 60.0
_SCROLL_PX_MAX = 100_000.0
_KEYS_MAX = 8
_SAID_CHARACTERS = 300

_TEXT = {"type": "string"}
_MAYBE = {"type": ["string", "null"]}
_TEXTS = {"type": "array", "items": {"type": "string"}}
_FLAG = {"type": "boolean"}
_NUMBER = {"type": "number"}

_FIELDS: dict[str, dict[str, Any]] = {
    "click": {"element": _TEXT},
    "double_click": {"element": _TEXT},
    "right_click": {"element": _TEXT},
    "hover": {"element": _TEXT},
    "type_text": {
        "element": _MAYBE,
        "text": _MAYBE,
        "secret": _MAYBE,
        "clear": _FLAG,
        "submit": _FLAG,
    },
    "key_chord": {"keys": _TEXTS},
    "scroll": {"element": _MAYBE, "dx": _NUMBER, "dy": _NUMBER},
    "drag": {"from": _TEXT, "to": _TEXT},
    "select_option": {"element": _TEXT, "labels": _TEXTS},
    "go_to": {"url": _TEXT},
    "navigate": {
        "direction": {"type": "string", "enum": [way.value for way in a.HistoryDirection]}
    },
    "operate_tab": {
        "operation": {"type": "string", "enum": [what.value for what in a.TabOperation]},
        "index": {"type": "integer"},
    },
    "answer_dialog": {"accept": _FLAG, "text": _TEXT},
    "wait": {"seconds": _NUMBER},
    "answer": {"text": _TEXT},
    "ask_user": {"question": _TEXT},
    "done": {},
    "fail": {"reason": _TEXT},
}

IN_WORDS = """\
click, double_click, right_click, hover {element}: point at an element
type_text {element, text, secret, clear, submit}: type text, or the secret of that name (the other \
of the two is null), into an element, or where the focus is for null; clear: empty the field \
first; submit: press Enter afterwards
key_chord {keys}: press keys together, such as ["Control", "a"] or ["Enter"]
scroll {element, dx, dy}: scroll by pixels, dy above 0 is down; element null: the page
drag {from, to}: drag one element onto another
select_option {element, labels}: choose options of a list by their text
go_to {url}: open an address
navigate {direction}: back, forward or reload
operate_tab {operation, index}: new, focus or close a tab, counted from 0
answer_dialog {accept, text}: answer the dialog that the page has open
wait {seconds}: let the page work
answer {text}: the task asks for information and this is it; ends the task
ask_user {question}: only the user can tell what is missing; ends the task
done {}: the task is done; ends it
fail {reason}: the task cannot be done; ends it"""


class AnswerError(Exception):
    """Why an answer cannot be used, in words for the model."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A usable answer."""

    reason: str
    action: a.Action


def _object(properties: Mapping[str, Any]) -> dict[str, Any]:
    # Strict structured output wants every property required and no other one.
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }


SCHEMA: dict[str, Any] = _object(
    {
        "reason": {"type": "string"},
        "action": {
            "anyOf": [
                _object({"kind": {"type": "string", "enum": [kind]}, **fields})
                for kind, fields in _FIELDS.items()
            ]
        },
    }
)
"""Of a whole answer; kept to what strict structured output knows, ranges are checked after it."""

_KIND_FIRST = {
    "type": "object",
    "required": ["reason", "action"],
    "properties": {
        "action": {
            "type": "object",
            "required": ["kind"],
            "properties": {"kind": {"enum": list(_FIELDS)}},
        }
    },
}
"""Asked first, so that a wrong field is told of its own kind and not of all eighteen."""


def read_answer(text: str, screen: Screen, secret_names: Collection[str]) -> Answer:
    """The action that an answer names.

    Raises:
        AnswerError: it is no JSON, not as the schema says, or names what is not on the screen.
    """
    if len(text) > _ANSWER_CHARACTERS:
        raise AnswerError(f"expected at most {_ANSWER_CHARACTERS} characters, got {len(text)}")
    try:
        said: Any = json.loads(text)
    except (ValueError, RecursionError):
        raise AnswerError("expected one JSON object and nothing else") from None
    _validate(said)
    fields = dict(said["action"])
    kind = fields.pop("kind")
    action = a.Action(_READERS[kind](_Fields(fields, screen, secret_names)))
    return Answer(said["reason"], action)


def _validate(said: Any) -> None:
    import jsonschema  # lazily: an idle platform needs none of it

    _raise_first(jsonschema.Draft202012Validator(_KIND_FIRST), said, "")
    (of_kind,) = (
        one
        for one in SCHEMA["properties"]["action"]["anyOf"]
        if one["properties"]["kind"]["enum"] == [said["action"]["kind"]]
    )
    _raise_first(jsonschema.Draft202012Validator(of_kind), said["action"], "action")
    _raise_first(jsonschema.Draft202012Validator(SCHEMA), said, "")


def _raise_first(validator: Any, said: Any, where: str) -> None:
    problem = next(iter(validator.iter_errors(said)), None)
    if problem is not None:
        path = ".".join(filter(None, (where, *map(str, problem.absolute_path))))
        raise AnswerError(f"{path or 'answer'}: {problem.message}"[:_SAID_CHARACTERS])


@dataclass(frozen=True, slots=True)
class _Fields:
    """The fields of one answered action, checked against the screen as they are read."""

    said: Mapping[str, Any]
    screen: Screen
    secret_names: Collection[str]

    def point(self, name: str = "element") -> a.Point:
        wanted = str(self.said[name]).strip().removeprefix("[").removesuffix("]")
        if self.screen.find(wanted) is None:
            raise AnswerError(
                f"action.{name}: expected the id of an element on the screen, got {wanted[:80]!r}"
            )
        return a.Point.element(wanted)

    def point_or_none(self) -> a.Point | None:
        return None if self.said["element"] is None else self.point()

    def text(self, name: str) -> str:
        value = str(self.said[name])
        if not value.strip():
            raise AnswerError(f"action.{name}: expected a text, got none")
        return value

    def texts(self, name: str, most: int) -> tuple[str, ...]:
        values = tuple(self.said[name])
        if not 1 <= len(values) <= most or not all(values):
            raise AnswerError(f"action.{name}: expected 1 to {most} texts, got {len(values)}")
        return values

    def number(self, name: str, low: float, high: float) -> float:
        value = float(self.said[name])
        if not (math.isfinite(value) and low <= value <= high):
            raise AnswerError(f"action.{name}: expected {low:g} to {high:g}, got {value!r}")
        return value


def _typed(said: _Fields) -> a.ActionKind:
    text, secret = said.said["text"], said.said["secret"]
    if (text is None) == (secret is None):
        raise AnswerError("action: expected either text or secret, the other one null")
    if secret is not None and secret not in said.secret_names:
        raise AnswerError(
            f"action.secret: expected one of {sorted(said.secret_names)}, got {secret[:80]!r}"
        )
    source = a.SecretRef(secret) if secret is not None else text
    return a.TypeText(
        source, said.point_or_none(), clear=said.said["clear"], submit=said.said["submit"]
    )


def _scrolled(said: _Fields) -> a.ActionKind:
    dx = said.number("dx", -_SCROLL_PX_MAX, _SCROLL_PX_MAX)
    dy = said.number("dy", -_SCROLL_PX_MAX, _SCROLL_PX_MAX)
    return a.Scroll(said.point_or_none(), dx, dy)


def _tabbed(said: _Fields) -> a.ActionKind:
    index = int(said.number("index", 0, 1000))
    return a.OperateTab(a.TabOperation(said.said["operation"]), index)


_READERS: dict[str, Callable[[_Fields], a.ActionKind]] = {
    "click": lambda said: a.Click(said.point()),
    "double_click": lambda said: a.Click(said.point(), count=2),
    "right_click": lambda said: a.Click(said.point(), button=a.MouseButton.RIGHT),
    "hover": lambda said: a.Hover(said.point()),
    "type_text": _typed,
    "key_chord": lambda said: a.KeyChord(said.texts("keys", _KEYS_MAX)),
    "scroll": _scrolled,
    "drag": lambda said: a.Drag((said.point("from"), said.point("to"))),
    "select_option": lambda said: a.SelectOption(said.point(), said.texts("labels", 1000)),
    "go_to": lambda said: a.GoTo(said.text("url").strip()),
    "navigate": lambda said: a.Navigate(a.HistoryDirection(said.said["direction"])),
    "operate_tab": _tabbed,
    "answer_dialog": lambda said: a.AnswerDialog(said.said["accept"], said.said["text"]),
    "wait": lambda said: a.Wait(said.number("seconds", 0, _WAIT_S_MAX)),
    "answer": lambda said: a.Answer(said.text("text")),
    "ask_user": lambda said: a.AskUser(said.text("question")),
    "done": lambda said: a.Done(),
    "fail": lambda said: a.Fail(said.text("reason")),
}


def as_said(action: a.Action, screen: Screen) -> dict[str, Any] | None:
    """The action as an answer of the schema would say it; None where none can say it."""
    return _said(action.kind, screen)


def _said(kind: a.ActionKind, screen: Screen) -> dict[str, Any] | None:
    match kind:
        case a.Click(at=at):
            name = _click_name(kind)
            return None if name is None else _with(name, element=_id(at, screen))
        case a.Hover(at=at):
            return _with("hover", element=_id(at, screen))
        case a.Focus(at=at):
            return _with("click", element=_id(at, screen))
        case a.SelectOption(at=at, labels=labels):
            return _with("select_option", element=_id(at, screen), labels=list(labels))
        case a.Drag(path=path):
            return _dragged(path)
        case a.ClearField(at=at):
            return _said(a.TypeText("", at, clear=True), screen)
        case a.TypeText(into=into):
            return _type_said(kind, None if into is None else _id(into, screen))
        case a.Scroll(at=at, dx=dx, dy=dy):
            where = None if at is None else _id(at, screen)
            return {"kind": "scroll", "element": where or None, "dx": dx, "dy": dy}
        case _:
            return _plainly_said(kind)


def _plainly_said(kind: a.ActionKind) -> dict[str, Any] | None:
    match kind:
        case a.KeyChord(keys=keys):
            return {"kind": "key_chord", "keys": list(keys)}
        case a.GoTo(url=url):
            return {"kind": "go_to", "url": url}
        case a.Navigate(direction=direction):
            return {"kind": "navigate", "direction": direction.value}
        case a.OperateTab(operation=operation, index=index):
            return {"kind": "operate_tab", "operation": operation.value, "index": index}
        case a.AnswerDialog(accept=accept, text=text):
            return {"kind": "answer_dialog", "accept": accept, "text": text}
        case a.Wait(duration_s=seconds):
            return {"kind": "wait", "seconds": seconds}
        case a.WaitUntilStable():
            return {"kind": "wait", "seconds": 0}
        case _:
            return _end_said(kind)


def _end_said(kind: a.ActionKind) -> dict[str, Any] | None:
    match kind:
        case a.Answer(text=text):
            return {"kind": "answer", "text": text}
        case a.AskUser(question=question):
            return {"kind": "ask_user", "question": question}
        case a.Done():
            return {"kind": "done"}
        case a.Fail(reason=reason):
            return {"kind": "fail", "reason": reason}
        case _:
            return None


def _click_name(click: a.Click) -> str | None:
    if click.modifiers:
        return None
    known = {
        (a.MouseButton.LEFT, 1): "click",
        (a.MouseButton.LEFT, 2): "double_click",
        (a.MouseButton.RIGHT, 1): "right_click",
    }
    return known.get((click.button, click.count))


def _type_said(kind: a.TypeText, element: str | None) -> dict[str, Any] | None:
    if element == "":
        return None
    secret = kind.source.name if isinstance(kind.source, a.SecretRef) else None
    return {
        "kind": "type_text",
        "element": element,
        "text": kind.source if secret is None else None,
        "secret": secret,
        "clear": kind.clear,
        "submit": kind.submit,
    }


def _dragged(path: tuple[a.Point, ...]) -> dict[str, Any] | None:
    # From one element to another alone: what a place between elements was for, no id tells.
    ends = [point.frame for point in path]
    if len(ends) != 2 or not all(isinstance(end, a.ElementPoint) for end in ends):
        return None
    start, end = (end.element_id for end in ends if isinstance(end, a.ElementPoint))
    return {"kind": "drag", "from": start, "to": end}


def _with(kind: str, *, element: str, **fields: Any) -> dict[str, Any] | None:
    return {"kind": kind, "element": element, **fields} if element else None


def _id(point: a.Point, screen: Screen) -> str:
    """The element that a point is on, empty where it is on none, or where in it matters."""
    if isinstance(point.frame, a.ElementPoint) and point.frame.offset is not None:
        return ""
    target = target_of(a.Action(a.Hover(point)), screen)
    return target.element_id

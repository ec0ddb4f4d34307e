"""Actions on fields in a browser: typing, clearing, choosing, selecting, focusing."""

from __future__ import annotations

import re
from typing import Any

from services.gui.environments.hand import Hand, Place, Refused
from services.gui.environments.keys import chord
from services.gui.environments.pointer import click_at, press, release
from tectum.actions.types import (
    ClearField,
    ElementPoint,
    Focus,
    NormalisedPoint,
    Point,
    SecretRef,
    SelectOption,
    SelectText,
    TypeText,
)

_TEXT_MAX = 65_536

_SET_FORMATS = {
    "date": re.compile(r"\d{4}-\d{2}-\d{2}"),
    "time": re.compile(r"\d{2}:\d{2}(:\d{2}(\.\d{1,3})?)?"),
    "month": re.compile(r"\d{4}-\d{2}"),
    "week": re.compile(r"\d{4}-W\d{2}"),
    "datetime-local": re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(:\d{2})?"),
    "color": re.compile(r"#[0-9a-fA-F]{6}"),
    "range": re.compile(r"-?\d+(\.\d+)?"),
}
"""What is typed into such a field in its own format (HTML, section 4.10.5.1) is set at once."""

_LEFT = NormalisedPoint(0.2, 0.5)
"""Where a person clicks into a number field."""


async def type_text(hand: Hand, kind: TypeText) -> str:
    """Type a text or a secret, key by key."""
    text = _text_of(hand, kind)
    field = await _focus_to_type(hand, kind)
    if isinstance(kind.source, SecretRef):
        await hand.tab.world.call("guardFocused")
    elif field is not None and field["secret"] and not hand.allow_literal_secrets:
        raise Refused(
            "SECRET_NEEDS_REFERENCE",
            "expected a secret's name for a secret field, got the text itself",
        )
    hand.quiet_ms = hand.settings.typed_quiet_ms if field and field["suggests"] else 0.0
    if field is not None and _is_set_at_once(field, text):
        await _set_value(hand, field["id"], text)
    else:
        if kind.clear:
            await _empty(hand)
        for character in text:
            if not await hand.input(hand.tab.page.keyboard.type(character)):
                return ""
    if kind.submit:
        await chord(hand, ["Enter"])
    return ""


def _text_of(hand: Hand, kind: TypeText) -> str:
    if isinstance(kind.source, SecretRef):
        if kind.source.name not in hand.secrets:
            raise Refused(
                "SECRET_UNKNOWN",
                f"expected one of {sorted(hand.secrets)}, got {kind.source.name!r}",
            )
        text = hand.secrets[kind.source.name]
    else:
        text = kind.source
    if len(text) > _TEXT_MAX:
        raise Refused(
            "ACTION_MALFORMED", f"expected at most {_TEXT_MAX} characters, got {len(text)}"
        )
    return text


async def _focus_to_type(hand: Hand, kind: TypeText) -> dict[str, Any] | None:
    """Put the focus where the text shall go, and say what field that is."""
    world = hand.tab.world
    focused: dict[str, Any] | None
    if kind.into is None:
        focused = await world.call("focusedField")
        return focused
    place = await hand.reach(kind.into)
    meant = await _field_at(hand, place)
    if meant is not None and meant["secret"] and _literal(kind) and not hand.allow_literal_secrets:
        # Refused before anything is touched.
        return meant
    if meant is not None and meant["type"] in _SET_FORMATS:
        # A click would open a picker or focus a middle part.
        await hand.input(world.call("focus", meant["id"]))
        return meant
    if meant is not None and meant["type"] == "number" and place.element_id:
        # In the middle of a narrow one lie the arrows that the pointer brings up.
        place = await hand.reach(Point(ElementPoint(place.element_id, _LEFT)))
    await click_at(hand, place)
    focused = await world.call("focusedField")
    if focused is None or not focused["editable"]:
        what = "nothing" if focused is None else f"a {focused['role']}"
        raise Refused("NOT_EDITABLE", f"expected a field to type into, got the focus on {what}")
    return focused


def _literal(kind: TypeText) -> bool:
    return isinstance(kind.source, str)


async def _field_at(hand: Hand, place: Place) -> dict[str, Any] | None:
    found: dict[str, Any] | None
    if place.element_id:
        found = await hand.tab.world.call("field", place.element_id)
        if found is not None and found["editable"]:
            return found
    found = await hand.tab.world.call("fieldAt", place.x, place.y)
    return found


def _is_set_at_once(field: dict[str, Any], text: str) -> bool:
    form = _SET_FORMATS.get(field["type"])
    return form is not None and form.fullmatch(text) is not None


async def _set_value(hand: Hand, element_id: str, text: str) -> None:
    found: dict[str, Any] = {}

    async def put() -> None:
        found.update(await hand.tab.world.call("setValue", element_id, text))

    await hand.input(put())
    if "error" in found:
        limits = {key: found[key] for key in ("min", "max", "step") if found.get(key)}
        raise Refused(
            found["error"], f"a {found.get('type', '')} field refused its value; limits: {limits}"
        )


async def _empty(hand: Hand) -> None:
    await hand.input(hand.tab.world.call("selectAllIn"))
    await chord(hand, ["Delete"])


async def clear_field(hand: Hand, kind: ClearField) -> str:
    """Empty a field as a person does: select all, delete."""
    await _focus_to_type(hand, TypeText(SecretRef(""), kind.at))
    field = await hand.tab.world.call("focusedField")
    if (
        field is not None
        and field["type"] in _SET_FORMATS
        and field["type"]
        not in (
            "range",
            "color",
        )
    ):
        await _set_value(hand, field["id"], "")
    else:
        await _empty(hand)
    return ""


async def focus(hand: Hand, kind: Focus) -> str:
    """Give the focus without a click."""
    if isinstance(kind.at.frame, ElementPoint):
        element_id = kind.at.frame.element_id
    else:
        place = await hand.reach(kind.at)
        element_id = await hand.tab.world.call("idAt", place.x, place.y)
    if await hand.tab.world.call("field", element_id) is None:
        raise Refused("ELEMENT_GONE", f"element {element_id!r} is not in the page")
    await hand.input(hand.tab.world.call("focus", element_id))
    return ""


async def select_option(hand: Hand, kind: SelectOption) -> str:
    """Choose options of a list box by their labels."""
    if not kind.labels:
        raise Refused("ACTION_MALFORMED", "expected at least one label, got none")
    world = hand.tab.world
    place = await hand.reach(kind.at)
    element_id = place.element_id or await world.call("listAt", place.x, place.y)
    found: dict[str, Any] = {}

    async def put() -> None:
        found.update(await world.call("choose", element_id, list(kind.labels)))

    await hand.input(put())
    match found.get("error"):
        case None:
            return ""
        case "OPTION_UNKNOWN":
            raise Refused(
                "OPTION_UNKNOWN",
                f"expected one of {found['known']}, got {found['missing']!r}",
            )
        case "NOT_A_LIST":
            raise Refused("NOT_A_LIST", "expected a list box (select), got another element")
        case reason:
            raise Refused(str(reason), f"cannot choose {kind.labels!r} there")


async def select_text(hand: Hand, kind: SelectText) -> str:
    """Select by dragging over the text, as a person does."""
    world = hand.tab.world
    if kind.end is None:
        place = await hand.reach(kind.start)
        element_id = place.element_id or await world.call("idAt", place.x, place.y)
        found = await world.call("selectPhrase", element_id, kind.text)
        if "error" in found:
            raise Refused(found["error"], f"expected the text {kind.text!r} in the element")
        if "done" in found:
            return ""
        start, end = Place(*found["from"]), Place(*found["to"])
    else:
        start, end = await _edge(hand, kind.start, 0.0), await _edge(hand, kind.end, 1.0)
    await hand.move(start)
    await press(hand, "left")
    await hand.move(Place((start.x + end.x) / 2, (start.y + end.y) / 2))
    await hand.move(end)
    await release(hand, "left")
    return ""


async def _edge(hand: Hand, point: Point, fraction: float) -> Place:
    """The place itself; of an element without an offset its beginning (0) or its end (1)."""
    if not isinstance(point.frame, ElementPoint) or point.frame.offset is not None:
        return await hand.reach(point)
    await hand.reach(point)
    whole = await hand.tab.world.call("whole", point.frame.element_id)
    rect = whole["first"] if fraction == 0.0 else whole["last"]
    return Place(
        rect["left"] + (0.5 if fraction == 0.0 else rect["width"] - 0.01),
        rect["top"] + rect["height"] / 2,
    )

"""Small screens and exemplars, written as a person would list what is on a page."""

from __future__ import annotations

from collections.abc import Sequence

from tectum.actions import types as a
from tectum.actions.types import Action, ActionKind, Point
from tectum.geometry import Box, Size
from tectum.observations.types import Element, Screen
from tectum.plugins import Exemplar

Row = tuple[str, str] | tuple[str, str, str]
"""Role and name, perhaps a value."""


def screen(*rows: Row | Element, focused: str = "", number: int = 0) -> Screen:
    """Rows one below another; an element's id is its place from 0, unless it is given whole."""
    elements = []
    for place, row in enumerate(rows):
        if isinstance(row, Element):
            elements.append(row)
            continue
        box = Box(0, 20.0 * place, 100, 16)
        value = row[2] if len(row) > 2 else ""
        text = row[1] if row[0] in ("text", "cell") else ""
        name = "" if text else row[1]
        elements.append(Element(str(place), row[0], name, value, (), box, text))
    return Screen(f"o{number}", Size(160, 400), elements=tuple(elements), focused_id=focused)


def click(element_id: str) -> ActionKind:
    return a.Click(Point.element(element_id))


def typed(text: str, element_id: str) -> ActionKind:
    return a.TypeText(text, Point.element(element_id))


def exemplar(
    number: int,
    instruction: str,
    steps: Sequence[tuple[Screen, ActionKind]],
    last: Screen | None = None,
) -> Exemplar:
    return Exemplar(
        f"x{number}", "lesson", instruction, tuple((s, Action(k)) for s, k in steps), last
    )

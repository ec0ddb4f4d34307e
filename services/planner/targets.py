"""Which element of a screen an action touches, for the rules of the guard."""

from __future__ import annotations

from tectum.actions import types as a
from tectum.observations.types import Element, Screen
from tectum.protocol.messages import Target


def target_of(action: a.Action, screen: Screen) -> Target:
    """The element and page that the action touches; without element where it points at none.

    A point is that of the smallest element whose box contains it; a drag touches where it begins.
    """
    element = _element(point_of(action.kind), screen)
    if element is None and isinstance(action.kind, a.TypeText | a.KeyChord):
        element = screen.find(screen.focused_id)
    if element is None:
        return Target(url=screen.url)
    return Target(
        element_id=element.id,
        role=element.role,
        name=element.name or element.text,
        url=screen.url,
        secret="secret" in element.states,
    )


def point_of(kind: a.ActionKind) -> a.Point | None:
    """Where an action points first, None where it points nowhere."""
    if isinstance(kind, a.Drag):
        return kind.path[0] if kind.path else None
    if isinstance(kind, a.TypeText):
        return kind.into
    if isinstance(kind, a.Swipe | a.SelectText):
        return kind.start
    at = getattr(kind, "at", None)
    return at if isinstance(at, a.Point) else None


def _element(point: a.Point | None, screen: Screen) -> Element | None:
    if point is None:
        return None
    if isinstance(point.frame, a.ElementPoint):
        return screen.find(point.frame.element_id)
    if isinstance(point.frame, a.ScreenPoint):
        x, y = point.frame.x, point.frame.y
    elif isinstance(point.frame, a.NormalisedPoint):
        x, y = point.frame.x * screen.size.width, point.frame.y * screen.size.height
    else:
        return None
    hit = [
        (e.box.width * e.box.height, e) for e in screen.elements if e.box and e.box.contains(x, y)
    ]
    return min(hit, key=lambda pair: pair[0])[1] if hit else None

"""Whether an action can mean anything at all, as far as its plan alone tells."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

from services.guard.domain.facts import origin_of
from tectum.actions.types import (
    ActionKind,
    Click,
    Drag,
    ElementPoint,
    GoTo,
    HoldKey,
    KeyChord,
    KeyDown,
    KeyUp,
    LongPress,
    MarkPoint,
    ModelPoint,
    NormalisedPoint,
    Pinch,
    Point,
    ScreenPoint,
    Scroll,
    SecretRef,
    SelectOption,
    SelectText,
    Swipe,
    TypeText,
    UploadFiles,
    Wait,
    Zoom,
)
from tectum.geometry import Box
from tectum.protocol.messages import Plan

HOLD_S_MAX = 10.0
WAIT_S_MAX = 60.0
TEXT_CHARACTERS_MAX = 65_536
PATH_POINTS_MAX = 256
KEYS_MAX = 8
SCROLL_PX_MAX = 100_000.0


def infeasibility(plan: Plan) -> str:
    """Return what is wrong with the plan's action, for a person; empty where nothing is.

    The screen itself is not in a plan: whether a point lies on it is the executor's to check. Here
    stands what is wrong on every screen.
    """
    kind = plan.action.kind
    for problem in _problems(plan, kind):
        return problem
    return ""


def _problems(plan: Plan, kind: ActionKind) -> Iterator[str]:
    points = list(_points(kind))
    for point in points:
        yield from _point(point)
    yield from _named(plan, points)
    check = _CHECKS.get(type(kind))
    if check is not None:
        yield from check(kind)


def _points(kind: ActionKind) -> Iterator[Point]:
    """The places that the action names, the first being the one that its target describes."""
    match kind:
        case Drag(path=path):
            yield from path
        case TypeText(into=Point() as point):
            yield point
        case Swipe(start=start, end=end):
            yield from (start, end)
        case SelectText(start=start, end=end):
            yield from (start,) if end is None else (start, end)
        case _:
            at = getattr(kind, "at", None)
            if isinstance(at, Point):
                yield at


def _named(plan: Plan, points: list[Point]) -> Iterator[str]:
    named = [p.frame for p in points if isinstance(p.frame, ElementPoint | MarkPoint)]
    if named and not plan.observation_id:
        yield "expected the observation that names the element, got none"
    first = points[0].frame if points else None
    if isinstance(first, ElementPoint):
        target = plan.target.element_id if plan.target is not None else ""
        if target != first.element_id:
            yield (
                f"expected an element that the observation names, got {first.element_id!r} "
                f"with target {target!r}"
            )


def _point(point: Point) -> Iterator[str]:
    match point.frame:
        case ScreenPoint(x, y):
            if not (_in(x, 0, math.inf) and _in(y, 0, math.inf)):
                yield f"expected a point at or right of and below 0, 0, got {x!r}, {y!r}"
        case NormalisedPoint(x, y):
            yield from _fraction(x, y)
        case ModelPoint():
            yield from _model_point(point.frame)
        case ElementPoint(element_id, offset):
            if not element_id:
                yield "expected an element id, got ''"
            if offset is not None:
                yield from _fraction(offset.x, offset.y)
        case MarkPoint():
            return


def _model_point(at: ModelPoint) -> Iterator[str]:
    if not (_in(at.x, 0, at.size.width) and _in(at.y, 0, at.size.height)):
        yield (
            f"expected a point inside the model's picture of {at.size.width}x{at.size.height}, "
            f"got {at.x!r}, {at.y!r}"
        )
    if at.crop is not None:
        yield from _box(at.crop, "crop")


def _fraction(x: float, y: float) -> Iterator[str]:
    if not (_in(x, 0, 1) and _in(y, 0, 1)):
        yield f"expected fractions from 0 to 1, got {x!r}, {y!r}"


def _box(box: Box, what: str) -> Iterator[str]:
    sides = (box.x, box.y, box.width, box.height)
    if not all(map(math.isfinite, sides)) or min(sides) < 0 or box.width <= 0 or box.height <= 0:
        yield f"expected a {what} with an area at or right of and below 0, 0, got {box}"


def _in(value: float, low: float, high: float) -> bool:
    return math.isfinite(value) and low <= value <= high


def _click(kind: Click) -> Iterator[str]:
    if not 1 <= kind.count <= 3:
        yield f"expected 1 to 3 clicks, got {kind.count}"


def _drag(kind: Drag) -> Iterator[str]:
    if not 2 <= len(kind.path) <= PATH_POINTS_MAX:
        yield f"expected a path of 2 to {PATH_POINTS_MAX} points, got {len(kind.path)}"


def _scroll(kind: Scroll) -> Iterator[str]:
    if not all(_in(d, -SCROLL_PX_MAX, SCROLL_PX_MAX) for d in (kind.dx, kind.dy)):
        yield f"expected to scroll at most {SCROLL_PX_MAX:.0f} pixels, got {kind.dx!r}, {kind.dy!r}"


def _type(kind: TypeText) -> Iterator[str]:
    if isinstance(kind.source, SecretRef):
        if not kind.source.name:
            yield "expected the name of a secret, got ''"
    elif len(kind.source) > TEXT_CHARACTERS_MAX:
        yield f"expected at most {TEXT_CHARACTERS_MAX} characters, got {len(kind.source)}"


def _keys(kind: KeyChord | HoldKey) -> Iterator[str]:
    if not 1 <= len(kind.keys) <= KEYS_MAX or not all(kind.keys):
        yield f"expected 1 to {KEYS_MAX} keys with names, got {len(kind.keys)}"
    if isinstance(kind, HoldKey):
        yield from _hold(kind)


def _key(kind: KeyDown | KeyUp) -> Iterator[str]:
    if not kind.key:
        yield "expected the name of a key, got ''"


def _hold(kind: HoldKey | LongPress | Swipe) -> Iterator[str]:
    if not _in(kind.duration_s, 0, HOLD_S_MAX):
        yield f"expected a duration of 0 to {HOLD_S_MAX:.0f} s, got {kind.duration_s!r}"


def _wait(kind: Wait) -> Iterator[str]:
    if not _in(kind.duration_s, 0, WAIT_S_MAX):
        yield f"expected a wait of 0 to {WAIT_S_MAX:.0f} s, got {kind.duration_s!r}"


def _pinch(kind: Pinch) -> Iterator[str]:
    if not _in(kind.scale, 0.01, 100):
        yield f"expected a scale from 0.01 to 100, got {kind.scale!r}"


def _select(kind: SelectOption) -> Iterator[str]:
    if not kind.labels:
        yield "expected at least one label, got none"


def _upload(kind: UploadFiles) -> Iterator[str]:
    if not kind.files or len(kind.files) != len(kind.names):
        yield f"expected files with a name each, got {len(kind.files)} and {len(kind.names)}"


def _go_to(kind: GoTo) -> Iterator[str]:
    if origin_of(kind.url) is None:
        yield f"expected a URL with a scheme, got {kind.url!r}"


def _zoom(kind: Zoom) -> Iterator[str]:
    yield from _box(kind.region, "region")


_CHECKS: dict[type, Callable[[Any], Iterator[str]]] = {
    Click: _click,
    Drag: _drag,
    Scroll: _scroll,
    TypeText: _type,
    KeyChord: _keys,
    HoldKey: _keys,
    KeyDown: _key,
    KeyUp: _key,
    LongPress: _hold,
    Swipe: _hold,
    Wait: _wait,
    Pinch: _pinch,
    SelectOption: _select,
    UploadFiles: _upload,
    GoTo: _go_to,
    Zoom: _zoom,
}

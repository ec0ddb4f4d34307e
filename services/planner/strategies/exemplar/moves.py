"""Demonstrated actions taken apart: what was done, to which elements, with which texts; and put
together again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from services.planner.strategies.exemplar.template import Slots
from services.planner.strategies.views import View
from tectum.actions import types as a
from tectum.actions.types import ActionKind, Point
from tectum.plugins import Exemplar

DISMISSALS = (
    "cancel", "close", "dismiss", "no", "no thanks", "not now", "later", "skip", "x", "\u00d7", "ok", "okay",
)  # fmt: skip
"""What a person presses to be rid of a window that is in the way; what agrees to nothing comes
first.
"""

_IDLE = (a.Wait, a.WaitUntilStable, a.Screenshot, a.Zoom, a.Done)
"""Actions that show nothing of how the task is done."""

LINES = "\n"
"""Joins several labels into one text."""

Params = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Move:
    """One action: its kind and what is fixed in it, the elements it names, and the texts in it."""

    kind: type
    params: Params
    positions: tuple[int, ...]
    texts: tuple[str, ...]
    length: float = 0.0
    """Of a drag that goes nowhere in particular: how far; screen pixels."""


DIRECTIONS: Mapping[str, tuple[int, int]] = {
    "left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1),
}  # fmt: skip
"""Words for directions on a screen."""


@dataclass(frozen=True)
class Demonstration:
    """An exemplar with each screen indexed; `views` has one more than `moves` where the end was
    seen.
    """

    exemplar_id: str
    instruction: str
    slots: Slots
    moves: tuple[Move, ...]
    views: tuple[View, ...]


def demonstration(exemplar: Exemplar, slots: Slots, views: dict[str, View]) -> Demonstration:
    """Take an exemplar apart; `views` keeps what is indexed already, by observation."""
    moves: list[Move] = []
    seen: list[View] = []
    for number, (screen, action) in enumerate(exemplar.steps):
        if isinstance(action.kind, _IDLE):
            continue
        view = views.setdefault(f"{exemplar.exemplar_id}/{number}", View(screen))
        seen.append(view)
        moves.append(_apart(action.kind, view))
    if exemplar.last_screen is not None:
        seen.append(views.setdefault(f"{exemplar.exemplar_id}/last", View(exemplar.last_screen)))
    return Demonstration(
        exemplar.exemplar_id, exemplar.instruction, slots, tuple(moves), tuple(seen)
    )


def calm(demo: Demonstration) -> Demonstration:
    """The demonstration without what only got a window out of the way."""
    kept = [
        i
        for i, move in enumerate(demo.moves)
        if not (
            move.kind is a.Click
            and i > 0
            and move.positions
            and demo.views[i].elements[move.positions[0]].id not in demo.views[i - 1].position
            and any(said in DISMISSALS for said in demo.views[i].said[move.positions[0]])
        )
    ]
    moves = tuple(demo.moves[i] for i in kept)
    ends = demo.views[len(demo.moves) :]
    return replace(demo, moves=moves, views=(*(demo.views[i] for i in kept), *ends))


def _apart(kind: ActionKind, view: View) -> Move:
    if isinstance(kind, a.Drag) and (thrown := _thrown(kind, view)) is not None:
        return thrown
    points, params, texts = _PARTS[type(kind)](kind) if type(kind) in _PARTS else ((), (kind,), ())
    positions: list[int] = []
    frames: list[object] = []
    for point in points:
        position, where = _place(point, view)
        if position is None:
            frames.append(point)
        else:
            positions.append(position)
            frames.append(where)
    return Move(type(kind), (*params, tuple(frames)), tuple(positions), texts)


def _thrown(kind: a.Drag, view: View) -> Move | None:
    """A drag to a bare point, as a direction and a length; None for one that ends on something."""
    start, end = kind.path[0], kind.path[-1].frame
    position, where = _place(start, view)
    if len(kind.path) != 2 or position is None or not isinstance(end, a.ScreenPoint):
        return None
    box = view.elements[position].box
    if box is None:
        return None
    offset = where if isinstance(where, a.NormalisedPoint) else a.NormalisedPoint(0.5, 0.5)
    dx = end.x - box.x - offset.x * box.width
    dy = end.y - box.y - offset.y * box.height
    length = max(abs(dx), abs(dy))
    if min(abs(dx), abs(dy)) > 0.2 * length:
        return None
    ways = {word: x * dx + y * dy for word, (x, y) in DIRECTIONS.items()}
    way = max(ways, key=lambda word: ways[word])
    return Move(type(kind), (kind.button, "thrown", (where,)), (position,), (way,), length)


def throw(params: Params, element_id: str, way: str, length: float, view: View) -> ActionKind:
    """The drag of an element in a direction, by a length, on this screen."""
    button = params[0] if isinstance(params[0], a.MouseButton) else a.MouseButton.LEFT
    frames = params[-1]
    where = frames[0] if isinstance(frames, tuple) else None
    inside = where if isinstance(where, a.NormalisedPoint) else None
    box = view.elements[view.position[element_id]].box
    x, y = DIRECTIONS.get(way, (0, 0))
    offset = inside or a.NormalisedPoint(0.5, 0.5)
    begin = Point(a.ElementPoint(element_id, inside))
    if box is None:
        return a.Drag((begin, begin), button)
    end = Point.screen(
        min(max(box.x + offset.x * box.width + x * length, 0.0), view.screen.size.width - 1.0),
        min(max(box.y + offset.y * box.height + y * length, 0.0), view.screen.size.height - 1.0),
    )
    return a.Drag((begin, end), button)


def _place(point: Point, view: View) -> tuple[int | None, object]:
    """The element that a point names, and where in it; a bare point names the smallest element
    under it.
    """
    frame = point.frame
    if isinstance(frame, a.ElementPoint):
        return view.position.get(frame.element_id), frame.offset
    if not isinstance(frame, a.ScreenPoint):
        return None, None
    hit = [
        (e.box.width * e.box.height, i, e.box)
        for i, e in enumerate(view.elements)
        if e.box is not None and e.box.contains(frame.x, frame.y)
    ]
    if not hit:
        return None, None
    _, i, box = min(hit, key=lambda found: found[:2])
    if view.elements[i].role == "canvas" or box.width > 60 or box.height > 60:
        where = a.NormalisedPoint(
            round((frame.x - box.x) / box.width, 3), round((frame.y - box.y) / box.height, 3)
        )
        return i, where
    return i, None


_Parts = tuple[tuple[Point, ...], Params, tuple[str, ...]]


def _some(point: Point | None) -> tuple[Point, ...]:
    return () if point is None else (point,)


def _type_parts(kind: a.TypeText) -> _Parts:
    secret = isinstance(kind.source, a.SecretRef)
    text = kind.source.name if isinstance(kind.source, a.SecretRef) else kind.source
    return (_some(kind.into), (kind.clear, kind.submit, secret, len(_some(kind.into))), (text,))


_PARTS: dict[type, Callable[..., _Parts]] = {
    a.Click: lambda k: ((k.at,), (k.button, k.count, k.modifiers), ()),
    a.Hover: lambda k: ((k.at,), (), ()),
    a.MouseDown: lambda k: ((k.at,), (k.button,), ()),
    a.MouseUp: lambda k: ((k.at,), (k.button,), ()),
    a.LongPress: lambda k: ((k.at,), (k.duration_s,), ()),
    a.Focus: lambda k: ((k.at,), (), ()),
    a.ClearField: lambda k: ((k.at,), (), ()),
    a.Drag: lambda k: (k.path, (k.button, len(k.path)), ()),
    a.Scroll: lambda k: (_some(k.at), (k.dx, k.dy), ()),
    a.TypeText: _type_parts,
    a.KeyChord: lambda k: ((), (), k.keys),
    a.SelectOption: lambda k: ((k.at,), (), (LINES.join(k.labels),)),
    a.SelectText: lambda k: ((k.start, *_some(k.end)), (), (k.text,) if k.text else ()),
    a.GoTo: lambda k: ((), (), (k.url,)),
    a.SetClipboard: lambda k: ((), (), (k.text,)),
    a.AnswerDialog: lambda k: ((), (k.accept,), (k.text,)),
    a.Answer: lambda k: ((), (), (k.text,)),
    a.AskUser: lambda k: ((), (), (k.question,)),
}


def together(
    kind: type, params: Params, element_ids: Sequence[str], texts: Sequence[str]
) -> ActionKind:
    """The action of a kind on these elements with these texts: the reverse of taking it apart."""
    if kind not in _PARTS:
        (whole, _) = params
        return whole  # type: ignore[return-value]
    frames = params[-1]
    ids = iter(element_ids)
    points = [
        frame if isinstance(frame, Point) else Point(a.ElementPoint(next(ids), frame))
        for frame in (frames if isinstance(frames, tuple) else ())
    ]
    return _BUILDERS[kind](params, points, list(texts))


def _build_type(p: Params, at: list[Point], texts: list[str]) -> ActionKind:
    source = a.SecretRef(texts[0]) if p[2] else texts[0]
    return a.TypeText(source, at[0] if at else None, clear=bool(p[0]), submit=bool(p[1]))


_Build = Callable[[Params, list[Point], list[str]], ActionKind]

_BUILDERS: dict[type, _Build] = {
    a.Click: lambda p, at, t: a.Click(at[0], p[0], p[1], p[2]),  # type: ignore[arg-type]
    a.Hover: lambda p, at, t: a.Hover(at[0]),
    a.MouseDown: lambda p, at, t: a.MouseDown(at[0], p[0]),  # type: ignore[arg-type]
    a.MouseUp: lambda p, at, t: a.MouseUp(at[0], p[0]),  # type: ignore[arg-type]
    a.LongPress: lambda p, at, t: a.LongPress(at[0], p[0]),  # type: ignore[arg-type]
    a.Focus: lambda p, at, t: a.Focus(at[0]),
    a.ClearField: lambda p, at, t: a.ClearField(at[0]),
    a.Drag: lambda p, at, t: a.Drag(tuple(at), p[0]),  # type: ignore[arg-type]
    a.Scroll: lambda p, at, t: a.Scroll(at[0] if at else None, p[0], p[1]),  # type: ignore[arg-type]
    a.TypeText: _build_type,
    a.KeyChord: lambda p, at, t: a.KeyChord(tuple(t)),
    a.SelectOption: lambda p, at, t: a.SelectOption(at[0], tuple(t[0].split(LINES))),
    a.SelectText: lambda p, at, t: a.SelectText(
        at[0], at[1] if len(at) > 1 else None, t[0] if t else ""
    ),
    a.GoTo: lambda p, at, t: a.GoTo(t[0]),
    a.SetClipboard: lambda p, at, t: a.SetClipboard(t[0]),
    a.AnswerDialog: lambda p, at, t: a.AnswerDialog(bool(p[0]), t[0]),
    a.Answer: lambda p, at, t: a.Answer(t[0]),
    a.AskUser: lambda p, at, t: a.AskUser(t[0]),
}

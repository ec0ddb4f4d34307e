"""What an expression is evaluated on: a screen, the slots of the instruction, and what was done so
far.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from services.planner.strategies.exemplar.template import Slots
from services.planner.strategies.views import FIELD_ROLES, View
from tectum.observations.types import Element

_PASSING = ("focused", "offscreen", "covered", "expanded", "collapsed")
"""States that come and go with what is done, so that they never tell which element is meant."""

_WRITABLE = frozenset({"textbox", "searchbox"})

_RANGE = 40
"""Of the elements that stand in a relation, only so many nearest ones count."""


@dataclass(frozen=True, slots=True)
class Scene:
    """One moment of a turn, or of a demonstration."""

    view: View
    slots: Slots
    item: str | None = None
    """In a loop over a list: the present entry."""
    turn: int = 0
    """In a loop: how many times the body was done."""
    acted: frozenset[str] = frozenset()
    """In a loop: ids of what its body acted on so far."""
    before: View | None = None
    last_id: str = ""
    """What the step before acted on."""
    used: frozenset[str] = frozenset()
    """What the elements say that were acted on so far; without case."""
    target: int | None = None
    """The element that a text is for."""
    cache: dict[object, object] = field(default_factory=dict, compare=False, hash=False)


@dataclass(frozen=True, slots=True)
class Filter:
    """Elements of a role, or all; with a state, where one is given; `fresh`: not acted on in this
    loop.
    """

    role: str = ""
    state: str = ""
    fresh: bool = False

    def admits(self, scene: Scene, i: int) -> bool:
        """Whether the element is meant."""
        element = scene.view.elements[i]
        return (
            (not self.role or element.role == self.role)
            and (not self.state or self.state in element.states or self.state == fill_of(element))
            and not (self.fresh and element.id in scene.acted)
        )

    def positions(self, scene: Scene) -> Sequence[int]:
        """All of them in the order of the page."""
        key = (self.role, self.state)
        found = scene.view.filtered.get(key)
        if found is None:
            pool: Iterable[int] = (
                scene.view.by_role.get(self.role, ())
                if self.role
                else range(len(scene.view.elements))
            )
            bare = Filter(self.role, self.state)
            found = [i for i in pool if bare.admits(scene, i)]
            scene.view.filtered[key] = found
        if not self.fresh:
            return found
        return [i for i in found if scene.view.elements[i].id not in scene.acted]

    def say(self) -> str:
        """In words."""
        words = ["new" if self.fresh else "", self.state.split(":")[-1], self.role or "element"]
        if self.state.startswith("look:"):
            words[1] = "look-alike"
        return " ".join(word for word in words if word)


def fill_of(element: Element) -> str:
    """Whether a field is `filled` or `empty`; nothing for what is no field, or keeps its value secret."""
    if element.role not in _WRITABLE or "secret" in element.states:
        return ""
    return "filled" if element.value else "empty"


def filters_of(scene: Scene, i: int) -> list[Filter]:
    """What an element can be filtered by, plainest first."""
    element = scene.view.elements[i]
    states = [state for state in element.states if state not in _PASSING]
    fill = fill_of(element)
    states += [fill] if fill else []
    found = [Filter(element.role)] + [Filter(element.role, state) for state in states]
    if "clickable" in element.states:
        found.append(Filter("", "clickable"))
    return found


def prefer_visible(scene: Scene, positions: Sequence[int]) -> list[int]:
    """Those that can be pointed at now, where there are any; else all."""
    view = scene.view
    uncovered = [
        i for i in positions if view.visible(i) and "covered" not in view.elements[i].states
    ]
    return uncovered or [i for i in positions if view.visible(i)] or list(positions)


def _in_row(scene: Scene, a: int, pool: Sequence[int]) -> list[int]:
    view = scene.view
    return [i for i in pool if i != a and view.same_row(a, i) and not view.inside(a, i)]


def _in_group(scene: Scene, a: int, pool: Sequence[int]) -> list[int]:
    view = scene.view
    depths = {i: view.common_depth(a, i) for i in pool if i != a and not view.inside(a, i)}
    deepest = max(depths.values(), default=0)
    return [i for i, depth in depths.items() if depth == deepest]


def _after(scene: Scene, a: int, pool: Sequence[int]) -> list[int]:
    return [i for i in pool if i > a]


def _before(scene: Scene, a: int, pool: Sequence[int]) -> list[int]:
    return [i for i in reversed(pool) if i < a and not scene.view.inside(a, i)]


def _inside(scene: Scene, a: int, pool: Sequence[int]) -> list[int]:
    return [i for i in pool if scene.view.inside(i, a)]


def _around(scene: Scene, a: int, pool: Sequence[int]) -> list[int]:
    return [i for i in reversed(scene.view.ancestry[a][:-1]) if i in pool]


def _along(axis: str, sign: int) -> Callable[[Scene, int, Sequence[int]], list[int]]:
    """Elements in one direction that overlap across it, nearest first."""

    def order(scene: Scene, a: int, pool: Sequence[int]) -> list[int]:
        view = scene.view
        origin = view.elements[a].box
        if origin is None:
            return []
        found = []
        for i in pool:
            box = view.elements[i].box
            if box is None or i == a:
                continue
            across = (
                min(box.y + box.height, origin.y + origin.height) - max(box.y, origin.y)
                if axis == "x"
                else min(box.x + box.width, origin.x + origin.width) - max(box.x, origin.x)
            )
            index = 0 if axis == "x" else 1
            away = (box.centre[index] - origin.centre[index]) * sign
            if across > 0 and away > 1:
                found.append((away, i))
        return [i for _, i in sorted(found)]

    return order


def _near(scene: Scene, a: int, pool: Sequence[int]) -> list[int]:
    view = scene.view
    around = sorted((view.distance(a, i), i) for i in pool if i != a and not view.inside(a, i))
    return [i for gap, i in around if gap != float("inf")]


RELATIONS: dict[str, Callable[[Scene, int, Sequence[int]], list[int]]] = {
    "in the same row as": _in_row,
    "in the same group as": _in_group,
    "inside": _inside,
    "around": _around,
    "after": _after,
    "before": _before,
    "right of": _along("x", 1),
    "left of": _along("x", -1),
    "below": _along("y", 1),
    "above": _along("y", -1),
    "nearest to": _near,
}
"""Orders, by name, of the elements that stand in a relation to one, nearest first."""

RELATION_COSTS = {name: 0.1 * rank for rank, name in enumerate(RELATIONS)}


def related(scene: Scene, relation: str, anchor: int, wanted: Filter) -> Sequence[int]:
    """The elements of a filter in a relation to the anchor, nearest first."""
    key = (relation, anchor, wanted, scene.acted if wanted.fresh else None)
    store = scene.view.memo
    found = store.get(key)
    if found is None:
        found = RELATIONS[relation](scene, anchor, wanted.positions(scene))[:_RANGE]
        store[key] = found
    return found


def is_field(scene: Scene, i: int) -> bool:
    """Whether the element has a value of its own, or is one to be ticked, so that a text may name it."""
    return scene.view.elements[i].role in FIELD_ROLES | {
        "checkbox",
        "radio",
        "switch",
        "date",
        "time",
        "month",
        "week",
        "datetime",
        "color",
        "file",
        "cell",
    }

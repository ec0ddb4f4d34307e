"""Elements as expressions that speak of one mark: an extreme, a role, the focus, news."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from services.planner.strategies.exemplar.scene import Filter, Scene, prefer_visible
from services.planner.strategies.exemplar.targets import filter_cost, holds, picked
from services.planner.strategies.exemplar.template import WHOLE
from services.planner.strategies.exemplar.transforms import number
from services.planner.strategies.exemplar.values import Value, bare
from services.planner.strategies.views import View


@dataclass(frozen=True, slots=True)
class Extreme:
    """The element with the largest or smallest number, or size."""

    wanted: Filter
    key: str
    largest: bool

    @property
    def cost(self) -> float:
        """Dearer than an only one."""
        return 2.3 + (0.6 if self.key != "number" else 0.0) + 0.5 * filter_cost(self.wanted)

    def find(self, scene: Scene) -> int | None:
        """The extreme one, the first of equals; None where none has a measure."""
        key = ("extreme", self.wanted, self.key, self.largest)
        if not self.wanted.fresh and key in scene.view.memo:
            known = scene.view.memo[key]
            return known[0] if known else None
        found = self._search(scene)
        if not self.wanted.fresh:
            scene.view.memo[key] = [] if found is None else [found]
        return found

    def _search(self, scene: Scene) -> int | None:
        sign = -1 if self.largest else 1
        measured = [
            (sign * measure, i)
            for i in self.wanted.positions(scene)
            if (measure := _measure(scene.view, i, self.key)) is not None
        ]
        return min(measured)[1] if measured else None

    def say(self) -> str:
        """In words."""
        return (
            f"{self.wanted.say()} with the {'largest' if self.largest else 'smallest'} {self.key}"
        )


def _measure(view: View, i: int, key: str) -> float | None:
    if key == "number":
        return number(view.text_of(i))
    box = view.elements[i].box
    if box is None:
        return None
    return {"area": box.width * box.height, "height": box.height, "x": box.x, "y": box.y}[key]


SUPERLATIVES: Mapping[str, tuple[str, bool]] = {
    "cheapest": ("money", False),
    "most expensive": ("money", True),
    "priciest": ("money", True),
    "shortest": ("duration", False),
    "quickest": ("duration", False),
    "fastest": ("duration", False),
    "longest": ("duration", True),
    "slowest": ("duration", True),
    "greatest": ("number", True),
    "largest": ("number", True),
    "highest": ("number", True),
    "biggest": ("number", True),
    "smallest": ("number", False),
    "lowest": ("number", False),
}
"""What a superlative compares, and whether it means the largest."""

_MONEY = re.compile(r"[$€£]\s?(\d[\d,]*(?:\.\d+)?)")
_DURATION = re.compile(r"(\d+)\s?h(?:ours?)?(?:\s?(\d+)\s?m)?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Superlative:
    """The element whose surroundings say most, or least, of what the instruction's superlative compares."""

    wanted: Filter

    @property
    def cost(self) -> float:
        """Cheap: it is what the instruction says."""
        return 1.6 + filter_cost(self.wanted)

    def find(self, scene: Scene) -> int | None:
        """The first of the extreme ones; None without a superlative, or where nothing can be compared."""
        said = bare(scene.slots.texts.get(WHOLE, ""))
        meant = next((way for word, way in SUPERLATIVES.items() if holds(said, word)), None)
        positions = self.wanted.positions(scene)
        if meant is None or len(positions) < 2:
            return None
        kind, largest = meant
        sign = -1 if largest else 1
        measured = [
            (sign * amount, i)
            for i in positions
            if (amount := _amount(scene.view.text_of(_own(scene.view, i, positions)), kind))
            is not None
        ]
        return min(measured)[1] if len(measured) > 1 else None

    def say(self) -> str:
        """In words."""
        return f"{self.wanted.say()} to which the superlative of the instruction applies"


def _own(view: View, i: int, positions: Sequence[int]) -> int:
    """The largest part of the page that holds this element and none of the others."""
    best = i
    for up in reversed(view.ancestry[i][:-1]):
        if any(j != i and view.inside(j, up) for j in positions):
            break
        best = up
    return best


def _amount(text: str, kind: str) -> float | None:
    if kind == "number":
        return number(text)
    if kind == "money":
        money = _MONEY.search(text)
        return float(money.group(1).replace(",", "")) if money else None
    match = _DURATION.search(text)
    return int(match.group(1)) * 60.0 + int(match.group(2) or 0) if match else None


ROLE_WORDS: Mapping[str, tuple[str, str]] = {
    "text": ("textbox", "!multiline"),
    "input": ("textbox", "!multiline"),
    "textarea": ("textbox", "multiline"),
    "text area": ("textbox", "multiline"),
    "dropdown": ("combobox", ""),
    "drop-down": ("combobox", ""),
    "image": ("img", ""),
    "picture": ("img", ""),
}
"""What people call widgets by another name than their role, with a state that it has, or has not."""


@dataclass(frozen=True, slots=True)
class OfRole:
    """The first element whose role a text names."""

    value: Value

    @property
    def cost(self) -> float:
        """Little more than the text."""
        return self.value.cost + 0.2

    def find(self, scene: Scene) -> int | None:
        """The first of them that can be pointed at."""
        text = self.value.text(scene)
        if not text:
            return None
        word = bare(text)
        role, state = ROLE_WORDS.get(word, (word, ""))
        found = [
            i
            for i in Filter(role).positions(scene)
            if not state
            or (state.lstrip("!") in scene.view.elements[i].states) == (state[0] != "!")
        ]
        return picked(prefer_visible(scene, found), 0)

    def say(self) -> str:
        """In words."""
        return f"the element whose role is {self.value.say()}"


@dataclass(frozen=True, slots=True)
class Focused:
    """The element that has the focus."""

    cost: float = 2.1

    def find(self, scene: Scene) -> int | None:
        """It, where it is in the tree."""
        return scene.view.position.get(scene.view.screen.focused_id)

    def say(self) -> str:
        """In words."""
        return "the element that has the focus"


@dataclass(frozen=True, slots=True)
class Last:
    """The element that the step before acted on."""

    cost: float = 2.0

    def find(self, scene: Scene) -> int | None:
        """It, where it is still there."""
        return scene.view.position.get(scene.last_id)

    def say(self) -> str:
        """In words."""
        return "the element of the step before"


@dataclass(frozen=True, slots=True)
class New:
    """An element that the step before brought up."""

    wanted: Filter
    pick: int = 0

    @property
    def cost(self) -> float:
        """Cheaper than a number: it says why the element matters."""
        return 1.9 + 0.1 * abs(self.pick) + filter_cost(self.wanted)

    def find(self, scene: Scene) -> int | None:
        """The one at the place among those that were not there before."""
        if scene.before is None:
            return None
        old = scene.before.position
        found = [i for i in self.wanted.positions(scene) if scene.view.elements[i].id not in old]
        return picked(found, self.pick)

    def say(self) -> str:
        """In words."""
        return f"{self.wanted.say()} number {self.pick + 1} of those that just appeared"

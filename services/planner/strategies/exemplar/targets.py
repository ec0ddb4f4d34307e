"""Elements as expressions: by what they say, by their place, by how they lie to another element."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from services.planner.strategies.exemplar.scene import (
    RELATION_COSTS,
    Filter,
    Scene,
    prefer_visible,
    related,
)
from services.planner.strategies.exemplar.tokens import ordinal
from services.planner.strategies.exemplar.values import Finder, Value, bare, singular
from services.planner.strategies.views import View

__all__ = [
    "Beside",
    "Finder",
    "Labelled",
    "Nth",
    "Says",
    "filter_cost",
    "holds",
    "matches",
    "picked",
]


_CROSSES = ("x", "\u00d7", "\u2715")
"""How people write the sign on a button that is called Close."""


def filter_cost(wanted: Filter) -> float:
    """What a filter adds to a cost: states say less than roles, looks less than states."""
    cost = 0.25 if wanted.role in ("", "generic") else 0.0
    if wanted.state:
        # What is ticked or operated tells more of what is meant than how it looks.
        looks = wanted.state.startswith(("color:", "background:"))
        cost += 0.35 if looks or wanted.state in ("bold", "italic", "underline") else 0.15
    return cost


def picked(found: Sequence[int], pick: int) -> int | None:
    """The one at a place, where there is one."""
    return found[pick] if -len(found) <= pick < len(found) else None


@dataclass(frozen=True, slots=True)
class Says:
    """The element that says a text: exactly, as a part of what it says, or all of its words."""

    wanted: Filter
    values: tuple[Value, ...]
    mode: str = "exact"
    pick: int = 0

    @property
    def cost(self) -> float:
        """That of the text; the looser the match, the more."""
        loose = {"exact": 0.0, "has": 0.45, "words": 0.5, "ends": 0.3, "part": 0.9}[self.mode]
        place = 0.0 if self.pick == 0 else 0.5 + 0.1 * abs(self.pick)
        texts = max(value.cost for value in self.values) + 0.1 * (len(self.values) - 1)
        return texts + loose + place + filter_cost(self.wanted)

    def find(self, scene: Scene) -> int | None:
        """The match that can be pointed at, of several the one picked."""
        return picked(self.all(scene), self.pick)

    def all(self, scene: Scene) -> list[int]:
        """All matches."""
        # What this instruction does not say puts no condition; but something must be said.
        said = tuple(text for value in self.values if (text := value.text(scene)))
        if not said:
            return []
        key = (self.wanted.role, self.wanted.state, said, self.mode)
        found = scene.view.memo.get(key)
        if found is None:
            found = self._search(scene, tuple(bare(text) for text in said))
            if self.mode == "exact" and len(found) > 1:
                found = _letter_by_letter(scene.view, found, said[0]) or found
            scene.view.memo[key] = found
        if self.wanted.fresh:
            found = [i for i in found if self.wanted.admits(scene, i)]
        return prefer_visible(scene, found)

    def _search(self, scene: Scene, wanted: tuple[str, ...]) -> list[int]:
        view = scene.view
        plainly = Filter(self.wanted.role, self.wanted.state)
        if self.mode == "exact":
            pool: Sequence[int] = view.by_bare.get(wanted[0], ())
            if not pool and wanted[0] in _CROSSES:
                pool = view.by_bare.get("close", ())
            return view.innermost(i for i in pool if plainly.admits(scene, i))
        positions = plainly.positions(scene)
        return view.innermost(i for i in positions if matches(view, i, wanted, self.mode))

    def say(self) -> str:
        """In words."""
        told = " and ".join(value.say() for value in self.values)
        how = {
            "exact": "that says",
            "has": "whose text has",
            "words": "with the words of",
            "ends": "that begins and ends with",
        }
        place = "" if self.pick == 0 else f" (match {self.pick})"
        return f"{self.wanted.say()} {how.get(self.mode, 'whose text is in')} {told}{place}"


def _letter_by_letter(view: View, found: Sequence[int], text: str) -> list[int]:
    """Of elements that say a text, those that say it in the same case."""
    exact = " ".join(text.split())
    return [
        i
        for i in found
        if exact in (view.elements[i].name, view.elements[i].text, view.elements[i].value)
    ]


def matches(view: View, i: int, wanted: Sequence[str], mode: str) -> bool:
    """Whether the element says the texts in this way."""
    for said in view.said[i]:
        if (
            mode == "ends"
            and said.startswith(wanted[0])
            and said.endswith(tuple(wanted[1:2]) or "")
        ):
            return True
        if mode == "has" and all(holds(said, text) for text in wanted):
            return True
        if mode == "part" and len(said) > 1 and all(holds(text, said) for text in wanted):
            return True
        if mode == "words":
            own = {singular(word) for word in said.replace(",", " ").split()}
            needed = {singular(word) for text in wanted for word in text.split()}
            if needed <= own:
                return True
    return False


def holds(whole: str, part: str) -> bool:
    """Whether the part stands in the text as whole words."""
    at = whole.find(part)
    while at >= 0:
        end = at + len(part)
        starts = at == 0 or not (whole[at - 1].isalnum() and part[0].isalnum())
        ends = end == len(whole) or not (whole[end].isalnum() and part[-1].isalnum())
        if starts and ends:
            return True
        at = whole.find(part, at + 1)
    return False


@dataclass(frozen=True, slots=True)
class Labelled:
    """The field that a text names."""

    wanted: Filter
    value: Value
    part: bool = False
    """The label need only have the text among its words."""

    @property
    def cost(self) -> float:
        """As a text, a little more."""
        loose = 0.35 if self.part else 0.0
        return self.value.cost + 0.15 + loose + filter_cost(self.wanted)

    def find(self, scene: Scene) -> int | None:
        """The first of the fields with this label."""
        text = self.value.text(scene)
        if not text:
            return None
        wanted = bare(text)
        labels = [(i, bare(scene.view.label(i))) for i in self.wanted.positions(scene)]
        if self.part:
            found = [i for i, label in labels if holds(label, wanted)]
        else:
            found = [i for i, label in labels if label == wanted]
        return picked(prefer_visible(scene, found), 0)

    def say(self) -> str:
        """In words."""
        return f"{self.wanted.say()} labelled {self.value.say()}"


@dataclass(frozen=True, slots=True)
class Nth:
    """The element at a place among those of a filter; the place fixed, from a text, or that of the
    loop.
    """

    wanted: Filter
    place: int = 0
    value: Value | None = None
    by_turn: bool = False
    alone: bool = False
    """It is the only one of its kind; where there are several, none is meant."""

    @property
    def cost(self) -> float:
        """An only one is a good name; a number says little."""
        base = 2.4 + 0.1 * (self.place if self.place >= 0 else -self.place)
        if self.value is not None:
            base = self.value.cost + 0.3
        elif self.alone:
            base = 1.5
        elif self.by_turn:
            base = 2.2
        elif self.wanted.fresh:
            base = 1.9
        return base + filter_cost(self.wanted)

    def find(self, scene: Scene) -> int | None:
        """The element at the place."""
        found = self.wanted.positions(scene)
        if self.alone and len(found) != 1:
            return None
        place: int | None = self.place
        if self.value is not None:
            text = self.value.text(scene)
            place = None if text is None else ordinal(text)
        elif self.by_turn:
            place = self.place + scene.turn
        return None if place is None else picked(found, place)

    def say(self) -> str:
        """In words."""
        if self.value is not None:
            return f"{self.wanted.say()} at the place of {self.value.say()}"
        if self.alone:
            return f"the only {self.wanted.say()}"
        place = f"{self.place + 1}" if self.place >= 0 else f"{self.place}"
        return f"{self.wanted.say()} number {place}" + (" and on" if self.by_turn else "")


@dataclass(frozen=True, slots=True)
class Beside:
    """The element that stands in a relation to another."""

    anchor: Finder
    relation: str
    wanted: Filter
    pick: int = 0

    @property
    def cost(self) -> float:
        """Relations cost more than names and less than numbers."""
        place = 0.0 if self.pick == 0 else 0.3 + 0.1 * abs(self.pick)
        return (
            self.anchor.cost
            + 0.8
            + RELATION_COSTS[self.relation]
            + place
            + filter_cost(self.wanted)
        )

    def find(self, scene: Scene) -> int | None:
        """The related element."""
        at = self.anchor.find(scene)
        return (
            None
            if at is None
            else picked(related(scene, self.relation, at, self.wanted), self.pick)
        )

    def say(self) -> str:
        """In words."""
        place = "" if self.pick == 0 else f"number {self.pick + 1} "
        return f"{self.wanted.say()} {place}{self.relation} {self.anchor.say()}"

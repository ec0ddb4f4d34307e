"""Texts as expressions: a slot of the instruction, an entry of a list, a constant, what an element
says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from services.planner.strategies.exemplar.scene import Filter, Scene
from services.planner.strategies.exemplar.template import WHOLE, SlotKey
from services.planner.strategies.exemplar.tokens import ordinal, tokenize
from services.planner.strategies.exemplar.transforms import ORDERED, TRANSFORMS
from services.planner.strategies.views import plain


class Value(Protocol):
    """An expression that gives a text."""

    @property
    def cost(self) -> float:
        """How much explaining it takes; about 1 for a slot."""
        ...

    def text(self, scene: Scene) -> str | None:
        """Its text in this scene; None where it has none."""
        ...

    def say(self) -> str:
        """In words, for a reason."""
        ...


class Finder(Protocol):
    """An expression that gives an element."""

    @property
    def cost(self) -> float:
        """How much explaining it takes."""
        ...

    def find(self, scene: Scene) -> int | None:
        """The element's position in the scene's view."""
        ...

    def say(self) -> str:
        """In words, for a reason."""
        ...


_SLOT_COSTS = {"quoted": 0.95, "gap": 1.0, "date": 0.98, "time": 0.98}
_TRANSFORM_COST = 0.25


@dataclass(frozen=True, slots=True)
class Slot:
    """A slot of the instruction, perhaps transformed."""

    key: SlotKey
    transform: str = ""

    @property
    def cost(self) -> float:
        """Slots cost about 1, transforms 0.25 more."""
        kind, number = self.key
        extra = 0.0 if not self.transform else _TRANSFORM_COST + 0.01 * ORDERED[self.transform]
        return _SLOT_COSTS.get(kind, 1.05) + (0.03 if number < 0 else 0.01 * number) + extra

    def text(self, scene: Scene) -> str | None:
        """The slot's text in this instruction."""
        raw = scene.slots.texts.get(self.key)
        return None if raw is None else TRANSFORMS[self.transform](raw)

    def say(self) -> str:
        """In words."""
        kind, number = self.key
        told = f"{kind} {number + 1 if number >= 0 else number} of the instruction"
        return f"{self.transform} of {told}" if self.transform else told


@dataclass(frozen=True, slots=True)
class Entries:
    """All entries of a list of the instruction, one a line."""

    key: SlotKey

    @property
    def cost(self) -> float:
        """A little more than one slot."""
        return 1.1 + 0.01 * self.key[1] + (0.02 if self.key[0] == "gap" else 0.0)

    def text(self, scene: Scene) -> str | None:
        """The entries of this instruction."""
        entries = scene.slots.lists.get(self.key)
        return "\n".join(entries) if entries else None

    def say(self) -> str:
        """In words."""
        return f"all entries of {self.key[0]} {self.key[1] + 1} of the instruction"


@dataclass(frozen=True, slots=True)
class Item:
    """The present entry of the list that a loop goes through."""

    transform: str = ""

    @property
    def cost(self) -> float:
        """Inside a loop over a list, its entry is the first thing to think of."""
        return 0.8 + (_TRANSFORM_COST + 0.01 * ORDERED[self.transform] if self.transform else 0.0)

    def text(self, scene: Scene) -> str | None:
        """The entry."""
        return None if scene.item is None else TRANSFORMS[self.transform](scene.item)

    def say(self) -> str:
        """In words."""
        return f"{self.transform} of the present entry" if self.transform else "the present entry"


@dataclass(frozen=True, slots=True)
class OwnLabel:
    """What the field is called that a text is for."""

    cost: float = 1.0

    def text(self, scene: Scene) -> str | None:
        """The label without punctuation around it."""
        return None if scene.target is None else bare(scene.view.label(scene.target)) or None

    def say(self) -> str:
        """In words."""
        return "the field's own label"


@dataclass(frozen=True, slots=True)
class OtherName:
    """The name in the instruction that nothing acted on so far says."""

    cost: float = 1.4

    def text(self, scene: Scene) -> str | None:
        """The first of them; a word that is capital only since it begins a sentence comes last."""
        whole = scene.slots.texts.get(WHOLE, "")
        tokens = tokenize(whole)
        names = []
        for token, before in zip(tokens, (None, *tokens), strict=False):
            text = TRANSFORMS["possessor"](token.text) or token.text
            if token.kind == "word" and text[:1].isupper() and bare(text) not in scene.used:
                names.append((before is None or before.text in ".!?:", text))
        return min(names, key=lambda name: name[0])[1] if names else None

    def say(self) -> str:
        """In words."""
        return "the other name in the instruction"


@dataclass(frozen=True, slots=True)
class Const:
    """The same in all demonstrations."""

    value: str
    cost: float = 1.3

    def text(self, scene: Scene) -> str | None:
        """The constant."""
        return self.value

    def say(self) -> str:
        """In words."""
        return f"{self.value!r}, the same in all demonstrations"


@dataclass(frozen=True, slots=True)
class Read:
    """What an element on the screen says."""

    finder: Finder
    transform: str = ""

    @property
    def cost(self) -> float:
        """The finder's, and a little more."""
        extra = _TRANSFORM_COST + 0.01 * ORDERED[self.transform] if self.transform else 0.0
        return self.finder.cost + 0.3 + extra

    def text(self, scene: Scene) -> str | None:
        """What it says now."""
        found = self.finder.find(scene)
        if found is None:
            return None
        return TRANSFORMS[self.transform](scene.view.text_of(found))

    def say(self) -> str:
        """In words."""
        told = f"what {self.finder.say()} says"
        return f"{self.transform} of {told}" if self.transform else told


@dataclass(frozen=True, slots=True)
class WordAt:
    """The word of another text at the place that an ordinal names."""

    whole: Read
    place: Value

    @property
    def cost(self) -> float:
        """That of both."""
        return self.whole.cost + self.place.cost

    def text(self, scene: Scene) -> str | None:
        """The word without punctuation around it."""
        text, place = self.whole.text(scene), self.place.text(scene)
        number = None if place is None else ordinal(place)
        words = (text or "").split()
        if number is None or not -len(words) <= number < len(words):
            return None
        return words[number].strip(",.;:!?")

    def say(self) -> str:
        """In words."""
        return f"the word at {self.place.say()} of {self.whole.say()}"


@dataclass(frozen=True, slots=True)
class Count:
    """How many elements of a filter say all these words."""

    wanted: Filter
    words: tuple[Value, ...] = ()

    @property
    def cost(self) -> float:
        """Rarely meant, so dear."""
        return 1.6 + sum(word.cost for word in self.words)

    def text(self, scene: Scene) -> str | None:
        """The number in digits."""
        said = [word.text(scene) for word in self.words]
        if None in said:
            return None
        needed = {singular(w) for text in said if text for w in plain(text).split()}
        count = 0
        for i in self.wanted.positions(scene):
            own = {singular(w) for text in scene.view.said[i] for w in text.split()}
            count += needed <= own
        return str(count)

    def say(self) -> str:
        """In words."""
        told = " and ".join(word.say() for word in self.words)
        return f"the number of {self.wanted.say()}s" + (f" that say {told}" if told else "")


def singular(word: str) -> str:
    """The word without a plural s."""
    return word[:-1] if len(word) > 3 and word.endswith("s") else word


def table(scene: Scene) -> dict[str, list[Value]]:
    """Every text that slots and the present entry can give, each with the expressions that give
    it.
    """
    known = scene.cache.get("table")
    if isinstance(known, dict):
        return known
    found: dict[str, list[Value]] = {}
    for key, raw in scene.slots.texts.items():
        if key == WHOLE:
            found.setdefault(raw, []).append(Slot(key))
            continue
        _put_all(found, raw, partial(Slot, key))
    for key, entries in scene.slots.lists.items():
        if entries:
            found.setdefault("\n".join(entries), []).append(Entries(key))
    other = OtherName().text(scene)
    if other:
        found.setdefault(other, []).append(OtherName())
    own = OwnLabel().text(scene)
    if own:
        found.setdefault(own, []).append(OwnLabel())
    if scene.item is not None:
        _put_all(found, scene.item, Item)
    scene.cache["table"] = found
    return found


def _put_all(found: dict[str, list[Value]], raw: str, made: Callable[[str], Value]) -> None:
    """Put every text that a transform makes of `raw`, with its expression."""
    for name, transform in TRANSFORMS.items():
        text = transform(raw)
        if text and (not name or text != raw):
            found.setdefault(text, []).append(made(name))


def plain_table(scene: Scene) -> dict[str, list[Value]]:
    """The same by texts without case."""
    known = scene.cache.get("plain")
    if isinstance(known, dict):
        return known
    found: dict[str, list[Value]] = {}
    for text, values in table(scene).items():
        found.setdefault(bare(text), []).extend(values)
    scene.cache["plain"] = found
    return found


def bare(text: str) -> str:
    """The text without case, repeated white space and punctuation around it."""
    said = plain(text)
    return said.strip(" .,:;!?") or said


def cheapest(values: Iterable[Value], most: int) -> list[Value]:
    """The cheapest ones, plainest first."""
    return sorted(values, key=lambda value: value.cost)[:most]


def counts(scene: Scene, text: str) -> Iterator[Value]:
    """Counts of what is on the screen that may give this text."""
    if not text.isdigit() or len(text) > 2:
        return
    words = [values[0] for values in plain_table(scene).values()]
    for role in scene.view.by_role:
        for value in words:
            yield Count(Filter(role), (value,))
        yield Count(Filter(role))

"""Explanations of one demonstrated text: from the instruction, or read off the screen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from services.planner.strategies.exemplar.candidates import (
    MOST,
    Sight,
    cheapest_finders,
    proposals,
    shared_texts,
)
from services.planner.strategies.exemplar.scene import Scene
from services.planner.strategies.exemplar.tokens import ordinal
from services.planner.strategies.exemplar.transforms import TRANSFORMS
from services.planner.strategies.exemplar.values import (
    Const,
    Read,
    Value,
    WordAt,
    cheapest,
    counts,
    table,
)


@dataclass(frozen=True, slots=True)
class Typed:
    """One demonstrated text in its scene."""

    scene: Scene
    text: str


def explain_text(typed: Sequence[Typed]) -> list[Value]:
    """Expressions that give the demonstrated text in every scene, cheapest first."""
    first = typed[0]
    proposals: list[Value] = list(table(first.scene).get(first.text, ()))
    if all(one.text == first.text for one in typed):
        proposals.append(Const(first.text, 1.3 if len(typed) > 1 else 2.0))
    kept = [v for v in dict.fromkeys(proposals) if _gives(v, typed)]
    if not kept:
        kept = [v for v in dict.fromkeys(_read_values(typed)) if _gives(v, typed)]
    return cheapest(kept, MOST)


def _gives(value: Value, typed: Sequence[Typed]) -> bool:
    return all(value.text(one.scene) == one.text for one in typed)


def _read_values(typed: Sequence[Typed]) -> Iterator[Value]:
    """What could be read off the first screen, and counts of what is on it."""
    first = typed[0]
    view = first.scene.view
    for name, transform in TRANSFORMS.items():
        sources = [i for i in range(len(view.elements)) if transform(view.text_of(i)) == first.text]
        for i in sources[:5]:
            sights = [Sight(first.scene, i)]
            for finder in cheapest_finders(
                proposals(sights[0], _texts_of(typed), looping=False), 120
            ):
                yield Read(finder, name)
    yield from _words_at(typed)
    yield from counts(first.scene, first.text)


def _words_at(typed: Sequence[Typed]) -> Iterator[Value]:
    """A word of a longer text on the screen, at a place that the instruction names."""
    first = typed[0]
    view = first.scene.view
    places = [
        (place, value)
        for text, values in table(first.scene).items()
        if (place := ordinal(text)) is not None
        for value in cheapest(values, 1)
    ]
    for i, element in enumerate(view.elements):
        words = [word.strip(",.;:!?") for word in view.text_of(i).split()]
        if len(words) < 3 or first.text not in words or element.role == "generic":
            continue
        finders = proposals(Sight(first.scene, i), _texts_of(typed), looping=False)
        for finder in cheapest_finders(finders, 20):
            for place, value in places:
                if -len(words) <= place < len(words) and words[place] == first.text:
                    yield WordAt(Read(finder), value)


def _texts_of(typed: Sequence[Typed]) -> Mapping[str, float]:
    return shared_texts([Sight(one.scene, 0) for one in typed])

"""Explanations of one demonstrated element: proposed on one scene, kept if true in all others."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from services.planner.strategies.exemplar.marks import (
    Extreme,
    Focused,
    Last,
    New,
    OfRole,
    Superlative,
)
from services.planner.strategies.exemplar.scene import (
    RELATIONS,
    Filter,
    Scene,
    filters_of,
    is_field,
    related,
)
from services.planner.strategies.exemplar.targets import Beside, Labelled, Nth, Says, holds
from services.planner.strategies.exemplar.tokens import ordinal
from services.planner.strategies.exemplar.values import (
    Const,
    Finder,
    Item,
    Slot,
    Value,
    bare,
    cheapest,
    counts,
    plain_table,
    singular,
    table,
)

MOST = 12
"""Explanations kept of one element or text, cheapest first: the program needs one, retries a
few.
"""

_PLAIN = 1.8
"""Where so cheap an explanation was found, relations to other elements are not tried: they cost more."""

_ANCHORS = 30
_PICKS = 4
_PER_TEXT = 6


@dataclass(frozen=True, slots=True)
class Sight:
    """One demonstrated element in its scene."""

    scene: Scene
    position: int


def explain_element(sights: Sequence[Sight], *, looping: bool) -> list[Finder]:
    """Expressions that find the demonstrated element in every scene, cheapest first."""
    first = min(sights, key=lambda sight: len(sight.scene.view.elements))
    # Those of other screens and demonstrations refute soonest.
    others = sorted(sights, key=lambda sight: sight.scene.view is first.scene.view)
    constants = shared_texts(sights)
    kept: dict[Finder, bool] = {}
    for stage in (_plain_proposals, _by_relation):
        for finder in stage(first, constants, looping=looping):
            if finder not in kept:
                kept[finder] = all(_true(finder, sight) for sight in others)
        found = sorted((f for f, true in kept.items() if true), key=lambda finder: finder.cost)
        if found and found[0].cost <= _PLAIN:
            break
    return found[:MOST]


def cheapest_finders(finders: Iterable[Finder], most: int) -> list[Finder]:
    """The cheapest different ones."""
    return sorted(dict.fromkeys(finders), key=lambda finder: finder.cost)[:most]


def _true(finder: Finder, sight: Sight) -> bool:
    found = finder.find(sight.scene)
    return found is not None and (found == sight.position or _same(sight, found))


def _same(sight: Sight, found: int) -> bool:
    """Whether the other element is the same thing to a person: one inside the other, and same
    text.
    """
    view = sight.scene.view
    nested = view.inside(found, sight.position) or view.inside(sight.position, found)
    return nested and bare(view.text_of(found)) == bare(view.text_of(sight.position))


def shared_texts(sights: Sequence[Sight]) -> Mapping[str, float]:
    """Texts that are on all the screens, with what each costs as a constant.

    What several demonstrations share is likely a constant of the task; in a single one everything is shared,
    so that nothing is known, and a text with digits is rather one of its values.
    """
    views = {id(sight.scene.view): sight.scene.view for sight in sights}
    shared: set[str] | None = None
    for view in views.values():
        texts = view.by_bare.keys()
        shared = set(texts) if shared is None else shared & texts
    if len({id(sight.scene.slots) for sight in sights}) > 1:
        return dict.fromkeys(shared or (), 1.3)
    return {text: 2.6 if any(map(str.isdigit, text)) else 2.0 for text in shared or ()}


def proposals(sight: Sight, constants: Mapping[str, float], *, looping: bool) -> Iterator[Finder]:
    """Everything that can be said of an element on one screen."""
    yield from _plain_proposals(sight, constants, looping=looping)
    yield from _by_relation(sight, constants, looping=looping)


def _filters(sight: Sight, *, looping: bool) -> list[Filter]:
    filters = filters_of(sight.scene, sight.position)
    if looping:
        filters += [Filter(f.role, f.state, fresh=True) for f in filters]
    return filters


def _plain_proposals(
    sight: Sight, constants: Mapping[str, float], *, looping: bool
) -> Iterator[Finder]:
    """What can be said of an element by itself."""
    scene, i = sight.scene, sight.position
    filters = _filters(sight, looping=looping)
    yield from _by_text(scene, i, filters, constants)
    yield from _by_label(scene, i, filters, _values_near(scene, constants))
    for expressions in plain_table(scene).values():
        named = OfRole(cheapest(expressions, 1)[0])
        if named.find(scene) == i:
            yield named
    yield from _by_place(scene, i, filters, looping=looping)
    yield from _by_extreme(scene, i, filters)
    if scene.view.elements[i].id == scene.view.screen.focused_id:
        yield Focused()
    if scene.view.elements[i].id == scene.last_id:
        yield Last()


def _values_near(scene: Scene, constants: Mapping[str, float]) -> dict[str, list[Value]]:
    """For each text on this screen the expressions that give it: slots, and what is on all
    screens.
    """
    key = ("near", frozenset(constants.items()))
    known = scene.cache.get(key)
    if isinstance(known, dict):
        return known
    slots = plain_table(scene)
    found: dict[str, list[Value]] = {}
    for text in scene.view.by_bare:
        values = cheapest(slots.get(text, ()), _PER_TEXT)
        if text in constants and len(text) <= 60:
            values = [*values, Const(text, constants[text])]
        if values:
            found[text] = values
    scene.cache[key] = found
    return found


def _by_text(
    scene: Scene, i: int, filters: Sequence[Filter], constants: Mapping[str, float]
) -> Iterator[Finder]:
    slots = plain_table(scene)
    roles = [*filters, Filter()]
    if any(f.fresh for f in filters):
        roles.append(Filter("", "", fresh=True))
    for said in dict.fromkeys(bare(text) for text in scene.view.said[i]):
        values: list[Value] = list(cheapest(slots.get(said, ()), _PER_TEXT))
        if said in constants:
            values.append(Const(said, constants[said]))
        for value, wanted in itertools.product(values, roles):
            yield from _picks(scene, i, wanted, (value,), "exact")
        yield from _by_part(scene, i, said, roles)
    yield from _by_count(scene, i, filters[0])
    yield from _by_constant_part(scene, i, filters, constants)


def _by_count(scene: Scene, i: int, wanted: Filter) -> Iterator[Finder]:
    for said in scene.view.said[i]:
        for count in counts(scene, said):
            if count.text(scene) == said:
                yield from _picks(scene, i, wanted, (count,), "exact")


def _by_constant_part(
    scene: Scene, i: int, filters: Sequence[Filter], constants: Mapping[str, float]
) -> Iterator[Finder]:
    for said in scene.view.said[i]:
        for text in constants:
            if len(text) > 2 and text != said and holds(said, text):
                for wanted in filters:
                    yield from _picks(
                        scene, i, wanted, (Const(text, constants[text] + 0.2),), "has"
                    )


def _by_part(scene: Scene, i: int, said: str, roles: Sequence[Filter]) -> Iterator[Finder]:
    """By a slot that is a part of what the element says, several that are, or one that contains it."""
    own = {singular(word) for word in said.replace(",", " ").split()}
    modes: list[tuple[str, tuple[Value, ...]]] = []
    parts: list[Value] = []
    for text, values in plain_table(scene).items():
        value = cheapest(values, 1)[0]
        if not isinstance(value, Slot | Item) or text == said:
            continue
        if holds(said, text):
            parts.append(value)
        elif len(said) > 2 and holds(text, said):
            modes.append(("part", (value,)))
        if {singular(word) for word in text.split()} <= own:
            modes.append(("words", (value,)))
    parts = cheapest(parts, 8)
    modes += [("has", (value,)) for value in parts]
    modes += [("has", pair) for pair in itertools.islice(itertools.combinations(parts, 2), 20)]
    for (mode, several), wanted in itertools.product(modes, roles):
        yield from _picks(scene, i, wanted, several, mode)
    yield from _by_ends(scene, i, said, roles)


def _by_ends(scene: Scene, i: int, said: str, roles: Sequence[Filter]) -> Iterator[Finder]:
    """By what it begins with, and what it ends with."""
    slots = {text: cheapest(values, 1)[0] for text, values in plain_table(scene).items()}
    begins = [v for text, v in slots.items() if text != said and said.startswith(text)]
    ends = [v for text, v in slots.items() if text != said and said.endswith(text)]
    for first in cheapest(begins, 4):
        for last in cheapest(ends, 4):
            if first != last:
                for wanted in roles:
                    yield from _picks(scene, i, wanted, (first, last), "ends")


def _picks(
    scene: Scene, i: int, wanted: Filter, values: tuple[Value, ...], mode: str
) -> Iterator[Finder]:
    if not wanted.admits(scene, i):
        return
    found = Says(wanted, values, mode).all(scene)
    nested = [n for n, j in enumerate(found) if j == i or _same(Sight(scene, i), j)]
    for n in nested[:1]:
        if n < _PICKS:
            yield Says(wanted, values, mode, n)
        if len(found) > 1 and n == len(found) - 1:
            yield Says(wanted, values, mode, -1)


def _by_label(
    scene: Scene, i: int, filters: Sequence[Filter], values: dict[str, list[Value]]
) -> Iterator[Finder]:
    if not is_field(scene, i):
        return
    label = bare(scene.view.label(i))
    for value in values.get(label, ()):
        for wanted in filters:
            yield Labelled(wanted, value)
    for word in label.split():
        if len(word) > 3:
            yield Labelled(filters[0], Const(word), part=True)


def _by_place(
    scene: Scene, i: int, filters: Sequence[Filter], *, looping: bool
) -> Iterator[Finder]:
    for wanted in filters:
        found = list(wanted.positions(scene))
        if i not in found:
            continue
        n = found.index(i)
        if len(found) == 1:
            yield Nth(wanted, 0, alone=True)
        yield Nth(wanted, n)
        yield Nth(wanted, n - len(found))
        if looping and not wanted.fresh:
            yield Nth(wanted, n - scene.turn, by_turn=True)
        for text, values in table(scene).items():
            place = ordinal(text)
            if place is not None and place in (n, n - len(found)):
                for value in cheapest((v for v in values if _tells_place(v)), 2):
                    yield Nth(wanted, value=value)
        yield from _by_news(scene, i, wanted, found)


def _by_news(scene: Scene, i: int, wanted: Filter, found: Sequence[int]) -> Iterator[Finder]:
    """By its place among what the step before brought up."""
    if scene.before is None:
        return
    fresh = [j for j in found if scene.view.elements[j].id not in scene.before.position]
    if i in fresh and fresh.index(i) < _PICKS:
        yield New(wanted, fresh.index(i))
    if i in fresh and fresh.index(i) == len(fresh) - 1:
        yield New(wanted, -1)


def _tells_place(value: Value) -> bool:
    """Whether the text can be meant as a place: as it stands, or counted from the start of a
    page.
    """
    transform = getattr(value, "transform", "")
    return not transform or transform.startswith("place")


def _by_extreme(scene: Scene, i: int, filters: Sequence[Filter]) -> Iterator[Finder]:
    for wanted in filters:
        if len(wanted.positions(scene)) < 2 and not wanted.fresh:
            continue
        superlative = Superlative(wanted)
        if not wanted.fresh and superlative.find(scene) == i:
            yield superlative
        for key in ("number", "area", "height", "x", "y"):
            for largest in (True, False):
                extreme = Extreme(wanted, key, largest)
                if extreme.find(scene) == i:
                    yield extreme


def _by_relation(
    sight: Sight, constants: Mapping[str, float], *, looping: bool
) -> Iterator[Finder]:
    """What can be said of an element by how it lies to another."""
    scene, i = sight.scene, sight.position
    filters = _filters(sight, looping=looping)
    for anchor, at in _anchors(scene, i, _values_near(scene, constants)):
        for relation in RELATIONS:
            for wanted in filters:
                order = related(scene, relation, at, wanted)
                if i in order[:_PICKS]:
                    yield Beside(anchor, relation, wanted, list(order).index(i))
                if len(order) > 1 and order[-1] == i and relation.startswith("in the same"):
                    yield Beside(anchor, relation, wanted, -1)


def _anchors(scene: Scene, i: int, values: dict[str, list[Value]]) -> Iterator[tuple[Finder, int]]:
    """Elements that another can be related to: by a text that is known, or by the largest number."""
    used = 0
    for expressions in values.values():
        for value in expressions[:3]:
            anchor = Says(Filter(), (value,))
            at = anchor.find(scene)
            if at is None or at == i:
                continue
            used += 1
            if used <= _ANCHORS or not isinstance(value, Const):
                yield anchor, at
    for role in ("text", "cell"):
        for largest in (True, False):
            extreme = Extreme(Filter(role), "number", largest)
            at = extreme.find(scene)
            if at is not None and at != i:
                yield extreme, at

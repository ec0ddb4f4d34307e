"""The simplest program that does what all demonstrations did."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace

from services.planner.strategies.exemplar.candidates import Sight, explain_element
from services.planner.strategies.exemplar.moves import Demonstration, Move
from services.planner.strategies.exemplar.program import Block, Loop, Op, total
from services.planner.strategies.exemplar.scene import Filter, Scene
from services.planner.strategies.exemplar.targets import Says
from services.planner.strategies.exemplar.texts import Typed, explain_text
from services.planner.strategies.exemplar.values import (
    Finder,
    Item,
    Slot,
    bare,
    plain_table,
    table,
)
from services.planner.strategies.views import View

_BODY = 3
"""Longest body of a loop; longer ones were never needed and cost time."""

_EVIDENCE = 2.6
"""How much more a loop is believed that ended, after different numbers of turns, just when it should."""

_DATE_EVIDENCE = 3.0
"""The same of a loop that brings the month of a date to the screen, whatever the number of turns."""

_EXPLAINED = 600
"""Operators that are tried at most: what is not found by then is not simple, and a turn is waiting."""

Places = tuple[int, ...]
"""How many moves of each demonstration are explained."""

Known = tuple[float, tuple[Block, ...]] | None


class Induction:
    """Searches programs for one set of demonstrations, from the end to the beginning, each place
    once.
    """

    def __init__(self, demonstrations: Sequence[Demonstration]) -> None:
        self._demos = demonstrations
        self._ends = tuple(len(demo.moves) for demo in demonstrations)
        self._known: dict[Places, Known] = {}
        self._ops: dict[object, Op | None] = {}
        self._marks = [
            [_mark(move, demo.views[i]) for i, move in enumerate(demo.moves)]
            for demo in demonstrations
        ]

    def program(self) -> tuple[Block, ...] | None:
        """The cheapest blocks that explain everything; None where none do."""
        found = self._best(tuple(0 for _ in self._demos))
        return None if found is None else found[1]

    def explained(self) -> int:
        """How many last moves of the first demonstration can be explained; for the reason of a
        failure.
        """
        return max((self._ends[0] - at[0] for at, known in self._known.items() if known), default=0)

    def _best(self, at: Places) -> Known:
        if at == self._ends:
            return (0.0, ())
        if at in self._known:
            return self._known[at]
        self._known[at] = None
        best: Known = None
        for blocks, after in self._steps(at):
            rest = self._best(after)
            if rest is None:
                continue
            cost = total(blocks) + rest[0]
            if best is None or cost < best[0]:
                best = (cost, (*blocks, *rest[1]))
        self._known[at] = best
        return best

    def _steps(self, at: Places) -> Iterator[tuple[tuple[Block, ...], Places]]:
        """Every way to explain the next moves, with where it leads."""
        if all(place < end for place, end in zip(at, self._ends, strict=True)):
            op = self._op([(d, place, {}) for d, place in enumerate(at)])
            if op is not None:
                yield (op,), tuple(place + 1 for place in at)
        yield from self._each(at)
        yield from self._times(at)
        yield from self._while(at)

    def _each(self, at: Places) -> Iterator[tuple[tuple[Block, ...], Places]]:
        keys = set.intersection(*(set(demo.slots.lists) for demo in self._demos))
        seen: set[tuple[tuple[str, ...], ...]] = set()
        for key in sorted(keys):
            lists = tuple(demo.slots.lists[key] for demo in self._demos)
            if lists in seen or all(len(entries) == 1 for entries in lists):
                continue
            seen.add(lists)
            counts = tuple(map(len, lists))
            # Where no list has two entries, a longer body would be a guess about one demonstration.
            for size in range(1, _BODY + 1 if max(counts) > 1 else 2):
                body = self._body(at, counts, size, lists)
                if body is not None and any(_uses_item(op) for op in body):
                    body = tuple(_with_item(op) for op in body)
                    yield (Loop(body, "each", key=key),), _moved(at, counts, size)

    def _times(self, at: Places) -> Iterator[tuple[tuple[Block, ...], Places]]:
        runs = [self._run(d, place, 1) for d, place in enumerate(at)]
        if max(runs) < 2:
            return
        for text, values in table(self._scene(0, at[0], {})).items():
            if not text.isdigit() or not 0 < int(text) <= runs[0]:
                continue
            for value in values[:2]:
                said = [value.text(self._scene(d, place, {})) for d, place in enumerate(at)]
                if not all(one is not None and one.isdigit() for one in said):
                    continue
                counts = tuple(int(one or 0) for one in said)
                if any(n > run for n, run in zip(counts, runs, strict=True)):
                    continue
                body = self._body(at, counts, 1, None)
                if body is not None:
                    yield (Loop(body, "times", count=value),), _moved(at, counts, 1)

    def _while(self, at: Places) -> Iterator[tuple[tuple[Block, ...], Places]]:
        for size in range(1, _BODY + 1):
            runs = [self._run(d, place, size) for d, place in enumerate(at)]
            if not any(runs) or not self._begins(at, runs, size):
                continue
            choices = [[n for n in (run, run - 1, run - 2) if n >= 0] for run in runs]
            for counts in itertools.islice(itertools.product(*choices), 27):
                if max(counts) < 2 and size > 1:
                    continue
                body = self._body(at, counts, size, None)
                if body is not None:
                    yield from self._controlled(at, counts, body)

    def _begins(self, at: Places, runs: Sequence[int], size: int) -> bool:
        """Whether repetitions begin here: not in the midst of a run, and not of a shorter body."""
        for d, place in enumerate(at):
            if not runs[d]:
                continue
            marks = self._marks[d]
            body = marks[place : place + size]
            if size > 1 and len(set(body)) == 1:
                return False
            if marks[max(place - size, 0) : place] == body:
                return False
        return True

    def _controlled(
        self, at: Places, counts: Sequence[int], body: tuple[Op, ...]
    ) -> Iterator[tuple[tuple[Block, ...], Places]]:
        """The body with each control that would have ended the loop where the demonstrations
        did.
        """
        size = len(body)
        after = _moved(at, counts, size)
        begun = [
            self._scene(d, at[d] + n * size, {})
            for d, count in enumerate(counts)
            for n in range(count)
        ]
        ended = [
            self._scene(d, after[d], {"acted": self._acted(d, at[d], after[d])})
            for d in range(len(counts))
            if after[d] < len(self._demos[d].views)
        ]
        if len(ended) < len(counts):
            return
        if max(counts) < 2 and len(set(counts)) == 1:
            # Done once each time: a loop all the same where it brings a month to the screen, since
            # then the date says how often.
            for condition in _conditions(begun, ended):
                if _of_month(condition):
                    yield (
                        (Loop(body, "until", condition=condition, evidence=_DATE_EVIDENCE),),
                        after,
                    )
            return
        varied = _EVIDENCE if len(set(counts)) > 1 else 0.0
        stopping = _stopping(body[0], ended)
        if stopping is not None and max(counts) > 1:
            yield (Loop((stopping, *body[1:]), "found"),), after
        if all(place < end for place, end in zip(after, self._ends, strict=True)):
            following = self._op([(d, place, {}) for d, place in enumerate(after)])
            awaited = None if following is None else _awaited(following, begun)
            if awaited is not None:
                yield (
                    (Loop(body, "until", evidence=varied - 0.8 if varied else 0.0), awaited),
                    tuple(place + 1 for place in after),
                )
        for condition in _conditions(begun, ended):
            yield (Loop(body, "until", condition=condition, evidence=varied),), after

    def _run(self, d: int, place: int, size: int) -> int:
        """How often the next `size` moves are repeated, by kind and role."""
        marks = self._marks[d]
        if place + size > len(marks):
            return 0
        first = marks[place : place + size]
        count = 1
        while marks[place + count * size : place + (count + 1) * size] == first:
            count += 1
        return count

    def _body(
        self,
        at: Places,
        counts: Sequence[int],
        size: int,
        lists: Sequence[tuple[str, ...]] | None,
    ) -> tuple[Op, ...] | None:
        """The operators of a loop's body, where one explanation holds in every repetition."""
        if not any(counts) or any(
            place + n * size > end for place, n, end in zip(at, counts, self._ends, strict=True)
        ):
            return None
        body = []
        for inner in range(size):
            instances = []
            for d, count in enumerate(counts):
                for n in range(count):
                    place = at[d] + n * size + inner
                    extra: dict[str, object] = {
                        "turn": n,
                        "acted": self._acted(d, at[d], at[d] + n * size),
                    }
                    if lists is not None:
                        extra["item"] = lists[d][n]
                    instances.append((d, place, extra))
            op = self._op(instances, looping=True)
            if op is None:
                return None
            body.append(op)
        return tuple(body)

    def _acted(self, d: int, begin: int, end: int) -> frozenset[str]:
        demo = self._demos[d]
        return frozenset(
            demo.views[i].elements[position].id
            for i in range(begin, end)
            for position in demo.moves[i].positions
        )

    def _scene(self, d: int, place: int, extra: dict[str, object]) -> Scene:
        demo = self._demos[d]
        last = demo.moves[place - 1].positions if place > 0 else ()
        scene = Scene(
            demo.views[place],
            demo.slots,
            before=demo.views[place - 1] if place > 0 else None,
            last_id=demo.views[place - 1].elements[last[-1]].id if last else "",
            used=frozenset(
                bare(text)
                for i in range(place)
                for position in demo.moves[i].positions
                for text in demo.views[i].said[position]
            ),
        )
        return replace(scene, cache={}, **extra)  # type: ignore[arg-type]

    def _op(
        self, instances: Sequence[tuple[int, int, dict[str, object]]], *, looping: bool = False
    ) -> Op | None:
        key = (
            looping,
            tuple((d, place, tuple(sorted(extra.items()))) for d, place, extra in instances),
        )
        if key not in self._ops:
            if len(self._ops) >= _EXPLAINED:
                return None
            self._ops[key] = self._explain(instances, looping=looping)
        return self._ops[key]

    def _explain(
        self, instances: Sequence[tuple[int, int, dict[str, object]]], *, looping: bool
    ) -> Op | None:
        moves = [self._demos[d].moves[place] for d, place, _ in instances]
        first = moves[0]
        if any(_shape(move) != _shape(first) for move in moves):
            return None
        scenes = [self._scene(d, place, extra) for d, place, extra in instances]
        finders = []
        for n in range(len(first.positions)):
            sights = [Sight(s, m.positions[n]) for s, m in zip(scenes, moves, strict=True)]
            found = explain_element(sights, looping=looping)
            if not found:
                return None
            finders.append(tuple(found))
        values = []
        for n in range(len(first.texts)):
            typed = [
                Typed(replace(s, target=next(iter(m.positions), None), cache={}), m.texts[n])
                for s, m in zip(scenes, moves, strict=True)
            ]
            texts = explain_text(typed)
            if not texts:
                return None
            values.append(tuple(texts))
        changes = all(self._changed(d, place) for d, place, _ in instances)
        length = max(move.length for move in moves)
        return Op(first.kind, first.params, tuple(finders), tuple(values), changes, length)

    def _changed(self, d: int, place: int) -> bool:
        views = self._demos[d].views
        return place + 1 < len(views) and views[place].print != views[place + 1].print


def _moved(at: Places, counts: Sequence[int], size: int) -> Places:
    return tuple(place + n * size for place, n in zip(at, counts, strict=True))


def _shape(move: Move) -> tuple[object, ...]:
    return (move.kind, move.params, len(move.positions), len(move.texts))


def _mark(move: Move, view: View) -> tuple[object, ...]:
    # Keys are all that tells one chord from another; a text typed into a field is no part of the kind.
    keys = () if move.positions else move.texts
    return (*_shape(move), *keys, *(view.elements[position].role for position in move.positions))


def _uses_item(op: Op) -> bool:
    return any(_has_item(f) for finders in op.finders for f in finders) or any(
        isinstance(value, Item) for values in op.values for value in values
    )


def _has_item(finder: Finder) -> bool:
    parts = (getattr(finder, "value", None), *getattr(finder, "values", ()))
    anchor = getattr(finder, "anchor", None)
    return any(isinstance(part, Item) for part in parts) or (
        anchor is not None and _has_item(anchor)
    )


def _with_item(op: Op) -> Op:
    """The operator with the explanations that speak of the present entry, where there are any."""
    finders = tuple(tuple(f for f in found if _has_item(f)) or found for found in op.finders)
    values = tuple(
        tuple(value for value in found if isinstance(value, Item)) or found for found in op.values
    )
    return replace(op, finders=finders, values=values)


def _stopping(op: Op, ended: Sequence[Scene]) -> Op | None:
    """The operator with the explanations of its first element that find nothing once the loop has
    ended.
    """
    if not op.finders:
        return None
    kept = tuple(f for f in op.finders[0] if all(f.find(scene) is None for scene in ended))
    return replace(op, finders=(kept, *op.finders[1:])) if kept else None


def _awaited(op: Op, begun: Sequence[Scene]) -> Op | None:
    """The operator with the explanations of its first element that find nothing while the loop
    goes on.
    """
    if not op.finders:
        return None
    kept = tuple(f for f in op.finders[0] if all(not reachable(f, scene) for scene in begun))
    return replace(op, finders=(kept, *op.finders[1:])) if kept else None


def reachable(finder: Finder, scene: Scene) -> bool:
    """Whether the element is found where it can be pointed at."""
    found = finder.find(scene)
    if found is None:
        return False
    element = scene.view.elements[found]
    return element.role == "option" or "offscreen" not in element.states


def _of_month(condition: Says) -> bool:
    return all(
        isinstance(value, Slot) and value.transform.startswith("month ")
        for value in condition.values
    )


def _conditions(begun: Sequence[Scene], ended: Sequence[Scene]) -> Iterator[Says]:
    """Texts of the instruction that come up on the screen just when the loop ends."""
    for text, values in plain_table(ended[0]).items():
        if text not in ended[0].view.by_bare:
            continue
        for value in sorted(values, key=lambda v: v.cost)[:1]:
            if not isinstance(value, Slot):
                continue
            condition = Says(Filter(), (value,))
            if all(condition.find(scene) is not None for scene in ended) and all(
                condition.find(scene) is None for scene in begun
            ):
                yield condition

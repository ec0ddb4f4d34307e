"""Which of several explanations that hold is believed: those that use what the instruction
varies.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from services.planner.strategies.exemplar.program import Block, Loop, Op
from services.planner.strategies.exemplar.template import SlotKey
from services.planner.strategies.exemplar.values import Entries, Finder, Slot, Value

Part = TypeVar("Part", bound=Finder | Value)

_AGAIN = 0.6
"""What a slot costs more that something before has used already."""
_SAME_TRANSFORM = 0.15
"""What an explanation costs less that transforms with a size that something before has used."""
_WORTH = 1.2
"""How much dearer an explanation may be that uses a slot which nothing else uses."""


def prefer_unused(
    blocks: Sequence[Block], gap_of: Mapping[SlotKey, int], varying: frozenset[int]
) -> tuple[Block, ...]:
    """Choose explanations so that as many as possible of the varying gaps of the template are used.

    Args:
        blocks: operators with all their explanations.
        gap_of: in which gap each slot lies.
        varying: the gaps that hold something.
    """
    chosen = _Preference(gap_of)
    found = tuple(chosen.block(block) for block in blocks)
    for gap in sorted(varying - chosen.used):
        found = _use(gap, found, gap_of)
    return found


def _use(gap: int, blocks: tuple[Block, ...], gap_of: Mapping[SlotKey, int]) -> tuple[Block, ...]:
    """The blocks with the one change that uses the gap and costs least more, where one is worth
    it.
    """
    if any(gap in _gaps_of(block, gap_of) for block in blocks):
        return blocks
    changes: list[tuple[float, int, Block]] = []
    for number, block in enumerate(blocks):
        ops = block.body if isinstance(block, Loop) else (block,)
        for place, op in enumerate(ops):
            for extra, changed in _changes(op, gap, gap_of):
                body = (*ops[:place], changed, *ops[place + 1 :])
                whole = replace(block, body=body) if isinstance(block, Loop) else changed
                changes.append((extra, number, whole))
    extra, number, whole = min(changes, key=lambda c: c[0], default=(_WORTH, 0, blocks[0]))
    if extra >= _WORTH:
        return blocks
    return (*blocks[:number], whole, *blocks[number + 1 :])


def _changes(op: Op, gap: int, gap_of: Mapping[SlotKey, int]) -> Iterator[tuple[float, Op]]:
    """The operator with another explanation of one of its parts that uses the gap, and what it
    costs more.
    """
    for n, values in enumerate(op.values):
        other = _with_gap(values, gap, gap_of)
        if other is not None:
            extra = other[0].cost - values[0].cost
            yield extra, replace(op, values=(*op.values[:n], other, *op.values[n + 1 :]))
    for n, finders in enumerate(op.finders):
        found = _with_gap(finders, gap, gap_of)
        if found is not None:
            extra = found[0].cost - finders[0].cost
            yield extra, replace(op, finders=(*op.finders[:n], found, *op.finders[n + 1 :]))


def _with_gap(
    parts: tuple[Part, ...], gap: int, gap_of: Mapping[SlotKey, int]
) -> tuple[Part, ...] | None:
    if _gaps(parts[0], gap_of):
        return None
    for number, part in enumerate(parts):
        if gap in _gaps(part, gap_of):
            return (part, *parts[:number], *parts[number + 1 :])
    return None


class _Preference:
    """Goes through a program from its beginning and remembers what was used."""

    def __init__(self, gap_of: Mapping[SlotKey, int]) -> None:
        self._gap_of = gap_of
        self.used: set[int] = set()
        self._sizes: set[str] = set()

    def block(self, block: Block) -> Block:
        """The block with its explanations in the order of belief."""
        if isinstance(block, Loop):
            if block.key is not None and block.key in self._gap_of:
                self.used.add(self._gap_of[block.key])
            parts = [p for p in (block.count, block.condition) if p is not None]
            for part in parts:
                self._note(part)
            return replace(block, body=tuple(self._op(op) for op in block.body))
        return self._op(block)

    def _op(self, op: Op) -> Op:
        values = tuple(tuple(sorted(found, key=self._rank)) for found in op.values)
        finders = tuple(tuple(sorted(found, key=self._rank)) for found in op.finders)
        for value in values:
            self._note(value[0])
        for finder in finders:
            self._note(finder[0])
        return replace(op, values=values, finders=finders)

    def _rank(self, part: Finder | Value) -> float:
        gaps = _gaps(part, self._gap_of)
        again = _AGAIN if gaps and gaps <= self.used else 0.0
        same = _SAME_TRANSFORM if sizes(part) & self._sizes else 0.0
        return part.cost + again - same

    def _note(self, part: Finder | Value) -> None:
        self.used |= _gaps(part, self._gap_of)
        self._sizes |= sizes(part)


def _gaps_of(block: Block, gap_of: Mapping[SlotKey, int]) -> frozenset[int]:
    ops = block.body if isinstance(block, Loop) else (block,)
    found: set[int] = set()
    if isinstance(block, Loop) and block.key is not None and block.key in gap_of:
        found.add(gap_of[block.key])
    for op in ops:
        for values in op.values:
            found |= _gaps(values[0], gap_of)
        for finders in op.finders:
            found |= _gaps(finders[0], gap_of)
    return frozenset(found)


def _gaps(part: Finder | Value, gap_of: Mapping[SlotKey, int]) -> set[int]:
    return {gap_of[slot.key] for slot in slots_in(part) if slot.key in gap_of}


def sizes(part: Finder | Value) -> set[str]:
    """The sizes that its transforms name, such as `3` of `page of 3`."""
    transforms = [slot.transform for slot in slots_in(part) if isinstance(slot, Slot)]
    return {name.rpartition(" ")[2] for name in transforms if "page" in name}


def slots_in(part: Finder | Value) -> list[Slot | Entries]:
    """The slots that an explanation uses."""
    if isinstance(part, Slot | Entries):
        return [part]
    found: list[Slot | Entries] = []
    for name in ("value", "anchor", "finder", "whole", "place"):
        inner: Any = getattr(part, name, None)
        if hasattr(inner, "cost"):
            found += slots_in(inner)
    several: tuple[Value, ...] = (*getattr(part, "values", ()), *getattr(part, "words", ()))
    for each in several:
        found += slots_in(each)
    return found

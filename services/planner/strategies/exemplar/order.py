"""Steps whose order does not matter, put into one order in all demonstrations."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

from services.planner.strategies.exemplar.moves import Demonstration
from services.planner.strategies.exemplar.scene import Scene
from services.planner.strategies.exemplar.values import bare, plain_table

_RUN = 6
"""Longest run of like steps that is put into another order: 720 orders are tried at most."""

_Keys = frozenset[object]


def in_one_order(demos: Sequence[Demonstration]) -> list[Demonstration]:
    """The demonstrations with each run of steps of one kind in the order of the first demonstration.

    Two steps are taken for the same where one slot of the instruction, or one text, stands for both.
    """
    first = demos[0]
    return [first, *(_like(first, demo) for demo in demos[1:])]


def _like(first: Demonstration, other: Demonstration) -> Demonstration:
    kinds = [move.kind for move in first.moves]
    if kinds != [move.kind for move in other.moves]:
        return other
    order: list[int] = []
    for _, group in itertools.groupby(range(len(kinds)), key=lambda i: kinds[i]):
        run = list(group)
        order += _matching(first, other, run) or run
    if order == sorted(order):
        return other
    moves = tuple(other.moves[i] for i in order)
    views = (*(other.views[i] for i in order), *other.views[len(order) :])
    return replace(other, moves=moves, views=views)


def _matching(first: Demonstration, other: Demonstration, run: list[int]) -> list[int] | None:
    """The order of the other's run that matches the first's; None where it matches as it is, or never."""
    if not 1 < len(run) <= _RUN:
        return None
    wanted = [_keys(first, i) for i in run]
    offered = {i: _keys(other, i) for i in run}
    for order in itertools.permutations(run):
        if all(keys & offered[i] for keys, i in zip(wanted, order, strict=True)):
            return list(order)
    return None


def _keys(demo: Demonstration, place: int) -> _Keys:
    """What stands for a step: the slots that give its text, or what its element says or is called."""
    move, view = demo.moves[place], demo.views[place]
    slots = plain_table(Scene(view, demo.slots))
    texts = [bare(text) for text in move.texts]
    if not texts:
        texts = [bare(text) for i in move.positions for text in view.said[i]]
    found: set[object] = set(texts)
    for text in texts:
        found.update(value for value in slots.get(text, ()) if value.cost < 1.1)
    return frozenset(found)

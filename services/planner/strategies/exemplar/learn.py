"""From exemplars and the present instruction to a program; what was learned before is kept."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from services.planner.strategies.exemplar.induce import Induction
from services.planner.strategies.exemplar.moves import calm, demonstration
from services.planner.strategies.exemplar.order import in_one_order
from services.planner.strategies.exemplar.preferences import prefer_unused
from services.planner.strategies.exemplar.program import Program, total
from services.planner.strategies.exemplar.template import align, likeness, slots
from services.planner.strategies.views import View
from tectum.plugins import Exemplar


class NoProgramError(Exception):
    """No program explains the demonstrations; the message says how far it went."""


class Learner:
    """Learns programs; keeps the last ones by exemplars and template."""

    def __init__(self, kept: int = 256) -> None:
        self._kept = kept
        self._programs: OrderedDict[object, Program | NoProgramError] = OrderedDict()

    def learn(self, exemplars: Sequence[Exemplar], instruction: str) -> Program:
        """The simplest program for these exemplars; the present instruction helps to see what
        varies.

        Where no program explains all of them, those whose instructions are least like the present
        one are
        left out one by one: they may show another task.

        Raises:
            NoProgramError: not even the likest alone can be explained.
        """
        chosen = sorted(exemplars, key=lambda e: likeness(e.instruction, instruction), reverse=True)
        first: NoProgramError | None = None
        while chosen:
            known = self._of(chosen, instruction)
            if isinstance(known, Program):
                return known
            first = first or known
            chosen.pop()
        raise first or NoProgramError("expected an exemplar, got none")

    def _of(self, exemplars: Sequence[Exemplar], instruction: str) -> Program | NoProgramError:
        ids = tuple(exemplar.exemplar_id for exemplar in exemplars)
        anchors = align([*(exemplar.instruction for exemplar in exemplars), instruction])
        key = (ids, anchors)
        known = self._programs.get(key)
        if known is None:
            known = _learn(exemplars, anchors)
            self._programs[key] = known
            if len(self._programs) > self._kept:
                self._programs.popitem(last=False)
        return known


def _learn(
    exemplars: Sequence[Exemplar], anchors: tuple[tuple[str, str], ...]
) -> Program | NoProgramError:
    views: dict[str, View] = {}
    demos = [
        demonstration(exemplar, slots(exemplar.instruction, anchors), views)
        for exemplar in exemplars
    ]
    demos = [demo for demo in demos if demo.moves]
    if not demos:
        return NoProgramError("expected a demonstration with an action, got none")
    ids = tuple(exemplar.exemplar_id for exemplar in exemplars)
    demos = in_one_order(demos)
    search = Induction(demos)
    blocks = search.program()
    if blocks is None:
        calmed = [calm(demo) for demo in demos]
        if [demo.moves for demo in calmed] != [demo.moves for demo in demos]:
            blocks = Induction(calmed).program()
    if blocks is None:
        moves = [len(demo.moves) for demo in demos]
        return NoProgramError(
            f"no program explains {len(demos)} demonstrations of {moves} actions;"
            f" the last {search.explained()} can be explained"
        )
    varying = frozenset.intersection(
        *(frozenset(n for n in demo.slots.gap_of.values()) for demo in demos)
    )
    blocks = prefer_unused(blocks, demos[0].slots.gap_of, varying)
    return Program(blocks, anchors, total(blocks), ids)

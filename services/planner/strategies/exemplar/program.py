"""A learned program: operators and loops over them, with what each costs to believe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from services.planner.strategies.exemplar.moves import Params
from services.planner.strategies.exemplar.template import SlotKey
from services.planner.strategies.exemplar.values import Finder, Value

PROGRAM_VERSION = 1
"""Raised when the meaning of a program changes; a stored one of another version is learned anew."""


@dataclass(frozen=True, slots=True)
class Op:
    """One operator; for each element and text it needs, the explanations that hold, cheapest
    first.
    """

    kind: type
    params: Params
    finders: tuple[tuple[Finder, ...], ...]
    values: tuple[tuple[Value, ...], ...]
    changes: bool
    """In every demonstration the screen was different after it."""
    length: float = 0.0
    """Of a drag in a direction: the longest that was demonstrated; screen pixels."""

    @property
    def cost(self) -> float:
        """That of the best explanation of each part."""
        return (
            1.0
            + sum(finders[0].cost for finders in self.finders)
            + sum(values[0].cost for values in self.values)
        )

    def say(self) -> str:
        """In words."""
        parts = [finders[0].say() for finders in self.finders]
        texts = [values[0].say() for values in self.values]
        name = "".join(f" {c.lower()}" if c.isupper() else c for c in self.kind.__name__).strip()
        return " ".join([name, " to ".join(parts), *(f"<{text}>" for text in texts)]).strip()


@dataclass(frozen=True, slots=True)
class Loop:
    """Operators that are repeated.

    `control`: `each` goes through a list of the instruction, `found` goes on while its first
    element is found,
    `until` goes on until `condition` (or, without one, the next operator's element) is found,
    `times` goes on
    as often as a number says.
    """

    body: tuple[Op, ...]
    control: str
    key: SlotKey | None = None
    count: Value | None = None
    condition: Finder | None = None
    evidence: float = 0.0
    """What it takes off the cost that the loop ended, after different numbers of turns, just when it should."""

    @property
    def cost(self) -> float:
        """That of the body, and of saying when it ends."""
        control = {"each": 0.6, "found": 1.9, "until": 1.2, "times": 0.8}[self.control]
        if self.condition is not None:
            control += self.condition.cost
        return control - self.evidence + sum(op.cost for op in self.body)

    def say(self) -> str:
        """In words."""
        inner = ", then ".join(op.say() for op in self.body)
        if self.control == "each" and self.key is not None:
            return f"for each entry of {self.key[0]} {self.key[1] + 1}: {inner}"
        if self.control == "times" and self.count is not None:
            return f"as often as {self.count.say()}: {inner}"
        if self.control == "until":
            what = "what comes next" if self.condition is None else self.condition.say()
            return f"until {what} is there: {inner}"
        return f"while there is one: {inner}"


Block = Op | Loop


@dataclass(frozen=True, slots=True)
class Program:
    """What was learned from one set of exemplars."""

    blocks: tuple[Block, ...]
    anchors: tuple[tuple[str, str], ...]
    """The constant tokens of the instruction template."""
    cost: float
    exemplar_ids: tuple[str, ...]
    version: int = PROGRAM_VERSION

    def say(self) -> str:
        """In words, one line for each block."""
        return "\n".join(block.say() for block in self.blocks)


def total(blocks: Sequence[Block]) -> float:
    """The cost of several blocks."""
    return sum(block.cost for block in blocks)

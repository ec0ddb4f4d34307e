"""Strategy `exemplar`: does what demonstrations of the task did, re-grounded on what is on the
screen.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from services.planner.strategies.exemplar.learn import Learner, NoProgramError
from services.planner.strategies.exemplar.run import Run
from services.planner.strategies.exemplar.template import slots
from services.planner.strategies.views import View
from tectum.actions.types import Action, Fail, Wait
from tectum.observations.types import Screen
from tectum.plugins import Choice, Exemplar, PastStep, PluginError, Strategy, StrategyContext

_SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "exemplars": {
            "type": "integer",
            "minimum": 1,
            "maximum": 10,
            "description": "Exemplars of the winning lesson to learn from; 3 where absent.",
        },
        "similarity": {
            "type": "number",
            "minimum": -1,
            "maximum": 1,
            "description": "Least similarity of the nearest exemplar; 0.3 where absent.",
        },
    },
}


_NEAR = 4
"""Other lessons are looked for among this many times the exemplars that are learned from."""


class ExemplarStrategy:
    """One turn; after a restart it is brought back to where it stood by the history."""

    def __init__(
        self, context: StrategyContext, learner: Learner, most: int, similarity: float
    ) -> None:
        self._context = context
        self._learner = learner
        self._most = most
        self._similarity = similarity
        self._run: Run | None = None
        self._refusal = ""
        self._known = 0

    async def decide(self, instruction: str, history: Sequence[PastStep], screen: Screen) -> Choice:
        """The next action; Fail with the reason where the exemplars do not tell."""
        if self._run is None and not self._refusal:
            first = history[0].screen if history else screen
            await self._prepare(instruction, first)
        if self._run is None:
            return Choice(Action(Fail(self._refusal)), self._refusal)
        while self._known < len(history):
            past = history[self._known]
            status = history[self._known - 1].status if self._known else None
            self._run.choose(View(past.screen), status)
            self._known += 1
        status = history[-1].status if history else None
        self._known += 1
        return self._run.choose(View(screen), status)

    async def _prepare(self, instruction: str, screen: Screen) -> None:
        """Find a lesson whose program can begin on this screen; the nearest lesson comes first."""
        found = await self._context.memory.search(
            instruction, screen, limit=self._most, by_lesson=True
        )
        if not found:
            self._refusal = "no exemplar is known: teach this task first"
            return
        nearest = max(similarity for _, similarity in found)
        if nearest < self._similarity:
            self._refusal = (
                f"expected an exemplar with a similarity of at least {self._similarity},"
                f" the nearest has {nearest:.2f}: teach this task first"
            )
            return
        winner = [exemplar for exemplar, _ in found[: self._most]]
        if await self._adopt(winner, instruction, screen):
            return
        for lesson in await self._others(winner, instruction, screen):
            if await self._adopt(lesson, instruction, screen):
                return
        if self._run is None:
            self._refusal = self._refusal or "no lesson's program can begin on this screen"

    async def _others(
        self, winner: Sequence[Exemplar], instruction: str, screen: Screen
    ) -> list[list[Exemplar]]:
        """The other lessons near by, nearest first."""
        near = await self._context.memory.search(
            instruction, screen, limit=_NEAR * self._most, by_lesson=False
        )
        lessons: dict[str, list[Exemplar]] = {}
        for exemplar, similarity in near:
            if exemplar.lesson != winner[0].lesson and similarity >= self._similarity:
                lessons.setdefault(exemplar.lesson, []).append(exemplar)
        return [lesson[: self._most] for lesson in lessons.values()]

    async def _adopt(self, lesson: list[Exemplar], instruction: str, screen: Screen) -> bool:
        """Learn a lesson's program; True where it can begin on this screen. The first is kept
        anyway.
        """
        try:
            program = await self._context.offload.run(self._learner.learn, lesson, instruction)
        except NoProgramError as error:
            self._refusal = self._refusal or str(error)
            return False
        values = slots(instruction, program.anchors)
        trial = Run(program, values).choose(View(screen), None)
        begins = not isinstance(trial.action.kind, Fail | Wait)
        if begins or self._run is None:
            self._run = Run(program, values)
        return begins


class ExemplarPlugin:
    """Registers `exemplar`."""

    name = "exemplar"
    summary = "Learns a small program from at most a few demonstrations; needs no language model."
    settings_schema = json.dumps(_SCHEMA)

    def __init__(self) -> None:
        self._learner = Learner()

    def create(self, context: StrategyContext) -> Strategy:
        """A strategy for one turn.

        Raises:
            PluginError: STRATEGY_SETTINGS_INVALID.
        """
        try:
            settings: Any = json.loads(context.settings or "{}")
        except ValueError as error:
            raise _invalid(f"expected JSON, got {context.settings[:80]!r}: {error}") from None
        if not isinstance(settings, dict) or settings.keys() - {"exemplars", "similarity"}:
            raise _invalid(f"expected exemplars and similarity, got {settings!r}")
        most = settings.get("exemplars", 3)
        similarity = settings.get("similarity", 0.3)
        if not isinstance(most, int) or isinstance(most, bool) or not 1 <= most <= 10:
            raise _invalid(f"expected exemplars to be 1 to 10, got {most!r}")
        if not isinstance(similarity, int | float) or not -1 <= similarity <= 1:
            raise _invalid(f"expected similarity to be -1 to 1, got {similarity!r}")
        return ExemplarStrategy(context, self._learner, most, float(similarity))


def plugin() -> ExemplarPlugin:
    """The entry point."""
    return ExemplarPlugin()


def _invalid(message: str) -> PluginError:
    return PluginError("STRATEGY_SETTINGS_INVALID", f"exemplar: {message}")

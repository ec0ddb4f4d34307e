"""Strategy `exemplar`: does what demonstrations of the task did, re-grounded on what is on the screen."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from services.planner.strategies.exemplar.learn import Learner, NoProgramError
from services.planner.strategies.exemplar.run import Run
from services.planner.strategies.exemplar.template import slots
from services.planner.strategies.views import View
from tectum.actions.types import Action, Fail
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
        found = await self._context.memory.search(
            instruction, screen, limit=self._most, by_lesson=True
        )
        exemplars: list[Exemplar] = [exemplar for exemplar, _ in found[: self._most]]
        if not exemplars:
            self._refusal = "no exemplar is known: teach this task first"
            return
        nearest = max(similarity for _, similarity in found)
        if nearest < self._similarity:
            self._refusal = (
                f"expected an exemplar with a similarity of at least {self._similarity},"
                f" the nearest has {nearest:.2f}: teach this task first"
            )
            return
        try:
            program = await self._context.offload.run(self._learner.learn, exemplars, instruction)
        except NoProgramError as error:
            self._refusal = str(error)
            return
        self._run = Run(program, slots(instruction, program.anchors))


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

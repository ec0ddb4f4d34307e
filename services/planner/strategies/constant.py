"""Strategy `constant`: one configured action, for ever or so many times, then done."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from services.planner.strategies.script import act
from services.planner.strategies.views import View
from tectum.actions.types import Action, Done
from tectum.demonstrations import DemonstrationError, Step, parse_steps
from tectum.observations.types import Screen
from tectum.plugins import Choice, PastStep, PluginError, Strategy, StrategyContext

_SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "step": {
            "type": "object",
            "description": "A step as in a demonstration, such as {wait: 0}; else the first button.",
        },
        "times": {"type": "integer", "minimum": 0, "description": "0 or absent: for ever."},
    },
}

_FIELDS = {"step", "times"}
_FIRST_BUTTON = {"click": {"role": "button", "nth": 0}}


class Constant:
    """Repeats its step; the count is read off the history, so that a restart changes nothing."""

    def __init__(self, step: Step, times: int) -> None:
        self._step = step
        self._times = times

    async def decide(self, instruction: str, history: Sequence[PastStep], screen: Screen) -> Choice:
        """The step, or done once it was done often enough.

        Raises:
            PluginError: the step's target is not on the screen (TARGET_NOT_FOUND,
            TARGET_AMBIGUOUS).
        """
        if self._times and len(history) >= self._times:
            return Choice(Action(Done()), f"repeated {self._times} times as configured")
        return Choice(
            act(self._step, View(screen)), f"configured step, repetition {len(history) + 1}"
        )


class ConstantPlugin:
    """Registers `constant`."""

    name = "constant"
    summary = "Repeats one configured action; for timing and tests."
    settings_schema = json.dumps(_SCHEMA)

    def create(self, context: StrategyContext) -> Strategy:
        """A strategy for one turn.

        Raises:
            PluginError: STRATEGY_SETTINGS_INVALID.
        """
        try:
            settings: Any = json.loads(context.settings or "{}")
        except ValueError as error:
            raise _invalid(f"expected JSON, got {context.settings[:80]!r}: {error}") from None
        if not isinstance(settings, dict) or settings.keys() - _FIELDS:
            raise _invalid(f"expected at most {sorted(_FIELDS)}, got {settings!r}")
        times = settings.get("times", 0)
        if not isinstance(times, int) or isinstance(times, bool) or times < 0:
            raise _invalid(f"expected times to be a whole number of at least 0, got {times!r}")
        try:
            (step,) = parse_steps([settings.get("step", _FIRST_BUTTON)])
        except DemonstrationError as error:
            raise _invalid(str(error)) from None
        return Constant(step, times)


def plugin() -> ConstantPlugin:
    """The entry point."""
    return ConstantPlugin()


def _invalid(message: str) -> PluginError:
    return PluginError("STRATEGY_SETTINGS_INVALID", f"constant: {message}")

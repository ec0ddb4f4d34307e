"""Spans around what strategies do, with the step that they decide about."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

from opentelemetry import trace

from libs.telemetry import names
from libs.telemetry.trace import Attributes, span
from tectum.observations.types import Screen
from tectum.plugins import Choice, PastStep, Strategy, StrategyContext, StrategyPlugin

_step: ContextVar[int] = ContextVar("step", default=0)


@contextmanager
def for_step(step: int) -> Iterator[None]:
    """Mark the current span, and what strategies do in the block, as deciding about `step`."""
    token = _step.set(step)
    trace.get_current_span().set_attribute(names.STEP, step)
    try:
        yield
    finally:
        _step.reset(token)


class TracedPlugin:
    """A plug-in whose strategies leave a span for every decision."""

    def __init__(self, inner: StrategyPlugin) -> None:
        self._inner = inner
        self.name = inner.name
        self.summary = inner.summary
        self.settings_schema = inner.settings_schema

    def create(self, context: StrategyContext) -> Strategy:
        """A strategy of the plug-in."""
        return _TracedStrategy(self.name, self._inner.create(context))


class _TracedStrategy:
    def __init__(self, name: str, inner: Strategy) -> None:
        self._name = name
        self._inner = inner

    async def decide(self, instruction: str, history: Sequence[PastStep], screen: Screen) -> Choice:
        attributes: Attributes = {
            names.GEN_AI_OPERATION: names.INVOKE_AGENT,
            names.GEN_AI_AGENT: self._name,
            names.STEP: _step.get(),
        }
        with span(f"{names.INVOKE_AGENT} {self._name}", attributes):
            return await self._inner.decide(instruction, history, screen)

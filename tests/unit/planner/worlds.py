"""Turns, outcomes and scripted strategies for tests of the planner."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from libs.clock import SystemClock
from services.planner.domain import Planner
from services.planner.ports import PlannerLimits, TurnRecord
from tectum.actions.types import Action, ActionKind, Click, Point
from tectum.geometry import Size
from tectum.observations.types import Element, Screen
from tectum.plugins import Choice, PastStep, Strategy, StrategyContext
from tectum.protocol.messages import Outcome, OutcomeStatus, Plan, TurnStarted
from tectum.protocol.types import Body, BodyKind, Epoch

BODY = Body("gui/0/1-env", 1, BodyKind.GUI, 0)
E1, E2 = Epoch(1, 1), Epoch(1, 2)


def screen(number: int) -> Screen:
    return Screen(f"o{number}", Size(10, 10), elements=(Element(f"b{number}", "button", "OK"),))


def turn(
    *,
    session_id: str = "s1",
    epoch: Epoch = E1,
    first_step: int = 1,
    strategy: str = "scripted",
    **fields: Any,
) -> TurnStarted:
    return TurnStarted(
        session_id=session_id,
        epoch=epoch,
        first_step=first_step,
        instruction="do it",
        strategy=strategy,
        body=BODY,
        screen=screen(first_step),
        **fields,
    )


def outcome(step: int, *, session_id: str = "s1", epoch: Epoch = E1, **fields: Any) -> Outcome:
    """An outcome with the next screen inside."""
    given = {"status": OutcomeStatus.OK, "screen": screen(step + 1), **fields}
    return Outcome(session_id=session_id, epoch=epoch, step=step, **given)


class Scripted:
    """A plug-in whose strategies click the screen's button, or do what a test hands them."""

    summary = "for tests"
    settings_schema = "{}"

    def __init__(
        self,
        act: Callable[[Sequence[PastStep], Screen], ActionKind] | None = None,
        *,
        name: str = "scripted",
    ) -> None:
        self.name = name
        self.act = act
        self.created: list[StrategyContext] = []
        self.asked: list[tuple[str, tuple[PastStep, ...], Screen]] = []
        self.wait: asyncio.Event | None = None
        self.leave: Callable[[], Any] | None = None
        self.thinking = asyncio.Event()

    def create(self, context: StrategyContext) -> Strategy:
        self.created.append(context)
        return self

    async def decide(self, instruction: str, history: Sequence[PastStep], seen: Screen) -> Choice:
        self.asked.append((instruction, tuple(history), seen))
        self.thinking.set()
        if self.wait is not None:
            try:
                await self.wait.wait()
            finally:
                if self.leave is not None:
                    await self.leave()
        kind = self.act(history, seen) if self.act else Click(Point.element(seen.elements[0].id))
        return Choice(Action(kind), f"choice {len(self.asked)}", ("x1",))


class Sink:
    """Plans as they were published; `errors` are raised first."""

    def __init__(self) -> None:
        self.plans: list[Plan] = []
        self.errors: list[Exception] = []

    async def publish(self, plan: Plan) -> None:
        if self.errors:
            raise self.errors.pop(0)
        self.plans.append(plan)


class Turns:
    """A log that holds one turn, or none."""

    def __init__(self, record: TurnRecord | None = None) -> None:
        self.record = record
        self.reads = 0

    async def last_turn(self, session_id: str) -> TurnRecord | None:
        self.reads += 1
        return self.record


def planner(
    plugin: Any, sink: Sink, turns: Turns | None = None, left_out: Sequence[str] = (), **limits: Any
) -> Planner:
    return Planner(
        {plugin.name: plugin},
        None,
        sink,
        turns or Turns(),
        None,
        SystemClock(),
        PlannerLimits(**limits),
        left_out,
    )

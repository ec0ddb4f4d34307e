"""Sessions as the log records them, and the exemplars that come of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from services.memory.types import Exemplar, ExemplarStep
from tectum.actions.types import Action, ActionKind, Click, Point
from tectum.geometry import Size
from tectum.observations.types import Element, Screen
from tectum.protocol.messages import (
    Outcome,
    OutcomeStatus,
    Plan,
    Score,
    Target,
    TurnStarted,
)
from tectum.protocol.types import Body, BodyKind, Epoch

BODY = Body("gui/0/7-a", 7, BodyKind.GUI, 0)
E0 = Epoch(1, 0)
CLICK = Action(Click(Point.element("e1")))


def screen(name: str, *roles: str, url: str = "http://Shop.example:8000/a") -> Screen:
    elements = tuple(
        Element(f"e{n}", role, f"{role} {n}") for n, role in enumerate(roles or ("button",), 1)
    )
    return Screen(name, Size(500, 320), elements=elements, url=url)


def turn(
    first_step: int = 1,
    *,
    attempt: int = 1,
    epoch: Epoch = E0,
    instruction: str = "Click Ok",
    seen: Screen | None = None,
) -> TurnStarted:
    return TurnStarted(
        "s1", epoch, first_step, instruction, "script", BODY, seen or screen(f"o{first_step - 1}"),
        attempt=attempt,
    )  # fmt: skip


def step(
    number: int,
    kind: ActionKind | None = None,
    *,
    status: OutcomeStatus = OutcomeStatus.OK,
    reason: str = "",
    epoch: Epoch = E0,
    target: Target | None = None,
) -> list[Any]:
    plan = Plan(
        "s1", epoch, number, Action(kind) if kind else CLICK, BODY,
        observation_id=f"o{number - 1}",
        target=target or Target("e1", "button", "Ok", "http://shop.example:8000/a"),
    )  # fmt: skip
    return [plan, Outcome("s1", epoch, number, status, reason, screen=screen(f"o{number}"))]


def score(*, success: bool = True, attempt: int = 1) -> Score:
    return Score("s1", attempt, 1.0 if success else -1.0, success, "environment")


def exemplar(
    exemplar_id: str,
    lesson: str = "click",
    instruction: str = "Click the button",
    *,
    roles: Sequence[str] = ("button",),
    verified_by: str = "environment",
    session_id: str = "",
) -> Exemplar:
    return Exemplar(
        exemplar_id,
        lesson,
        instruction,
        (ExemplarStep(screen("o0", *roles), CLICK),),
        last_screen=screen("o1"),
        session_id=session_id or exemplar_id,
        verified_by=verified_by,
    )

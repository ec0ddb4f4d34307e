"""Plans as the planner makes them."""

from __future__ import annotations

from tectum.actions.types import Action, ActionKind, Click, Point
from tectum.protocol.messages import Plan, Target
from tectum.protocol.types import Body, BodyKind, Epoch

BODY = Body("gui/0/7-a", 7, BodyKind.GUI, 2)
FIRST = Epoch(1, 0)
PAGE = "http://127.0.0.1:8000/miniwob/click-test.html"


def plan(
    kind: ActionKind | None = None,
    *,
    session_id: str = "s1",
    epoch: Epoch = FIRST,
    step: int = 1,
    url: str = PAGE,
    element_id: str = "e1",
    role: str = "button",
    name: str = "Ok",
    secret: bool = False,
    policy: str = "",
) -> Plan:
    return Plan(
        session_id=session_id,
        epoch=epoch,
        step=step,
        action=Action(kind or Click(Point.element("e1"))),
        body=BODY,
        observation_id="o1",
        policy=policy,
        target=Target(element_id, role, name, url, secret),
    )

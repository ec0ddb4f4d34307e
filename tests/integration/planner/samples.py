"""Screens, exemplars and a memory for tests of the strategy `model`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from libs.offload import Offload
from services.planner.settings import ModelSettings
from services.planner.strategies.model import ModelPlugin
from tectum.actions.types import Action, ActionKind, Click, Done, Point, TypeText
from tectum.geometry import Box, Size
from tectum.observations.types import Element, Screen
from tectum.plugins import Exemplar, PastStep, Strategy, StrategyContext
from tectum.protocol.messages import OutcomeStatus

URL = "https://shop.example:8443/basket?item=1"


def screen(number: int = 1, url: str = URL, *, says: str = "Basket") -> Screen:
    """A page with a heading, a field and a button; ids belong to this very screen."""
    return Screen(
        observation_id=f"o{number}",
        size=Size(200, 100),
        elements=(
            Element(f"h{number}", "heading", name=says, box=Box(0, 0, 200, 20)),
            Element(f"f{number}", "textbox", name="Code", value="", box=Box(0, 30, 100, 20)),
            Element(f"b{number}", "button", name="Pay", box=Box(0, 60, 40, 20)),
        ),
        url=url,
    )


def exemplar(name: str, *kinds: ActionKind, instruction: str = "") -> Exemplar:
    """Two steps on screens of their own, or those that are given."""
    chosen = kinds or (TypeText("X", Point.element("f7")), Click(Point.element("b8")))
    steps = tuple((screen(7 + i), Action(kind)) for i, kind in enumerate(chosen))
    return Exemplar(name, "pay", instruction or f"Pay like {name}", steps)


def past(number: int, kind: ActionKind | None = None, reason: str = "") -> PastStep:
    status = OutcomeStatus.FAILED if reason else OutcomeStatus.OK
    return PastStep(screen(number), Action(kind or Done()), status, reason)


class Memory:
    """An ExemplarSearch over what a test put in; it says what it was asked."""

    def __init__(
        self, found: Sequence[tuple[Exemplar, float]] = (), turns: Sequence[str] = ()
    ) -> None:
        self.found = found
        self.turns = turns
        self.searched: list[tuple[str, str, int, bool]] = []
        self.sites: list[tuple[str, int]] = []

    async def search(
        self, instruction: str, screen: Screen, *, limit: int, by_lesson: bool
    ) -> Sequence[tuple[Exemplar, float]]:
        self.searched.append((instruction, screen.observation_id, limit, by_lesson))
        return self.found[:limit]

    async def history(self, site: str, last: int) -> Sequence[str]:
        self.sites.append((site, last))
        return self.turns[:last]


def strategy(
    platform: ModelSettings,
    memory: Memory,
    offload: Offload,
    secret_names: tuple[str, ...] = (),
    **settings: Any,
) -> Strategy:
    """What the plug-in makes of the platform's and the caller's settings."""
    context = StrategyContext(memory, json.dumps(settings), offload, secret_names)
    return ModelPlugin(platform).create(context)

"""Demonstrated steps find their targets on the present screen, or say what they found instead."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from services.planner.strategies import constant, script
from services.planner.strategies.script import act
from services.planner.strategies.views import View
from tectum.actions import types as a
from tectum.actions.types import Action, Point
from tectum.demonstrations import parse_steps
from tectum.geometry import Box
from tectum.observations.types import Element, Screen
from tectum.plugins import PastStep, PluginError, StrategyContext
from tectum.protocol.messages import OutcomeStatus
from tests.unit.planner.screens import screen


class Unused:
    """Stands where a strategy asks for nothing."""


def made(plugin, settings: object):
    return plugin.create(StrategyContext(Unused(), json.dumps(settings), Unused()))


def done(step: object, seen: Screen) -> a.ActionKind:
    (parsed,) = parse_steps([step])
    return act(parsed, View(seen)).kind


PAGE = screen(
    ("text", "Name"),
    ("textbox", ""),
    ("button", "Ok"),
    ("button", "Cancel"),
    ("button", "Ok"),
)


@pytest.mark.parametrize(
    ("step", "kind"),
    [
        ({"click": {"role": "button", "name": "Cancel"}}, a.Click(Point.element("3"))),
        ({"click": {"role": "button", "name": "Ok", "nth": -1}}, a.Click(Point.element("4"))),
        ({"double_click": "Cancel"}, a.Click(Point.element("3"), count=2)),
        ({"type": {"into": {"label": "Name"}, "text": "Ann"}}, a.TypeText("Ann", Point.element("1"))),
        ({"type": {"text": "Ann", "submit": True}}, a.TypeText("Ann", submit=True)),
        ({"type": {"into": {"role": "textbox"}, "secret": "pin"}},
         a.TypeText(a.SecretRef("pin"), Point.element("1"))),
        ({"click": {"role": "button", "near": {"name": "Cancel"}, "nth": 0}}, a.Click(Point.element("2"))),
        ({"click": {"role": "button", "after": {"name": "Cancel"}}}, a.Click(Point.element("4"))),
        ({"key": "Control+a"}, a.KeyChord(("Control", "a"))),
        ({"scroll": {"dy": 40}}, a.Scroll(None, 0.0, 40.0)),
        ({"drag": {"from": {"name": "Cancel"}, "dx": 10}},
         a.Drag((Point.element("3"), Point.screen(60, 68)))),
        ({"click": {"point": [3, 4]}}, a.Click(Point.screen(3, 4))),
        ("done", a.Done()),
        ({"answer": 42}, a.Answer("42")),
        ({"dialog": "dismiss"}, a.AnswerDialog(False)),
    ],
)  # fmt: skip
def test_a_step_becomes_its_action(step: object, kind: a.ActionKind) -> None:
    assert done(step, PAGE) == kind


def test_a_text_means_the_active_element_around_it() -> None:
    inner = Element("t", "text", text="Send", parent_id="b", box=Box(2, 2, 10, 10))
    button = Element("b", "button", "Send", box=Box(0, 0, 20, 20))
    assert done({"click": "Send"}, screen(button, inner)) == a.Click(Point.element("b"))


def test_a_row_tells_equal_elements_apart() -> None:
    rows = [
        Element(f"{n}{kind}", role, name, text=text, box=Box(x, 20.0 * n, 30, 16))
        for n, who in enumerate(("Ann", "Bob"))
        for kind, role, name, text, x in (
            ("t", "text", "", who, 0),
            ("b", "button", "Call", "", 40),
        )
    ]
    assert done({"click": {"name": "Call", "row": "Bob"}}, screen(*rows)) == a.Click(
        Point.element("1b")
    )


@pytest.mark.parametrize(
    ("step", "reason", "said"),
    [
        ({"click": {"name": "Ok"}}, "TARGET_AMBIGUOUS", "got 2"),
        ({"click": {"name": "Go"}}, "TARGET_NOT_FOUND", "'Cancel'"),
        ({"click": {"role": "button", "nth": 3}}, "TARGET_NOT_FOUND", "got 3 that match"),
    ],
)
def test_what_cannot_be_meant_is_said(step: object, reason: str, said: str) -> None:
    with pytest.raises(PluginError, match=said) as caught:
        done(step, PAGE)
    assert caught.value.reason == reason


async def test_steps_are_played_once_whatever_was_looked_at_between() -> None:
    strategy = made(script.plugin(), {"steps": [{"click": "Cancel"}, {"click": "Go"}]})
    first = await strategy.decide("", (), PAGE)
    history = [PastStep(PAGE, first.action, OutcomeStatus.OK)]
    look = await strategy.decide("", history, PAGE)
    assert isinstance(look.action.kind, a.Wait)
    history.append(PastStep(PAGE, look.action, OutcomeStatus.OK))
    there = screen(("button", "Go"))
    second = await strategy.decide("", history, there)
    assert second.action.kind == a.Click(Point.element("0"))
    history.append(PastStep(there, second.action, OutcomeStatus.OK))
    assert (await strategy.decide("", history, there)).action.kind == a.Done()


async def test_a_target_that_never_comes_and_a_failed_step_are_errors() -> None:
    strategy = made(script.plugin(), {"steps": [{"click": "Go"}]})
    history: list[PastStep] = []
    with pytest.raises(PluginError, match="expected an element"):
        for _ in range(20):
            choice = await strategy.decide("", history, PAGE)
            history.append(PastStep(PAGE, choice.action, OutcomeStatus.OK))
    assert 1 < len(history) < 20
    failed = [PastStep(PAGE, Action(a.Click(Point.element("3"))), OutcomeStatus.FAILED, "GONE")]
    with pytest.raises(PluginError, match="GONE"):
        await strategy.decide("", failed, PAGE)


async def test_the_constant_step_is_repeated_as_often_as_was_said() -> None:
    strategy = made(constant.plugin(), {"step": {"click": "Cancel"}, "times": 2})
    history: list[PastStep] = []
    kinds = []
    for _ in range(3):
        choice = await strategy.decide("", history, PAGE)
        kinds.append(type(choice.action.kind))
        history.append(PastStep(PAGE, choice.action, OutcomeStatus.OK))
    assert kinds == [a.Click, a.Click, a.Done]


@pytest.mark.parametrize(
    ("plugin", "settings"),
    [
        (script.plugin(), {}),
        (script.plugin(), {"steps": [{"jump": 1}]}),
        (script.plugin(), {"steps": [], "more": 1}),
        (constant.plugin(), {"steps": []}),
        (constant.plugin(), {"step": {"click": "x"}, "times": -1}),
        (constant.plugin(), {"step": {"click": "x"}, "times": True}),
    ],
)
def test_settings_that_are_none_are_refused(plugin, settings: object) -> None:
    with pytest.raises(PluginError) as caught:
        made(plugin, settings)
    assert caught.value.reason == "STRATEGY_SETTINGS_INVALID"


def test_a_view_survives_a_tree_that_names_itself() -> None:
    loop = [replace(Element("a", "button", "A"), parent_id="b"), Element("b", "row", parent_id="a")]
    view = View(screen(*loop))
    assert {tuple(sorted(path)) for path in view.ancestry}
    assert view.inside(0, 1) or view.inside(1, 0)

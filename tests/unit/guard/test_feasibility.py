from __future__ import annotations

from dataclasses import replace

import pytest

from services.guard.domain import Guard, infeasibility
from services.guard.policy_files import load_policies
from tectum.actions.types import (
    ActionKind,
    Click,
    Drag,
    ElementPoint,
    GoTo,
    HoldKey,
    KeyChord,
    KeyDown,
    LongPress,
    MarkPoint,
    ModelPoint,
    NormalisedPoint,
    Pinch,
    Point,
    Scroll,
    SecretRef,
    SelectOption,
    TypeText,
    UploadFiles,
    Wait,
    Zoom,
)
from tectum.geometry import Box, Size
from tectum.protocol.messages import Verdict
from tests.unit.guard.plans import plan

AT = Point.element("e1")


@pytest.mark.parametrize(
    "kind",
    [
        Click(AT, count=3),
        Click(Point(ElementPoint("e1", NormalisedPoint(0, 1)))),
        Click(Point.screen(0, 0)),
        Click(Point(ModelPoint(5, 5, Size(10, 10), crop=Box(0, 0, 4, 4)))),
        Click(Point(MarkPoint(7))),
        Drag((AT, Point.screen(5, 5))),
        TypeText("x" * 65_536),
        Scroll(None, 0, -300),
        KeyChord(("Control", "a")),
        GoTo("https://example.org"),
    ],
)
def test_feasible(kind: ActionKind) -> None:
    assert infeasibility(plan(kind)) == ""


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (Click(AT, count=0), "1 to 3 clicks"),
        (Click(Point.screen(-1, 5)), "got -1"),
        (Click(Point.screen(float("nan"), 5)), "nan"),
        (Click(Point(NormalisedPoint(1.1, 0))), "fractions"),
        (Click(Point(ModelPoint(11, 5, Size(10, 10)))), "10x10"),
        (Click(Point(ModelPoint(1, 5, Size(10, 10), crop=Box(0, 0, 0, 4)))), "crop"),
        (Click(Point.element("")), "element id"),
        (Click(Point.element("e9")), "'e9'"),
        (Click(Point(ElementPoint("e1", NormalisedPoint(-0.1, 0)))), "fractions"),
        (Drag((AT,)), "2 to 256"),
        (TypeText("x" * 65_537), "65536"),
        (TypeText(SecretRef("")), "secret"),
        (TypeText("x", Point.element("e2")), "'e2'"),
        (Scroll(None, float("inf"), 0), "scroll"),
        (KeyChord(()), "keys"),
        (KeyDown(""), "key"),
        (HoldKey(("a",), 10.5), "10 s"),
        (LongPress(AT, -1), "10 s"),
        (Wait(61), "60 s"),
        (Pinch(AT, 0), "scale"),
        (SelectOption(AT, ()), "label"),
        (UploadFiles(AT, (), ()), "files"),
        (GoTo("example.org"), "'example.org'"),
        (Zoom(Box(0, 0, -1, 2)), "region"),
    ],
)
def test_infeasible(kind: ActionKind, said: str) -> None:
    assert said in infeasibility(plan(kind))


def test_an_element_needs_the_observation_that_named_it() -> None:
    assert "observation" in infeasibility(replace(plan(), observation_id=""))
    assert "'e1'" in infeasibility(replace(plan(), target=None))


def test_what_is_infeasible_is_denied_whatever_the_policy_says() -> None:
    guard = Guard(load_policies(None), "default")
    decision = guard.check(plan(Click(AT, count=9)))
    assert (decision.verdict, decision.rule_id) == (Verdict.DENY, "feasibility")
    assert "got 9" in decision.reason

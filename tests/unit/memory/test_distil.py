from __future__ import annotations

import pytest

from services.memory.domain.distil import exemplar_of, site_of, turns_of
from tectum.actions.types import (
    Answer,
    Click,
    Done,
    Fail,
    KeyChord,
    Point,
    SecretRef,
    TypeText,
    Wait,
    WaitUntilStable,
)
from tectum.protocol.messages import Outcome, OutcomeStatus, Target
from tectum.protocol.types import Epoch
from tests.unit.memory.sessions import E0, score, screen, step, turn

AT = Point.element("e1")


def distil(messages: list[object]) -> list[tuple[str, str]] | None:
    """Screen and action of each step that was kept."""
    found = exemplar_of(messages, session_id="s1", lesson="l")
    if found is None:
        return None
    return [(one.screen.observation_id, one.action.name) for one in found.steps]


def test_an_exemplar_has_each_action_with_the_screen_it_was_planned_on() -> None:
    messages = [turn(), *step(1), *step(2, TypeText("x", AT)), score(), *step(3, Done())]
    found = exemplar_of(messages, session_id="s1", lesson="l")
    assert found is not None
    assert distil(messages) == [("o0", "click"), ("o1", "type_text"), ("o2", "done")]
    assert (found.exemplar_id, found.lesson, found.verified_by) == ("s1/1", "l", "environment")
    assert found.instruction == "Click Ok"
    assert found.last_screen == screen("o3")


def test_waits_and_failed_steps_are_left_out() -> None:
    failed = step(2, status=OutcomeStatus.FAILED, reason="DENIED")
    unknown = step(4, status=OutcomeStatus.UNKNOWN)
    messages = [turn(), *step(1, Wait(1)), *failed, *step(3, WaitUntilStable()), *unknown]
    assert distil([*messages, *step(5), *step(6, Fail("x")), score()]) == [("o4", "click")]
    assert distil([*messages, score()]) is None, "no step is left"


@pytest.mark.parametrize("scores", [[], [score(success=False)]])
def test_without_a_verified_success_there_is_no_exemplar(scores: list[object]) -> None:
    assert distil([turn(), *step(1), *scores]) is None


def test_only_the_attempt_that_succeeded_counts() -> None:
    lost = [turn(), *step(1), *step(2, TypeText("x", AT)), score(success=False)]
    again = [turn(3, attempt=2, epoch=Epoch(1, 1)), *step(3, epoch=Epoch(1, 1)), score(attempt=2)]
    assert distil(lost + again) == [("o2", "click")]
    found = exemplar_of(lost + again, session_id="s1", lesson="l")
    assert found is not None
    assert found.exemplar_id == "s1/2"


def test_the_first_outcome_of_a_step_counts() -> None:
    late = Outcome("s1", E0, 1, OutcomeStatus.UNKNOWN)
    assert distil([turn(), *step(1), late, score()]) == [("o0", "click")]


def test_order_across_topics_does_not_matter() -> None:
    messages = [turn(), *step(1), *step(2, TypeText("x", AT)), score()]
    expected = distil(messages)
    plans = [m for m in messages if type(m).__name__ == "Plan"]
    others = [m for m in messages if type(m).__name__ != "Plan"]
    assert distil(plans + others) == expected
    assert distil(others + plans[::-1]) == expected


def test_a_plan_of_a_dropped_epoch_is_not_what_was_done() -> None:
    done = step(1, epoch=Epoch(1, 1))
    dropped = step(1, KeyChord(("a",)))[:1]
    assert distil([turn(), *dropped, *done, score()]) == [("o0", "click")]
    assert distil([turn(), *done, *dropped, score()]) == [("o0", "click")]


def test_a_turn_as_text() -> None:
    secret = Target("e2", "textbox", "Pin", "https://pay.example/", secret=True)
    messages = [
        turn(instruction="Buy  the\nbook"),
        *step(1, Click(AT)),
        *step(2, TypeText("1234", Point.element("e2")), target=secret),
        *step(3, TypeText(SecretRef("pin"), Point.element("e2")), target=secret),
        *step(4, KeyChord(("Control", "a")), status=OutcomeStatus.FAILED, reason="DENIED"),
        *step(5, Answer("42")),
        score(),
    ]
    (found,) = turns_of(messages, session_id="s1", finished_at=9.0)
    assert found.sites == ("shop.example", "pay.example")
    assert found.text.splitlines() == [
        "Task: Buy the book",
        "Site: shop.example, pay.example",
        "1. click button 'Ok'",
        "2. type_text textbox 'Pin' <secret>",
        "3. type_text textbox 'Pin' <secret pin>",
        "4. key_chord button 'Ok' Control+a (failed: DENIED)",
        "5. answer button 'Ok' 42",
        "Result: success",
    ]


def test_turns_keep_their_order_and_need_a_site_and_a_step() -> None:
    nowhere = turn(9, seen=screen("o8", url="file:///a.html"))
    offline = step(9, target=Target(url="file:///a.html"))
    messages = [turn(), *step(1), turn(2, instruction="Next"), *step(2), nowhere, *offline]
    found = turns_of(messages, session_id="s1", finished_at=9.0)
    assert [one.text.splitlines()[0] for one in found] == ["Task: Click Ok", "Task: Next"]
    assert found[0].finished_at < found[1].finished_at
    assert "Result: not judged" in found[0].text


def test_the_text_of_a_turn_is_bounded() -> None:
    messages = [turn(instruction="x" * 9_000)]
    for number in range(1, 400):
        messages += step(number, TypeText("y" * 9_000, AT))
    (found,) = turns_of(messages, session_id="s1", finished_at=9.0)
    assert len(found.text) == 8_000


@pytest.mark.parametrize(
    ("url", "site"),
    [("https://A.example:8/x", "a.example"), ("file:///x", ""), ("", ""), ("http://[", "")],
)
def test_sites(url: str, site: str) -> None:
    assert site_of(url) == site

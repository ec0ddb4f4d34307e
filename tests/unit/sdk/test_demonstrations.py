"""The format of demonstrations: what is read, and what is said of what cannot be."""

from __future__ import annotations

import pytest

from tectum.demonstrations import DemonstrationError, Step, Target, parse_lesson, parse_steps


def test_a_lesson_is_read_whole() -> None:
    lesson = parse_lesson(
        {
            "lesson": "greet",
            "demonstrations": [
                {
                    "environment": "fake://?a=1",
                    "instruction": "Say hello",
                    "steps": [
                        {"type": {"into": {"role": "textbox", "in": {"role": "form"}}, "text": 7}},
                        {"select": {"at": "List", "label": "One"}},
                        "done",
                    ],
                }
            ],
        }
    )
    (shown,) = lesson.demonstrations
    assert (lesson.name, shown.environment, shown.instruction) == (
        "greet",
        "fake://?a=1",
        "Say hello",
    )
    into = Target(role="textbox", within=Target(role="form"))
    assert shown.steps == (
        Step("type", (into,), text="7"),
        Step("select", (Target(text="List"),), labels=("One",)),
        Step("done"),
    )


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ({}, "expected a list"),
        ([{"jump": 1}], "expected a kind"),
        ([{"click": {}}], "empty mapping"),
        ([{"click": {"colour": "red"}}], "colour"),
        ([{"click": {"nth": "two"}}], "expected a number"),
        ([{"click": {"point": [1]}}], r"expected \[x, y\]"),
        ([{"drag": ["a"]}], "2 points or more"),
        ([{"wait": 100}], "0 to 60"),
        ([{"key": []}], "expected keys"),
        ([{"type": {"text": True}}], "expected a text"),
        ([{"type": {"text": "x", "clear": "yes"}}], "true or false"),
        ([{"tab": {"operation": "lose"}}], "new, focus or close"),
        ([{"click": 1, "type": 2}], "one kind"),
        (["done"] * 201, "at most 200"),
    ],
)
def test_what_does_not_follow_the_format_is_named(steps: object, said: str) -> None:
    with pytest.raises(DemonstrationError, match=said) as caught:
        parse_steps(steps, "here")
    assert str(caught.value).startswith("here")


def test_targets_nest_only_so_deep() -> None:
    target: object = "x"
    for _ in range(9):
        target = {"near": target}
    with pytest.raises(DemonstrationError, match="nested"):
        parse_steps([{"click": target}])


@pytest.mark.parametrize(
    "lesson", [{}, {"lesson": "", "demonstrations": []}, {"lesson": "a", "demonstrations": [1]}, []]
)
def test_a_lesson_without_name_or_demonstrations_is_refused(lesson: object) -> None:
    with pytest.raises(DemonstrationError):
        parse_lesson(lesson)

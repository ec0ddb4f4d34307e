"""Which strategies a planner offers, whatever is wrong with one of them."""

from __future__ import annotations

import logging
from importlib.metadata import EntryPoint, entry_points

import pytest

from services.planner.plugins import load_strategies
from tectum.plugins import STRATEGIES

GOOD = "services.planner.strategies.constant:plugin"


def point(name: str, value: str) -> EntryPoint:
    return EntryPoint(name, value, STRATEGIES)


def test_what_the_platform_ships_with_is_whole() -> None:
    found, left_out = load_strategies(entry_points(group=STRATEGIES))
    assert {"constant", "exemplar", "model", "script"} <= found.keys()
    assert left_out == ()
    assert all(found[name].name == name and found[name].summary for name in found)


@pytest.mark.parametrize(
    "value",
    [
        "services.planner.no_such_module:plugin",
        "services.planner.strategies.constant:no_such_name",
        "builtins:object",
        "builtins:input_that_is_missing",
        "os:getcwd",
    ],
)
def test_a_broken_one_is_left_out_and_named(value: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        found, left_out = load_strategies([point("odd", value), point("constant", GOOD)])
    assert list(found) == ["constant"]
    assert left_out == ("odd",)
    (record,) = caplog.records
    assert (vars(record)["strategy"], vars(record)["entry_point"]) == ("odd", value)


def test_a_strategy_is_called_what_its_entry_point_says() -> None:
    found, left_out = load_strategies([point("other", GOOD)])
    assert (found, left_out) == ({}, ("other",))


def test_of_two_of_one_name_the_first_is_kept(caplog: pytest.LogCaptureFixture) -> None:
    found, left_out = load_strategies([point("constant", GOOD), point("constant", GOOD)])
    assert (list(found), left_out) == (["constant"], ())
    assert len(caplog.records) == 1

"""The strategy `model`: settings, endpoints, and translating actions; nothing is asked here."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.planner.settings import ModelSettings
from services.planner.strategies.model import ModelPlugin
from services.planner.strategies.model_actions import (
    SCHEMA,
    AnswerError,
    as_said,
    read_answer,
)
from services.planner.strategies.model_endpoint import BaseUrl, Endpoints
from services.planner.strategies.model_prompt import Task, TooLong, build, tokens_of
from tectum.actions import types as a
from tectum.actions.types import Action, Point
from tectum.geometry import Box, Size
from tectum.observations.types import Element, Screen
from tectum.plugins import Exemplar, PastStep, PluginError, StrategyContext
from tectum.protocol.messages import OutcomeStatus

PLUGIN = ModelPlugin(ModelSettings(name="tiny", allowed_base_urls="https://llm.example/v1"))
SETTINGS = json.loads(PLUGIN.settings_schema)
SCREEN = Screen(
    "o1",
    Size(100, 100),
    elements=(
        Element("e1", "button", name="OK", box=Box(0, 0, 50, 20)),
        Element("e2", "textbox", box=Box(0, 30, 50, 20)),
    ),
)


def create(said: str) -> Any:
    return PLUGIN.create(StrategyContext(None, said, None, ()))


values = st.one_of(
    st.booleans(),
    st.integers(-5, 2_000_000),
    st.none(),
    st.text(max_size=5),
    st.just("x" * 300),
    st.lists(st.integers(), max_size=1),
)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from([*SETTINGS["properties"], "other"]), values, max_size=3))
def test_settings_are_refused_exactly_where_the_published_schema_does(said: dict[str, Any]) -> None:
    problems = list(jsonschema.Draft202012Validator(SETTINGS).iter_errors(said))
    try:
        create(json.dumps(said))
    except PluginError as error:
        between = "max_tokens: expected at most token_limit" in str(error)
        url = error.reason == "MODEL_URL_FORBIDDEN" or "base_url" in str(error)
        assert problems or between or url
    else:
        assert not problems


@pytest.mark.parametrize(
    ("said", "named"),
    [
        ("{", "expected JSON"),
        ("[]", "expected an object"),
        ('{"exemplars": 11}', "exemplars: expected a whole number from 0 to 10, got '11'"),
        ('{"history": true}', "history: expected a whole number from 0 to 3"),
        ('{"temperature": 0.5}', "temperature: expected 0"),
        ('{"modle": "x"}', "modle: expected one of"),
        ('{"token_limit": 1024, "max_tokens": 513}', "max_tokens: expected at most token_limit"),
        ('{"base_url": "ftp://x"}', "base_url: expected a URL such as"),
        ("[" * 50_000, "expected JSON"),
    ],
)
def test_refused_settings_name_the_field(said: str, named: str) -> None:
    with pytest.raises(PluginError) as caught:
        create(said)
    assert caught.value.reason == "STRATEGY_SETTINGS_INVALID"
    assert named in str(caught.value)


def test_a_model_must_have_a_name() -> None:
    with pytest.raises(PluginError, match="TECTUM_MODEL_NAME"):
        ModelPlugin(ModelSettings()).create(StrategyContext(None, "{}", None, ()))


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8000/v1",
        "http://127.9.9.9",
        "http://[::1]:1234/v1/",
        "http://localhost:11434/v1",
        "https://llm.example/v1",
        "https://LLM.example:443/v1/",
    ],
)
def test_loopback_and_listed_endpoints_are_allowed(url: str) -> None:
    assert str(Endpoints(PLUGIN._settings).allow(url)).startswith(("http://", "https://"))


@pytest.mark.parametrize(
    "url",
    [
        "https://llm.example/v2",
        "http://llm.example/v1",
        "https://llm.example:444/v1",
        "https://llm.example.evil.example/v1",
        "http://127.0.0.1.evil.example/v1",
        "http://localhost.evil.example/v1",
        "http://169.254.169.254/latest",
        "http://0.0.0.0:80/v1",
        "http://2130706433/v1",
    ],
)
def test_other_hosts_are_forbidden(url: str) -> None:
    with pytest.raises(PluginError) as caught:
        Endpoints(PLUGIN._settings).allow(url)
    assert caught.value.reason == "MODEL_URL_FORBIDDEN"


@pytest.mark.parametrize(
    "url",
    [
        "https://llm.example@evil.example/v1",
        "https://user:word@llm.example/v1",
        "https://llm.example/v1?x=1",
        "https://llm.example/v1#x",
        "https://llm.example/v1/../admin",
        "http://127.0.0.1:99999/v1",
        "http://127.0.0.1/v1\r\nHost: x",
        "http:///v1",
        "file:///etc/passwd",
        "nonsense",
    ],
)
def test_malformed_endpoints_are_refused(url: str) -> None:
    with pytest.raises(PluginError) as caught:
        Endpoints(PLUGIN._settings).allow(url)
    assert caught.value.reason == "STRATEGY_SETTINGS_INVALID"


def test_one_endpoint_has_one_spelling() -> None:
    assert BaseUrl.parse("https://LLM.example/v1/") == BaseUrl.parse("https://llm.example:443/v1")
    assert str(BaseUrl.parse("http://[::1]/v1")) == "http://[::1]:80/v1"


def test_the_platforms_own_settings_are_checked() -> None:
    for wrong in ("https://u:p@x/v1", "nonsense", "https://x/v1?k=1"):
        with pytest.raises(ValueError, match="base_url"):
            ModelSettings(base_url=wrong)
        with pytest.raises(ValueError, match="allowed_base_urls"):
            ModelSettings(allowed_base_urls=f"https://ok.example/v1,{wrong}")


E1, E2 = Point.element("e1"), Point.element("e2")
SAYABLE = [
    a.Click(E1),
    a.Click(E1, count=2),
    a.Click(E1, button=a.MouseButton.RIGHT),
    a.Hover(E2),
    a.TypeText("text", E2, clear=True),
    a.TypeText("", None, submit=True),
    a.TypeText(a.SecretRef("pin"), E2),
    a.KeyChord(("Control", "a")),
    a.Scroll(None, 0, -120.5),
    a.Scroll(E1, 3, 0),
    a.Drag((E1, E2)),
    a.SelectOption(E2, ("one", "two")),
    a.GoTo("https://x.example/"),
    a.Navigate(a.HistoryDirection.RELOAD),
    a.OperateTab(a.TabOperation.CLOSE, 2),
    a.AnswerDialog(accept=True, text="yes"),
    a.Wait(1.5),
    a.Answer("42"),
    a.AskUser("Which?"),
    a.Done(),
    a.Fail("no such page"),
]


@pytest.mark.parametrize("kind", SAYABLE, ids=lambda kind: type(kind).__name__)
def test_what_can_be_said_is_read_back(kind: a.ActionKind) -> None:
    said = as_said(Action(kind), SCREEN)
    answer = {"reason": "why", "action": said}
    jsonschema.Draft202012Validator(SCHEMA).validate(answer)
    read = read_answer(json.dumps(answer), SCREEN, ("pin",))
    assert (read.reason, read.action) == ("why", Action(kind))


def test_every_kind_of_the_schema_is_tried() -> None:
    kinds = {
        one["properties"]["kind"]["enum"][0] for one in SCHEMA["properties"]["action"]["anyOf"]
    }
    assert {(as_said(Action(kind), SCREEN) or {})["kind"] for kind in SAYABLE} == kinds


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (a.Click(Point.screen(10, 10)), {"kind": "click", "element": "e1"}),
        (a.Focus(E2), {"kind": "click", "element": "e2"}),
        (a.WaitUntilStable(), {"kind": "wait", "seconds": 0}),
    ],
)
def test_what_means_the_same_is_said_in_its_words(kind: a.ActionKind, said: object) -> None:
    assert as_said(Action(kind), SCREEN) == said


@pytest.mark.parametrize(
    "kind",
    [
        a.Click(Point.screen(99, 99)),
        a.Click(E1, modifiers=("Shift",)),
        a.Click(E1, count=3),
        a.Click(Point.element("gone")),
        a.Click(Point(a.ElementPoint("e1", a.NormalisedPoint(0.1, 0.1)))),
        a.Drag((E1, Point.screen(10, 40))),
        a.MouseDown(E1),
        a.Screenshot(),
    ],
)
def test_what_the_schema_has_no_words_for_is_not_said(kind: a.ActionKind) -> None:
    assert as_said(Action(kind), SCREEN) is None


def test_an_id_in_brackets_is_the_id() -> None:
    text = json.dumps({"reason": "", "action": {"kind": "click", "element": "[e1]"}})
    assert read_answer(text, SCREEN, ()).action == Action(a.Click(E1))


def test_an_answer_without_end_is_refused() -> None:
    with pytest.raises(AnswerError, match="at most 65536 characters"):
        read_answer(" " * 70_000, SCREEN, ())


def _screen(text: str, elements: int) -> Screen:
    return Screen(
        "o",
        Size(10, 10),
        elements=tuple(Element(f"e{n}", "button", name=text) for n in range(elements)),
        url="https://x.example/" + text,
    )


words = st.text(st.sampled_from('ab \u00e9\u4e2d\U0001f600"\n'), max_size=60)


@settings(deadline=None, max_examples=60)
@given(
    instruction=words,
    screens=st.lists(st.tuples(words, st.integers(0, 120)), min_size=1, max_size=6),
    turns=st.lists(words.map(lambda text: text * 20), max_size=3),
    tokens=st.integers(200, 6_000),
    shown=st.integers(0, 4),
)
def test_a_prompt_never_passes_its_limit(
    instruction: str, screens: list[tuple[str, int]], turns: list[str], tokens: int, shown: int
) -> None:
    *seen, now = [_screen(*one) for one in screens]
    history = [PastStep(one, Action(a.Wait(1)), OutcomeStatus.FAILED, "X") for one in seen]
    exemplars = [
        Exemplar(f"x{n}", "", instruction, tuple((one, Action(a.Done())) for one in seen))
        for n in range(shown)
    ]
    try:
        prompt = build(Task(instruction, history, now), exemplars, turns, tokens)
    except TooLong:
        # Never where only what may be left out is too much.
        alone = build(Task(instruction, (), now), (), (), 1_000_000)
        assert tokens_of(alone.messages[:2]) > tokens * 0.45
        return
    assert tokens_of(prompt.messages) <= tokens
    assert prompt.exemplar_ids == tuple(f"x{n}" for n in range(len(prompt.exemplar_ids)))
    assert prompt.messages[-1]["role"] == "user"

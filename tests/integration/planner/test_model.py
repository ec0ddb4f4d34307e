"""The strategy `model` over real HTTP: what is asked, what is made of the answers."""

from __future__ import annotations

import json
import zlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from libs.offload import Offload
from libs.telemetry import names
from libs.telemetry.trace import choose_tracer, drop_tracer
from services.planner.settings import ModelSettings
from services.planner.strategies.model import ModelPlugin
from services.planner.strategies.model_actions import SCHEMA
from services.planner.strategies.model_prompt import tokens_of
from services.planner.traced import TracedPlugin, for_step
from tectum.actions.types import (
    Action,
    Click,
    Done,
    Hover,
    MouseDown,
    Point,
    SecretRef,
    TypeText,
)
from tectum.plugins import PluginError, StrategyContext
from tests.integration.planner.endpoint import Endpoint, Reply, acts, endpoint, says
from tests.integration.planner.samples import Memory, exemplar, past, screen, strategy

KEY = "sk-the-key-of-this-platform"


@pytest.fixture
async def offload() -> AsyncIterator[Offload]:
    made = Offload("test-model", threads=1, waiting=8)
    yield made
    await made.aclose()


def settings(at: Endpoint | None = None, **fields: Any) -> ModelSettings:
    if at is not None:
        fields["base_url"] = at.base_url
    return ModelSettings(name="tiny", **fields)


async def test_the_prompt_is_exemplars_then_past_turns_then_the_task(offload: Offload) -> None:
    memory = Memory(
        found=[(exemplar("near"), 0.9), (exemplar("far"), 0.4)], turns=["Task: older order"]
    )
    history = [
        past(2, TypeText("AB", Point.element("f2"))),
        past(3, Click(Point.element("b3")), "ELEMENT_GONE"),
    ]
    async with endpoint(acts("click", "it pays", element="b4")) as server:
        choice = await strategy(settings(server), memory, offload).decide(
            "Pay the basket", history, screen(4)
        )
    assert choice.action == Action(Click(Point.element("b4")))
    assert choice.reason == "it pays"
    assert choice.exemplar_ids == ("near", "far")
    (asked,) = server.asked
    assert (asked.method, asked.path) == ("POST", "/v1/chat/completions")
    roles, said = zip(*asked.messages, strict=True)
    # Two steps of each exemplar, two of this task, its screen; a Task before each.
    one = ["user", *["user", "assistant"] * 2]
    assert list(roles) == ["system", *one, *one, *one, "user"]
    assert said[1].startswith("Task: Pay like far")
    assert said[6].startswith("Task: Pay like near")
    assert said[11] == "Task: Pay the basket\nTrajectory:"
    assert json.loads(said[3])["action"] == {
        "kind": "type_text", "element": "f7", "text": "X", "secret": None, "clear": False,
        "submit": False,
    }  # fmt: skip
    assert json.loads(said[5])["action"] == {"kind": "click", "element": "b8"}
    assert "[b8] Pay" in said[4]
    assert "[f2] Code" in said[12]
    assert json.loads(said[13])["action"]["text"] == "AB"
    assert said[14].startswith("Observation (https://shop.example:8443/basket?item=1):\n(heading")
    # What came of the last action stands before what it led to.
    assert said[16].index("Task: older order") < said[16].index("The last action: failed")
    assert said[16].index("failed ELEMENT_GONE.") < said[16].index("Observation (")
    assert said[16].index("Observation (") < said[16].index("[b4] Pay")
    assert memory.searched == [("Pay the basket", "o2", 3, False)]
    assert memory.sites == [("shop.example", 1)]


async def test_the_request_is_strict_about_what_may_be_answered(offload: Offload) -> None:
    async with endpoint(acts("done"), acts("done")) as server:
        made = strategy(settings(server), Memory(), offload, ("pin",), model="big", max_tokens=77)
        await made.decide("x", [], screen())
        plain = strategy(settings(server), Memory(), offload)
        await plain.decide("x", [], screen())
    first, second = (asked.body for asked in server.asked)
    assert (first["model"], first["max_tokens"], first["temperature"]) == ("big", 77, 0)
    assert (second["model"], second["max_tokens"]) == ("tiny", 1024)
    assert first["response_format"]["type"] == "json_schema"
    schema = first["response_format"]["json_schema"]
    assert schema["strict"] is True
    assert schema["schema"] == SCHEMA
    for one in [SCHEMA, *SCHEMA["properties"]["action"]["anyOf"]]:
        assert one["required"] == list(one["properties"])
        assert one["additionalProperties"] is False
    system = server.asked[0].messages[0]
    assert system[0] == "system"
    assert '"pin"' in system[1]
    assert "There are no secrets" in server.asked[1].messages[0][1]
    for kind in SCHEMA["properties"]["action"]["anyOf"]:
        assert kind["properties"]["kind"]["enum"][0] in system[1]


@pytest.mark.parametrize(("last", "shown"), [(0, []), (1, ["a"]), (3, ["a", "b", "c"])])
async def test_past_turns_are_shown_newest_first(
    offload: Offload, last: int, shown: list[str]
) -> None:
    memory = Memory(turns=["turn a", "turn b", "turn c", "turn d"])
    async with endpoint(acts("done"), acts("done")) as server:
        made = strategy(settings(server), memory, offload, history=last)
        await made.decide("x", [], screen())
        await made.decide("x", [], screen())
    text = server.asked[0].messages[-1][1]
    places = [text.index(f"turn {name}") for name in shown]
    assert places == sorted(places)
    assert [name for name in "abcd" if f"turn {name}" in text] == shown
    # Once for a site, and not at all where none are wanted.
    assert memory.sites == ([("shop.example", last)] if last else [])
    assert server.asked[1].messages == server.asked[0].messages


async def test_a_page_without_a_host_has_no_past_turns(offload: Offload) -> None:
    memory = Memory(turns=["turn a"])
    async with endpoint(acts("done")) as server:
        made = strategy(settings(server), memory, offload, exemplars=0)
        await made.decide("x", [], screen(url="file:///page.html"))
    assert (memory.sites, memory.searched) == ([], [])
    assert "turn a" not in str(server.asked[0].messages)


async def test_the_limit_cuts_whole_exemplars_from_the_least_similar(offload: Offload) -> None:
    found = [(exemplar(f"e{n}"), 1 - n / 10) for n in range(10)]
    shown = {}
    for limit in (1400, 1900, 20_000):
        async with endpoint(acts("done")) as server:
            made = strategy(
                settings(server), Memory(found), offload,
                exemplars=10, token_limit=limit, max_tokens=100,
            )  # fmt: skip
            choice = await made.decide("x", [], screen())
        messages = server.asked[0].body["messages"]
        assert tokens_of(messages) <= limit - 100
        tasks = [said for role, said in server.asked[0].messages if said.startswith("Task: Pay")]
        shown[limit] = len(tasks)
        nearest = [f"e{n}" for n in range(len(tasks))]
        assert list(choice.exemplar_ids) == nearest
        assert [task.split()[3] for task in tasks] == nearest[::-1]
        # Each is whole: a task, and two screens with their actions.
        assert len(messages) == 3 + 5 * len(tasks)
    assert 0 < shown[1400] < shown[1900] < shown[20_000] == 10


async def test_a_demonstration_that_cannot_be_said_is_left_out(offload: Offload) -> None:
    found = [(exemplar("odd", MouseDown(Point.element("b7"))), 0.9), (exemplar("plain"), 0.5)]
    async with endpoint(acts("done")) as server:
        made = strategy(settings(server), Memory(found), offload)
        assert (await made.decide("x", [], screen())).exemplar_ids == ("plain",)


async def test_long_histories_lose_their_oldest_steps_and_say_so(offload: Offload) -> None:
    history = [past(n, Hover(Point.element(f"b{n}"))) for n in range(10, 70)]
    async with endpoint(acts("done")) as server:
        made = strategy(settings(server), Memory(), offload, token_limit=2048, max_tokens=100)
        await made.decide("x", history, screen(70))
    (asked,) = server.asked
    steps = [json.loads(said)["action"]["element"] for role, said in asked.messages
             if role == "assistant"]  # fmt: skip
    assert 3 < len(steps) < 60
    assert steps == [f"b{n}" for n in range(70 - len(steps), 70)]
    assert asked.messages[1][1].endswith(f"(its first {60 - len(steps)} steps are left out)")
    assert tokens_of(asked.body["messages"]) <= 1948


async def test_an_instruction_that_does_not_fit_is_said_to_be_too_long(offload: Offload) -> None:
    async with endpoint() as server:
        made = strategy(settings(server), Memory(), offload, token_limit=2048)
        with pytest.raises(PluginError, match="within 1024 tokens") as caught:
            await made.decide("word " * 2000, [], screen())
    assert (caught.value.reason, server.asked) == ("MODEL_PROMPT_TOO_LONG", [])


async def test_roles_alternate_where_a_model_asks_for_it(offload: Offload) -> None:
    memory = Memory([(exemplar("near"), 0.9)])
    async with endpoint(acts("done"), acts("done")) as server:
        for alternate in (False, True):
            made = strategy(settings(server), memory, offload, alternate=alternate)
            await made.decide("x", [], screen())
    plain, joined = (asked.messages for asked in server.asked)
    roles = [role for role, _ in joined]
    assert roles == ["system", *["user", "assistant"] * 2, "user"]
    assert "\n\n".join(said for _, said in joined) == "\n\n".join(said for _, said in plain)


WRONG = {
    "not JSON": (says("I would click Pay"), "JSON object"),
    "nothing": (says(None), "JSON object"),
    "a list": (says("[]"), "object"),
    "an unknown kind": (acts("explode"), "explode"),
    "a missing field": (acts("click"), "element"),
    "a field too many": (acts("click", element="b1", force=True), "force"),
    "an unknown element": (acts("click", element="b99"), "'b99'"),
    "an unknown secret": (
        acts("type_text", element=None, text=None, secret="pin", clear=False, submit=False),
        "pin",
    ),
    "text and secret": (
        acts("type_text", element=None, text="a", secret="pin", clear=False, submit=False),
        "either text or secret",
    ),
    "too long a wait": (acts("wait", seconds=1e9), "seconds"),
    "no number": (says('{"reason": "", "action": {"kind": "wait", "seconds": NaN}}'), "seconds"),
    "no keys": (acts("key_chord", keys=[]), "keys"),
    "a cut answer": (says('{"reason": "abc', finish="length"), "max_tokens"),
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG.keys())
async def test_a_wrong_answer_is_asked_again_with_the_reason(
    offload: Offload, wrong: tuple[Reply, str]
) -> None:
    reply, why = wrong
    async with endpoint(reply, acts("click", element="b1")) as server:
        choice = await strategy(settings(server), Memory(), offload).decide("x", [], screen())
    assert choice.action == Action(Click(Point.element("b1")))
    first, second = (asked.messages for asked in server.asked)
    assert second[: len(first)] == first
    (role, answered), (asker, problem) = second[len(first) :]
    assert (role, asker) == ("assistant", "user")
    assert why in problem
    said = json.loads(reply.body)["choices"][0]["message"]["content"]
    assert answered in (said, "(nothing)")


async def test_three_wrong_answers_are_enough(offload: Offload) -> None:
    replies = [acts("click", element=f"x{n}") for n in range(3)]
    async with endpoint(*replies, acts("done")) as server:
        with pytest.raises(PluginError, match="'x2'") as caught:
            await strategy(settings(server), Memory(), offload).decide("x", [], screen())
    assert caught.value.reason == "MODEL_ANSWER_INVALID"
    assert len(server.asked) == 3
    # The model is shown its latest mistake alone, so that the prompt does not grow.
    assert len(server.asked[2].messages) == len(server.asked[1].messages)
    assert "x1" in server.asked[2].messages[-1][1]


async def test_correcting_keeps_within_the_limit(offload: Offload) -> None:
    found = [(exemplar(f"e{n}"), 1.0) for n in range(10)]
    async with endpoint(says("a" * 50_000), says("a" * 50_000), acts("done")) as server:
        made = strategy(
            settings(server), Memory(found), offload,
            token_limit=2048, max_tokens=100, exemplars=10,
        )  # fmt: skip
        choice = await made.decide("x", [], screen())
    assert [tokens_of(asked.body["messages"]) <= 1948 for asked in server.asked] == [True] * 3
    shown = [str(asked.messages).count("Task: Pay like") for asked in server.asked]
    assert shown[0] > shown[2] == len(choice.exemplar_ids)


async def test_an_endpoint_that_is_down_is_named(offload: Offload) -> None:
    async with endpoint() as server:
        gone = server.base_url
    with pytest.raises(PluginError, match=r"127\.0\.0\.1.*ConnectError") as caught:
        await strategy(ModelSettings(name="m", base_url=gone), Memory(), offload).decide(
            "x", [], screen()
        )
    assert caught.value.reason == "MODEL_DOWN"


async def test_an_endpoint_that_says_nothing_is_left(offload: Offload) -> None:
    async with endpoint(Reply(silent=True)) as server:
        made = strategy(settings(server, answer_s=0.3), Memory(), offload)
        with pytest.raises(PluginError, match=r"within 0\.3 s") as caught:
            await made.decide("x", [], screen())
    assert (caught.value.reason, len(server.asked)) == ("MODEL_DOWN", 1)


async def test_an_answer_over_the_limit_is_not_read_to_its_end(offload: Offload) -> None:
    big = Reply(b" " * 5_000)
    async with endpoint(big) as server:
        made = strategy(settings(server, answer_bytes_max=4_096), Memory(), offload)
        with pytest.raises(PluginError, match="at most 4096 bytes") as caught:
            await made.decide("x", [], screen())
    assert (caught.value.reason, len(server.asked)) == ("MODEL_ANSWER_INVALID", 1)


async def test_a_compressed_answer_is_not_unfolded(offload: Offload) -> None:
    bomb = zlib.compress(b'{"choices": ' + b" " * 10_000_000 + b"}")
    async with endpoint(Reply(bomb, headers={"content-encoding": "deflate"})) as server:
        made = strategy(settings(server), Memory(), offload)
        with pytest.raises(PluginError, match=f"got {len(bomb)} bytes") as caught:
            await made.decide("x", [], screen())
    assert caught.value.reason == "MODEL_ANSWER_INVALID"
    assert server.asked[0].headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"choices": []}', b"[" * 100_000])
async def test_what_is_no_chat_completion_is_an_invalid_answer(
    offload: Offload, body: bytes
) -> None:
    async with endpoint(Reply(body)) as server:
        with pytest.raises(PluginError, match="expected a chat completion") as caught:
            await strategy(settings(server), Memory(), offload).decide("x", [], screen())
    assert (caught.value.reason, len(server.asked)) == ("MODEL_ANSWER_INVALID", 1)


@pytest.mark.parametrize(
    ("status", "code", "reason", "said"),
    [
        (500, None, "MODEL_DOWN", "got 500"),
        (429, "rate_limit_exceeded", "MODEL_DOWN", r"429 \(rate_limit_exceeded\)"),
        (401, "invalid_api_key", "MODEL_REFUSED", r"401 \(invalid_api_key\)"),
        (400, KEY, "MODEL_REFUSED", "got 400"),
        (302, None, "MODEL_REFUSED", "got 302"),
    ],
)
async def test_http_errors_are_named_and_nothing_of_them_is_quoted(
    offload: Offload, tmp_path: Path, status: int, code: str | None, reason: str, said: str
) -> None:
    file = tmp_path / "key"
    file.write_text(f"{KEY}\n")
    text = f"key {KEY} may not ask about the secret instruction"
    error = json.dumps({"error": {"message": text, "code": code}}).encode()
    async with endpoint() as other, endpoint() as server:
        server.replies.append(
            Reply(error, status, {"location": f"{other.base_url}/chat/completions"})
        )
        made = strategy(settings(server, api_key_file=file), Memory(), offload)
        with pytest.raises(PluginError, match=said) as caught:
            await made.decide("the secret instruction", [], screen())
    assert caught.value.reason == reason
    assert KEY not in str(caught.value)
    assert "secret instruction" not in str(caught.value)
    # A redirect is not followed, and nothing is tried again here.
    assert (len(server.asked), other.asked) == (1, [])


async def test_the_key_goes_to_the_configured_endpoint_alone(
    offload: Offload, tmp_path: Path
) -> None:
    file = tmp_path / "key"
    file.write_text(f"{KEY}\n")
    async with endpoint(acts("done"), acts("done")) as own, endpoint(acts("done")) as other:
        platform = settings(own, api_key_file=file)
        for base in ("", own.base_url + "/", other.base_url):
            named = {"base_url": base} if base else {}
            made = strategy(platform, Memory(), offload, **named)
            await made.decide("x", [], screen())
    assert [asked.headers.get("authorization") for asked in own.asked] == [f"Bearer {KEY}"] * 2
    (asked,) = other.asked
    assert KEY not in str((asked.headers, asked.path, asked.body))


@pytest.mark.parametrize("content", [None, "", "two words", "x" * 5_000, "schlüssel"])
async def test_a_key_that_cannot_be_read_is_said_and_not_shown(
    offload: Offload, tmp_path: Path, content: str | None
) -> None:
    file = tmp_path / "key"
    if content is not None:
        file.write_text(content)
    async with endpoint() as server:
        made = strategy(settings(server, api_key_file=file), Memory(), offload)
        with pytest.raises(PluginError, match="API_KEY_FILE") as caught:
            await made.decide("x", [], screen())
    assert (caught.value.reason, server.asked) == ("MODEL_KEY_UNREADABLE", [])
    assert not content or content not in str(caught.value)


async def test_no_proxy_of_the_process_comes_between(
    offload: Offload, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with endpoint() as proxy, endpoint(acts("done")) as server:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        await strategy(settings(server), Memory(), offload).decide("x", [], screen())
    assert (len(server.asked), proxy.asked) == (1, [])


async def test_secrets_are_typed_by_name(offload: Offload) -> None:
    reply = acts("type_text", element="f1", text=None, secret="pin", clear=True, submit=True)
    async with endpoint(reply) as server:
        made = strategy(settings(server), Memory(), offload, ("pin", "mail"))
        choice = await made.decide("x", [], screen())
    typed = TypeText(SecretRef("pin"), Point.element("f1"), clear=True, submit=True)
    assert choice.action == Action(typed)


async def test_a_decision_leaves_a_span_with_step_and_model(offload: Offload) -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("test")
    choose_tracer(tracer)
    try:
        async with endpoint(acts("done")) as server:
            plugin = TracedPlugin(ModelPlugin(settings(server)))
            made = plugin.create(StrategyContext(Memory(), "", offload))
            with for_step(7):
                await made.decide("x", [], screen())
    finally:
        drop_tracer(tracer)
        provider.shutdown()
    (kept,) = exporter.get_finished_spans()
    assert kept.name == "invoke_agent model"
    assert kept.attributes is not None
    assert (kept.attributes[names.STEP], kept.attributes[names.GEN_AI_MODEL]) == (7, "tiny")


async def test_what_the_planner_did_itself_is_shown_too(offload: Offload) -> None:
    odd = past(2, MouseDown(Point.element("b2")))
    async with endpoint(acts("done")) as server:
        choice = await strategy(settings(server), Memory(), offload).decide("x", [odd], screen())
    assert json.loads(server.asked[0].messages[3][1])["action"] == {"kind": "mouse_down"}
    assert choice.action == Action(Done())

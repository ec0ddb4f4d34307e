"""Memory over its real store and the real embedding model."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from libs.clock import SystemClock
from libs.engine.local import LocalEngine
from libs.errors import AlreadyExists, DependencyDown, InvalidRequest, NotFound
from services.memory.domain import memory as module
from services.memory.domain.key import key_texts
from services.memory.domain.memory import Limits, Memory
from services.memory.store import SqliteExemplarStore
from services.memory.types import Exemplar, ExemplarStep, Turn
from tectum.memory.v1 import memory_pb2
from tectum.wire import from_wire
from tests.unit.memory.sessions import CLICK, exemplar, screen

LIMITS = Limits(exemplars_max=100, lesson_max=50, turns_per_site=3, sites_max=2)

LESSONS = {
    "press": ('Click on the "Ok" button.', 'Press the button labelled "Cancel".', ("button",) * 3),
    "login": (
        'Enter the username "anna" and the password "x1" and press login.',
        'Sign in: username "bob", password "Qz9".',
        ("textbox", "textbox", "button"),
    ),
    "email": (
        "Find the email by Jere and forward it to Orelie.",
        "Forward the mail that Sofia sent to Hans.",
        ("text", "listitem", "listitem", "img"),
    ),
    "date": (
        "Select 03/11/2016 as the date and hit submit.",
        "Choose the date 12/24/2016, then submit.",
        ("textbox", "button"),
    ),
    "list": (
        "Select Bosnia from the list and click Submit.",
        "Pick Ghana out of the drop-down list and submit.",
        ("combobox", "option", "option", "button"),
    ),
}


@asynccontextmanager
async def opened(path: Path, limits: Limits = LIMITS) -> AsyncIterator[Memory]:
    engine, store = LocalEngine(), SqliteExemplarStore(path / "memory.sqlite")
    memory = Memory(engine, store, SystemClock(), limits, dimensions=384)
    try:
        await memory.open()
        yield memory
    finally:
        await store.aclose()
        await engine.aclose()


def read(payload: bytes) -> Exemplar:
    return from_wire(memory_pb2.Exemplar.FromString(payload), Exemplar)


async def found(memory: Memory, instruction: str, *roles: str, **options: object) -> list[str]:
    seen = screen("now", *roles) if roles else None
    matches = await memory.search(instruction, seen, **options)  # type: ignore[arg-type]
    return [read(match.payload).exemplar_id for match in matches]


async def test_what_was_written_is_there_after_a_restart(tmp_path: Path) -> None:
    async with opened(tmp_path) as memory:
        assert await memory.write(exemplar("a")) == "a"
    async with opened(tmp_path) as memory:
        kept = read(await memory.get("a"))
        assert kept.written_at > 0
        assert kept == replace(exemplar("a"), written_at=kept.written_at, abstraction_version=1)
        assert await found(memory, "Click the button", "button") == ["a"]
        with pytest.raises(NotFound) as caught:
            await memory.get("b")
        assert caught.value.reason == "EXEMPLAR_NOT_FOUND"


async def test_a_paraphrase_finds_its_lesson_among_others(tmp_path: Path) -> None:
    async with opened(tmp_path) as memory:
        for lesson, (taught, _, roles) in LESSONS.items():
            await memory.write(exemplar(lesson, lesson, taught, roles=roles))
        for lesson, (_, asked, roles) in LESSONS.items():
            assert (await found(memory, asked, *roles, limit=1)) == [lesson]
            assert (await found(memory, asked, limit=1)) == [lesson], "by the instruction alone"


async def test_the_lesson_of_most_of_the_nearest_three_is_answered_whole(tmp_path: Path) -> None:
    async with opened(tmp_path) as memory:
        for number in range(4):
            await memory.write(exemplar(f"b{number}", "buttons", f'Click the "x{number}" button'))
        await memory.write(exemplar("odd", "odd", "Click the button"))
        await memory.write(exemplar("far", "far", "Translate the letter into French"))
        nearest = await found(memory, "Click the button", "button", limit=1)
        assert nearest == ["odd"]
        whole = await found(memory, "Click the button", "button", by_lesson=True)
        assert sorted(whole) == ["b0", "b1", "b2", "b3"]
        two = await found(memory, "Click the button", "button", by_lesson=True, limit=2)
        assert two == whole[:2]
        only = await found(memory, "Click the button", "button", lesson="far")
        assert only == ["far"]


async def test_similarity_is_a_cosine(tmp_path: Path) -> None:
    async with opened(tmp_path) as memory:
        await memory.write(exemplar("a"))
        (same,) = await memory.search("Click the button", screen("o0", "button"))
        (blind,) = await memory.search("Click the button", None)
        (other,) = await memory.search("Translate the letter", screen("o0", "img", "table"))
    assert same.similarity == pytest.approx(1.0, abs=1e-5)
    assert blind.similarity == pytest.approx(1.0, abs=1e-5)
    assert -1 <= other.similarity < 0.7


def test_values_do_not_change_what_an_instruction_is_found_by() -> None:
    texts = [
        'Enter "anna" and 12 in the field, then tell Bob.',
        'Enter "x y z" and 7,500 in the field, then tell Maria Smith.',
    ]
    assert len({key_texts(text, None).instruction for text in texts}) == 1
    assert key_texts("Don't click, it's 5", None).instruction == "Don't click, it's 0"


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (exemplar("a", verified_by=""), "EXEMPLAR_NOT_VERIFIED"),
        (exemplar("a", verified_by="planner"), "EXEMPLAR_NOT_VERIFIED"),
        (replace(exemplar("a"), steps=()), "EXEMPLAR_EMPTY"),
        (exemplar("a", lesson=""), "EXEMPLAR_EMPTY"),
        (exemplar("a", instruction=""), "EXEMPLAR_EMPTY"),
        (exemplar("x" * 257), "EXEMPLAR_TOO_LARGE"),
        (exemplar("a", instruction="x" * 16_385), "EXEMPLAR_TOO_LARGE"),
        (
            replace(exemplar("a"), steps=(ExemplarStep(screen("o"), CLICK),) * 201),
            "EXEMPLAR_TOO_LARGE",
        ),
    ],
)
async def test_what_is_no_exemplar_is_refused(tmp_path: Path, bad: Exemplar, reason: str) -> None:
    async with opened(tmp_path) as memory:
        with pytest.raises(InvalidRequest) as caught:
            await memory.write(bad)
        assert caught.value.reason == reason
        assert await found(memory, "Click the button") == []


async def test_an_id_is_written_once_and_costs_no_other(tmp_path: Path) -> None:
    limits = replace(LIMITS, exemplars_max=2)
    async with opened(tmp_path, limits) as memory:
        await memory.write(exemplar("a"))
        await memory.write(exemplar("b"))
        with pytest.raises(AlreadyExists) as caught:
            await memory.write(exemplar("a", instruction="Another"))
        assert caught.value.reason == "EXEMPLAR_EXISTS"
        assert read(await memory.get("a")).instruction == "Click the button"
        assert read(await memory.get("b")).exemplar_id == "b"


@pytest.mark.parametrize(
    ("limits", "left"),
    [
        (replace(LIMITS, exemplars_max=3), ["a2", "a3", "b1"]),
        (replace(LIMITS, lesson_max=1), ["a3", "b1"]),
    ],
)
async def test_over_a_limit_the_oldest_of_the_largest_lesson_goes(
    tmp_path: Path, limits: Limits, left: list[str]
) -> None:
    async with opened(tmp_path, limits) as memory:
        for name in ("b1", "a1", "a2", "a3"):
            await memory.write(exemplar(name, name[0]))
        assert sorted(await found(memory, "Click the button", limit=9)) == left
    async with opened(tmp_path, limits) as memory:
        assert sorted(await found(memory, "Click the button", limit=9)) == left


async def test_lists_page_by_id_without_screens(tmp_path: Path) -> None:
    async with opened(tmp_path) as memory:
        for name in ("c", "a", "d", "b"):
            await memory.write(exemplar(name, "x" if name == "d" else "y"))
        first, token = await memory.list("", 3, "")
        rest, end = await memory.list("", 3, token)
        ids = [memory_pb2.Exemplar.FromString(p).exemplar_id for p in [*first, *rest]]
        assert (ids, bool(token), end) == (["a", "b", "c", "d"], True, "")
        (only,), _ = await memory.list("x", 0, "")
        summary = memory_pb2.Exemplar.FromString(only)
        assert summary.exemplar_id == "d"
        assert summary.steps[0].action.WhichOneof("kind") == "click"
        assert not summary.HasField("last_screen")
        assert not summary.steps[0].HasField("screen")
        with pytest.raises(InvalidRequest, match="1000"):
            await memory.list("", 1_001, "")


async def test_answers_stay_below_the_size_of_a_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path) as memory:
        for name in "abc":
            await memory.write(exemplar(name))
        size = len(await memory.get("a"))
        monkeypatch.setattr(module, "ANSWER_BYTES_MAX", size * 2 + 10)
        assert await found(memory, "Click the button") == ["a", "b"]
        monkeypatch.setattr(module, "ANSWER_BYTES_MAX", 1)
        assert await found(memory, "Click the button") == ["a"]
        names, token = [], ""
        for _ in range(3):
            (one,), token = await memory.list("", 0, token)
            names.append(memory_pb2.Exemplar.FromString(one).exemplar_id)
        assert (names, token) == (["a", "b", "c"], "")


async def test_what_is_forgotten_is_gone_from_the_file_too(tmp_path: Path) -> None:
    word = "Zanzibar-4711"
    async with opened(tmp_path) as memory:
        await memory.write(exemplar("a", instruction=f"Fly to {word}", session_id="s9"))
        await memory.write(exemplar("b", session_id="s8"))
        await memory.finish_turn(Turn("s9/0", "s9", ("x.example",), 1.0, f"Task: {word}"))
        assert await memory.forget(session_id="s9") == 1
        assert await memory.forget(session_id="s9") == 0
        assert await found(memory, f"Fly to {word}") == ["b"]
        assert await memory.history("x.example", 3) == []
        for file in tmp_path.iterdir():
            assert word.encode() not in file.read_bytes()
        assert await memory.forget(lesson="click") == 1
        with pytest.raises(InvalidRequest) as caught:
            await memory.forget()
        assert caught.value.reason == "FORGET_WHAT"


async def test_history_is_the_last_turns_on_a_site_newest_first(tmp_path: Path) -> None:
    async with opened(tmp_path) as memory:
        for number in range(5):
            sites = ("a.example", "b.example") if number == 4 else ("a.example",)
            await memory.finish_turn(Turn(f"t{number}", "s", sites, float(number), f"T{number}"))
    async with opened(tmp_path) as memory:
        assert await memory.history("A.example ", 2) == ["T4", "T3"]
        assert await memory.history("a.example", 3) == ["T4", "T3", "T2"]
        assert await memory.history("b.example", 3) == ["T4"]
        assert await memory.history("a.example", 0) == ()
        with pytest.raises(InvalidRequest, match="0 to 3"):
            await memory.history("a.example", 4)
        await memory.finish_turn(Turn("t5", "s", ("b.example",), 5.0, "T5"))
        await memory.finish_turn(Turn("t9", "s", ("c.example",), 9.0, "T9"))
        assert [len(await memory.history(f"{s}.example", 3)) for s in "bc"] == [2, 1]
        assert await memory.history("a.example", 3) == [], "the quietest of three sites went"


async def test_vectors_of_another_embedder_are_made_anew(tmp_path: Path) -> None:
    async with opened(tmp_path) as memory:
        await memory.write(exemplar("a"))
        await memory.write(exemplar("b", "x", "Translate the letter"))
    database = sqlite3.connect(tmp_path / "memory.sqlite")
    with database:
        database.execute("UPDATE exemplars SET embedder = 'older', vector = zeroblob(16)")
    database.close()
    async with opened(tmp_path) as memory:
        assert (await found(memory, "Click the button"))[0] == "a"
    async with opened(tmp_path) as memory:
        (match,) = await memory.search("Translate the letter", None, limit=1)
        assert match.similarity == pytest.approx(1.0, abs=1e-5)


async def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "memory.sqlite").write_bytes(b"nonsense" * 1_000)
    with pytest.raises(DependencyDown, match=r"memory\.sqlite") as caught:
        async with opened(tmp_path):
            pass
    assert caught.value.reason == "MEMORY_DOWN"


async def test_limits_of_a_search(tmp_path: Path) -> None:
    async with opened(tmp_path) as memory:
        for options in ({"limit": 51}, {"limit": -1}):
            with pytest.raises(InvalidRequest) as caught:
                await memory.search("x", None, **options)
            assert caught.value.reason == "LIMIT_OUT_OF_RANGE"
        with pytest.raises(InvalidRequest) as caught:
            await memory.search("x" * 16_385, None)
        assert caught.value.reason == "INSTRUCTION_TOO_LONG"

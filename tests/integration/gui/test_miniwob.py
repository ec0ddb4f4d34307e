"""MiniWoB++ by hand: its pages, its clock, its scorer, and nothing of them in what is seen."""

from __future__ import annotations

import re

import pytest

from services.gui.environments.miniwob import MiniwobProvider, read_catalogue
from services.gui.look import KeptBlobs, as_text
from tectum.actions.types import (
    Click,
    Drag,
    KeyChord,
    Point,
    SelectOption,
    SelectText,
    TypeText,
)
from tectum.plugins import OpenOptions, PluginError
from tests.integration.gui.drive import Driver, driving

pytestmark = pytest.mark.timeout(40)
# 40 s: the first test of the module starts Chromium, on a machine that may be busy.


def said(d: Driver, pattern: str) -> tuple[str, ...]:
    found = re.search(pattern, d.environment.instruction)
    assert found, d.environment.instruction
    return found.groups()


async def click_button(d: Driver) -> None:
    await d.do(Click(d.at("button", "ONE")))


async def enter_text(d: Driver) -> None:
    await d.do(TypeText(said(d, '"(.*)"')[0], d.at("textbox")))
    await d.do(Click(d.at("button", "Submit")))


async def enter_date(d: Driver) -> None:
    month, day, year = said(d, r"(\d+)/(\d+)/(\d+)")
    await d.do(TypeText(f"{year}-{month}-{day}", d.at("date")))
    await d.do(Click(d.at("button", "Submit")))


async def choose_list(d: Driver) -> None:
    await d.do(SelectOption(d.at("combobox"), said(d, "Select (.*) from")))
    await d.do(Click(d.at("button", "Submit")))


async def click_checkboxes(d: Driver) -> None:
    for name in said(d, "Select (.*) and click")[0].split(", "):
        if name != "nothing":
            await d.do(Click(d.at("checkbox", name)))
    await d.do(Click(d.at("button", "Submit")))


async def click_color(d: Driver) -> None:
    colour = said(d, "on the (.*) colored")[0]
    await d.do(Click(d.at("graphics-symbol", f"{colour} square")))


async def copy_paste(d: Driver) -> None:
    area = next(e for e in d.all("textbox") if e.value)
    field = next(e for e in d.all("textbox") if not e.value)
    await d.do(SelectText(Point.element(area.id)))
    await d.do(KeyChord(("Control", "c")))
    await d.do(Click(Point.element(field.id)))
    await d.do(KeyChord(("Control", "v")))
    await d.do(Click(d.at("button", "Submit")))


async def drag_box(d: Driver) -> None:
    small, large = sorted(
        (e for e in d.screen.elements if e.box and "background" in str(e.states) + e.role),
        key=lambda e: e.box.width if e.box else 0,
    )[:2]
    await d.do(Drag((Point.element(small.id), Point.element(large.id))))
    await d.do(Click(d.at("button", "Submit")))


async def use_autocomplete(d: Driver) -> None:
    start = said(d, 'starts with "(.*?)"')[0]
    end = re.search('ends with "(.*)"', d.environment.instruction)
    await d.do(TypeText(start, d.at("textbox")))
    item = next(
        e
        for e in d.screen.elements
        if e.role == "listitem"
        and e.text.startswith(start)
        and e.text.endswith(end[1] if end else "")
    )
    await d.do(Click(Point.element(item.id)))
    await d.do(Click(d.at("button", "Submit")))


async def click_scroll_list(d: Driver) -> None:
    await d.do(SelectOption(d.at("listbox"), tuple(said(d, "Select (.*) from")[0].split(", "))))
    await d.do(Click(d.at("button", "Submit")))


async def click_dialog(d: Driver) -> None:
    await d.do(Click(d.at("button", "Close")))


SOLUTIONS = {
    "click-test-2": click_button,
    "enter-text": enter_text,
    "enter-date": enter_date,
    "choose-list": choose_list,
    "click-checkboxes": click_checkboxes,
    "click-color": click_color,
    "copy-paste": copy_paste,
    "use-autocomplete": use_autocomplete,
    "click-scroll-list": click_scroll_list,
    "click-dialog": click_dialog,
}


@pytest.mark.parametrize("task", SOLUTIONS)
@pytest.mark.asyncio(loop_scope="module")
async def test_a_task_by_hand(miniwob: MiniwobProvider, task: str) -> None:
    async with driving(miniwob, f"miniwob://{task}?seed=11") as d:
        assert (await d.environment.score()).success is False
        await SOLUTIONS[task](d)
        score = await d.environment.score()
        assert score is not None
        assert score.success, f"{score} {d.environment.instruction}\n{as_text(d.screen)}"


@pytest.mark.asyncio(loop_scope="module")
async def test_the_end_of_the_episode_is_told_and_nothing_acts_after_it(
    miniwob: MiniwobProvider,
) -> None:
    async with driving(miniwob, "miniwob://click-test-2?seed=4") as d:
        wrong = await d.do(Click(d.at("button", "TWO")))
        assert wrong.ended
        score = await d.environment.score()
        assert score is not None
        assert (score.reward, score.success) == (-1.0, False)
        again = await d.try_(Click(d.at("button", "ONE")))
        assert (again.reason, again.ended) == ("EPISODE_OVER", True)
        assert (await d.environment.score()) == score


@pytest.mark.asyncio(loop_scope="module")
async def test_a_seed_is_a_page(miniwob: MiniwobProvider) -> None:
    seen = []
    for uri in (
        "miniwob://enter-text?seed=5",
        "miniwob://enter-text?seed=5",
        "miniwob://enter-text?seed=6",
    ):
        async with driving(miniwob, uri) as d:
            seen.append(d.environment.instruction)
    assert seen[0] == seen[1] != seen[2]


@pytest.mark.asyncio(loop_scope="module")
async def test_neither_task_nor_reward_nor_clock_can_be_seen(miniwob: MiniwobProvider) -> None:
    async with driving(miniwob, "miniwob://click-button-sequence?seed=3") as d:
        text = repr(d.screen).lower()
        assert "one" in text
        assert d.screen.url == "miniwob://"
        for word in ("sequence", "reward", "time left", "episode", "start", "html", "file:"):
            assert word not in text, text


@pytest.mark.asyncio(loop_scope="module")
async def test_a_coloured_box_in_the_instruction_is_read_as_its_colour(
    miniwob: MiniwobProvider,
) -> None:
    instructions = []
    for seed in range(6):
        environment = await miniwob.open(
            f"miniwob://click-color?seed={seed}", OpenOptions(KeptBlobs(), {})
        )
        instructions.append(environment.instruction)
        await environment.aclose()
    assert all(re.fullmatch(r"Click on the \w+ colored box\.", i) for i in instructions), (
        instructions
    )


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("miniwob://click-tst?seed=1", "TASK_UNKNOWN"),
        ("miniwob://?seed=1", "URI_MALFORMED"),
        ("miniwob://click-test?sede=1", "URI_MALFORMED"),
        ("miniwob://click-test?mode=play", "URI_MALFORMED"),
        ("miniwob://../secret", "URI_MALFORMED"),
    ],
)
@pytest.mark.asyncio(loop_scope="module")
async def test_wrong_uris(miniwob: MiniwobProvider, uri: str, reason: str) -> None:
    with pytest.raises(PluginError) as refused:
        await miniwob.open(uri, OpenOptions(KeptBlobs(), {}))
    assert refused.value.reason == reason
    if reason == "TASK_UNKNOWN":
        assert "click-test" in str(refused.value)


def test_all_tasks_are_there() -> None:
    assert len(read_catalogue().tasks) >= 125

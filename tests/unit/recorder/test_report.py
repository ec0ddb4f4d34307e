from __future__ import annotations

import io
import random
import re
from collections.abc import Callable
from html.parser import HTMLParser

import pytest
from PIL import Image

from libs.blobs.port import blob_key
from libs.errors import InvalidRequest, NotFound
from services.recorder.decode import decode_whole
from services.recorder.events import stored
from services.recorder.report.model import EpisodeView, NoteView, StepView
from services.recorder.report.pictures import LEVELS, data_uri, within
from services.recorder.report.view import Episode
from services.recorder.report.words import describe
from tectum.actions import types as a
from tectum.geometry import Box, Size
from tectum.protocol.types import BlobRef
from tests.unit.recorder.conftest import Process
from tests.unit.recorder.sample import Story, solved, troubled

Start = Callable[..., Process]


def _view(story: Story) -> EpisodeView:
    episode = Episode(story.session_id)
    for record in story.records():
        event = stored(record)
        message = decode_whole(event)
        if message is not None:
            episode.add(message, event.appended_ns)
    return episode.view()


def _steps(view: EpisodeView) -> list[StepView]:
    return [entry for entry in view.entries if isinstance(entry, StepView)]


def _notes(view: EpisodeView) -> list[str]:
    return [entry.title for entry in view.entries if isinstance(entry, NoteView)]


def test_a_solved_session() -> None:
    view = _view(solved())
    assert (view.badge, view.tone, view.steps, view.reward) == ("solved", "good", 4, "0.83")
    assert view.agent == "exemplar"
    words = [step.words for step in _steps(view)]
    assert words == [
        "Replace the text with “kim” into the “Username” textbox",
        "Type the secret “password” into the “Password” textbox",
        "Click the “Login” button",
        "Say that it is done",
    ]
    first = _steps(view)[0]
    assert [(r.verdict, r.rule) for r in first.rulings] == [("allow", "loopback-pages")]
    assert first.exemplars == ("lesson-login/2",)
    (marker,) = first.markers
    assert (marker.left, marker.top) == (6.25, 33.333)
    assert (marker.width, marker.height) == (75.0, 10.477)


def test_the_parts_of_a_step_add_up_and_name_the_platforms_share() -> None:
    for step in _steps(_view(solved())):
        assert sum(part.ms for part in step.parts) == pytest.approx(step.total_ms)
        assert sum(part.share for part in step.parts) == pytest.approx(100)
        known = {part.name: part.ms for part in step.parts}
        assert known["thinking"] == 11.5
        assert known["settling"] == 92
        assert 0 < known["platform"] < 10


def test_a_session_with_troubles() -> None:
    view = _view(troubled())
    assert (view.badge, view.tone, view.attempts, view.interrupts) == ("gave up", "bad", 2, 1)
    steps = _steps(view)
    assert [step.status for step in steps] == ["ok", "dropped", "failed", "gave up"]
    assert [r.verdict for r in steps[0].rulings] == ["ask", "approved", "allow"]
    # Waiting for a person is not the platform's time.
    parts = {part.name: part.ms for part in steps[0].parts}
    assert parts["person"] == 2_600
    assert parts["platform"] < 20
    assert steps[2].status_reason == "DENIED"
    titles = ["Stop asked for", "Interrupted", "Environment lost", "Attempt 2"]
    assert _notes(view)[:4] == titles
    assert "confirmed" in str(view.entries[3])


def test_a_session_that_is_open_or_empty() -> None:
    story = solved()
    story.published = story.published[:3]
    view = _view(story)
    assert (view.badge, view.steps) == ("open", 0)
    assert _steps(view)[0].status == "no outcome"
    assert _view(Story("s-none")).entries == ()


class _Page(HTMLParser):
    """Collects tags, text and what would load something."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.loads: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loads += [value or "" for name, value in attrs if name in ("src", "href", "srcset")]

    def handle_data(self, data: str) -> None:
        self.text += data


async def _render(process: Process, *session_ids: str, title: str = "") -> str:
    chunks = [chunk async for chunk in process.reports.render(session_ids, title)]
    return b"".join(chunks).decode()


async def test_the_page_is_whole_and_escaped(start: Start) -> None:
    process = start()
    await process.keep(solved(), troubled())
    html = await _render(process, "s-solved", "s-troubled", title="<script>alert(1)</script>")
    page = _Page()
    page.feed(html)
    assert page.tags.count("script") == 1
    assert "b" in page.tags
    assert "Upload <b>report.pdf</b> & send it" in page.text
    assert "<b>report.pdf</b>" not in html
    assert page.loads == []
    assert not re.search(
        r"(https?:)?//(?!127\.0\.0\.1|login-user)",
        re.sub(r"url\(data:[^)]*\)", "", html).replace("browser://", "").replace("miniwob://", ""),
    ), "loads something"
    for url in re.findall(r"url\(([^)]{0,20})", html):
        assert url.startswith(("data:image/png;base6", "data:image/webp;base"))
    for text in (
        "guard <b>allow</b> by loopback-pages",
        "exemplar <b>lesson-login/2</b>",
        "Environment lost",
    ):
        assert text in html
    # Four screens of one session and one of the other, each in the page once.
    assert html.count("url(data:") == 5


async def test_an_open_session_shows_what_there_is(start: Start) -> None:
    process = start()
    await process.record(list(solved().records())[:6])
    html = await _render(process, "s-solved")
    assert ">open<" in html
    assert "Replace the text with" in html
    assert "no picture" in html


async def test_a_damaged_record_is_shown_as_such(start: Start) -> None:
    process = start()
    for record in solved().records():
        await process.record([record])
    manifest = (await process.seal("s-solved")).manifest
    data = await process.blobs.get(manifest.segments[0].key)
    await process.blobs.put(manifest.segments[0].key, data[: len(data) // 4])
    assert "Not all of this record could be read" in await _render(process, "s-solved")


@pytest.mark.parametrize("ids", [(), ("x",) * 201])
async def test_wrong_numbers_of_sessions(start: Start, ids: tuple[str, ...]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await _render(start(), *ids)
    assert caught.value.reason == "SESSION_IDS_INVALID"


async def test_an_unknown_session(start: Start) -> None:
    with pytest.raises(NotFound) as caught:
        await _render(start(), "s-none")
    assert caught.value.reason == "TRAJECTORY_NOT_FOUND"


async def test_a_report_of_large_screens_fits(start: Start) -> None:
    process = start()
    process.reports._size_bytes = 140_000
    noise = random.Random(5)
    story = Story("s-large")
    screens = []
    for n in range(4):
        image = Image.frombytes("RGB", (160, 100), noise.randbytes(160 * 100 * 3))
        out = io.BytesIO()
        image.resize((640, 400)).save(out, "PNG")
        screen = story.paint(f"n{n}", (640, 400), {}, "x")
        sha256 = f"{n:064d}"
        story.pictures[sha256] = out.getvalue()
        screens.append(
            type(screen)(
                screen.observation_id,
                Size(640, 400),
                BlobRef(sha256, len(out.getvalue()), "image/png"),
            )
        )
    story.open("browser://x", "look", screens[0])
    for screen in screens[1:]:
        story.did(a.Action(a.Screenshot()), "see", screen, Box(1, 1, 2, 2))
    story.close("DONE")
    assert sum(len(story.pictures[f"{n:064d}"]) for n in range(4)) > 400_000
    for sha256, data in story.pictures.items():
        await process.blobs.put(blob_key(sha256), data)
    await process.record(list(story.records()))
    await process.seal("s-large")
    html = await _render(process, "s-large")
    assert html.count("url(data:") == 4
    assert len(html) <= 140_000


def test_pictures_that_are_none() -> None:
    assert data_uri(b"no picture", LEVELS[0]) == ""
    assert data_uri(b"", LEVELS[0]) == ""


def test_what_does_not_fit_is_left_out() -> None:
    assert within({"a": "x" * 10, "b": "x" * 50, "c": "x" * 5}, 20) == {"a": "x" * 10, "c": "x" * 5}


_AT = a.Point.screen(3, 4)
_EXAMPLES: list[a.ActionKind] = [
    a.Click(_AT, a.MouseButton.RIGHT, 2, ("Shift",)), a.Hover(_AT), a.MouseDown(_AT), a.MouseUp(_AT),
    a.Drag((_AT, a.Point(a.NormalisedPoint(0.5, 1)), _AT)), a.Scroll(None, 0, -120), a.TypeText("x", submit=True),
    a.KeyChord(("Control", " ")), a.HoldKey(("a",), 1), a.KeyDown("a"), a.KeyUp("a"), a.LongPress(_AT),
    a.Swipe(_AT, _AT), a.Pinch(_AT, 0.5), a.PressSystemButton(a.SystemButton.BACK), a.OpenApp("Clock"),
    a.OperateWindow("Notes", a.WindowOperation.CLOSE), a.SelectOption(_AT, ("One", "Two")), a.SelectText(_AT, _AT),
    a.Focus(_AT), a.ClearField(a.Point(a.MarkPoint(3))), a.UploadFiles(_AT, (), ("a.txt",)), a.GoTo("http://x/"),
    a.Navigate(a.HistoryDirection.RELOAD), a.OperateTab(a.TabOperation.CLOSE, 1), a.SetClipboard("x"),
    a.GetClipboard(), a.AnswerDialog(accept=False), a.Wait(1.5), a.WaitUntilStable(), a.Screenshot(),
    a.Zoom(Box(0, 0, 5, 5)), a.Answer("42"), a.AskUser("Which?"), a.Done(), a.Fail("no button"),
]  # fmt: skip


def test_every_action_has_words() -> None:
    assert {type(kind) for kind in _EXAMPLES} == set(a.KIND_NAMES)
    said = {describe(a.Action(kind), None, None) for kind in _EXAMPLES}
    assert len(said) == len(_EXAMPLES)
    assert all(len(words) > 3 and words[0].isupper() for words in said)
    assert describe(a.Action(_EXAMPLES[0]), None, None) == (
        "Double-click (3, 4) with the right button holding Shift"
    )

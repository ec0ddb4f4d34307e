"""A secret reaches the page and nothing else: no event, span, recording, report or line that the platform says."""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import parse_qs, quote, quote_plus, urlsplit

import pytest

from deploy.process import RunningPlatform, platform
from libs.settings import child_environment
from tectum.client import Agent, connect
from tectum.event.v1 import outcome_pb2
from tectum.protocol.messages import Control, ControlKind, Outcome, OutcomeStatus
from tectum.recorder.v1 import recorder_pb2, recorder_pb2_grpc

pytestmark = pytest.mark.timeout(120)  # a platform starts, with a browser

# With characters that a form, a URL and JSON each write in a way of their own.
SECRET = 'Zy7 &x"pä+/42%'
NAME = "the-key"

# The page does with a secret what pages do: echoes it, logs it, asks back, names itself by it, puts it into its address.
FORM = """<!doctype html><meta charset=utf-8><title>Door</title>
<form action=/in onsubmit="return confirm(this.again.value)"><label>Password <input type=password name=password></label>
<label>Again <input name=again></label><button>Enter</button></form><p id=echo></p>
<script>document.querySelector('[name=again]').oninput = (e) => {
  echo.textContent = e.target.value; document.title = e.target.value; console.log(e.target.value); };</script>"""
INSIDE = "<!doctype html><meta charset=utf-8><title>Inside</title><h1>Inside</h1>"

STEPS = [
    {"type": {"into": {"role": "textbox", "label": "Password"}, "secret": NAME}},
    {"type": {"into": {"role": "textbox", "label": "Again"}, "secret": NAME}},
    {"click": {"role": "button", "name": "Enter"}},
    {"dialog": "accept"},
    {"done": "in"},
]


class Door:
    """The page's own server: the witness of what was sent."""

    def __init__(self) -> None:
        self.entered: list[dict[str, list[str]]] = []
        self.origin = ""

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            url = urlsplit(head.split(" ")[1])
            if url.path == "/in":
                self.entered.append(parse_qs(url.query))
            body = (INSIDE if url.path == "/in" else FORM).encode()
            writer.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\n"
                b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
            )
            writer.write(body)
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@pytest.fixture
async def door() -> AsyncIterator[Door]:
    served = Door()
    async with await asyncio.start_server(served.answer, "127.0.0.1", 0) as server:
        served.origin = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield served


def written(value: str) -> dict[str, bytes]:
    """The ways in which `value` may stand in a file, by name."""
    raw = value.encode()
    return {
        "as it is": raw,
        "in JSON": json.dumps(value)[1:-1].encode(),
        "in a URL": quote(value, safe="").encode(),
        "in a form": quote_plus(value).encode(),
        "base64": base64.b64encode(raw)[:-4],
        "UTF-16": value.encode("utf-16-le"),
        "in HTML": value.replace("&", "&amp;").replace('"', "&#34;").encode(),
    }


def traces_of(value: str, where: dict[str, bytes]) -> list[str]:
    """Where `value` stands, and how it is written there."""
    return [
        f"{name}: {way}"
        for name, data in where.items()
        for way, form in written(value).items()
        if form in data
    ]


def test_the_search_finds_each_way_of_writing() -> None:
    for way, form in written(SECRET).items():
        assert f"x: {way}" in traces_of(SECRET, {"x": b"before " + form + b" after"})


async def work(up: RunningPlatform, door: Door) -> tuple[str, list[object]]:
    agent = Agent(strategy="script", strategy_settings=json.dumps({"steps": STEPS}))
    updates: list[object] = []
    async with (
        connect(up.address) as client,
        client.session(
            f"browser://{door.origin}/", "go in", agent=agent, secrets={NAME: SECRET}
        ) as session,
    ):
        async for update in session.updates():
            updates.append(update)
            if isinstance(update, Control) and update.kind is ControlKind.TURN_ENDED:
                await session.close()
        return session.session_id, updates


async def recorded(up: RunningPlatform, session_id: str) -> dict[str, bytes]:
    """Every recorded event, and each blob that it names; MCAP compresses, so files alone tell little."""
    found = {}
    async with connect(up.address) as client:
        recorder = recorder_pb2_grpc.RecorderServiceStub(client.channel)
        request = recorder_pb2.GetTrajectoryRequest(session_id=session_id)
        parts = [part async for part in recorder.GetTrajectory(request)]
    for number, part in enumerate(parts):
        found[f"part {number} ({part.WhichOneof('part')})"] = part.SerializeToString()
    return found


def said(up: RunningPlatform, *words: str) -> bytes:
    done = subprocess.run(
        [sys.executable, "-m", "tectum.cli.main", *words, "--address", up.address],
        env=child_environment(COLUMNS="300"),
        capture_output=True,
        timeout=60,
        check=True,
    )
    return done.stdout + done.stderr


async def test_a_secret_reaches_the_page_and_nothing_else(tmp_path: Path, door: Door) -> None:
    data, report = tmp_path / "data", tmp_path / "report.html"
    places: dict[str, bytes] = {}
    with platform(data) as up:
        session_id, updates = await work(up, door)
        places["what the client heard"] = repr(updates).encode()
        await asyncio.to_thread(said, up, "verify", session_id)  # Waits until it is sealed.
        places |= await recorded(up, session_id)
        places["trace"] = await asyncio.to_thread(said, up, "trace", session_id)
        places["show"] = await asyncio.to_thread(said, up, "show", session_id)
        await asyncio.to_thread(said, up, "show", session_id, "--html", str(report))
        places["report"] = report.read_bytes()
        # Before the log is folded and after: what was once written may linger in either.
        places |= files(data, "while it ran")
    places |= files(data, "afterwards")
    places["what the platform printed"] = "".join(up.lines).encode()

    # Against a vacuous test: the page did get it, and everything that was searched tells of the session.
    outcomes = [update for update in updates if isinstance(update, Outcome)]
    assert [outcome.status for outcome in outcomes] == [OutcomeStatus.OK] * len(STEPS), [
        outcome.result for outcome in outcomes
    ]
    assert door.entered == [{"password": [SECRET], "again": [SECRET]}]
    assert NAME in str(places["show"])
    assert NAME.encode() in b"".join(places[place] for place in places if "part" in place)
    assert sum(1 for place in places if "part" in place) > len(STEPS)
    assert any(session_id.encode() in places[place] for place in places if "log" in place)
    assert outcome_pb2.Outcome.DESCRIPTOR.full_name.rpartition(".")[2].encode() in b"".join(
        places[place] for place in places if "log" in place
    )

    found = traces_of(SECRET, places)
    assert not found, "\n".join(found)


def files(folder: Path, when: str) -> dict[str, bytes]:
    return {
        f"{path.relative_to(folder)} {when}": path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


async def test_a_demonstration_types_a_secret_and_the_exemplar_has_its_name(
    tmp_path: Path, door: Door
) -> None:
    lesson, value = tmp_path / "lesson.yaml", tmp_path / "value"
    value.write_text(SECRET + "\n")
    environment = f"browser://{door.origin}/"
    lesson.write_text(
        json.dumps(
            {
                "lesson": "entering",
                "demonstrations": [
                    {"environment": environment, "instruction": "go in", "steps": STEPS}
                ],
            }
        )
    )
    with platform(tmp_path / "data") as up:
        told = await asyncio.to_thread(
            said, up, "teach", "browser://", "--from", str(lesson), "--verified",
            "--secret", f"{NAME}=@{value}",
        )  # fmt: skip
    assert b"1 demonstrations remembered, 0 failed" in told
    assert door.entered == [{"password": [SECRET], "again": [SECRET]}]
    places = files(tmp_path / "data", "afterwards") | {"told": told}
    assert not traces_of(SECRET, places)
    assert any(NAME.encode() in data for place, data in places.items() if "memory" in place)

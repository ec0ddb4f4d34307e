"""What goes wrong around a whole platform: a clear reason, a defined end, and a record of what was."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest

from deploy.process import RunningPlatform, platform
from libs.settings import child_environment
from tectum.client import Acknowledged, Agent, Platform, Refused, Session, TectumError, connect
from tectum.episodes import Episode, run_episode
from tectum.event.v1 import common_pb2, observation_pb2
from tectum.memory.v1 import memory_pb2, memory_pb2_grpc
from tectum.protocol.messages import Control, ControlKind, Outcome, OutcomeStatus
from tectum.recorder.v1 import recorder_pb2, recorder_pb2_grpc
from tectum.session.v1 import session_pb2

# Whole platforms start, some with a browser, on a machine that may be busy.
pytestmark = pytest.mark.timeout(180)

CONSTANT = Agent(strategy="constant", max_steps=500)
RESTLESS = (
    "browser://data:text/html,<button>Press</button>"
    "<script>setInterval(()=>document.body.append('x'),10)</script>"
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("platform")


@pytest.fixture(scope="module")
def up(data: Path) -> Iterator[RunningPlatform]:
    with platform(data) as running:
        yield running


def repeating(step: object, times: int = 0) -> Agent:
    settings = json.dumps({"step": step, "times": times})
    return Agent(strategy="constant", strategy_settings=settings, max_steps=500)


def playing(*steps: object) -> Agent:
    return Agent(strategy="script", strategy_settings=json.dumps({"steps": steps}))


async def outcomes_of(
    client: Platform, uri: str, agent: Agent, each: Callable[[Outcome], None] = lambda _: None
) -> tuple[Episode, list[Outcome]]:
    seen: list[Outcome] = []

    def see(update: Any) -> None:
        if isinstance(update, Outcome):
            seen.append(update)
            each(update)

    return await run_episode(client, uri, "go", agent=agent, on_update=see), seen


async def sealed(client: Platform, session_id: str) -> Any:
    """The manifest, once there is one; what it says of itself is true."""
    recorder = recorder_pb2_grpc.RecorderServiceStub(client.channel)
    while True:
        page = await recorder.ListTrajectories(recorder_pb2.ListTrajectoriesRequest(page_size=100))
        found = [one for one in page.manifests if one.session_id == session_id and one.sealed_at]
        if found:
            break
        await asyncio.sleep(0.1)
    answer = await recorder.VerifyTrajectory(
        recorder_pb2.VerifyTrajectoryRequest(session_id=session_id)
    )
    assert answer.intact, list(answer.problems)
    return found[0]


async def works(client: Platform) -> None:
    assert (await run_episode(client, "fake://?steps=2", "go", agent=CONSTANT)).success


@pytest.mark.parametrize(
    ("uri", "step", "reason"),
    [
        ("fake://", {"click": {"point": [4000, 1]}}, "POINT_OUTSIDE_SCREEN"),
        ("miniwob://click-test?seed=0", {"click": {"point": [4000, 1]}}, "POINT_OUTSIDE_SCREEN"),
        ("miniwob://click-test?seed=0", {"tab": {"operation": "new"}}, "ACTION_UNSUPPORTED"),
    ],
)
async def test_an_action_that_cannot_be_done_is_a_failed_step(
    up: RunningPlatform, uri: str, step: object, reason: str
) -> None:
    async with connect(up.address) as client:
        episode, outcomes = await outcomes_of(client, uri, playing(step))
        assert (outcomes[0].status, outcomes[0].reason) == (OutcomeStatus.FAILED, reason)
        assert not episode.success
        assert reason in episode.message
        await sealed(client, episode.session_id)


async def test_a_page_that_never_settles_is_shown_as_it_is(up: RunningPlatform) -> None:
    async with connect(up.address) as client:
        episode, outcomes = await outcomes_of(
            client, RESTLESS, playing({"wait_until_stable": None})
        )
        assert outcomes[0].status is OutcomeStatus.OK
        assert outcomes[0].screen is not None
        assert not outcomes[0].screen.settled
        assert episode.reason == "DONE"
        await sealed(client, episode.session_id)


@pytest.mark.parametrize("size", [70_000, 12_000_000, 20_000_000])
async def test_an_oversized_message_is_refused(up: RunningPlatform, size: int) -> None:
    async with connect(up.address) as client:
        with pytest.raises(TectumError) as caught:
            async with client.session("fake://", "x" * size):
                pass
        assert caught.value.reason == "MESSAGE_TOO_LARGE"
        await works(client)


def kill_chromium(up: RunningPlatform) -> int:
    """How many processes of the platform's browser were killed with -9."""
    children = psutil.Process(up.process.pid).children(recursive=True)
    found = [child for child in children if "chrom" in child.name()]
    for child in found:
        child.kill()
    return len(found)


async def test_chromium_dies_in_mid_episode_and_a_fresh_one_finishes(up: RunningPlatform) -> None:
    uri, agent = "browser://data:text/html,<button>Press</button>", repeating({"wait": 0.02}, 10)
    killed, ended, kinds = 0, "", set()
    async with connect(up.address) as client:
        async with client.session(uri, "go", agent=agent) as session:
            async for update in session.updates():
                if isinstance(update, Outcome) and not killed:
                    killed = await asyncio.to_thread(kill_chromium, up)
                if isinstance(update, Control):
                    kinds.add(update.kind)
                    if update.kind is ControlKind.TURN_ENDED:
                        ended = update.reason
                        await session.close()
        assert killed
        assert ControlKind.ENVIRONMENT_LOST in kinds
        assert ended == "DONE"
        await sealed(client, session.session_id)


async def test_a_client_that_vanishes_has_its_session_closed_and_recorded(
    up: RunningPlatform,
) -> None:
    agent = Agent(strategy="constant", max_steps=500, grace_s=0.5)
    async with connect(up.address) as client:
        async with client.session("fake://?delay_ms=20", "go", agent=agent) as session:
            async for update in session.updates():
                if isinstance(update, Outcome):
                    break
        manifest = await sealed(client, session.session_id)
        assert manifest.reason == "CLIENT_LOST"
        request = session_pb2.GetSessionRequest(session_id=session.session_id)
        state = (await client.sessions.GetSession(request)).state
        assert (state.reason, list(state.bodies)) == ("CLIENT_LOST", [])


async def test_a_client_that_floods_loses_its_stream_and_nothing_acknowledged(
    up: RunningPlatform,
) -> None:
    async with connect(up.address) as client:
        acknowledged = 0
        async with client.session("fake://", agent=repeating({"wait": 1})) as session:
            for _ in range(100):
                await session.feedback(success=False)
            with pytest.raises(TectumError) as caught:
                async for update in session.updates():
                    if isinstance(update, Acknowledged):
                        acknowledged = update.client_seq
        assert caught.value.reason == "RATE_EXCEEDED"
        assert acknowledged > 1
        again = Session(client.sessions, (), session_pb2.Open(), 5.0)
        again.session_id, again.resume_token = session.session_id, session.resume_token
        assert (await again.connect()).client_seq >= acknowledged
        await again.close()
        async for update in again.updates():
            assert not isinstance(update, Refused)
        await sealed(client, session.session_id)
        await works(client)


async def test_a_corrupted_segment_is_named_and_the_rest_is_well(
    up: RunningPlatform, data: Path
) -> None:
    async with connect(up.address) as client:
        episode = await run_episode(client, "fake://?steps=2", "go", agent=CONSTANT)
        other = await run_episode(client, "fake://?steps=2", "go", agent=CONSTANT)
        await sealed(client, episode.session_id)
        (segment,) = (
            path
            for path in (data / "blobs").rglob("*.mcap")
            if episode.session_id in str(path.relative_to(data))
        )
        content = bytearray(segment.read_bytes())
        content[len(content) // 2] ^= 0xFF
        segment.write_bytes(content)
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "tectum.cli.main", "verify", episode.session_id,
             "--address", up.address],
            env=child_environment(COLUMNS="200"), capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 1, done.stdout + done.stderr
        assert "BROKEN" in done.stdout
        await sealed(client, other.session_id)


async def test_without_chromium_only_browsers_are_refused(tmp_path: Path) -> None:
    settings = {"TECTUM_BROWSER_EXECUTABLE": str(tmp_path / "chromium")}
    with platform(tmp_path / "data", settings) as up:
        async with connect(up.address) as client:
            with pytest.raises(TectumError) as caught:
                await run_episode(client, "browser://data:text/html,x", "go", agent=CONSTANT)
            assert caught.value.reason == "BROWSER_MISSING"
            await works(client)


async def test_a_model_file_with_a_wrong_hash_is_said_and_costs_no_session(tmp_path: Path) -> None:
    models = tmp_path / "models"
    shutil.copytree(Path(".tectum/models"), models)
    for path in models.iterdir():
        path.write_bytes(path.read_bytes() + b" ")
    with platform(tmp_path / "data", {"TECTUM_MEMORY_MODELS_DIR": str(models)}) as up:
        async with connect(up.address) as client:
            memory = memory_pb2_grpc.MemoryServiceStub(client.channel)
            exemplar = memory_pb2.Exemplar(
                exemplar_id="a", lesson="a", instruction="go", verified_by="caller"
            )
            exemplar.steps.add(screen=screen()).action.done.SetInParent()
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await memory.WriteExemplar(memory_pb2.WriteExemplarRequest(exemplar=exemplar))
            assert TectumError.of(caught.value).reason == "MODEL_HASH_MISMATCH"
            await works(client)


def screen() -> observation_pb2.Screen:
    return observation_pb2.Screen(observation_id="1", size=common_pb2.Size(width=9, height=9))


async def test_a_full_disk_ends_the_session_here_and_loses_nothing(tmp_path: Path) -> None:
    settings = {"TECTUM_EVENTS_PAGE_COUNT_MAX": "300", "TECTUM_SESSION_LOG_PATIENCE_S": "1"}
    outcomes: list[int] = []
    acknowledged, told, code = 1, set(), None
    with platform(tmp_path, settings) as up:
        async with (
            connect(up.address) as client,
            client.session("fake://?elements=300", "go", agent=CONSTANT, resume_for_s=0) as session,
            asyncio.TaskGroup() as tasks,
        ):
            filling = tasks.create_task(fill(session))
            try:
                async for update in session.updates():
                    match update:
                        case Outcome():
                            outcomes.append(update.step)
                        case Acknowledged():
                            acknowledged = update.client_seq
                        case Refused():
                            told.add(update.reason)
            except TectumError as error:
                code = error.reason
            filling.cancel()
        assert code == "LOG_DOWN"
        assert told == {"LOG_DOWN"}
    assert outcomes
    with platform(tmp_path) as up:
        async with connect(up.address) as client:
            again = Session(client.sessions, (), session_pb2.Open(), 30.0)
            again.session_id, again.resume_token = session.session_id, session.resume_token
            assert (await again.connect()).client_seq >= acknowledged
            found: list[int] = []
            async for update in again.updates():
                if isinstance(update, Outcome):
                    found.append(update.step)
                    if update.step == outcomes[-1]:
                        await again.close()
            assert found[: len(outcomes)] == outcomes
            assert len(found) == len(set(found))
            await sealed(client, session.session_id)


async def fill(session: Session) -> None:
    """Say what needs room in the log, below the rate that is allowed."""
    while True:
        await session.feedback(success=False, comment="x" * 60_000)
        await asyncio.sleep(0.1)

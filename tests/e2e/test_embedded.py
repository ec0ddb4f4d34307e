"""`tectum up` and the command line, as a user meets them."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from deploy.process import RunningPlatform, platform
from libs.settings import child_environment
from tectum.client import Agent, TectumError, connect
from tectum.episodes import run_episode
from tectum.protocol.messages import ControlKind, Outcome, Plan

pytestmark = pytest.mark.timeout(120)  # several processes start, one with a browser


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory):
    with platform(tmp_path_factory.mktemp("platform")) as running:
        yield running


def command(up: RunningPlatform, *words: str, code: int = 0) -> str:
    """Run `tectum WORDS` against the platform; returns what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "tectum.cli.main", *words, "--address", up.address],
        env=child_environment(COLUMNS="200"),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


CONSTANT = Agent(strategy="constant", max_steps=50)
# Beside the interpreter: nobody has to activate the virtual environment.
GRPCURL = str(Path(sys.executable).with_name("grpcurl"))


async def test_an_agent_works_and_every_step_is_on_record(up: RunningPlatform) -> None:
    async with connect(up.address) as client:
        episode = await run_episode(
            client, "fake://?steps=3", "press it three times", agent=CONSTANT
        )
    assert episode.success, episode
    assert episode.steps >= 3
    shown = command(up, "show", episode.session_id)
    assert "press it three times" in shown
    assert "intact" in command(up, "verify", episode.session_id)
    assert episode.session_id in command(up, "sessions")
    trace = command(up, "trace", episode.session_id)
    assert "execute_tool" in trace
    assert " spans in 1 trace(s)" in trace  # The call, the log and every service in one.
    assert "step 1: " in trace
    assert " + platform " in trace


async def test_the_report_is_one_page_without_references(
    up: RunningPlatform, tmp_path: Path
) -> None:
    async with connect(up.address) as client:
        episode = await run_episode(client, "fake://?steps=2", "go", agent=CONSTANT)
    page = tmp_path / "report.html"
    command(up, "show", episode.session_id, "--html", str(page))
    text = page.read_text()
    assert "<html" in text
    assert 'src="http' not in text
    assert 'href="http' not in text


async def test_run_tells_the_steps(up: RunningPlatform) -> None:
    told = command(up, "run", "fake://?steps=2", "press it", "--strategy", "constant")
    assert "press it" in told
    assert "tectum show" in told


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("nowhere://x", "ENVIRONMENT_UNKNOWN"),
        ("miniwob://no-such-task", "TASK_UNKNOWN"),
        ("not a uri", "URI_MALFORMED"),
        ("miniwob://click-test?seed=0&colour=red", "URI_MALFORMED"),
    ],
)
def test_a_wrong_environment_is_refused_by_name(up: RunningPlatform, uri: str, reason: str) -> None:
    assert reason in command(up, "run", uri, "go", code=1)


def test_an_unknown_strategy_is_refused_by_name(up: RunningPlatform) -> None:
    told = command(up, "run", "fake://", "go", "--strategy", "guessing", code=1)
    assert "STRATEGY_UNKNOWN" in told


async def test_health_and_reflection_answer(up: RunningPlatform) -> None:
    async with grpc.aio.insecure_channel(up.address) as channel:
        answer = await health_pb2_grpc.HealthStub(channel).Check(
            health_pb2.HealthCheckRequest(service="tectum.session.v1.SessionService")
        )
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_grpcurl_opens_a_session_and_receives_actions(up: RunningPlatform) -> None:
    """The README's session, with a client that is not ours."""
    lines = [
        {
            "clientSeq": 1,
            "open": {"environment": "fake://?steps=3", "agent": {"strategy": "constant"}},
        },
        {"clientSeq": 2, "instruction": {"text": "press the button"}},
    ]
    listed = subprocess.run(
        [GRPCURL, "-plaintext", up.address, "list"],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    ).stdout
    assert "tectum.session.v1.SessionService" in listed
    assert "grpc.health.v1.Health" in listed
    talk = subprocess.Popen(
        [GRPCURL, "-plaintext", "-max-time", "20", "-d", "@", up.address,
         "tectum.session.v1.SessionService/Converse"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert talk.stdin is not None
    assert talk.stdout is not None
    talk.stdin.write("\n".join(json.dumps(line) for line in lines) + "\n")
    talk.stdin.flush()
    heard = ""
    for line in talk.stdout:
        heard += line
        # The first turn, of the environment's own instruction, is interrupted by the second.
        if '"ended": true' in line:
            break
    talk.kill()
    talk.communicate()
    assert '"plan"' in heard, heard
    assert '"outcome"' in heard
    assert '"ended": true' in heard


def test_a_second_server_on_the_port_is_refused(up: RunningPlatform, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tectum.cli.main", "up", "--data-dir", str(tmp_path)],
        env=child_environment(TECTUM_RPC_ADDRESS=up.address),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "PORT_IN_USE" in done.stderr


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("TECTUM_RPC_ADRESS", "127.0.0.1:0", "TECTUM_RPC_ADRESS"),
        ("TECTUM_RPC_DRAIN_S", "-1", "TECTUM_RPC_DRAIN_S"),
        ("TECTUM_RPC_ADDRESS", "0.0.0.0:0", "EDGE_NOT_SECURED"),
    ],
)
def test_a_wrong_setting_stops_the_start(
    tmp_path: Path, variable: str, value: str, said: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tectum.cli.main", "up", "--data-dir", str(tmp_path)],
        env=child_environment(**{variable: value}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_nobody_there_is_said_plainly() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tectum.cli.main", "sessions", "--address", "127.0.0.1:9"],
        env=child_environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "tectum up" in done.stderr


async def test_a_second_instruction_interrupts_the_first(up: RunningPlatform) -> None:
    async with (
        connect(up.address) as client,
        client.session("fake://?steps=400&delay_ms=20", "one", agent=CONSTANT) as session,
    ):
        instructed, raised, closing, ended = False, False, False, 0
        async for update in session.updates():
            if isinstance(update, Outcome) and not instructed:
                instructed = True
                await session.instruct("two")
            if getattr(update, "kind", None) is ControlKind.EPOCH_RAISED:
                raised = True
            if raised and isinstance(update, Plan) and update.epoch.n >= 1:
                ended += 1
            if ended == 3 and not closing:
                closing = True
                await session.close()
    assert instructed
    assert ended >= 3


async def test_a_killed_platform_comes_back_and_the_client_resumes(tmp_path: Path) -> None:
    with platform(tmp_path) as first:
        port = first.address.rpartition(":")[2]
        async with (
            connect(first.address) as client,
            client.session(
                "fake://?steps=12&delay_ms=100", "go", agent=CONSTANT, resume_for_s=60
            ) as session,
        ):
            kinds, killed, second = [], False, None
            async with asyncio.timeout(100):
                async for update in session.updates():
                    kinds.append(getattr(update, "kind", type(update).__name__))
                    if isinstance(update, Outcome) and not killed:
                        killed = True
                        await asyncio.to_thread(first.kill)
                        second = platform(tmp_path, {"TECTUM_RPC_ADDRESS": f"127.0.0.1:{port}"})
                        await asyncio.to_thread(second.__enter__)
                    if getattr(update, "kind", None) is ControlKind.TURN_ENDED:
                        await session.close()
            assert second is not None
            await asyncio.to_thread(second.__exit__, None, None, None)
    assert "Reconnected" in kinds
    assert ControlKind.ENVIRONMENT_LOST in kinds
    assert kinds.index(ControlKind.ENVIRONMENT_LOST) < kinds.index(ControlKind.TURN_ENDED)


async def test_sigterm_drains(tmp_path: Path) -> None:
    with platform(tmp_path) as running:
        async with connect(running.address) as client:
            await run_episode(client, "fake://?steps=2", "go", agent=CONSTANT)
        assert await asyncio.to_thread(running.terminate) == 0
    assert any("draining" in line for line in running.lines)


async def test_garbage_is_refused_and_harms_nobody(up: RunningPlatform) -> None:
    async with grpc.aio.insecure_channel(up.address) as channel:
        call = channel.stream_stream("/tectum.session.v1.SessionService/Converse")()
        await call.write(b"\xff\xff\xff not a message")
        with pytest.raises(grpc.aio.AioRpcError):
            await call.read()
        huge = channel.unary_unary("/tectum.planner.v1.PlannerService/Decide")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await huge(b"\x0a" + b"\xff" * (10 * 2**20))
        assert caught.value.code() in (
            grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.INVALID_ARGUMENT
        )  # fmt: skip
    async with connect(up.address) as client:
        assert (await run_episode(client, "fake://?steps=2", "go", agent=CONSTANT)).success


async def test_a_session_that_nobody_opened_cannot_be_resumed(up: RunningPlatform) -> None:
    async with connect(up.address) as client:
        async with client.session("fake://", agent=CONSTANT) as session:
            await session.close()
            stranger = session
        stranger.resume_token = "guess"
        with pytest.raises(TectumError) as caught:
            await stranger.connect()
    assert caught.value.reason in ("RESUME_TOKEN_WRONG", "SESSION_CLOSED")

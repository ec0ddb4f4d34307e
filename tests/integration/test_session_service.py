"""SessionService, LeaseService and ExecutorService over a real socket, with every message of ConverseRequest."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from libs.blobs.memory import MemoryBlobStore
from libs.clock import SystemClock
from libs.errors import InvalidRequest, NotFound, PermissionDenied, WrongState
from libs.events.embedded import EmbeddedEventLog
from libs.events.memory import MemoryEventLog
from libs.events.port import EventLog
from libs.events.settings import EventSettings
from libs.events.topics import topic_specs
from libs.executor.running import running_executor
from libs.host import Host
from libs.rpc.client import connect
from libs.rpc.server import PlatformServer, serving
from libs.rpc.settings import RpcSettings
from services.session.__main__ import running
from services.session.settings import SessionSettings
from tectum.event.v1 import control_pb2, outcome_pb2, plan_pb2
from tectum.protocol.messages import Verdict
from tectum.session.v1 import session_pb2 as pb
from tectum.session.v1 import session_pb2_grpc
from tests.integration.recorder_host import Traces
from tests.platform_fakes import FAST_EXECUTOR, FakeLink, Mind

RPC = RpcSettings(address="127.0.0.1:0", drain_s=0)
SETTINGS = SessionSettings(lease_s=1.0, hold_try_s=1.0, silence_s=0.5)


class Served:
    """A host with session, a GUI executor on a fake last link, and a scripted mind."""

    def __init__(self, channel: Any, mind: Mind, link: FakeLink) -> None:
        self.mind = mind
        self.link = link
        self.sessions: Any = session_pb2_grpc.SessionServiceStub(channel)
        self.leases: Any = session_pb2_grpc.LeaseServiceStub(channel)

    def converse(self) -> Stream:
        return Stream(self.sessions.Converse())


class Stream:
    def __init__(self, call: Any) -> None:
        self.call = call
        self.heard: list[pb.ConverseResponse] = []
        self.seq = 0

    async def say(self, **message: Any) -> None:
        if "resume" not in message:
            self.seq += 1
        seq = 0 if "resume" in message else self.seq
        await self.call.write(pb.ConverseRequest(client_seq=seq, **message))

    async def until(self, message: str, /, **fields: Any) -> Any:
        while True:
            response = await self.call.read()
            assert response is not grpc.aio.EOF, f"ended; heard {self.heard}"  # type: ignore[attr-defined]
            self.heard.append(response)
            body = getattr(response, message)
            if response.WhichOneof("message") == message and all(
                getattr(body, name) == value for name, value in fields.items()
            ):
                return body

    @property
    def cursor(self) -> str:
        return next((r.cursor for r in reversed(self.heard) if r.cursor), "")


@asynccontextmanager
async def served(log: EventLog, folder: Path) -> AsyncIterator[Served]:
    async with AsyncExitStack() as stack:
        server = await PlatformServer.bind(RPC)
        channel = connect(server.inner_address, RPC)
        stack.push_async_callback(channel.close)
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        host = Host(
            log=log,
            blobs=MemoryBlobStore(),
            server=server,
            tasks=tasks,
            clock=SystemClock(),
            data_dir=folder,
            address=server.inner_address,
            channel=lambda _: channel,
            traces=Traces("", ()),
        )
        link, mind = FakeLink(), Mind(log)
        thinking = tasks.create_task(mind.run())
        stack.callback(thinking.cancel)
        await stack.enter_async_context(running_executor(host, link, limits=FAST_EXECUTOR))
        await stack.enter_async_context(running(host, SETTINGS))
        await stack.enter_async_context(serving(server, drain_s=0))
        yield Served(channel, mind, link)


@pytest.fixture(params=["memory", "embedded"])
async def made(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Served]:
    log: EventLog
    if request.param == "memory":
        log = MemoryEventLog(SystemClock())
    else:
        log = await EmbeddedEventLog.open(
            tmp_path / "log", clock=SystemClock(), settings=EventSettings()
        )
    await log.ensure_topics(topic_specs(2))
    try:
        async with served(log, tmp_path) as running_host:
            yield running_host
    finally:
        await log.aclose()


async def test_every_message_of_a_session(made: Served) -> None:
    stream = made.converse()
    agent = pb.Agent(strategy="constant", max_steps=7, lesson="clicking")
    await stream.say(
        open=pb.Open(
            client_id="me",
            environment="fake://x",
            agent=agent,
            instruction="go",
            secrets={"password": "hunter2"},
        )
    )
    opened = await stream.until("opened")
    assert (opened.epoch.term, len(opened.bodies), opened.client_seq) == (1, 1, 1)
    turn = await stream.until("turn_started")
    assert (turn.strategy, turn.max_steps, list(turn.secret_names)) == (
        "constant",
        7,
        ["password"],
    )
    outcome = await stream.until("outcome", ended=True)
    assert outcome.status == outcome_pb2.OUTCOME_STATUS_OK
    ended = await stream.until("control", kind=control_pb2.CONTROL_KIND_TURN_ENDED)
    assert ended.reason == "DONE"

    made.link.release = asyncio.Event()
    made.link.inside.clear()
    await stream.say(instruction=pb.Instruction(text="again"))
    await made.link.inside.wait()
    await stream.say(interrupt=pb.Interrupt(reason="stop"))
    made.link.release.set()
    raised = await stream.until("control", reason="INTERRUPTED")
    assert [r.state for r in raised.bodies] == [control_pb2.BODY_STATE_CONFIRMED]
    made.link.release = None

    made.mind.verdict = Verdict.ASK
    await stream.say(instruction=pb.Instruction(text="ask me"))
    decision = await stream.until("decision", verdict=plan_pb2.VERDICT_ASK)
    await stream.say(approval=pb.Approval(step=decision.step, approved=True))
    await stream.until("acknowledged", client_seq=5)
    await stream.say(feedback=pb.Feedback(success=True, comment="good"))
    assert (await stream.until("score")).source == "caller"
    await stream.say(close=pb.Close())
    await stream.until("control", kind=control_pb2.CONTROL_KIND_CLOSED, lesson="clicking")
    assert await stream.call.read() is grpc.aio.EOF  # type: ignore[attr-defined]
    assert await stream.call.code() is grpc.StatusCode.OK
    state = (
        await made.sessions.GetSession(pb.GetSessionRequest(session_id=opened.session_id))
    ).state
    assert state.status == control_pb2.SESSION_STATUS_CLOSED
    assert state.cursors == {"me": 7}
    assert json.loads(state.agent)["lesson"] == "clicking"
    assert "hunter2" not in str(stream.heard) + str(state)
    assert made.link.environments == {}


async def test_a_lost_stream_is_resumed_with_what_was_missed(made: Served) -> None:
    made.mind.silent = True
    stream = made.converse()
    await stream.say(open=pb.Open(environment="fake://x", instruction="go"))
    opened = await stream.until("opened")
    await stream.until("turn_started")
    cursor = stream.cursor
    stream.call.cancel()
    again = made.converse()
    resume = pb.Resume(
        session_id=opened.session_id, resume_token=opened.resume_token, cursor=cursor
    )
    await again.say(resume=resume)
    assert (await again.until("opened")).client_seq == 1
    await again.until("control", kind=control_pb2.CONTROL_KIND_CLIENT_LOST)
    await again.until("control", kind=control_pb2.CONTROL_KIND_CLIENT_RETURNED)
    assert not any(r.WhichOneof("message") == "turn_started" for r in again.heard)
    again.seq = 1
    await again.say(close=pb.Close())
    await again.until("control", kind=control_pb2.CONTROL_KIND_CLOSED)


async def test_the_other_doors(made: Served) -> None:
    made.mind.silent = True
    stream = made.converse()
    await stream.say(open=pb.Open(environment="fake://x", instruction="go"))
    session_id = (await stream.until("opened")).session_id
    raised = await made.sessions.Interrupt(
        pb.InterruptRequest(session_id=session_id, reason="a person")
    )
    assert raised.epoch.n == 1
    assert [r.state for r in raised.bodies] == [control_pb2.BODY_STATE_CONFIRMED]
    ended = await stream.until("control", kind=control_pb2.CONTROL_KIND_TURN_ENDED)
    assert (ended.reason, ended.message) == ("INTERRUPTED", "a person")
    listed: list[str] = []
    while not listed:
        page = await made.sessions.ListSessions(pb.ListSessionsRequest())
        listed = [state.session_id for state in page.states]
    assert listed == [session_id]
    body = raised.bodies[0].body
    ask = pb.AskLeaseRequest(
        session_id=session_id, home=body.home, incarnation=body.incarnation, ask=1 << 50
    )
    grant = await made.leases.AskLease(ask)
    assert (grant.ask, grant.epoch.n, grant.lease_s) == (1 << 50, 1, 1.0)
    await made.sessions.CloseSession(pb.CloseSessionRequest(session_id=session_id, reason="OVER"))
    await stream.until("control", kind=control_pb2.CONTROL_KIND_CLOSED, reason="OVER")
    with pytest.raises(WrongState) as caught:
        await made.leases.AskLease(ask)
    assert caught.value.reason == "SESSION_CLOSED"
    with pytest.raises(NotFound) as unknown:
        await made.sessions.GetSession(pb.GetSessionRequest(session_id="nobody"))
    assert unknown.value.reason == "SESSION_NOT_FOUND"


@pytest.mark.parametrize(
    ("request_", "error", "reason"),
    [
        (pb.ConverseRequest(), InvalidRequest, "MESSAGE_MALFORMED"),
        (
            pb.ConverseRequest(client_seq=1, instruction=pb.Instruction(text="x")),
            InvalidRequest,
            "OPEN_EXPECTED",
        ),
        (
            pb.ConverseRequest(client_seq=1, open=pb.Open(environment="nonsense")),
            InvalidRequest,
            "URI_MALFORMED",
        ),
        (
            pb.ConverseRequest(client_seq=1, open=pb.Open(environment="fake://unknown")),
            InvalidRequest,
            "TASK_UNKNOWN",
        ),
        (
            pb.ConverseRequest(resume=pb.Resume(session_id="nobody")),
            NotFound,
            "SESSION_NOT_FOUND",
        ),
    ],
)
async def test_garbage_has_its_reason(
    made: Served, request_: pb.ConverseRequest, error: type[Exception], reason: str
) -> None:
    stream = made.converse()
    await stream.call.write(request_)
    with pytest.raises(error) as caught:
        await stream.call.read()
    assert caught.value.reason == reason  # type: ignore[attr-defined]


async def test_a_wrong_token_is_refused(made: Served) -> None:
    made.mind.silent = True
    stream = made.converse()
    await stream.say(open=pb.Open(environment="fake://x", instruction="go"))
    session_id = (await stream.until("opened")).session_id
    thief = made.converse()
    await thief.say(resume=pb.Resume(session_id=session_id, resume_token="guess"))
    with pytest.raises(PermissionDenied) as caught:
        await thief.call.read()
    assert caught.value.reason == "RESUME_TOKEN_WRONG"
    await stream.say(close=pb.Close())
    await stream.until("control", kind=control_pb2.CONTROL_KIND_CLOSED)


async def test_a_session_outlives_its_platform(tmp_path: Path) -> None:
    """The process ends; another one on the same log: the client resumes and a fresh attempt finishes."""
    log = await EmbeddedEventLog.open(
        tmp_path / "log", clock=SystemClock(), settings=EventSettings()
    )
    await log.ensure_topics(topic_specs(2))
    try:
        async with served(log, tmp_path) as first:
            first.mind.silent = True
            stream = first.converse()
            await stream.say(open=pb.Open(environment="fake://x", instruction="go"))
            opened = await stream.until("opened")
            await stream.until("turn_started")
            cursor = stream.cursor
        async with served(log, tmp_path) as second:
            again = second.converse()
            await again.say(
                resume=pb.Resume(
                    session_id=opened.session_id,
                    resume_token=opened.resume_token,
                    cursor=cursor,
                )
            )
            assert (await again.until("opened")).epoch.term == 2
            lost = await again.until("control", kind=control_pb2.CONTROL_KIND_ENVIRONMENT_LOST)
            assert lost.bodies[0].state == control_pb2.BODY_STATE_KILLED
            turn = await again.until("turn_started")
            assert (turn.attempt, turn.epoch.term) == (2, 2)
            await again.until("control", reason="DONE")
            again.seq = 1
            await again.say(close=pb.Close())
            await again.until("control", kind=control_pb2.CONTROL_KIND_CLOSED)
    finally:
        await log.aclose()

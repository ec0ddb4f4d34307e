"""Streams: the log is the buffer, limits hold, the order of things stands."""

# ruff: noqa: ASYNC110 - what is waited for is in the log or at a fake, and has no event to wait on

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from libs.errors import InvalidRequest, Overloaded
from libs.events.topics import CONTROL
from services.session.domain.admission import Bucket, check_agent, dump_agent, load_agent
from services.session.domain.messages import (
    Acknowledged,
    Agent,
    Feedback,
    Instruction,
    OnClientLost,
    OnEnvironmentLost,
    Open,
    Opened,
    Resume,
)
from services.session.domain.view import TOPICS, pack, unpack
from tectum.protocol.messages import ControlKind, Outcome, Plan, SessionStatus, TurnStarted
from tests.platform_fakes import FAST, FakeLink, Platform, platform


@pytest.fixture
async def made() -> AsyncIterator[Platform]:
    async with platform() as running:
        yield running


def test_a_cursor_survives_its_journey_and_garbage_is_refused() -> None:
    positions = {topic: 3 * number for number, topic in enumerate(TOPICS)}
    assert unpack(pack(positions)) == positions
    for garbage in ("x", "e30=", pack({})[:-3], "WzFd"):
        with pytest.raises(InvalidRequest) as caught:
            unpack(garbage)
        assert caught.value.reason == "CURSOR_MALFORMED"


def test_a_bucket_refills_with_time() -> None:
    bucket = Bucket(rate=2.0, burst=2, now=0.0)
    bucket.take(0.0)
    bucket.take(0.0)
    with pytest.raises(Overloaded) as caught:
        bucket.take(0.1)
    assert caught.value.reason == "RATE_EXCEEDED"
    bucket.take(0.7)


def test_an_agent_is_kept_as_it_was_given() -> None:
    agent = Agent(
        strategy="script",
        strategy_settings='{"steps": []}',
        on_client_lost=OnClientLost.PAUSE,
        on_environment_lost=OnEnvironmentLost.STOP,
        grace_s=2.5,
        lesson="l",
    )
    assert load_agent(dump_agent(agent)) == agent
    assert load_agent("") == Agent()


@pytest.mark.parametrize(
    "agent",
    [
        Agent(grace_s=3601),
        Agent(grace_s=-1),
        Agent(max_steps=1001),
        Agent(turn_limit_s=90_000),
        Agent(strategy_settings="[]"),
        Agent(strategy_settings="{"),
    ],
)
def test_an_agent_out_of_range_is_refused(agent: Agent) -> None:
    with pytest.raises(InvalidRequest) as caught:
        check_agent(agent)
    assert caught.value.reason == "AGENT_SETTINGS_INVALID"


@pytest.mark.parametrize(
    ("first", "reason"),
    [
        (Instruction("hello"), "OPEN_EXPECTED"),
        (Open(environment="not a uri"), "URI_MALFORMED"),
        (Open(environment=""), "URI_MALFORMED"),
        (Open(environment="fake://x", client_id="a/b"), "CLIENT_ID_INVALID"),
        (Open(environment="fake://x", instruction="x" * 70_000), "MESSAGE_TOO_LARGE"),
        (Open(environment="fake://x", secrets={"pw": "x" * 70_000}), "MESSAGE_TOO_LARGE"),
        (Open(environment="fake://x", agent=Agent(max_steps=5000)), "AGENT_SETTINGS_INVALID"),
    ],
)
async def test_a_first_message_that_is_wrong_ends_the_stream(
    made: Platform, first: object, reason: str
) -> None:
    client = made.client(await made.replica())
    client.say(first)
    await client.done.wait()
    assert isinstance(client.error, InvalidRequest)
    assert client.error.reason == reason


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (Open(environment="fake://x"), "OPEN_UNEXPECTED"),
        (Instruction("x" * 70_000), "MESSAGE_TOO_LARGE"),
        (Feedback(comment="x" * 70_000), "MESSAGE_TOO_LARGE"),
    ],
)
async def test_a_later_message_that_is_wrong_ends_the_stream_and_not_the_session(
    made: Platform, message: object, reason: str
) -> None:
    await made.executor(FakeLink())
    sessions = await made.replica()
    client = await made.opened(sessions)
    client.say(message)
    await client.done.wait()
    assert isinstance(client.error, InvalidRequest)
    assert client.error.reason == reason
    state = await sessions.get("local", client.said[0].session_id)
    assert state.status is SessionStatus.OPEN


async def test_a_flood_is_refused_and_nothing_acknowledged_is_lost() -> None:
    async with platform(limits=replace(FAST, messages_per_s=0.1, message_burst=3)) as made:
        await made.executor(FakeLink())
        sessions = await made.replica()
        client = await made.opened(sessions)
        for _ in range(10):
            client.say(Feedback(success=False))
        await client.done.wait()
        assert isinstance(client.error, Overloaded)
        assert client.error.reason == "RATE_EXCEEDED"
        acknowledged = [said.client_seq for said in client.said if isinstance(said, Acknowledged)]
        assert acknowledged == [2, 3, 4]
        again = made.client(sessions)
        again.say(Resume(client.said[0].session_id, client.said[0].resume_token))
        assert (await again.heard_a(Opened)).client_seq == 4


async def test_sessions_are_limited_per_tenant_and_in_all() -> None:
    limits = replace(FAST, sessions_per_tenant_max=1, sessions_max=2)
    async with platform(limits=limits) as made:
        await made.executor(FakeLink())
        sessions = await made.replica()
        made.mind.silent = True
        await made.opened(sessions)
        for tenant, admitted in (("local", False), ("b", True), ("c", False)):
            client = made.client(sessions, tenant)
            client.say(Open(environment="fake://x", instruction="go"))
            if admitted:
                await client.heard_a(Opened)
                continue
            await client.done.wait()
            assert isinstance(client.error, Overloaded)
            assert client.error.reason == "TOO_MANY_SESSIONS"
            assert client.error.retry_after_s > 0


async def test_a_client_that_does_not_read_has_the_rest_from_the_log() -> None:
    async with platform(limits=replace(FAST, view_records_max=2)) as made:
        await made.executor(FakeLink())
        made.mind.default = made.mind.default[:1] * 8 + made.mind.default[-1:]
        sessions = await made.replica()
        client = await made.opened(sessions)
        client.stall = asyncio.Event()
        session_id = client.said[0].session_id
        ended: list[object] = []
        while not ended:
            await asyncio.sleep(0.005)
            ended = [
                c for c in await made.of(CONTROL, session_id) if c.kind is ControlKind.TURN_ENDED
            ]
        client.stall.set()
        await client.control(ControlKind.TURN_ENDED)
        view = sessions._streams[session_id][0]._view
        assert view.overflows > 0, "the buffer was too small, as it should be here"
        assert len([s for s in client.said if isinstance(s, Plan)]) == 9
        outcomes = [s.step for s in client.said if isinstance(s, Outcome)]
        assert outcomes == sorted(set(outcomes)) and len(outcomes) == 9


async def test_a_client_hears_of_its_own_session_only(made: Platform) -> None:
    await made.executor(FakeLink())
    sessions = await made.replica()
    one = await made.opened(sessions, instruction="one")
    two = await made.opened(sessions, instruction="two")
    await one.control(ControlKind.TURN_ENDED)
    await two.control(ControlKind.TURN_ENDED)
    for client, text in ((one, "one"), (two, "two")):
        turns = [said for said in client.said if isinstance(said, TurnStarted)]
        assert [turn.instruction for turn in turns] == [text]


async def test_sessions_are_listed_newest_first_by_page_and_by_tenant(made: Platform) -> None:
    await made.executor(FakeLink())
    sessions = await made.replica()
    ids = [(await made.opened(sessions)).said[0].session_id for _ in range(3)]
    await asyncio.sleep(0)
    while len((await sessions.list_page("local", 0, ""))[0]) < 3:
        await asyncio.sleep(0.005)
    page, token = await sessions.list_page("local", 2, "")
    rest, end = await sessions.list_page("local", 2, token)
    assert [state.session_id for state in (*page, *rest)] == ids[::-1]
    assert end == ""
    assert (await sessions.list_page("other", 0, "")) == ([], "")
    for size, bad, reason in ((1001, "", "PAGE_SIZE_INVALID"), (1, "x", "PAGE_TOKEN_INVALID")):
        with pytest.raises(InvalidRequest) as caught:
            await sessions.list_page("local", size, bad)
        assert caught.value.reason == reason

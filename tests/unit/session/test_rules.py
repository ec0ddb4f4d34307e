"""The owner's rules over the real log in memory: terms, leases, interrupts, identity."""

# ruff: noqa: ASYNC110 - what is waited for is in the log or at a fake, and has no event to wait on

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from libs.errors import (
    Conflict,
    DependencyDown,
    InvalidRequest,
    NotFound,
    Overloaded,
    PermissionDenied,
    PlatformError,
    WrongState,
)
from libs.events.port import Event
from libs.events.topics import CONTROL, OBSERVATIONS, OUTCOMES, SESSIONS
from libs.executor.port import LeaseAsk
from services.session.domain.fencing import gone
from services.session.domain.messages import (
    Acknowledged,
    Agent,
    Approval,
    ClientMessage,
    Close,
    Feedback,
    Instruction,
    Interrupt,
    OnClientLost,
    OnEnvironmentLost,
    Open,
    Opened,
    Refused,
    Resume,
)
from services.session.domain.session import Session
from services.session.domain.sessions import Sessions
from tectum.protocol.messages import (
    ClientMessageAccepted,
    Control,
    ControlKind,
    Decision,
    Outcome,
    OutcomeStatus,
    Plan,
    Score,
    SessionState,
    SessionStatus,
    Started,
    TurnStarted,
    Verdict,
)
from tectum.protocol.types import Body, BodyKind, BodyState, Epoch
from tests.platform_fakes import FakeLink, Platform, answer, fail, platform


@pytest.fixture
async def made() -> AsyncIterator[Platform]:
    async with platform() as running:
        yield running


def session_of(sessions: Sessions, session_id: str) -> Session:
    found = sessions._ownership.find(session_id)
    assert found is not None
    return found


async def states(made: Platform, session_id: str) -> list[SessionState]:
    return await made.of(SESSIONS, session_id, SessionState)


async def controls(made: Platform, session_id: str, kind: ControlKind) -> list[Control]:
    return [c for c in await made.of(CONTROL, session_id, Control) if c.kind is kind]


def ask_of(session: Session, ask: int = 1) -> LeaseAsk:
    body = session.owner.ledger.saved.bodies[0]
    return LeaseAsk(session.owner.session_id, body.home, body.incarnation, ask)


# Terms and leases.


async def test_bodies_are_written_before_their_first_grant(made: Platform) -> None:
    await made.executor(FakeLink())
    sessions = await made.replica()
    client = await made.opened(sessions)
    session_id = client.said[0].session_id
    session = session_of(sessions, session_id)
    assert session.owner.ledger.saved.bodies == (await states(made, session_id))[-1].bodies
    grant = await sessions.ask_lease(ask_of(session, 1 << 40))
    assert (grant.ask, grant.epoch) == (1 << 40, Epoch(1, 0))
    stranger = LeaseAsk(session_id, "gui/0/9-x", 9, 1)
    with pytest.raises(NotFound) as caught:
        await sessions.ask_lease(stranger)
    assert caught.value.reason == "BODY_UNKNOWN"


async def test_every_grant_is_proved_after_its_ask_arrived(made: Platform) -> None:
    await made.executor(FakeLink())
    sessions = await made.replica()
    client = await made.opened(sessions)
    session = session_of(sessions, client.said[0].session_id)
    await made.log.producer(f"session/{session.owner.session_id}")
    with pytest.raises(WrongState) as caught:
        await sessions.ask_lease(ask_of(session))
    assert caught.value.reason == "NOT_OWNER"
    await client.done.wait()
    assert isinstance(client.error, DependencyDown)
    assert client.error.reason == "NOT_OWNER"


async def test_a_log_that_is_down_ends_leases(made: Platform) -> None:
    await made.executor(FakeLink())
    sessions = await made.replica()
    client = await made.opened(sessions)
    session = session_of(sessions, client.said[0].session_id)

    async def down() -> None:
        raise DependencyDown("LOG_DOWN", "the log does not answer")

    session.owner.ledger._producer.prove = down  # type: ignore[method-assign]
    with pytest.raises(DependencyDown):
        await sessions.ask_lease(ask_of(session))
    assert session.owner.gone is None, "it may come back"


async def test_nothing_is_granted_between_hold_and_durable_epoch(made: Platform) -> None:
    await made.executor(FakeLink())
    sessions = await made.replica()
    client = await made.opened(sessions, instruction="")
    session = session_of(sessions, client.said[0].session_id)
    gate, publish = asyncio.Event(), session.owner.ledger._producer.publish
    blocked = asyncio.Event()

    async def slow(topic: str, event: Event, *, partition: int | None = None):  # type: ignore[no-untyped-def]
        if topic == SESSIONS:
            blocked.set()
            await gate.wait()
        return await publish(topic, event, partition=partition)

    session.owner.ledger._producer.publish = slow  # type: ignore[method-assign]
    async with asyncio.TaskGroup() as tasks:
        raising = tasks.create_task(sessions.interrupt("local", session.owner.session_id, ""))
        await blocked.wait()
        with pytest.raises(Overloaded) as caught:
            await sessions.ask_lease(ask_of(session))
        assert caught.value.reason == "HOLDING"
        assert not raising.done()
        gate.set()
    grant = await sessions.ask_lease(ask_of(session))
    assert grant.epoch == raising.result().epoch == Epoch(1, 1)


async def test_a_takeover_raises_the_epoch_fences_anew_and_the_old_owner_drops_out(
    made: Platform,
) -> None:
    link = FakeLink()
    await made.executor(link)
    one, two = await made.replica("session:1"), await made.replica("session:2")
    made.mind.silent = True
    client = await made.opened(one)
    opened = client.said[0]
    other = made.client(two)
    other.say(Resume(opened.session_id, opened.resume_token, client.cursor))
    again = await other.heard_a(Opened)
    assert again.epoch == Epoch(2, 0)
    raised = await other.control(ControlKind.EPOCH_RAISED, reason="TAKEN_OVER")
    assert raised.epoch == Epoch(2, 0)
    assert [r.state for r in raised.bodies] == [BodyState.CONFIRMED]
    turn = await other.until(lambda said: isinstance(said, TurnStarted) and said.epoch.term == 2)
    assert (turn.instruction, turn.attempt) == ("go", 1)
    assert turn.first_step > 1, "steps of the old turn are never used again"
    with pytest.raises(PlatformError):
        await one.interrupt("local", opened.session_id, "late")  # fenced: takes it back
        raise WrongState("TAKEN_BACK", "it was taken over in turn")
    await client.done.wait()
    assert isinstance(client.error, DependencyDown)
    assert client.error.reason == "NOT_OWNER"


async def test_a_takeover_says_expired_only_after_a_full_lease(made: Platform) -> None:
    await made.executor(FakeLink())
    one, two = await made.replica("session:1"), await made.replica("session:2")
    client = await made.opened(one)
    opened = client.said[0]
    await client.control(ControlKind.TURN_ENDED)
    made.wires.cut.add("gui:0")
    other = made.client(two)
    other.say(Resume(opened.session_id, opened.resume_token, client.cursor))
    await other.heard_a(Opened)
    session = session_of(two, opened.session_id)
    taken_at = session.owner.leases._taken_at
    raised = await other.control(ControlKind.EPOCH_RAISED, reason="TAKEN_OVER")
    assert [r.state for r in raised.bodies] == [BodyState.EXPIRED]
    assert made.clock.monotonic() - taken_at >= made.limits.lease_s
    await other.control(ControlKind.ENVIRONMENT_LOST)


def test_only_the_same_executor_says_that_a_home_is_gone() -> None:
    body = Body("gui/0/3-e1", 3, BodyKind.GUI, 0)

    def said(executor: str, incarnation: str, reason: str = "ENVIRONMENT_LOST") -> bool:
        return gone(body, NotFound(reason, "", executor=executor, incarnation=incarnation))

    assert said("gui/0", "3") and said("gui/0", "4")
    assert not said("gui/0", "2"), "an older incarnation knows nothing of it"
    assert not said("gui/1", "4"), "another executor neither"
    assert not said("gui/0", "") and not said("gui/0", "4", "SOMETHING_ELSE")


# Interrupts.


async def test_interrupts_overlap_and_the_second_takes_the_next_number(made: Platform) -> None:
    link = FakeLink()
    await made.executor(link)
    sessions = await made.replica()
    link.release = asyncio.Event()
    client = await made.opened(sessions)
    await link.inside.wait()
    client.say(Interrupt("one"))
    client.say(Interrupt("two"))
    while len(made.wires.holds) < 2:
        await asyncio.sleep(0.001)
    link.release.set()
    await client.until(
        lambda said: (
            isinstance(said, Control)
            and said.kind is ControlKind.EPOCH_RAISED
            and said.message == "two"
        )
    )
    raised = await controls(made, client.said[0].session_id, ControlKind.EPOCH_RAISED)
    assert sorted(c.epoch for c in raised) == [Epoch(1, 1), Epoch(1, 2)]
    durable = [s.epoch for s in await states(made, client.said[0].session_id)]
    assert durable == sorted(durable), "the durable epoch never goes back"


async def test_an_interrupt_while_the_log_is_down_is_acknowledged_when_it_is_back(
    made: Platform,
) -> None:
    await made.executor(FakeLink())
    sessions = await made.replica()
    client = await made.opened(sessions)
    session = session_of(sessions, client.said[0].session_id)
    await client.control(ControlKind.TURN_ENDED)
    producer, down = session.owner.ledger._producer, [True]
    publish = producer.publish

    async def sometimes(topic: str, event: Event, *, partition: int | None = None):  # type: ignore[no-untyped-def]
        if down[0] and topic != OBSERVATIONS:
            raise DependencyDown("LOG_DOWN", "the log does not answer")
        return await publish(topic, event, partition=partition)

    producer.publish = sometimes  # type: ignore[method-assign]
    async with asyncio.TaskGroup() as tasks:
        raising = tasks.create_task(sessions.interrupt("local", session.owner.session_id, ""))
        refused = await client.heard_a(Refused)
        assert refused.reason == "LOG_DOWN"
        assert made.wires.holds, "the bodies were held all the same"
        assert not raising.done()
        with pytest.raises(Overloaded):
            await sessions.ask_lease(ask_of(session))
        down[0] = False
        assert (await raising).bodies[0].state is BodyState.CONFIRMED


async def test_a_log_that_stays_down_ends_ownership_and_a_successor_goes_on(
    made: Platform,
) -> None:
    await made.executor(FakeLink())
    sessions = await made.replica()
    client = await made.opened(sessions)
    session = session_of(sessions, client.said[0].session_id)

    async def down(*_: object, **__: object) -> None:
        raise DependencyDown("LOG_DOWN", "the log does not answer")

    session.owner.ledger._producer.publish = down  # type: ignore[assignment,method-assign]
    with pytest.raises(DependencyDown) as caught:
        await sessions.interrupt("local", session.owner.session_id, "")
    assert caught.value.reason == "LOG_DOWN"
    await client.done.wait()
    opened = client.said[0]
    again = made.client(sessions)
    again.say(Resume(opened.session_id, opened.resume_token))
    assert (await again.heard_a(Opened)).epoch.term == 2


async def test_a_hold_that_hangs_kills_and_the_next_turn_has_a_fresh_environment(
    made: Platform,
) -> None:
    link = FakeLink()
    await made.executor(link)
    sessions = await made.replica()
    link.release = asyncio.Event()
    client = await made.opened(sessions)
    await link.inside.wait()
    client.say(Interrupt("now"))
    raised = await client.control(ControlKind.EPOCH_RAISED)
    assert [r.state for r in raised.bodies] == [BodyState.KILLED]
    unknown = await client.until(
        lambda said: isinstance(said, Outcome) and said.status is OutcomeStatus.UNKNOWN
    )
    assert unknown.reason == "KILLED"
    link.release = None
    client.say(Instruction("again"))
    turn = await client.until(
        lambda said: isinstance(said, TurnStarted) and said.instruction == "again"
    )
    assert turn.body.home != raised.bodies[0].body.home
    await client.control(ControlKind.TURN_ENDED, instruction="again", reason="DONE")


async def test_a_new_instruction_interrupts_the_turn_under_way(made: Platform) -> None:
    link = FakeLink()
    await made.executor(link)
    sessions = await made.replica()
    link.release = asyncio.Event()
    client = await made.opened(sessions)
    await link.inside.wait()
    client.say(Instruction("second"))
    link.release.set()
    ended = await client.control(ControlKind.TURN_ENDED, instruction="go")
    assert ended.reason == "INTERRUPTED"
    await client.control(ControlKind.EPOCH_RAISED, reason="INSTRUCTION")
    await client.control(ControlKind.TURN_ENDED, instruction="second", reason="DONE")
    turns = await made.of(OBSERVATIONS, client.said[0].session_id, TurnStarted)
    assert turns[0].epoch < turns[1].epoch
    assert turns[1].first_step > turns[0].first_step + turns[0].max_steps


async def test_a_body_that_dies_silently_is_noticed_and_its_step_closed(made: Platform) -> None:
    link = FakeLink(BodyKind.ROBOT, enforces=True)
    await made.executor(link)
    sessions = await made.replica()
    link.release = asyncio.Event()
    client = await made.opened(
        sessions,
        environment="robot://arm",
        agent=Agent(on_environment_lost=OnEnvironmentLost.STOP),
    )
    await link.inside.wait()
    made.wires.cut.add("robot:0")
    made.wires.cut.add("session:1")
    lost = await client.control(ControlKind.ENVIRONMENT_LOST)
    assert lost.bodies[0].state is BodyState.EXPIRED
    await client.control(ControlKind.TURN_ENDED, reason="ENVIRONMENT_LOST")
    outcome = await client.heard_a(Outcome)
    assert (outcome.status, outcome.reason) == (OutcomeStatus.UNKNOWN, "EXECUTOR_GONE")


# Identity.


async def test_a_message_is_in_the_log_before_it_is_acknowledged_and_done_once(
    made: Platform,
) -> None:
    await made.executor(FakeLink())
    sessions = await made.replica()
    client = await made.opened(sessions)
    session_id = client.said[0].session_id
    await client.control(ControlKind.TURN_ENDED)
    client.say(Feedback(success=True, comment="well done"), seq=2)
    await client.until(lambda said: said == Acknowledged(2))
    client.say(Feedback(success=True, comment="well done"), seq=2)
    await client.until(lambda said: said == Acknowledged(2), after=len(client.said))
    scores = await client.heard_a(Score)
    assert (scores.source, scores.success) == ("caller", True)
    accepted = await made.of(OBSERVATIONS, session_id, ClientMessageAccepted)
    assert [(a.kind, a.client_seq, a.text) for a in accepted] == [
        ("open", 1, "go"),
        ("feedback", 2, "well done"),
    ]
    assert (await states(made, session_id))[-1].cursors == {"client": 2}


async def test_a_gap_is_refused(made: Platform) -> None:
    await made.executor(FakeLink())
    client = await made.opened(await made.replica())
    client.say(Interrupt(), seq=5)
    await client.done.wait()
    assert isinstance(client.error, InvalidRequest)
    assert client.error.reason == "CLIENT_SEQ_GAP"


async def test_what_was_appended_and_not_counted_is_known_to_the_next_owner(
    made: Platform,
) -> None:
    """G15: appended, not yet in the cursor; takeover; the client says it again."""
    await made.executor(FakeLink())
    one, two = await made.replica("session:1"), await made.replica("session:2")
    made.mind.silent = True
    client = await made.opened(one)
    opened = client.said[0]
    session = session_of(one, opened.session_id)
    message = ClientMessage(2, Approval(step=1, approved=True))
    await session._append("client", message)
    again = made.client(two)
    again.say(Resume(opened.session_id, opened.resume_token))
    assert (await again.heard_a(Opened)).client_seq == 2
    again.say(Approval(step=1, approved=True), seq=2)
    await again.until(lambda said: said == Acknowledged(2))
    accepted = await made.of(OBSERVATIONS, opened.session_id, ClientMessageAccepted)
    assert [a.client_seq for a in accepted] == [1, 2]
    assert (accepted[1].step, accepted[1].approved) == (1, True)


async def test_an_instruction_that_was_accepted_and_not_begun_is_begun_by_the_next_owner(
    made: Platform,
) -> None:
    await made.executor(FakeLink())
    one, two = await made.replica("session:1"), await made.replica("session:2")
    client = await made.opened(one)
    opened = client.said[0]
    await client.control(ControlKind.TURN_ENDED)
    session = session_of(one, opened.session_id)
    await session._append("client", ClientMessage(2, Instruction("left behind")))
    again = made.client(two)
    again.say(Resume(opened.session_id, opened.resume_token, client.cursor))
    await again.control(ControlKind.TURN_ENDED, instruction="left behind", reason="DONE")


async def test_an_interrupt_that_was_accepted_and_not_done_ends_the_turn(made: Platform) -> None:
    await made.executor(FakeLink())
    one, two = await made.replica("session:1"), await made.replica("session:2")
    made.mind.silent = True
    client = await made.opened(one)
    opened = client.said[0]
    await client.heard_a(TurnStarted)
    session = session_of(one, opened.session_id)
    await session._append("client", ClientMessage(2, Interrupt("stop")))
    again = made.client(two)
    again.say(Resume(opened.session_id, opened.resume_token, client.cursor))
    await again.control(ControlKind.TURN_ENDED, reason="INTERRUPTED")
    turns = await made.of(OBSERVATIONS, opened.session_id, TurnStarted)
    assert len(turns) == 1


# Turns.


@pytest.mark.parametrize(
    ("script", "reason", "message", "said"),
    [
        ([answer("42")], "DONE", "", "42"),
        ([fail("no such button")], "FAILED", "no such button", ""),
    ],
)
async def test_a_turn_ends_as_its_last_action_says(
    made: Platform,
    script: list,
    reason: str,
    message: str,
    said: str,  # type: ignore[type-arg]
) -> None:
    await made.executor(FakeLink())
    made.mind.scripts["go"] = script
    client = await made.opened(await made.replica())
    ended = await client.control(ControlKind.TURN_ENDED)
    assert (ended.reason, ended.message, ended.answer) == (reason, message, said)
    state = (await states(made, client.said[0].session_id))[-1]
    assert (state.working, state.step) == (False, 1)


async def test_the_environments_own_instruction_begins_a_turn(made: Platform) -> None:
    link = FakeLink()
    link.instruction = "click it"
    await made.executor(link)
    client = await made.opened(await made.replica(), instruction="")
    assert (await client.heard_a(TurnStarted)).instruction == "click it"


async def test_without_any_instruction_it_waits_for_one(made: Platform) -> None:
    await made.executor(FakeLink())
    client = await made.opened(await made.replica(), instruction="")
    client.say(Instruction("now"))
    assert (await client.heard_a(TurnStarted)).instruction == "now"


async def test_a_lost_environment_is_replaced_three_times_at_most(made: Platform) -> None:
    link = FakeLink()
    await made.executor(link)
    sessions = await made.replica()
    link.perform_error = NotFound("ENVIRONMENT_LOST", "the page died")
    client = await made.opened(sessions)
    ended = await client.control(ControlKind.TURN_ENDED)
    assert ended.reason == "ENVIRONMENT_LOST"
    turns = await made.of(OBSERVATIONS, client.said[0].session_id, TurnStarted)
    assert [t.attempt for t in turns] == [1, 2, 3]
    assert len({t.body.home for t in turns}) == 3
    assert len({t.epoch for t in turns}) == 3


async def test_the_step_limit_and_the_deadline_end_a_turn(made: Platform) -> None:
    await made.executor(FakeLink())
    sessions = await made.replica()
    made.mind.default = made.mind.default[:1] * 20
    client = await made.opened(sessions, agent=Agent(max_steps=3))
    assert (await client.control(ControlKind.TURN_ENDED)).reason == "STEP_LIMIT"
    made.mind.silent = True
    client = await made.opened(sessions, agent=Agent(turn_limit_s=0.1))
    assert (await client.control(ControlKind.TURN_ENDED)).reason == "DEADLINE"


async def test_several_bodies_are_held_together(made: Platform) -> None:
    gui, robot = FakeLink(), FakeLink(BodyKind.ROBOT, enforces=True)
    await made.executor(gui)
    await made.executor(robot)
    made.mind.silent = True
    client = await made.opened(await made.replica(), environment="fake://x robot://arm")
    assert [b.kind for b in client.said[0].bodies] == [BodyKind.GUI, BodyKind.ROBOT]
    client.say(Interrupt())
    raised = await client.control(ControlKind.EPOCH_RAISED)
    assert [r.state for r in raised.bodies] == [BodyState.CONFIRMED] * 2
    client.say(Close())
    await client.done.wait()
    assert gui.environments == robot.environments == {}


async def test_an_ask_is_shown_and_its_answer_is_appended(made: Platform) -> None:
    await made.executor(FakeLink())
    made.mind.verdict = Verdict.ASK
    client = await made.opened(await made.replica())
    decision = await client.heard_a(Decision)
    assert decision.verdict is Verdict.ASK
    assert (await client.heard_a(Plan)).step == decision.step
    client.say(Approval(decision.step, approved=False))
    await client.until(lambda said: said == Acknowledged(2))
    accepted = await made.of(OBSERVATIONS, client.said[0].session_id, ClientMessageAccepted)
    assert (accepted[-1].kind, accepted[-1].approved) == ("approval", False)


# The end.


async def test_close_ends_the_turn_destroys_and_says_closed_last(made: Platform) -> None:
    link = FakeLink()
    await made.executor(link)
    sessions = await made.replica()
    made.mind.silent = True
    client = await made.opened(sessions, agent=Agent(lesson="clicking"))
    session_id = client.said[0].session_id
    client.say(Close())
    await client.control(ControlKind.CLOSED, reason="CLIENT", lesson="clicking")
    await client.done.wait()
    assert client.error is None
    assert link.environments == {}
    state = (await states(made, session_id))[-1]
    assert (state.status, state.bodies, state.reason) == (SessionStatus.CLOSED, (), "CLIENT")
    assert (await controls(made, session_id, ControlKind.TURN_ENDED))[-1].reason == "CLIENT"
    await sessions.close_session("local", session_id, "again")
    assert len(await controls(made, session_id, ControlKind.CLOSED)) == 1
    with pytest.raises(WrongState) as caught:
        await sessions.interrupt("local", session_id, "late")
    assert caught.value.reason == "SESSION_CLOSED"
    with pytest.raises(WrongState) as caught:
        await sessions.ask_lease(LeaseAsk(session_id, "x", 1, 1))
    assert caught.value.reason == "SESSION_CLOSED"


async def test_what_crosses_the_close_is_refused_and_does_not_cut_the_stream_off(
    made: Platform,
) -> None:
    await made.executor(FakeLink())
    sessions = await made.replica()
    made.mind.silent = True
    client = await made.opened(sessions)
    for message in (Close(), Close(), Instruction("too late")):
        client.say(message)
    await client.control(ControlKind.CLOSED, reason="CLIENT")
    await client.done.wait()
    assert client.error is None
    refused = [said for said in client.said if isinstance(said, Refused)]
    assert {said.reason for said in refused} == {"SESSION_CLOSED"}
    session_id = client.said[0].session_id
    assert len(await controls(made, session_id, ControlKind.CLOSED)) == 1
    assert len(await controls(made, session_id, ControlKind.TURN_ENDED)) == 1


async def test_an_environment_that_cannot_be_opened_is_the_callers_error(made: Platform) -> None:
    await made.executor(FakeLink())
    sessions = await made.replica()
    client = made.client(sessions)
    client.say(Open(environment="fake://unknown", instruction="go"))
    await client.done.wait()
    assert isinstance(client.error, InvalidRequest)
    assert client.error.reason == "TASK_UNKNOWN"
    listed: list[SessionState] = []
    while not listed or listed[0].status is not SessionStatus.CLOSED:
        await asyncio.sleep(0.005)
        listed = list((await sessions.list_page("local", 0, ""))[0])
    assert listed[0].reason == "TASK_UNKNOWN"


async def test_a_client_that_stops_talking_has_its_session_closed_with_its_turn(
    made: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.session.domain.session.HALF_CLOSE_S", 0.05)
    await made.executor(FakeLink())
    client = await made.opened(await made.replica())
    client.half_close()
    assert (await client.control(ControlKind.TURN_ENDED)).reason == "DONE"
    assert (await client.control(ControlKind.CLOSED)).reason == "CLIENT_DONE"
    await client.done.wait()
    assert client.error is None


# Losing the client.


async def test_a_lost_client_gets_what_it_missed(made: Platform) -> None:
    await made.executor(FakeLink())
    sessions = await made.replica()
    made.mind.silent = True
    client = await made.opened(sessions)
    opened = client.said[0]
    await client.heard_a(TurnStarted)
    await made.lose(client)
    while not await controls(made, opened.session_id, ControlKind.CLIENT_LOST):
        await asyncio.sleep(0.002)
    assert made.wires.holds == [], "losing the client holds nobody under `continue`"
    again = made.client(sessions)
    again.say(Resume(opened.session_id, opened.resume_token, client.cursor))
    assert (await again.heard_a(Opened)).epoch == opened.epoch, "and raises no epoch"
    await again.control(ControlKind.CLIENT_LOST)
    await again.control(ControlKind.CLIENT_RETURNED)
    assert not any(isinstance(said, TurnStarted) for said in again.said), "nothing twice"
    full = made.client(sessions)
    full.say(Resume(opened.session_id, opened.resume_token))
    await full.heard_a(TurnStarted)
    await again.done.wait()
    assert isinstance(again.error, WrongState)
    assert again.error.reason == "STREAM_REPLACED"


async def test_pause_holds_at_once_and_goes_on_when_the_client_is_back(made: Platform) -> None:
    link = FakeLink()
    await made.executor(link)
    sessions = await made.replica()
    made.mind.silent = True
    client = await made.opened(sessions, agent=Agent(on_client_lost=OnClientLost.PAUSE))
    opened = client.said[0]
    session = session_of(sessions, opened.session_id)
    await client.heard_a(TurnStarted)
    await made.lose(client)
    while not made.wires.holds:
        await asyncio.sleep(0.002)
    with pytest.raises(Overloaded):
        await sessions.ask_lease(ask_of(session))
    assert session.owner.epoch == opened.epoch
    made.mind.silent = False
    again = made.client(sessions)
    again.say(Resume(opened.session_id, opened.resume_token, client.cursor))
    await again.control(ControlKind.EPOCH_RAISED, reason="CLIENT_RETURNED")
    assert (await again.control(ControlKind.TURN_ENDED)).reason == "DONE"


@pytest.mark.parametrize("policy", [OnClientLost.CONTINUE, OnClientLost.PAUSE])
async def test_a_client_that_stays_away_has_its_session_closed(
    made: Platform, policy: OnClientLost
) -> None:
    link = FakeLink()
    await made.executor(link)
    sessions = await made.replica()
    made.mind.silent = True
    client = await made.opened(sessions, agent=Agent(grace_s=0.1, on_client_lost=policy))
    opened = client.said[0]
    await made.lose(client)
    while not (said := await controls(made, opened.session_id, ControlKind.CLOSED)):
        await asyncio.sleep(0.005)
    assert said[0].reason == "CLIENT_LOST"
    assert link.environments == {}
    again = made.client(sessions)
    again.say(Resume(opened.session_id, opened.resume_token, client.cursor))
    await again.control(ControlKind.CLOSED)
    await again.done.wait()
    assert again.error is None, "a closed session still tells what was missed"


async def test_who_may_resume(made: Platform) -> None:
    await made.executor(FakeLink())
    sessions = await made.replica()
    opened = (await made.opened(sessions)).said[0]
    for tenant, session_id, token, error, reason in (
        ("local", opened.session_id, "wrong", PermissionDenied, "RESUME_TOKEN_WRONG"),
        ("local", "nobody", opened.resume_token, NotFound, "SESSION_NOT_FOUND"),
        ("other", opened.session_id, opened.resume_token, NotFound, "SESSION_NOT_FOUND"),
    ):
        client = made.client(sessions, tenant)
        client.say(Resume(session_id, token))
        await client.done.wait()
        assert isinstance(client.error, error)
        assert client.error.reason == reason
    client = made.client(sessions)
    client.say(Resume(opened.session_id, opened.resume_token, "garbage"))
    await client.done.wait()
    assert isinstance(client.error, InvalidRequest)
    assert client.error.reason == "CURSOR_MALFORMED"


async def test_an_executor_that_is_replaced_costs_the_environment_and_not_the_session(
    made: Platform,
) -> None:
    link = FakeLink()
    await made.executor(link)
    sessions = await made.replica()
    link.release = asyncio.Event()
    client = await made.opened(sessions)
    await link.inside.wait()
    await made.stop("gui:0")
    link.release = None
    await made.executor(link)
    outcome = await client.heard_a(Outcome)
    assert outcome.status is OutcomeStatus.UNKNOWN
    lost = await client.control(ControlKind.ENVIRONMENT_LOST)
    assert lost.bodies[0].state is BodyState.KILLED
    turn = await client.until(lambda said: isinstance(said, TurnStarted) and said.attempt == 2)
    assert turn.body.incarnation == 2
    await client.control(ControlKind.TURN_ENDED, reason="DONE")


async def test_what_a_killed_platform_left_is_closed_as_abandoned() -> None:
    from dataclasses import replace

    from tests.platform_fakes import FAST

    async with platform(limits=replace(FAST, resume_ttl_s=0.2)) as made:
        await made.executor(FakeLink())
        sessions = await made.replica("session:1")
        made.mind.silent = True
        opened = (await made.opened(sessions)).said[0]
        await made.stop("session:1")
        await made.replica("session:2")
        while not (said := await controls(made, opened.session_id, ControlKind.CLOSED)):
            await asyncio.sleep(0.01)
        assert said[0].reason == "ABANDONED"
        assert await made.of(OUTCOMES, opened.session_id, Started) == []


async def test_a_conflict_inside_a_turn_drops_the_owner_and_faults_nobody(made: Platform) -> None:
    await made.executor(FakeLink())
    sessions = await made.replica()
    client = await made.opened(sessions, instruction="")
    session = session_of(sessions, client.said[0].session_id)
    await made.log.producer(f"session/{session.owner.session_id}")
    client.say(Instruction("too late"))
    await client.done.wait()
    assert isinstance(client.error, DependencyDown | Conflict)
    assert sessions.faults == []
    assert sessions._ownership.find(session.owner.session_id) is None

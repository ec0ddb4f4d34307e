"""The witness: outside the platform, sees what devices, the log and clients see, and judges it."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from libs.events.messages import decode
from libs.events.port import Record
from tectum.actions.types import TypeText
from tectum.protocol.messages import (
    ClientMessageAccepted,
    Control,
    ControlKind,
    Outcome,
    OutcomeStatus,
    Plan,
    SessionState,
    SessionStatus,
    Started,
    TurnStarted,
)
from tectum.protocol.types import Body, BodyState, Epoch
from tests.simulation.node import Node
from tests.simulation.world import World

Step = tuple[str, int]

WISH_S = 40.0
"""A wish that nothing took the place of must have been begun after so many seconds."""


@dataclass(frozen=True, slots=True)
class Violation:
    """A promise that was not kept."""

    promise: str
    """UPPER_SNAKE; mutants are found by it."""
    detail: str
    at: float

    def __str__(self) -> str:
        return f"{self.promise} at {self.at:.4f} s: {self.detail}"


@dataclass(slots=True)
class _Effect:
    environment_id: str
    uid: str
    inputs: list[int] = field(default_factory=list)


@dataclass(slots=True)
class _Session:
    states: list[SessionState] = field(default_factory=list)
    acknowledged: list[tuple[Epoch, dict[str, BodyState]]] = field(default_factory=list)
    wish: str = ""
    """What the caller wants, until a turn takes it up or a later wish takes its place."""
    wished_at: float = 0.0
    turns: set[str] = field(default_factory=set)
    """Event ids of TurnStarted; the same id again is the same event."""
    finished: set[str] = field(default_factory=set)
    """Instructions whose turns came to their own end."""
    messages: dict[tuple[str, int], tuple[str, ClientMessageAccepted]] = field(default_factory=dict)
    owners: dict[int, int] = field(default_factory=dict)


def environment_of(home: str) -> str:
    """The last part of a home's id, after the incarnation."""
    return home.rpartition("-")[2]


class Witness:
    """Judges as things happen; `finish` judges what must hold once everything is quiet."""

    def __init__(self, world: World, enough: frozenset[str] = frozenset()) -> None:
        self._world = world
        self._enough = enough
        """Promises of which one broken ends the simulation."""
        self._enforces: dict[str, bool] = {}
        self._plans: dict[str, Plan] = {}
        self._sessions: dict[str, _Session] = defaultdict(_Session)
        self._started: dict[Step, Started] = {}
        self._outcomes: dict[Step, Outcome] = {}
        self._effects: dict[Step, _Effect] = {}
        self._environments: dict[str, str] = {}
        self.violations: list[Violation] = []
        self.inputs = 0
        self.interrupts = 0

    def accuse(self, promise: str, detail: str) -> None:
        """Note that a promise was broken."""
        self.violations.append(Violation(promise, detail, self._world.now))
        self._world.say("VIOLATION", promise, detail)
        if promise in self._enough:
            self._world.loop.halted = True

    # what devices say

    def device(self, name: str, *, enforces_valid_until: bool) -> None:
        """A device exists."""
        self._enforces[name] = enforces_valid_until

    def opened(self, environment_id: str, session_id: str) -> None:
        """A device has made an environment."""
        self._environments[environment_id] = session_id

    def input_began(self, body: str, environment_id: str, uid: str, index: int) -> None:
        """A primitive input begins."""
        if self._world.over:
            return
        self.inputs += 1
        plan = self._plans.get(uid)
        if plan is None:
            self.accuse("UNPLANNED", f"input {uid}.{index} at {body} was never planned")
            return
        step = (plan.session_id, plan.step)
        what = f"{uid}.{index} of {step} {plan.epoch} at {body} in {environment_id}"
        self._world.say("INPUT", body, what)
        if self._environments.get(environment_id) != plan.session_id:
            self.accuse("FOREIGN", what)
        self._judge_epoch(plan, environment_id, self._enforces[body], what)
        self._judge_journal(step, environment_id, what)
        effect = self._effects.setdefault(step, _Effect(environment_id, uid))
        if (effect.environment_id, effect.uid) != (environment_id, uid) or index in effect.inputs:
            self.accuse("TWICE", f"{what}, after {effect}")
        effect.inputs.append(index)

    def _judge_epoch(self, plan: Plan, environment_id: str, enforces: bool, what: str) -> None:
        newer = [
            (epoch, states.get(environment_id))
            for epoch, states in self._sessions[plan.session_id].acknowledged
            if epoch > plan.epoch
        ]
        listed = [state for _, state in newer if state is not None]
        if not newer or (listed and listed[-1] is BodyState.EXPIRED and not enforces):
            return  # EXPIRED promises nothing of a link that does not enforce valid_until.
        self.accuse("STALE", f"{what} after {newer[0][0]} was acknowledged, body {listed}")

    def _judge_journal(self, step: Step, environment_id: str, what: str) -> None:
        started = self._started.get(step)
        if started is None:
            self.accuse("UNJOURNALED", f"{what} with no STARTED in the log")
        elif environment_of(started.home) != environment_id:
            self.accuse("LOSER_ACTED", f"{what} although the first STARTED is {started.home}")
        outcome = self._outcomes.get(step)
        if outcome is not None:
            self.accuse("AFTER_OUTCOME", f"{what} after {outcome.status} {outcome.reason}")

    def input_refused(self, body: str, uid: str, index: int, why: str) -> None:
        """A primitive input will not begin."""
        self._world.say("refu", body, f"{uid}.{index} {why}")

    # what the log says

    def appended(self, record: Record, node: Node) -> None:
        """The log has appended a record."""
        message = decode(record.event)
        handler = _READERS.get(type(message))
        if handler is not None:
            handler(self, message, record)

    def _plan(self, plan: Plan, record: Record) -> None:
        if isinstance(plan.action.kind, TypeText) and isinstance(plan.action.kind.source, str):
            self._plans.setdefault(plan.action.kind.source.partition(":")[0], plan)

    def _start(self, started: Started, record: Record) -> None:
        self._started.setdefault((started.session_id, started.step), started)

    def _outcome(self, outcome: Outcome, record: Record) -> None:
        step = (outcome.session_id, outcome.step)
        if step in self._outcomes:
            return
        self._outcomes[step] = outcome
        effect = self._effects.get(step)
        begun = len(effect.inputs) if effect is not None else 0
        what = f"{outcome.status} {outcome.reason} of {step} by {outcome.home}, {begun} inputs"
        if outcome.reason in ("NOT_BEGUN", "DENIED") and begun:
            self.accuse("NOT_BEGUN_FALSE", what)
        if outcome.status is OutcomeStatus.OK and effect is not None:
            source = self._plans[effect.uid].action.kind
            assert isinstance(source, TypeText)
            if begun != int(f"{source.source}".partition(":")[2]):
                self.accuse("OK_FALSE", what)

    def _state(self, state: SessionState, record: Record) -> None:
        session = self._sessions[state.session_id]
        if session.states and state.epoch < session.states[-1].epoch:
            self.accuse("EPOCH_BACK", f"{session.states[-1].epoch} then {state.epoch}")
        owner = session.owners.setdefault(state.epoch.term, record.event.incarnation)
        if owner != record.event.incarnation:
            self.accuse("TERM_SHARED", f"{state.epoch} by {owner} and {record.event.incarnation}")
        for client_id, seq in state.cursors.items():
            missing = [s for s in range(1, seq + 1) if (client_id, s) not in session.messages]
            if missing:
                self.accuse(
                    "CURSOR_FIRST", f"cursor {seq} of {client_id}, {missing} not in the log"
                )
        session.states.append(state)

    def _message(self, message: ClientMessageAccepted, record: Record) -> None:
        key = (message.client_id, message.client_seq)
        known = self._sessions[message.session_id].messages.setdefault(
            key, (record.event.id, message)
        )
        if known[0] != record.event.id:
            self.accuse("DONE_TWICE", f"message {key} is {known[0]} and {record.event.id}")
        if message.kind in ("open", "instruction"):
            self._wish(message.session_id, message.text)
        elif message.kind == "interrupt":
            self._wish(message.session_id, "")
        elif message.kind == "close":
            session = self._sessions[message.session_id]
            if session.wish and self._world.now - session.wished_at > WISH_S:
                self.accuse("WISH_LOST", f"{message.session_id}: {session.wish!r} was never begun")

    def _wish(self, session_id: str, text: str) -> None:
        session = self._sessions[session_id]
        session.wish, session.wished_at = text, self._world.now

    def _turn(self, turn: TurnStarted, record: Record) -> None:
        term = turn.epoch.term
        if term > 1 and not any(
            epoch.term == term for epoch, _ in self._sessions[turn.session_id].acknowledged
        ):
            self.accuse("UNFENCED", f"a turn of {turn.epoch} begins, its owner fenced nobody")
        session = self._sessions[turn.session_id]
        again = record.event.id in session.turns
        session.turns.add(record.event.id)
        if turn.instruction in session.finished and not again:
            self.accuse("DONE_TWICE", f"{turn.instruction!r} is begun again, it was finished")
        if turn.instruction == session.wish:
            session.wish = ""

    def _control(self, control: Control, record: Record) -> None:
        session = self._sessions[control.session_id]
        if control.kind is ControlKind.EPOCH_RAISED:
            self.interrupts += 1
            states = {environment_of(r.body.home): r.state for r in control.bodies}
            session.acknowledged.append((control.epoch, states))
            said = " ".join(f"{home}:{state}" for home, state in states.items())
            self._world.say("RAISED", control.session_id, f"{control.epoch} {said}")
            if not any(s.epoch >= control.epoch for s in session.states):
                self.accuse("ACK_FIRST", f"{control.epoch} is acknowledged and not durable")
            if control.reason == "INTERRUPTED":
                session.wish = ""
        elif control.kind is ControlKind.TURN_ENDED:
            if control.reason == "DONE":
                session.finished.add(control.instruction)
            if control.instruction == session.wish:
                session.wish = ""

    # what clients say

    def acknowledged(self, session_id: str, client_id: str, seqs: list[int]) -> None:
        """A client heard that these messages are in the log."""
        messages = self._sessions[session_id].messages
        for seq in seqs:
            if (client_id, seq) not in messages:
                self.accuse(
                    "ACK_LOST", f"{session_id}: {client_id}/{seq} acknowledged, not in the log"
                )

    def saw(self, session_id: str, expected: list[Any], seen: list[Any], *, complete: bool) -> None:
        """A client's whole view, over all its connections, of one topic."""
        if seen != expected[: len(seen)] or (complete and len(seen) < len(expected)):
            self.accuse("VIEW", f"{session_id}: expected {expected}, saw {seen}")

    # what must hold in the end

    def unfinished(self) -> bool:
        """Whether something begun has not ended yet."""
        return any(step not in self._outcomes for step in self._started) or any(
            session.states and session.states[-1].status is not SessionStatus.CLOSED
            for session in self._sessions.values()
        )

    def finish(self) -> None:
        """Judge liveness: everything begun has ended."""
        for step, started in self._started.items():
            if step not in self._outcomes:
                self.accuse("OPEN_STARTED", f"{step} by {started.home} has no outcome")
        for session_id, session in self._sessions.items():
            if session.states and session.states[-1].status is not SessionStatus.CLOSED:
                self.accuse("OPEN_SESSION", f"{session_id}: {session.states[-1]}")

    def wish_of(self, session_id: str) -> str:
        """What a caller wants that no turn has taken up yet."""
        return self._sessions[session_id].wish

    def first_owner(self) -> str:
        """Where the first session was opened; empty before."""
        for session in self._sessions.values():
            if session.states:
                return session.states[0].owner_address
        return ""

    def bodies_of(self, session_id: str) -> tuple[Body, ...]:
        """The bodies of a session, as the log has them."""
        states = self._sessions[session_id].states
        return states[-1].bodies if states else ()


_READERS: dict[type, Any] = {
    Plan: Witness._plan,
    Started: Witness._start,
    Outcome: Witness._outcome,
    SessionState: Witness._state,
    ClientMessageAccepted: Witness._message,
    TurnStarted: Witness._turn,
    Control: Witness._control,
}

"""What the log says of a session: its last state, and what its last owner had not finished."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from libs.events.topics import CONTROL, OBSERVATIONS, OUTCOMES, PLANS, SESSIONS
from services.session.ports import Codec, EventLog
from tectum.protocol.messages import (
    ClientMessageAccepted,
    Control,
    ControlKind,
    Outcome,
    Plan,
    SessionState,
    Started,
    TurnStarted,
)
from tectum.protocol.types import Epoch

_CUTS = frozenset({"INTERRUPTED", "DEADLINE", "STEP_LIMIT"})
"""Reasons of a raised epoch after which the turn does not go on."""


@dataclass(slots=True)
class History:
    """The fold of a session's records; complete where the predecessor was fenced before it was read."""

    cursors: dict[str, int] = field(default_factory=dict)
    """Highest client_seq in the log, by client."""
    instruction: str | None = None
    """Accepted, and no turn has begun with it."""
    closing: bool = False
    """The client asked for the end."""
    closed: str | None = None
    """Reason of a CLOSED that was said."""
    turn: TurnStarted | None = None
    ended_epoch: Epoch = field(default_factory=Epoch)
    """The highest epoch of a turn that was said to have ended, or was cut."""
    said_ended: Epoch = field(default_factory=Epoch)
    """The highest epoch of a TURN_ENDED."""
    cut: bool = False
    """The client interrupted after the turn began."""
    open_steps: dict[int, Started] = field(default_factory=dict)
    last_step: int = 0
    ended: Outcome | None = None

    @property
    def working(self) -> TurnStarted | None:
        """The turn that should go on."""
        if self.turn is None or self.cut or self.turn.epoch <= self.ended_epoch:
            return None
        return self.turn

    def take(self, message: object) -> None:
        """Fold one record; records of one topic in their order."""
        match message:
            case ClientMessageAccepted():
                self._client(message)
            case TurnStarted():
                self._turn(message)
            case Started():
                self._started(message)
            case Outcome():
                self._outcome(message)
            case Control():
                self._control(message)

    def _client(self, message: ClientMessageAccepted) -> None:
        known = self.cursors.get(message.client_id, 0)
        if message.client_seq <= known:
            return
        self.cursors[message.client_id] = message.client_seq
        if message.kind == "instruction" or (message.kind == "open" and message.text):
            self.instruction = message.text
        elif message.kind == "interrupt":
            self.instruction, self.cut = None, True
        elif message.kind == "close":
            self.closing = True

    def _turn(self, message: TurnStarted) -> None:
        if self.turn is not None and message.epoch < self.turn.epoch:
            return
        self.turn = message
        if self.instruction == message.instruction:
            # Only the turn of an instruction that came after an interrupt is not touched by it.
            self.instruction, self.cut = None, False

    def _started(self, message: Started) -> None:
        self.last_step = max(self.last_step, message.step)
        self.open_steps.setdefault(message.step, message)

    def _outcome(self, message: Outcome) -> None:
        self.last_step = max(self.last_step, message.step)
        self.open_steps.pop(message.step, None)
        if message.ended:
            self.ended = message

    def _control(self, message: Control) -> None:
        if message.kind is ControlKind.CLOSED:
            self.closed = message.reason or "CLOSED"
        elif message.kind is ControlKind.TURN_ENDED:
            self.said_ended = max(self.said_ended, message.epoch)
            self.ended_epoch = max(self.ended_epoch, message.epoch)
        elif message.kind is ControlKind.EPOCH_RAISED and message.reason in _CUTS:
            self.ended_epoch = max(self.ended_epoch, message.epoch)


async def last_state(log: EventLog, codec: Codec, session_id: str) -> SessionState | None:
    """The last word on a session; None for none."""
    partition = await log.partition_of(SESSIONS, session_id)
    found: SessionState | None = None
    async for record in log.read(SESSIONS, partition, key=session_id):
        message = codec.decode(record.event)
        if isinstance(message, SessionState):
            found = message
        elif message is None:
            found = None
    return found


async def read_history(log: EventLog, codec: Codec, state: SessionState) -> History:
    """Fold what the log has of this session, from its beginning to the end as it is now."""
    history = History()
    for topic in (OBSERVATIONS, OUTCOMES, CONTROL):
        partition = await log.partition_of(topic, state.session_id)
        start = state.starts.get(topic, 0)
        async for record in log.read(topic, partition, start=start, key=state.session_id):
            history.take(codec.decode(record.event, screens=False))
    for client, seq in state.cursors.items():
        history.cursors[client] = max(seq, history.cursors.get(client, 0))
    return history


async def plan_of(
    log: EventLog, codec: Codec, session_id: str, starts: Mapping[str, int], step: int
) -> Plan | None:
    """The last plan of a step."""
    partition = await log.partition_of(PLANS, session_id)
    found: Plan | None = None
    async for record in log.read(PLANS, partition, start=starts.get(PLANS, 0), key=session_id):
        message = codec.decode(record.event)
        if isinstance(message, Plan) and message.step == step:
            found = message
    return found

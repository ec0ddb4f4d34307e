"""One owned session with its clients: what they say, what they hear, and what falls due meanwhile."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from libs.errors import DependencyDown, InvalidRequest, Overloaded, PlatformError, WrongState
from libs.events.topics import OBSERVATIONS, OUTCOMES
from services.session.domain.admission import grace_s
from services.session.domain.history import History
from services.session.domain.messages import (
    Approval,
    ClientMessage,
    Close,
    Feedback,
    Instruction,
    Interrupt,
    OnClientLost,
    Open,
    Refused,
)
from services.session.domain.owner import Owner
from services.session.domain.stream import Stream
from services.session.domain.turning import Turning
from services.session.ports import Record
from tectum.protocol.messages import ClientMessageAccepted, ControlKind, Score
from tectum.protocol.types import Body, BodyState

_KINDS = {
    Open: "open",
    Instruction: "instruction",
    Interrupt: "interrupt",
    Approval: "approval",
    Feedback: "feedback",
    Close: "close",
}


_BEAT_S_MAX = 10.0
_BACKLOG_MAX = 4096

HALF_CLOSE_S = 1.0
"""The end of a client's messages may be the first sign of a lost connection: wait for the second."""


class Session:
    """Puts owner, turns and stream together."""

    def __init__(self, owner: Owner) -> None:
        self.owner = owner
        self.turning = Turning(owner)
        self.cursors: dict[str, int] = dict(owner.ledger.state.cursors)
        self.stream: Stream | None = None
        self.lost_at: float | None = None
        """Since when there is no client, monotonic seconds."""
        self.left_at: float | None = None
        """Since when the client has said all it had to say; the session ends with its turn."""
        self._accepting = asyncio.Lock()
        self._at_work = False
        self._probed_at = 0.0
        self._backlog: deque[object] | None = deque(maxlen=_BACKLOG_MAX)
        """What was heard before the history was read; None once it is folded as it comes."""
        owner.on_gone = self._gone
        owner.ledger.on_trouble = self._trouble

    # The stream.

    def attach(self, stream: Stream) -> None:
        """A newer stream takes the place of an older one."""
        if self.stream is not None:
            self.stream.end(
                WrongState("STREAM_REPLACED", "a newer stream of this session took its place")
            )
        self.stream = stream
        self.left_at = None

    async def returned(self) -> None:
        """Say that a client is there again."""
        if self.lost_at is None:
            return
        self.lost_at = None
        await self.owner.ledger.control(ControlKind.CLIENT_RETURNED)
        await self.turning.unpause()

    def detach(self, stream: Stream) -> None:
        """The stream broke; what happens is the agent's policy (architecture, losing the client)."""
        if self.stream is not stream:
            return
        self.stream = None
        # A cancelled call ends its requests first, as one that has no more to say does.
        self.left_at = None
        if not self.owner.closing and self.owner.gone is None:
            self.lost_at = self.owner.parts.clock.monotonic()
            self.spawn(self._client_lost)

    async def _client_lost(self) -> None:
        pause = self.owner.agent.on_client_lost is OnClientLost.PAUSE
        if pause:
            await self.owner.pause()
        if self.lost_at is not None:
            await self.owner.ledger.control(ControlKind.CLIENT_LOST)
        elif pause:
            await self.turning.unpause()
        self.owner.wake.set()

    def _gone(self, error: PlatformError) -> None:
        if self.stream is not None:
            self.stream.end(error)

    def _trouble(self, what: str) -> None:
        if self.stream is not None:
            self.stream.notice(Refused(0, "LOG_DOWN", f"leases end while the log is down: {what}"))

    def spawn(self, work: Callable[..., Awaitable[object]], *args: Any) -> None:
        """Run in the background; a failure that ends ownership ends this session here."""
        self.owner.parts.spawn(self.owner.guarded, partial(work, *args))

    # What a client says.

    async def accept(self, client_id: str, message: ClientMessage) -> int:
        """Append a message, then count it; answers the highest client_seq in the log (rule 15).

        Raises:
            InvalidRequest: CLIENT_SEQ_GAP.
            Conflict, DependencyDown: it may or may not be in the log; the client says it again.
        """
        async with self._accepting:
            self.owner.check()
            known = self.cursors.get(client_id, 0)
            if message.client_seq <= known:
                return known
            if message.client_seq != known + 1:
                raise InvalidRequest(
                    "CLIENT_SEQ_GAP", f"expected client_seq {known + 1}, got {message.client_seq}"
                )
            seq = message.client_seq
            if self.owner.parts.rules.event_before_cursor():
                await self._append(client_id, message)
                await self._count(client_id, seq)
            else:
                await self._count(client_id, seq)
                await self._append(client_id, message)
        self._act(message)
        return seq

    async def _append(self, client_id: str, message: ClientMessage) -> None:
        owner, said = self.owner, message.message
        term = owner.epoch.term
        accepted = ClientMessageAccepted(
            session_id=owner.session_id,
            client_id=client_id,
            client_seq=message.client_seq,
            kind=_KINDS[type(said)],
            text=_text(said),
            step=said.step if isinstance(said, Approval) else 0,
            approved=_approved(said),
        )
        event_id = owner.parts.rules.client_event_id(
            owner.session_id, client_id, message.client_seq, term
        )
        await owner.ledger.append(OBSERVATIONS, accepted, event_id)

    async def _count(self, client_id: str, seq: int) -> None:
        self.cursors[client_id] = seq
        await self.owner.ledger.save(cursors=dict(self.cursors))

    def _act(self, message: ClientMessage) -> None:
        """What was accepted is done in the background: an interrupt waits for nothing before it."""
        owner, seq = self.owner, message.client_seq
        match message.message:
            case Instruction(text=text):
                owner.cuts += 1
                self.turning.waiting += 1
                self.spawn(self.turning.instruct, text, owner.cuts)
            case Interrupt(reason=reason):
                self.spawn(self._interrupt, seq, reason)
            case Feedback(success=success):
                self.spawn(self._score, success, seq)
            case Close():
                self.spawn(owner.close, "CLIENT")

    async def _interrupt(self, seq: int, reason: str) -> None:
        try:
            await self.owner.interrupt(reason)
        except Overloaded as error:
            if self.stream is not None:
                self.stream.notice(Refused(seq, error.reason, str(error)))

    async def _score(self, success: bool, seq: int) -> None:
        owner = self.owner
        attempt = max(owner.ledger.state.attempt, 1)
        reward = 1.0 if success else 0.0
        score = Score(owner.session_id, attempt, reward, success, "caller")
        await owner.ledger.append(OUTCOMES, score, f"{owner.session_id}/score/caller/{seq}")

    # What falls due.

    def heard(self, record: Record) -> None:
        """Take note of a record of this session; never waits."""
        message = self.owner.parts.codec.decode(record.event, screens=False)
        if self._backlog is not None:
            self._backlog.append(message)
        elif message is not None:
            self.owner.heard(message)

    def ready(self, history: History | None) -> None:
        """From here on everything is folded as it comes; what came meanwhile first."""
        if history is not None:
            self.cursors = dict(history.cursors)
            for started in history.open_steps.values():
                self.owner.steps.started(started)
            self.owner.turn = self.turning.resumed(history)
        backlog, self._backlog = self._backlog or (), None
        for message in backlog:
            if message is not None:
                self.owner.heard(message)

    async def restore(self, history: History) -> None:
        """After a takeover: fence, go on, and finish what was being ended."""
        await self.turning.restore(history)
        if history.closed is not None:
            await self.owner.close(history.closed)
        elif history.closing:
            await self.owner.close("CLIENT")

    async def drive(self) -> None:
        """Attend to what falls due until this owner is one no more, or the session is closed."""
        owner = self.owner
        while owner.gone is None and not owner.closed.is_set():
            owner.wake.clear()
            await self._attend()
            due_s = self._due_s()
            try:
                async with asyncio.timeout(due_s):
                    await owner.wake.wait()
            except TimeoutError:
                continue

    async def _attend(self) -> None:
        owner, now = self.owner, self.owner.parts.clock.monotonic()
        if owner.closing:
            return
        if not self._at_work:
            work = self._due(now)
            if work is not None:
                # Beside this loop: it may wait for a browser, or for the client to come back.
                self._at_work = True
                self.spawn(self._work, work)
        await owner.steps.report(owner)
        if self._over(now):
            await owner.close("CLIENT_LOST" if self.left_at is None else "CLIENT_DONE")
        elif now >= owner.ledger.saved_at + self._beat_s:
            await owner.ledger.save()

    def _due(self, now: float) -> Callable[[], Awaitable[None]] | None:
        """What must be done about the turn, one thing at a time."""
        owner, turning, turn = self.owner, self.turning, self.owner.turn
        if turn is not None and turn.ended is not None:
            return partial(turning.finish, turn)
        if owner.lost:
            return turning.replace_lost
        if turn is None:
            return None
        if turn.beyond:
            return partial(turning.cut, "STEP_LIMIT")
        if self._late(now):
            return partial(turning.cut, "DEADLINE")
        silent = self._silent(now)
        return partial(self._probe, silent) if silent else None

    async def _work(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        finally:
            self._at_work = False
            self.owner.wake.set()

    @property
    def _beat_s(self) -> float:
        """A session whose state is not written for `resume_ttl_s` counts as abandoned.

        A disk that is full still answers reads, so that leases go on: only a write tells the client.
        """
        return min(self.owner.parts.limits.resume_ttl_s / 3, _BEAT_S_MAX)

    def _late(self, now: float) -> bool:
        turn, limit_s = self.owner.turn, self.owner.agent.turn_limit_s
        return turn is not None and limit_s > 0 and now - turn.began_at >= limit_s

    def _over(self, now: float) -> bool:
        """Nobody is there any more, or nobody has anything more to say."""
        if self.left_at is not None and self.stream is not None:
            idle = self.owner.turn is None and not self.turning.busy
            return idle and now >= self.left_at + HALF_CLOSE_S
        return self.lost_at is not None and now >= self.lost_at + grace_s(self.owner.agent)

    def _due_s(self) -> float:
        """Seconds until something can fall due.

        The sums are those of `_attend` and `_over`: written otherwise they round otherwise, and what is
        due now is not done now.
        """
        owner, now = self.owner, self.owner.parts.clock.monotonic()
        due = [owner.ledger.saved_at + self._beat_s]
        if self.left_at is not None and owner.turn is None:
            due.append(self.left_at + HALF_CLOSE_S)
        if self.lost_at is not None:
            due.append(self.lost_at + grace_s(owner.agent))
        if owner.turn is not None:
            due.append(now + owner.parts.limits.silence_s / 2)
            if owner.agent.turn_limit_s > 0:
                due.append(owner.turn.began_at + owner.agent.turn_limit_s)
        step = owner.steps.next_due(owner)
        if step is not None:
            due.append(step)
        return max(min(due) - now, 0.05)

    def _silent(self, now: float) -> list[Body]:
        owner = self.owner
        limit_s = owner.parts.limits.silence_s
        if now - self._probed_at < limit_s / 2:
            return []
        return [
            body for body in owner.ledger.saved.bodies if now - self._heard_of(body, now) > limit_s
        ]

    def _heard_of(self, body: Body, now: float) -> float:
        known = self.owner.opened_at.setdefault(body.home, now)
        return self.owner.leases.silent_since(body, known)

    async def _probe(self, bodies: list[Body]) -> None:
        """A body that asks for no lease: is it there still?"""
        owner = self.owner
        self._probed_at = owner.parts.clock.monotonic()
        for body in bodies:
            state = await owner.fencing.probe(body, owner.epoch)
            now = owner.parts.clock.monotonic()
            if state is BodyState.CONFIRMED:
                if now - self._heard_of(body, now) > 3 * owner.parts.limits.silence_s:
                    # It is there and its asks do not arrive: this owner is the one that is lost.
                    unreachable = f"{body.home} cannot ask {owner.parts.address}; resume it"
                    owner.drop(DependencyDown("NOT_OWNER", unreachable))
            elif state is BodyState.KILLED:
                owner.lost.setdefault(body.home, f"{body.home} is gone")
            elif now - self._heard_of(body, now) > 2 * owner.parts.limits.silence_s:
                owner.lost.setdefault(body.home, f"{body.home} does not answer")


def _text(said: object) -> str:
    match said:
        case Open(instruction=text) | Instruction(text=text):
            return text
        case Interrupt(reason=text) | Feedback(comment=text):
            return text
    return ""


def _approved(said: object) -> bool:
    match said:
        case Approval(approved=approved):
            return approved
        case Feedback(success=success):
            return success
    return False

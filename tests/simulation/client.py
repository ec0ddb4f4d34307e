"""A simulated caller: opens, instructs, interrupts, vanishes, comes back with its token and cursor, repeats itself."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from libs.errors import PlatformError, WrongState
from libs.events.messages import decode
from libs.events.port import Record
from services.session.domain.messages import (
    Acknowledged,
    Agent,
    Approval,
    ClientMessage,
    Close,
    Heard,
    Instruction,
    Interrupt,
    OnClientLost,
    Open,
    Opened,
    Refused,
    Resume,
)
from tectum.protocol.messages import Control, ControlKind, Decision, TurnStarted, Verdict
from tectum.protocol.types import Epoch
from tests.simulation.processes import Replica
from tests.simulation.stream import SimStream
from tests.simulation.witness import Witness
from tests.simulation.world import World

VIEWED = ("TurnStarted", "Plan", "Decision", "Outcome", "Score", "Control")
"""What the down stream shows of the log."""


@dataclass(slots=True)
class Deed:
    """One line of a caller's script."""

    what: str
    """instruct, interrupt, elsewhere (Interrupt at another replica), sever, leave, repeat or close."""
    after_s: float


@dataclass(slots=True)
class _Memory:
    """What survives a lost connection."""

    session_id: str = ""
    token: str = ""
    cursor: str = ""
    seq: int = 0
    waiting: dict[int, ClientMessage] = field(default_factory=dict)
    seen: dict[str, list[int]] = field(default_factory=dict)
    closed: bool = False
    idle: bool = False
    ended: Epoch = field(default_factory=Epoch)
    acknowledged: int = 0
    asked: list[Approval] = field(default_factory=list)


class Caller:
    """Plays its script; `finish` makes it close its session and go."""

    def __init__(
        self,
        world: World,
        witness: Witness,
        name: str,
        replicas: list[Replica],
        environment: str,
        script: list[Deed],
    ) -> None:
        self.name = name
        self.memory = _Memory()
        self.node = world.loop.node(name)
        self.done = False
        self._world, self._witness, self._replicas = world, witness, replicas
        self._environment, self._script = environment, script
        self._random = random.Random(f"caller/{world.seed}/{name}")
        self._stream: SimStream | None = None
        self._told = asyncio.Event()
        self._finishing = asyncio.Event()
        self._instructions = 0

    def finish(self) -> None:
        """Close when the turn under way has ended."""
        self.node.post(self._finishing.set)

    async def stop(self) -> None:
        """Press Stop now, at the replica that opened the first session."""
        owner, session_id = self._witness.first_owner(), self.memory.session_id
        if owner and session_id:
            await self._interrupt_at(owner)

    async def run(self) -> None:
        """Connect again and again until the session is closed."""
        while not self.memory.closed:
            try:
                await self._connection()
            except (PlatformError, _Gone) as error:
                self._world.say("gone", self.name, str(error))
            await asyncio.sleep(0.02 + self._random.random() * 0.3)
        self.done = True
        self._world.say("over", self.name, "")

    async def _connection(self) -> None:
        replica = self._replicas[int(self._random.random() * len(self._replicas))]
        node, sessions = replica.node, replica.sessions
        if node is None or not node.alive or sessions is None:
            return
        stream = SimStream(
            self._world,
            self.node,
            node,
            lambda requests, send: sessions.converse("tenant", requests, send),
        )
        self._stream = stream
        await stream.send(self._hello())
        if not self.memory.token:
            self.memory.waiting.clear()
        try:
            await self._answered(stream)
            for message in tuple(self.memory.waiting.values()):
                await stream.send(message)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._play(stream))
                tasks.create_task(self._listen(stream))
                tasks.create_task(self._approve(stream))
        except BaseExceptionGroup as group:
            raise _first(group) from None
        finally:
            self._stream = None
            stream.sever()

    def _hello(self) -> ClientMessage:
        memory = self.memory
        if memory.token:
            return ClientMessage(
                0, Resume(memory.session_id, memory.token, memory.cursor, self.name)
            )
        memory.seq = 1
        agent = Agent(strategy="script", on_client_lost=OnClientLost.CONTINUE, grace_s=8.0)
        if self._random.random() < 0.3:
            agent = Agent(strategy="script", on_client_lost=OnClientLost.PAUSE, grace_s=8.0)
        return ClientMessage(1, Open(self.name, self._environment, agent, self._text()))

    def _text(self) -> str:
        self._instructions += 1
        return f"{self.name} wants {self._instructions}"

    async def _answered(self, stream: SimStream) -> Opened:
        """Wait for Opened, hearing what comes before it."""
        while True:
            heard = await self._hear(stream)
            if isinstance(heard.body, Opened):
                return heard.body

    async def _hear(self, stream: SimStream) -> Heard:
        heard = await stream.receive()
        body, memory = heard.body, self.memory
        if heard.cursor:
            memory.cursor = heard.cursor
        if isinstance(body, Record):
            self._see(body)
        elif isinstance(body, Opened):
            memory.session_id = body.session_id
            memory.token = body.resume_token or memory.token
            self._accept(body.client_seq)
        elif isinstance(body, Acknowledged):
            self._accept(body.client_seq)
        elif isinstance(body, Refused):
            self._world.say("rfsd", self.name, f"{body.client_seq} {body.reason} {body.message}")
            # It is said again on the next stream, unless an acknowledgement says that it is in the log.
        self._told.set()
        return heard

    def _see(self, record: Record) -> None:
        kind = record.event.type.rpartition(".")[2]
        self._world.say("seen", self.name, f"{record.topic[7:]}@{record.offset} {kind}")
        seen = self.memory.seen.setdefault(record.topic, [])
        seen.append(record.offset)
        message = decode(record.event)
        if isinstance(message, Control):
            self.memory.closed |= message.kind is ControlKind.CLOSED
            if message.kind is ControlKind.TURN_ENDED:
                self.memory.ended = max(self.memory.ended, message.epoch)
                self.memory.idle = True
        elif isinstance(message, TurnStarted):
            # Topics have no common order: it may be heard after the end of its turn.
            self.memory.idle = message.epoch <= self.memory.ended
        elif isinstance(message, Decision) and message.verdict is Verdict.ASK:
            approved = self._random.random() < 0.8
            self.memory.asked.append(Approval(message.step, approved))

    def _accept(self, seq: int) -> None:
        memory = self.memory
        self._world.say("ackd", self.name, f"{seq}")
        memory.acknowledged = max(memory.acknowledged, seq)
        for number in [n for n in memory.waiting if n <= seq]:
            del memory.waiting[number]
        self._witness.acknowledged(memory.session_id, self.name, list(range(1, seq + 1)))

    async def _listen(self, stream: SimStream) -> None:
        while not self.memory.closed:
            await self._hear(stream)
        raise _Gone("closed")

    async def _play(self, stream: SimStream) -> None:
        while self._script and not self._finishing.is_set():
            deed = self._script[0]
            try:
                async with asyncio.timeout(deed.after_s):
                    await self._finishing.wait()
            except TimeoutError:
                self._script.pop(0)
                await _DEEDS[deed.what](self, stream)
        await self._finishing.wait()
        if not await self._until(self._satisfied, 60.0):
            self._witness.accuse("TURN_STUCK", f"{self.name}: {self.memory}")
        while not self.memory.closed:
            await self._say(stream, Close())
            await self._until(lambda: self.memory.closed, 30.0)

    async def _approve(self, stream: SimStream) -> None:
        """Answer what is asked, after some thought."""
        while True:
            while self.memory.asked:
                await asyncio.sleep(self._random.random() * 0.5)
                await self._say(stream, self.memory.asked.pop(0))
            self._told.clear()
            await self._told.wait()

    def _satisfied(self) -> bool:
        return self.memory.idle and not self._witness.wish_of(self.memory.session_id)

    async def _until(self, true: Callable[[], bool], limit_s: float) -> bool:
        try:
            async with asyncio.timeout(limit_s):
                while not true():
                    self._told.clear()
                    await self._told.wait()
        except TimeoutError:
            return False
        return True

    async def _say(self, stream: SimStream, message: Any) -> None:
        self.memory.seq += 1
        sent = ClientMessage(self.memory.seq, message)
        self.memory.waiting[self.memory.seq] = sent
        await stream.send(sent)

    # deeds

    async def _instruct(self, stream: SimStream) -> None:
        await self._say(stream, Instruction(self._text()))

    async def _interrupt(self, stream: SimStream) -> None:
        await self._say(stream, Interrupt("stop"))

    async def _elsewhere(self, stream: SimStream) -> None:
        replica = self._replicas[int(self._random.random() * len(self._replicas))]
        await self._interrupt_at(replica.name)

    async def _interrupt_at(self, address: str) -> None:
        try:
            await self._world.network.call(
                self.node, address, "interrupt", "tenant", self.memory.session_id, "person"
            )
        except PlatformError as error:
            self._world.say("fail", self.name, f"interrupt at {address}: {error}")

    async def _sever(self, stream: SimStream) -> None:
        stream.sever()
        await self._finishing.wait()

    async def _leave(self, stream: SimStream) -> None:
        stream.leave()
        await asyncio.sleep(self._random.random() * 2)
        raise WrongState("LEFT", "the caller left and comes back")

    async def _repeat(self, stream: SimStream) -> None:
        waiting = list(self.memory.waiting.values())
        if waiting:
            await stream.send(waiting[int(self._random.random() * len(waiting))])

    async def _close(self, stream: SimStream) -> None:
        await self._say(stream, Close())


class _Gone(Exception):
    pass


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


_DEEDS = {
    "instruct": Caller._instruct,
    "interrupt": Caller._interrupt,
    "elsewhere": Caller._elsewhere,
    "sever": Caller._sever,
    "leave": Caller._leave,
    "repeat": Caller._repeat,
    "close": Caller._close,
}

"""A scripted planner and the real guard, as consumers of the simulated log."""

from __future__ import annotations

import functools
import itertools
import random
import zlib
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass

from libs.events import topics
from libs.events.consumer import consume
from libs.events.dedupe import HighWaterMarks
from libs.events.messages import decode, encode
from libs.events.port import EventLog, Producer, Record
from libs.events.settings import LaneSettings
from services.guard import reactor as guard_reactor
from services.guard.domain import Desk, Policy
from services.guard.domain import Guard as GuardDomain
from services.guard.policy_files import parse_policy
from services.guard.reactor import GuardReactor
from tectum.actions.types import Action, Done, TypeText
from tectum.protocol.messages import (
    Control,
    ControlKind,
    Outcome,
    Plan,
    Target,
    TurnStarted,
)
from tectum.protocol.types import Body, Epoch
from tests.simulation.broker import Broker
from tests.simulation.log import SimEventLog
from tests.simulation.node import Node, NodeClock
from tests.simulation.processes import Process
from tests.simulation.profiles import Profile
from tests.simulation.witness import Witness
from tests.simulation.world import World

_LANES = LaneSettings(commit_interval_s=0.5, attempts_max=40)


Slot = Callable[[Record], Hashable]
"""Which high-water mark counts for a record; the self-test names a wrong one."""


class WitnessedMarks(HighWaterMarks):
    """The real marks; what they drop although nobody had it is told to the witness."""

    def __init__(self, had: set[object], witness: Witness, slot: Slot | None) -> None:
        super().__init__(_LANES.marks_max)
        self._had, self._witness, self._slot = had, witness, slot

    def slot(self, record: Record) -> Hashable:
        """See HighWaterMarks."""
        return super().slot(record) if self._slot is None else self._slot(record)

    def accept(self, record: Record) -> bool:
        """See HighWaterMarks."""
        event = record.event
        what = (event.source, event.incarnation, event.seq)
        accepted = super().accept(record)
        if accepted:
            self._had.add(what)
        elif what not in self._had:
            self._witness.accuse("DROPPED", f"{event.id} of {record.topic} as a duplicate")
        return accepted


class Mind(Process):
    """A service that only reads the log and writes to it."""

    group = ""
    reads: tuple[str, ...] = ()

    def __init__(
        self, world: World, broker: Broker, name: str, witness: Witness, slot: Slot | None
    ) -> None:
        super().__init__(world, broker, name)
        self._witness, self._slot = witness, slot
        self._had: set[object] = set()

    async def body(self, node: Node) -> None:
        """Consume until the end."""
        log = SimEventLog(self.broker, node)
        producer = await log.producer(f"{self.group}/{self.name}")
        mind = self.create(log, producer, node)
        rng = random.Random(f"{self.world.seed}/{self.name}/{self.starts}")
        await consume(
            log,
            self.group,
            self.reads,
            mind.handle,
            settings=_LANES,
            clock=NodeClock(node),
            rng=rng,
            marks=WitnessedMarks(self._had, self._witness, self._slot),
        )

    def create(self, log: EventLog, producer: Producer, node: Node) -> Planner | GuardReactor:
        """The state of one process."""
        raise AssertionError(f"{self.name} has no state")


BodiesOf = Callable[[str], tuple[Body, ...]]
"""What the planner knows of a session's bodies."""

_URLS = ("fake://a", "fake://b", "fake://c", "ask://a", "fake://d", "fake://e", "deny://a")
"""Pages of plans; the guard asks about some and denies some."""


@dataclass(slots=True)
class _Turn:
    started: TurnStarted
    awaited: int


class Planner:
    """Plans some inputs and then that it is done; what it forgot it reads from the log."""

    def __init__(
        self,
        log: EventLog,
        producer: Producer,
        node: Node,
        numbers: itertools.count[int],
        bodies_of: BodiesOf,
        profile: Profile,
    ) -> None:
        self._log, self._producer, self._clock = log, producer, NodeClock(node)
        self._numbers, self._bodies_of, self._profile = numbers, bodies_of, profile
        self._turns: dict[str, _Turn] = {}
        self._epochs: dict[str, Epoch] = {}
        self._ended: dict[str, Epoch] = {}

    async def handle(self, record: Record) -> None:
        """Take one record."""
        message = decode(record.event)
        if isinstance(message, Control):
            known = self._epochs.get(message.session_id, Epoch())
            self._epochs[message.session_id] = max(known, message.epoch)
            if message.kind in (ControlKind.TURN_ENDED, ControlKind.CLOSED):
                self._turns.pop(message.session_id, None)
                ended = self._ended.get(message.session_id, Epoch())
                self._ended[message.session_id] = max(ended, message.epoch)
        elif isinstance(message, TurnStarted):
            await self._begin(message)
        elif isinstance(message, Outcome):
            await self._go_on(message)

    async def _begin(self, started: TurnStarted) -> None:
        known = self._turns.get(started.session_id)
        if started.epoch < self._epochs.get(started.session_id, Epoch()):
            return
        if known is not None and known.started.epoch >= started.epoch:
            return
        if self._ended.get(started.session_id, Epoch()) >= started.epoch:
            return
        await self._plan(started, started.first_step)

    async def _go_on(self, outcome: Outcome) -> None:
        turn = self._turns.get(outcome.session_id) or await self._rebuild(outcome)
        if turn is None or outcome.epoch != turn.started.epoch or outcome.step != turn.awaited:
            return
        if outcome.epoch < self._epochs.get(outcome.session_id, Epoch()) or outcome.ended:
            return
        await self._plan(turn.started, outcome.step + 1)

    async def _rebuild(self, outcome: Outcome) -> _Turn | None:
        """The turn of an outcome whose plan an earlier process made."""
        session_id, found = outcome.session_id, None
        partition = await self._log.partition_of(topics.OBSERVATIONS, session_id)
        async for record in self._log.read(topics.OBSERVATIONS, partition, key=session_id):
            message = decode(record.event)
            if isinstance(message, TurnStarted) and message.epoch == outcome.epoch:
                found = message
        return None if found is None else _Turn(found, outcome.step)

    async def _plan(self, started: TurnStarted, step: int) -> None:
        bodies = self._bodies_of(started.session_id) or (started.body,)
        number = next(self._numbers)
        await self._publish(started, step, number, bodies[number % len(bodies)])
        if zlib.crc32(f"twin {number}".encode()) % 1000 < self._profile.twins * 1000:
            twin = next(self._numbers)
            await self._publish(started, step, twin, bodies[twin % len(bodies)])
        self._turns[started.session_id] = _Turn(started, step)

    async def _publish(self, started: TurnStarted, step: int, number: int, body: Body) -> None:
        """A planner that forgot its plan may choose another body for the same step: only one may act."""
        steps = 1 + zlib.crc32(started.instruction.encode()) % 6
        action, target = Action(Done()), Target()
        if step - started.first_step < steps:
            draw = zlib.crc32(f"inputs {number}".encode())
            inputs = 1 + draw % (self._profile.inputs_max if draw % 3 else 4)
            action = Action(TypeText(f"p{number}:{inputs}"))
            # By step, not by plan: two verdicts on one step would be two promises to the caller.
            draw = zlib.crc32(f"page {started.session_id} {step}".encode())
            target = Target(url=_URLS[draw % len(_URLS)])
        session_id, epoch = started.session_id, started.epoch
        plan = Plan(session_id, epoch, step, action, body, target=target)
        event_id = f"{session_id}/{epoch.term}.{epoch.n}/{step}/plan"
        event = encode(plan, event_id=event_id, subject=session_id, at=self._clock.now())
        await self._producer.publish(topics.PLANS, event)


class PlannerProcess(Mind):
    """Runs a planner."""

    group = "planner"
    reads = (topics.OBSERVATIONS, topics.OUTCOMES, topics.CONTROL)

    def __init__(
        self,
        world: World,
        broker: Broker,
        name: str,
        witness: Witness,
        slot: Slot | None,
        profile: Profile,
    ) -> None:
        super().__init__(world, broker, name, witness, slot)
        self._numbers, self._bodies_of = itertools.count(1), witness.bodies_of
        self._profile = profile

    def create(self, log: EventLog, producer: Producer, node: Node) -> Planner:
        """See Mind."""
        return Planner(log, producer, node, self._numbers, self._bodies_of, self._profile)


_POLICY = """
version: 1
rules:
  - {id: never, verdict: deny, origins: ["deny:"]}
  - {id: person, verdict: ask, origins: ["ask:"], actions: any, elements: any, question: "May I?"}
  - {id: fine, verdict: allow, origins: any, actions: any, elements: any}
"""


@functools.cache
def _policies() -> Mapping[str, Policy]:
    return {"simulated": parse_policy("simulated", _POLICY, "minds.py")}


class GuardProcess(Mind):
    """Runs the real reactor of the guard, with a policy that allows, denies and asks."""

    group = guard_reactor.GROUP
    reads = guard_reactor.TOPICS

    def create(self, log: EventLog, producer: Producer, node: Node) -> GuardReactor:
        """See Mind."""
        guard = GuardDomain(_policies(), "simulated")
        return GuardReactor(log, producer, guard, Desk(100), NodeClock(node))

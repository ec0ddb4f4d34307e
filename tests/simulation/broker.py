"""The simulated event log: one linearizable broker that outlives every simulated process."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from libs.errors import Conflict
from libs.events.appending import (
    check_event,
    check_partition,
    check_spec,
    fenced,
    no_topic,
)
from libs.events.port import Cleanup, Event, Position, Record, TopicSpec
from tests.simulation.node import Node
from tests.simulation.world import World

_QUEUE_LIMIT = 256
"""Records that wait at a reader; then the broker sends no more."""


@dataclass(slots=True)
class _Partition:
    records: list[Record] = field(default_factory=list)
    end: int = 0
    readers: list[Reader] = field(default_factory=list)


@dataclass(slots=True)
class _Group:
    members: list[Reader] = field(default_factory=list)
    committed: dict[tuple[str, int], int] = field(default_factory=dict)


class Broker:
    """What survives every crash of the simulated processes."""

    def __init__(self, world: World, *, max_event_bytes: int = 1 << 20) -> None:
        self.world = world
        self.max_event_bytes = max_event_bytes
        self.down_until = 0.0
        self.on_append: list[Callable[[Record, Node], None]] = []
        self.specs: dict[str, TopicSpec] = {}
        self._parts: dict[tuple[str, int], _Partition] = {}
        self._incarnations: dict[str, int] = {}
        self._groups: dict[str, _Group] = {}
        self._lanes: dict[tuple[str, int, str, int], float] = {}

    def outage(self, length_s: float) -> None:
        """Answer nothing for a while."""
        self.down_until = max(self.down_until, self.world.now + length_s)
        self.world.say("down", "log", f"{length_s:.3f} s")
        self.world.after(length_s, self._wake_all)

    def _wake_all(self) -> None:
        for part in self._parts.values():
            for reader in part.readers:
                reader.schedule()

    @property
    def is_down(self) -> bool:
        """Whether it answers nothing now."""
        return self.world.now < self.down_until

    def part(self, topic: str, partition: int) -> _Partition:
        """One partition.

        Raises:
            NotFound: no such topic (TOPIC_NOT_FOUND).
            InvalidRequest: no such partition (NO_SUCH_PARTITION).
        """
        spec = self.specs.get(topic)
        if spec is None:
            raise no_topic(topic, self.specs)
        check_partition(spec, partition)
        return self._parts[topic, partition]

    def ensure(self, specs: Sequence[TopicSpec]) -> None:
        """Create what is missing."""
        for spec in specs:
            check_spec(spec, self.specs.get(spec.name))
            self.specs[spec.name] = spec
            for number in range(spec.partitions):
                self._parts.setdefault((spec.name, number), _Partition())

    def fence(self, name: str) -> int:
        """Make a new incarnation of a producer; every earlier one is fenced from now on."""
        self._incarnations[name] = self._incarnations.get(name, 0) + 1
        return self._incarnations[name]

    def check(self, name: str, incarnation: int) -> None:
        """Raise Conflict where a later producer of this name exists."""
        if incarnation != self._incarnations[name]:
            raise fenced(name, incarnation)

    def append(self, topic: str, partition: int, event: Event, node: Node) -> Position:
        """Append for good."""
        part = self.part(topic, partition)
        check_event(event, self.max_event_bytes)
        self.check(event.source, event.incarnation)
        moment = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.world.now)
        record = Record(topic, partition, part.end, event.subject, event, moment)
        part.records.append(record)
        part.end += 1
        self.world.say(
            "appd",
            node.name,
            f"{topic[7:]}/{partition}@{record.offset} {event.type[16:]} {event.id}",
        )
        for call in self.on_append:
            call(record, node)
        for reader in part.readers:
            reader.notice((topic, partition))
        return Position(topic, partition, record.offset)

    def compact(self) -> None:
        """Keep only the last record of each key in compacted topics; an empty one deletes its key."""
        for (topic, _), part in self._parts.items():
            if self.specs[topic].cleanup is Cleanup.COMPACT:
                last = {record.key: record.offset for record in part.records}
                part.records = [r for r in part.records if last[r.key] == r.offset and r.event.data]
        self.world.say("cmpt", "log", "")

    def records(self, topic: str) -> list[Record]:
        """All of a topic, for witnesses."""
        return [r for (name, _), part in self._parts.items() if name == topic for r in part.records]

    def group(self, name: str) -> _Group:
        """A consumer group."""
        return self._groups.setdefault(name, _Group())

    def rebalance(self, name: str) -> None:
        """Share the partitions among the members: each partition to one of those that subscribe to it."""
        group = self.group(name)
        shares: dict[Reader, dict[tuple[str, int], int]] = {m: {} for m in group.members}
        for topic in sorted({t for m in group.members for t in m.topics}):
            members = [m for m in group.members if topic in m.topics]
            for number in range(self.specs[topic].partitions):
                member = members[number % len(members)]
                place = (topic, number)
                kept = member.positions.get(place)
                shares[member][place] = group.committed.get(place, 0) if kept is None else kept
        for member, share in shares.items():
            member.assign(share)

    def evict(self, reader: Reader, reason: str) -> None:
        """Take a member's partitions away."""
        group = self.group(reader.group)
        if reader in group.members:
            group.members.remove(reader)
            self.world.say("evct", reader.node.name, f"{reader.group} {reason}")
            reader.close()
            self.rebalance(reader.group)

    def evict_node(self, node: Node, reason: str) -> None:
        """Take away the partitions of all members of a process that does not beat."""
        for group in self._groups.values():
            for member in tuple(group.members):
                if member.node is node:
                    self.evict(member, reason)

    def forget_tails(self, node: Node) -> None:
        """Send nothing more to the readers without a group of a dead process."""
        for part in self._parts.values():
            part.readers[:] = [r for r in part.readers if r.group or r.node is not node]

    def members(self) -> list[Reader]:
        """Every live member of every group."""
        return [member for group in self._groups.values() for member in group.members]

    def slot(self, event: Event, topic: str, partition: int) -> float:
        """When a record that is sent now arrives: never before one that was sent earlier in its lane."""
        lane = (event.source, event.incarnation, topic, partition)
        world = self.world
        moment = max(world.now + world.log_way(), self._lanes.get(lane, 0.0))
        if topic.startswith(world.weather.slow_topic) and world.chance(world.weather.slow):
            moment += world.random.random() * world.weather.log_timeout_s
        self._lanes[lane] = moment
        return moment


class Reader:
    """A place in some partitions, and what is on its way from there to one process."""

    def __init__(
        self, broker: Broker, node: Node, group: str = "", topics: Sequence[str] = ()
    ) -> None:
        self.broker, self.node, self.group, self.topics = broker, node, group, tuple(topics)
        self.positions: dict[tuple[str, int], int] = {}
        self.queue: deque[Record] = deque()
        self.closed = False
        self._behind: dict[tuple[str, int], None] = {}
        """Places where there is more than was sent, in the order in which it came."""
        self._flying: set[tuple[str, int]] = set()
        self._waiter: asyncio.Future[None] | None = None

    def assign(self, positions: Mapping[tuple[str, int], int]) -> None:
        for place in self.positions:
            if place not in positions:
                self.broker.part(*place).readers.remove(self)
        for place in positions:
            if place not in self.positions:
                self.broker.part(*place).readers.append(self)
        self.positions = dict(positions)
        self._behind = {
            place: None for place, at in positions.items() if at < self.broker.part(*place).end
        }
        self.schedule()

    def notice(self, place: tuple[str, int]) -> None:
        self._behind[place] = None
        self._lift(place)

    def close(self) -> None:
        self.assign({})
        self.closed = True
        self.node.post(self._wake)

    def schedule(self) -> None:
        for place in tuple(self._behind):
            self._lift(place)

    def _lift(self, place: tuple[str, int]) -> None:
        """Send what is new at one place; each place has its own way, so topics overtake each other."""
        broker = self.broker
        full = len(self.queue) >= _QUEUE_LIMIT
        if place not in self._flying and not (self.closed or broker.is_down or full):
            self._flying.add(place)
            broker.world.after(broker.world.log_way(), self._land, place)

    def _land(self, place: tuple[str, int]) -> None:
        self._flying.discard(place)
        broker, world = self.broker, self.broker.world
        if self.closed or not self.node.alive or broker.is_down or place not in self.positions:
            return
        part = broker.part(*place)
        found = tail_of(part.records, self.positions[place])
        found = found[: max(1, int(world.random.random() * world.weather.batch))]
        self.positions[place] = found[-1].offset + 1 if found else part.end
        if found:
            self.node.post(self._receive, found)
        if self.positions[place] < part.end:
            self._lift(place)
        else:
            self._behind.pop(place, None)

    def _receive(self, batch: list[Record]) -> None:
        self.queue.extend(batch)
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def fetch(self) -> list[Record]:
        while True:
            if self.closed and self.group:
                raise Conflict(
                    "MEMBER_EVICTED", f"expected a live member of {self.group}, it was evicted"
                )
            batch = [r for r in self.queue if (r.topic, r.partition) in self.positions]
            self.queue.clear()
            if batch:
                self.schedule()
                return batch
            self._waiter = self.node.loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None


def tail_of(records: list[Record], start: int) -> list[Record]:
    """The records from about `start` on; compaction leaves gaps, so offsets are no indices."""
    index = len(records)
    while index and records[index - 1].offset >= start:
        index -= 1
    return records[index:]

"""The simulated event log as one process sees it: the port, reached through delays, losses and outages."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any, TypeVar

from libs.errors import Conflict, DependencyDown, PlatformError
from libs.events.partitioning import partition_for
from libs.events.port import Event, Position, Record, TopicSpec
from tests.simulation.broker import Broker, Reader, tail_of
from tests.simulation.node import Node

T = TypeVar("T")

_partition_for = functools.lru_cache(4096)(partition_for)


class SimProducer:
    """`libs.events.port.Producer` over the broker."""

    def __init__(self, log: SimEventLog, name: str, incarnation: int) -> None:
        self._log, self._name, self._incarnation = log, name, incarnation
        self._seq = 0

    @property
    def name(self) -> str:
        """See the port."""
        return self._name

    @property
    def incarnation(self) -> int:
        """See the port."""
        return self._incarnation

    async def publish(self, topic: str, event: Event, *, partition: int | None = None) -> Position:
        """See the port; what is under way arrives although its sender has died."""
        if partition is None:
            partition = await self._log.partition_of(topic, event.subject)
        self._seq += 1
        sent = replace(event, source=self._name, incarnation=self._incarnation, seq=self._seq)
        broker, chosen = self._log.broker, partition
        return await self._log.request(
            lambda: broker.append(topic, chosen, sent, self._log.node),
            at=broker.slot(sent, topic, chosen),
            loses_ack=True,
        )

    async def prove(self) -> None:
        """See the port."""
        broker = self._log.broker
        await self._log.request(lambda: broker.check(self._name, self._incarnation))


class SimSubscription:
    """`libs.events.port.Subscription` over the broker."""

    def __init__(self, log: SimEventLog, reader: Reader) -> None:
        self._log, self._reader = log, reader

    async def fetch(self) -> Sequence[Record]:
        """See the port."""
        return await self._reader.fetch()

    async def commit(self, topic: str, partition: int, offset: int) -> None:
        """See the port."""
        await self._log.request(lambda: self._commit((topic, partition), offset))

    def _commit(self, place: tuple[str, int], offset: int) -> None:
        reader = self._reader
        if place not in reader.positions:
            raise Conflict("PARTITION_REVOKED", f"expected a partition of this member, got {place}")
        committed = self._log.broker.group(reader.group).committed
        committed[place] = max(committed.get(place, 0), offset)

    async def beat(self) -> None:
        """See the port."""
        await self._log.request(lambda: None)
        if self._reader.closed:
            raise Conflict("MEMBER_EVICTED", "expected a live member, it was evicted")

    @property
    def assignment(self) -> frozenset[tuple[str, int]]:
        """See the port."""
        return frozenset(self._reader.positions)


class SimEventLog:
    """`libs.events.port.EventLog` as one process sees it."""

    def __init__(self, broker: Broker, node: Node) -> None:
        self.broker = broker
        self.node = node

    async def request(
        self, action: Callable[[], T], *, at: float | None = None, loses_ack: bool = False
    ) -> T:
        """Let the broker do something and return what came of it.

        Raises:
            DependencyDown: no answer; only where `loses_ack` may it have been done all the same.
        """
        world = self.broker.world
        answer: asyncio.Future[T] = self.node.loop.create_future()
        moment = world.now + world.log_way() if at is None else at
        world.loop.at(moment, self._arrive, action, answer, loses_ack, node=world.here)
        return await answer

    def _arrive(
        self, action: Callable[[], Any], answer: asyncio.Future[Any], loses_ack: bool
    ) -> None:
        world, weather = self.broker.world, self.broker.world.weather
        result: Any = None
        error: PlatformError | None = None
        delay = world.log_way()
        if self.broker.is_down:
            error = DependencyDown("LOG_DOWN", "expected the log to answer, it does not")
            delay = weather.log_timeout_s
        else:
            try:
                result = action()
            except PlatformError as refused:
                error = refused
            if loses_ack and world.chance(weather.lost_ack):
                error = DependencyDown("LOG_DOWN", "expected an acknowledgement, none came")
                delay = weather.log_timeout_s
        world.loop.at(world.now + delay, _settle, answer, result, error, node=self.node)

    async def ensure_topics(self, specs: Sequence[TopicSpec]) -> None:
        """See the port."""
        await self.request(lambda: self.broker.ensure(specs))

    async def producer(self, name: str) -> SimProducer:
        """See the port."""
        incarnation = await self.request(lambda: self.broker.fence(name))
        self.broker.world.say("fenc", self.node.name, f"{name} {incarnation}")
        return SimProducer(self, name, incarnation)

    @asynccontextmanager
    async def subscribe(self, group: str, topics: Sequence[str]) -> AsyncIterator[SimSubscription]:
        """See the port."""
        reader = Reader(self.broker, self.node, group, topics)
        await self.request(lambda: self._join(reader))
        try:
            yield SimSubscription(self, reader)
        finally:
            if self.node.alive and not self.broker.world.over:
                with suppress(DependencyDown):
                    await self.request(lambda: self.broker.evict(reader, "left"))

    def _join(self, reader: Reader) -> None:
        for topic in reader.topics:
            self.broker.part(topic, 0)
        self.broker.group(reader.group).members.append(reader)
        self.broker.rebalance(reader.group)

    @asynccontextmanager
    async def tail(self, start: Mapping[tuple[str, int], int]) -> AsyncIterator[Reader]:
        """See the port."""
        reader = Reader(self.broker, self.node)
        places = dict(start)
        await self.request(lambda: reader.assign(places))
        try:
            yield reader
        finally:
            if self.node.alive and not self.broker.world.over:
                reader.close()

    async def read(
        self,
        topic: str,
        partition: int,
        *,
        start: int = 0,
        end: int | None = None,
        key: str | None = None,
    ) -> AsyncIterator[Record]:
        """See the port."""
        found = await self.request(lambda: self._snapshot(topic, partition, start, end))
        for record in found:
            if key is None or record.key == key:
                yield record

    def _snapshot(self, topic: str, partition: int, start: int, end: int | None) -> list[Record]:
        part = self.broker.part(topic, partition)
        return [r for r in tail_of(part.records, start) if end is None or r.offset < end]

    async def end_offset(self, topic: str, partition: int) -> int:
        """See the port."""
        return await self.request(lambda: self.broker.part(topic, partition).end)

    async def partitions(self, topic: str) -> int:
        """See the port."""
        self.broker.part(topic, 0)
        return self.broker.specs[topic].partitions

    async def partition_of(self, topic: str, key: str) -> int:
        """See the port."""
        self.broker.part(topic, 0)
        return _partition_for(key, self.broker.specs[topic].partitions)

    async def committed(self, group: str, topic: str, partition: int) -> int:
        """See the port."""
        self.broker.part(topic, partition)
        return await self.request(
            lambda: self.broker.group(group).committed.get((topic, partition), 0)
        )

    async def aclose(self) -> None:
        """See the port."""


def _settle(answer: asyncio.Future[Any], result: Any, error: PlatformError | None) -> None:
    if answer.done():
        return
    if error is not None:
        answer.set_exception(error)
    else:
        answer.set_result(result)

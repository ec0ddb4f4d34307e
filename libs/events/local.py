"""What the two logs that live in one process share: groups, readers and checks."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from libs.clock import Clock
from libs.events.appending import check_partition, chosen_place, no_topic
from libs.events.groups import Groups, Place
from libs.events.partitioning import partition_for
from libs.events.port import Event, Record, Subscription, Tail, TopicSpec
from libs.events.readers import Bells, LocalSubscription, LocalTail
from libs.events.settings import EventSettings


class LocalEventLog(ABC):
    """The parts of the port that need no storage; members of groups are objects of this process."""

    def __init__(self, clock: Clock, settings: EventSettings | None) -> None:
        self._clock = clock
        self._settings = settings or EventSettings()
        self._specs: dict[str, TopicSpec] = {}
        self._groups = Groups(self._settings.member_timeout_s)
        self._bells = Bells()

    @asynccontextmanager
    async def subscribe(self, group: str, topics: Sequence[str]) -> AsyncIterator[Subscription]:
        """Join a group; see the port."""
        await self._hop()
        counts = {topic: self._spec(topic).partitions for topic in topics}
        subscription = LocalSubscription(
            self, self._bells, self._settings, self._clock, self._groups, group, counts
        )
        try:
            yield subscription
        finally:
            subscription.leave()

    @asynccontextmanager
    async def tail(self, start: Mapping[Place, int]) -> AsyncIterator[Tail]:
        """Follow these partitions from these offsets, without a group."""
        await self._hop()
        for place in start:
            self._check_place(place)
        tail = LocalTail(self, self._bells, self._settings, start)
        try:
            yield tail
        finally:
            tail.leave()

    async def end_offset(self, topic: str, partition: int) -> int:
        """The offset that the next record will have."""
        await self._hop()
        self._check_place((topic, partition))
        return self.end((topic, partition))

    async def partitions(self, topic: str) -> int:
        """How many partitions the topic has."""
        await self._hop()
        return self._spec(topic).partitions

    async def partition_of(self, topic: str, key: str) -> int:
        """The partition that `publish` chooses for this key."""
        await self._hop()
        return partition_for(key, self._spec(topic).partitions)

    async def committed(self, group: str, topic: str, partition: int) -> int:
        """The committed offset of a group; 0 where it never committed."""
        await self._hop()
        self._check_place((topic, partition))
        return self.committed_offset(group, (topic, partition))

    def place(self, topic: str, event: Event, partition: int | None) -> Place:
        """Check a publish and say where it goes."""
        self._bells.check_open()
        return chosen_place(self._spec(topic), event, partition, self._settings.event_bytes_max)

    @abstractmethod
    async def take(
        self, place: Place, start: int, records_max: int, bytes_max: int
    ) -> tuple[Sequence[Record], int]:
        """Return records from `start` on and where to go on."""

    @abstractmethod
    def end(self, place: Place) -> int:
        """The offset that the next record will have."""

    @abstractmethod
    def committed_offset(self, group: str, place: Place) -> int:
        """The committed offset; 0 where there is none."""

    @abstractmethod
    async def store_commit(self, group: str, place: Place, offset: int) -> None:
        """Keep a committed offset; lower than before is ignored."""

    async def _hop(self) -> None:
        """Let others run, as any call of a log does, and refuse a closed one."""
        await asyncio.sleep(0)
        self._bells.check_open()

    def _spec(self, topic: str) -> TopicSpec:
        spec = self._specs.get(topic)
        if spec is None:
            raise no_topic(topic, self._specs)
        return spec

    def _check_place(self, place: Place) -> None:
        check_partition(self._spec(place[0]), place[1])

"""Subscriptions and tails over a log that lives in this process; woken, never polling."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from libs.clock import Clock
from libs.errors import Conflict, DependencyDown
from libs.events.groups import Groups, Place
from libs.events.port import Record
from libs.events.settings import EventSettings


class Shelf(Protocol):
    """Where the records are."""

    async def take(
        self, place: Place, start: int, records_max: int, bytes_max: int
    ) -> tuple[Sequence[Record], int]:
        """Return records from `start` on, at least one where there is any, and where to go on."""
        ...

    def end(self, place: Place) -> int:
        """The offset that the next record will have."""
        ...

    def committed_offset(self, group: str, place: Place) -> int:
        """The committed offset; 0 where there is none."""
        ...

    async def store_commit(self, group: str, place: Place, offset: int) -> None:
        """Keep a committed offset; lower than before is ignored."""
        ...


class Bells:
    """Who wants to be woken when a partition grows."""

    def __init__(self) -> None:
        self._waiting: dict[Place, set[asyncio.Event]] = {}
        self._everyone: set[asyncio.Event] = set()
        self.closed = False

    def ring(self, places: Iterable[Place]) -> None:
        """Wake the readers of these partitions."""
        for place in places:
            for bell in self._waiting.get(place, ()):
                bell.set()

    def close(self) -> None:
        """Wake every reader for the last time."""
        self.closed = True
        for bell in self._everyone:
            bell.set()

    def check_open(self) -> None:
        """Raise DependencyDown (LOG_DOWN) once closed."""
        if self.closed:
            raise DependencyDown("LOG_DOWN", "expected an open event log, this one was closed")

    def hang(self, bell: asyncio.Event, places: Iterable[Place]) -> None:
        """Let `bell` ring for these partitions and for no other."""
        self.take_down(bell)
        self._everyone.add(bell)
        for place in places:
            self._waiting.setdefault(place, set()).add(bell)

    def take_down(self, bell: asyncio.Event) -> None:
        """Let `bell` ring no more."""
        self._everyone.discard(bell)
        for place, bells in list(self._waiting.items()):
            bells.discard(bell)
            if not bells:
                del self._waiting[place]


class _Cursor:
    """Positions in some partitions and the taking of what is beyond them."""

    def __init__(self, shelf: Shelf, settings: EventSettings) -> None:
        self._shelf = shelf
        self._settings = settings
        self._turn = 0
        self.positions: dict[Place, int] = {}

    async def take(self) -> list[Record]:
        """What is there now, shared fairly among the partitions; empty where nothing is."""
        starts = {p: at for p, at in self.positions.items() if at < self._shelf.end(p)}
        behind = list(starts)
        if not behind:
            return []
        # Another partition goes first each time, so that a long one starves nobody.
        self._turn += 1
        first = self._turn % len(behind)
        slices: list[tuple[Place, int, int, Sequence[Record]]] = []
        left = self._settings.fetch_records_max
        left_bytes = self._settings.fetch_bytes_max
        for place in behind[first:] + behind[:first]:
            if left <= 0 or left_bytes <= 0:
                break
            start = starts[place]
            records, go_on = await self._shelf.take(place, start, left, left_bytes)
            slices.append((place, start, go_on, records))
            left -= len(records)
            left_bytes -= sum(len(record.event.data) for record in records)
        # Only now, when nothing is awaited any more: a fetch that is cancelled takes nothing away.
        taken: list[Record] = []
        for place, start, go_on, records in slices:
            # Else revoked or moved while the shelf was read: the records are no longer for us.
            if self.positions.get(place) == start:
                self.positions[place] = go_on
                taken.extend(records)
        return taken


class LocalTail:
    """A Tail; see the port."""

    def __init__(
        self, shelf: Shelf, bells: Bells, settings: EventSettings, start: Mapping[Place, int]
    ) -> None:
        self._bells = bells
        self._bell = asyncio.Event()
        self._cursor = _Cursor(shelf, settings)
        self._cursor.positions.update(start)
        bells.hang(self._bell, start)

    async def fetch(self) -> Sequence[Record]:
        """Wait for the next records, in order for each partition; never empty."""
        # A reader that always finds something must still let others run.
        await asyncio.sleep(0)
        while True:
            self._bells.check_open()
            self._bell.clear()
            if taken := await self._cursor.take():
                return taken
            await self._bell.wait()

    def leave(self) -> None:
        """Read no more."""
        self._bells.take_down(self._bell)


class LocalSubscription:
    """A Subscription; see the port."""

    def __init__(
        self,
        shelf: Shelf,
        bells: Bells,
        settings: EventSettings,
        clock: Clock,
        groups: Groups,
        group: str,
        topics: Mapping[str, int],
    ) -> None:
        self._shelf = shelf
        self._bells = bells
        self._clock = clock
        self._groups = groups
        self._group = group
        self._beat_s = settings.member_timeout_s / 3
        self._bell = asyncio.Event()
        self._cursor = _Cursor(shelf, settings)
        self._got_at: dict[Place, int] = {}
        self._member = groups.join(group, topics, self._bell.set, clock.monotonic())

    @property
    def assignment(self) -> frozenset[Place]:
        """The partitions that are this member's now."""
        return frozenset(self._groups.places(self._group, self._member))

    async def beat(self) -> None:
        """Say that this member lives while it does not fetch."""
        await asyncio.sleep(0)
        self._refresh()

    async def fetch(self) -> Sequence[Record]:
        """Wait for the next records of the assigned partitions; never empty."""
        await asyncio.sleep(0)
        while True:
            self._bells.check_open()
            self._bell.clear()
            self._refresh()
            taken = await self._cursor.take()
            mine = self.assignment
            if kept := [r for r in taken if (r.topic, r.partition) in mine]:
                return kept
            if taken or self._bell.is_set():
                continue
            try:
                async with asyncio.timeout(self._beat_s):
                    await self._bell.wait()
            except TimeoutError:
                continue

    async def commit(self, topic: str, partition: int, offset: int) -> None:
        """Say that everything below `offset` is done; lower than before is ignored."""
        self._bells.check_open()
        place = (topic, partition)
        if place not in self.assignment:
            raise Conflict(
                "PARTITION_REVOKED",
                f"{topic}[{partition}] is no longer this member's of group {self._group!r}",
                topic=topic,
                partition=str(partition),
            )
        await self._shelf.store_commit(self._group, place, offset)

    def leave(self) -> None:
        """Leave the group at once."""
        self._bells.take_down(self._bell)
        self._groups.leave(self._group, self._member)

    def _refresh(self) -> None:
        """Beat, and follow what the group decided."""
        places = self._groups.beat(self._group, self._member, self._clock.monotonic())
        if places == self._got_at:
            return
        positions = self._cursor.positions
        for place in [p for p in positions if p not in places]:
            del positions[place]
        for place, generation in places.items():
            # One that went away and came back starts at its commit: another had it meanwhile.
            if self._got_at.get(place) != generation:
                positions[place] = self._shelf.committed_offset(self._group, place)
        self._got_at = dict(places)
        self._bells.hang(self._bell, places)


def within_bytes(
    records: Sequence[Record], go_on: int, bytes_max: int
) -> tuple[Sequence[Record], int]:
    """Cut a slice where its data exceeds `bytes_max`, keeping at least one record."""
    size = 0
    for index, record in enumerate(records):
        size += len(record.event.data)
        if size > bytes_max and index:
            return records[:index], record.offset
    return records, go_on

"""Which fetched records are under way, and up to where each partition may be committed. Pure state."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from libs.events.groups import Place
from libs.events.port import Record


@dataclass(slots=True)
class _Flight:
    order: deque[Record] = field(default_factory=deque)
    finished: set[int] = field(default_factory=set)
    open: set[int] = field(default_factory=set)
    fetched: int = 0
    """The offset after the last fetched record."""


class Watermarks:
    """The contiguous watermark of each partition: everything below it is done."""

    def __init__(self) -> None:
        self._flights: dict[Place, _Flight] = {}
        self._due: dict[Place, int] = {}
        self.in_flight = 0
        """Records fetched and not below the watermark."""

    def start(self, record: Record) -> bool:
        """Take a fetched record in; False if it was fetched before."""
        flight = self._flights.setdefault((record.topic, record.partition), _Flight())
        if record.offset < flight.fetched:
            return False
        flight.fetched = record.offset + 1
        flight.order.append(record)
        flight.open.add(record.offset)
        self.in_flight += 1
        return True

    def pending(self, record: Record) -> bool:
        """Whether the record is under way: not done, and its partition not forgotten."""
        flight = self._flights.get((record.topic, record.partition))
        return flight is not None and record.offset in flight.open

    def finish(self, record: Record) -> list[Record]:
        """Note that a record is done; return those that the watermark passed now, in order."""
        place = (record.topic, record.partition)
        if not self.pending(record):
            return []
        flight = self._flights[place]
        flight.open.discard(record.offset)
        flight.finished.add(record.offset)
        passed: list[Record] = []
        while flight.order and flight.order[0].offset in flight.finished:
            passed.append(flight.order.popleft())
            flight.finished.discard(passed[-1].offset)
        if passed:
            self.in_flight -= len(passed)
            self._due[place] = passed[-1].offset + 1
        return passed

    def due(self) -> dict[Place, int]:
        """The offsets to commit."""
        return dict(self._due)

    def committed(self, place: Place, offset: int) -> None:
        """A commit was acknowledged: it is no longer due, unless a later one is."""
        if self._due.get(place) == offset:
            del self._due[place]

    def places(self) -> list[Place]:
        """The partitions of which something was fetched."""
        return list(self._flights)

    def forget(self, place: Place) -> None:
        """The partition is another's now: nothing of it is under way or due."""
        flight = self._flights.pop(place, None)
        if flight is not None:
            self.in_flight -= len(flight.order)
        self._due.pop(place, None)

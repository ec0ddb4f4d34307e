"""High-water marks: what a consumer has had of each producer (protocol, rule 14). Pure state."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass

from libs.events.groups import Place
from libs.events.port import Record

_NOTHING = (0, 0)


@dataclass(slots=True)
class _Mark:
    """The highest (incarnation, seq): taken up, and known to be done with all before it."""

    place: Place
    accepted: tuple[int, int] = _NOTHING
    settled: tuple[int, int] = _NOTHING


class HighWaterMarks:
    """One mark for each producer, topic and partition; of a producer the newest incarnation only.

    A record at or below the mark is a duplicate. This is sound because a producer's records stand in
    a partition in the order of its `seq`, and nothing of an older incarnation is appended after a
    newer exists. Records without `incarnation` or `seq` (written by others) are never duplicates.

    Args:
        marks_max: marks kept; beyond it the least recently used goes, and with it the knowledge of
            that producer's duplicates (handlers are idempotent on the event id anyway).
    """

    def __init__(self, marks_max: int) -> None:
        self._marks_max = marks_max
        self._marks: OrderedDict[Hashable, _Mark] = OrderedDict()

    def accept(self, record: Record) -> bool:
        """Take `record` up; False says that it is a duplicate."""
        event = record.event
        if not (event.source and event.incarnation and event.seq):
            return True
        mark = self._find(record)
        number = (event.incarnation, event.seq)
        if number <= mark.accepted:
            return False
        mark.accepted = number
        return True

    def settle(self, record: Record) -> None:
        """Note that `record` and everything before it in its partition is done."""
        event = record.event
        if event.source and event.incarnation and event.seq:
            mark = self._find(record)
            mark.settled = max(mark.settled, (event.incarnation, event.seq))
            mark.accepted = max(mark.accepted, mark.settled)

    def rewind(self, place: Place | None = None) -> None:
        """Forget what was taken up and not done, of one partition or (None) of all.

        Called when a partition was revoked: what comes again after that is no duplicate.
        """
        for mark in self._marks.values():
            if place is None or mark.place == place:
                mark.accepted = mark.settled

    def slot(self, record: Record) -> Hashable:
        """Which mark counts for `record`."""
        return record.event.source, record.topic, record.partition

    def _find(self, record: Record) -> _Mark:
        slot = self.slot(record)
        mark = self._marks.get(slot)
        if mark is None:
            mark = self._marks[slot] = _Mark((record.topic, record.partition))
            if len(self._marks) > self._marks_max:
                self._marks.popitem(last=False)
        else:
            self._marks.move_to_end(slot)
        return mark

"""Nearest neighbours by exhaustive search: exact, and quick enough for what fits the limits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import numpy as np

from services.memory.types import Entry, Vector

_ROWS_FIRST = 64


class VectorIndex:
    """Rows of one length by exemplar id; adding and removing cost one row, a search all rows.

    10,000 rows of 768 numbers take 30 MB, and a search among them some 3 ms.
    """

    def __init__(self, width: int) -> None:
        self._rows = np.zeros((_ROWS_FIRST, width), dtype=np.float32)
        self._entries: list[Entry] = []
        self._places: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, exemplar_id: str) -> bool:
        return exemplar_id in self._places

    def put(self, entry: Entry) -> None:
        """Add or replace."""
        place = self._places.get(entry.exemplar_id)
        if place is None:
            place = len(self._entries)
            if place == len(self._rows):
                self._rows = np.concatenate([self._rows, np.zeros_like(self._rows)])
            self._entries.append(entry)
            self._places[entry.exemplar_id] = place
        self._entries[place] = entry
        self._rows[place] = entry.vector

    def remove(self, exemplar_id: str) -> None:
        """Remove; what is not there changes nothing."""
        place = self._places.pop(exemplar_id, None)
        if place is None:
            return
        last = self._entries.pop()
        if place < len(self._entries):
            self._entries[place] = last
            self._rows[place] = self._rows[len(self._entries)]
            self._places[last.exemplar_id] = place

    def nearest(self, query: Vector, count: int, *, lesson: str = "") -> list[tuple[Entry, float]]:
        """The `count` entries with the largest dot product, largest first; of one lesson or all.

        Entries as near as each other come in the order of their ids, so that answers are stable.
        """
        if lesson:
            places = np.array(
                [i for i, entry in enumerate(self._entries) if entry.lesson == lesson],
                dtype=np.intp,
            )
        else:
            places = np.arange(len(self._entries))
        if not len(places) or count < 1:
            return []
        rows = self._rows[: len(self._entries)] if not lesson else self._rows[places]
        # Rounded, so that the last bits of a sum do not decide between equals.
        scores = np.round(rows @ query, 6)
        rank = max(0, len(scores) - count)
        bar = np.partition(scores, rank)[rank]
        best = np.flatnonzero(scores >= bar)
        found = [(self._entries[places[i]], float(scores[i])) for i in best]
        found.sort(key=lambda pair: (-pair[1], pair[0].exemplar_id))
        return found[:count]

    def oldest_of(self, lesson: str, most: int) -> list[str]:
        """Who must go so that `most` of the lesson remain: its oldest."""
        own = [entry for entry in self._entries if entry.lesson == lesson]
        own.sort(key=lambda entry: (entry.written_at, entry.exemplar_id))
        return [entry.exemplar_id for entry in own[: max(0, len(own) - most)]]

    def stale(self, embedder: str) -> list[str]:
        """Ids of entries that another embedder made."""
        return [entry.exemplar_id for entry in self._entries if entry.embedder != embedder]

    def entry(self, exemplar_id: str) -> Entry | None:
        """The entry of this id."""
        place = self._places.get(exemplar_id)
        return None if place is None else self._entries[place]

    def surplus(self, most: int) -> list[str]:
        """Who must go so that `most` remain: each time the oldest of the lesson with the most.

        A lesson's tenth demonstration is worth less than another's only one.
        """
        left = {entry.exemplar_id: entry for entry in self._entries}
        counts = Counter(entry.lesson for entry in left.values())
        gone = []
        while len(left) > most:
            largest = max(counts.values())
            full = {lesson for lesson, count in counts.items() if count == largest}
            oldest = min(
                (entry for entry in left.values() if entry.lesson in full),
                key=lambda entry: (entry.written_at, entry.exemplar_id),
            )
            counts[oldest.lesson] -= 1
            gone.append(oldest.exemplar_id)
            del left[oldest.exemplar_id]
        return gone


def majority(lessons: Iterable[str]) -> str:
    """The lesson that most of the nearest belong to; the nearest one's where none has more."""
    ordered = list(lessons)
    counts = Counter(ordered)
    return max(ordered, key=lambda lesson: counts[lesson], default="")

from __future__ import annotations

import numpy as np

from services.memory.domain.index import VectorIndex, majority
from services.memory.types import Entry


def entry(
    name: str, lesson: str = "l", at: float = 0.0, vector: tuple[float, ...] = (1, 0)
) -> Entry:
    return Entry(name, lesson, at, "m", np.array(vector, dtype=np.float32))


def test_it_answers_what_a_plain_search_answers_through_puts_and_removes() -> None:
    rng = np.random.default_rng(7)
    index, kept = VectorIndex(8), {}
    for number in range(400):
        one = entry(f"x{number:03}", f"l{number % 7}", 0.0, tuple(rng.normal(size=8)))
        index.put(one)
        kept[one.exemplar_id] = one
        if number % 3 == 0:
            gone = str(rng.choice(sorted(kept)))
            index.remove(gone)
            index.remove(gone)
            del kept[gone]
    assert len(index) == len(kept)
    for lesson in ("", "l3"):
        query = rng.normal(size=8).astype(np.float32)
        meant = [one for one in kept.values() if not lesson or one.lesson == lesson]
        meant.sort(key=lambda one: -float(one.vector @ query))
        found = index.nearest(query, 20, lesson=lesson)
        assert [one.exemplar_id for one, _ in found] == [one.exemplar_id for one in meant[:20]]


def test_equals_come_in_the_order_of_their_ids() -> None:
    index = VectorIndex(2)
    for name in "cab":
        index.put(entry(name))
    query = np.array([1, 0], dtype=np.float32)
    assert [one.exemplar_id for one, _ in index.nearest(query, 9)] == ["a", "b", "c"]
    assert index.nearest(query, 9, lesson="other") == []


def test_the_oldest_of_the_largest_lesson_goes_first() -> None:
    index = VectorIndex(2)
    for number in range(4):
        index.put(entry(f"big{number}", "big", at=10.0 + number))
    index.put(entry("small", "small", at=1.0))
    assert index.surplus(5) == []
    assert index.surplus(3) == ["big0", "big1"]
    assert index.oldest_of("big", 3) == ["big0"]
    assert index.oldest_of("small", 3) == []


def test_majority() -> None:
    assert majority(["a", "b", "b"]) == "b"
    assert majority(["a", "b", "c"]) == "a"
    assert majority([]) == ""

"""The journal: the first STARTED and the first outcome of a step count, in whatever order they are read."""

from __future__ import annotations

import asyncio

from libs.executor.journal import Journal, Mark
from tectum.protocol.messages import Outcome, OutcomeStatus, Started
from tectum.protocol.types import Epoch


def started(home: str, step: int = 1, incarnation: int = 1) -> Started:
    return Started("s", Epoch(1, 0), step, home, incarnation)


def outcome(status: OutcomeStatus, step: int = 1) -> Outcome:
    return Outcome("s", Epoch(1, 0), step, status)


def test_the_lowest_offset_wins_whatever_is_read_first() -> None:
    journal = Journal()
    journal.watch("s", 0)
    journal.fold(started("b"), 7)
    journal.fold(started("a"), 5)
    journal.fold(started("c"), 9)
    assert journal.entry("s", 1).started == Mark("a", 1)
    journal.fold(outcome(OutcomeStatus.UNKNOWN), 12)
    journal.fold(outcome(OutcomeStatus.OK), 11)
    found = journal.entry("s", 1).outcome
    assert found is not None and found.status is OutcomeStatus.OK


def test_only_watched_sessions_are_remembered_and_forgotten_with_their_last_home() -> None:
    journal = Journal()
    journal.fold(started("a"), 1)
    assert journal.entry("s", 1).started is None
    journal.watch("s", 0)
    journal.watch("s", 0)
    journal.fold(started("a"), 1)
    journal.forget("s")
    assert journal.entry("s", 1).open
    journal.forget("s")
    assert not journal.watches("s")
    assert journal.entry("s", 1).started is None


def test_the_first_open_step_bounds_the_checkpoint() -> None:
    journal = Journal()
    journal.watch("s", 2)
    assert journal.first_open(2) is None
    journal.fold(started("a", 1), 3)
    journal.fold(outcome(OutcomeStatus.OK, 1), 4)
    journal.fold(started("a", 2), 8)
    assert journal.first_open(2) == 8
    assert journal.first_open(1) is None


def test_a_long_session_is_bounded_and_keeps_what_is_open() -> None:
    journal = Journal()
    journal.watch("s", 0)
    journal.fold(started("a", 1), 0)
    for step in range(2, 3000):
        journal.fold(started("a", step), 2 * step)
        journal.fold(outcome(OutcomeStatus.OK, step), 2 * step + 1)
    assert journal.entry("s", 1).open
    assert journal.entry("s", 2999).outcome is not None
    assert journal.entry("s", 2).started is None


async def test_reached_waits_for_the_tail() -> None:
    journal = Journal()
    journal.advance(0, 5)
    await journal.reached(0, 4)
    async with asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(journal.reached(0, 5))
        await asyncio.sleep(0)
        assert not waiting.done()
        journal.advance(0, 6)

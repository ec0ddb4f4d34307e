"""What the log says of steps: the first STARTED and the first outcome of each, of the sessions at home here."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from tectum.protocol.messages import Outcome, Started

_STEPS_REMEMBERED = 1024
"""Closed steps kept for one session; older ones are below the home's own mark of what it has taken."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Who began a step."""

    home: str
    incarnation: int


@dataclass(slots=True)
class Entry:
    """One step as the log has it; offsets tell which record came first."""

    started: Mark | None = None
    started_at: int = -1
    outcome: Outcome | None = None
    outcome_at: int = -1

    @property
    def open(self) -> bool:
        """Begun, and nobody has said what came of it."""
        return self.started is not None and self.outcome is None


@dataclass(slots=True)
class _Session:
    homes: int = 0
    partition: int = 0
    steps: dict[int, Entry] = field(default_factory=dict)


class Journal:
    """Folds records of tectum.outcomes in any order; remembers only the sessions it watches."""

    def __init__(self) -> None:
        self._sessions: dict[str, _Session] = {}
        self._next: dict[int, int] = {}
        self._moved = asyncio.Event()

    def watch(self, session_id: str, partition: int) -> None:
        """Remember this session until `forget` was called as often."""
        session = self._sessions.setdefault(session_id, _Session())
        session.homes += 1
        session.partition = partition

    def forget(self, session_id: str) -> None:
        """One home less of this session."""
        session = self._sessions.get(session_id)
        if session is None:
            return
        session.homes -= 1
        if session.homes <= 0:
            del self._sessions[session_id]

    def watches(self, session_id: str) -> bool:
        """Whether records of this session are worth decoding."""
        return session_id in self._sessions

    def fold(self, message: Started | Outcome, offset: int) -> None:
        """Take note of one record."""
        session = self._sessions.get(message.session_id)
        if session is None:
            return
        entry = session.steps.setdefault(message.step, Entry())
        if isinstance(message, Started):
            if entry.started is None or offset < entry.started_at:
                entry.started = Mark(message.home, message.incarnation)
                entry.started_at = offset
        elif entry.outcome is None or offset < entry.outcome_at:
            entry.outcome, entry.outcome_at = message, offset
        if len(session.steps) > _STEPS_REMEMBERED:
            self._trim(session)

    def entry(self, session_id: str, step: int) -> Entry:
        """What is known of a step; an empty entry where nothing is."""
        session = self._sessions.get(session_id)
        return session.steps.get(step, Entry()) if session is not None else Entry()

    def first_open(self, partition: int) -> int | None:
        """The lowest offset of a STARTED in this partition that has no outcome."""
        offsets = [
            entry.started_at
            for session in self._sessions.values()
            if session.partition == partition
            for entry in session.steps.values()
            if entry.open
        ]
        return min(offsets, default=None)

    def position(self, partition: int) -> int:
        """The next offset that the tail will see."""
        return self._next.get(partition, 0)

    def advance(self, partition: int, following: int) -> None:
        """Everything below `following` was folded."""
        if following > self._next.get(partition, -1):
            self._next[partition] = following
            self._moved.set()
            self._moved = asyncio.Event()

    async def reached(self, partition: int, offset: int) -> None:
        """Return once the record at `offset` was folded."""
        while self.position(partition) <= offset:
            await self._moved.wait()

    def _trim(self, session: _Session) -> None:
        closed = sorted(step for step, entry in session.steps.items() if not entry.open)
        for step in closed[: len(closed) // 2]:
            del session.steps[step]

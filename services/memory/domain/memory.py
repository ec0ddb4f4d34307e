"""Exemplars: written from verified successes only, searched, bounded, forgotten for good."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from libs.errors import InvalidRequest, NotFound
from services.memory.domain.index import VectorIndex, majority
from services.memory.domain.key import (
    EMBEDDER,
    MODEL,
    key_texts,
    query_vector,
    stored_vector,
)
from services.memory.ports import Clock, Engine, ExemplarStore
from services.memory.types import Entry, Exemplar, KeyTexts, Match, Turn, Vector
from tectum.observations.abstract import ABSTRACTION_VERSION
from tectum.observations.types import Screen

SEARCH_DEFAULT, SEARCH_MAX = 3, 50
PAGE_DEFAULT, PAGE_MAX = 100, 1_000
HISTORY_MAX = 3
STEPS_MAX = 200
ELEMENTS_MAX = 100_000
INSTRUCTION_MAX = 16_384
NAME_MAX = 256
ANSWER_BYTES_MAX = 6 * 2**20
"""Below the 8 MiB of a gRPC message; the farthest matches, or the rest of a page, are left out."""
VERIFIERS = ("environment", "caller")

_VOTES = 3
"""Synapse: the lesson of most of the nearest three decides."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is kept; what is over it goes, oldest of the largest lesson first."""

    exemplars_max: int
    lesson_max: int
    turns_per_site: int
    sites_max: int


class Memory:
    """The exemplars and the turns of one store; `open` comes before everything else."""

    def __init__(
        self, engine: Engine, store: ExemplarStore, clock: Clock, limits: Limits, *, dimensions: int
    ) -> None:
        self._engine = engine
        self._store = store
        self._clock = clock
        self._limits = limits
        self._width = 2 * dimensions
        self._index = VectorIndex(self._width)
        self._stale: deque[str] = deque()
        self._writing = asyncio.Lock()

    async def open(self) -> None:
        """Read what search needs.

        Raises:
            DependencyDown: the store does not answer (MEMORY_DOWN).
        """
        for entry in await self._store.entries():
            fits = entry.vector.shape == (self._width,)
            blank = np.zeros(self._width, dtype=np.float32)
            self._index.put(entry if fits else replace(entry, embedder="", vector=blank))
        # Vectors of an older embedder are made anew at the first search: the model is not loaded
        # for a platform that never searches.
        self._stale = deque(self._index.stale(EMBEDDER))

    async def write(self, exemplar: Exemplar) -> str:
        """Store an exemplar and return its id; over the limit others are evicted.

        Raises:
            InvalidRequest: EXEMPLAR_EMPTY, EXEMPLAR_TOO_LARGE, EXEMPLAR_NOT_VERIFIED.
            AlreadyExists: there is one of this id (EXEMPLAR_EXISTS).
        """
        _check(exemplar)
        key = key_texts(exemplar.instruction, exemplar.steps[0].screen)
        vector = stored_vector(await self._embed(key))
        written = replace(
            exemplar,
            written_at=self._clock.now().timestamp(),
            abstraction_version=ABSTRACTION_VERSION,
        )
        entry = Entry(written.exemplar_id, written.lesson, written.written_at, EMBEDDER, vector)
        async with self._writing:
            evicted = self._evicted(entry)
            await self._store.create(written, key, entry, evicted)
            for exemplar_id in evicted:
                self._index.remove(exemplar_id)
            self._index.put(entry)
        return written.exemplar_id

    async def search(
        self,
        instruction: str,
        screen: Screen | None,
        *,
        limit: int = 0,
        lesson: str = "",
        by_lesson: bool = False,
    ) -> Sequence[Match]:
        """Return exemplars, nearest first.

        Args:
            instruction: What is to be done.
            screen: What is seen at the start; None: the instruction alone counts.
            limit: 1 to 50; 0 means 3, or with `by_lesson` the whole lesson.
            lesson: Only exemplars of this lesson.
            by_lesson: Answer the lesson that most of the nearest three belong to.

        Raises:
            InvalidRequest: `limit` is out of range (LIMIT_OUT_OF_RANGE), or the instruction is too
                long (INSTRUCTION_TOO_LONG).
        """
        count = _within("limit", limit, SEARCH_MAX, SEARCH_MAX if by_lesson else SEARCH_DEFAULT)
        _check_instruction(instruction)
        if not len(self._index):
            return ()
        if self._stale:
            await self._renew()
        rows = await self._embed(key_texts(instruction, screen))
        query = query_vector(rows, screen=screen is not None)
        if by_lesson and not lesson:
            votes = self._index.nearest(query, _VOTES)
            lesson = majority(entry.lesson for entry, _ in votes)
        found = self._index.nearest(query, count, lesson=lesson)
        payloads = await self._store.fetch([entry.exemplar_id for entry, _ in found])
        # One that was forgotten since the look into the index is left out.
        matches = [
            Match(payload, similarity)
            for payload, (_, similarity) in zip(payloads, found, strict=True)
            if payload is not None
        ]
        return matches[: _fitting([match.payload for match in matches])]

    async def get(self, exemplar_id: str) -> bytes:
        """Return one exemplar in wire form.

        Raises:
            NotFound: there is none (EXEMPLAR_NOT_FOUND).
        """
        (payload,) = await self._store.fetch([exemplar_id])
        if payload is None:
            raise NotFound("EXEMPLAR_NOT_FOUND", f"no exemplar has the id {exemplar_id!r}")
        return payload

    async def list(
        self, lesson: str, page_size: int, page_token: str
    ) -> tuple[Sequence[bytes], str]:
        """Return a page by id, without screens, and the token of the next; empty after the last.

        Raises:
            InvalidRequest: `page_size` is out of range (PAGE_SIZE_OUT_OF_RANGE).
        """
        count = _within("page_size", page_size, PAGE_MAX, PAGE_DEFAULT)
        rows = await self._store.list(lesson, page_token, count + 1)
        fitting = _fitting([payload for _, payload in rows[:count]])
        token = rows[fitting - 1][0] if len(rows) > fitting else ""
        return [payload for _, payload in rows[:fitting]], token

    async def forget(self, *, exemplar_id: str = "", lesson: str = "", session_id: str = "") -> int:
        """Delete for good what has the one that is given; return how many exemplars.

        Raises:
            InvalidRequest: none of the three is given (FORGET_WHAT).
        """
        if not (exemplar_id or lesson or session_id):
            raise InvalidRequest(
                "FORGET_WHAT", "expected an exemplar_id, a lesson or a session_id, got none"
            )
        async with self._writing:
            gone = await self._store.forget(
                exemplar_id=exemplar_id, lesson=lesson, session_id=session_id
            )
            for one in gone:
                self._index.remove(one)
        return len(gone)

    def holds(self, exemplar_id: str) -> bool:
        """Whether an exemplar of this id is stored."""
        return exemplar_id in self._index

    async def finish_turn(self, turn: Turn) -> None:
        """Keep a finished turn for the history of its sites."""
        await self._store.add_turn(
            turn, per_site=self._limits.turns_per_site, sites=self._limits.sites_max
        )

    async def history(self, site: str, last: int) -> Sequence[str]:
        """Return the last finished turns on a site as text, newest first; none for `last` 0.

        Raises:
            InvalidRequest: `last` is above 3 (LAST_OUT_OF_RANGE).
        """
        if not 0 <= last <= HISTORY_MAX:
            raise InvalidRequest(
                "LAST_OUT_OF_RANGE", f"expected last from 0 to {HISTORY_MAX}, got {last}"
            )
        if last == 0:
            return ()
        return await self._store.turns(site.strip().lower(), last)

    def _evicted(self, entry: Entry) -> Sequence[str]:
        if entry.exemplar_id in self._index:
            return []  # It will be refused as existing.
        own = self._index.oldest_of(entry.lesson, self._limits.lesson_max - 1)
        if own:
            return own
        return self._index.surplus(self._limits.exemplars_max - 1)

    async def _embed(self, key: KeyTexts) -> Vector:
        return await self._engine.embed(MODEL, [key.instruction, key.screen])

    async def _renew(self) -> None:
        async with self._writing:
            while self._stale:
                await self._renew_one(self._stale[0])
                self._stale.popleft()

    async def _renew_one(self, exemplar_id: str) -> None:
        entry = self._index.entry(exemplar_id)
        (key,) = await self._store.key_texts([exemplar_id])
        if entry is None or key is None:
            return
        vector = stored_vector(await self._embed(key))
        await self._store.set_vector(exemplar_id, EMBEDDER, vector)
        self._index.put(replace(entry, embedder=EMBEDDER, vector=vector))


def _fitting(payloads: Sequence[bytes]) -> int:
    """How many of the first payloads one answer can carry; at least the first."""
    total = 0
    for count, payload in enumerate(payloads):
        total += len(payload)
        if total > ANSWER_BYTES_MAX and count > 0:
            return count
    return len(payloads)


def _within(what: str, value: int, most: int, default: int) -> int:
    if not 0 <= value <= most:
        raise InvalidRequest(
            f"{what.upper()}_OUT_OF_RANGE", f"expected {what} from 0 to {most}, got {value}"
        )
    return value or default


def _check_instruction(instruction: str) -> None:
    if len(instruction) > INSTRUCTION_MAX:
        raise InvalidRequest(
            "INSTRUCTION_TOO_LONG",
            f"expected an instruction of at most {INSTRUCTION_MAX} characters, "
            f"got {len(instruction)}",
        )


def _check(exemplar: Exemplar) -> None:
    for name in ("exemplar_id", "lesson", "instruction"):
        if not getattr(exemplar, name):
            raise InvalidRequest("EXEMPLAR_EMPTY", f"expected an exemplar with {name}, got none")
    if not exemplar.steps:
        raise InvalidRequest("EXEMPLAR_EMPTY", "expected an exemplar with steps, got none")
    if exemplar.verified_by not in VERIFIERS:
        raise InvalidRequest(
            "EXEMPLAR_NOT_VERIFIED",
            f"expected verified_by to be one of {VERIFIERS}, got {exemplar.verified_by!r}",
        )
    elements = sum(len(step.screen.elements) for step in exemplar.steps)
    for what, size, most in (
        ("steps", len(exemplar.steps), STEPS_MAX),
        ("elements on its screens", elements, ELEMENTS_MAX),
        ("characters of instruction", len(exemplar.instruction), INSTRUCTION_MAX),
        (
            "characters of id or lesson",
            max(len(exemplar.exemplar_id), len(exemplar.lesson)),
            NAME_MAX,
        ),
    ):
        if size > most:
            raise InvalidRequest(
                "EXEMPLAR_TOO_LARGE", f"expected at most {most} {what}, got {size}"
            )

"""What memory needs from the outside world."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from libs.clock import Clock
from libs.engine.port import Engine
from services.memory.types import Entry, Exemplar, KeyTexts, Turn, Vector

__all__ = ["Clock", "Engine", "ExemplarStore", "TrajectoryReader"]


class ExemplarStore(Protocol):
    """Exemplars and turns that survive the process; every write is durable once it returns.

    Every method raises DependencyDown (MEMORY_DOWN) where the store does not answer or is full.
    """

    async def entries(self) -> Sequence[Entry]:
        """Everything that search needs, by the time of writing."""
        ...

    async def create(
        self, exemplar: Exemplar, key: KeyTexts, entry: Entry, evict: Sequence[str]
    ) -> None:
        """Store `exemplar`, and delete those of `evict` in the same transaction.

        Raises:
            AlreadyExists: there is one of this id (EXEMPLAR_EXISTS); nothing was deleted.
        """
        ...

    async def fetch(self, exemplar_ids: Sequence[str]) -> Sequence[bytes | None]:
        """The exemplars in wire form, None for one that is not there."""
        ...

    async def list(self, lesson: str, after: str, count: int) -> Sequence[tuple[str, bytes]]:
        """Id and wire form without screens, by id, above `after`; of one lesson or (empty) of all."""
        ...

    async def key_texts(self, exemplar_ids: Sequence[str]) -> Sequence[KeyTexts | None]:
        """The texts that the exemplars are found by."""
        ...

    async def set_vector(self, exemplar_id: str, embedder: str, vector: Vector) -> None:
        """Replace the vector of an exemplar; nothing where it is gone."""
        ...

    async def forget(
        self, *, exemplar_id: str = "", lesson: str = "", session_id: str = ""
    ) -> Sequence[str]:
        """Delete for good what has the one that is given, a session's turns too; return exemplar ids."""
        ...

    async def add_turn(self, turn: Turn, *, per_site: int, sites: int) -> None:
        """Keep a turn: at most the newest `per_site` of a site, and the newest `sites` sites."""
        ...

    async def turns(self, site: str, last: int) -> Sequence[str]:
        """Texts of the newest `last` turns on a site, newest first."""
        ...

    async def aclose(self) -> None:
        """Close."""
        ...


class TrajectoryReader(Protocol):
    """The recorder, as far as memory asks it."""

    async def read(self, session_id: str, *, screens: bool) -> Sequence[Any]:
        """What was begun, planned, done and scored in a sealed trajectory, in the order of the record.

        Args:
            session_id: Whose trajectory.
            screens: Whether outcomes keep their screens.

        Raises:
            NotFound: there is none (TRAJECTORY_NOT_FOUND).
            InvalidRequest: it has too many events (TRAJECTORY_TOO_LARGE).
            DependencyDown: the recorder does not answer.
        """
        ...

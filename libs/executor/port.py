"""What a kind of body adds to the executor kit: its last link."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from tectum.actions.types import Action
from tectum.observations.types import Screen
from tectum.plugins import ActResult, EnvironmentScore, Gate
from tectum.protocol.types import BodyKind


@dataclass(frozen=True, slots=True)
class OpenedHome:
    """A fresh environment at the last link."""

    environment_id: str
    """Unique within this incarnation; the last part of the home's id."""
    screen: Screen | None
    instruction: str = ""


@dataclass(frozen=True, slots=True)
class Performed:
    """One action carried out, and what is seen after it."""

    result: ActResult
    screen: Screen | None
    score: EnvironmentScore | None = None
    """Said once the episode has ended."""
    acting_ms: float = 0.0
    observing_ms: float = 0.0


class LastLink(Protocol):
    """The browser, controller or loudspeaker behind one executor process."""

    @property
    def kind(self) -> BodyKind:
        """Which topic it reads."""
        ...

    @property
    def enforces_valid_until(self) -> bool:
        """Whether it refuses a command whose lease has run out, by itself."""
        ...

    async def open(
        self,
        session_id: str,
        environment: str,
        secrets: Mapping[str, str],
        *,
        allow_literal_secrets: bool,
    ) -> OpenedHome:
        """Make a live environment.

        Raises:
            InvalidRequest, NotFound, Overloaded, DependencyDown: as ExecutorService.OpenHome lists.
        """
        ...

    async def perform(self, environment_id: str, action: Action, gate: Gate) -> Performed:
        """Carry out one action through `gate`; a gate that refuses ends it with status INTERRUPTED.

        Raises:
            NotFound: the environment is gone (ENVIRONMENT_LOST).
        """
        ...

    async def destroy(self, environment_id: str) -> None:
        """Destroy it: nothing handed to it can begin after this returns."""
        ...

    async def destroy_leftovers(self) -> None:
        """Destroy what earlier incarnations of this process left at the last link."""
        ...

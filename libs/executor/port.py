"""What the executor kit needs, what a kind of body adds to it, and what it answers to a session's owner."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from tectum.actions.types import Action
from tectum.observations.types import Screen
from tectum.plugins import ActResult, EnvironmentScore, Gate
from tectum.protocol.types import Body, BodyKind, Epoch


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


@dataclass(frozen=True, slots=True)
class OpenHome:
    """The owner asks for a live environment."""

    session_id: str
    environment: str
    opening_id: str
    """A repeated request with the same id returns the same home."""
    owner_address: str
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    allow_literal_secrets: bool = False
    attempt: int = 1
    outcomes_from: int = 0
    """Below this offset of its partition of tectum.outcomes nothing of the session stands."""


@dataclass(frozen=True, slots=True)
class OpenedBody:
    """A live environment with its place."""

    body: Body
    screen: Screen | None
    instruction: str = ""


@dataclass(frozen=True, slots=True)
class Hold:
    """Stop acting for every epoch below `epoch`."""

    session_id: str
    home: str
    incarnation: int
    epoch: Epoch
    owner_address: str
    kill: bool = False
    """Destroy the last link instead of waiting for it."""


@dataclass(frozen=True, slots=True)
class Held:
    """Nothing handed to the last link for an epoch below `epoch` can still begin."""

    home: str
    incarnation: int
    epoch: Epoch
    killed: bool = False
    """The last link was destroyed."""


@dataclass(frozen=True, slots=True)
class LeaseAsk:
    """An executor asks for a lease; its clock starts when it sends this."""

    session_id: str
    home: str
    incarnation: int
    ask: int
    """Unique within the incarnation."""


@dataclass(frozen=True, slots=True)
class LeaseGrant:
    """The owner's answer to one ask."""

    session_id: str
    home: str
    incarnation: int
    ask: int
    epoch: Epoch
    lease_s: float


class OwnerGateway(Protocol):
    """The executor's way to the owners of sessions."""

    async def ask_lease(self, owner_address: str, ask: LeaseAsk) -> LeaseGrant:
        """Ask the owner at host:port.

        Raises:
            WrongState: NOT_OWNER, SESSION_CLOSED.
            Overloaded: HOLDING, ask again.
            NotFound: BODY_UNKNOWN.
            DependencyDown, DeadlineExceeded: no answer.
        """
        ...

"""What third parties implement: environments and planner strategies, found through Python entry
points.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import ParamSpec, Protocol, TypeVar

from tectum.actions.types import Action
from tectum.geometry import Box
from tectum.observations.types import Screen
from tectum.protocol.messages import OutcomeStatus

P = ParamSpec("P")
R = TypeVar("R")

ENVIRONMENTS = "tectum.environments"
"""Entry-point group; each loads to a callable without arguments that returns an
EnvironmentProvider."""

STRATEGIES = "tectum.strategies"
"""Entry-point group; each loads to a callable without arguments that returns a StrategyPlugin."""


class PluginError(Exception):
    """An expected failure of a plug-in; `reason` is one of those that the protos list."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Gate(Protocol):
    """Stands before the last link: every primitive input (one press, one key, one move) goes
    through it.
    """

    def input(self) -> AbstractAsyncContextManager[None]:
        """Enter before each primitive input and leave after it; keep what is inside below a second.

        Raises:
            PluginError: the lease has ended or the session is held (HELD): begin nothing more.
        """
        ...


class BlobSink(Protocol):
    """Where an environment puts screenshots, and finds files to upload."""

    async def put(self, data: bytes, content_type: str) -> str:
        """Store the bytes and return their SHA-256 in lower-case hexadecimal."""
        ...

    async def get(self, sha256: str) -> bytes:
        """Return the bytes stored under this hash.

        Raises:
            PluginError: nothing was stored under it (FILE_UNKNOWN).
        """
        ...


@dataclass(frozen=True, slots=True)
class ActResult:
    """What came of one action."""

    status: OutcomeStatus = OutcomeStatus.OK
    reason: str = ""
    message: str = ""
    result: str = ""
    ended: bool = False
    """The environment itself ended the episode."""
    touched: tuple[Box, ...] = ()
    settling_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class EnvironmentScore:
    """What the environment's own scorer says; `reward` above 0 is success in MiniWoB."""

    reward: float
    success: bool


@dataclass(frozen=True, slots=True)
class OpenOptions:
    """What the platform gives to a new environment."""

    blobs: BlobSink
    secrets: Mapping[str, str] = field(repr=False)
    """By name; to be read when an action refers to one, never to be kept in what is returned."""
    allow_literal_secrets: bool = False


class Environment(Protocol):
    """One live environment with a screen."""

    @property
    def instruction(self) -> str:
        """What the environment itself asks for; empty for nothing."""
        ...

    async def observe(self) -> Screen:
        """What is on the screen now.

        Raises:
            PluginError: it is gone (ENVIRONMENT_LOST, BROWSER_GONE).
        """
        ...

    async def act(self, action: Action, seen: Screen | None, gate: Gate) -> ActResult:
        """Carry out one action that was planned on `seen`; return when the screen has settled or
        a limit passed.

        Expected failures are in the result (ACTION_UNSUPPORTED, POINT_OUTSIDE_SCREEN,
        ELEMENT_GONE …).

        Raises:
            PluginError: the environment is gone, or HELD by the gate.
        """
        ...

    async def score(self) -> EnvironmentScore | None:
        """What the scorer says now; None where there is none, or nothing to say yet."""
        ...

    async def aclose(self) -> None:
        """Destroy it: nothing handed to it can begin after this returns."""
        ...


class EnvironmentProvider(Protocol):
    """Makes environments of one URI scheme."""

    @property
    def scheme(self) -> str:
        """The scheme, without `://`."""
        ...

    @property
    def summary(self) -> str:
        """One line for a person."""
        ...

    @property
    def examples(self) -> Sequence[str]:
        """Example URIs."""
        ...

    @property
    def actions(self) -> frozenset[type]:
        """The classes of `tectum.actions.types` that its environments carry out."""
        ...

    async def destroy_leftovers(self, owner: str) -> None:
        """Destroy what an earlier process of this owner left, and mark what this one starts.

        Called once, before the first `open`; `owner` is a word that survives the process.
        """
        ...

    async def open(self, uri: str, options: OpenOptions) -> Environment:
        """Make a live environment.

        Raises:
            PluginError: URI_MALFORMED, TASK_UNKNOWN, BROWSER_MISSING, PAGE_UNREACHABLE.
        """
        ...

    async def aclose(self) -> None:
        """Release what its environments share."""
        ...


@dataclass(frozen=True, slots=True)
class PastStep:
    """One step of the turn so far."""

    screen: Screen
    action: Action
    status: OutcomeStatus
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Exemplar:
    """A whole trajectory of a verified success."""

    exemplar_id: str
    lesson: str
    instruction: str
    steps: tuple[tuple[Screen, Action], ...]
    last_screen: Screen | None = None


class ExemplarSearch(Protocol):
    """The planner's view of the memory service."""

    async def search(
        self, instruction: str, screen: Screen, *, limit: int, by_lesson: bool
    ) -> Sequence[tuple[Exemplar, float]]:
        """Nearest exemplars with their cosine similarity; with `by_lesson`, the whole lesson
        that wins.
        """
        ...

    async def history(self, site: str, last: int) -> Sequence[str]:
        """The last finished turns on a site, newest first, as text."""
        ...


class Offloader(Protocol):
    """The platform's bounded threads, for what would hold the event loop up."""

    async def run(self, call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Return what `call` returns; it runs on another thread.

        Raises:
            Exception: what `call` raises, or that too many calls are waiting.
        """
        ...


@dataclass(frozen=True, slots=True)
class StrategyContext:
    """What the platform gives to a strategy, once for each turn."""

    memory: ExemplarSearch
    settings: str
    """A JSON object from the caller; the strategy checks it."""
    offload: Offloader
    secret_names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Choice:
    """The next action and why."""

    action: Action
    reason: str
    exemplar_ids: tuple[str, ...] = ()


class Strategy(Protocol):
    """Decides, for one turn, what to do next; sees instruction and screens only, never the URI."""

    async def decide(self, instruction: str, history: Sequence[PastStep], screen: Screen) -> Choice:
        """Return the next action for what is on the screen now.

        Raises:
            PluginError: the turn ends with the action Fail and this reason, such as MODEL_DOWN.
        """
        ...


class StrategyPlugin(Protocol):
    """A registered kind of strategy."""

    @property
    def name(self) -> str:
        """What callers ask for."""
        ...

    @property
    def summary(self) -> str:
        """One line for a person."""
        ...

    @property
    def settings_schema(self) -> str:
        """JSON schema of its settings."""
        ...

    def create(self, context: StrategyContext) -> Strategy:
        """A strategy for one turn.

        Raises:
            PluginError: STRATEGY_SETTINGS_INVALID.
        """
        ...


SUITES = "tectum.suites"
"""Entry-point group; each loads to a callable without arguments that returns a Suite."""


class Suite(Protocol):
    """Tasks to score agents on."""

    @property
    def name(self) -> str:
        """What `tectum eval` asks for."""
        ...

    @property
    def tasks(self) -> Sequence[str]:
        """The names of its tasks, in order."""
        ...

    def environment(self, task: str, seed: int) -> str:
        """The URI of one episode."""
        ...

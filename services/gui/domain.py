"""Environments with a screen: opening, acting, looking, and screens of one's own without a session."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from libs.errors import DependencyDown, InvalidRequest, NotFound, Overloaded, PlatformError
from services.gui.ports import (
    BlobSink,
    Clock,
    Environment,
    EnvironmentProvider,
    Gate,
    OpenedHome,
    Performed,
)
from tectum.actions.types import Action, Answer, AskUser, Fail
from tectum.observations.types import Screen
from tectum.plugins import ActResult, EnvironmentScore, OpenOptions, PluginError
from tectum.protocol.messages import OutcomeStatus
from tectum.protocol.types import BodyKind

_URI_MAX = 4096

_ERRORS: dict[str, type[PlatformError]] = {
    "URI_MALFORMED": InvalidRequest,
    "ENVIRONMENT_UNKNOWN": NotFound,
    "TASK_UNKNOWN": NotFound,
    "ENVIRONMENT_LOST": NotFound,
    "BROWSER_GONE": NotFound,
}
"""The platform's error for a plug-in's reason; any other reason means that a part is down."""


def platform_error(error: PluginError) -> PlatformError:
    """What a plug-in's failure is to a caller."""
    return _ERRORS.get(error.reason, DependencyDown)(error.reason, str(error))


@dataclass(slots=True)
class _Live:
    environment: Environment
    seen: Screen | None = None
    used_at: float = 0.0
    acting: asyncio.Lock = field(default_factory=asyncio.Lock)


class _CountingGate:
    """Passes on to a gate and counts what it let through."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self.begun = 0

    @asynccontextmanager
    async def input(self) -> AsyncIterator[None]:
        async with self._gate.input():
            self.begun += 1
            yield


class _OpenGate:
    """Lets everything through: who holds a screen of their own holds no lease."""

    @asynccontextmanager
    async def input(self) -> AsyncIterator[None]:
        yield


class Environments:
    """The live environments of one executor process: the kit's last link.

    Environments of all providers count together; which provider an URI means is its scheme's matter alone.
    """

    kind = BodyKind.GUI
    enforces_valid_until = False

    def __init__(
        self,
        providers: Mapping[str, EnvironmentProvider],
        *,
        blobs: BlobSink,
        clock: Clock,
        new_id: Callable[[], str],
        owner: str,
        environments_max: int,
    ) -> None:
        self._providers = dict(sorted(providers.items()))
        self._blobs = blobs
        self._clock = clock
        self._new_id = new_id
        self._owner = owner
        self._max = environments_max
        self._live: dict[str, _Live] = {}
        self._opening = 0

    def providers(self) -> tuple[EnvironmentProvider, ...]:
        """Every provider, by scheme."""
        return tuple(self._providers.values())

    async def open(
        self,
        session_id: str,
        environment: str,
        secrets: Mapping[str, str],
        *,
        allow_literal_secrets: bool,
    ) -> OpenedHome:
        """Make a live environment and look at it.

        Raises:
            InvalidRequest: URI_MALFORMED.
            NotFound: ENVIRONMENT_UNKNOWN, TASK_UNKNOWN.
            Overloaded: TOO_MANY_ENVIRONMENTS.
            DependencyDown: BROWSER_MISSING, PAGE_UNREACHABLE.
        """
        provider = self._provider(environment)
        if len(self._live) + self._opening >= self._max:
            raise Overloaded(
                "TOO_MANY_ENVIRONMENTS", f"expected fewer than {self._max} environments here"
            )
        options = OpenOptions(self._blobs, dict(secrets), allow_literal_secrets)
        self._opening += 1
        try:
            made = await provider.open(environment, options)
            screen = await _first_look(made)
        except PluginError as error:
            raise platform_error(error) from error
        finally:
            self._opening -= 1
        environment_id = self._new_id()
        self._live[environment_id] = _Live(made, screen, self._clock.monotonic())
        return OpenedHome(environment_id, screen, made.instruction)

    def _provider(self, uri: str) -> EnvironmentProvider:
        scheme, found, _ = uri.partition("://")
        if not found or len(uri) > _URI_MAX:
            raise InvalidRequest(
                "URI_MALFORMED",
                f"expected scheme://… of at most {_URI_MAX} characters, got {uri[:80]!r}",
            )
        if scheme not in self._providers:
            raise NotFound(
                "ENVIRONMENT_UNKNOWN", f"expected one of {sorted(self._providers)}, got {scheme!r}"
            )
        return self._providers[scheme]

    async def perform(self, environment_id: str, action: Action, gate: Gate) -> Performed:
        """Carry out one action through `gate`, then look.

        A gate that refuses in the middle ends it with status INTERRUPTED; one that refuses the first input
        lets HELD out, since nothing was touched.

        Raises:
            NotFound: ENVIRONMENT_LOST, BROWSER_GONE.
            PluginError: HELD, before the first input.
        """
        live = self._at(environment_id)
        async with live.acting:
            began = self._clock.monotonic()
            try:
                result = await self._act(live, action, _CountingGate(gate))
                acted = self._clock.monotonic()
                live.seen = await live.environment.observe()
                score = await live.environment.score() if result.ended else None
            except PluginError as error:
                if error.reason == "HELD":
                    raise
                raise platform_error(error) from error
            live.used_at = self._clock.monotonic()
            return Performed(
                result=result,
                screen=live.seen,
                score=score,
                acting_ms=max(0.0, (acted - began) * 1000 - result.settling_ms),
                observing_ms=(live.used_at - acted) * 1000,
            )

    async def _act(self, live: _Live, action: Action, gate: _CountingGate) -> ActResult:
        if action.terminal:
            return ActResult(result=_said(action), ended=True)
        try:
            return await live.environment.act(action, live.seen, gate)
        except PluginError as error:
            if error.reason != "HELD" or not gate.begun:
                raise
            return ActResult(
                OutcomeStatus.INTERRUPTED, "HELD", f"stopped after {gate.begun} inputs"
            )

    async def look(self, environment_id: str) -> Screen:
        """Look without acting.

        Raises:
            NotFound: ENVIRONMENT_LOST, BROWSER_GONE.
        """
        live = self._at(environment_id)
        async with live.acting:
            try:
                live.seen = await live.environment.observe()
            except PluginError as error:
                raise platform_error(error) from error
            live.used_at = self._clock.monotonic()
            return live.seen

    async def score(self, environment_id: str) -> EnvironmentScore | None:
        """What the environment's scorer says now.

        Raises:
            NotFound: ENVIRONMENT_LOST, BROWSER_GONE.
        """
        try:
            return await self._at(environment_id).environment.score()
        except PluginError as error:
            raise platform_error(error) from error

    def idle_since(self, environment_id: str) -> float | None:
        """When it was last used, on the monotonic clock; None while it acts."""
        live = self._at(environment_id)
        return None if live.acting.locked() else live.used_at

    async def destroy(self, environment_id: str) -> None:
        """Destroy it; one that is gone changes nothing.

        Raises:
            DependencyDown: LAST_LINK_STUCK.
        """
        live = self._live.get(environment_id)
        if live is None:
            return
        try:
            await live.environment.aclose()
        except PluginError as error:
            raise platform_error(error) from error
        self._live.pop(environment_id, None)

    async def destroy_leftovers(self) -> None:
        """Destroy what earlier incarnations of this process left.

        Raises:
            DependencyDown: BROWSER_MISSING, where a warm browser is wanted.
        """
        for provider in self._providers.values():
            try:
                await provider.destroy_leftovers(self._owner)
            except PluginError as error:
                raise platform_error(error) from error

    async def aclose(self) -> None:
        """Release what the providers share; destroy every environment first."""
        try:
            for environment_id in tuple(self._live):
                await self.destroy(environment_id)
        finally:
            for provider in self._providers.values():
                await provider.aclose()

    def _at(self, environment_id: str) -> _Live:
        live = self._live.get(environment_id)
        if live is None:
            raise NotFound("ENVIRONMENT_LOST", f"there is no environment {environment_id!r} here")
        return live


async def _first_look(environment: Environment) -> Screen:
    try:
        return await environment.observe()
    except BaseException:
        await environment.aclose()
        raise


def _said(action: Action) -> str:
    match action.kind:
        case Answer(text):
            return text
        case AskUser(question):
            return question
        case Fail(reason):
            return reason
        case _:
            return ""


class OwnScreens:
    """Screens of callers who want no session; one that nobody uses for `idle_s` is closed."""

    def __init__(self, environments: Environments, clock: Clock, *, idle_s: float) -> None:
        self._environments = environments
        self._clock = clock
        self._idle_s = idle_s
        self._tenants: dict[str, str] = {}

    async def open(self, tenant: str, environment: str) -> OpenedHome:
        """Open a screen; errors as `Environments.open`."""
        opened = await self._environments.open("", environment, {}, allow_literal_secrets=False)
        self._tenants[opened.environment_id] = tenant
        return opened

    async def observe(self, tenant: str, screen_id: str) -> Screen:
        """Look.

        Raises:
            NotFound: SCREEN_NOT_FOUND.
        """
        self._check(tenant, screen_id)
        try:
            return await self._environments.look(screen_id)
        except NotFound as error:
            raise await self._gone(screen_id, error) from error

    async def act(self, tenant: str, screen_id: str, action: Action) -> Performed:
        """Act, then look.

        Raises:
            NotFound: SCREEN_NOT_FOUND.
        """
        self._check(tenant, screen_id)
        try:
            return await self._environments.perform(screen_id, action, _OpenGate())
        except NotFound as error:
            raise await self._gone(screen_id, error) from error

    async def close(self, tenant: str, screen_id: str) -> EnvironmentScore | None:
        """Close, and say what the scorer said last.

        Raises:
            NotFound: SCREEN_NOT_FOUND.
        """
        self._check(tenant, screen_id)
        try:
            score = await self._environments.score(screen_id)
        except NotFound as error:
            raise await self._gone(screen_id, error) from error
        await self._drop(screen_id)
        return score

    async def close_idle(self) -> int:
        """Close what nobody used for `idle_s`; say how many."""
        limit = self._clock.monotonic() - self._idle_s
        idle = [
            screen_id
            for screen_id in self._tenants
            if (since := self._environments.idle_since(screen_id)) is not None and since < limit
        ]
        for screen_id in idle:
            await self._drop(screen_id)
        return len(idle)

    def _check(self, tenant: str, screen_id: str) -> None:
        if self._tenants.get(screen_id) != tenant:
            raise NotFound("SCREEN_NOT_FOUND", f"there is no screen {screen_id!r}")

    async def _drop(self, screen_id: str) -> None:
        self._tenants.pop(screen_id, None)
        await self._environments.destroy(screen_id)

    async def _gone(self, screen_id: str, error: NotFound) -> NotFound:
        await self._drop(screen_id)
        return NotFound("SCREEN_NOT_FOUND", f"screen {screen_id!r} is gone: {error}")

"""The live environments of one executor: opened, leased, destroyed; none leaks."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Awaitable, Callable

from libs.clock import Clock
from libs.errors import DependencyDown, NotFound, Overloaded, PlatformError, WrongState
from libs.executor.home import Home
from libs.executor.lease import LeaseKeeper
from libs.executor.limits import ExecutorLimits
from libs.executor.port import LastLink, LeaseAsk, OpenedBody, OpenedHome, OpenHome, OwnerGateway
from libs.executor.rules import ExecutorRules
from tectum.plugins import PluginError
from tectum.protocol.types import Body

_log = logging.getLogger(__name__)


class _Opening:
    """One request for a home; repetitions of it wait for the same answer."""

    def __init__(self) -> None:
        self.done = asyncio.Event()
        self.opened: OpenedBody | None = None
        self.error: Exception | None = None


class Homes:
    """Opens and destroys homes, and asks for their leases."""

    def __init__(
        self,
        *,
        name: str,
        ordinal: int,
        incarnation: int,
        address: str,
        link: LastLink,
        owners: OwnerGateway,
        clock: Clock,
        limits: ExecutorLimits,
        rules: ExecutorRules,
        spawn: Callable[[Awaitable[object]], None],
        opened: Callable[[OpenHome], Awaitable[None]],
        live: Callable[[Home], Awaitable[None]],
    ) -> None:
        """`opened` prepares the journal for a new home's session; `live` is everything that happens at a home."""
        self._name = name
        self._ordinal = ordinal
        self.incarnation = incarnation
        self._address = address
        self._link = link
        self._owners = owners
        self._clock = clock
        self._limits = limits
        self._rules = rules
        self._spawn = spawn
        self._opened = opened
        self._live = live
        self._homes: dict[str, Home] = {}
        self._openings: dict[str, _Opening] = {}
        self._asks = itertools.count(1)

    def find(self, home: str) -> Home | None:
        """The home of this id, if it is here."""
        return self._homes.get(home)

    def at(self, home: str, incarnation: int) -> Home:
        """The home of this id and incarnation.

        Raises:
            NotFound: ENVIRONMENT_LOST, with `executor` and `incarnation` of who answers.
        """
        found = self._homes.get(home)
        if found is None or incarnation != self.incarnation:
            raise NotFound(
                "ENVIRONMENT_LOST",
                f"expected a home of {self._name} at incarnation {self.incarnation}, got {home!r}",
                executor=self._name,
                incarnation=str(self.incarnation),
            )
        return found

    def of(self, session_id: str) -> list[Home]:
        """The homes of a session."""
        return [home for home in self._homes.values() if home.session_id == session_id]

    async def open(self, request: OpenHome) -> OpenedBody:
        """Make a live environment; a repeated opening id gets the same one."""
        opening = self._openings.get(request.opening_id)
        if opening is None:
            if len(self._openings) >= self._limits.homes_max:
                raise Overloaded(
                    "TOO_MANY_ENVIRONMENTS",
                    f"{self._name} holds at most {self._limits.homes_max} environments",
                    retry_after_s=2.0,
                )
            opening = self._openings[request.opening_id] = _Opening()
            try:
                self._spawn(self._open(request, opening))
            except WrongState:
                del self._openings[request.opening_id]
                raise
        await opening.done.wait()
        if opening.error is not None:
            raise opening.error
        if opening.opened is None:
            raise DependencyDown("NOT_RUNNING", f"{self._name} stopped while it opened a home")
        return opening.opened

    async def destroy(self, home: Home) -> None:
        """Nothing handed to the last link can begin after this returns.

        Raises:
            DependencyDown: it did not let itself be destroyed in time (LAST_LINK_STUCK).
        """
        home.keeper.close()
        async with home.destroying:
            if home.destroyed:
                return
            await self._destroy_environment(home.environment_id)
            if home.acting is not None and home.acting is not asyncio.current_task():
                home.acting.cancel()
            home.finish()
            self._homes.pop(home.body.home, None)
            self._openings.pop(home.opening_id, None)

    async def try_destroy(self, home: Home) -> None:
        """Destroy it, or say in the log that it could not be done."""
        try:
            await self.destroy(home)
        except DependencyDown as error:
            _log.warning(
                "could not destroy an environment", extra={"home": home.body.home}, exc_info=error
            )
            await asyncio.sleep(self._limits.ask_retry_max_s)

    async def abandon(self) -> None:
        """Leave nothing alive at the last link."""
        for opening in self._openings.values():
            opening.done.set()
        async with asyncio.TaskGroup() as tasks:
            for home in list(self._homes.values()):
                tasks.create_task(self.try_destroy(home))

    async def keep_lease(self, home: Home) -> None:
        """Ask for a lease, again and again; destroy a home that no owner wants."""
        limits = self._limits
        failures = 0
        while home.alive:
            home.wake.clear()
            granted_s = await self._ask(home)
            failures = 0 if granted_s is not None else failures + 1
            retry_s = min(limits.ask_retry_min_s * 2 ** min(failures, 16), limits.ask_retry_max_s)
            await self._nap(home, retry_s if granted_s is None else granted_s * limits.renew_part)
            if self._unwanted(home):
                await self.try_destroy(home)

    async def _open(self, request: OpenHome, opening: _Opening) -> None:
        try:
            home = await self._made(request)
        except Exception as error:  # noqa: BLE001 - it is raised again where the owner waits
            opening.error = error
            self._openings.pop(request.opening_id, None)
        else:
            opening.opened = home.opened
            self._homes[home.body.home] = home
            self._spawn(self._live(home))
        finally:
            opening.done.set()

    async def _made(self, request: OpenHome) -> Home:
        try:
            async with asyncio.timeout(self._limits.open_s):
                made = await self._link.open(
                    request.session_id,
                    request.environment,
                    request.secrets,
                    allow_literal_secrets=request.allow_literal_secrets,
                )
        except TimeoutError:
            raise DependencyDown(
                "OPEN_TIMED_OUT",
                f"not open within {self._limits.open_s} s: {request.environment!r}",
            ) from None
        try:
            await self._opened(request)
        except BaseException:
            await self._destroy_environment(made.environment_id)
            raise
        keeper = LeaseKeeper(
            incarnation=self.incarnation,
            clock=self._clock,
            margin=self._limits.lease_margin,
            rules=self._rules,
        )
        answer = OpenedBody(self._body(made), made.screen, made.instruction)
        return Home(request, answer, made.environment_id, keeper, self._clock.monotonic())

    def _body(self, made: OpenedHome) -> Body:
        return Body(
            home=f"{self._name}/{self.incarnation}-{made.environment_id}",
            incarnation=self.incarnation,
            kind=self._link.kind,
            partition=self._ordinal,
            address=self._address,
            enforces_valid_until=self._link.enforces_valid_until,
        )

    async def _destroy_environment(self, environment_id: str) -> None:
        try:
            async with asyncio.timeout(self._limits.destroy_s):
                await self._link.destroy(environment_id)
        except (TimeoutError, PlatformError, PluginError) as error:
            raise DependencyDown(
                "LAST_LINK_STUCK", f"{environment_id} could not be destroyed: {error!r}"
            ) from error

    async def _ask(self, home: Home) -> float | None:
        """The length of the lease granted; None where none was."""
        ask = LeaseAsk(home.session_id, home.body.home, home.body.incarnation, next(self._asks))
        home.keeper.asked(ask.ask)
        try:
            async with asyncio.timeout(self._limits.ask_timeout_s):
                grant = await self._owners.ask_lease(home.owner_address, ask)
        except (PlatformError, TimeoutError) as error:
            if isinstance(error, WrongState) and error.reason == "SESSION_CLOSED":
                await self.try_destroy(home)
            return None
        if not home.keeper.granted(grant):
            return None
        home.claimed = True
        home.contact_at = self._clock.monotonic()
        return grant.lease_s

    async def _nap(self, home: Home, pause_s: float) -> None:
        try:
            async with asyncio.timeout(pause_s):
                await home.wake.wait()
        except TimeoutError:
            return
        # Woken by a hold or an action; a floor under the pace of asking, whatever wakes it.
        await asyncio.sleep(self._limits.ask_retry_min_s)

    def _unwanted(self, home: Home) -> bool:
        limit_s = self._limits.orphan_s if home.claimed else self._limits.unclaimed_s
        return self._clock.monotonic() - home.contact_at > limit_s

"""What runs beside the calls: to its end, whoever waits for it."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from libs.errors import Conflict, DependencyDown, PlatformError
from services.session.domain.owner import Owner

T = TypeVar("T")
_FAULTS_MAX = 16


class Background:
    """The task group of one replica."""

    def __init__(self) -> None:
        self._tasks: asyncio.TaskGroup | None = None
        self._context: contextvars.Context | None = None
        self.faults: list[Exception] = []
        """What nobody expected, newest last; at most 16."""

    @property
    def running(self) -> bool:
        """Whether something can be started."""
        return self._tasks is not None

    async def run(self, work: Awaitable[object]) -> None:
        """Run `work` and whatever is spawned until cancelled."""
        # What is spawned outlives the calls that start it: it must not inherit a caller's deadline.
        self._context = contextvars.copy_context()
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                await work
        finally:
            self._tasks = None

    def spawn(self, work: Callable[..., Awaitable[object]], *args: Any) -> bool:
        """Run beside everything else, in the context of `run`; False, once that ends."""
        if self._tasks is None or self._context is None:
            return False
        task = _begun(work, *args)
        try:
            self._tasks.create_task(task, context=self._context.copy())
        except RuntimeError:  # The group is on its way down: nothing new begins.
            task.close()
            return False
        return True

    async def apart(
        self, owner: Owner, work: Callable[..., Coroutine[None, None, T]], *args: Any
    ) -> T:
        """Run an owner's work to its end, whoever waits for it: half an interrupt helps nobody."""

        async def owned() -> T:
            try:
                with owner.parts.traced(owner.ledger.state.traceparent):
                    return await work(*args)
            except PlatformError as error:
                if isinstance(error, Conflict) or error.reason == "LOG_DOWN":
                    owner.drop(error)
                raise owner.gone or error from None

        return await self.to_end(owned)

    async def to_end(self, work: Callable[..., Coroutine[None, None, T]], *args: Any) -> T:
        """Run to the end in the background: a caller that goes away leaves nothing half done."""
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()

        async def carry() -> None:
            try:
                result = await work(*args)
            except Exception as error:  # noqa: BLE001 - it is raised again where somebody waits
                if not isinstance(error, PlatformError):
                    self.fault(error)
                if not done.done():
                    done.set_exception(error)
            else:
                if not done.done():
                    done.set_result(result)
            finally:
                done.cancel()

        if not self.spawn(carry):
            raise DependencyDown("NOT_RUNNING", "this replica is stopping; try again")
        return await done

    def fault(self, error: Exception) -> None:
        """Remember what nobody expected."""
        self.faults = [*self.faults[1 - _FAULTS_MAX :], error]


async def _begun(work: Callable[..., Awaitable[object]], *args: Any) -> None:
    await work(*args)

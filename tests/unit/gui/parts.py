"""The GUI domain over fake screens: a real provider, no browser."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from services.gui.domain import Environments
from services.gui.environments.fake import FakeProvider
from services.gui.look import KeptBlobs
from tectum.plugins import EnvironmentProvider, PluginError


@dataclass
class SetClock:
    """A clock that the test moves."""

    at: float = 100.0

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.at, UTC)

    def monotonic(self) -> float:
        return self.at


@dataclass
class LimitedGate:
    """Lets `limit` inputs through, then holds."""

    limit: int = 1_000
    passed: int = 0

    @asynccontextmanager
    async def input(self) -> AsyncIterator[None]:
        if self.passed >= self.limit:
            raise PluginError("HELD", "the test holds here")
        self.passed += 1
        yield


@dataclass
class Ids:
    made: list[str] = field(default_factory=list)

    def __call__(self) -> str:
        self.made.append(f"env{len(self.made)}")
        return self.made[-1]


def environments(
    *,
    clock: SetClock | None = None,
    providers: Mapping[str, EnvironmentProvider] | None = None,
    most: int = 3,
) -> Environments:
    return Environments(
        providers or {"fake": FakeProvider()},
        blobs=KeptBlobs(),
        clock=clock or SetClock(),
        new_id=Ids(),
        owner="test",
        environments_max=most,
    )

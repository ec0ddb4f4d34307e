"""Drive one environment without a platform, as a planner would: look, name an element, act."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from services.gui.look import KeptBlobs, as_text
from tectum.actions.types import Action, ActionKind, Point
from tectum.observations.types import Element, Screen
from tectum.plugins import ActResult, Environment, EnvironmentProvider, OpenOptions, PluginError
from tectum.protocol.messages import OutcomeStatus


@dataclass
class CountingGate:
    """Counts inputs, and lets no more than `limit` through."""

    limit: int = 1_000_000
    passed: int = 0

    @asynccontextmanager
    async def input(self) -> AsyncIterator[None]:
        if self.passed >= self.limit:
            raise PluginError("HELD", "the test holds here")
        self.passed += 1
        yield


@dataclass
class Driver:
    environment: Environment
    screen: Screen
    blobs: KeptBlobs
    gate: CountingGate = field(default_factory=CountingGate)

    def all(self, role: str = "", name: str | None = None) -> list[Element]:
        return [
            e
            for e in self.screen.elements
            if (not role or e.role == role) and (name is None or name in (e.name, e.text))
        ]

    def one(self, role: str = "", name: str | None = None) -> Element:
        found = self.all(role, name)
        assert len(found) == 1, f"{len(found)} of {role} {name!r} in\n{as_text(self.screen)}"
        return found[0]

    def at(self, role: str = "", name: str | None = None) -> Point:
        return Point.element(self.one(role, name).id)

    def texts(self) -> list[str]:
        return [e.text or e.name for e in self.screen.elements if e.text or e.name]

    async def look(self) -> Screen:
        self.screen = await self.environment.observe()
        return self.screen

    async def try_(self, kind: ActionKind) -> ActResult:
        result = await self.environment.act(Action(kind), self.screen, self.gate)
        await self.look()
        return result

    async def do(self, kind: ActionKind) -> ActResult:
        result = await self.try_(kind)
        assert result.status is OutcomeStatus.OK, f"{result}\n{as_text(self.screen)}"
        return result


@asynccontextmanager
async def driving(
    provider: EnvironmentProvider, uri: str, *, secrets: dict[str, str] | None = None
) -> AsyncIterator[Driver]:
    blobs = KeptBlobs()
    environment = await provider.open(uri, OpenOptions(blobs, secrets or {}))
    try:
        yield Driver(environment, await environment.observe(), blobs)
    finally:
        await environment.aclose()


class Pages:
    """A web server of a few pages on the loopback interface."""

    def __init__(self) -> None:
        self.pages: dict[str, str] = {}
        self.requests: list[str] = []
        self._server: asyncio.Server | None = None
        self.origin = ""

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self.origin = f"http://127.0.0.1:{port}"

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    def put(self, path: str, body: str) -> str:
        self.pages[path] = f"<!doctype html><meta charset=utf-8><title>{path}</title>{body}"
        return f"browser://{self.origin}{path}"

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            path = head.split(b" ")[1].decode().split("?")[0]
            self.requests.append(path)
            body = self.pages.get(path)
            status = "200 OK" if body is not None else "404 Not Found"
            data = (body or "").encode()
            writer.write(
                f"HTTP/1.1 {status}\r\nContent-Type: text/html; charset=utf-8\r\n"
                f"Content-Length: {len(data)}\r\nConnection: close\r\n\r\n".encode()
                + data
            )
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

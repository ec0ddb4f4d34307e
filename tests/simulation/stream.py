"""A stream between a simulated client and a replica: ordered both ways, and it may break without a word."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from libs.errors import DependencyDown, PlatformError
from services.session.domain.messages import ClientMessage, Heard
from tests.simulation.node import Node
from tests.simulation.world import World

Serve = Callable[
    [AsyncIterator[ClientMessage], Callable[[Heard], Awaitable[None]]], Awaitable[None]
]

_END = object()


class _Inbox:
    def __init__(self, node: Node) -> None:
        self.node = node
        self._items: deque[Any] = deque()
        self._waiter: asyncio.Future[None] | None = None

    def put(self, item: Any) -> None:
        self._items.append(item)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def get(self) -> Any:
        while not self._items:
            self._waiter = self.node.loop.create_future()
            await self._waiter
        return self._items.popleft()


class SimStream:
    """One bidirectional call."""

    def __init__(self, world: World, client: Node, server: Node, serve: Serve) -> None:
        self._world, self._client, self._server = world, client, server
        self._up, self._down = _Inbox(server), _Inbox(client)
        self._up_at = self._down_at = 0.0
        self._task: asyncio.Task[None] | None = None
        self.broken = False
        world.streams.append(self)
        self._travel(up=True, call=lambda: self._begin(serve))

    def touches(self, node: Node) -> bool:
        """Whether one of its ends is this process."""
        return node in (self._client, self._server)

    def _begin(self, serve: Serve) -> None:
        self._task = self._server.spawn(self._run(serve))

    async def _run(self, serve: Serve) -> None:
        error: Exception = DependencyDown("STREAM_ENDED", "the server ended the stream")
        try:
            await serve(self._requests(), self._send)
        except PlatformError as refused:
            error = refused
        except Exception as bug:  # noqa: BLE001
            self._world.loop.errors.append(f"{self._server.name}: converse raised {bug!r}")
        self._world.say("ends", self._server.name, f"stream of {self._client.name}: {error}")
        self._travel(up=False, call=lambda: self._down.put(error))

    async def _requests(self) -> AsyncIterator[ClientMessage]:
        while True:
            item = await self._up.get()
            if item is _END:
                return
            yield item

    async def _send(self, heard: Heard) -> None:
        await asyncio.sleep(0)
        self._travel(up=False, call=lambda: self._down.put(heard))

    def _travel(self, *, up: bool, call: Callable[[], object]) -> None:
        if self.broken or self._world.over:
            return
        world = self._world
        if world.network.is_cut(self._client, self._server):
            self.sever()
            return
        last = self._up_at if up else self._down_at
        moment = max(world.now + world.way(), last)
        if up:
            self._up_at = moment
        else:
            self._down_at = moment
        node = self._server if up else self._client
        world.loop.at(moment, self._arrive, call, node=node)

    def _arrive(self, call: Callable[[], object]) -> None:
        if not self.broken:
            call()

    # the client's side

    async def send(self, message: ClientMessage) -> None:
        """Send one message up.

        Raises:
            DependencyDown: the stream is broken, and this end knows.
        """
        kind = type(message.message).__name__
        self._world.say(
            "upst", self._client.name, f"{kind} {message.client_seq} -> {self._server.name}"
        )
        await asyncio.sleep(0)
        self._travel(up=True, call=lambda: self._up.put(message))

    async def receive(self) -> Heard:
        """The next answer.

        Raises:
            PlatformError: how the stream ended.
        """
        item = await self._down.get()
        if isinstance(item, Exception):
            raise item
        heard: Heard = item
        return heard

    def leave(self) -> None:
        """Say that nothing more will be sent, and go."""
        self._travel(up=True, call=lambda: self._up.put(_END))

    def sever(self) -> None:
        """Break it: nothing more gets through, and each end learns of it in its own time."""
        if self.broken:
            return
        self.broken = True
        world = self._world
        world.say("brek", self._client.name, f"stream to {self._server.name}")
        gone = DependencyDown("UNAVAILABLE", "expected a connection, it broke")
        world.loop.at(world.now + world.way() * 2, self._down.put, gone, node=self._client)
        world.loop.at(world.now + world.way() * 5, self._cancel, node=self._server)

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

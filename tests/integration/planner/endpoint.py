"""An OpenAI-compatible endpoint that says what a test wrote down, over real HTTP on loopback."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Asked:
    """One request as it came over the wire."""

    method: str
    path: str
    headers: dict[str, str]
    body: dict[str, Any]

    @property
    def messages(self) -> list[tuple[str, str]]:
        return [(message["role"], message["content"]) for message in self.body["messages"]]


@dataclass
class Reply:
    """What is answered: a status and bytes; `silent` answers nothing until the client goes."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    silent: bool = False


def says(content: str | None, finish: str = "stop") -> Reply:
    """A chat completion with this content."""
    choice = {
        "index": 0,
        "finish_reason": finish,
        "message": {"role": "assistant", "content": content},
    }
    return Reply(json.dumps({"object": "chat.completion", "choices": [choice]}).encode())


def acts(kind: str, reason: str = "because", **fields: Any) -> Reply:
    """A chat completion with an action."""
    return says(json.dumps({"reason": reason, "action": {"kind": kind, **fields}}))


class Endpoint:
    """Answers with its replies in turn; a request too many is answered with 418."""

    def __init__(self, replies: Sequence[Reply]) -> None:
        self.asked: list[Asked] = []
        self.replies = list(replies)
        self.port = 0

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                await self._answer(line, reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _answer(
        self, line: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        method, path, _ = line.decode().split()
        headers = {}
        while (header := (await reader.readline()).decode().strip()) != "":
            name, _, value = header.partition(":")
            headers[name.lower()] = value.strip()
        body = json.loads(await reader.readexactly(int(headers.get("content-length", "0"))))
        self.asked.append(Asked(method, path, headers, body))
        reply = self.replies.pop(0) if self.replies else Reply(status=418)
        if reply.silent:
            await reader.read()
            return
        head = {"content-type": "application/json", "content-length": str(len(reply.body))}
        lines = [f"{name}: {value}" for name, value in {**head, **reply.headers}.items()]
        said = f"HTTP/1.1 {reply.status} Said\r\n" + "\r\n".join(lines) + "\r\n\r\n"
        writer.write(said.encode() + reply.body)
        await writer.drain()


@asynccontextmanager
async def endpoint(*replies: Reply) -> AsyncIterator[Endpoint]:
    """A listening endpoint."""
    made = Endpoint(replies)
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    async with server:
        yield made

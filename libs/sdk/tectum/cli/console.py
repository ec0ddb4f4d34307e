"""What the commands share: the connection's options, plain errors, and how steps are put into words."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import grpc
from rich.console import Console

from tectum.actions.types import Action, ElementPoint, Point, SecretRef
from tectum.client import DEFAULT_ADDRESS, Platform, TectumError, connect
from tectum.observations.types import Screen

console = Console(highlight=False)
_PATIENCE_S = 10.0


@dataclass(frozen=True, slots=True)
class Connection:
    """Where the platform is and who asks."""

    address: str
    token: str
    root_certificate: Path | None

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Platform]:
        """Connect.

        Raises:
            click.ClickException: nobody answers there.
        """
        root = self.root_certificate.read_bytes() if self.root_certificate else None
        async with connect(self.address, token=self.token, root_certificate=root) as platform:
            try:
                async with asyncio.timeout(_PATIENCE_S):
                    await _ready(platform.channel)
            except (TimeoutError, ConnectionError):
                raise click.ClickException(
                    f"no platform answers at {self.address}: start one with `tectum up`,"
                    " or name another with --address"
                ) from None
            yield platform


async def _ready(channel: grpc.aio.Channel) -> None:
    """Wait for a connection; refused twice in a row means that nobody is there."""
    refused = 0
    state = channel.get_state(try_to_connect=True)
    while state is not grpc.ChannelConnectivity.READY:
        if state is grpc.ChannelConnectivity.TRANSIENT_FAILURE:
            refused += 1
            if refused > 1:
                raise ConnectionError
        await channel.wait_for_state_change(state)
        state = channel.get_state(try_to_connect=True)


def connected(command: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Give a command the connection's options and an event loop, and turn refusals into plain errors."""

    @click.option(
        "--address", default=DEFAULT_ADDRESS, show_default=True, help="host:port of the platform."
    )
    @click.option("--token-file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
    @click.option(
        "--root-certificate", type=click.Path(exists=True, dir_okay=False, path_type=Path)
    )
    @functools.wraps(command)
    def wrapped(
        address: str, token_file: Path | None, root_certificate: Path | None, **options: Any
    ) -> None:
        token = token_file.read_text().strip() if token_file else ""
        connection = Connection(address, token, root_certificate)
        try:
            asyncio.run(command(connection=connection, **options))
        except TectumError as error:
            raise click.ClickException(f"{error.reason}: {error}") from None
        except grpc.aio.AioRpcError as error:
            failure = TectumError.of(error)
            raise click.ClickException(f"{failure.reason}: {failure}") from None

    return wrapped


def in_words(action: Action, screen: Screen | None = None) -> str:
    """One action as a person would say it."""
    kind = action.kind
    parts = []
    for name in kind.__dataclass_fields__:
        value = getattr(kind, name)
        if value in ("", None, (), False) or value == kind.__dataclass_fields__[name].default:
            continue
        parts.append(_value(value, screen))
    return " ".join([action.name.replace("_", " "), *parts])


def _value(value: Any, screen: Screen | None) -> str:
    if isinstance(value, Point):
        return _place(value, screen)
    if isinstance(value, SecretRef):
        return f"the secret {value.name!r}"
    if isinstance(value, tuple):
        return ", ".join(_value(item, screen) for item in value)
    if isinstance(value, float):
        return f"{value:g}"
    return f"“{value}”" if isinstance(value, str) else str(value)


def _place(point: Point, screen: Screen | None) -> str:
    frame = point.frame
    if isinstance(frame, ElementPoint):
        element = screen.find(frame.element_id) if screen else None
        if element is None:
            return f"at element {frame.element_id}"
        return f"on {element.role} “{(element.name or element.text)[:60]}”"
    return f"at ({getattr(frame, 'x', '?')}, {getattr(frame, 'y', '?')})"

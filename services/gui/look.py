"""`python -m services.gui.look URI`: print what an environment shows; for developers."""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import entry_points
from pathlib import Path

from tectum.observations.types import Element, Screen
from tectum.plugins import (
    ENVIRONMENTS,
    Environment,
    EnvironmentProvider,
    OpenOptions,
    PluginError,
)


class OpenGate:
    """Lets every input through: for work without a platform."""

    @asynccontextmanager
    async def input(self) -> AsyncIterator[None]:
        """Let it through."""
        yield


class KeptBlobs:
    """Blobs in memory, by hash."""

    def __init__(self) -> None:
        self.by_hash: dict[str, bytes] = {}

    async def put(self, data: bytes, content_type: str) -> str:
        """Keep and name the bytes."""
        digest = hashlib.sha256(data).hexdigest()
        self.by_hash[digest] = data
        return digest

    async def get(self, sha256: str) -> bytes:
        """The bytes under this hash."""
        if sha256 not in self.by_hash:
            raise PluginError("FILE_UNKNOWN", f"expected a kept file, got {sha256!r}")
        return self.by_hash[sha256]


def load_provider(uri: str) -> EnvironmentProvider:
    """The registered provider of a URI's scheme.

    Raises:
        PluginError: ENVIRONMENT_UNKNOWN.
    """
    scheme = uri.partition("://")[0]
    known = {point.name: point for point in entry_points(group=ENVIRONMENTS)}
    if scheme not in known:
        raise PluginError("ENVIRONMENT_UNKNOWN", f"expected one of {sorted(known)}, got {scheme!r}")
    made: EnvironmentProvider = known[scheme].load()()
    return made


@asynccontextmanager
async def open_environment(
    uri: str, options: OpenOptions | None = None
) -> AsyncIterator[Environment]:
    """Open one environment without a platform; closed on leaving."""
    provider = load_provider(uri)
    try:
        environment = await provider.open(uri, options or OpenOptions(KeptBlobs(), {}))
        try:
            yield environment
        finally:
            await environment.aclose()
    finally:
        await provider.aclose()


def as_text(screen: Screen) -> str:
    """An observation for a person: one element a line, indented by its place in the tree."""
    parents = {element.id: element.parent_id for element in screen.elements}
    head = (
        f"{screen.size.width}x{screen.size.height} url={screen.url!r} title={screen.title!r}"
        f" focused={screen.focused_id or '-'} settled={screen.settled}"
        f" omitted={screen.elements_omitted} dialog={screen.dialog!r}"
    )
    lines = [head]
    for element in screen.elements:
        depth, up = 0, element.parent_id
        while up and depth < 20:
            depth, up = depth + 1, parents.get(up, "")
        lines.append("  " * depth + _line(element))
    return "\n".join(lines)


def _line(element: Element) -> str:
    parts = [element.id, element.role]
    if element.name:
        parts.append(f"name={element.name!r}")
    if element.value:
        parts.append(f"value={element.value!r}")
    if element.text:
        parts.append(f"text={element.text!r}")
    if element.states:
        parts.append(f"[{' '.join(element.states)}]")
    if element.box:
        box = element.box
        parts.append(f"({box.x:.0f},{box.y:.0f} {box.width:.0f}x{box.height:.0f})")
    return " ".join(parts)


async def look(uri: str, screenshot: Path | None) -> str:
    """Open `uri`, return what it shows as text, and save its screenshot."""
    blobs = KeptBlobs()
    async with open_environment(uri, OpenOptions(blobs, {})) as environment:
        screen = await environment.observe()
    if screenshot is not None and screen.screenshot is not None:
        data = blobs.by_hash[screen.screenshot.sha256]
        await asyncio.to_thread(screenshot.write_bytes, data)
    return f"instruction: {environment.instruction!r}\n{as_text(screen)}"


def main() -> int:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m services.gui.look", description=__doc__)
    parser.add_argument("uri")
    parser.add_argument("--screenshot", type=Path, help="write the screenshot here")
    arguments = parser.parse_args()
    try:
        sys.stdout.write(asyncio.run(look(arguments.uri, arguments.screenshot)) + "\n")
    except PluginError as error:
        sys.stderr.write(f"{error.reason}: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The hand of one action: reaches places on the screen and hands each input through the gate."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeVar

from playwright.async_api import Error as PlaywrightError

from services.gui.environments.clipboard import Clipboard
from services.gui.environments.settings import BrowserSettings
from services.gui.environments.tab import BrowserTab
from tectum.actions.frames import FrameError, to_screen
from tectum.actions.types import ElementPoint, Point
from tectum.geometry import Box
from tectum.observations.types import Screen
from tectum.plugins import BlobSink, Gate

T = TypeVar("T")

_HANDED_OVER_S = 0.5
"""After this long a navigation is under way and no longer waits to begin."""


class Refused(Exception):
    """The action cannot be carried out; becomes a failed outcome with this reason."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Place:
    """Where the pointer goes, in CSS pixels; `element_id` where an element was meant."""

    x: float
    y: float
    element_id: str = ""


@dataclass(slots=True)
class Pressed:
    """What is held down across actions, so that a hold in the middle leaves nothing stuck."""

    keys: list[str] = field(default_factory=list)
    buttons: list[Literal["left", "middle", "right"]] = field(default_factory=list)
    interrupted: bool = False
    """An action was held half-way: the next one releases everything first."""


class Surroundings(Protocol):
    """What lies around the page: the other tabs, the clipboard, files."""

    @property
    def clipboard(self) -> Clipboard:
        """This environment's own clipboard."""
        ...

    @property
    def blobs(self) -> BlobSink:
        """Where files come from and pictures go."""
        ...

    async def open_tab(self) -> None:
        """Open an empty tab and put it in front."""
        ...

    async def show_tab(self, index: int) -> None:
        """Put the tab at this position in front.

        Raises:
            Refused: TAB_UNKNOWN.
        """
        ...

    async def close_tab(self, index: int) -> None:
        """Close the tab at this position, unless it is the last.

        Raises:
            Refused: TAB_UNKNOWN, LAST_TAB.
        """
        ...


@dataclass(slots=True)
class Hand:
    """What a performer works with during one action."""

    around: Surroundings
    tab: BrowserTab
    seen: Screen | None
    gate: Gate
    settings: BrowserSettings
    secrets: Mapping[str, str]
    allow_literal_secrets: bool
    pressed: Pressed
    touched: list[Box] = field(default_factory=list)
    quiet_ms: float = 0.0

    async def input(self, call: Coroutine[Any, Any, Any]) -> bool:
        """Hand one primitive input to the page; False where a dialog opened meanwhile.

        The gate is left only once the page has taken it: until then it could still begin.
        """
        try:
            async with self.gate.input(), asyncio.timeout(self.settings.reply_s_max):
                done = await self.tab.unless_dialog(_true(call))
        except BaseException:
            self.pressed.interrupted = True
            call.close()
            raise
        return bool(done)

    async def load(self, call: Coroutine[Any, Any, Any]) -> None:
        """Hand a navigation to the page; loading goes on after the gate was left."""
        loaded = asyncio.Event()
        try:
            async with contextlib.AsyncExitStack() as inside:
                await inside.enter_async_context(self.gate.input())
                async with asyncio.TaskGroup() as group:
                    task = group.create_task(_then(self.tab.unless_dialog(_caught(call)), loaded))
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(_HANDED_OVER_S):
                            await loaded.wait()
                    await inside.aclose()
        except BaseException:
            call.close()
            raise
        error = task.result()
        if error is not None:
            raise error

    async def reach(self, point: Point) -> Place:
        """Return where `point` is now, after scrolling to it and waiting until it can be hit.

        Raises:
            Refused: POINT_OUTSIDE_SCREEN, ELEMENT_GONE, ELEMENT_COVERED, ELEMENT_INVISIBLE …
        """
        if isinstance(point.frame, ElementPoint):
            return await self._reach_element(point.frame)
        return await self._reach_point(point)

    async def _reach_point(self, point: Point) -> Place:
        seen = self.seen
        if seen is None:
            raise Refused("NOTHING_SEEN", "expected an observation before a point, got none")
        try:
            at = to_screen(point, seen)
        except FrameError as error:
            raise Refused(error.reason, str(error)) from None
        self.touched.append(Box(at.x, at.y, 1.0, 1.0))
        return Place(at.x / self.settings.scale, at.y / self.settings.scale)

    async def _reach_element(self, frame: ElementPoint) -> Place:
        offset = None if frame.offset is None else {"x": frame.offset.x, "y": frame.offset.y}
        if frame.offset is not None and not (0 <= frame.offset.x <= 1 and 0 <= frame.offset.y <= 1):
            raise Refused(
                "POINT_OUTSIDE_SCREEN", f"expected fractions from 0 to 1, got {frame.offset!r}"
            )
        wait = self.settings.reach_ms_max
        world = self.tab.world
        found = await world.call("place", frame.element_id, offset, wait)
        if found["state"] == "OFFSCREEN":
            await self.input(world.call("bring", frame.element_id))
            found = await world.call("place", frame.element_id, offset, wait)
        match found["state"]:
            case "HIT":
                x, y, width, height = (value * self.settings.scale for value in found["box"])
                self.touched.append(Box(x, y, width, height))
                return Place(found["x"], found["y"], frame.element_id)
            case "GONE":
                raise Refused("ELEMENT_GONE", f"element {frame.element_id!r} is not in the page")
            case "COVERED":
                raise Refused(
                    "ELEMENT_COVERED",
                    f"element {frame.element_id!r} lies under {found['by']}",
                )
            case _:
                raise Refused(
                    "ELEMENT_INVISIBLE",
                    f"element {frame.element_id!r} cannot be brought onto the screen",
                )

    async def move(self, place: Place) -> None:
        """Move the pointer."""
        await self.input(self.tab.page.mouse.move(place.x, place.y))

    async def pause(self, duration_s: float) -> None:
        """Let time pass; no input."""
        await asyncio.sleep(duration_s)


async def _true(call: Coroutine[Any, Any, Any]) -> bool:
    await call
    return True


async def _caught(call: Coroutine[Any, Any, Any]) -> PlaywrightError | None:
    try:
        await call
    except PlaywrightError as error:
        return error
    return None


async def _then(call: Coroutine[Any, Any, T], done: asyncio.Event) -> T:
    try:
        return await call
    finally:
        done.set()

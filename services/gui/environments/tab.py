"""One tab: its page, its debugging session, its dialogs and its rest."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

from playwright.async_api import CDPSession, Dialog, Page, Request

from services.gui.environments.settings import BrowserSettings
from services.gui.environments.world import PageBusyError, World
from tectum.geometry import Box

T = TypeVar("T")

_ENDLESS = frozenset({"eventsource", "media", "ping", "websocket"})
"""Requests that a settled page may well have under way."""

_LOADING_MAX = 1000
_ZOOM_MAX = 8.0


async def _caught(call: Coroutine[Any, Any, T]) -> tuple[T | None, Exception | None]:
    """Keep an error out of the task group, which would wrap it."""
    try:
        return await call, None
    except Exception as error:  # noqa: BLE001 - raised again by the caller, unwrapped
        return None, error


class BrowserTab:
    """A page with what the platform keeps beside it."""

    def __init__(self, page: Page, cdp: CDPSession, settings: BrowserSettings, style: str) -> None:
        self.page = page
        self.cdp = cdp
        self.world = World(page, cdp, reply_s_max=settings.reply_s_max, style=style)
        self.dialog: Dialog | None = None
        self._settings = settings
        self._asked = asyncio.Event()
        self._loading: set[Request] = set()
        page.on("dialog", self._on_dialog)
        page.on("request", self._on_request)
        page.on("requestfinished", self._on_answer)
        page.on("requestfailed", self._on_answer)
        page.on("crash", lambda _: self._asked.set())

    @classmethod
    async def open(
        cls, page: Page, name: str, settings: BrowserSettings, *, style: str = ""
    ) -> BrowserTab:
        """Prepare `page`; `name` begins the ids of its elements."""
        tab = cls(page, await page.context.new_cdp_session(page), settings, style)
        await tab.world.start(name)
        return tab

    def _on_request(self, request: Request) -> None:
        if request.resource_type not in _ENDLESS and len(self._loading) < _LOADING_MAX:
            self._loading.add(request)

    def _on_answer(self, request: Request) -> None:
        self._loading.discard(request)

    def _on_dialog(self, dialog: Dialog) -> None:
        self.dialog = dialog
        self._asked.set()

    async def unless_dialog(self, call: Coroutine[Any, Any, T]) -> T | None:
        """Return what `call` returns; None where a dialog opens first, since that blocks the page."""
        async with asyncio.TaskGroup() as group:
            task = group.create_task(_caught(call))
            asked = group.create_task(self._asked.wait())
            await asyncio.wait((task, asked), return_when=asyncio.FIRST_COMPLETED)
            asked.cancel()
            task.cancel()
        if task.cancelled():
            return None
        result, error = task.result()
        if error is not None:
            raise error
        return result

    async def answer_dialog(self, *, accept: bool, text: str) -> None:
        """Answer the open dialog."""
        dialog, self.dialog = self.dialog, None
        self._asked.clear()
        if dialog is None:
            return
        if accept:
            await dialog.accept(text)
        else:
            await dialog.dismiss()

    async def settle(self, *, quiet_ms: float, exclude: tuple[str, ...] = ()) -> bool:
        """Wait until nothing moves for `quiet_ms`; False at the limit."""
        limit_ms = self._settings.settle_ms_max
        ends_at = time.monotonic() + limit_ms / 1000
        while True:
            left_ms = (ends_at - time.monotonic()) * 1000
            if left_ms <= 0:
                return False
            try:
                quiet = await self.unless_dialog(
                    self.world.call(
                        "quiet", quiet_ms, left_ms, exclude, timeout_s=left_ms / 1000 + 0.25
                    )
                )
            except PageBusyError:
                return False
            if quiet is None or (quiet and not self._loading):
                return True

    async def screenshot(self) -> tuple[bytes, str]:
        """The viewport as pixels, with its media type."""
        kind = self._settings.screenshot
        options: dict[str, Any] = {"format": kind, "optimizeForSpeed": True}
        if kind == "jpeg":
            options["quality"] = self._settings.jpeg_quality
        return await self._capture(options)

    async def zoom(self, region: Box) -> tuple[bytes, str]:
        """A part of the viewport (screen pixels), as large as the viewport allows, as PNG."""
        scale = self._settings.scale
        metrics = await self.cdp.send("Page.getLayoutMetrics")
        view = metrics["cssVisualViewport"]
        grown = min(
            _ZOOM_MAX,
            view["clientWidth"] * scale / region.width,
            view["clientHeight"] * scale / region.height,
        )
        clip = {
            "x": view["pageX"] + region.x / scale,
            "y": view["pageY"] + region.y / scale,
            "width": region.width / scale,
            "height": region.height / scale,
            "scale": max(1.0, grown),
        }
        return await self._capture({"format": "png", "clip": clip})

    async def _capture(self, options: dict[str, Any]) -> tuple[bytes, str]:
        async with asyncio.timeout(self._settings.reply_s_max):
            shot = await self.cdp.send("Page.captureScreenshot", options)
        return base64.b64decode(shot["data"]), f"image/{options['format']}"

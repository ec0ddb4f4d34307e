"""A clipboard of its own for each environment, though Chromium has one for all its contexts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from playwright.async_api import Browser, Page, Route

_PLACE = "https://clipboard.invalid/"
"""Only a secure origin may use the clipboard; this one never leaves the process."""

_TEXT_MAX = 1_048_576


class SharedClipboard:
    """Chromium's one clipboard; whoever uses it owns it meanwhile."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self._browser: Browser | None = None
        self._page: Page | None = None

    async def read(self, browser: Browser) -> str:
        """What is on it."""
        page = await self._ready(browser)
        text: str = await page.evaluate("() => navigator.clipboard.readText()")
        return text[:_TEXT_MAX]

    async def write(self, browser: Browser, text: str) -> None:
        """Put `text` on it."""
        page = await self._ready(browser)
        await page.evaluate("(text) => navigator.clipboard.writeText(text)", text)

    async def _ready(self, browser: Browser) -> Page:
        if self._page is None or self._browser is not browser or self._page.is_closed():
            context = await browser.new_context(permissions=["clipboard-read", "clipboard-write"])
            page = await context.new_page()
            await page.route("**/*", _empty)
            await page.goto(_PLACE)
            self._browser, self._page = browser, page
        return self._page


async def _empty(route: Route) -> None:
    await route.fulfill(content_type="text/html", body="<title>clipboard</title>")


class Clipboard:
    """The clipboard of one environment."""

    def __init__(self, shared: SharedClipboard, browser: Browser) -> None:
        self._shared = shared
        self._browser = browser
        self.text = ""

    def put(self, text: str) -> None:
        """Put `text` on it; at most a million characters are kept."""
        self.text = text[:_TEXT_MAX]

    @asynccontextmanager
    async def lent(self) -> AsyncIterator[None]:
        """While inside, Chromium's clipboard is this one; nobody else sees what was on it."""
        async with self._shared.lock:
            await self._shared.write(self._browser, self.text)
            try:
                yield
            finally:
                self.text = await self._shared.read(self._browser)
                await self._shared.write(self._browser, "")

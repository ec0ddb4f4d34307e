"""One warm Chromium for every environment of a process."""

from __future__ import annotations

import asyncio
import contextlib
import weakref

from playwright.async_api import Browser, Playwright, async_playwright
from playwright.async_api import Error as PlaywrightError

from libs.offload import Offload
from services.gui.environments.clipboard import SharedClipboard
from services.gui.environments.leftovers import kill_marked
from services.gui.environments.settings import BrowserSettings
from tectum.plugins import PluginError

_ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--mute-audio",
)

_MARK = "--tectum-owner="
"""On Chromium's command line, so that a later process knows it again; a pid could be reused."""


class Chromium:
    """Starts Chromium at first use and again after it died."""

    def __init__(self, settings: BrowserSettings) -> None:
        self._settings = settings
        self._lock = asyncio.Lock()
        self._playwright: Playwright | None = None
        self._browser: Browser | None = None
        self._users = 0
        self._owner = ""
        self.clipboard = SharedClipboard()

    def use(self) -> Chromium:
        """Count a user; the last one's `release` stops Chromium."""
        self._users += 1
        return self

    async def release(self) -> None:
        """Say that one user has finished."""
        self._users -= 1
        if self._users <= 0:
            await self.aclose()

    async def browser(self) -> Browser:
        """Return the live browser.

        Raises:
            PluginError: BROWSER_MISSING, saying how to mend it.
        """
        async with self._lock:
            if self._browser is not None and self._browser.is_connected():
                return self._browser
            await self._stop()
            try:
                self._playwright = await async_playwright().start()
                self._browser = await self._playwright.chromium.launch(
                    executable_path=self._settings.chromium,
                    headless=True,
                    args=self._arguments(),
                    timeout=self._settings.start_s_max * 1000,
                    handle_sigint=False,
                    handle_sigterm=False,
                    handle_sighup=False,
                )
            except PlaywrightError as error:
                await self._stop()
                first = str(error).splitlines()[0]
                raise PluginError(
                    "BROWSER_MISSING",
                    f"expected Chromium at {self._settings.chromium!r}, got: {first};"
                    " install Debian's package `chromium`, or set TECTUM_BROWSER_EXECUTABLE",
                ) from error
            return self._browser

    async def destroy_leftovers(self, owner: str) -> None:
        """Kill every Chromium that an earlier process of `owner` started, and mark our own."""
        async with self._lock:
            if self._browser is not None:
                return
            self._owner = owner
            offload = Offload("leftovers", threads=1, waiting=0)
            try:
                await offload.run(kill_marked, f"{_MARK}{owner}")
            finally:
                await offload.aclose()

    def _arguments(self) -> list[str]:
        arguments = list(_ARGUMENTS)
        if self._settings.debug_port:
            arguments.append(f"--remote-debugging-port={self._settings.debug_port}")
        if self._owner:
            arguments.append(f"{_MARK}{self._owner}")
        return arguments

    async def _stop(self) -> None:
        browser, playwright = self._browser, self._playwright
        self._browser = self._playwright = None
        with contextlib.suppress(PlaywrightError):
            if browser is not None:
                await browser.close()
        if playwright is not None:
            await playwright.stop()

    async def aclose(self) -> None:
        """Stop Chromium."""
        async with self._lock:
            await self._stop()


_of_loops: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict[BrowserSettings, Chromium]] = (
    weakref.WeakKeyDictionary()
)


def shared(settings: BrowserSettings) -> Chromium:
    """The one Chromium of the running loop for these settings, with its use counted."""
    of_loop = _of_loops.setdefault(asyncio.get_running_loop(), {})
    if settings not in of_loop:
        of_loop[settings] = Chromium(settings)
    return of_loop[settings].use()

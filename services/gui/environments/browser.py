"""`browser://URL`: any page, in an isolated context of a real Chromium."""

from __future__ import annotations

from collections.abc import Sequence

from playwright.async_api import Error as PlaywrightError

from services.gui.environments.environment import PERFORMERS, BrowserEnvironment
from services.gui.environments.hand import Refused
from services.gui.environments.navigation import check_url
from services.gui.environments.provider import ChromiumProvider
from services.gui.environments.settings import BrowserSettings
from tectum.geometry import Size
from tectum.plugins import OpenOptions, PluginError

_PREFIX = "browser://"


class BrowserProvider(ChromiumProvider):
    """Opens `browser://`, `browser://example.org/page` and `browser://http://127.0.0.1:8000/`."""

    scheme = "browser"
    summary = (
        "Any web page in Chromium; the URL follows browser://, https where it names no scheme."
    )
    examples: Sequence[str] = (
        "browser://",
        "browser://example.org",
        "browser://http://127.0.0.1:8000/",
    )
    actions = frozenset(PERFORMERS)

    async def open(self, uri: str, options: OpenOptions) -> BrowserEnvironment:
        """Open the start page.

        Raises:
            PluginError: URI_MALFORMED, BROWSER_MISSING, PAGE_UNREACHABLE.
        """
        url = self._start_url(uri)
        browser = await self.chromium.browser()
        size = Size(self.settings.width, self.settings.height)
        context = await browser.new_context(
            viewport={"width": size.width, "height": size.height},
            device_scale_factor=self.settings.scale,
            accept_downloads=False,
        )
        environment = BrowserEnvironment(
            context, self.settings, options, self.chromium.clipboard, size=size
        )
        try:
            tab = await environment.adopt(await context.new_page())
            await tab.unless_dialog(
                tab.page.goto(
                    url,
                    wait_until="domcontentloaded",
                    timeout=self.settings.navigate_s_max * 1000,
                )
            )
            await tab.settle(quiet_ms=self.settings.quiet_ms)
        except PlaywrightError as error:
            await environment.aclose()
            raise PluginError(
                "PAGE_UNREACHABLE",
                f"expected a page at {url!r}, got: {str(error).splitlines()[0]}",
            ) from error
        except BaseException:
            await environment.aclose()
            raise
        return environment

    def _start_url(self, uri: str) -> str:
        if not uri.startswith(_PREFIX):
            raise PluginError("URI_MALFORMED", f"expected {_PREFIX}URL, got {uri!r}")
        try:
            return check_url(
                uri[len(_PREFIX) :] or "about:blank", allow_files=self.settings.allow_files
            )
        except Refused as refused:
            raise PluginError("URI_MALFORMED", str(refused)) from None


def provider() -> BrowserProvider:
    """The entry point."""
    return BrowserProvider(BrowserSettings.load())

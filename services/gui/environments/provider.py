"""What the providers behind Chromium share."""

from __future__ import annotations

from services.gui.environments.chromium import Chromium, shared
from services.gui.environments.settings import BrowserSettings


class ChromiumProvider:
    """Holds its share of the process's Chromium, taken at first use."""

    def __init__(self, settings: BrowserSettings) -> None:
        self.settings = settings
        self._chromium: Chromium | None = None

    @property
    def chromium(self) -> Chromium:
        """The process's Chromium; it may not run yet."""
        if self._chromium is None:
            self._chromium = shared(self.settings)
        return self._chromium

    async def destroy_leftovers(self, owner: str) -> None:
        """Kill what an earlier process of `owner` left; start a warm one where that is set."""
        await self.chromium.destroy_leftovers(owner)
        if self.settings.warm:
            await self.chromium.browser()

    async def aclose(self) -> None:
        """Give Chromium back."""
        if self._chromium is not None:
            chromium, self._chromium = self._chromium, None
            await chromium.release()

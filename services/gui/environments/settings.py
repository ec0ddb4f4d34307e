"""Settings of the browser behind `browser://` and `miniwob://`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from libs.settings import Settings

_KNOWN = ("/usr/lib/chromium/chromium-headless-shell", "/usr/bin/chromium")
"""Debian's packages chromium-headless-shell and chromium. The first has no windows: a context of it costs a sixth of
the processor time, since the second opens a whole browser window for each, unseen."""

_INSTALLED = next((path for path in _KNOWN if Path(path).is_file()), _KNOWN[-1])


class BrowserSettings(Settings):
    """Variables `TECTUM_BROWSER_<FIELD>`."""

    model_config = SettingsConfigDict(env_prefix="TECTUM_BROWSER_", frozen=True, extra="forbid")

    executable: str = ""
    """Path of Chromium; empty: Debian's chromium-headless-shell where it is installed, else chromium."""
    width: int = Field(default=1280, ge=100, le=4096)
    """CSS pixels of the viewport of browser://."""
    height: int = Field(default=800, ge=100, le=4096)
    """CSS pixels of the viewport of browser://."""
    scale: float = Field(default=1.0, ge=0.5, le=4.0)
    """Screen pixels per CSS pixel."""
    screenshot: Literal["png", "jpeg", "none"] = "png"
    """How screenshots are taken; none: screens carry none."""
    jpeg_quality: int = Field(default=80, ge=1, le=100)
    """Of jpeg screenshots."""
    elements_max: int = Field(default=300, ge=10, le=5000)
    """Elements of one observation."""
    offscreen_max: int = Field(default=100, ge=0, le=5000)
    """Of these, at most so many that are scrolled out of sight."""
    options_max: int = Field(default=100, ge=1, le=5000)
    """Options listed of one list box."""
    nodes_max: int = Field(default=6000, ge=100, le=1_000_000)
    """Nodes of a page that one observation looks at."""
    quiet_ms: float = Field(default=60.0, ge=1.0, le=5000.0)
    """A page is settled once nothing changed for this long."""
    typed_quiet_ms: float = Field(default=360.0, ge=1.0, le=5000.0)
    """The same after typing into a field that suggests; jQuery UI waits 300 ms before it asks."""
    settle_ms_max: float = Field(default=1000.0, ge=10.0, le=60_000.0)
    """At most this long is waited for quiet."""
    reach_ms_max: float = Field(default=500.0, ge=0.0, le=10_000.0)
    """How long to wait until an element receives the pointer."""
    tabs_max: int = Field(default=20, ge=1, le=200)
    """Tabs of one environment; further popups are closed."""
    popup_s_max: float = Field(default=3.0, ge=0.01, le=60.0)
    """How long a window that a page announced may take to appear."""
    navigate_s_max: float = Field(default=15.0, ge=0.1, le=120.0)
    """How long a page may take to load."""
    start_s_max: float = Field(default=30.0, ge=1.0, le=300.0)
    """How long Chromium may take to start."""
    reply_s_max: float = Field(default=10.0, ge=0.1, le=120.0)
    """How long the page may take to answer one question; a page in an endless loop never does."""
    warm: bool = False
    """Start Chromium with the service, not with the first environment."""
    debug_port: int = Field(default=0, ge=0, le=65535)
    """Loopback port where witnesses outside the platform may look into pages; 0: closed."""
    allow_files: bool = False
    """Whether browser:// may open file: URLs of this machine."""

    @property
    def chromium(self) -> str:
        """The path that counts."""
        return self.executable or _INSTALLED

"""Chromium that is missing, dies, hangs, or is left behind by a process that was killed."""

from __future__ import annotations

import asyncio
import signal
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest

from services.gui.environments.browser import BrowserProvider
from services.gui.environments.leftovers import kill_marked
from services.gui.environments.settings import BrowserSettings
from services.gui.look import KeptBlobs, OpenGate
from tectum.actions.types import Action, Click, Point
from tectum.plugins import OpenOptions, PluginError

pytestmark = pytest.mark.timeout(60)
# 60 s: Chromium is started up to three times, on a machine that may be busy.

BUTTON = "browser://data:text/html,<title>-</title><button onclick=\"document.title='hit'\">Press</button>"
LOOP = "browser://data:text/html,<button onclick='for(;;);'>Press</button>"


def browsers(owner: str) -> list[psutil.Process]:
    """Chromium's first process of this owner; its helpers do not carry the mark."""
    mark = f"--tectum-owner={owner}"
    return [p for p in psutil.process_iter(["cmdline"]) if mark in (p.info["cmdline"] or ())]


@asynccontextmanager
async def provided(settings: BrowserSettings, owner: str) -> AsyncIterator[BrowserProvider]:
    provider = BrowserProvider(settings)
    await provider.destroy_leftovers(owner)
    try:
        yield provider
    finally:
        await provider.aclose()


def options() -> OpenOptions:
    return OpenOptions(KeptBlobs(), {})


async def test_a_missing_browser_says_how_to_mend_it(tmp_path: Path) -> None:
    settings = BrowserSettings(executable=str(tmp_path / "chromium"))
    async with provided(settings, uuid.uuid4().hex) as provider:
        with pytest.raises(PluginError) as missing:
            await provider.open(BUTTON, options())
    assert missing.value.reason == "BROWSER_MISSING"
    assert "install Debian's package" in str(missing.value)


async def test_a_browser_that_dies_in_mid_episode_is_gone_and_the_next_one_works() -> None:
    owner = uuid.uuid4().hex
    async with provided(BrowserSettings(), owner) as provider:
        environment = await provider.open(BUTTON, options())
        screen = await environment.observe()
        (process,) = browsers(owner)
        process.kill()
        button = next(e for e in screen.elements if e.role == "button")
        click = Action(Click(Point.element(button.id)))
        with pytest.raises(PluginError) as gone:
            while True:
                await environment.act(click, screen, OpenGate())
        assert gone.value.reason == "BROWSER_GONE"
        with pytest.raises(PluginError) as blind:
            await environment.observe()
        assert blind.value.reason == "BROWSER_GONE"
        await environment.aclose()
        fresh = await provider.open(BUTTON, options())
        screen = await fresh.observe()
        button = next(e for e in screen.elements if e.role == "button")
        await fresh.act(Action(Click(Point.element(button.id))), screen, OpenGate())
        assert (await fresh.observe()).title == "hit"
        await fresh.aclose()


async def test_a_page_in_an_endless_loop_is_lost_and_can_be_destroyed() -> None:
    owner = uuid.uuid4().hex
    async with provided(BrowserSettings(reply_s_max=1.0), owner) as provider:
        environment = await provider.open(LOOP, options())
        screen = await environment.observe()
        button = next(e for e in screen.elements if e.role == "button")
        with pytest.raises(PluginError) as lost:
            await environment.act(Action(Click(Point.element(button.id))), screen, OpenGate())
        assert lost.value.reason == "ENVIRONMENT_LOST"
        await environment.aclose()
        other = await provider.open(BUTTON, options())
        assert (await other.observe()).elements
        await other.aclose()


SCRIPT = """
import asyncio, sys
from services.gui.environments.browser import BrowserProvider
from services.gui.environments.settings import BrowserSettings

async def main():
    provider = BrowserProvider(BrowserSettings(warm=True))
    await provider.destroy_leftovers(sys.argv[1])
    print("ready", flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


async def test_what_a_killed_process_leaves_is_destroyed() -> None:
    owner = uuid.uuid4().hex
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SCRIPT, owner, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"ready\n"
    (left,) = browsers(owner)
    # Playwright's driver ends Chromium when its client dies; to leave one behind it must not see that.
    driver = psutil.Process(left.pid).parent()
    assert driver is not None
    driver.send_signal(signal.SIGSTOP)
    process.kill()
    await process.wait()
    try:
        assert left.is_running()
        async with provided(BrowserSettings(), owner) as provider:
            assert not left.is_running() or left.status() == psutil.STATUS_ZOMBIE
            environment = await provider.open(BUTTON, options())
            assert len(browsers(owner)) == 1
            await environment.aclose()
    finally:
        driver.kill()


def test_nothing_else_is_killed() -> None:
    assert kill_marked(f"--tectum-owner={uuid.uuid4().hex}") == 0

"""One Chromium for a module of tests; a fresh context for each."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from services.gui.environments.browser import BrowserProvider
from services.gui.environments.miniwob import MiniwobProvider
from services.gui.environments.settings import BrowserSettings
from tests.integration.gui.drive import Pages


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[BrowserProvider]:
    provider = BrowserProvider(BrowserSettings(width=640, height=480))
    # Before the first test, so that its thread is none that a test leaves running.
    await provider.chromium.browser()
    yield provider
    await provider.aclose()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def miniwob() -> AsyncIterator[MiniwobProvider]:
    provider = MiniwobProvider(BrowserSettings())
    # Before the first test, so that its thread is none that a test leaves running.
    await provider.chromium.browser()
    yield provider
    await provider.aclose()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pages() -> AsyncIterator[Pages]:
    server = Pages()
    await server.start()
    yield server
    await server.stop()

"""A witness outside of the platform sees what really reached the page."""

from __future__ import annotations

import socket

import pytest

from services.gui.environments.browser import BrowserProvider
from services.gui.environments.settings import BrowserSettings
from services.gui.witness import input_counts
from tectum.actions.types import Click, TypeText
from tectum.plugins import PluginError
from tests.integration.gui.drive import driving

pytestmark = pytest.mark.timeout(60)
# 60 s: Chromium is started, on a machine that may be busy.

PAGE = """browser://data:text/html,<input aria-label=Field><script>
  // What a page does by itself is no input.
  document.querySelector('input').dispatchEvent(new KeyboardEvent('keydown', {key: 'x'}));</script>"""


async def test_a_second_connection_counts_trusted_input() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    provider = BrowserProvider(BrowserSettings(debug_port=port))
    try:
        async with driving(provider, PAGE) as d:
            await d.do(Click(d.at("textbox")))
            (before,) = (await input_counts(port)).values()
            assert (before["pointerdown"], before["keydown"]) == (1, 0)
            d.gate.limit = d.gate.passed + 3
            with pytest.raises(PluginError):
                await d.do(TypeText("abcdef"))
            (after,) = (await input_counts(port)).values()
            assert after["keydown"] == after["input"] == 3
    finally:
        await provider.aclose()

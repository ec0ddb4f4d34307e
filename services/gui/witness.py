"""Count, from outside of the platform, the input that reached the pages of a Chromium with a debugging port."""

from __future__ import annotations

import asyncio
from typing import Any

from playwright.async_api import CDPSession, async_playwright

_WORLD = "tectum-witness"
_ANNOUNCED_S_MAX = 2.0


async def input_counts(debug_port: int) -> dict[str, dict[str, int]]:
    """Return, by URL, how many trusted events of each kind reached the page's document.

    Chromium must have been started with TECTUM_BROWSER_DEBUG_PORT set to `debug_port`. The counters live in a world
    of their own that neither the page nor the platform's other scripts see.

    Raises:
        playwright.async_api.Error: nobody answers at the port.
    """
    found: dict[str, dict[str, int]] = {}
    async with async_playwright() as playwright:
        browser = await playwright.chromium.connect_over_cdp(f"http://127.0.0.1:{debug_port}")
        try:
            for context in browser.contexts:
                for page in context.pages:
                    counts = await _counts(await context.new_cdp_session(page))
                    if counts is not None:
                        found[page.url] = counts
        finally:
            await browser.close()
    return found


async def _counts(cdp: CDPSession) -> dict[str, int] | None:
    worlds: list[int] = []
    announced = asyncio.Event()

    def on_context(event: dict[str, Any]) -> None:
        if event["context"]["name"] == _WORLD:
            worlds.append(event["context"]["id"])
            announced.set()

    cdp.on("Runtime.executionContextCreated", on_context)
    await cdp.send("Runtime.enable")
    try:
        async with asyncio.timeout(_ANNOUNCED_S_MAX):
            await announced.wait()
    except TimeoutError:
        return None
    reply = await cdp.send(
        "Runtime.evaluate",
        {
            "expression": "({...tectumWitness.counts})",
            "contextId": worlds[-1],
            "returnByValue": True,
        },
    )
    counts: dict[str, int] = reply["result"]["value"]
    return counts

"""The platform's own world in a page: scripts that the page can neither see nor change."""

from __future__ import annotations

import asyncio
import json
from importlib.resources import files
from typing import Any

from playwright.async_api import CDPSession, Page
from playwright.async_api import Error as PlaywrightError

_NAME = "tectum"
WITNESS = "tectum-witness"
"""Name of the world that counts input; read it over the debugging port."""

_PARTS = ("page_names.js", "page_nodes.js", "page_snapshot.js", "page_targets.js")


def _script(name: str) -> str:
    return (files(__package__) / name).read_text(encoding="utf-8")


_WITNESS_SCRIPT = _script("page_witness.js")
_SCRIPTS = "\n".join(_script(name) for name in _PARTS)
_STYLE = """(() => {
  const sheet = new CSSStyleSheet();
  sheet.replaceSync('* { caret-color: transparent !important; }' + %s);
  document.adoptedStyleSheets = [...document.adoptedStyleSheets, sheet];
})();"""


class PageBusyError(Exception):
    """The page did not answer in time."""


class World:
    """Calls the platform's scripts in the main frame of one page; they survive no navigation."""

    def __init__(self, page: Page, cdp: CDPSession, *, reply_s_max: float, style: str = "") -> None:
        self._page = page
        self._cdp = cdp
        self._reply_s_max = reply_s_max
        self._style = _STYLE % json.dumps(style)
        self._context: int | None = None
        self._documents = 0
        self._tab = ""

    async def start(self, tab: str) -> None:
        """Begin to count input in every document of this page; `tab` begins its elements' ids."""
        self._tab = tab
        await self._cdp.send("Page.enable")
        await self._cdp.send(
            "Page.addScriptToEvaluateOnNewDocument",
            {
                "source": _WITNESS_SCRIPT,
                "worldName": WITNESS,
                "runImmediately": True,
            },
        )

    async def call(self, name: str, *arguments: object, timeout_s: float | None = None) -> Any:
        """Return what `tectum.<name>(...arguments)` comes to, or its promise.

        Raises:
            PageBusyError: no answer within `timeout_s` seconds.
            PlaywrightError: the page is gone, or navigated away twice meanwhile.
        """
        packed = ",".join(json.dumps(argument) for argument in arguments)
        expression = f"tectum.{name}({packed})"
        try:
            async with asyncio.timeout(timeout_s or self._reply_s_max):
                try:
                    return await self._evaluate(expression)
                except PlaywrightError as error:
                    if self._page.is_closed() or not _lost(error):
                        raise
                    # The document changed under the call; what we ask has no effect, so ask again.
                    self._context = None
                    return await self._evaluate(expression)
        except TimeoutError:
            raise PageBusyError(f"the page did not answer {name!r} in time") from None

    async def handle(self, name: str, *arguments: object) -> str | None:
        """Return the remote object id of what the call comes to; None for null."""
        packed = ",".join(json.dumps(argument) for argument in arguments)
        async with asyncio.timeout(self._reply_s_max):
            context = await self._ready()
            reply = await self._cdp.send(
                "Runtime.evaluate",
                {"expression": f"tectum.{name}({packed})", "contextId": context},
            )
        found: str | None = reply["result"].get("objectId")
        return found

    async def _evaluate(self, expression: str) -> Any:
        context = await self._ready()
        return await self._run(expression, context)

    async def _run(self, expression: str, context: int) -> Any:
        reply = await self._cdp.send(
            "Runtime.evaluate",
            {
                "expression": expression,
                "contextId": context,
                "returnByValue": True,
                "awaitPromise": True,
            },
        )
        if "exceptionDetails" in reply:
            detail = reply["exceptionDetails"]
            text = detail.get("exception", {}).get("description") or detail.get("text", "")
            raise PlaywrightError(f"{expression.split('(')[0]}: {text}")
        return reply["result"].get("value")

    async def _ready(self) -> int:
        if self._context is not None:
            return self._context
        tree = await self._cdp.send("Page.getFrameTree")
        made = await self._cdp.send(
            "Page.createIsolatedWorld",
            {"frameId": tree["frameTree"]["frame"]["id"], "worldName": _NAME},
        )
        context: int = made["executionContextId"]
        self._documents += 1
        prefix = json.dumps(f"{self._tab}-{self._documents}")
        begin = f"globalThis.tectum = {{prefix: {prefix}}};\n{_SCRIPTS}\n{self._style}\ntrue"
        # A world of this name may be left in this document: its element ids must live on.
        await self._run(f"globalThis.tectum ? true : (() => {{ {begin} }})()", context)
        self._context = context
        return context


def _lost(error: PlaywrightError) -> bool:
    text = str(error)
    return any(
        word in text
        for word in (
            "Cannot find context",
            "context was destroyed",
            "Promise was collected",
            "Inspected target navigated",
            "uniqueContextId not found",
        )
    )

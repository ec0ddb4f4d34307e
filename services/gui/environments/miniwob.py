"""`miniwob://TASK?seed=N`: the pages of MiniWoB++, with their own time limit and scorer."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from playwright.async_api import BrowserContext
from playwright.async_api import Error as PlaywrightError

from libs.offload import Offload
from services.gui.environments.clipboard import SharedClipboard
from services.gui.environments.environment import PERFORMERS, BrowserEnvironment
from services.gui.environments.provider import ChromiumProvider
from services.gui.environments.settings import BrowserSettings
from services.gui.environments.tab import BrowserTab
from tectum.actions.types import (
    Action,
    GoTo,
    Navigate,
    OperateTab,
    UploadFiles,
)
from tectum.geometry import Size
from tectum.observations.types import Screen
from tectum.plugins import ActResult, EnvironmentScore, Gate, OpenOptions, PluginError
from tectum.protocol.messages import OutcomeStatus

_SIZE = Size(160, 210)
"""CSS pixels of a MiniWoB page; what lies beside it (the reward, the clock) is no part of the task."""

_FURNITURE = ("#query", "#reward-display", "#click-canvas", "#sync-task-cover")
"""The instruction, which is told apart, and what MiniWoB itself draws for its authors."""

_STYLE = (
    "#reward-display, #click-canvas { display: none !important; }"
    # It covers the page once the episode is over, and a click on it would begin another.
    " #sync-task-cover { visibility: hidden !important; pointer-events: none !important; }"
)

_ADDRESS = "miniwob://"

_READY_MS_MAX = 3000.0

_ACTIONS = {
    kind: performer
    for kind, performer in PERFORMERS.items()
    if kind not in (GoTo, Navigate, OperateTab, UploadFiles)
}


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The pages that the package `miniwob` ships."""

    folder_uri: str
    tasks: tuple[str, ...]
    """Names, sorted."""


def read_catalogue() -> Catalogue:
    """Look into the package; blocks.

    Raises:
        PluginError: the package is not installed (TASK_UNKNOWN).
    """
    spec = find_spec("miniwob")
    if spec is None or spec.origin is None:
        raise PluginError("TASK_UNKNOWN", "expected the package `miniwob`, found none")
    folder = Path(spec.origin).parent / "html" / "miniwob"
    return Catalogue(folder.as_uri(), tuple(sorted(page.stem for page in folder.glob("*.html"))))


class MiniwobEnvironment(BrowserEnvironment):
    """One episode of one task."""

    def __init__(
        self,
        context: BrowserContext,
        settings: BrowserSettings,
        options: OpenOptions,
        clipboard: SharedClipboard,
    ) -> None:
        # Its passwords are made up and stand in the instruction: nobody's secret.
        options = replace(options, allow_literal_secrets=True)
        super().__init__(
            context, settings, options, clipboard,
            size=_SIZE, performers=_ACTIONS, exclude=_FURNITURE, style=_STYLE,
        )  # fmt: skip
        self._instruction = ""

    @property
    def instruction(self) -> str:
        """What the page asks for, as a person reads it."""
        return self._instruction

    async def begin(self, page_url: str, seed: int | str, mode: str) -> None:
        """Load the page and start the episode; its clock runs from here."""
        tab = await self.adopt(await self._context.new_page())
        await tab.page.goto(page_url, wait_until="load")
        await tab.page.evaluate(
            "([seed, mode]) => { Math.seedrandom(seed); core.setDataMode(mode);"
            " core.startEpisodeReal(); }",
            [seed, mode],
        )
        await tab.page.wait_for_function("WOB_TASK_READY", timeout=_READY_MS_MAX)
        self._instruction = await tab.world.call("read", "#query")
        await tab.settle(quiet_ms=self._settings.quiet_ms, exclude=_FURNITURE)

    def _present(self, found: dict[str, Any]) -> dict[str, Any]:
        # The page's own address and title would tell the task's name; the scheme alone is its origin.
        return {**found, "url": _ADDRESS, "title": ""}

    def _address(self, tab: BrowserTab) -> str:
        return _ADDRESS

    async def act(self, action: Action, seen: Screen | None, gate: Gate) -> ActResult:
        """Carry out one action; an episode that is over takes none."""
        before = await self._state()
        if before["done"]:
            return ActResult(
                OutcomeStatus.FAILED, "EPISODE_OVER", "the page has ended the episode", ended=True
            )
        result = await super().act(action, seen, gate)
        after = await self._state()
        if not after["done"]:
            return result
        return ActResult(
            result.status, result.reason, result.message, result.result,
            ended=True, touched=result.touched, settling_ms=result.settling_ms,
        )  # fmt: skip

    async def score(self) -> EnvironmentScore | None:
        """The page's raw reward; 0 as long as its episode is not over."""
        state = await self._state()
        return EnvironmentScore(float(state["raw"]), success=state["raw"] > 0)

    async def _state(self) -> dict[str, Any]:
        """The scorer's view: nothing but `score` and the end of the episode comes from it."""
        if self.tab.dialog is not None:
            return {"done": False, "raw": 0}
        try:
            state: dict[str, Any] = await self.tab.page.evaluate(
                "() => ({done: WOB_DONE_GLOBAL, raw: WOB_RAW_REWARD_GLOBAL})"
            )
        except PlaywrightError as error:
            raise self._lost(error) from error
        return state


class MiniwobProvider(ChromiumProvider):
    """Opens `miniwob://TASK?seed=N`."""

    scheme = "miniwob"
    summary = "The tasks of MiniWoB++, seeded, with their original time limit and scorer."
    examples: Sequence[str] = ("miniwob://click-test?seed=0", "miniwob://use-autocomplete?seed=7")
    actions = frozenset(_ACTIONS)

    def __init__(self, settings: BrowserSettings) -> None:
        super().__init__(settings)
        self._catalogue: Catalogue | None = None

    async def _read(self) -> Catalogue:
        if self._catalogue is None:
            offload = Offload("miniwob", threads=1, waiting=0)
            try:
                self._catalogue = await offload.run(read_catalogue)
            finally:
                await offload.aclose()
        return self._catalogue

    async def open(self, uri: str, options: OpenOptions) -> MiniwobEnvironment:
        """Load a task's page and start its episode.

        Raises:
            PluginError: URI_MALFORMED, TASK_UNKNOWN, BROWSER_MISSING, PAGE_UNREACHABLE.
        """
        catalogue = await self._read()
        task, seed, mode = _parse(uri, catalogue.tasks)
        browser = await self.chromium.browser()
        context = await browser.new_context(
            viewport={"width": _SIZE.width, "height": _SIZE.height},
            device_scale_factor=self.settings.scale,
            offline=True,
            accept_downloads=False,
        )
        environment = MiniwobEnvironment(context, self.settings, options, self.chromium.clipboard)
        try:
            await environment.begin(f"{catalogue.folder_uri}/{task}.html", seed, mode)
        except PlaywrightError as error:
            await environment.aclose()
            raise PluginError(
                "PAGE_UNREACHABLE",
                f"the page of task {task!r} did not start: {str(error).splitlines()[0]}",
            ) from error
        except BaseException:
            await environment.aclose()
            raise
        return environment


def _parse(uri: str, tasks: tuple[str, ...]) -> tuple[str, int | str, str]:
    parts = urlsplit(uri)
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    unknown = sorted(set(options) - {"seed", "mode"})
    if parts.scheme != "miniwob" or not parts.netloc or parts.path or unknown:
        raise PluginError(
            "URI_MALFORMED",
            f"expected miniwob://TASK?seed=N with at most seed and mode (train, test), got {uri!r}",
        )
    task = parts.netloc
    if task not in tasks:
        near = difflib.get_close_matches(task, tasks, n=5, cutoff=0.5)
        raise PluginError(
            "TASK_UNKNOWN",
            f"expected one of {len(tasks)} MiniWoB tasks, got {task!r}; near: {', '.join(near) or 'none'}",
        )
    mode = options.get("mode", "train")
    if mode not in ("train", "test"):
        raise PluginError("URI_MALFORMED", f"expected mode train or test, got {mode!r}")
    seed: int | str = options.get("seed", "0")
    with contextlib.suppress(ValueError):
        # MiniWoB's own driver seeds with the number, which is another seed than its text.
        seed = int(seed)
    return task, seed, mode


def provider() -> MiniwobProvider:
    """The entry point."""
    return MiniwobProvider(BrowserSettings.load())

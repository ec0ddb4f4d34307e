"""A browser context as an environment: observe, act, settle."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from playwright.async_api import BrowserContext, Page
from playwright.async_api import Error as PlaywrightError

from services.gui.environments import exchange, fields, keys, navigation, pointer
from services.gui.environments.clipboard import Clipboard, SharedClipboard
from services.gui.environments.hand import Hand, Pressed, Refused
from services.gui.environments.observation import to_screen, without_secrets
from services.gui.environments.settings import BrowserSettings
from services.gui.environments.tab import BrowserTab
from services.gui.environments.world import PageBusyError
from tectum.actions.types import (
    Action,
    AnswerDialog,
    ClearField,
    Click,
    Drag,
    Focus,
    GetClipboard,
    GoTo,
    HoldKey,
    Hover,
    KeyChord,
    KeyDown,
    KeyUp,
    LongPress,
    MouseDown,
    MouseUp,
    Navigate,
    OperateTab,
    Screenshot,
    Scroll,
    SelectOption,
    SelectText,
    SetClipboard,
    Swipe,
    TypeText,
    UploadFiles,
    Wait,
    WaitUntilStable,
    Zoom,
)
from tectum.geometry import Size
from tectum.observations.types import Screen, Tab
from tectum.plugins import ActResult, BlobSink, EnvironmentScore, Gate, OpenOptions, PluginError
from tectum.protocol.messages import OutcomeStatus
from tectum.protocol.types import BlobRef

Performer = Callable[[Hand, Any], Awaitable[str]]

PERFORMERS: dict[type, Performer] = {
    Click: pointer.click,
    Hover: pointer.hover,
    MouseDown: pointer.mouse_down,
    MouseUp: pointer.mouse_up,
    Drag: pointer.drag,
    Swipe: pointer.swipe,
    LongPress: pointer.long_press,
    Scroll: pointer.scroll,
    TypeText: fields.type_text,
    ClearField: fields.clear_field,
    Focus: fields.focus,
    SelectOption: fields.select_option,
    SelectText: fields.select_text,
    KeyChord: keys.key_chord,
    HoldKey: keys.hold_key,
    KeyDown: keys.key_down,
    KeyUp: keys.key_up,
    GoTo: navigation.go_to,
    Navigate: navigation.navigate,
    AnswerDialog: navigation.answer_dialog,
    Wait: navigation.wait,
    WaitUntilStable: navigation.nothing,
    Screenshot: navigation.nothing,
    OperateTab: navigation.operate_tab,
    Zoom: navigation.zoom,
    SetClipboard: exchange.set_clipboard,
    GetClipboard: exchange.get_clipboard,
    UploadFiles: exchange.upload_files,
}

LOOKING = (Screenshot, WaitUntilStable, Wait, GetClipboard, Zoom)
"""What touches nothing, and so is allowed beside an open dialog and behind a closed gate."""


class BrowserEnvironment:
    """One isolated browser context; one caller at a time."""

    def __init__(
        self,
        context: BrowserContext,
        settings: BrowserSettings,
        options: OpenOptions,
        clipboard: SharedClipboard,
        *,
        size: Size,
        performers: Mapping[type, Performer] = PERFORMERS,
        exclude: tuple[str, ...] = (),
        style: str = "",
    ) -> None:
        self._context = context
        self._settings = settings
        self._options = options
        self.clipboard = _clipboard(clipboard, context)
        self._size = size
        self._performers = performers
        self._exclude = exclude
        self._style = style
        self._pressed = Pressed()
        self._tabs: list[BrowserTab] = []
        self._active = 0
        self._tabs_made = 0
        self._observed = 0
        self._settled = True
        self._windows_due = 0
        self._window_came = asyncio.Event()
        context.on("page", self._on_page)

    @property
    def instruction(self) -> str:
        """A browser asks for nothing."""
        return ""

    @property
    def tab(self) -> BrowserTab:
        """The tab in front."""
        return self._tabs[self._active]

    @property
    def blobs(self) -> BlobSink:
        """Where files come from and pictures go."""
        return self._options.blobs

    async def open_tab(self) -> None:
        """Open an empty tab and put it in front."""
        if len(self._tabs) >= self._settings.tabs_max:
            raise Refused("TOO_MANY_TABS", f"expected at most {self._settings.tabs_max} tabs")
        await self.adopt(await self._context.new_page())

    async def show_tab(self, index: int) -> None:
        """Put the tab at this position in front."""
        tab = self._tab_at(index)
        await tab.page.bring_to_front()
        self._active = index

    async def close_tab(self, index: int) -> None:
        """Close the tab at this position, unless it is the last."""
        tab = self._tab_at(index)
        if len(self._tabs) == 1:
            raise Refused("LAST_TAB", "expected another tab to stay open, this is the last one")
        await tab.page.close()
        self._tabs.remove(tab)
        self._active = min(self._active - (index < self._active), len(self._tabs) - 1)

    def _tab_at(self, index: int) -> BrowserTab:
        if not 0 <= index < len(self._tabs):
            raise Refused(
                "TAB_UNKNOWN", f"expected a tab from 0 to {len(self._tabs) - 1}, got {index}"
            )
        return self._tabs[index]

    async def adopt(self, page: Page) -> BrowserTab:
        """Take a page of this context as a tab, and put it in front."""
        self._tabs_made += 1
        tab = await BrowserTab.open(page, str(self._tabs_made), self._settings, style=self._style)
        tab.cdp.on("Page.windowOpen", self._on_window_open)
        self._tabs.append(tab)
        self._active = len(self._tabs) - 1
        return tab

    def _on_window_open(self, _: object) -> None:
        self._windows_due += 1
        self._window_came.clear()

    def _on_page(self, _: Page) -> None:
        self._windows_due = max(0, self._windows_due - 1)
        if not self._windows_due:
            self._window_came.set()

    async def _await_windows(self) -> None:
        """A popup is announced some time before it is there."""
        if self._windows_due:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._settings.popup_s_max):
                    await self._window_came.wait()
            self._windows_due = 0

    async def observe(self) -> Screen:
        """What is on the screen now.

        Raises:
            PluginError: ENVIRONMENT_LOST, BROWSER_GONE.
        """
        try:
            await self._meet_pages()
            return await self._observe()
        except (PlaywrightError, TimeoutError, PageBusyError) as error:
            raise self._lost(error) from error

    async def _meet_pages(self) -> None:
        """Drop closed tabs and take new ones: a popup comes to the front, as a person sees it."""
        await self._await_windows()
        front = self._tabs[self._active] if self._tabs else None
        self._tabs = [tab for tab in self._tabs if not tab.page.is_closed()]
        known = {tab.page for tab in self._tabs}
        self._active = (
            self._tabs.index(front) if front in self._tabs else max(0, len(self._tabs) - 1)
        )
        for page in self._context.pages:
            if page not in known and not page.is_closed():
                if len(self._tabs) >= self._settings.tabs_max:
                    await page.close()
                    continue
                with contextlib.suppress(PlaywrightError):
                    tab = await self.adopt(page)
                    self._settled = await tab.settle(quiet_ms=self._settings.quiet_ms)
        if not self._tabs:
            raise self._lost(PageBusyError("its last tab is closed"))

    async def _observe(self) -> Screen:
        self._observed += 1
        tab = self.tab
        if tab.dialog is not None:
            return self._dialog_screen(tab)
        limits = {
            "elements": self._settings.elements_max,
            "offscreen": self._settings.offscreen_max,
            "options": self._settings.options_max,
            "nodes": self._settings.nodes_max,
            "exclude": list(self._exclude),
        }
        found = await tab.unless_dialog(tab.world.call("snapshot", limits))
        if found is None:
            return self._dialog_screen(tab)
        return to_screen(
            self._present(found),
            observation_id=str(self._observed),
            size=self._screen_size(),
            scale=self._settings.scale,
            screenshot=await self._shoot(tab),
            tabs=self._tab_list(self._present(found)["title"]),
            settled=self._settled,
            secrets=self._options.secrets.values(),
        )

    def _present(self, found: dict[str, Any]) -> dict[str, Any]:
        """A chance to leave out what is not on a person's screen."""
        return found

    def _address(self, tab: BrowserTab) -> str:
        """What a tab's address bar says."""
        return without_secrets(tab.page.url, self._options.secrets.values())

    def _tab_list(self, title: str) -> tuple[Tab, ...]:
        return tuple(
            Tab(
                title if index == self._active else "",
                self._address(tab),
                active=index == self._active,
            )
            for index, tab in enumerate(self._tabs)
        )

    def _screen_size(self) -> Size:
        scale = self._settings.scale
        return Size(round(self._size.width * scale), round(self._size.height * scale))

    def _dialog_screen(self, tab: BrowserTab) -> Screen:
        """An open dialog blocks the page: nothing but its text can be had."""
        dialog = tab.dialog
        return Screen(
            observation_id=str(self._observed),
            size=self._screen_size(),
            scale=self._settings.scale,
            url=self._address(tab),
            tabs=self._tab_list(""),
            dialog=""
            if dialog is None
            else self._without_secrets(f"{dialog.type}: {dialog.message}"),
        )

    async def _shoot(self, tab: BrowserTab) -> BlobRef | None:
        if self._settings.screenshot == "none":
            return None
        data, content_type = await tab.screenshot()
        digest = await self._options.blobs.put(data, content_type)
        return BlobRef(digest, len(data), content_type)

    async def act(self, action: Action, seen: Screen | None, gate: Gate) -> ActResult:
        """Carry out one action; see `tectum.plugins.Environment.act`."""
        performer = self._performers.get(type(action.kind))
        if performer is None:
            return _failed(
                "ACTION_UNSUPPORTED", f"this environment cannot carry out {action.name!r}"
            )
        hand = self._hand(seen, gate)
        try:
            await self._meet_pages()
            hand.tab = self.tab
            self._check_dialog(action)
            if not isinstance(action.kind, LOOKING):
                await self._let_go(hand)
            result = self._without_secrets(await performer(hand, action.kind))
            settling_ms = await self._settle(hand)
        except Refused as refused:
            return _failed(refused.reason, self._without_secrets(str(refused)))
        except (PlaywrightError, TimeoutError, PageBusyError) as error:
            raise self._lost(error) from error
        return ActResult(result=result, touched=tuple(hand.touched), settling_ms=settling_ms)

    def _check_dialog(self, action: Action) -> None:
        if self.tab.dialog is not None and not isinstance(action.kind, (AnswerDialog, *LOOKING)):
            raise Refused("DIALOG_OPEN", "expected answer_dialog while a dialog is open")

    def _without_secrets(self, text: str) -> str:
        return without_secrets(text, self._options.secrets.values())

    def _hand(self, seen: Screen | None, gate: Gate) -> Hand:
        return Hand(
            around=self,
            tab=self.tab,
            seen=seen,
            gate=gate,
            settings=self._settings,
            secrets=self._options.secrets,
            allow_literal_secrets=self._options.allow_literal_secrets,
            pressed=self._pressed,
        )

    async def _let_go(self, hand: Hand) -> None:
        """Release what an action that was held half-way left pressed."""
        if not hand.pressed.interrupted:
            return
        for key in reversed(list(hand.pressed.keys)):
            await keys.let_go(hand, key)
        for button in list(hand.pressed.buttons):
            await pointer.release(hand, button)
        hand.pressed.interrupted = False

    async def _settle(self, hand: Hand) -> float:
        began = time.monotonic()
        if self.tab.page.is_closed():
            return 0.0
        self._settled = await self.tab.settle(
            quiet_ms=max(hand.quiet_ms, self._settings.quiet_ms), exclude=self._exclude
        )
        return (time.monotonic() - began) * 1000

    def _lost(self, error: Exception) -> PluginError:
        browser = self._context.browser
        if browser is None or not browser.is_connected():
            return PluginError("BROWSER_GONE", "Chromium died; a fresh environment is needed")
        first = (str(error) or type(error).__name__).splitlines()[0]
        return PluginError(
            "ENVIRONMENT_LOST", self._without_secrets(f"the page does not answer: {first}")
        )

    async def score(self) -> EnvironmentScore | None:
        """A browser keeps no score."""
        return None

    async def aclose(self) -> None:
        """Destroy the context.

        Raises:
            PluginError: Chromium did not say that it is closed (LAST_LINK_STUCK).
        """
        try:
            async with asyncio.timeout(self._settings.reply_s_max):
                await self._context.close()
        except TimeoutError:
            raise PluginError("LAST_LINK_STUCK", "Chromium does not close the context") from None
        except PlaywrightError as error:
            browser = self._context.browser
            if browser is not None and browser.is_connected():
                raise PluginError("LAST_LINK_STUCK", str(error).splitlines()[0]) from error


def _clipboard(shared: SharedClipboard, context: BrowserContext) -> Clipboard:
    browser = context.browser
    if browser is None:
        raise PluginError("BROWSER_GONE", "Chromium died while a context was made")
    return Clipboard(shared, browser)


def _failed(reason: str, message: str) -> ActResult:
    return ActResult(OutcomeStatus.FAILED, reason, message)

"""Actions on pages, tabs, dialogs and time in a browser."""

from __future__ import annotations

from typing import Any

from playwright.async_api import Error as PlaywrightError

from services.gui.environments.hand import Hand, Refused
from tectum.actions.types import (
    AnswerDialog,
    GoTo,
    HistoryDirection,
    Navigate,
    OperateTab,
    TabOperation,
    Wait,
    Zoom,
)

_WAIT_S_MAX = 60.0


def check_url(url: str, *, allow_files: bool) -> str:
    """Return `url` as Chromium takes it; a bare host means https.

    Raises:
        Refused: URL_REFUSED.
    """
    scheme, _, _ = url.partition(":")
    if "://" not in url and scheme not in ("about", "data"):
        return f"https://{url}"
    allowed = {"http", "https", "about", "data"} | ({"file"} if allow_files else set())
    if scheme not in allowed:
        raise Refused(
            "URL_REFUSED", f"expected one of the schemes {sorted(allowed)}, got {scheme!r}"
        )
    return url


async def go_to(hand: Hand, kind: GoTo) -> str:
    """Open a page in this tab."""
    url = check_url(kind.url, allow_files=hand.settings.allow_files)
    await _navigate(hand, hand.tab.page.goto(url, **_patience(hand)), url)
    return ""


async def navigate(hand: Hand, kind: Navigate) -> str:
    """Back, forward or reload."""
    page = hand.tab.page
    patience = _patience(hand)
    match kind.direction:
        case HistoryDirection.BACK:
            moved = page.go_back(**patience)
        case HistoryDirection.FORWARD:
            moved = page.go_forward(**patience)
        case HistoryDirection.RELOAD:
            moved = page.reload(**patience)
    await _navigate(hand, moved, page.url)
    return ""


def _patience(hand: Hand) -> dict[str, Any]:
    return {"wait_until": "domcontentloaded", "timeout": hand.settings.navigate_s_max * 1000}


async def _navigate(hand: Hand, call: Any, url: str) -> None:
    try:
        await hand.load(call)
    except PlaywrightError as error:
        if hand.tab.page.is_closed():
            raise
        raise Refused(
            "PAGE_UNREACHABLE", f"expected a page at {url!r}, got: {str(error).splitlines()[0]}"
        ) from None


async def answer_dialog(hand: Hand, kind: AnswerDialog) -> str:
    """Answer the page's alert, confirm or prompt."""
    if hand.tab.dialog is None:
        raise Refused("NO_DIALOG", "expected an open dialog, found none")
    async with hand.gate.input():
        await hand.tab.answer_dialog(accept=kind.accept, text=kind.text)
    return ""


async def operate_tab(hand: Hand, kind: OperateTab) -> str:
    """Open, show or close a tab."""
    match kind.operation:
        case TabOperation.NEW:
            await hand.input(hand.around.open_tab())
        case TabOperation.FOCUS:
            await hand.input(hand.around.show_tab(kind.index))
        case TabOperation.CLOSE:
            await hand.input(hand.around.close_tab(kind.index))
    return ""


async def zoom(hand: Hand, kind: Zoom) -> str:
    """Take a larger picture of a part of the screen; the result is its SHA-256."""
    region, seen = kind.region, hand.seen
    inside = (
        seen is not None
        and region.width >= 1
        and region.height >= 1
        and 0 <= region.x <= seen.size.width - region.width
        and 0 <= region.y <= seen.size.height - region.height
    )
    if not inside:
        size = None if seen is None else seen.size
        raise Refused(
            "POINT_OUTSIDE_SCREEN", f"expected a region of the screen {size}, got {region}"
        )
    data, content_type = await hand.tab.zoom(region)
    return await hand.around.blobs.put(data, content_type)


async def wait(hand: Hand, kind: Wait) -> str:
    """Let time pass."""
    if not 0 <= kind.duration_s <= _WAIT_S_MAX:
        raise Refused("ACTION_MALFORMED", f"expected 0 to 60 s, got {kind.duration_s}")
    await hand.pause(kind.duration_s)
    return ""


async def nothing(hand: Hand, kind: object) -> str:
    """What asks for no input: the observation that follows is the answer."""
    return ""

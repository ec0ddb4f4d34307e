"""What an environment exchanges with the caller: the clipboard and files."""

from __future__ import annotations

from playwright.async_api import Error as PlaywrightError
from playwright.async_api import FileChooser, FilePayload

from services.gui.environments.hand import Hand, Refused
from services.gui.environments.pointer import click_at
from tectum.actions.types import GetClipboard, SetClipboard, UploadFiles
from tectum.plugins import PluginError

_TEXT_MAX = 65_536
_FILES_MAX = 16
_BYTES_MAX = 32 * 1024 * 1024
"""Of all files of one upload together; they pass through one message to the browser."""

_CHOOSER_MS_MAX = 3000.0


async def set_clipboard(hand: Hand, kind: SetClipboard) -> str:
    """Put a text on the environment's clipboard."""
    if len(kind.text) > _TEXT_MAX:
        raise Refused(
            "ACTION_MALFORMED", f"expected at most {_TEXT_MAX} characters, got {len(kind.text)}"
        )
    async with hand.gate.input():
        hand.around.clipboard.put(kind.text)
    return ""


async def get_clipboard(hand: Hand, kind: GetClipboard) -> str:
    """The text on the environment's clipboard, at most 65,536 characters."""
    return hand.around.clipboard.text[:_TEXT_MAX]


async def upload_files(hand: Hand, kind: UploadFiles) -> str:
    """Click what asks for files, and give them to it."""
    payloads = await _payloads(hand, kind)
    place = await hand.reach(kind.at)
    try:
        async with hand.tab.page.expect_file_chooser(timeout=_CHOOSER_MS_MAX) as waiting:
            await click_at(hand, place)
        chooser: FileChooser = await waiting.value
    except PlaywrightError as error:
        if hand.tab.page.is_closed():
            raise
        raise Refused(
            "NOT_A_FILE_FIELD",
            f"expected a page that asks for files after the click, got: {str(error).splitlines()[0]}",
        ) from None
    if len(payloads) > 1 and not chooser.is_multiple():
        raise Refused("TOO_MANY_FILES", f"the field takes one file, got {len(payloads)}")
    await hand.input(chooser.set_files(payloads))
    return ""


async def _payloads(hand: Hand, kind: UploadFiles) -> list[FilePayload]:
    if not 1 <= len(kind.files) <= _FILES_MAX or len(kind.files) != len(kind.names):
        raise Refused(
            "ACTION_MALFORMED",
            f"expected 1 to {_FILES_MAX} files with as many names,"
            f" got {len(kind.files)} and {len(kind.names)}",
        )
    size = sum(file.size_bytes for file in kind.files)
    if size > _BYTES_MAX:
        raise Refused("FILES_TOO_LARGE", f"expected at most {_BYTES_MAX} bytes, got {size}")
    payloads: list[FilePayload] = []
    for file, name in zip(kind.files, kind.names, strict=True):
        try:
            data = await hand.around.blobs.get(file.sha256)
        except PluginError as error:
            raise Refused(error.reason, str(error)) from None
        payloads.append(FilePayload(name=name, mimeType=file.content_type, buffer=data))
    return payloads

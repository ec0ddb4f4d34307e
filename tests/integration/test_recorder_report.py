"""The report in a real browser: nothing is loaded, nothing overflows, pictures open."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest
from playwright.async_api import Browser, async_playwright

from libs.blobs.memory import MemoryBlobStore
from libs.clock import SystemClock
from libs.offload import Offload
from services.recorder.codec import McapCodec
from services.recorder.decode import decode
from services.recorder.domain.archive import Archive
from services.recorder.domain.recording import Limits, Recorder
from services.recorder.report.render import Reports
from services.recorder.spool import DiskSpool
from tests.unit.recorder.conftest import Process
from tests.unit.recorder.sample import solved, troubled

_ARGS = [
    "--no-sandbox",
    "--headless",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


@pytest.fixture
async def html(tmp_path: Path) -> bytes:
    offload = Offload("recorder", threads=1, waiting=64)
    blobs, clock = MemoryBlobStore(), SystemClock()
    spool = DiskSpool(tmp_path / "spool", offload, segment_bytes=1 << 20)
    archive = Archive(blobs, McapCodec(offload), spool, decode, clock.now, privacy_level="internal")
    reports = Reports(archive, spool, blobs, offload, clock, size_bytes=9_500_000)
    recorder = Recorder(spool, archive, decode, Limits())
    await Process(recorder, archive, spool, blobs, reports).keep(solved(), troubled())
    ids = ["s-solved", "s-troubled"]
    page = b"".join([chunk async for chunk in reports.render(ids, "A report to look at")])
    await offload.aclose()
    return page


@pytest.mark.timeout(60)  # Starts a browser.
async def test_it_can_be_read(html: bytes, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_bytes(html)
    async with async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path="/usr/bin/chromium", args=_ARGS)
        for width in (1280, 390):
            await _look(browser, path.as_uri(), width, "light")
            await _look(browser, path.as_uri(), width, "dark")
        await browser.close()


async def _look(
    browser: Browser, address: str, width: int, scheme: Literal["light", "dark"]
) -> None:
    requests: list[str] = []
    errors: list[str] = []
    note: Callable[[object], None] = lambda message: errors.append(str(message))  # noqa: E731
    page = await browser.new_page(viewport={"width": width, "height": 844}, color_scheme=scheme)
    page.on("request", lambda request: requests.append(request.url))
    page.on("pageerror", note)
    page.on("console", note)
    await page.goto(address)
    await page.click("#all")
    overflow = await page.evaluate("document.documentElement.scrollWidth - innerWidth")
    shown = await page.evaluate(
        "[...document.querySelectorAll('.timeline .shot')].map(s => s.clientWidth)"
    )
    marks = await page.evaluate(
        """[...document.querySelectorAll('.mark')].every(m => {
            const [a, b] = [m.getBoundingClientRect(), m.parentElement.getBoundingClientRect()];
            return a.right > b.left && a.left < b.right && a.bottom > b.top && a.top < b.bottom;
        })"""
    )
    await page.click("#failed")
    visible = await page.evaluate(
        "[...document.querySelectorAll('.episode')].filter(e => e.offsetHeight).length"
    )
    await page.click(".episode:not(.hidden) .timeline .shot")
    big = await page.evaluate("document.querySelector('.shot.big').clientWidth")
    await page.keyboard.press("Escape")
    left = await page.evaluate("document.querySelectorAll('.shot.big').length")
    await page.close()
    assert [url for url in requests if not url.startswith("data:")] == [address]
    assert errors == []
    assert overflow <= 0
    assert len(shown) >= 8
    assert min(shown) > 150
    assert marks
    assert (visible, left) == (1, 0)
    assert big > 0.8 * width or big > 700

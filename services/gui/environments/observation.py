"""What the page's snapshot says, as a Screen."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from tectum.geometry import Box, Size
from tectum.observations.types import Element, Screen, Tab
from tectum.protocol.types import BlobRef

_SECRET_LENGTH_MIN = 4
"""Shorter secrets are not looked for in texts: they would blank out half of every page."""

_BLANK = "•••"


def without_secrets(text: str, secrets: Iterable[str]) -> str:
    """Return `text` with every secret in it blanked out, also where it is written as in an address."""
    for secret in secrets:
        if len(secret) < _SECRET_LENGTH_MIN:
            continue
        if "%" in text or "+" in text:
            text = _escaped(secret).sub(_BLANK, text)
        text = text.replace(secret, _BLANK)
    return text


def _escaped(secret: str) -> re.Pattern[str]:
    """Matches a secret of which a form or an address escaped whichever characters it liked."""
    ways = []
    for character in secret:
        percent = "".join(f"%{byte:02X}" for byte in character.encode("utf-8", "surrogatepass"))
        some = [f"(?i:{percent})", re.escape(character), *([r"\+"] if character == " " else [])]
        ways.append(f"(?:{'|'.join(some)})")
    return re.compile("".join(ways))


def to_screen(
    found: Mapping[str, Any],
    *,
    observation_id: str,
    size: Size,
    scale: float,
    screenshot: BlobRef | None,
    tabs: tuple[Tab, ...],
    settled: bool,
    secrets: Iterable[str] = (),
) -> Screen:
    """Return the snapshot `found` (of page_snapshot.js, CSS pixels) in screen pixels.

    A secret that the page shows as text is blanked out.
    """
    hidden = tuple(secrets)

    def clean(text: str) -> str:
        return without_secrets(text, hidden)

    elements = tuple(
        Element(
            id=item[0],
            role=item[1],
            name=clean(item[2]),
            value=clean(item[3]),
            states=tuple(item[4]),
            box=None if item[5] is None else _box(item[5], scale),
            text=clean(item[6]),
            parent_id=item[7],
        )
        for item in found["elements"]
    )
    return Screen(
        observation_id=observation_id,
        size=size,
        screenshot=screenshot,
        scale=scale,
        elements=elements,
        elements_omitted=found["omitted"],
        url=clean(found["url"]),
        title=clean(found["title"]),
        focused_id=found["focused"],
        tabs=tuple(replace(tab, url=clean(tab.url), title=clean(tab.title)) for tab in tabs),
        settled=settled,
        scroll_y=found["scrollY"] * scale,
        scroll_height=found["scrollHeight"] * scale,
    )


def _box(css: list[float], scale: float) -> Box:
    x, y, width, height = css
    return Box(x * scale, y * scale, width * scale, height * scale)

"""Screenshots made small enough for one page."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass

from PIL import Image, UnidentifiedImageError


@dataclass(frozen=True, slots=True)
class Level:
    """How small: longest side in pixels, WebP quality 0 to 100, and the bytes compared with the first level."""

    side_px: int
    quality: int
    share: float


LEVELS = (
    Level(1280, 80, 1.0),
    Level(900, 72, 0.5),
    Level(640, 62, 0.24),
    Level(440, 50, 0.1),
    Level(280, 40, 0.04),
)
"""From good to small; a report takes the first at which it fits."""

_PIXELS_MAX = 64_000_000
"""8K twice over; a picture that claims more is not decoded."""
_WEB_TYPES = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp"}


def data_uri(data: bytes, level: Level) -> str:
    """The picture as a `data:` URI at `level`, or as it is where that is smaller; "" where it is no picture."""
    try:
        with Image.open(io.BytesIO(data)) as picture:
            if picture.width * picture.height > _PIXELS_MAX:
                return ""
            media_type = _WEB_TYPES.get(picture.format or "", "")
            fits = max(picture.size) <= level.side_px
            made = _made(picture, level)
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError):
        return ""
    if media_type and fits and len(data) <= len(made):
        return _uri(media_type, data)
    return _uri("image/webp", made)


def _made(picture: Image.Image, level: Level) -> bytes:
    smaller = picture.convert("RGB")
    smaller.thumbnail((level.side_px, level.side_px), Image.Resampling.BICUBIC)
    out = io.BytesIO()
    smaller.save(out, "WEBP", quality=level.quality, method=2)
    return out.getvalue()


def _uri(media_type: str, data: bytes) -> str:
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


def within(found: Mapping[str, str], room: int) -> dict[str, str]:
    """As many of the pictures, by name, as fit into `room` bytes; the rest is left out."""
    kept: dict[str, str] = {}
    for name, uri in found.items():
        if len(uri) <= room:
            kept[name] = uri
            room -= len(uri)
    return kept

"""What a blob's key may be and what every adapter refuses."""

from __future__ import annotations

import re
from collections.abc import Iterator

from libs.errors import InvalidRequest, NotFound

_KEY = re.compile(r"[A-Za-z0-9._=-]+(/[A-Za-z0-9._=-]+)*")
_KEY_CHARACTERS_MAX = 512
_PART_CHARACTERS_MAX = 255
"""What filesystems allow for one name."""


def check_key(key: str) -> None:
    """Refuse a malformed key.

    Raises:
        InvalidRequest: BLOB_KEY_MALFORMED.
    """
    parts = key.split("/")
    if (
        len(key) > _KEY_CHARACTERS_MAX
        or not _KEY.fullmatch(key)
        or any(part in (".", "..") or len(part) > _PART_CHARACTERS_MAX for part in parts)
    ):
        raise InvalidRequest(
            "BLOB_KEY_MALFORMED",
            f"a key has 1 to {_KEY_CHARACTERS_MAX} characters of [A-Za-z0-9._=/-], no empty, '.' or "
            f"'..' part and none above {_PART_CHARACTERS_MAX}, got {key[:64]!r}",
        )


def check_size(key: str, size_bytes: int, blob_bytes_max: int) -> None:
    """Refuse a blob that is too large.

    Raises:
        InvalidRequest: BLOB_TOO_LARGE.
    """
    if size_bytes > blob_bytes_max:
        raise InvalidRequest(
            "BLOB_TOO_LARGE",
            f"a blob may have {blob_bytes_max} bytes, {key!r} has {size_bytes}",
            key=key,
            limit_bytes=str(blob_bytes_max),
            size_bytes=str(size_bytes),
        )


def folders(key: str) -> Iterator[str]:
    """The folders that `key` is in: of a/b/c these are a and a/b."""
    at = key.find("/")
    while at >= 0:
        yield key[:at]
        at = key.find("/", at + 1)


def clash(key: str) -> InvalidRequest:
    """The error for a key that is a folder of others, or whose folder is a blob."""
    return InvalidRequest(
        "BLOB_KEY_CLASHES",
        f"a blob and a folder cannot have one name; {key!r} would be both or is below a blob",
        key=key,
    )


def missing(key: str) -> NotFound:
    """The error for a key under which nothing is."""
    return NotFound("BLOB_NOT_FOUND", f"no blob {key!r}", key=key)

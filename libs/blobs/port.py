"""The blob store every service depends on; adapters sit beside this file."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class BlobInfo:
    """What is known of a blob without reading it."""

    key: str
    size_bytes: int


class BlobStore(Protocol):
    """Bytes under keys: 1 to 512 characters of [A-Za-z0-9._=/-], no empty, `.` or `..` part."""

    async def put(self, key: str, data: bytes) -> None:
        """Store `data` under `key`, replacing what was there; it survives a kill once this returns.

        Raises:
            InvalidRequest: the key is malformed (BLOB_KEY_MALFORMED), it is a folder of other keys or
                below a blob (BLOB_KEY_CLASHES), or the data is too large (BLOB_TOO_LARGE).
            DependencyDown: it cannot be written (BLOBS_FULL, BLOBS_DOWN).
        """
        ...

    async def create(self, key: str, data: bytes) -> bool:
        """Store `data` unless something is there; answer whether it was stored. Errors as `put`."""
        ...

    async def get(self, key: str) -> bytes:
        """Return the bytes under `key`.

        Raises:
            NotFound: nothing was stored under `key` (BLOB_NOT_FOUND).
        """
        ...

    async def find(self, key: str) -> BlobInfo | None:
        """What is known of `key`; None where nothing was stored."""
        ...

    def list(self, prefix: str) -> AsyncIterator[BlobInfo]:
        """Blobs whose key starts with `prefix`, by key."""
        ...

    async def delete(self, key: str) -> None:
        """Delete; deleting what is not there changes nothing."""
        ...

    async def aclose(self) -> None:
        """Stop."""
        ...


def blob_key(sha256: str) -> str:
    """Where content-addressed bytes live: `blobs/<first two>/<sha256>`."""
    return f"blobs/{sha256[:2]}/{sha256}"

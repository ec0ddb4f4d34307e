"""The blob store in memory, for tests and simulation."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

from libs.blobs.keys import check_key, check_size, clash, folders, missing
from libs.blobs.port import BlobInfo
from libs.blobs.settings import BlobSettings


class MemoryBlobStore:
    """A BlobStore; see the port. What it holds ends with the process."""

    def __init__(self, settings: BlobSettings | None = None) -> None:
        self._settings = settings or BlobSettings()
        self._blobs: dict[str, bytes] = {}
        self._folders: Counter[str] = Counter()

    async def put(self, key: str, data: bytes) -> None:
        """Store, replacing what was there."""
        self._check(key, data)
        await asyncio.sleep(0)
        self._store(key, data)

    async def create(self, key: str, data: bytes) -> bool:
        """Store unless something is there; answer whether it was stored."""
        self._check(key, data)
        await asyncio.sleep(0)
        if key in self._blobs:
            return False
        self._store(key, data)
        return True

    async def get(self, key: str) -> bytes:
        """Return the bytes under `key`."""
        check_key(key)
        await asyncio.sleep(0)
        if key not in self._blobs:
            raise missing(key)
        return self._blobs[key]

    async def find(self, key: str) -> BlobInfo | None:
        """What is known of `key`; None where nothing was stored."""
        check_key(key)
        await asyncio.sleep(0)
        data = self._blobs.get(key)
        return None if data is None else BlobInfo(key, len(data))

    async def list(self, prefix: str) -> AsyncIterator[BlobInfo]:
        """Blobs whose key starts with `prefix`, by key."""
        for key in sorted(self._blobs):
            if key.startswith(prefix) and key in self._blobs:
                yield BlobInfo(key, len(self._blobs[key]))
                await asyncio.sleep(0)

    async def delete(self, key: str) -> None:
        """Delete; deleting what is not there changes nothing."""
        check_key(key)
        await asyncio.sleep(0)
        if self._blobs.pop(key, None) is not None:
            self._folders.subtract(folders(key))
            self._folders += Counter()

    async def aclose(self) -> None:
        """Stop."""
        await asyncio.sleep(0)

    def _check(self, key: str, data: bytes) -> None:
        check_key(key)
        check_size(key, len(data), self._settings.blob_bytes_max)

    def _store(self, key: str, data: bytes) -> None:
        if key in self._folders or any(folder in self._blobs for folder in folders(key)):
            raise clash(key)
        if key not in self._blobs:
            self._folders.update(folders(key))
        self._blobs[key] = bytes(data)

"""The environments that are installed, from entry points, and where their pictures go."""

from __future__ import annotations

import hashlib
from importlib.metadata import entry_points

from libs.blobs.port import BlobStore, blob_key
from libs.errors import NotFound, WrongState
from tectum.plugins import ENVIRONMENTS, EnvironmentProvider, PluginError


def load_providers() -> dict[str, EnvironmentProvider]:
    """Every registered provider by its scheme.

    Raises:
        WrongState: a provider's scheme is not its entry point's name, or is taken twice (PLUGIN_BROKEN).
        ValueError: settings are wrong.
    """
    found: dict[str, EnvironmentProvider] = {}
    for point in entry_points(group=ENVIRONMENTS):
        provider: EnvironmentProvider = point.load()()
        if provider.scheme != point.name or point.name in found:
            raise WrongState(
                "PLUGIN_BROKEN",
                f"expected one provider of scheme {point.name!r} at {point.value!r},"
                f" got scheme {provider.scheme!r}",
            )
        found[point.name] = provider
    return found


class StoredBlobs:
    """The platform's blob store as an environment sees it: content-addressed."""

    def __init__(self, store: BlobStore) -> None:
        self._store = store

    async def put(self, data: bytes, content_type: str) -> str:
        """Store the bytes under their hash; the same bytes are stored once."""
        digest = hashlib.sha256(data).hexdigest()
        await self._store.create(blob_key(digest), data)
        return digest

    async def get(self, sha256: str) -> bytes:
        """The bytes under this hash.

        Raises:
            PluginError: FILE_UNKNOWN.
        """
        try:
            return await self._store.get(blob_key(sha256))
        except NotFound:
            raise PluginError("FILE_UNKNOWN", f"expected a stored file, got {sha256!r}") from None

"""Limits of the blob store."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from libs.settings import Settings


class BlobSettings(Settings):
    """What every adapter of the blob store keeps to."""

    model_config = SettingsConfigDict(env_prefix="TECTUM_BLOBS_")

    blob_bytes_max: int = Field(default=268_435_456, ge=1, le=4_294_967_296)
    """Largest blob, in bytes."""

    fsync: bool = False
    """Wait for the disk at each write, so that a power cut costs nothing stored (filesystem). A kill of
    the process costs nothing either way."""

    threads: int = Field(default=4, ge=1, le=64)
    """Threads that read and write (filesystem)."""

    waiting_max: int = Field(default=1_000, ge=1, le=100_000)
    """Calls that may wait for a thread; one more is refused with Overloaded (filesystem)."""

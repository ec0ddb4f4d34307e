"""Settings of the embedded shape: one process, everything on this machine."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from libs.settings import Settings


class EmbeddedSettings(Settings):
    """Variables TECTUM_EMBEDDED_*."""

    model_config = SettingsConfigDict(env_prefix="TECTUM_EMBEDDED_")

    data_dir: Path = Path("~/.local/share/tectum")
    """Folder of the event log, blobs, exemplars and spans; made if it is missing."""

    partitions: int = Field(default=4, ge=1, le=64)
    """Partitions of each topic that is keyed by session; fixed when a folder is first used."""

"""The guard's configuration, read once at start."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from libs.settings import Settings


class GuardSettings(Settings):
    """Variables `TECTUM_GUARD_*`."""

    model_config = SettingsConfigDict(env_prefix="TECTUM_GUARD_")

    policies_dir: Path | None = None
    """Folder of further policies, `<name>.yaml`; one named like a built-in policy replaces it."""

    default_policy: str = Field(default="default", min_length=1)
    """Name of the policy of a session that names none."""

    sessions_max: int = Field(default=10_000, ge=1, le=1_000_000)
    """Sessions whose epoch and open question are kept in memory; others are read from the log."""

    replica: str = Field(default="0", pattern=r"[a-z0-9-]{1,63}")
    """Name of this replica among the guards; a second one of the same name fences the first."""

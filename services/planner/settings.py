"""Settings of the planner."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from libs.settings import Settings


class PlannerSettings(Settings):
    """Variables TECTUM_PLANNER_*."""

    model_config = SettingsConfigDict(env_prefix="TECTUM_PLANNER_")

    turns_max: int = Field(default=1000, ge=1, le=100_000)
    """Turns held in memory; the one used longest ago makes room and is read back from the log."""
    steps_max: int = Field(default=100, ge=1, le=10_000)
    """Steps of a turn whose session names no limit."""
    thinking_s: float = Field(default=120.0, gt=0, le=3600)
    """Longest time that a strategy may take for one step; seconds."""
    threads: int = Field(default=1, ge=1, le=16)
    """Threads for what strategies offload, such as induction."""
    waiting_max: int = Field(default=256, ge=1, le=10_000)
    """Offloaded calls that may wait for a thread."""
    memory_timeout_s: float = Field(default=10.0, gt=0, le=120)
    """Time-out of one call to the memory service; seconds."""
    replica: str = Field(default="0", pattern=r"^[a-z0-9-]{1,32}$")
    """Name of this replica; a second one of the same name takes the first one's place."""

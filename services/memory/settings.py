"""Memory's configuration, read once at start."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from libs.engine.catalogue import DEFAULT_MODELS_DIR
from libs.settings import Settings


class MemorySettings(Settings):
    """Variables `TECTUM_MEMORY_*`."""

    model_config = SettingsConfigDict(env_prefix="TECTUM_MEMORY_")

    models_dir: Path = DEFAULT_MODELS_DIR
    """Folder of the model files that `make setup` extracts."""

    threads: int = Field(default=1, ge=1, le=16)
    """Threads of one embedding; more than one was slower on a loaded machine."""

    exemplars_max: int = Field(default=10_000, ge=1, le=100_000)
    """Exemplars kept; beyond it the oldest of the largest lesson goes."""

    lesson_max: int = Field(default=50, ge=1, le=1_000)
    """Exemplars of one lesson kept; beyond it its oldest goes."""

    turns_per_site: int = Field(default=16, ge=3, le=1_000)
    """Finished turns kept for each site; a history shows at most 3."""

    sites_max: int = Field(default=1_000, ge=1, le=100_000)
    """Sites with a history; beyond it the one that was quiet longest goes."""

    history: bool = True
    """Whether finished turns are kept as history."""

    lanes_max: int = Field(default=2, ge=1, le=64)
    """Sealed trajectories that are read at the same time."""

    trajectory_events_max: int = Field(default=20_000, ge=100, le=1_000_000)
    """Events of a trajectory; a longer one is not learned from."""

    recorder_timeout_s: float = Field(default=30.0, gt=0, le=600)
    """Longest wait for one trajectory from the recorder, in seconds."""

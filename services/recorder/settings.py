"""The recorder's configuration, read once at start."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from libs.settings import Settings


class RecorderSettings(Settings):
    """Variables TECTUM_RECORDER_*."""

    model_config = SettingsConfigDict(env_prefix="TECTUM_RECORDER_")

    spool_dir: Path | None = None
    """Folder of segments that are not sealed yet; "recorder" in the process's data folder where unset."""

    flush_s: float = Field(default=0.1, ge=0.005, le=5)
    """Pause between two writes, in seconds: what comes meanwhile waits in the log and shares the next one."""

    seal_delay_s: float = Field(default=0.1, ge=0, le=60)
    """How long a closed session waits for stragglers before it is sealed, in seconds."""

    segment_bytes: int = Field(default=8 * 2**20, ge=64 * 2**10, le=512 * 2**20)
    """A segment that reaches so many bytes is finished and the next one begun."""

    open_sessions_max: int = Field(default=256, ge=1, le=100_000)
    """Sessions held in memory; the one silent for longest is parked on disk when there are more."""

    remembered_ids_max: int = Field(default=20_000, ge=100, le=10_000_000)
    """Event ids of one session by which a repeated publish is known; about 150 bytes each."""

    retry_s: float = Field(default=0.2, gt=0, le=60)
    """Pause before a refused write (full disk, blob store down) is tried again, in seconds; doubles."""

    retry_max_s: float = Field(default=5.0, gt=0, le=600)
    """Longest such pause, in seconds."""

    fsync: bool = False
    """Wait for the disk at each write, so that a power cut costs nothing; a kill costs nothing either way."""

    privacy_level: str = Field(default="internal", pattern=r"[a-z-]{1,32}")
    """Written into manifests; says who may see trajectories. Recordings hold screens, never secrets."""

    report_bytes: int = Field(default=9_500_000, ge=100_000, le=200_000_000)
    """Size that a report aims to stay below, in bytes: screenshots are made smaller until it fits."""

    threads: int = Field(default=2, ge=1, le=16)
    """Threads that read segments, hash and render reports."""

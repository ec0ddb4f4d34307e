"""Limits of the event log and of its consumers."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from libs.settings import Settings


class Synchronous(StrEnum):
    """What a power cut may cost; a kill of the process costs nothing with either."""

    NORMAL = "normal"
    """The file is synced at checkpoints: a power cut may undo the newest acknowledged events."""
    FULL = "full"
    """Synced at every commit, which waits for the disk: a power cut costs nothing acknowledged."""


class EventSettings(Settings):
    """What every adapter of the event log keeps to."""

    model_config = SettingsConfigDict(env_prefix="TECTUM_EVENTS_")

    event_bytes_max: int = Field(default=1_048_576, ge=1_024, le=16_777_216)
    """Largest event, attributes and data together, in bytes; what is larger is a blob."""

    member_timeout_s: float = Field(default=10.0, gt=0, le=600)
    """A member of a consumer group that does not call for so long is evicted, in seconds."""

    fetch_records_max: int = Field(default=256, ge=1, le=10_000)
    """Most records that one fetch returns."""

    fetch_bytes_max: int = Field(default=8_388_608, ge=1_024, le=268_435_456)
    """One fetch stops taking further records once it holds so many bytes of data."""

    clean_records_max: int = Field(default=200, ge=1, le=100_000)
    """Most records that compaction or retention looks at in one go."""

    clean_interval_s: float = Field(default=5.0, gt=0, le=3_600)
    """Pause between two rounds of compaction and retention, in seconds (embedded)."""

    publish_waiting_max: int = Field(default=10_000, ge=1, le=1_000_000)
    """Publishes that may wait for the writer; one more is refused with Overloaded (embedded)."""

    batch_max: int = Field(default=256, ge=1, le=10_000)
    """Most publishes that share one transaction (embedded)."""

    recent_records: int = Field(default=128, ge=1, le=100_000)
    """Newest records of each partition kept in memory for readers that keep up (embedded)."""

    recent_bytes: int = Field(default=524_288, ge=0, le=268_435_456)
    """Most bytes of data in those, for each partition (embedded)."""

    reader_threads: int = Field(default=2, ge=1, le=16)
    """Threads that read what is no longer in memory (embedded)."""

    checkpoint_bytes: int = Field(default=4_194_304, ge=65_536, le=1_073_741_824)
    """The write-ahead file is folded into the database once it has so many bytes (embedded)."""

    page_count_max: int = Field(default=0, ge=0, le=4_294_967_294)
    """Most 4 KiB pages of the database file; 0: as many as the disk has (embedded)."""

    synchronous: Synchronous = Synchronous.NORMAL
    """When the disk is waited for (embedded)."""


class LaneSettings(Settings):
    """How one consumer spreads its records over lanes and what it does with failures."""

    model_config = SettingsConfigDict(env_prefix="TECTUM_LANES_")

    lanes_max: int = Field(default=64, ge=1, le=10_000)
    """Keys (sessions) that are handled at the same time."""

    in_flight_max: int = Field(default=2_000, ge=1, le=1_000_000)
    """Records fetched and not yet below the watermark; at the limit fetching stops."""

    attempts_max: int = Field(default=8, ge=1, le=100)
    """Calls of the handler for one record before it is dead-lettered."""

    backoff_s: float = Field(default=0.05, gt=0, le=60)
    """Pause before the second attempt, in seconds; doubles with each, and half of it is random."""

    backoff_max_s: float = Field(default=5.0, gt=0, le=600)
    """Longest pause between two attempts, in seconds; also bounds an Overloaded's own wish."""

    commit_interval_s: float = Field(default=0.1, ge=0.001, le=60)
    """Shortest pause between two commits, in seconds; a crash repeats what lies between."""

    beat_s: float = Field(default=2.0, gt=0, le=200)
    """While fetching stands still for a full lane: pause between heartbeats, in seconds."""

    marks_max: int = Field(default=10_000, ge=1, le=10_000_000)
    """High-water marks kept, least recently used dropped first."""

    leave_s: float = Field(default=2.0, gt=0, le=60)
    """Longest wait for the last commit when the consumer ends, in seconds."""

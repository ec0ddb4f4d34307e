"""Settings of the planner, and of its strategy `model`."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, field_validator
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


class ModelSettings(Settings):
    """Variables TECTUM_MODEL_*: which endpoints the strategy `model` may ask."""

    model_config = SettingsConfigDict(env_prefix="TECTUM_MODEL_")

    base_url: str = Field(default="http://127.0.0.1:8000/v1", pattern=r"^https?://[^\s?#@]+$")
    """OpenAI-compatible endpoint of callers who name none; `/chat/completions` is added."""
    name: str = Field(default="", max_length=256)
    """Model of callers who name none; empty: they must name one."""
    api_key_file: Path | None = None
    """File with the bearer token; it is sent to TECTUM_MODEL_BASE_URL and nowhere else."""
    allowed_base_urls: str = ""
    """Further endpoints that callers may name, separated by commas; loopback is always allowed."""
    connect_s: float = Field(default=5.0, gt=0, le=60)
    """Longest wait for a connection; seconds."""
    answer_s: float = Field(default=60.0, gt=0, le=3600)
    """Longest time of one request, connection and answer included; seconds."""
    answer_bytes_max: int = Field(default=1_048_576, ge=1_024, le=67_108_864)
    """Largest answer that is read; bytes."""

    @field_validator("allowed_base_urls")
    @classmethod
    def _urls(cls, value: str) -> str:
        for url in filter(None, (part.strip() for part in value.split(","))):
            if not url.startswith(("http://", "https://")) or set(url) & set("?#@ "):
                raise ValueError(f"expected http(s) URLs without user, query or fragment: {url!r}")
        return value

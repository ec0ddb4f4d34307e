"""Settings of the GUI service."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from libs.settings import Settings


class GuiSettings(Settings):
    """Variables `TECTUM_GUI_<FIELD>`; those of its browser are `TECTUM_BROWSER_<FIELD>`."""

    model_config = SettingsConfigDict(env_prefix="TECTUM_GUI_", frozen=True, extra="forbid")

    ordinal: int = Field(default=0, ge=0, le=9999)
    """Partition of tectum.actions.gui that this executor reads; unique among the GUI executors."""
    environments_max: int = Field(default=16, ge=1, le=1000)
    """Live environments at a time, of sessions and of direct callers together."""
    idle_s: float = Field(default=300.0, ge=1.0, le=86_400.0)
    """A direct caller's screen is closed after so long without a call."""
    sweep_s: float = Field(default=5.0, ge=0.05, le=600.0)
    """How often idle screens are looked for."""

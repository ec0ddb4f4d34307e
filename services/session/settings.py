"""The session service's configuration, read once at start."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from libs.settings import Settings
from services.session.domain.limits import SessionLimits


class SessionSettings(Settings):
    """Variables `TECTUM_SESSION_*`. Lengths in seconds."""

    model_config = SettingsConfigDict(env_prefix="TECTUM_SESSION_")

    lease_s: float = Field(default=5.0, ge=0.2, le=60.0)
    """How long an executor may act without its owner; also the longest wait for one that is unreachable."""

    lease_margin: float = Field(default=0.05, ge=0.0, le=0.5)
    """Part of a lease that is added here, for clocks that drift."""

    sessions_max: int = Field(default=200, ge=1, le=100_000)
    """Open sessions in all; more are refused with TOO_MANY_SESSIONS."""

    sessions_per_tenant_max: int = Field(default=50, ge=1, le=100_000)
    """Open sessions of one tenant."""

    message_bytes_max: int = Field(default=65_536, ge=256, le=1_048_576)
    """Of an instruction, a reason, a comment, or all secrets together."""

    messages_per_s: float = Field(default=20.0, gt=0.0, le=10_000.0)
    """Of one stream, on average; more ends the stream with RATE_EXCEEDED."""

    message_burst: int = Field(default=40, ge=1, le=10_000)
    """Of one stream, at once."""

    open_s: float = Field(default=60.0, ge=0.1, le=600.0)
    """Longest time that opening an environment may take."""

    hold_try_s: float = Field(default=4.0, ge=0.05, le=30.0)
    """Longest wait for one answer to a hold, before it is sent again."""

    hold_patience_s: float = Field(default=4.0, ge=0.05, le=60.0)
    """A body that answers but does not confirm a hold for so long is killed."""

    log_patience_s: float = Field(default=60.0, ge=0.1, le=3600.0)
    """Longest wait for the log before the owner gives a session up."""

    resume_ttl_s: float = Field(default=300.0, ge=1.0, le=86_400.0)
    """A session whose owner died is closed as ABANDONED unless a client resumes it within this time."""

    silence_s: float = Field(default=10.0, ge=0.5, le=600.0)
    """A body that asked for no lease for so long, during a turn, is probed."""

    outcome_grace_s: float = Field(default=5.0, ge=0.0, le=600.0)
    """How long an executor's own report of a stopped step is awaited."""

    retire_s: float = Field(default=300.0, ge=0.0, le=86_400.0)
    """How long the owner keeps trying to destroy a body that it could not reach."""

    view_records_max: int = Field(default=256, ge=1, le=100_000)
    """Records buffered for one stream; a client that is slower has the rest read from the log."""

    def limits(self) -> SessionLimits:
        """What the domain reads."""
        return SessionLimits(**self.model_dump())

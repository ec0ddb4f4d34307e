"""What bounds sessions; `settings.py` fills this."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """All lengths in seconds."""

    lease_s: float = 5.0
    lease_margin: float = 0.05
    """Added to a lease before it counts as over here, for clocks that drift."""
    sessions_max: int = 200
    sessions_per_tenant_max: int = 50
    message_bytes_max: int = 65_536
    """Of an instruction, a reason or a comment; of all secrets together."""
    messages_per_s: float = 20.0
    message_burst: int = 40
    interrupts_max: int = 8
    """Interrupts of one session under way at a time."""
    open_s: float = 60.0
    hold_try_s: float = 4.0
    """One try of a hold; then it is tried again."""
    hold_retry_s: float = 0.05
    hold_patience_s: float = 4.0
    """A body that answers but does not confirm for so long is killed."""
    log_patience_s: float = 60.0
    """Longest wait for the log before the owner gives the session up."""
    log_retry_s: float = 0.05
    resume_ttl_s: float = 300.0
    """A session left behind by a process that died is closed unless a client resumes it in this time."""
    silence_s: float = 10.0
    """A body that asked for no lease for so long, during a turn, is probed."""
    attempts_max: int = 3
    outcome_grace_s: float = 5.0
    """How long after a body is quiet its own report of a step is awaited before the owner reports UNKNOWN."""
    retire_s: float = 300.0
    """How long the owner keeps trying to destroy a body that it replaced."""
    view_records_max: int = 256
    """Records buffered for one stream; what is beyond is read from the log again."""
    listed_max: int = 10_000
    """Sessions that a replica remembers for listing."""

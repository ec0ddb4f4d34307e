"""What bounds an executor; each service that has one fills this from its settings."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ExecutorLimits:
    """All lengths in seconds."""

    homes_max: int = 32
    """Live environments at a time; more are refused with TOO_MANY_ENVIRONMENTS."""

    lease_margin: float = 0.05
    """Part of a lease that is given up, for clocks that drift: 0 to 0.5."""

    renew_part: float = 0.3
    """Ask again after this part of a lease: 0.05 to 0.5."""

    ask_timeout_s: float = 2.0
    ask_retry_min_s: float = 0.005
    ask_retry_max_s: float = 0.5

    drain_s: float = 2.0
    """Longest wait of a hold for the primitive inside the last link; then the environment is destroyed."""

    destroy_s: float = 10.0
    """Longest wait for the last link to destroy an environment."""

    open_s: float = 60.0
    """Longest time that opening an environment may take."""

    perform_s: float = 120.0
    """Longest time that one action may take; then the environment is destroyed and the outcome is UNKNOWN."""

    orphan_s: float = 900.0
    """An environment that no owner has granted or held for so long is destroyed."""

    unclaimed_s: float = 60.0
    """The same, for one that no owner ever granted: the answer to its opening was lost."""

    lane_actions_max: int = 16
    """Actions that wait in one home's lane; more are refused with LANE_FULL."""

    publish_retry_max_s: float = 1.0
    """Longest pause between two tries to append while the log is down."""

    checkpoint_s: float = 30.0
    """How often the executor writes down where its recovery may begin to read."""

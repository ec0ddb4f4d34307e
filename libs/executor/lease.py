"""Leases as one home sees them."""

from __future__ import annotations

from dataclasses import dataclass

from tectum.protocol.types import Epoch


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to act for one epoch."""

    number: int
    """Changes whenever the lease is acquired anew, and never when it is renewed."""
    epoch: Epoch
    expires_at: float
    """On the executor's monotonic clock, margin deducted."""

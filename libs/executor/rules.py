"""The protocol's rules at an executor, each as one method; the simulator's self-test alone overrides them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tectum.protocol.types import Epoch

if TYPE_CHECKING:
    from libs.executor.journal import Mark
    from libs.executor.lease import Lease


class ExecutorRules:
    """Numbers in brackets are those of the session protocol."""

    def floor(self, known: Epoch, heard: Epoch) -> Epoch:
        """The highest epoch held or granted is kept (7)."""
        return max(known, heard)

    def accepts(self, floor: Epoch, granted: Epoch) -> bool:
        """Refuse a grant older than any epoch held or granted (7)."""
        return granted >= floor

    def in_time(self, now: float, expires_at: float) -> bool:
        """A grant that arrives after its lease's end is none: the clock started at the ask (5)."""
        return now < expires_at

    def renews(self, now: float, old: Lease | None, epoch: Epoch) -> bool:
        """Only a live lease of the same epoch is renewed; an expired one is acquired anew (7)."""
        return old is not None and old.epoch == epoch and now < old.expires_at

    def waits_for_acknowledgement(self) -> bool:
        """STARTED is acknowledged before the executor acts (10)."""
        return True

    def won(self, first: Mark | None, mine: Mark) -> bool:
        """Of several STARTED of one step the first in the log wins (10)."""
        return first == mine

    def may_act(self, before: Lease, now: Lease | None) -> bool:
        """The lease that STARTED was published under has never lapsed and is not held (10)."""
        return now is not None and now.number == before.number and now.epoch == before.epoch

    def drains(self) -> bool:
        """A hold is confirmed only once the primitive inside the last link has left (8)."""
        return True

    def destroys_leftovers(self) -> bool:
        """A replacement destroys what its predecessor left before it reports UNKNOWN (11)."""
        return True

"""The protocol's rules at an owner, each as one method; the simulator's self-test alone overrides them."""

from __future__ import annotations

from tectum.protocol.types import BodyState, Epoch


class SessionRules:
    """Numbers in brackets are those of the session protocol."""

    def proves_term(self) -> bool:
        """Before each grant, after the ask arrived, the owner proves its term (5)."""
        return True

    def may_grant(self, fences_under_way: int) -> bool:
        """From the first hold until the new epoch is durable nothing is granted (6)."""
        return fences_under_way == 0

    def leases_to(self, *, stands: bool, had_lease: bool) -> bool:
        """Only a body that stands gets a lease: one that was EXPIRED is none any more (7)."""
        return stands

    def lease_epoch(self, present: Epoch, before: Epoch | None) -> Epoch:
        """A lease is acquired for the present epoch, never renewed for the one before (7)."""
        return present

    def holds_before_acknowledging(self) -> bool:
        """Hold every body, write the epoch, acknowledge: in this order (8)."""
        return True

    def fences_at_takeover(self) -> bool:
        """A takeover fences every body anew (3)."""
        return True

    def quiet_at(self, taken_at: float, granted_at: float | None, lease_s: float) -> float:
        """When every lease that a body can hold is over, its predecessor's grants included (3)."""
        return max(taken_at, granted_at if granted_at is not None else taken_at) + lease_s

    def event_before_cursor(self) -> bool:
        """A client's message is in the log before, or with, the cursor that counts it (15)."""
        return True

    def client_event_id(self, session_id: str, client_id: str, client_seq: int, term: int) -> str:
        """The same whoever appends it (15)."""
        return f"{session_id}/client/{client_id}/{client_seq}"

    def folds_cursor(self) -> bool:
        """A new owner counts a client's messages in the log, not only in its predecessor's cursor (15)."""
        return True

    def may_report_unknown(self, state: BodyState, enforces_valid_until: bool) -> bool:
        """Only of a body that can begin nothing more (11)."""
        return state is not BodyState.EXPIRED or enforces_valid_until

"""What the owner granted, and when every lease that a body can hold is over (rules 5 to 7)."""

from __future__ import annotations

from services.session.domain.limits import SessionLimits
from services.session.domain.rules import SessionRules
from services.session.ports import Clock
from tectum.protocol.types import Body, Epoch


class Leases:
    """Of one session in one term."""

    def __init__(
        self, taken_at: float, clock: Clock, limits: SessionLimits, rules: SessionRules
    ) -> None:
        """`taken_at`: monotonic seconds of the compare-and-set that made this owner."""
        self._taken_at = taken_at
        self._clock = clock
        self._limits = limits
        self._rules = rules
        self._granted: dict[tuple[str, int], float] = {}
        self._epochs: dict[tuple[str, int], Epoch] = {}
        self._asked: dict[tuple[str, int], float] = {}

    def asked(self, home: str, incarnation: int) -> None:
        """A body asked: it is alive."""
        self._asked[home, incarnation] = self._clock.monotonic()

    def granted(self, home: str, incarnation: int, epoch: Epoch) -> None:
        """The owner's clock starts when it replies."""
        self._granted[home, incarnation] = self._clock.monotonic()
        self._epochs[home, incarnation] = epoch

    def epoch_of(self, home: str, incarnation: int) -> Epoch | None:
        """The epoch of the last grant; None where there was none. Kept after `forget`: it may ask again."""
        return self._epochs.get((home, incarnation))

    def quiet_at(self, body: Body) -> float:
        """When every lease that this body can hold is over, monotonic seconds."""
        lease_s = self._limits.lease_s * (1.0 + self._limits.lease_margin)
        granted_at = self._granted.get((body.home, body.incarnation))
        return self._rules.quiet_at(self._taken_at, granted_at, lease_s)

    def silent_since(self, body: Body, opened_at: float) -> float:
        """When this body was last heard of."""
        return max(self._asked.get((body.home, body.incarnation), opened_at), opened_at)

    def forget(self, body: Body) -> None:
        """It is gone."""
        self._granted.pop((body.home, body.incarnation), None)
        self._asked.pop((body.home, body.incarnation), None)

"""How often a call is tried again."""

from __future__ import annotations


class RetryBudget:
    """gRPC's retry throttling: a failure takes a token, a success gives a tenth back.

    While at most half of the tokens are left nothing is tried again, so retries add at most a tenth to the
    load of a peer that is down.
    """

    def __init__(self, tokens: float = 10.0) -> None:
        self._most = tokens
        self._left = tokens

    def succeeded(self) -> None:
        """Give a tenth of a token back."""
        self._left = min(self._most, self._left + 0.1)

    def failed(self) -> bool:
        """Take a token; answer whether another try is within the budget."""
        self._left = max(0.0, self._left - 1.0)
        return self._left > self._most / 2

"""Every failure the platform expects. No gRPC here, so domains may import it."""

from __future__ import annotations


class PlatformError(Exception):
    """Base of every expected failure; `reason` is UPPER_SNAKE, stable and machine-readable."""

    def __init__(self, reason: str, message: str, **metadata: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.metadata = metadata


class InvalidRequest(PlatformError):
    """The request is wrong whatever the state of the system; do not retry."""


class NotFound(PlatformError):
    """The named thing does not exist; do not retry."""


class AlreadyExists(PlatformError):
    """The thing to create is there already."""


class WrongState(PlatformError):
    """The system is in a state that does not allow this; change the state first."""


class Conflict(PlatformError):
    """Somebody else changed it meanwhile; redo the whole read-modify-write."""


class Overloaded(PlatformError):
    """A limit was reached; wait for `retry_after_s`."""

    def __init__(
        self, reason: str, message: str, *, retry_after_s: float = 1.0, **metadata: str
    ) -> None:
        super().__init__(reason, message, **metadata)
        self.retry_after_s = retry_after_s


class DependencyDown(PlatformError):
    """Something this service needs does not answer; retry the call if it is idempotent."""


class DeadlineExceeded(PlatformError):
    """The caller's time is over."""


class PermissionDenied(PlatformError):
    """The caller is known and may not do this."""


class Unauthenticated(PlatformError):
    """The caller did not say who it is, or not convincingly."""

"""What is known of the call that the running task serves: its caller and its deadline."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

LOCAL_TENANT = "local"
INTERNAL_SCOPE = "internal"
ANY_SCOPE = "*"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls: a tenant, and the services that it may ask."""

    tenant: str
    scopes: frozenset[str] = field(default_factory=frozenset)
    """Names of services (`session`, `memory` …), `*` for every one, `internal` for the platform itself."""

    def may_call(self, service: str) -> bool:
        """Whether the scopes hold `service`, the third last part of a method's path."""
        return ANY_SCOPE in self.scopes or service in self.scopes or INTERNAL_SCOPE in self.scopes


LOCAL_CALLER = Caller(LOCAL_TENANT, frozenset({ANY_SCOPE}))


@dataclass(frozen=True, slots=True)
class CallScope:
    """One served call (or one handled event), as the code below it sees it."""

    caller: Caller
    deadline: float | None
    """Instant on time.monotonic() by which the answer must be there; None: no limit."""


_scope: ContextVar[CallScope | None] = ContextVar("tectum_call", default=None)


def enter_call(scope: CallScope) -> None:
    """Make `scope` the current one for the rest of this task; gRPC runs every call in a task of its own."""
    _scope.set(scope)


def current_caller() -> Caller:
    """The caller of the call that this task serves; the local tenant outside of one."""
    scope = _scope.get()
    return LOCAL_CALLER if scope is None else scope.caller


def current_tenant() -> str:
    """The tenant of the call that this task serves; `local` outside of one."""
    return current_caller().tenant


def current_deadline() -> float | None:
    """The instant on time.monotonic() by which this task must be done; None: no limit."""
    scope = _scope.get()
    return None if scope is None else scope.deadline


def remaining_s() -> float | None:
    """Seconds until the current deadline, not below 0; None: no limit."""
    deadline = current_deadline()
    return None if deadline is None else max(0.0, deadline - time.monotonic())


@contextmanager
def within(timeout_s: float, *, caller: Caller | None = None) -> Iterator[None]:
    """Cut the current deadline to at most `timeout_s` seconds from now, for the calls made in the block."""
    deadline = time.monotonic() + timeout_s
    outer = current_deadline()
    scope = CallScope(
        caller or current_caller(), deadline if outer is None else min(deadline, outer)
    )
    token = _scope.set(scope)
    try:
        yield
    finally:
        _scope.reset(token)

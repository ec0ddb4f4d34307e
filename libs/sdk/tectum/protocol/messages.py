"""The events of `tectum.event.v1` as plain data."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from tectum.actions.types import Action
from tectum.geometry import Box
from tectum.observations.types import Screen
from tectum.protocol.types import Body, BodyReport, Epoch


@dataclass(frozen=True, slots=True)
class TurnStarted:
    session_id: str
    epoch: Epoch
    first_step: int
    instruction: str
    strategy: str
    body: Body
    screen: Screen
    strategy_settings: str = ""
    attempt: int = 1
    secret_names: tuple[str, ...] = ()
    policy: str = ""
    max_steps: int = 0


@dataclass(frozen=True, slots=True)
class ClientMessageAccepted:
    session_id: str
    client_id: str
    client_seq: int
    kind: str
    text: str = ""
    step: int = 0
    approved: bool = False


@dataclass(frozen=True, slots=True)
class Target:
    """The element and page that an action touches."""

    element_id: str = ""
    role: str = ""
    name: str = ""
    url: str = ""
    secret: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    session_id: str
    epoch: Epoch
    step: int
    action: Action
    body: Body
    reason: str = ""
    exemplar_ids: tuple[str, ...] = ()
    observation_id: str = ""
    strategy: str = ""
    thinking_ms: float = 0.0
    policy: str = ""
    target: Target | None = None


class Verdict(enum.StrEnum):
    ALLOW = "allow"
    DENY = "deny"
    ASK = "ask"


@dataclass(frozen=True, slots=True)
class Decision:
    session_id: str
    epoch: Epoch
    step: int
    verdict: Verdict
    rule_id: str = "default"
    reason: str = ""
    policy: str = ""
    policy_sha256: str = ""
    question: str = ""


@dataclass(frozen=True, slots=True)
class ActionIssued:
    plan: Plan
    decision: Decision


@dataclass(frozen=True, slots=True)
class Started:
    session_id: str
    epoch: Epoch
    step: int
    home: str
    incarnation: int


class OutcomeStatus(enum.StrEnum):
    OK = "ok"
    FAILED = "failed"
    UNKNOWN = "unknown"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, slots=True)
class Outcome:
    session_id: str
    epoch: Epoch
    step: int
    status: OutcomeStatus
    reason: str = ""
    message: str = ""
    result: str = ""
    screen: Screen | None = None
    home: str = ""
    incarnation: int = 0
    ended: bool = False
    acting_ms: float = 0.0
    settling_ms: float = 0.0
    observing_ms: float = 0.0
    touched: tuple[Box, ...] = ()


@dataclass(frozen=True, slots=True)
class Score:
    session_id: str
    attempt: int
    reward: float
    success: bool
    source: str


class ControlKind(enum.StrEnum):
    OPENED = "opened"
    EPOCH_RAISED = "epoch_raised"
    ENVIRONMENT_LOST = "environment_lost"
    TURN_ENDED = "turn_ended"
    CLOSED = "closed"
    CLIENT_LOST = "client_lost"
    CLIENT_RETURNED = "client_returned"


@dataclass(frozen=True, slots=True)
class Control:
    session_id: str
    epoch: Epoch
    kind: ControlKind
    bodies: tuple[BodyReport, ...] = ()
    reason: str = ""
    message: str = ""
    owner_address: str = ""
    tenant: str = ""
    environment: str = ""
    instruction: str = ""
    agent: str = ""
    lesson: str = ""
    answer: str = ""


class SessionStatus(enum.StrEnum):
    OPEN = "open"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class SessionState:
    session_id: str
    tenant: str
    epoch: Epoch
    step: int = 0
    status: SessionStatus = SessionStatus.OPEN
    bodies: tuple[Body, ...] = ()
    cursors: Mapping[str, int] = field(default_factory=dict)
    environment: str = ""
    instruction: str = ""
    agent: str = ""
    attempt: int = 0
    resume_token_sha256: str = ""
    opened_at: float = 0.0
    working: bool = False
    reason: str = ""
    starts: Mapping[str, int] = field(default_factory=dict)
    owner_address: str = ""
    secret_names: tuple[str, ...] = ()
    traceparent: str = ""


@dataclass(frozen=True, slots=True)
class TrajectorySealed:
    session_id: str
    tenant: str
    manifest_key: str
    success: bool
    lesson: str = ""
    instruction: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ExecutorCheckpoint:
    executor: str
    incarnation: int
    outcomes: Mapping[str, int] = field(default_factory=dict)

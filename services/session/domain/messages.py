"""What a client says on its stream and what it hears, as plain data; the proto says what each field means."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from services.session.ports import Record
from tectum.protocol.types import Body, BodyReport, Epoch


class OnClientLost(enum.StrEnum):
    CONTINUE = "continue"
    PAUSE = "pause"


class OnEnvironmentLost(enum.StrEnum):
    FRESH = "fresh"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class Agent:
    strategy: str = ""
    strategy_settings: str = ""
    policy: str = ""
    on_client_lost: OnClientLost = OnClientLost.CONTINUE
    grace_s: float = 0.0
    on_environment_lost: OnEnvironmentLost = OnEnvironmentLost.FRESH
    max_steps: int = 0
    turn_limit_s: float = 0.0
    lesson: str = ""
    allow_literal_secrets: bool = False


@dataclass(frozen=True, slots=True)
class Open:
    client_id: str = ""
    environment: str = ""
    agent: Agent = field(default_factory=Agent)
    instruction: str = ""
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Resume:
    session_id: str = ""
    resume_token: str = field(default="", repr=False)
    cursor: str = ""
    client_id: str = ""
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Instruction:
    text: str = ""


@dataclass(frozen=True, slots=True)
class Interrupt:
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Approval:
    step: int = 0
    approved: bool = False


@dataclass(frozen=True, slots=True)
class Feedback:
    success: bool = False
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Close:
    pass


@dataclass(frozen=True, slots=True)
class ClientMessage:
    """One ConverseRequest."""

    client_seq: int
    message: Open | Resume | Instruction | Interrupt | Approval | Feedback | Close


@dataclass(frozen=True, slots=True)
class Opened:
    session_id: str
    resume_token: str = field(repr=False)
    epoch: Epoch = field(default_factory=Epoch)
    bodies: tuple[Body, ...] = ()
    client_seq: int = 0


@dataclass(frozen=True, slots=True)
class Acknowledged:
    client_seq: int


@dataclass(frozen=True, slots=True)
class Refused:
    client_seq: int
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Heard:
    """One ConverseResponse: an answer, or a record of the session's history with the cursor after it."""

    body: Opened | Acknowledged | Refused | Record
    cursor: str = ""


@dataclass(frozen=True, slots=True)
class Interrupted:
    """A new epoch is durable, and every body is accounted for."""

    epoch: Epoch
    bodies: tuple[BodyReport, ...]

"""What every service says about sessions, as plain data; the protos of `tectum.event.v1` say
what each field means.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Epoch:
    """Orders everything that one session does: by term, then by n."""

    term: int = 0
    n: int = 0


@dataclass(frozen=True, slots=True)
class BlobRef:
    """Content-addressed bytes; `sha256` is lower-case hexadecimal."""

    sha256: str
    size_bytes: int
    content_type: str


class BodyKind(enum.StrEnum):
    GUI = "gui"
    ROBOT = "robot"
    SPEECH = "speech"


@dataclass(frozen=True, slots=True)
class Body:
    """One live environment at one incarnation of one executor."""

    home: str
    incarnation: int
    kind: BodyKind
    partition: int
    address: str = ""
    enforces_valid_until: bool = False


class BodyState(enum.StrEnum):
    CONFIRMED = "confirmed"
    KILLED = "killed"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class BodyReport:
    body: Body
    state: BodyState

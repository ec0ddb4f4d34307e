"""The manifest of a sealed trajectory and the keys under which everything of it lies."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from libs.errors import WrongState
from tectum.protocol.types import BlobRef

VERSION = 1
"""Of the layout that this module writes."""
NEWEST_PREFIX = "trajectory-index/newest/"
_PLAIN_ID = re.compile(r"[A-Za-z0-9_=-][A-Za-z0-9._=-]{0,127}")
_FAR_FUTURE_MS = 10**14 - 1
"""Year 5138: subtracting from it makes the newest key the first."""


@dataclass(frozen=True, slots=True)
class Segment:
    """One MCAP file of the trajectory."""

    key: str
    sha256: str
    size_bytes: int
    events: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a sealed trajectory is; `protos/tectum/recorder/v1/recorder.proto` says what each field means."""

    session_id: str
    tenant: str = ""
    segments: tuple[Segment, ...] = ()
    blobs: tuple[BlobRef, ...] = ()
    environment: str = ""
    instructions: tuple[str, ...] = ()
    agent: str = ""
    reason: str = ""
    success: bool = False
    scored_by: str = ""
    reward: float = 0.0
    steps: int = 0
    opened_at: float = 0.0
    sealed_at: float = 0.0
    version: int = VERSION
    privacy_level: str = ""
    lesson: str = ""
    cursors: Mapping[str, int] = field(default_factory=dict)

    def encoded(self) -> bytes:
        """Canonical JSON."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True, indent=1).encode()

    @classmethod
    def decoded(cls, data: bytes, key: str) -> Manifest:
        """Return the manifest that `encoded` wrote.

        Raises:
            WrongState: it is not a manifest, or of a later version (MANIFEST_CORRUPT).
        """
        try:
            values: dict[str, Any] = json.loads(data)
            values["segments"] = tuple(Segment(**item) for item in values["segments"])
            values["blobs"] = tuple(BlobRef(**item) for item in values["blobs"])
            values["instructions"] = tuple(values["instructions"])
            found = cls(**values)
        except (ValueError, TypeError, KeyError) as error:
            raise WrongState(
                "MANIFEST_CORRUPT", f"{key}: {type(error).__name__}: {error}", key=key
            ) from error
        if found.version > VERSION:
            raise WrongState(
                "MANIFEST_CORRUPT", f"{key}: expected version <= {VERSION}, got {found.version}"
            )
        return found


def safe_name(session_id: str) -> str:
    """The session id as one part of a key or a file name; a hash where it has other characters."""
    if _PLAIN_ID.fullmatch(session_id):
        return session_id
    return "sha256=" + hashlib.sha256(session_id.encode()).hexdigest()


def folder_key(session_id: str, opened_at: float) -> str:
    """`trajectories/<yyyy>/<mm>/<dd>/<session_id>`; the day is that of the opening, in UTC."""
    day = datetime.fromtimestamp(opened_at, UTC)
    return f"trajectories/{day:%Y/%m/%d}/{safe_name(session_id)}"


def pointer_key(session_id: str) -> str:
    """Where the key of a session's manifest is found."""
    return f"trajectory-index/session/{safe_name(session_id)}"


def newest_key(session_id: str, opened_at: float) -> str:
    """Sorts the newest trajectory first."""
    return f"{NEWEST_PREFIX}{_FAR_FUTURE_MS - int(opened_at * 1000):014d}-{safe_name(session_id)}"

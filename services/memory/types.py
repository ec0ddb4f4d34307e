"""What memory holds, as plain data; `protos/tectum/memory/v1/memory.proto` says what fields mean."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tectum.actions.types import Action
from tectum.observations.types import Screen

Vector = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class ExemplarStep:
    """One demonstrated step: what was seen before the action."""

    screen: Screen
    action: Action


@dataclass(frozen=True, slots=True)
class Exemplar:
    """A whole trajectory of a verified success."""

    exemplar_id: str
    lesson: str
    instruction: str
    steps: tuple[ExemplarStep, ...]
    last_screen: Screen | None = None
    session_id: str = ""
    verified_by: str = ""
    written_at: float = 0.0
    abstraction_version: int = 0


@dataclass(frozen=True, slots=True)
class Entry:
    """What the search index knows of a stored exemplar."""

    exemplar_id: str
    lesson: str
    written_at: float
    embedder: str
    """What made `vector`, with its version; another means that it must be made anew."""
    vector: Vector
    """(2 D,) float32: the instruction's and the first screen's, each of length 1."""


@dataclass(frozen=True, slots=True)
class KeyTexts:
    """The two texts that an exemplar is found by."""

    instruction: str
    screen: str


@dataclass(frozen=True, slots=True)
class Match:
    """A stored exemplar in wire form (`tectum.memory.v1.Exemplar`), and how near it is."""

    payload: bytes
    similarity: float


@dataclass(frozen=True, slots=True)
class Turn:
    """A finished turn, rendered as text for a prompt (MMInA's history)."""

    turn_id: str
    session_id: str
    sites: tuple[str, ...]
    """Hosts of the pages that it acted on."""
    finished_at: float
    """Seconds since the Unix epoch."""
    text: str

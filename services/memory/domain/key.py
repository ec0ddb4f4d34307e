"""What an exemplar is found by: its instruction without the values in it, and its first screen."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np

from services.memory.types import KeyTexts, Vector
from tectum.observations.abstract import ABSTRACTION_VERSION, abstract
from tectum.observations.types import Screen

MODEL = "minilm"

EMBEDDER = f"{MODEL}/1/{ABSTRACTION_VERSION}"
"""Model, version of this file's texts, version of the abstraction. Raise the middle one whenever a
text of some exemplar changes, so that stored vectors are made anew."""

# Tried on 130 MiniWoB++ pages, three exemplars each, three unseen seeds, majority of the nearest
# three: the plain instruction alone finds the page in 74.6 % (its family in 83.3 %), with the
# values masked 77.9 % (87.4 %), and with the screen at this weight 84.1 % (92.8 %). From 0.5 to
# 0.7 nothing changes by more than half a point.
INSTRUCTION_WEIGHT = 0.6
SCREEN_CHARACTERS = 300
INSTRUCTION_CHARACTERS = 2_000

_QUOTED = re.compile(r"\"[^\"]*\"|“[^”]*”|(?<!\w)'[^']*'(?!\w)")
_NUMBER = re.compile(r"\d[\d,.:/%$-]*")
_NAMES = re.compile(r"(?<=[a-z,;] )[A-Z][\w@.-]*(?: [A-Z][\w@.-]*)*")


def key_texts(instruction: str, screen: Screen | None) -> KeyTexts:
    """Return the texts to embed.

    Of the instruction, what is quoted, numbers and names inside a sentence are masked: they vary
    between tasks of one kind. Of the screen, how many elements of each role it has comes first,
    since that varies least, then its abstraction.
    """
    text = _QUOTED.sub('"…"', instruction[:INSTRUCTION_CHARACTERS])
    text = _NAMES.sub("_", _NUMBER.sub("0", text))
    if screen is None:
        return KeyTexts(text, "")
    roles = Counter(element.role for element in screen.elements)
    counted = ", ".join(f"{count} {role}" for role, count in sorted(roles.items()))
    return KeyTexts(text, f"{counted}. {abstract(screen, limit=SCREEN_CHARACTERS)}")


def stored_vector(rows: Vector) -> Vector:
    """Return (2 D,) from the (2, D) rows of instruction and screen."""
    return rows.reshape(-1)


def query_vector(rows: Vector, *, screen: bool) -> Vector:
    """Return (2 D,) whose dot product with a stored vector is the weighted cosine, -1 to 1.

    Without `screen` the instruction alone counts.
    """
    weight = INSTRUCTION_WEIGHT if screen else 1.0
    weights = np.array([[weight], [1.0 - weight]], dtype=np.float32)
    return (rows * weights).reshape(-1)

"""What the log says of steps: the first STARTED and the first outcome of each."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mark:
    """Who began a step."""

    home: str
    incarnation: int

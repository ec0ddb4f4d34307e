"""Extents and boxes in screen pixels: the pixels of the screenshot, origin top left."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Size:
    """An extent; both sides are at least 1 where a screen is meant."""

    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Box:
    """An axis-aligned box; `x` and `y` are its top left corner."""

    x: float
    y: float
    width: float
    height: float

    @property
    def centre(self) -> tuple[float, float]:
        """The middle of the box."""
        return (self.x + self.width / 2, self.y + self.height / 2)

    def contains(self, x: float, y: float) -> bool:
        """Whether the point lies in the box; the right and bottom edges do not belong to it."""
        return self.x <= x < self.x + self.width and self.y <= y < self.y + self.height

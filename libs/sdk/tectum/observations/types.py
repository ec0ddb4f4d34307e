"""Screens and elements as plain data; `protos/tectum/event/v1/observation.proto` says what each
field means.
"""

from __future__ import annotations

from dataclasses import dataclass

from tectum.geometry import Box, Size
from tectum.protocol.types import BlobRef


@dataclass(frozen=True, slots=True)
class Element:
    """One node of a bounded element tree."""

    id: str
    role: str
    name: str = ""
    value: str = ""
    states: tuple[str, ...] = ()
    box: Box | None = None
    text: str = ""
    parent_id: str = ""


@dataclass(frozen=True, slots=True)
class Tab:
    title: str
    url: str
    active: bool = False


@dataclass(frozen=True, slots=True)
class Screen:
    """A screen with what is on it, visible elements first."""

    observation_id: str
    size: Size
    screenshot: BlobRef | None = None
    scale: float = 1.0
    elements: tuple[Element, ...] = ()
    elements_omitted: int = 0
    url: str = ""
    title: str = ""
    focused_id: str = ""
    tabs: tuple[Tab, ...] = ()
    settled: bool = True
    dialog: str = ""
    scroll_y: float = 0.0
    scroll_height: float = 0.0

    def find(self, element_id: str) -> Element | None:
        """The element with this id, if it is in the tree."""
        return next((element for element in self.elements if element.id == element_id), None)

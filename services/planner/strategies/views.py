"""A screen indexed for grounding: what each element says, and how elements lie to one another."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property

from tectum.geometry import Box
from tectum.observations.types import Element, Screen

ACTIVE_ROLES = frozenset(
    {
        "button", "link", "checkbox", "radio", "textbox", "searchbox", "combobox", "listbox", "option",
        "tab", "menuitem", "menuitemcheckbox", "menuitemradio", "slider", "spinbutton", "switch", "treeitem",
    }
)  # fmt: skip
"""Roles of what a person operates; of nested matches, the active one is meant."""

FIELD_ROLES = frozenset({"textbox", "searchbox", "combobox", "spinbutton", "slider", "listbox"})
"""Roles of what has a value of its own."""

ROW_ROLES = frozenset({"row", "listitem", "treeitem", "option", "menuitem", "article"})
"""Roles whose content belongs together."""


def plain(text: str) -> str:
    """The text without regard to case and repeated white space."""
    return " ".join(text.split()).casefold()


class View:
    """Elements of one screen by position, role and text; everything expensive is computed once."""

    def __init__(self, screen: Screen) -> None:
        self.screen = screen
        self.elements: Sequence[Element] = screen.elements
        self.position = {element.id: i for i, element in enumerate(self.elements)}
        self.parent = [self.position.get(element.parent_id, -1) for element in self.elements]
        self.filtered: dict[tuple[str, str], list[int]] = {}
        self.memo: dict[object, list[int]] = {}
        self._labels: dict[int, str] = {}

    @cached_property
    def print(self) -> int:
        """Equal for screens that show the same; where things lie and what has the focus do not count."""
        seen = [
            (e.role, e.name, e.value, e.text, tuple(s for s in e.states if s != "focused"))
            for e in self.elements
        ]
        return hash((tuple(seen), self.screen.url, self.screen.dialog, self.screen.scroll_y))

    @cached_property
    def children(self) -> list[list[int]]:
        """Positions of the children of each element."""
        found: list[list[int]] = [[] for _ in self.elements]
        for i, parent in enumerate(self.parent):
            if parent >= 0 and parent != i:
                found[parent].append(i)
        return found

    @cached_property
    def said(self) -> list[tuple[str, ...]]:
        """The different texts of each element: name, own text, value; white space and case
        evened out.
        """
        return [
            tuple(dict.fromkeys(plain(text) for text in (e.name, e.text, e.value) if text.strip()))
            for e in self.elements
        ]

    @cached_property
    def by_role(self) -> dict[str, list[int]]:
        """Positions of each role, in the order of the page."""
        found: dict[str, list[int]] = {}
        for i, element in enumerate(self.elements):
            found.setdefault(element.role, []).append(i)
        return found

    @cached_property
    def by_text(self) -> dict[str, list[int]]:
        """Positions of the elements that say a text."""
        found: dict[str, list[int]] = {}
        for i, texts in enumerate(self.said):
            for text in texts:
                found.setdefault(text, []).append(i)
        return found

    @cached_property
    def by_bare(self) -> dict[str, list[int]]:
        """The same without punctuation around the texts."""
        found: dict[str, list[int]] = {}
        for text, positions in self.by_text.items():
            found.setdefault(text.strip(" .,:;!?") or text, []).extend(positions)
        return {text: sorted(set(positions)) for text, positions in found.items()}

    @cached_property
    def ancestry(self) -> list[tuple[int, ...]]:
        """Of each element, its ancestors' positions from the root down, itself last."""
        found: list[tuple[int, ...] | None] = [None] * len(self.elements)
        for i in range(len(self.elements)):
            chain: list[int] = []
            at = i
            while at >= 0 and found[at] is None and at not in chain:
                chain.append(at)
                at = self.parent[at]
            above = found[at] or () if at >= 0 else ()
            for j in reversed(chain):
                above = (*above, j)
                found[j] = above
        return [path or () for path in found]

    def text_of(self, i: int) -> str:
        """What a person would read off the element: its value, name or text, else its
        descendants'.
        """
        element = self.elements[i]
        if element.role in FIELD_ROLES and element.value:
            return element.value
        own = element.name or element.text or element.value
        if own:
            return own
        return " ".join(text for child in self.children[i] if (text := self.text_of(child)))

    def inside(self, i: int, ancestor: int) -> bool:
        """Whether the element is a descendant of the other."""
        return i != ancestor and ancestor in self.ancestry[i]

    def common_depth(self, a: int, b: int) -> int:
        """How many ancestors two elements share, themselves included."""
        depth = 0
        for x, y in zip(self.ancestry[a], self.ancestry[b], strict=False):
            if x != y:
                break
            depth += 1
        return depth

    def same_row(self, a: int, b: int) -> bool:
        """Whether a person would say that they stand in one row."""
        for path in (self.ancestry[a], self.ancestry[b]):
            rows = [i for i in path if self.elements[i].role in ROW_ROLES]
            if rows:
                return rows[-1] in self.ancestry[a] and rows[-1] in self.ancestry[b]
        first, second = self.elements[a].box, self.elements[b].box
        return first is not None and second is not None and _overlap_y(first, second) >= 0.5

    def distance(self, a: int, b: int) -> float:
        """Pixels between the boxes of two elements; infinite where one has none."""
        first, second = self.elements[a].box, self.elements[b].box
        if first is None or second is None:
            return float("inf")
        dx = max(first.x - second.x - second.width, second.x - first.x - first.width, 0.0)
        dy = max(first.y - second.y - second.height, second.y - first.y - first.height, 0.0)
        return float((dx * dx + dy * dy) ** 0.5)

    def label(self, i: int) -> str:
        """As `label_of`, computed once."""
        if i not in self._labels:
            self._labels[i] = self.label_of(i)
        return self._labels[i]

    def label_of(self, i: int) -> str:
        """What names a field: its own name, else the nearest text left of it in its row, else
        the one above.
        """
        if self.elements[i].name:
            return self.elements[i].name
        box = self.elements[i].box
        if box is None:
            return ""
        best: tuple[float, str] | None = None
        for j, element in enumerate(self.elements):
            text = element.text or element.name
            if not text or element.box is None or element.role in ACTIVE_ROLES or j == i:
                continue
            if self.children[j] and self.inside(i, j):
                continue
            gap = _label_gap(box, element.box)
            if gap is not None and (best is None or gap < best[0]):
                best = (gap, text)
        return best[1] if best else ""

    def innermost(self, positions: Iterable[int]) -> list[int]:
        """Without those that only contain, or only belong to, another of them: the active one
        stays.
        """
        chosen = list(dict.fromkeys(positions))
        kept = []
        for i in chosen:
            active = self.elements[i].role in ACTIVE_ROLES
            above = [j for j in chosen if self.inside(i, j)]
            below = [j for j in chosen if self.inside(j, i)]
            if any(self.elements[j].role in ACTIVE_ROLES for j in above):
                continue
            if below and not active:
                continue
            kept.append(i)
        return kept

    def visible(self, i: int) -> bool:
        """Whether it can be pointed at now."""
        element = self.elements[i]
        return element.box is not None and "offscreen" not in element.states

    def describe(self, i: int) -> str:
        """The element in words, for a reason or an error."""
        element = self.elements[i]
        text = self.text_of(i)
        return f"{element.role or 'element'} {text[:60]!r}" if text else element.role or "element"


def _overlap_y(a: Box, b: Box) -> float:
    shared = min(a.y + a.height, b.y + b.height) - max(a.y, b.y)
    least = min(a.height, b.height)
    return shared / least if least > 0 else 0.0


def _label_gap(field: Box, text: Box) -> float | None:
    """How far a text lies from a field that it may name; None where it cannot."""
    if _overlap_y(field, text) >= 0.5 and text.x + text.width <= field.x + 2:
        # What stands in the field's own row names it, even from farther than what lies above.
        return (field.x - text.x - text.width) / 4
    above = field.y - text.y - text.height
    if -2 <= above <= 40 and text.x < field.x + field.width and field.x < text.x + text.width:
        return above + 20
    return None

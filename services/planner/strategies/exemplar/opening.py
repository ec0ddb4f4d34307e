"""What on a screen can be opened to bring more of it to sight."""

from __future__ import annotations

from collections.abc import Set

from services.planner.strategies.views import ROW_ROLES, View


def openers(view: View, signs: Set[str]) -> list[int]:
    """Sections and tabs that are closed; else rows with a sign of their own, as in a tree of folders.

    Args:
        view: what is on the screen.
        signs: looks of the signs of what was opened so far; where there are any, only rows with one of them
            are meant, since a row with another sign may be what the tree holds.
    """
    closed = [
        i
        for i, element in enumerate(view.elements)
        if "collapsed" in element.states
        or (element.role == "tab" and "selected" not in element.states)
    ]
    if closed:
        return closed
    rows = [i for i, element in enumerate(view.elements) if element.role in ROW_ROLES]
    if signs:
        return [i for i in rows if signs_of(view, i) & signs]
    return [i for i in rows if "clickable" in view.elements[i].states and signs_of(view, i)]


def signs_of(view: View, i: int) -> set[str]:
    """The looks of the icons that stand directly in a row."""
    return {
        state
        for child in view.children[i]
        if view.elements[child].role in ("graphics-symbol", "img")
        for state in view.elements[child].states
        if state.startswith("look:")
    }

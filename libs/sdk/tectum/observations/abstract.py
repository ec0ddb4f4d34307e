"""A screen as short text, for embeddings and language models (after Synapse and Mind2Web)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tectum.observations.types import Element, Screen

__all__ = ["ABSTRACTION_VERSION", "abstract"]

ABSTRACTION_VERSION = 1
"""Raised whenever the text of some screen changes, so that stored embeddings can be told apart."""

_WORD_CHARACTERS = 15
"""Longer words are left out, as in Mind2Web: they are hashes, URLs and run-together text."""
_ATTRIBUTE_WORDS = 5
_NODE_WORDS = 20
_DEPTH = 12
"""Deeper nodes are printed at this depth, so that a hostile tree cannot exhaust the stack."""
_NOTHING = frozenset({"hidden", "none", "presentation", "null", "undefined", "generic"})
_STATES = (
    "checked",
    "selected",
    "expanded",
    "pressed",
    "focused",
    "disabled",
    "required",
    "secret",
)
"""The states that tell something about the task; where an element lies is told by what was left
out."""


def abstract(screen: Screen, *, limit: int, ids: bool = False) -> str:
    """Return `screen` as nested `(role attributes text …)`, at most `limit` characters long.

    A node says, in this order: role, id (with `ids`), name, value, states, text; each attribute
    has at most 5
    words, each node 20. Nodes that say nothing are replaced by their children. What is visible
    comes first, so
    that the limit cuts what is not; a cut is marked by `…`.

    Args:
        screen: what was observed.
        limit: most characters of the result; at least 1.
        ids: whether each node names its element's id, for an answer that refers to it.

    Raises:
        ValueError: `limit` is below 1.
    """
    if limit < 1:
        raise ValueError(f"expected a limit of at least 1 character, got {limit!r}")
    parts: list[str] = []
    if screen.title:
        parts.append(f"(title {_words(screen.title, _ATTRIBUTE_WORDS)})")
    if screen.dialog:
        parts.append(f"(dialog {_words(screen.dialog, _NODE_WORDS)})")
    known = {element.id for element in screen.elements}
    children: dict[str, list[Element]] = {}
    for element in screen.elements:
        parent = element.parent_id if element.parent_id in known else ""
        children.setdefault(parent, []).append(element)
    parts.extend(_print(children.get("", ()), children, ids=ids, depth=0, path=frozenset()))
    text = " ".join(parts)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _print(
    elements: Sequence[Element],
    children: dict[str, list[Element]],
    *,
    ids: bool,
    depth: int,
    path: frozenset[str],
) -> Iterator[str]:
    for element in elements:
        if element.id in path:
            continue
        below = children.get(element.id, ()) if depth < _DEPTH else ()
        inner = list(_print(below, children, ids=ids, depth=depth + 1, path=path | {element.id}))
        said = _node(element, ids=ids)
        if said:
            yield f"({' '.join([said, *inner])})"
        else:
            yield from inner


def _node(element: Element, *, ids: bool) -> str:
    role = "" if element.role in _NOTHING else element.role
    name = _words(element.name, _ATTRIBUTE_WORDS)
    value = _words(element.value, _ATTRIBUTE_WORDS)
    text = "" if element.text == element.name else element.text
    states = [state for state in _STATES if state in element.states]
    if not (name or value or text or (role and role != "text")):
        return ""
    said = [role or "text"]
    if ids:
        said.append(f"[{element.id}]")
    said += [part for part in (name, f"={value}" if value else "", *states) if part]
    words = _NODE_WORDS - sum(len(part.split()) for part in said)
    if text and words > 0:
        said.append(_words(text, words))
    return " ".join(part for part in said if part)


def _words(text: str, most: int) -> str:
    kept = [
        word
        for word in text.split()
        if len(word) <= _WORD_CHARACTERS and not word.startswith("http")
    ]
    return " ".join(kept[:most])

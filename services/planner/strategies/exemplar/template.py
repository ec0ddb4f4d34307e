"""What varies between instructions of one task: anchors that all share, and slots between and
of them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from services.planner.strategies.exemplar.tokens import Token, tokenize

SlotKey = tuple[str, int]
"""Kind of slot and its number; negative numbers count from the end."""

WHOLE: SlotKey = ("whole", 0)
"""The instruction itself, for what it mentions somewhere."""

_TYPED = ("quoted", "number", "date", "time", "ordinal")
_JOINT = re.compile(r"\s*[,>]\s*(?:and\s+|or\s+)?|\s+and\s+|\s*\n\s*", re.IGNORECASE)
_COMMA = re.compile(r"\s*[,>]\s*")
"""For lists whose entries have an `and` of their own."""
_TRIM = " \t\n,.:;!?"


@dataclass(frozen=True, slots=True)
class Slots:
    """The values of one instruction."""

    texts: Mapping[SlotKey, str]
    lists: Mapping[SlotKey, tuple[str, ...]] = field(default_factory=dict)
    gap_of: Mapping[SlotKey, int] = field(default_factory=dict)
    """In which gap of the template each slot lies; none for what is the same everywhere."""


def align(instructions: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """The tokens that all instructions share, in order: the constant part of the template."""
    token_lists = [tokenize(text) for text in instructions]
    if not token_lists:
        return ()
    anchors = [token.key for token in token_lists[0]]
    for tokens in token_lists[1:]:
        pairs = _matched(anchors, [token.key for token in tokens])
        anchors = [anchors[i] for i, _ in pairs]
    while True:
        kept = _without_joints(anchors, token_lists)
        if kept == anchors:
            return tuple(anchors)
        anchors = kept


def likeness(a: str, b: str) -> float:
    """The share of tokens that two instructions have in common, 0 to 1."""
    first, second = [[token.key for token in tokenize(text)] for text in (a, b)]
    longest = max(len(first), len(second))
    return len(_matched(first, second)) / longest if longest else 1.0


def slots(instruction: str, anchors: Sequence[tuple[str, str]]) -> Slots:
    """The values that `instruction` has for the gaps between the anchors, and those of its
    typed tokens.
    """
    tokens = tokenize(instruction)
    texts: dict[SlotKey, str] = {WHOLE: instruction}
    lists: dict[SlotKey, tuple[str, ...]] = {}
    gap_of: dict[SlotKey, int] = {}
    gaps = _gaps(tokens, anchors)
    for number, gap in enumerate(gaps):
        value = _gap_text(instruction, gap)
        if value:
            texts["gap", number] = value
            gap_of["gap", number] = number
        lists["gap", number] = _items(instruction, gap, _JOINT)
        lists["comma", number] = _items(instruction, gap, _COMMA)
        gap_of["comma", number] = number
    homes = {token.start: number for number, gap in enumerate(gaps) for token in gap}
    for kind in _TYPED:
        found = [token for token in tokens if token.kind == kind]
        for i, token in enumerate(found):
            for key in ((kind, i), (kind, i - len(found))):
                texts[key] = token.text
                if token.start in homes:
                    gap_of[key] = homes[token.start]
        lists[kind, 0] = tuple(token.text for token in found)
    return Slots(texts, lists, gap_of)


def _gaps(tokens: Sequence[Token], anchors: Sequence[tuple[str, str]]) -> list[list[Token]]:
    """The tokens before, between and after the anchors: one more list than anchors."""
    at = dict(_matched(list(anchors), [token.key for token in tokens]))
    gaps: list[list[Token]] = []
    begin = 0
    for i in range(len(anchors)):
        if i in at:
            gaps.append(list(tokens[begin : at[i]]))
            begin = at[i] + 1
        else:
            gaps.append([])
    gaps.append(list(tokens[begin:]))
    return gaps


def _trimmed(gap: Sequence[Token]) -> Sequence[Token]:
    begin, end = 0, len(gap)
    while begin < end and gap[begin].kind == "mark" and gap[begin].text in _TRIM:
        begin += 1
    while end > begin and gap[end - 1].kind == "mark" and gap[end - 1].text in _TRIM:
        end -= 1
    return gap[begin:end]


def _gap_text(instruction: str, gap: Sequence[Token]) -> str:
    inner = _trimmed(gap)
    if not inner:
        return ""
    if len(inner) == 1:
        return inner[0].text
    return instruction[inner[0].start : inner[-1].end]


def _items(instruction: str, gap: Sequence[Token], joint: re.Pattern[str]) -> tuple[str, ...]:
    """The entries of a list: quotations where there are any, else what commas and `and`
    separate.
    """
    inner = _trimmed(gap)
    quoted = tuple(token.text for token in inner if token.kind == "quoted")
    if quoted:
        return quoted
    if not inner:
        return ()
    text = instruction[inner[0].start : inner[-1].end]
    if text.casefold() in ("nothing", "none"):
        return ()
    return tuple(item.strip(_TRIM) for item in joint.split(text) if item.strip(_TRIM))


def _without_joints(
    anchors: Sequence[tuple[str, str]], token_lists: Sequence[Sequence[Token]]
) -> list[tuple[str, str]]:
    """Drop commas and `and` that stand beside a gap: they join the entries of a list."""
    doubtful: set[int] = set()
    for tokens in token_lists:
        at = dict(_matched(list(anchors), [token.key for token in tokens]))
        for i, (_, text) in enumerate(anchors):
            left = i > 0 and at.get(i - 1, -9) == at[i] - 1
            right = i + 1 < len(anchors) and at.get(i + 1, -9) == at[i] + 1
            if text in (",", ">") and not (left and right):
                doubtful.add(i)
    return [anchor for i, anchor in enumerate(anchors) if i not in doubtful]


def _weight(key: tuple[str, str]) -> float:
    kind, text = key
    if kind == "quoted":
        return 1.0
    return 1.0 if len(text) > 1 and text.isalpha() else 0.6


def _matched(a: list[tuple[str, str]], b: list[tuple[str, str]]) -> list[tuple[int, int]]:
    """Longest common subsequence, weighted so that runs of neighbours are preferred."""
    rows, columns = len(a), len(b)
    best = [[0.0] * (columns + 1) for _ in range(rows + 1)]
    run = [[0] * (columns + 1) for _ in range(rows + 1)]
    for i in range(rows - 1, -1, -1):
        for j in range(columns - 1, -1, -1):
            skip = max(best[i + 1][j], best[i][j + 1])
            best[i][j] = skip
            if a[i] == b[j]:
                took = _weight(a[i]) + best[i + 1][j + 1] + (0.5 if run[i + 1][j + 1] else 0.0)
                if took >= skip:
                    best[i][j], run[i][j] = took, 1
    pairs = []
    i = j = 0
    while i < rows and j < columns:
        if run[i][j]:
            pairs.append((i, j))
            i, j = i + 1, j + 1
        elif best[i + 1][j] >= best[i][j + 1]:
            i += 1
        else:
            j += 1
    return pairs

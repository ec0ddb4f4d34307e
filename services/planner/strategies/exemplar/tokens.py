"""An instruction as tokens: words, numbers, dates, times, quotations, punctuation."""

from __future__ import annotations

import re
from dataclasses import dataclass

_PATTERN = re.compile(
    r"""
    (?P<quoted>"[^"]*"|“[^”]*”|(?<!\w)'[^']*'(?!\w))
    |(?P<date>\d{1,2}/\d{1,2}/\d{2,4}|\d{4}-\d{2}-\d{2}
        |(?:January|February|March|April|May|June|July|August|September|October|November|December)
         \s\d{1,2}(?:st|nd|rd|th)?,?\s\d{4})
    |(?P<time>\d{1,2}:\d{2}(?:\s?[APap][Mm]\b)?)
    |(?P<ordinal>\d+(?:st|nd|rd|th)\b)
    |(?P<number>-?\$?\d+(?:\.\d+)?(?![\w]))
    |(?P<word>[@\#]?\w(?:[\w.'\u2019\-@]*\w)?)
    |(?P<mark>[^\w\s])
    """,
    re.VERBOSE,
)

_ORDINALS = (
    "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of an instruction; `text` is what it says, without the quotes of a quotation."""

    kind: str
    text: str
    start: int
    end: int

    @property
    def key(self) -> tuple[str, str]:
        """Equal for tokens that say the same; a quotation is never equal to a bare word."""
        return ("quoted" if self.kind == "quoted" else "", self.text.casefold())


def tokenize(text: str) -> tuple[Token, ...]:
    """The tokens of a text with their places in it."""
    tokens = []
    for match in _PATTERN.finditer(text):
        kind = match.lastgroup or "mark"
        said = match.group()
        if kind == "quoted":
            said = said[1:-1].strip()
        elif kind == "word" and said.casefold() in (*_ORDINALS, "last"):
            kind = "ordinal"
        tokens.append(Token(kind, said, match.start(), match.end()))
    return tuple(tokens)


def ordinal(text: str) -> int | None:
    """The position that an ordinal or a number names: 0 the first, -1 the last; None where it
    is neither.
    """
    said = text.strip().casefold()
    if said in _ORDINALS:
        return _ORDINALS.index(said)
    if said == "last":
        return -1
    digits = re.fullmatch(r"#?(\d{1,3})(?:st|nd|rd|th)?", said)
    return int(digits.group(1)) - 1 if digits else None

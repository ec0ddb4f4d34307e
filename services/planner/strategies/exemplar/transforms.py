"""How a typed or looked-for text can differ from the text it comes from."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, datetime
from functools import cache

from services.planner.strategies.exemplar.tokens import ordinal

Transform = Callable[[str], str | None]

_READ_DATES = ("%m/%d/%Y", "%m/%d/%y", "%Y-%m-%d", "%B %d %Y", "%B %d, %Y", "%d %B %Y", "%b %d %Y")
_WRITE_DATES = {
    "date Y-m-d": lambda d: d.strftime("%Y-%m-%d"),
    "date m/d/Y": lambda d: d.strftime("%m/%d/%Y"),
    "date d/m/Y": lambda d: d.strftime("%d/%m/%Y"),
    "date d.m.Y": lambda d: d.strftime("%d.%m.%Y"),
    "day": lambda d: str(d.day),
    "month": lambda d: str(d.month),
    "year": lambda d: str(d.year),
    "month name": lambda d: d.strftime("%B"),
    "month and year": lambda d: d.strftime("%B %Y"),
    "weekday": lambda d: d.strftime("%A"),
}
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_SUM = re.compile(r"\s*(-?\d+)\s*([+\-−x×*/÷])\s*(-?\d+)\s*(?:=.*)?\s*")  # noqa: RUF001
_EQUATION = re.compile(
    r"\s*(?:(?P<lone>[a-z])|(?P<first>-?\d+))\s*(?P<sign>[+\-−])\s*"  # noqa: RUF001
    r"(?:(?P<other>[a-z])|(?P<second>-?\d+))\s*=\s*(?P<result>-?\d+)\s*"
)


@cache
def parse_date(text: str) -> date | None:
    """The date that a text says in one of the usual forms."""
    said = re.sub(r"(\d)(st|nd|rd|th)\b", r"\1", text.strip())
    for form in _READ_DATES:
        try:
            return datetime.strptime(said, form).date()  # noqa: DTZ007 - a calendar day has no zone
        except ValueError:
            continue
    return None


def number(text: str) -> float | None:
    """The first number in a text."""
    match = _NUMBER.search(text.replace(",", ""))
    return float(match.group()) if match else None


def _first_number(text: str) -> str | None:
    match = _NUMBER.search(text.replace(",", ""))
    return match.group() if match else None


def _word(position: int) -> Transform:
    def pick(text: str) -> str | None:
        words = text.split()
        if len(words) < 2 or not -len(words) <= position < len(words):
            return None
        return words[position].strip(",.;:!?")

    return pick


def _plus(amount: int) -> Transform:
    def add(text: str) -> str | None:
        return str(int(text) + amount) if re.fullmatch(r"-?\d{1,9}", text) else None

    return add


def _dated(write: Callable[[date], str]) -> Transform:
    def convert(text: str) -> str | None:
        day = parse_date(text)
        return None if day is None else write(day)

    return convert


def _clock(text: str) -> str | None:
    match = re.fullmatch(r"(\d{1,2}):(\d{2})\s?([APap][Mm])", text.strip())
    if match is None:
        return None
    hour = int(match.group(1)) % 12 + (12 if match.group(3)[0] in "Pp" else 0)
    return f"{hour:02d}:{match.group(2)}"


def _evaluate(text: str) -> str | None:
    match = _SUM.fullmatch(text)
    if match is None:
        return None
    left, sign, right = int(match.group(1)), match.group(2), int(match.group(3))
    if sign == "+":
        return str(left + right)
    if sign in "-−":  # noqa: RUF001
        return str(left - right)
    if sign in "x×*":  # noqa: RUF001
        return str(left * right)
    return str(left // right) if right and left % right == 0 else None


def _solve(text: str) -> str | None:
    match = _EQUATION.fullmatch(text)
    if match is None or bool(match["lone"]) == bool(match["other"]):
        return None
    result = int(match["result"])
    plus = match["sign"] == "+"
    if match["lone"]:
        known = int(match["second"])
        return str(result - known if plus else result + known)
    known = int(match["first"])
    return str(result - known if plus else known - result)


def _tagged(prefix: str) -> Transform:
    return lambda text: prefix + text if text and not text.startswith(prefix) else None


def _untagged(text: str) -> str | None:
    return text[1:] if text[:1] in "@#$" and len(text) > 1 else None


def _singular(text: str) -> str | None:
    return text[:-1] if len(text) > 3 and text.endswith("s") else None


def _possessor(text: str) -> str | None:
    return text[:-2] if text.endswith(("'s", "’s")) else None  # noqa: RUF001


def _page(size: int) -> Transform:
    def page(text: str) -> str | None:
        place = ordinal(text)
        return None if place is None or place < 0 else str(place // size + 1)

    return page


def _on_page(size: int) -> Transform:
    def place_on(text: str) -> str | None:
        place = ordinal(text)
        return None if place is None or place < 0 else str(place % size + 1)

    return place_on


_PAGES = range(2, 11)
"""Sizes of pages that are thought of."""

TRANSFORMS: dict[str, Transform] = {
    "": lambda text: text,
    "lower case": lambda text: text.lower(),
    "upper case": lambda text: text.upper(),
    "capitalised": lambda text: text.title(),
    "first word": _word(0),
    "second word": _word(1),
    "last word": _word(-1),
    "last word but one": _word(-2),
    "number": _first_number,
    **{name: _dated(write) for name, write in _WRITE_DATES.items()},
    "24 hours": _clock,
    "one more": _plus(1),
    "one less": _plus(-1),
    "result": _evaluate,
    "unknown": _solve,
    "with @": _tagged("@"),
    "with #": _tagged("#"),
    "without sign": _untagged,
    "possessor": _possessor,
    "singular": _singular,
    "without spaces": lambda text: "".join(text.split()) if " " in text else None,
    **{f"page of {size}": _page(size) for size in _PAGES},
    **{f"place on page of {size}": _on_page(size) for size in _PAGES},
    "reversed": lambda text: text[::-1] if len(text) > 1 else None,
}
"""By name; None where a transform does not apply."""

ORDERED = {name: i for i, name in enumerate(TRANSFORMS)}
"""Plainer transforms first: the order breaks ties between explanations."""

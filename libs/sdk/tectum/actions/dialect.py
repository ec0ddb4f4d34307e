"""What the text dialects share: a safe parser of call expressions and their one error."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_TEXT_MAX = 65_536
"""Characters of one answer of a model; longer ones are refused before they are parsed."""


class DialectError(ValueError):
    """A text that is not of the dialect, or an action that the dialect cannot express.

    `reason` is DIALECT_SYNTAX, DIALECT_CALL_UNKNOWN, DIALECT_ARGUMENTS or ACTION_INEXPRESSIBLE.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Call:
    """One call expression with literal arguments."""

    name: str
    arguments: tuple[Any, ...]
    keywords: Mapping[str, Any]

    def bind(self, *names: str, **defaults: Any) -> list[Any]:
        """Return the arguments in the order of `names`, positional and keyword alike.

        Raises:
            DialectError: too many, unknown, doubled or missing arguments (DIALECT_ARGUMENTS).
        """
        given = dict(zip(names, self.arguments, strict=False))
        wrong = set(self.keywords) - (set(names) - set(given))
        missing = [name for name in names if name not in {*given, *self.keywords, *defaults}]
        if len(self.arguments) > len(names) or wrong or missing:
            raise DialectError(
                "DIALECT_ARGUMENTS",
                f"expected {self.name}({', '.join(names)}), got {list(self.arguments)}"
                f" and {dict(self.keywords)}",
            )
        bound = defaults | given | dict(self.keywords)
        return [bound[name] for name in names]


def parse_calls(text: str) -> list[Call]:
    """Return the calls in `text`, one for each statement.

    Only calls of (dotted) names with literal arguments are accepted; nothing is ever evaluated.

    Raises:
        DialectError: DIALECT_SYNTAX.
    """
    if len(text) > _TEXT_MAX:
        raise DialectError(
            "DIALECT_SYNTAX", f"expected at most {_TEXT_MAX} characters, got {len(text)}"
        )
    try:
        module = ast.parse(text.strip())
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise DialectError(
            "DIALECT_SYNTAX", f"expected calls, got {text[:200]!r}: {error}"
        ) from None
    return [_call(statement) for statement in module.body]


def _call(statement: ast.stmt) -> Call:
    if not (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call)):
        raise DialectError(
            "DIALECT_SYNTAX", f"expected a call, got {ast.unparse(statement)[:200]!r}"
        )
    call = statement.value
    try:
        arguments = tuple(ast.literal_eval(argument) for argument in call.args)
        keywords = {
            keyword.arg or "**": ast.literal_eval(keyword.value) for keyword in call.keywords
        }
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        raise DialectError(
            "DIALECT_SYNTAX", f"expected literal arguments, got {ast.unparse(call)[:200]!r}"
        ) from None
    return Call(_dotted(call.func), arguments, keywords)


def _dotted(node: ast.expr) -> str:
    match node:
        case ast.Name(name):
            return name
        case ast.Attribute(ast.Name(module), name):
            return f"{module}.{name}"
    raise DialectError("DIALECT_SYNTAX", f"expected a name, got {ast.unparse(node)[:200]!r}")


def number(value: Any, what: str) -> float:
    """Return `value` as a finite number.

    Raises:
        DialectError: it is none (DIALECT_ARGUMENTS).
    """
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or value != value
        or abs(value) > 1e9
    ):
        raise DialectError("DIALECT_ARGUMENTS", f"expected a number as {what}, got {value!r}")
    return float(value)


def string(value: Any, what: str) -> str:
    """Return `value` as a text.

    Raises:
        DialectError: it is none (DIALECT_ARGUMENTS).
    """
    if not isinstance(value, str):
        raise DialectError("DIALECT_ARGUMENTS", f"expected a text as {what}, got {value!r}")
    return value


def strings(value: Any, what: str) -> tuple[str, ...]:
    """Return a text or a list of texts as a tuple.

    Raises:
        DialectError: it is neither (DIALECT_ARGUMENTS).
    """
    if isinstance(value, str):
        return (value,)
    if isinstance(value, Sequence):
        return tuple(string(item, what) for item in value)
    raise DialectError(
        "DIALECT_ARGUMENTS", f"expected a text or a list of texts as {what}, got {value!r}"
    )


def inexpressible(dialect: str, what: object) -> DialectError:
    """The error for an action, or a part of one, that a dialect has no words for."""
    return DialectError("ACTION_INEXPRESSIBLE", f"{dialect} cannot express {what!r}")


def plain(value: float) -> str:
    """Print a number without a needless `.0`; every finite double survives the round trip."""
    return repr(int(value)) if value == int(value) else repr(value)

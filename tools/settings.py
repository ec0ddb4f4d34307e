"""Write docs/settings.md from the settings classes, or say with --check that it is not current."""

from __future__ import annotations

import ast
import inspect
import itertools
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from deploy.catalogue import SETTINGS
from libs.settings import Settings

PAGE = Path("docs/settings.md")
_HEAD = """# Settings

Every setting is an environment variable. A variable that starts with `TECTUM_` and is not listed here stops the start,
so that a misspelt one is not silently ignored. `make settings` writes this page from the code.
"""


def page() -> str:
    """The whole page."""
    return "\n".join([_HEAD, *(_section(settings) for settings in SETTINGS)])


def _section(settings: type[Settings]) -> str:
    prefix = str(settings.model_config["env_prefix"])
    prose = _prose(settings)
    rows = [
        f"| `{prefix}{name.upper()}` | {_default(field)} | {_range(field)} | {prose.get(name, '')} |"
        for name, field in settings.model_fields.items()
    ]
    head = ["| Variable | Default | Range | What it is |", "|---|---|---|---|"]
    return "\n".join([f"## {prefix}*", "", *head, *rows, ""])


def _prose(settings: type[Settings]) -> dict[str, str]:
    """The sentence below each field."""
    (body,) = ast.parse(textwrap.dedent(inspect.getsource(settings))).body
    if not isinstance(body, ast.ClassDef):
        raise TypeError(f"{settings} is no class")
    return dict(_sentences(body.body))


def _sentences(lines: list[ast.stmt]) -> Iterator[tuple[str, str]]:
    for field, below in itertools.pairwise(lines):
        match field, below:
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str(text))),
            ):
                yield name, " ".join(text.split()).replace("|", "\\|")


def _default(field: FieldInfo) -> str:
    value: Any = field.get_default(call_default_factory=True, validated_data={})
    if value is None or value is PydanticUndefined or value == "":
        return "none"
    if isinstance(value, Path) and value.is_absolute() and value.is_relative_to(Path.cwd()):
        value = value.relative_to(Path.cwd())
    return f"`{value}`"


def _range(field: FieldInfo) -> str:
    words = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
    limits = [
        f"{word} {getattr(limit, name):,}".removesuffix(".0")
        for limit in field.metadata
        for name, word in words.items()
        if hasattr(limit, name)
    ]
    return ", ".join(limits)


def main(arguments: list[str]) -> int:
    """Write the page, or with --check answer 1 if it is not current."""
    fresh = page()
    if "--check" in arguments:
        current = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
        if current != fresh:
            print(f"{PAGE} is not what the code says: run `make settings`", file=sys.stderr)
        return int(current != fresh)
    PAGE.write_text(fresh, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

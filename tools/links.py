"""Check that what Markdown files link to is there: files, folders and headings of this repository."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

_SKIPPED = {".venv", ".git", ".tectum", "out", "node_modules", "build", "dist"}
_FENCE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`[^`\n]*`")
_LINK = re.compile(r"!?\[[^\]]*\]\(<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\)")
_REFERENCE = re.compile(r"^\[[^\]]+\]:\s*(\S+)", re.MULTILINE)
_HEADING = re.compile(r"^#{1,6}\s+(.+?)\s*#*$", re.MULTILINE)
_ELSEWHERE = ("http://", "https://", "mailto:")


def broken(root: Path) -> list[str]:
    """Every link below `root` that leads nowhere, as `file: target`."""
    return [
        f"{path.relative_to(root)}: {target}"
        for path in _pages(root)
        for target in _targets(path.read_text(encoding="utf-8"))
        if not _resolves(path, target, root)
    ]


def _pages(root: Path) -> Iterator[Path]:
    for path in sorted(root.rglob("*.md")):
        if not _SKIPPED & set(path.relative_to(root).parts):
            yield path


def _targets(text: str) -> Iterator[str]:
    prose = _CODE.sub("", _FENCE.sub("", text))
    for found in (*_LINK.finditer(prose), *_REFERENCE.finditer(prose)):
        if not found[1].startswith(_ELSEWHERE):
            yield found[1]


def _resolves(page: Path, target: str, root: Path) -> bool:
    name, _, anchor = target.partition("#")
    path = page if not name else (root / name[1:] if name[0] == "/" else page.parent / name)
    if not path.exists() or not path.resolve().is_relative_to(root.resolve()):
        return False
    return not anchor or path.suffix != ".md" or anchor in _anchors(path)


def _anchors(path: Path) -> set[str]:
    """The headings' names as GitHub makes them."""
    text = _FENCE.sub("", path.read_text(encoding="utf-8"))
    found: dict[str, int] = {}
    anchors = set()
    for heading in _HEADING.finditer(text):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading[1])
        name = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
        times = found.get(name, 0)
        anchors.add(f"{name}-{times}" if times else name)
        found[name] = times + 1
    return anchors


def main() -> int:
    """Name what is broken; exit code 1 if anything is."""
    found = broken(Path.cwd())
    for line in found:
        print(f"broken link in {line}", file=sys.stderr)
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())

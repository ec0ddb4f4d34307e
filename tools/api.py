"""List the public names of the lib packages, and freeze them: a change is then meant, and seen in review."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

FROZEN = Path("tests/contract/released/libs.txt")


def public_names(root: Path) -> set[str]:
    """`module: name` for every public name that a module in a package of `root`/libs defines."""
    return {
        f"{module}: {name}"
        for path in sorted((root / "libs").glob("*/*.py"))
        if path.parent.name != "sdk"
        for module in [".".join(path.relative_to(root).with_suffix("").parts)]
        for name in _of_module(ast.parse(path.read_text(encoding="utf-8")))
    }


def _of_module(tree: ast.Module) -> set[str]:
    """What `__all__` lists; without one every name that is defined and has no leading underscore."""
    defined = set()
    for node in tree.body:
        for name in _defined(node):
            if name == "__all__" and isinstance(node, ast.Assign | ast.AnnAssign) and node.value:
                return set(ast.literal_eval(node.value))
            defined.add(name)
    return {name for name in defined if not name.startswith("_")}


def _defined(node: ast.stmt) -> Iterator[str]:
    match node:
        case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
            yield name
        case ast.Assign(targets=targets):
            yield from (target.id for target in targets if isinstance(target, ast.Name))
        case ast.AnnAssign(target=ast.Name(id=name)):
            yield name
        case _:
            return


def added_and_gone(found: set[str], frozen: str) -> tuple[set[str], set[str]]:
    """What is there and not frozen, and what is frozen and not there."""
    known = {line for line in frozen.splitlines() if line}
    return found - known, known - found


def main() -> int:
    """Freeze what is there now."""
    names = sorted(public_names(Path.cwd()))
    FROZEN.write_text("\n".join(names) + "\n", encoding="utf-8")
    print(f"{FROZEN}: {len(names)} names")
    return 0


if __name__ == "__main__":
    sys.exit(main())

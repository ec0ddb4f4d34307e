"""The house's own rules that no tool checks; each has a case that must fail."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from deploy.catalogue import SETTINGS
from libs.errors import PlatformError
from libs.rpc.status import CODES, to_status
from tests.conftest import CATEGORIES
from tools.api import FROZEN, added_and_gone, public_names
from tools.links import broken
from tools.protos import differences, stubs
from tools.settings import PAGE, page

_ROOT = Path(__file__).resolve().parents[3]
_MODULE_LINES = 500
_FUNCTION_LINES = 60
_PACKAGE_LINES = 1_700
# The log has two adapters and the consumer runtime, the kit all of an executor: ADR 0022.
_LARGER_PACKAGES = {"events": 4_000, "executor": 2_500}
_GENERATED = re.compile(r"_pb2(_grpc)?\.pyi?$")


def _sources(*roots: str) -> list[Path]:
    return [
        path
        for root in roots
        for path in sorted((_ROOT / root).rglob("*.py"))
        if not _GENERATED.search(path.name)
    ]


def _named(path: Path) -> str:
    return str(path.relative_to(_ROOT))


def oversize(source: str, *, module_lines: int, function_lines: int) -> list[str]:
    found = [f"module of {n}"] if (n := len(source.splitlines())) > module_lines else []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > function_lines:
                found.append(f"{node.name} of {length}")
    return found


def test_modules_and_functions_are_small() -> None:
    found = {
        _named(path): over
        for path in _sources("libs", "services", "deploy", "tools", "bench")
        if (
            over := oversize(
                path.read_text(encoding="utf-8"),
                module_lines=_MODULE_LINES,
                function_lines=_FUNCTION_LINES,
            )
        )
    }
    assert found == {}


def test_sizes_can_fail() -> None:
    source = "def f():\n" + "    pass\n" * 60
    assert oversize(source, module_lines=50, function_lines=60) == ["module of 61", "f of 61"]


def package_lines(package: Path) -> int:
    return sum(len(path.read_text(encoding="utf-8").splitlines()) for path in package.glob("*.py"))


def test_lib_packages_are_small() -> None:
    packages = [path for path in (_ROOT / "libs").iterdir() if (path / "__init__.py").exists()]
    found = {
        path.name: lines
        for path in packages
        if (lines := package_lines(path)) > _LARGER_PACKAGES.get(path.name, _PACKAGE_LINES)
    }
    assert len(packages) >= 6
    assert found == {}


def test_package_sizes_can_fail(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("\n" * 7)
    (tmp_path / "b.py").write_text("\n" * 5)
    assert package_lines(tmp_path) == 12


def refinements(cls: type[PlatformError]) -> set[type[PlatformError]]:
    return {sub for direct in cls.__subclasses__() for sub in {direct} | refinements(direct)}


def rowless(
    errors: Iterable[type[PlatformError]], table: Iterable[type[PlatformError]]
) -> set[type[PlatformError]]:
    """Direct kinds of error that the table does not have."""
    return {error for error in errors if PlatformError in error.__bases__} - set(table)


def test_every_error_has_a_code() -> None:
    own = {error for error in refinements(PlatformError) if error.__module__ == "libs.errors"}
    assert len(own) >= 10
    assert rowless(own, CODES) == set()
    for error in refinements(PlatformError):
        assert to_status(error("A_REASON", "text"), domain="test").code in CODES.values()


def test_the_error_table_can_fail() -> None:
    first, *rest = CODES
    assert rowless(CODES, rest) == {first}


_UNFINISHED = re.compile(r"\b(TODO(?!\(#\d+\))|FIXME|XXX|HACK|NotImplementedError)\b")


def unfinished(source: str) -> list[str]:
    return [line.strip() for line in source.splitlines() if _UNFINISHED.search(line)]


def test_nothing_is_left_unfinished() -> None:
    sources = _sources("libs", "services", "deploy", "bench")
    found = {_named(path): unfinished(path.read_text(encoding="utf-8")) for path in sources}
    assert {name: lines for name, lines in found.items() if lines} == {}


def test_unfinished_can_fail() -> None:
    source = "# TO" + "DO later\nraise NotImplemented" + "Error\n# TO" + "DO(#12): fine\n"
    assert len(unfinished(source)) == 2


# Split, so that this file does not name what it forbids.
_PRIVATE = re.compile(
    "|".join(["/wor" + "k/", "/roo" + "t/", r"pypi\." + "org", r"pythonhosted\." + "org"])
)


def private(text: str) -> list[str]:
    return [line.strip()[:120] for line in text.splitlines() if _PRIVATE.search(line)]


def test_nothing_of_this_machine_is_committed() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=_ROOT, check=True, capture_output=True, text=True
    ).stdout.split("\0")
    found = {}
    for name in filter(None, listed):
        path = _ROOT / name
        if path.is_file() and path.stat().st_size < 2_000_000:
            lines = private(path.read_text(encoding="utf-8", errors="replace"))
            if lines:
                found[name] = lines
    assert len(listed) > 100
    assert found == {}


def test_private_can_fail() -> None:
    assert private("cd /wor" + "k/main\nfine\n") == ["cd /wor" + "k/main"]


def test_public_names_are_frozen() -> None:
    added, gone = added_and_gone(public_names(_ROOT), (_ROOT / FROZEN).read_text(encoding="utf-8"))
    how = "meant so? freeze them: .venv/bin/python -m tools.api"
    assert (sorted(added), sorted(gone)) == ([], []), how


def test_frozen_names_can_fail(tmp_path: Path) -> None:
    package = tmp_path / "libs" / "thing"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "port.py").write_text("class A: ...\ndef b(): ...\n_c = 1\nD: int = 2\nimport os\n")
    (package / "listed.py").write_text("__all__ = ['x']\nx = y = 1\n")
    found = public_names(tmp_path)
    assert found == {"libs.thing.listed: x", *(f"libs.thing.port: {name}" for name in "AbD")}
    frozen = "\n".join(sorted(found - {"libs.thing.port: A"} | {"libs.thing.port: gone"}))
    assert added_and_gone(found, frozen) == ({"libs.thing.port: A"}, {"libs.thing.port: gone"})


def test_links_resolve() -> None:
    assert broken(_ROOT) == []


def test_links_can_fail(tmp_path: Path) -> None:
    (tmp_path / "there.md").write_text("# A Heading, *twice*\n## Code `x`\n```\n# not one\n```\n")
    (tmp_path / "page.md").write_text(
        "[a](there.md) [b](there.md#a-heading-twice) [c](there.md#code-x) [d](#none)\n"
        "[e](missing.md) `[f](code.md)` [g](there.md#not-one) [h](../outside.md)\n"
        "![i](no.png)\n\n[j]: gone.md\n[k](https://example.org/x)\n```\n[l](fenced.md)\n```\n"
    )
    (tmp_path.parent / "outside.md").write_text("")
    names = [line.removeprefix("page.md: ") for line in broken(tmp_path)]
    assert names == [
        "#none",
        "missing.md",
        "there.md#not-one",
        "../outside.md",
        "no.png",
        "gone.md",
    ]


@pytest.mark.timeout(120)  # Runs protoc, which takes seconds on a busy machine.
def test_stubs_are_current_and_that_can_fail(tmp_path: Path) -> None:
    assert differences(_ROOT / "protos", _ROOT / "libs" / "sdk") == {}
    assert len(stubs(_ROOT / "libs" / "sdk")) >= 40
    target = tmp_path / "sdk"
    (target / "tectum").mkdir(parents=True)
    (target / "tectum" / "old_pb2.py").write_text("")
    found = differences(_ROOT / "protos", target)
    assert found["tectum/old_pb2.py"] is None
    assert found["tectum/session/v1/session_pb2.py"]


@pytest.mark.timeout(60)  # Compiles the protos three times.
def test_protos_only_grow_and_that_can_fail(tmp_path: Path) -> None:
    released = _ROOT / "tests" / "contract" / "released"
    buf = str(Path(sys.executable).parent / "buf")

    def breaks(protos: Path) -> bool:
        ended = subprocess.run(
            [buf, "breaking", str(protos), "--against", str(released)],
            check=False,
            capture_output=True,
            text=True,
        )
        assert ended.returncode in {0, 100}, ended.stderr
        return ended.returncode == 100

    assert not breaks(_ROOT / "protos")
    changed = tmp_path / "protos"
    for path in released.rglob("*.*"):
        copy = changed / path.relative_to(released)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(path.read_text())
    assert not breaks(changed)
    session = changed / "tectum" / "session" / "v1" / "session.proto"
    text = session.read_text()
    session.write_text(text.replace("string resume_token = 2;", "bytes resume_token = 2;"))
    assert session.read_text() != text
    assert breaks(changed)


def test_every_category_is_run() -> None:
    makefile = (_ROOT / "Makefile").read_text()
    found = re.search(r"^CATEGORIES := (.+)$", makefile, re.MULTILINE)
    assert found is not None
    assert set(found[1].split()) == set(CATEGORIES)


def settings_classes(source: str) -> set[str]:
    """Names of the classes that read variables."""
    return {
        node.name
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ClassDef) and "env_prefix=" in ast.unparse(node)
    }


def test_every_setting_is_known_to_the_doctor_and_documented() -> None:
    found = {
        name
        for path in _sources("libs", "services", "deploy")
        for name in settings_classes(path.read_text(encoding="utf-8"))
    }
    assert found == {one.__name__ for one in SETTINGS}
    assert page() == (_ROOT / PAGE).read_text(encoding="utf-8"), "run `make settings`"


def test_settings_can_fail() -> None:
    source = (
        "class A(Settings):\n    model_config = SettingsConfigDict(env_prefix='A_')\nclass B: ...\n"
    )
    assert settings_classes(source) == {"A"}

"""The tools of `make check` refuse what they are there for, with the settings of this repository."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parents[3]
_BIN = Path(sys.executable).parent

# Each starts a tool that reads the whole configuration; seconds on a busy machine.
pytestmark = pytest.mark.timeout(120)


def _run(
    tool: str, *arguments: str, given: str = "", cwd: Path = _ROOT
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(_BIN / tool), *arguments],
        cwd=cwd,
        env={"PATH": os.defpath, "PYTHONPATH": str(cwd), "HOME": str(cwd)},
        input=given,
        check=False,
        capture_output=True,
        text=True,
    )


_BRANCHES = "".join(f"    if x == {number}:\n        return {number}\n" for number in range(11))


@pytest.mark.parametrize(
    ("source", "rule"),
    [
        ("import asyncio\n\nasyncio.gather()\n", "TID251"),
        ("import asyncio\n\nasyncio.create_task(x())\n", "TID251"),
        ("import asyncio\n\nasyncio.wait_for(x(), 1)\n", "TID251"),
        ("import os\n\nos.environ['X']\n", "TID251"),
        ("import kafka\n", "TID251"),
        ("try:\n    x()\nexcept Exception:\n    pass\n", "BLE001"),
        (f"def f(x: int) -> int:\n{_BRANCHES}    return x\n", "C901"),
        ("def f(x):\n    return x\n", "ANN001"),
        ("import pickle\n", "TID251"),
        ("import time\n\n\nasync def f() -> None:\n    time.sleep(1)\n", "ASYNC251"),
        ("import logging\n\nlogging.info(f'{x}')\n", "G004"),
    ],
)
def test_ruff_refuses(source: str, rule: str) -> None:
    given = '"""A module."""\n\nfrom __future__ import annotations\n\n' + source
    arguments = (
        "check",
        "--no-cache",
        "--output-format=concise",
        "--stdin-filename=libs/it.py",
        "-",
    )
    ended = _run("ruff", *arguments, given=given)
    assert ended.returncode == 1
    assert rule in ended.stdout


def test_ruff_lets_good_code_pass_and_format_refuses() -> None:
    good = '"""A module."""\n\nX = 1\n'
    where = "--stdin-filename=libs/it.py"
    assert _run("ruff", "check", "--no-cache", where, "-", given=good).returncode == 0
    assert _run("ruff", "format", "--check", where, "-", given=good).returncode == 0
    assert _run("ruff", "format", "--check", where, "-", given="X=1\n").returncode == 1


def test_mypy_refuses(tmp_path: Path) -> None:
    """All in one module, since a fresh mypy reads the standard library anew each time."""
    refused = {
        "no-untyped-def": "def f(x): return x",
        "return-value": "def g(x: int) -> str: return x",
        "unused-ignore": "x: int = 1  # type: ignore",
    }
    config = f"--config-file={_ROOT / 'pyproject.toml'}"
    source = "\n".join([*refused.values(), "def good(x: int) -> int: return x"])
    ended = _run("mypy", config, f"--cache-dir={tmp_path}", "-c", source)
    assert ended.returncode == 1
    found = re.findall(r"^<string>:(\d+): error: .*\[([a-z-]+)\]$", ended.stdout, re.MULTILINE)
    assert [(int(line), rule) for line, rule in found] == list(enumerate(refused, start=1))


def _write(root: Path, files: dict[str, str]) -> None:
    for name, source in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
        for folder in path.relative_to(root).parents:
            (root / folder / "__init__.py").touch()


_CLEAN = {
    "libs/errors.py": "",
    "libs/clock.py": "import time",
    "libs/blobs/port.py": "import libs.errors",
    "services/a/__main__.py": "from services.a import servicer",
    "services/a/servicer.py": "from services.a import domain",
    "services/a/domain.py": "from services.a import ports",
    "services/a/ports.py": "from libs.clock import time",
    "services/b/__main__.py": "from services.b import domain",
    "services/b/domain.py": "",
    "deploy/embedded.py": "import services.a.__main__",
    "tectum/a/v1/a_pb2.py": "",
}
_BROKEN = {
    "libs never import services": {"libs/errors.py": "import services.b.domain"},
    "services do not know how they are put together": {
        "services/a/servicer.py": "import deploy.embedded"
    },
    "the SDK stands alone": {"tectum/x.py": "import libs.errors"},
    "domains never touch stubs": {"services/a/domain.py": "import tectum.a.v1.a_pb2"},
    "services talk over gRPC, never by import": {"services/a/servicer.py": "import services.b"},
    "inside a service": {"services/a/domain.py": "from services.a import servicer"},
    "domain is pure": {"services/a/domain.py": "import threading"},
}


def _contracts(tmp_path: Path, changed: dict[str, str]) -> dict[str, str]:
    _write(tmp_path, _CLEAN | changed)
    shutil.copy(_ROOT / "pyproject.toml", tmp_path / "pyproject.toml")
    ended = _run("lint-imports", "--no-cache", cwd=tmp_path)
    found = dict(re.findall(r"^(.+?) (KEPT|BROKEN)(?: \(.*\))?$", ended.stdout, re.MULTILINE))
    assert found.keys() == _BROKEN.keys(), ended.stdout + ended.stderr
    assert ended.returncode == int("BROKEN" in found.values())
    return found


def test_import_contracts_let_good_code_pass(tmp_path: Path) -> None:
    assert set(_contracts(tmp_path, {}).values()) == {"KEPT"}


@pytest.mark.parametrize("contract", _BROKEN)
def test_each_import_contract_refuses(contract: str, tmp_path: Path) -> None:
    assert _contracts(tmp_path, _BROKEN[contract])[contract] == "BROKEN"


def test_buf_refuses(tmp_path: Path) -> None:
    shutil.copytree(_ROOT / "protos", tmp_path / "protos")
    assert _run("buf", "lint", "protos", cwd=tmp_path).returncode == 0
    path = tmp_path / "protos" / "tectum" / "session" / "v1" / "session.proto"
    path.write_text(path.read_text() + "message lower_case {}\n")
    ended = _run("buf", "lint", "protos", cwd=tmp_path)
    assert ended.returncode != 0
    assert "lower_case" in ended.stdout

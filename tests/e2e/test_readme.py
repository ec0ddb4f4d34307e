"""The README's snippets, as they are printed there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.process import platform
from libs.settings import child_environment

pytestmark = pytest.mark.timeout(120)  # a platform starts, with a browser

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
GUIDE = (ROOT / "docs" / "policies.md").read_text()


def block(text: str, language: str, word: str) -> str:
    """The only block of this language with this word in it."""
    found = [body for body in re.findall(rf"```{language}\n(.*?)```", text, re.S) if word in body]
    assert len(found) == 1, f"expected one block of {language} with {word!r}, got {len(found)}"
    return str(found[0])


def test_the_python_snippet_runs_to_its_end(tmp_path: Path) -> None:
    snippet = block(README, "python", "connect()")
    with platform(tmp_path) as up:
        done = subprocess.run(
            [sys.executable, "-c", snippet.replace("connect()", f"connect({up.address!r})")],
            env=child_environment(),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    assert "turn_ended" in done.stdout
    assert "'closed'" in done.stdout


def test_the_policy_of_the_guide_decides(tmp_path: Path) -> None:
    policies = tmp_path / "policies"
    policies.mkdir()
    (policies / "shop.yaml").write_text(block(GUIDE, "yaml", "version: 1"))
    with platform(tmp_path / "data", {"TECTUM_GUARD_POLICIES_DIR": str(policies)}) as up:
        done = subprocess.run(
            [sys.executable, "-m", "tectum.cli.main", "run", "fake://?steps=2", "press it",
             "--strategy", "constant", "--max-steps", "1", "--policy", "shop",
             "--address", up.address],
            env=child_environment(COLUMNS="200"),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )  # fmt: skip
    assert done.returncode == 1, done.stdout
    assert "denied by rule default" in done.stdout

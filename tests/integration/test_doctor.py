"""`tectum doctor` finds each thing that can be missing, and says how to mend it."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deploy.doctor import (
    Finding,
    examine_browser,
    examine_disk,
    examine_edge,
    examine_model,
    examine_port,
    examine_python,
    report,
)
from libs.engine.catalogue import MINILM
from libs.rpc.server import running_server
from libs.rpc.settings import RpcSettings
from libs.settings import child_environment
from tectum.session.v1 import session_pb2_grpc


def _doctor(tmp_path: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    given = {"TECTUM_EMBEDDED_DATA_DIR": str(tmp_path / "data"), "COLUMNS": "200"} | settings
    return subprocess.run(
        [str(Path(sys.executable).parent / "tectum"), "doctor"],
        env=child_environment(**given),
        check=False,
        capture_output=True,
        text=True,
    )


@pytest.mark.timeout(60)  # Starts Chromium and reads the model files, several times.
def test_a_machine_that_has_everything_is_well(tmp_path: Path) -> None:
    ended = _doctor(tmp_path, TECTUM_RPC_ADDRESS="127.0.0.1:0")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "All is well." in ended.stdout
    for what in ("Python", "settings", "edge", "port", "data folder", "browser", "model"):
        assert what in ended.stdout


@pytest.mark.timeout(60)  # As above.
@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("TECTUM_RPC_ADRESS", "127.0.0.1:0", "did you mean TECTUM_RPC_ADDRESS?"),
        ("TECTUM_RPC_ATTEMPTS", "0", "TECTUM_RPC_ATTEMPTS: Input should be greater than"),
        ("TECTUM_RPC_ADDRESS", "0.0.0.0:7400", "EDGE_NOT_SECURED"),
        ("TECTUM_BROWSER_EXECUTABLE", "/nowhere/chromium", "there is no /nowhere/chromium"),
        ("TECTUM_EMBEDDED_DATA_DIR", "/dev/null/data", "cannot be written"),
        ("TECTUM_MEMORY_MODELS_DIR", "/nowhere", "MODEL_MISSING"),
    ],
)
def test_what_is_missing_is_said(name: str, value: str, said: str, tmp_path: Path) -> None:
    given = {"TECTUM_RPC_ADDRESS": "127.0.0.1:0"} | {name: value}
    ended = _doctor(tmp_path, **given)
    assert ended.returncode == 1
    assert said in ended.stdout
    assert "to mend." in ended.stdout


def test_an_old_python() -> None:
    finding = examine_python((3, 10))
    assert not finding.well
    assert "3.11" in finding.mend
    assert examine_python((3, 14)).well


async def test_a_port_that_somebody_else_has() -> None:
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        address = f"127.0.0.1:{stranger.getsockname()[1]}"
        finding = await asyncio.to_thread(examine_port, address)
    assert not finding.well
    assert address in finding.found
    assert "TECTUM_RPC_ADDRESS" in finding.mend
    assert examine_port(address).well


async def test_a_port_where_a_platform_runs_is_well() -> None:
    class Sessions(session_pb2_grpc.SessionServiceServicer):
        """Its methods do not matter."""

    def register(server: Any) -> None:
        session_pb2_grpc.add_SessionServiceServicer_to_server(Sessions(), server)

    async with running_server(register, RpcSettings(address="127.0.0.1:0", drain_s=0)) as server:
        finding = await asyncio.to_thread(examine_port, server.address)
    assert finding.well
    assert "running" in finding.found


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.1:99999", "127.0.0.1:http"])
def test_an_address_that_is_none(address: str) -> None:
    assert not examine_port(address).well


def test_an_edge_whose_files_are_missing(tmp_path: Path) -> None:
    finding = examine_edge(RpcSettings(address="127.0.0.1:0", tokens=tmp_path / "none.json"))
    assert not finding.well
    assert "TOKENS_FILE_WRONG" in finding.found


def test_a_full_disk(tmp_path: Path) -> None:
    finding = examine_disk(tmp_path / "a" / "b", needed_bytes=1 << 60)
    assert not finding.well
    assert "make room" in finding.mend
    assert examine_disk(tmp_path / "a" / "b", needed_bytes=1).well


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo libfoo.so is missing >&2; exit 127", "libfoo.so is missing"),
        ("exit 3", "exit code 3"),
    ],
)
def test_a_browser_that_does_not_start(script: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "chromium"
    path.write_text(f"#!/bin/sh\n{script}\n")
    finding = examine_browser(str(path))
    assert not finding.well  # It may not even be executed yet.
    path.chmod(0o755)
    finding = examine_browser(str(path))
    assert not finding.well
    assert said in finding.found
    assert "apt-get install chromium" in finding.mend


def test_a_model_with_other_bytes(tmp_path: Path) -> None:
    file = MINILM.files["tokenizer"]
    (tmp_path / file.file).write_bytes(b"not it")
    finding = examine_model(file, tmp_path)
    assert not finding.well
    assert "MODEL_HASH_MISMATCH" in finding.found
    assert "delete it" in finding.mend


def test_a_model_whose_package_is_not_installed(tmp_path: Path) -> None:
    file = replace(MINILM.files["weights"], package="gone", member=("gone_module/model.onnx",))
    finding = examine_model(file, tmp_path)
    assert not finding.well
    assert "gone==" in finding.found


def test_what_is_found_is_printed_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    report([Finding("thing", False, "[red]x[/]", "mend [it]")])
    printed = capsys.readouterr().out
    assert "[red]x[/]" in printed
    assert "1 to mend." in printed

"""A whole platform in a process of its own, as a user starts it."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from libs.settings import child_environment

_READY = re.compile(r"tectum is ready on (\S+) after ([\d.]+) s")
_START_S = 60.0
_STOP_S = 30.0


@dataclass
class RunningPlatform:
    """One `tectum up`; `lines` keeps the end of what it said."""

    process: subprocess.Popen[str]
    address: str = ""
    ready_s: float = 0.0
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=400))

    def kill(self) -> None:
        """Kill -9, as a crash."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def terminate(self) -> int:
        """SIGTERM; returns the exit code once it has drained."""
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError(
                f"not drained within {_STOP_S} s:\n" + "".join(self.lines)
            ) from None


@contextmanager
def platform(
    data_dir: Path, settings: Mapping[str, str] | None = None
) -> Iterator[RunningPlatform]:
    """Start a platform on any free port and stop it at the end."""
    process = subprocess.Popen(  # noqa: S603 - our own module, under our own interpreter
        [sys.executable, "-m", "tectum.cli.main", "up", "--data-dir", str(data_dir)],
        env=child_environment(**({"TECTUM_RPC_ADDRESS": "127.0.0.1:0"} | dict(settings or {}))),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    running = RunningPlatform(process)
    ready = threading.Event()

    def read() -> None:
        for line in process.stdout or ():
            running.lines.append(line)
            found = _READY.search(line)
            if found:
                running.address, running.ready_s = found[1], float(found[2])
                ready.set()
        ready.set()

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        if not (ready.wait(_START_S) and running.address):
            raise RuntimeError("the platform did not start:\n" + "".join(running.lines))
        yield running
    finally:
        if process.poll() is None:
            running.terminate()
        reader.join(5)
        if process.stdout is not None and not reader.is_alive():
            process.stdout.close()

"""A whole platform in a process of its own, as a user starts it."""

from __future__ import annotations

import os
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
        """kill -9, as a crash."""
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


def environment(**extra: str) -> dict[str, str]:
    """The variables of a platform under test: none of the developer's own settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TECTUM_")}
    return kept | {"TECTUM_RPC_ADDRESS": "127.0.0.1:0", "OMP_NUM_THREADS": "1"} | extra


@contextmanager
def platform(
    data_dir: Path, settings: Mapping[str, str] | None = None
) -> Iterator[RunningPlatform]:
    """Start a platform on any free port and stop it at the end."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tectum.cli.main", "up", "--data-dir", str(data_dir)],
        env=environment(**(settings or {})),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    running = RunningPlatform(process)
    ready = threading.Event()

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            running.lines.append(line)
            found = _READY.search(line)
            if found:
                running.address, running.ready_s = found[1], float(found[2])
                ready.set()
        ready.set()

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        assert ready.wait(_START_S), "no word from the platform"
        assert running.address, "it did not start:\n" + "".join(running.lines)
        yield running
    finally:
        if process.poll() is None:
            running.terminate()
        reader.join(5)

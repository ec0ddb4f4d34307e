"""Find and kill what a process that died left running."""

from __future__ import annotations

import psutil

_KILL_S_MAX = 5.0


def kill_marked(mark: str) -> int:
    """Kill every process that has `mark` as an argument, wait for their end, say how many there were.

    Blocks; call it through `libs.offload`.
    """
    found: list[psutil.Process] = []
    for process in psutil.process_iter(["cmdline"]):
        if mark in (process.info["cmdline"] or ()):
            found.append(process)
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
    psutil.wait_procs(found, timeout=_KILL_S_MAX)
    return len(found)

"""How much memory `tectum up` holds: idle after its start, and idle again after episodes.

`python -m bench.idle [--json FILE]`. The proportional set size (PSS) of the platform's one process, as the kernel
says it in /proc/PID/smaps_rollup: its own pages, and its part of those it shares with others. The episodes run in
`fake://`, so that no browser is started; a browser's processes are not part of the figure in any case.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.step import episode
from deploy.process import platform
from tectum.client import connect

TARGET_MB = 200.0
SETTLE_S = 3.0
"""Segments are sealed and spans written a second or two after an episode."""


def pss_mb(pid: int) -> float:
    """Proportional set size of a process in units of 10**6 bytes."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        name, _, rest = line.partition(":")
        if name == "Pss":
            return round(int(rest.split()[0]) * 1024 / 1e6, 1)
    raise RuntimeError("expected a line Pss in smaps_rollup, found none")


async def _episodes(address: str, count: int, steps: int) -> None:
    async with connect(address) as on:
        for _ in range(count):
            await episode(on, steps)


def measure(episodes: int, steps: int) -> dict[str, Any]:
    """The figures."""
    with tempfile.TemporaryDirectory() as folder, platform(Path(folder)) as running:
        pid = running.process.pid
        time.sleep(SETTLE_S)
        idle = pss_mb(pid)
        asyncio.run(_episodes(running.address, episodes, steps))
        time.sleep(SETTLE_S)
        after = pss_mb(pid)
    return {
        "idle_pss_mb": idle,
        "after_episodes_pss_mb": after,
        "target_mb": TARGET_MB,
        "episodes": episodes,
        "steps_per_episode": steps,
        "settle_s": SETTLE_S,
    }


def main(arguments: list[str]) -> int:
    """Measure; exit code 1 above the target."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--episodes", type=int, default=20)
    parser.add_argument("--steps", type=int, default=20, help="of each episode")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    options = parser.parse_args(arguments)
    figures = measure(options.episodes, options.steps)
    table = Table(title="Memory of `tectum up`, PSS of its process")
    for heading in ("", "MB", "target"):
        table.add_column(heading, justify="right" if heading else "left")
    table.add_row("idle after its start", f"{figures['idle_pss_mb']}", f"{TARGET_MB:.0f}")
    table.add_row(f"after {options.episodes} episodes", f"{figures['after_episodes_pss_mb']}", "")
    Console().print(table)
    if options.json is not None:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps({"idle": figures}, indent=2) + "\n")
    return int(figures["idle_pss_mb"] > TARGET_MB)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""How long `tectum up` takes until it is ready, over several starts, and how much of that is work.

`python -m bench.start [--json FILE]`. Each start is a process of its own with an empty folder; the time runs from
making the process to reading its word that it is ready, the interpreter's own start included. Beside it the CPU
time that the process had used by then: on a machine with nothing else to do the two are about the same.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.step import cpu_s
from deploy.process import platform

TARGET_S = 3.0


def start(folder: Path) -> dict[str, float]:
    """Seconds of one start, and of its CPU."""
    began = time.perf_counter()
    with platform(folder) as running:
        wall = time.perf_counter() - began
        return {"ready_s": round(wall, 2), "cpu_s": cpu_s(running.process.pid)}


def measure(starts: int) -> dict[str, Any]:
    """The first start is not counted: it fills the disk's cache and the compiled files."""
    with tempfile.TemporaryDirectory() as folder:
        found = [start(Path(folder) / str(number)) for number in range(starts + 1)][1:]
    figures: dict[str, Any] = {}
    for name in ("ready_s", "cpu_s"):
        values = [one[name] for one in found]
        figures[name] = {
            "median": round(statistics.median(values), 2),
            "low": min(values),
            "high": max(values),
        }
    return figures | {
        "target_s": TARGET_S,
        "starts": starts,
        "load_average": round(os.getloadavg()[0], 1),
        "processors": os.cpu_count(),
    }


def main(arguments: list[str]) -> int:
    """Measure; exit code 1 above the target."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--starts", type=int, default=7)
    parser.add_argument("--json", type=Path, help="where to write the figures")
    options = parser.parse_args(arguments)
    figures = measure(options.starts)
    table = Table(title="From making the process until `tectum up` is ready")
    for heading in ("", "median s", "spread", "target"):
        table.add_column(heading, justify="right" if heading else "left")
    for name, what, target in (("ready_s", "ready", f"{TARGET_S}"), ("cpu_s", "its CPU", "")):
        one = figures[name]
        table.add_row(
            what, f"{one['median']:.2f}", f"{one['low']:.2f} to {one['high']:.2f}", target
        )
    Console().print(table)
    if options.json is not None:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps({"start": figures}, indent=2) + "\n")
    return int(figures["ready_s"]["median"] > TARGET_S)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

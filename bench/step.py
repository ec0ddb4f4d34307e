"""What the platform adds to a step, from one outcome at the client to the next, in an environment that costs nothing.

`python -m bench.step [--json FILE]`. A platform in a process of its own, as `tectum up` makes it, recording
and tracing on; `fake://` and strategy `constant`; sessions one after another, each a warm-up and then its
steps. Beside it, in the same run and by turns with the sessions: what the log alone needs for the hops of a
step, one record handed from publisher to handler after another, in this process with nothing else in it; and
how long a busy loop takes that needs as much CPU as a step, which is what the rest of the machine costs here.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.event_log import hops
from deploy.process import platform
from libs.clock import SystemClock
from libs.events.embedded import EmbeddedEventLog
from libs.events.port import TopicSpec
from libs.events.settings import EventSettings
from tectum.client import Agent, Platform, connect
from tectum.protocol.messages import Outcome, OutcomeStatus

TARGET_MS = {"p50": 10.0, "p99": 30.0}
HOPS = 5
"""Records of a step that somebody waits for: Plan, ActionIssued, Started, and Outcome twice, for planner and client."""
_WARM_UP = 10
_ENVIRONMENT = "fake://"
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def cpu_s(pid: int) -> float:
    """Seconds of CPU that a process has used, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def quantile(values: Sequence[float], part: float) -> float:
    """The smallest value that `part` of them do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))]


async def episode(on: Platform, steps: int) -> list[float]:
    """Milliseconds of each step after the warm-up.

    Raises:
        RuntimeError: a step did not succeed, or steps are missing: the figure would mean nothing.
    """
    times = steps + _WARM_UP
    agent = Agent(
        strategy="constant", strategy_settings=json.dumps({"times": times}), max_steps=times + 1
    )
    arrived: list[float] = []
    async with on.session(_ENVIRONMENT, "measure", agent=agent) as session:
        async for update in session.updates():
            if not isinstance(update, Outcome):
                continue
            if update.status is not OutcomeStatus.OK:
                raise RuntimeError(f"step {update.step}: {update.status} {update.reason}")
            if not update.ended:
                arrived.append(time.perf_counter())
            else:
                await session.close()
    if len(arrived) != times:
        raise RuntimeError(f"expected {times} steps, got {len(arrived)}")
    measured = arrived[_WARM_UP - 1 :]
    return [(b - a) * 1e3 for a, b in itertools.pairwise(measured)]


async def bare_hops(folder: Path, groups: int) -> list[list[float]]:
    """Milliseconds of single hops through the embedded log alone, in `groups` rounds."""
    log = await EmbeddedEventLog.open(folder, clock=SystemClock(), settings=EventSettings())
    try:
        await log.ensure_topics([TopicSpec("bench", 4), TopicSpec("bench.dlq", 1)])
        rounds = [await hops(log, f"g{number}") for number in range(groups)]
        return [[one * 1e3 for one in found] for found in rounds]
    finally:
        await log.aclose()


def busy(cpu_ms: float, times: int) -> list[float]:
    """Milliseconds of the wall for a loop of `cpu_ms` of CPU, so often: more of it is what others took."""
    took = []
    for _ in range(times):
        began, until = time.perf_counter(), time.thread_time() + cpu_ms / 1e3
        while time.thread_time() < until:
            pass
        took.append((time.perf_counter() - began) * 1e3)
    return took


async def _sessions(
    address: str, pid: int, sessions: int, steps: int
) -> tuple[list[list[float]], float]:
    found, used = [], 0.0
    async with connect(address) as on:
        await episode(on, steps // 4 + 1)
        for _ in range(sessions):
            before = cpu_s(pid)
            found.append(await episode(on, steps))
            used += cpu_s(pid) - before
    return found, used * 1e3 / (sessions * (steps + _WARM_UP))


def measure(sessions: int, steps: int) -> dict[str, Any]:
    """Run it all; the figures."""
    with tempfile.TemporaryDirectory() as folder:
        before = asyncio.run(bare_hops(Path(folder) / "before", 2))
        with platform(Path(folder) / "data") as running:
            found, cpu_ms = asyncio.run(
                _sessions(running.address, running.process.pid, sessions, steps)
            )
        after = asyncio.run(bare_hops(Path(folder) / "after", 2))
    noise = busy(cpu_ms, 2 * steps)
    every = [one for session in found for one in session]
    bare_ms = statistics.median(one for some in (*before, *after) for one in some)
    medians = sorted(statistics.median(session) for session in found)
    return {
        "step_overhead_ms": {
            "p50": round(statistics.median(every), 2),
            "p99": round(quantile(every, 0.99), 2),
            "mean": round(statistics.fmean(every), 2),
            "max": round(max(every), 2),
        },
        "session_p50_ms": {"low": round(medians[0], 2), "high": round(medians[-1], 2)},
        "session_p99_ms": {
            "low": round(min(quantile(session, 0.99) for session in found), 2),
            "high": round(max(quantile(session, 0.99) for session in found), 2),
        },
        "cpu_ms_per_step": round(cpu_ms, 2),
        "busy_loop_of_that_cpu_ms": {
            "p50": round(statistics.median(noise), 2),
            "p99": round(quantile(noise, 0.99), 2),
        },
        "bare_hop_ms_p50": round(bare_ms, 3),
        "bare_hops_of_a_step": HOPS,
        "over_bare_hops": round(statistics.median(every) / (HOPS * bare_ms), 2),
        "target_ms": TARGET_MS,
        "sessions": sessions,
        "steps_per_session": steps,
        "load_average": round(os.getloadavg()[0], 1),
        "processors": os.cpu_count(),
    }


def shown(figures: dict[str, Any]) -> Table:
    """The figures for a person."""
    table = Table(title="A whole step in fake://, constant planner, recording and tracing on")
    for heading in ("", "p50 ms", "p99 ms", "target"):
        table.add_column(heading, justify="right" if heading else "left")
    step, p50, p99 = (
        figures[name] for name in ("step_overhead_ms", "session_p50_ms", "session_p99_ms")
    )
    target = figures["target_ms"]
    table.add_row("step", f"{step['p50']}", f"{step['p99']}", f"{target['p50']} / {target['p99']}")
    table.add_row(
        "spread over sessions",
        f"{p50['low']} to {p50['high']}",
        f"{p99['low']} to {p99['high']}",
        "",
    )
    table.add_row("platform's CPU", f"{figures['cpu_ms_per_step']} (mean)", "", "")
    noise = figures["busy_loop_of_that_cpu_ms"]
    table.add_row("a busy loop of that CPU", f"{noise['p50']}", f"{noise['p99']}", "")
    table.add_row("one bare hop of the log", f"{figures['bare_hop_ms_p50']}", "", "")
    table.add_row(f"over {HOPS} bare hops", f"{figures['over_bare_hops']} x", "", "")
    return table


def main(arguments: list[str]) -> int:
    """Measure; exit code 1 above the targets."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=10)
    parser.add_argument("--steps", type=int, default=100, help="of each session")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    options = parser.parse_args(arguments)
    figures = measure(options.sessions, options.steps)
    Console().print(shown(figures))
    if options.json is not None:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps({"step": figures}, indent=2) + "\n")
    found = figures["step_overhead_ms"]
    return int(any(found[name] > limit for name, limit in TARGET_MS.items()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

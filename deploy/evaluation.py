"""Run the scored evaluation: `python -m deploy.evaluation --json out/eval.json` (what `make eval` does).

Starts a platform of its own, teaches every lesson of the demonstrations, and scores the strategy `exemplar` on
seeds that no demonstration showed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from deploy.process import platform
from tectum.cli.console import console
from tectum.cli.evaluate import evaluate_suite, load_suite, parse_seeds, summarise, table, write
from tectum.cli.teach import read_lesson
from tectum.client import Agent, Platform, connect
from tectum.demonstrations import Demonstration
from tectum.episodes import teach

DEMONSTRATIONS = Path(__file__).parents[1] / "demonstrations" / "miniwob"

_AT_ONCE = 2
"""Episodes at the same time: as many as the smallest machine has cores; each races MiniWoB's clock."""


async def teach_all(client: Platform, tasks: Sequence[str]) -> list[str]:
    """Teach the lessons of these tasks; returns what did not succeed, a line each."""
    turn = asyncio.Semaphore(_AT_ONCE)
    failures: list[str] = []

    async def one(lesson: str, demonstration: Demonstration) -> None:
        async with turn:
            episode = await teach(client, lesson, demonstration)
        if not episode.success:
            failures.append(f"{demonstration.environment}: {episode.reason} {episode.message}")

    async with asyncio.TaskGroup() as group:
        for task in tasks:
            lesson = await asyncio.to_thread(read_lesson, DEMONSTRATIONS / f"{task}.yaml")
            for demonstration in lesson.demonstrations:
                group.create_task(one(lesson.name, demonstration))
    return failures


async def _run(arguments: argparse.Namespace, taught: Sequence[str]) -> None:
    with platform(arguments.data_dir) as running:
        async with connect(running.address) as client:
            failures = await teach_all(client, taught)
            console.print(f"{len(taught)} lessons taught, {len(failures)} demonstrations failed")
            for failure in failures:
                console.print(f"  {failure}", markup=False)
            suite = load_suite("miniwob")
            agent = Agent(max_steps=40, allow_literal_secrets=True, stop_on_environment_lost=True)
            tasks = arguments.tasks or taught
            episodes, seconds = await evaluate_suite(
                client, suite, tasks, parse_seeds(arguments.seeds), agent, at_once=_AT_ONCE
            )
    summary = summarise(episodes, seconds)
    console.print(table(episodes, summary))
    await asyncio.to_thread(write, summary, arguments.json, None)
    good = [
        name for name, of in summary["tasks"].items() if of["successes"] >= 0.9 * of["episodes"]
    ]
    console.print(f"{len(good)} of {len(tasks)} tasks at 0.9 or better")
    console.print(json.dumps(summary["step_overhead_ms"]))


def main() -> int:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m deploy.evaluation", description=__doc__)
    parser.add_argument("--json", type=Path, default=Path("out/eval.json"))
    parser.add_argument("--data-dir", type=Path, default=Path("out/eval-data"))
    parser.add_argument("--seeds", default="1000-1009")
    parser.add_argument("--tasks", type=lambda text: text.split(","), help="Only these are scored.")
    arguments = parser.parse_args()
    lessons = sorted(path.stem for path in DEMONSTRATIONS.glob("*.yaml"))
    asyncio.run(_run(arguments, lessons))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""`tectum eval`: score an agent on the tasks of a suite."""

from __future__ import annotations

import asyncio
import json
import statistics
from collections.abc import Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from tectum.cli.console import Connection, connected, console
from tectum.client import Agent, Platform, TectumError
from tectum.episodes import Episode, run_episode
from tectum.plugins import SUITES, Suite

_SEEDS_MAX = 10_000


def parse_seeds(text: str) -> list[int]:
    """Read `1000-1009` or `3,5,8`.

    Raises:
        click.BadParameter: it is neither.
    """
    seeds: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise click.BadParameter(f"expected seeds such as 1000-1009 or 3,5,8, got {text!r}")
        seeds.extend(range(int(first), int(last or first) + 1))
    if not 0 < len(seeds) <= _SEEDS_MAX:
        raise click.BadParameter(f"expected 1 to {_SEEDS_MAX} seeds, got {len(seeds)}")
    return seeds


def load_suite(name: str) -> Suite:
    """Find a registered suite.

    Raises:
        click.BadParameter: nobody registered it.
    """
    for point in entry_points(group=SUITES, name=name):
        suite: Suite = point.load()()
        return suite
    known = sorted(point.name for point in entry_points(group=SUITES))
    raise click.BadParameter(f"expected a suite of {known}, got {name!r}")


def choose_tasks(suite: Suite, text: str) -> list[str]:
    """Read `all` or a list of names.

    Raises:
        click.BadParameter: the suite has no such task.
    """
    if text == "all":
        return list(suite.tasks)
    tasks = [task.strip() for task in text.split(",") if task.strip()]
    unknown = sorted(set(tasks) - set(suite.tasks))
    if unknown or not tasks:
        raise click.BadParameter(f"{suite.name} has no task {unknown}; see --tasks all")
    return tasks


def summarise(episodes: dict[str, list[Episode]], seconds: float) -> dict[str, Any]:
    """Return the result as it is written to the file."""
    everything = [episode for several in episodes.values() for episode in several]
    overheads = sorted(ms for episode in everything for ms in episode.overheads_ms)
    rates = [
        sum(e.success for e in several) / len(several) for several in episodes.values() if several
    ]
    return {
        "tasks": {
            task: {"episodes": len(several), "successes": sum(e.success for e in several)}
            for task, several in episodes.items()
        },
        "mean_success": statistics.fmean(rates) if rates else 0.0,
        "steps_per_s": sum(e.steps for e in everything) / seconds if seconds else 0.0,
        "step_overhead_ms": {"p50": _quantile(overheads, 0.5), "p99": _quantile(overheads, 0.99)},
    }


def _quantile(ordered: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of the values do not exceed; 0 for none."""
    if not ordered:
        return 0.0
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)]


async def _episode(platform: Platform, environment: str, agent: Agent) -> Episode:
    try:
        return await run_episode(platform, environment, agent=agent)
    except TectumError as error:
        return Episode(environment, reason=error.reason, message=str(error))


async def evaluate_suite(
    platform: Platform,
    suite: Suite,
    tasks: Sequence[str],
    seeds: Sequence[int],
    agent: Agent,
    *,
    at_once: int = 1,
) -> tuple[dict[str, list[Episode]], float]:
    """Run every episode, `at_once` at a time; returns them by task, and the wall time in seconds."""
    loop = asyncio.get_running_loop()
    began, turn = loop.time(), asyncio.Semaphore(at_once)
    episodes: dict[str, list[Episode]] = {task: [] for task in tasks}
    columns = (
        TextColumn("{task.description:<28}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task("", total=len(tasks) * len(seeds))

        async def one(task: str, seed: int) -> None:
            async with turn:
                progress.update(bar, description=task)
                episodes[task].append(
                    await _episode(platform, suite.environment(task, seed), agent)
                )
                progress.advance(bar)

        async with asyncio.TaskGroup() as group:
            for task in tasks:
                for seed in seeds:
                    group.create_task(one(task, seed))
    return episodes, loop.time() - began


def table(episodes: dict[str, list[Episode]], summary: dict[str, Any]) -> Table:
    """One line for each task, with the reason of its first failure."""
    drawn = Table(title=f"mean success {summary['mean_success']:.3f}")
    for heading in ("task", "solved", "steps", "s", "first failure"):
        drawn.add_column(
            heading, justify="left" if heading in ("task", "first failure") else "right"
        )
    for task, several in episodes.items():
        solved = sum(e.success for e in several)
        failure = next((f"{e.reason} {e.message}".strip() for e in several if not e.success), "")
        drawn.add_row(
            task,
            f"{solved}/{len(several)}",
            f"{statistics.fmean(e.steps for e in several):.1f}",
            f"{statistics.fmean(e.seconds for e in several):.1f}",
            failure[:70],
            style="green" if solved >= 0.9 * len(several) else "",
        )
    return drawn


def draw(summary: dict[str, Any], path: Path) -> None:
    """Write the plot: one bar for each task, best first, and the line of nine in ten."""
    from matplotlib.figure import Figure  # slow to import, and rarely needed

    rates = sorted(
        ((task["successes"] / task["episodes"], name) for name, task in summary["tasks"].items()),
        reverse=True,
    )
    figure = Figure(figsize=(7, 1.2 + 0.2 * len(rates)), layout="constrained")
    axes = figure.subplots()
    names = [name for _, name in rates]
    colours = ["#2f7d5b" if rate >= 0.9 else "#c9793a" for rate, _ in rates]
    axes.barh(names, [rate for rate, _ in rates], color=colours, height=0.7)
    axes.axvline(0.9, color="#444", linewidth=0.8, linestyle=":")
    axes.set(xlim=(0, 1), xlabel="share of episodes solved")
    axes.set_title(
        f"{sum(rate >= 0.9 for rate, _ in rates)} of {len(rates)} tasks at 0.9 or better",
        loc="left",
    )
    axes.margins(y=0.005)
    axes.invert_yaxis()
    axes.tick_params(axis="y", labelsize=7, length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    figure.savefig(path, dpi=144)


def write(summary: dict[str, Any], json_path: Path | None, plot_path: Path | None) -> None:
    """Write the result, and the plot beside it or where it is wanted."""
    if json_path:
        json_path.parent.mkdir(parents=True, exist_ok=True)
        json_path.write_text(json.dumps(summary, indent=1) + "\n")
        plot_path = plot_path or json_path.with_suffix(".png")
    if plot_path:
        draw(summary, plot_path)
        console.print(f"plot: {plot_path}")


@click.command("eval")
@click.argument("suite_name", metavar="SUITE")
@click.option("--tasks", default="all", show_default=True, help="all, or names with commas.")
@click.option("--seeds", default="1000-1009", show_default=True)
@click.option("--json", "json_path", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--plot",
    "plot_path",
    type=click.Path(dir_okay=False, path_type=Path),
    help="PNG; beside the JSON if not given.",
)
@click.option("--strategy", default="")
@click.option("--strategy-settings", default="")
@click.option("--max-steps", default=40, show_default=True)
@click.option("--at-once", default=1, show_default=True, type=click.IntRange(1, 64))
@connected
async def evaluate(
    connection: Connection,
    suite_name: str,
    tasks: str,
    seeds: str,
    json_path: Path | None,
    plot_path: Path | None,
    strategy: str,
    strategy_settings: str,
    max_steps: int,
    at_once: int,
) -> None:
    """Score an agent on SUITE, such as miniwob."""
    suite = load_suite(suite_name)
    agent = Agent(
        strategy=strategy,
        strategy_settings=strategy_settings,
        max_steps=max_steps,
        allow_literal_secrets=True,
        stop_on_environment_lost=True,
    )
    async with connection.open() as platform:
        chosen = choose_tasks(suite, tasks)
        episodes, seconds = await evaluate_suite(
            platform, suite, chosen, parse_seeds(seeds), agent, at_once=at_once
        )
    summary = summarise(episodes, seconds)
    console.print(table(episodes, summary))
    write(summary, json_path, plot_path)

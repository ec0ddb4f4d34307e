"""Score the `exemplar` strategy on MiniWoB++ without a platform: for work on the strategy itself.

`python -m bench.miniwob_direct record TASKS` plays demonstrations/miniwob/<task>.yaml with the script strategy
and keeps the exemplars in a folder; `score TASKS` runs unseen seeds with them. TASKS: names, or all.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ParamSpec, TypeVar

import yaml

from services.gui.look import KeptBlobs, OpenGate, load_provider
from services.planner.strategies import script
from services.planner.strategies.exemplar import plugin
from tectum import wire
from tectum.actions.types import Action
from tectum.demonstrations import parse_lesson
from tectum.memory.v1 import memory_pb2
from tectum.observations.types import Screen
from tectum.plugins import (
    Choice,
    Environment,
    EnvironmentProvider,
    Exemplar,
    OpenOptions,
    PastStep,
    PluginError,
    Strategy,
    StrategyContext,
)
from tectum.protocol.messages import OutcomeStatus

P = ParamSpec("P")
R = TypeVar("R")

DEMONSTRATIONS = Path("demonstrations/miniwob")


class Inline:
    """Runs at once: here nobody else waits for the loop."""

    async def run(self, call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """What the call returns."""
        return call(*args, **kwargs)


@dataclass
class OneLesson:
    """A memory that holds one lesson: what is measured here is the strategy, not the retrieval."""

    exemplars: Sequence[Exemplar] = ()

    async def search(
        self, instruction: str, screen: Screen, *, limit: int, by_lesson: bool
    ) -> Sequence[tuple[Exemplar, float]]:
        """All of them."""
        return [(exemplar, 1.0) for exemplar in self.exemplars[:limit]]

    async def history(self, site: str, last: int) -> Sequence[str]:
        """None."""
        return ()


@dataclass
class Episode:
    """What came of one episode."""

    success: bool = False
    reward: float = 0.0
    seconds: float = 0.0
    told: list[str] = field(default_factory=list)
    steps: list[tuple[Screen, Action]] = field(default_factory=list)
    last: Screen | None = None


async def play(
    environment: Environment, instruction: str, strategy: Strategy, most: int = 60
) -> Episode:
    """Run one episode to its end."""
    episode = Episode()
    began = time.monotonic()
    history: list[PastStep] = []
    screen = await environment.observe()
    for _ in range(most):
        seen = screen
        try:
            choice = await strategy.decide(instruction, history, screen)
        except PluginError as error:
            episode.told.append(f"{error.reason}: {error}")
            break
        result = await environment.act(choice.action, screen, OpenGate())
        episode.told.append(
            f"{choice.reason} -> {result.status} {result.reason} {result.message}".strip()
        )
        screen = await environment.observe()
        history.append(PastStep(seen, choice.action, result.status, result.reason))
        if result.status is OutcomeStatus.OK and not choice.action.terminal:
            episode.steps.append((seen, choice.action))
        if result.ended or choice.action.terminal:
            break
    score = await environment.score()
    episode.last = screen
    episode.seconds = time.monotonic() - began
    if score is not None:
        episode.success, episode.reward = score.success, score.reward
    return episode


async def record(provider: EnvironmentProvider, task: str, folder: Path, verbose: bool) -> bool:
    """Play the demonstrations of a task and keep the exemplars of those that succeeded."""
    lesson = parse_lesson(yaml.safe_load((DEMONSTRATIONS / f"{task}.yaml").read_text()), task)
    target = folder / task
    target.mkdir(parents=True, exist_ok=True)
    for old in target.glob("*.pb"):
        old.unlink()
    good = True
    for number, demonstration in enumerate(lesson.demonstrations):
        environment = await provider.open(
            demonstration.environment, OpenOptions(KeptBlobs(), {}, True)
        )
        try:
            instruction = demonstration.instruction or environment.instruction
            episode = await play(environment, instruction, script.Script(demonstration.steps))
        finally:
            await environment.aclose()
        if not episode.success or verbose:
            good = good and episode.success
            print(f"  {demonstration.environment}: {episode.reward} {instruction!r}")
            for line in episode.told[-4:]:
                print(f"    {line}")
        if episode.success:
            exemplar = Exemplar(
                f"{task}-{number}", task, instruction, tuple(episode.steps), episode.last
            )
            keep(exemplar, target / f"{number}.pb")
    return good


def keep(exemplar: Exemplar, path: Path) -> None:
    """Write an exemplar as the memory service's message."""
    message = memory_pb2.Exemplar(
        exemplar_id=exemplar.exemplar_id, lesson=exemplar.lesson, instruction=exemplar.instruction
    )
    for screen, action in exemplar.steps:
        step = message.steps.add()
        step.screen.CopyFrom(wire.to_wire(screen, type(step.screen)))
        step.action.CopyFrom(wire.to_wire(action, type(step.action)))
    if exemplar.last_screen is not None:
        message.last_screen.CopyFrom(wire.to_wire(exemplar.last_screen, type(message.last_screen)))
    path.write_bytes(message.SerializeToString())


def load(folder: Path) -> list[Exemplar]:
    """Read the exemplars of a task."""
    found = []
    for path in sorted(folder.glob("*.pb")):
        message = memory_pb2.Exemplar.FromString(path.read_bytes())
        found.append(
            Exemplar(
                message.exemplar_id,
                message.lesson,
                message.instruction,
                tuple(
                    (wire.from_wire(s.screen, Screen), wire.from_wire(s.action, Action))
                    for s in message.steps
                ),
                wire.from_wire(message.last_screen, Screen)
                if message.HasField("last_screen")
                else None,
            )
        )
    return found


async def score(
    provider: EnvironmentProvider, task: str, folder: Path, seeds: Sequence[int], verbose: bool
) -> tuple[int, float]:
    """Successes of a task over the seeds, and the longest time of a decision in seconds."""
    memory = OneLesson(load(folder / task))
    strategies = plugin()
    solved = 0
    slowest = 0.0
    for seed in seeds:
        strategy = Timed(strategies.create(StrategyContext(memory, "", Inline())))
        environment = await provider.open(
            f"miniwob://{task}?seed={seed}", OpenOptions(KeptBlobs(), {}, True)
        )
        try:
            instruction = environment.instruction
            episode = await play(environment, instruction, strategy)
        finally:
            await environment.aclose()
        solved += episode.success
        slowest = max(slowest, strategy.slowest)
        if verbose and (not episode.success or verbose > 1):
            print(f"  seed {seed}: {episode.reward} in {episode.seconds:.1f} s: {instruction!r}")
            for line in episode.told:
                print(f"    {line}")
    return solved, slowest


class Timed:
    """A strategy whose slowest decision is known."""

    def __init__(self, inner: Strategy) -> None:
        self._inner = inner
        self.slowest = 0.0

    async def decide(self, instruction: str, history: Sequence[PastStep], screen: Screen) -> Choice:
        """Passed on."""
        began = time.perf_counter()
        choice = await self._inner.decide(instruction, history, screen)
        self.slowest = max(self.slowest, time.perf_counter() - began)
        return choice


async def run(arguments: argparse.Namespace) -> int:
    """Carry the command out."""
    known = sorted(path.stem for path in DEMONSTRATIONS.glob("*.yaml"))
    tasks = known if arguments.tasks == "all" else arguments.tasks.split(",")
    first, _, last = arguments.seeds.partition("-")
    seeds = range(int(first), int(last or first) + 1)
    provider = load_provider("miniwob://any")
    table = {}
    try:
        for task in tasks:
            if arguments.command in ("record", "both"):
                try:
                    good = await record(provider, task, arguments.folder, arguments.verbose > 1)
                    print(f"{task}: recorded{'' if good else ' NOT ALL'}", flush=True)
                except (OSError, ValueError, PluginError) as error:
                    print(f"{task}: {error}", flush=True)
                    continue
            if arguments.command in ("score", "both"):
                solved, slowest = await score(
                    provider, task, arguments.folder, seeds, arguments.verbose
                )
                table[task] = solved
                print(f"{task}: {solved}/{len(seeds)} slowest {slowest * 1000:.0f} ms", flush=True)
    finally:
        await provider.aclose()
    if table:
        good_ones = sum(solved >= 0.9 * len(seeds) for solved in table.values())
        print(f"{good_ones} of {len(table)} at 0.9 or better")
        if arguments.json:
            arguments.json.write_text(json.dumps(table, indent=1))
    return 0


def main() -> int:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("command", choices=["record", "score", "both"])
    parser.add_argument("tasks")
    parser.add_argument("--seeds", default="1000-1009")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--json", type=Path)
    parser.add_argument("-v", "--verbose", action="count", default=0)
    return asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    sys.exit(main())

"""Many seeds, over processes, and what to type to see one of them again."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.simulation.profiles import Profile
from tests.simulation.scenario import Result, Rules, profile_named, simulate

ROOT = Path(__file__).parents[2]
REGRESSIONS = Path(__file__).with_name("regressions.txt")


@dataclass(slots=True)
class Summary:
    """What came of many seeds."""

    seeds: int = 0
    steps: int = 0
    inputs: int = 0
    interrupts: int = 0
    simulated_s: float = 0.0
    digest: int = 0
    failed: list[str] = field(default_factory=list)

    def add(self, result: Result) -> None:
        """Count one seed."""
        self.seeds += 1
        self.steps += result.steps
        self.inputs += result.inputs
        self.interrupts += result.interrupts
        self.simulated_s += result.length_s
        self.digest ^= result.digest
        if not result.ok:
            self.failed.append(explain(result))

    def merge(self, other: Summary) -> None:
        """Count what another process counted."""
        self.seeds += other.seeds
        self.steps += other.steps
        self.inputs += other.inputs
        self.interrupts += other.interrupts
        self.simulated_s += other.simulated_s
        self.digest ^= other.digest
        self.failed.extend(other.failed)

    def __str__(self) -> str:
        return (
            f"{self.seeds} seeds, {self.simulated_s / 3600:.1f} simulated hours, {self.steps} callbacks, "
            f"{self.inputs} inputs, {self.interrupts} epochs raised, {len(self.failed)} failed"
        )


def explain(result: Result) -> str:
    """Why a seed failed, and the command that replays it."""
    why = [str(violation) for violation in result.violations[:5]] + result.errors[:5]
    command = f"python -m tests.simulation --seed {result.seed} --profile {result.profile} --trace"
    return "\n  ".join([f"seed {result.seed} ({result.profile}): {command}", *why])


def run_regressions() -> Summary:
    """Run the seeds that once failed, each under its profile; `regressions.txt` says why."""
    summary = Summary()
    for line in REGRESSIONS.read_text().splitlines():
        words = line.split("#", 1)[0].split()
        if words:
            summary.add(simulate(int(words[0]), profile=profile_named(words[1])))
    return summary


def run_here(
    seeds: Iterable[int], rules: Rules | None = None, after: Callable[[Result], None] | None = None
) -> Summary:
    """Run seeds in this process; the collector runs between seeds only, for one order of everything."""
    summary = Summary()
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        for seed in seeds:
            result = simulate(seed, rules=rules)
            summary.add(result)
            if after is not None:
                after(result)
    finally:
        gc.enable()
        gc.unfreeze()
    return summary


def run_parallel(first: int, count: int, jobs: int) -> Summary:
    """Run `count` seeds from `first` on in `jobs` processes."""
    shares = [range(first + job, first + count, jobs) for job in range(jobs)]
    workers = [_worker(share) for share in shares if share]
    summary = Summary()
    for worker in workers:
        out, _ = worker.communicate()
        if worker.returncode not in (0, 1):
            summary.failed.append(f"a worker ended with {worker.returncode}")
        for line in out.splitlines():
            if line.startswith("{"):
                summary.merge(Summary(**json.loads(line)))
    return summary


def _worker(seeds: range) -> subprocess.Popen[str]:
    command = [
        sys.executable, "-m", "tests.simulation", "--worker",
        "--range", f"{seeds.start}", f"{seeds.stop}", f"{seeds.step}",
    ]  # fmt: skip
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def shrink(seed: int, profile: Profile, rules: Rules) -> tuple[Result, frozenset[str]]:
    """Leave out callers' deeds and faults while the seed still breaks the same promise."""
    result = simulate(seed, profile=profile, rules=rules)
    dropped: frozenset[str] = frozenset()
    if result.ok:
        return result, dropped
    promises = _promises(result)
    for part in result.parts:
        smaller = simulate(seed, profile=profile, rules=rules, drop=dropped | {part})
        if _promises(smaller) & promises:
            result, dropped = smaller, dropped | {part}
    return result, dropped


def _promises(result: Result) -> set[str]:
    return {violation.promise for violation in result.violations} | set(result.errors)


def find(
    seeds: range, rules: Rules, promises: frozenset[str], profile: Profile
) -> Iterator[Result]:
    """The seeds in which one of `promises` is broken."""
    for seed in seeds:
        result = simulate(seed, rules=rules, profile=profile, enough=promises)
        if {violation.promise for violation in result.violations} & promises:
            yield result

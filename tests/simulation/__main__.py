"""`python -m tests.simulation`: run many seeds, or look at one."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Callable

from tests.simulation.mutants import MUTANTS
from tests.simulation.profiles import PROFILES
from tests.simulation.runner import explain, run_here, run_parallel, run_regressions, shrink
from tests.simulation.scenario import Rules, profile_named, profile_of, simulate


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=2000, help="how many seeds to run")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--seed", type=int, help="one seed")
    parser.add_argument("--trace", action="store_true", help="print what happens in it")
    parser.add_argument("--steps", action="store_true", help="and every scheduling decision")
    parser.add_argument("--shrink", action="store_true", help="leave out what does not matter")
    parser.add_argument("--drop", default="", help="parts to leave out, as --shrink prints them")
    parser.add_argument(
        "--profile", choices=[p.name for p in PROFILES], help="its scenario profile"
    )
    parser.add_argument("--mutant", choices=[m.name for m in MUTANTS], help="switch a rule off")
    parser.add_argument("--range", type=int, nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")


def _rules(name: str | None) -> Rules:
    return next((mutant.rules for mutant in MUTANTS if mutant.name == name), Rules())


def _one(arguments: argparse.Namespace) -> int:
    name, rules = arguments.profile, _rules(arguments.mutant)
    profile = profile_named(name) if name else profile_of(arguments.seed)
    if arguments.shrink:
        result, dropped = shrink(arguments.seed, profile, rules)
        _say(explain(result))
        _say(f"the same without {len(dropped)} parts: --drop {','.join(sorted(dropped))}")
        return 0 if result.ok else 1
    drop = frozenset(part for part in arguments.drop.split(",") if part)
    trace = _printer(steps=arguments.steps) if arguments.trace else None
    result = simulate(arguments.seed, rules=rules, profile=profile, trace=trace, drop=drop)
    _say(explain(result) if not result.ok else f"seed {result.seed} ({result.profile}): ok")
    _say(f"hash {result.digest:016x}, {result.steps} callbacks, {result.length_s:.1f} s simulated")
    return 0 if result.ok else 1


def _printer(*, steps: bool) -> Callable[[str], None]:
    def say(line: str) -> None:
        if steps or line[11:13] != ". ":
            _say(line)

    return say


def _many(arguments: argparse.Namespace) -> int:
    begun = time.monotonic()
    known = run_regressions()
    summary = (
        run_parallel(arguments.first, arguments.seeds, arguments.jobs)
        if arguments.jobs > 1
        else run_here(
            range(arguments.first, arguments.first + arguments.seeds), _rules(arguments.mutant)
        )
    )
    summary.failed[:0] = known.failed
    for failure in summary.failed[:20]:
        _say(failure)
    _say(f"{summary}; {known.seeds} regression seeds; {time.monotonic() - begun:.1f} s")
    _say(f"hash {summary.digest:016x}")
    return 1 if summary.failed else 0


def main() -> int:
    """Run what was asked for; 1 where a promise was broken."""
    arguments = _arguments()
    if arguments.worker:
        summary = run_here(range(*arguments.range))
        _say(json.dumps(dataclasses.asdict(summary)))
        return 1 if summary.failed else 0
    return _one(arguments) if arguments.seed is not None else _many(arguments)


if __name__ == "__main__":
    sys.exit(main())

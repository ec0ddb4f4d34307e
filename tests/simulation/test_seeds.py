"""The real code of session, executors and guard keeps every promise, over many seeded scenarios."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.simulation.profiles import PROFILES
from tests.simulation.runner import ROOT, run_here, run_parallel, run_regressions
from tests.simulation.scenario import simulate

SEEDS = 2000


def test_seeds_that_once_failed_stay_clean() -> None:
    summary = run_regressions()
    assert not summary.failed, "\n".join(summary.failed)


# 2,000 whole systems, about a tenth of a second each, on a busy machine.
@pytest.mark.timeout(900)
def test_no_promise_is_broken_in_many_seeds() -> None:
    summary = run_parallel(0, SEEDS, jobs=2)
    assert not summary.failed, "\n".join(summary.failed[:5])
    assert summary.seeds == SEEDS
    # The witness saw something to judge.
    assert summary.inputs > SEEDS
    assert summary.interrupts > SEEDS / 2


@pytest.mark.parametrize("number", range(len(PROFILES)))
def test_every_profile_acts_and_ends(number: int) -> None:
    summary = run_here(range(number, number + 4 * len(PROFILES), len(PROFILES)))
    assert not summary.failed, "\n".join(summary.failed)
    assert summary.inputs > 0


def test_a_seed_gives_the_same_trace_in_one_process() -> None:
    traces: list[list[str]] = [[], []]
    digests = {simulate(5, trace=trace.append).digest for trace in traces}
    assert traces[0] == traces[1]
    assert len(traces[0]) > 1000
    # Tracing changes nothing.
    assert digests == {simulate(5).digest}


# Starts three interpreters.
@pytest.mark.timeout(120)
def test_a_seed_gives_the_same_trace_whatever_the_hash_seed() -> None:
    found = {_digest_in_another_process(hash_seed) for hash_seed in ("0", "1", "4242")}
    assert len(found) == 1, found


def _digest_in_another_process(hash_seed: str) -> str:
    command = [sys.executable, "-m", "tests.simulation", "--first", "0", "--seeds", "16"]
    environment = {"PYTHONHASHSEED": hash_seed}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    match = re.search(r"hash ([0-9a-f]{16})", done.stdout)
    assert match is not None, done.stdout + done.stderr
    return match.group(1)

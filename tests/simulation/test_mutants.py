"""The simulator sees: with any one rule of the protocol switched off it finds a promise broken."""

from __future__ import annotations

import pytest

from tests.simulation.mutants import MUTANTS, Mutant
from tests.simulation.runner import find, run_here

SEEDS_MAX = 400


@pytest.mark.timeout(300, reason="some rules matter only in rare interleavings")
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_rule_switched_off_is_noticed(mutant: Mutant) -> None:
    first = next(iter(find(range(SEEDS_MAX), mutant.rules, mutant.breaks)), None)
    assert first is not None, f"{mutant.name}: nothing in {SEEDS_MAX} seeds"
    # The very seed is clean with the rule on.
    clean = run_here([first.seed])
    assert not clean.failed, clean.failed

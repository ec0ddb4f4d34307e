"""The simulator sees: with any one rule of the protocol switched off it finds a promise broken."""

from __future__ import annotations

import pytest

from tests.simulation.mutants import MUTANTS, Mutant
from tests.simulation.runner import explain, find
from tests.simulation.scenario import profile_named, simulate

SEEDS_MAX = 150


# Some rules matter only in rare interleavings.
@pytest.mark.timeout(300)
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_rule_switched_off_is_noticed(mutant: Mutant) -> None:
    profile = profile_named(mutant.profile)
    first = next(find(range(SEEDS_MAX), mutant.rules, mutant.breaks, profile), None)
    assert first is not None, f"{mutant.name}: nothing in {SEEDS_MAX} seeds of {profile.name}"
    # The very seed is clean with the rule on.
    clean = simulate(first.seed, profile=profile)
    assert clean.ok, explain(clean)

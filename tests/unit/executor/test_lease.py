"""Leases at an executor: rules 5 and 7."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from libs.executor.gate import LeaseGate
from libs.executor.lease import LeaseKeeper
from libs.executor.port import LeaseGrant
from libs.executor.rules import ExecutorRules
from tectum.plugins import PluginError
from tectum.protocol.types import Epoch


class HandClock:
    def __init__(self) -> None:
        self.at = 100.0

    def monotonic(self) -> float:
        return self.at

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.at, UTC)


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def keeper(clock: HandClock) -> LeaseKeeper:
    return LeaseKeeper(incarnation=3, clock=clock, margin=0.1, rules=ExecutorRules())


def grant(ask: int, epoch: Epoch, *, incarnation: int = 3, lease_s: float = 10.0) -> LeaseGrant:
    return LeaseGrant("s", "gui/0/3-e1", incarnation, ask, epoch, lease_s)


def test_the_clock_starts_when_the_ask_is_sent(keeper: LeaseKeeper, clock: HandClock) -> None:
    keeper.asked(1)
    clock.at += 4
    assert keeper.granted(grant(1, Epoch(1, 0)))
    assert keeper.lease is not None
    assert keeper.lease.expires_at == 109.0  # 100 + 10 less a tenth
    clock.at = 109.0
    assert keeper.lease is None


def test_a_grant_that_comes_after_its_end_is_none(keeper: LeaseKeeper, clock: HandClock) -> None:
    keeper.asked(1)
    clock.at += 9
    assert not keeper.granted(grant(1, Epoch(1, 0)))
    assert keeper.lease is None


def test_only_an_open_ask_of_this_incarnation_is_answered(keeper: LeaseKeeper) -> None:
    keeper.asked(1)
    assert not keeper.granted(grant(2, Epoch(1, 0)))
    assert not keeper.granted(grant(1, Epoch(1, 0), incarnation=2))
    keeper.asked(3)
    assert keeper.granted(grant(3, Epoch(1, 0)))
    assert not keeper.granted(grant(3, Epoch(1, 0))), "an answer counts once"


def test_an_old_answer_does_not_follow_a_newer_one(keeper: LeaseKeeper) -> None:
    keeper.asked(1)
    keeper.asked(2)
    assert keeper.granted(grant(2, Epoch(1, 0)))
    assert not keeper.granted(grant(1, Epoch(1, 0)))


def test_nothing_below_the_floor_is_accepted(keeper: LeaseKeeper) -> None:
    keeper.asked(1)
    keeper.hold(Epoch(2, 0))
    assert not keeper.granted(grant(1, Epoch(1, 5)))
    keeper.asked(2)
    assert keeper.granted(grant(2, Epoch(2, 0)))
    assert keeper.floor == Epoch(2, 0)


def test_a_granted_epoch_is_a_floor_too(keeper: LeaseKeeper) -> None:
    keeper.asked(1)
    keeper.asked(2)
    assert keeper.granted(grant(1, Epoch(2, 0)))
    assert not keeper.granted(grant(2, Epoch(1, 9)))


def test_a_live_lease_is_renewed_and_an_expired_one_acquired_anew(
    keeper: LeaseKeeper, clock: HandClock
) -> None:
    keeper.asked(1)
    assert keeper.granted(grant(1, Epoch(1, 0)))
    first = keeper.lease
    clock.at += 5
    keeper.asked(2)
    assert keeper.granted(grant(2, Epoch(1, 0)))
    renewed = keeper.lease
    assert first is not None and renewed is not None
    assert renewed.number == first.number and renewed.expires_at > first.expires_at
    clock.at += 20
    keeper.asked(3)
    assert keeper.granted(grant(3, Epoch(1, 0)))
    assert keeper.lease is not None
    assert keeper.lease.number != first.number


def test_a_hold_ends_older_leases_and_no_others(keeper: LeaseKeeper) -> None:
    keeper.asked(1)
    assert keeper.granted(grant(1, Epoch(1, 1)))
    keeper.hold(Epoch(1, 1))
    assert keeper.lease is not None, "a repeated hold of the granted epoch changes nothing"
    keeper.hold(Epoch(1, 2))
    assert keeper.lease is None


async def test_the_gate_lets_nothing_through_once_held(keeper: LeaseKeeper) -> None:
    keeper.asked(1)
    assert keeper.granted(grant(1, Epoch(1, 0)))
    assert keeper.lease is not None
    gate = LeaseGate(keeper, keeper.lease, ExecutorRules())
    async with gate.input():
        keeper.hold(Epoch(1, 1))
    with pytest.raises(PluginError) as caught:
        async with gate.input():
            raise AssertionError("nothing may begin")
    assert caught.value.reason == "HELD"
    assert gate.begun == 1


async def test_the_gate_closes_for_good_when_its_lease_has_lapsed(
    keeper: LeaseKeeper, clock: HandClock
) -> None:
    keeper.asked(1)
    assert keeper.granted(grant(1, Epoch(1, 0)))
    assert keeper.lease is not None
    gate = LeaseGate(keeper, keeper.lease, ExecutorRules())
    clock.at += 30
    assert not gate.open
    keeper.asked(2)
    assert keeper.granted(grant(2, Epoch(1, 0)))
    assert not gate.open, "a lease acquired anew is another lease, although for the same epoch"


async def test_the_gate_tells_when_it_is_quiet(keeper: LeaseKeeper) -> None:
    keeper.asked(1)
    assert keeper.granted(grant(1, Epoch(1, 0)))
    assert keeper.lease is not None
    gate = LeaseGate(keeper, keeper.lease, ExecutorRules())
    assert gate.valid_until == keeper.lease.expires_at
    await gate.drained()
    async with gate.input():
        assert not gate._quiet.is_set()
    await gate.drained()

"""Sharing of partitions: whole, fair and sticky, whatever members do."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from libs.events.groups import Groups
from libs.events.partitioning import murmur2, partition_for

COUNTS = {"a": 4, "b": 3}


def signed(number: int) -> int:
    return number - (1 << 32) if number >> 31 else number


def test_murmur2_is_kafkas() -> None:
    """The values of Kafka's own UtilsTest."""
    golden = {
        b"21": -973932308,
        b"foobar": -790332482,
        b"a-little-bit-long-string": -985981536,
        b"a-little-bit-longer-string": -1486304829,
        b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
        b"abc": 479470107,
    }
    assert {data: signed(murmur2(data)) for data in golden} == golden


@given(st.text(max_size=50), st.integers(1, 100))
def test_a_partition_is_in_range(key: str, partitions: int) -> None:
    assert 0 <= partition_for(key, partitions) < partitions


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 9), st.booleans()), max_size=30))
def test_every_partition_has_one_owner_and_shares_are_fair(
    acts: list[tuple[int, int, bool]],
) -> None:
    groups = Groups(10.0)
    members: dict[int, set[str]] = {}
    for act, which, both in acts:
        before = {m: set(groups.places("g", m)) for m in members}
        if act == 0 or not members:
            topics = {"a", "b"} if both else {"a"}
            member = groups.join("g", {t: COUNTS[t] for t in topics}, lambda: None, 0.0)
            members[member] = topics
        elif act == 1:
            gone = sorted(members)[which % len(members)]
            groups.leave("g", gone)
            del members[gone]
        else:
            groups.beat("g", sorted(members)[which % len(members)], 0.0)
            assert before == {m: set(groups.places("g", m)) for m in members}
        check(groups, members)


def check(groups: Groups, members: dict[int, set[str]]) -> None:
    for topic, count in COUNTS.items():
        readers = [m for m, topics in members.items() if topic in topics]
        shares = [{p for t, p in groups.places("g", m) if t == topic} for m in readers]
        if readers:
            assert sorted(p for share in shares for p in share) == list(range(count))
            assert max(map(len, shares)) - min(map(len, shares)) <= 1
        others = [m for m in members if m not in readers]
        assert not any(t == topic for m in others for t, _ in groups.places("g", m))


def test_a_joining_member_takes_only_its_share() -> None:
    groups = Groups(10.0)
    first = groups.join("g", {"a": 8}, lambda: None, 0.0)
    second = groups.join("g", {"a": 8}, lambda: None, 0.0)
    before = {m: dict(groups.places("g", m)) for m in (first, second)}
    third = groups.join("g", {"a": 8}, lambda: None, 0.0)
    for member in (first, second):
        kept = groups.places("g", member)
        # What stays keeps its generation: its reader's position is not reset.
        assert kept.items() <= before[member].items()
    assert len(groups.places("g", third)) == 2


def test_members_are_told_when_their_share_changes() -> None:
    told: list[str] = []
    groups = Groups(10.0)
    first = groups.join("g", {"a": 2}, lambda: told.append("first"), 0.0)
    told.clear()
    groups.join("g", {"a": 2}, lambda: told.append("second"), 0.0)
    assert sorted(told) == ["first", "second"]
    told.clear()
    groups.beat("g", first, 11.0)
    assert sorted(told) == ["first", "second"]
    assert set(groups.places("g", first)) == {("a", 0), ("a", 1)}

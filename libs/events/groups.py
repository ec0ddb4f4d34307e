"""Consumer groups: who is a member, and who has which partition. Pure state, no waiting."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from libs.errors import Conflict

Place = tuple[str, int]
"""A topic and a partition of it."""


@dataclass(slots=True)
class _Member:
    topics: frozenset[str]
    changed: Callable[[], None]
    seen_at: float
    places: dict[Place, int] = field(default_factory=dict)
    """What it has, each with the generation at which it got it."""


@dataclass(slots=True)
class _Group:
    generation: int = 0
    partitions: dict[str, int] = field(default_factory=dict)
    members: dict[int, _Member] = field(default_factory=dict)


class Groups:
    """Shares partitions evenly among a group's members and moves as few as it can (sticky)."""

    def __init__(self, member_timeout_s: float) -> None:
        self._member_timeout_s = member_timeout_s
        self._groups: dict[str, _Group] = {}
        self._next_id = 0

    def join(
        self, name: str, topics: Mapping[str, int], changed: Callable[[], None], now: float
    ) -> int:
        """Add a member and return its id; `changed` is called when its partitions may have changed.

        `topics` says how many partitions each topic has; `now` is monotonic seconds.
        """
        group = self._groups.setdefault(name, _Group())
        self._next_id += 1
        group.partitions.update(topics)
        group.members[self._next_id] = _Member(frozenset(topics), changed, now)
        self._evict(group, now)
        self._share(group)
        return self._next_id

    def leave(self, name: str, member: int) -> None:
        """Remove a member at once; one that is not there changes nothing."""
        group = self._groups.get(name)
        if group is None or group.members.pop(member, None) is None:
            return
        if group.members:
            self._share(group)
        else:
            del self._groups[name]

    def beat(self, name: str, member: int, now: float) -> Mapping[Place, int]:
        """Note that `member` lives and return its partitions, each with when (generation) it came.

        Others whose time is over are evicted; the caller itself only if another did so before.

        Raises:
            Conflict: it was evicted (MEMBER_EVICTED).
        """
        group = self._groups.get(name)
        found = group.members.get(member) if group else None
        if group is None or found is None:
            raise Conflict(
                "MEMBER_EVICTED",
                f"a member of group {name!r} must call every {self._member_timeout_s} s; "
                "this one did not and was evicted, subscribe anew",
                group=name,
            )
        found.seen_at = now
        if self._evict(group, now):
            self._share(group)
        return found.places

    def places(self, name: str, member: int) -> Mapping[Place, int]:
        """Return the partitions of `member`; empty if it is no member."""
        group = self._groups.get(name)
        found = group.members.get(member) if group else None
        return found.places if found else {}

    def _evict(self, group: _Group, now: float) -> bool:
        dead = [
            member_id
            for member_id, member in group.members.items()
            if now - member.seen_at > self._member_timeout_s
        ]
        for member_id in dead:
            group.members.pop(member_id).changed()
        return bool(dead)

    def _share(self, group: _Group) -> None:
        group.generation += 1
        before = {m: frozenset(member.places) for m, member in group.members.items()}
        topics = sorted(set().union(*(member.topics for member in group.members.values())))
        for topic in topics:
            self._share_topic(group, topic)
        for member_id, member in group.members.items():
            if frozenset(member.places) != before[member_id]:
                member.changed()

    def _share_topic(self, group: _Group, topic: str) -> None:
        """Give every partition of `topic` an owner, shares differing by at most one."""
        readers = [member for member in group.members.values() if topic in member.topics]
        count = group.partitions[topic]
        share, extra = divmod(count, len(readers))
        kept = {
            id(member): [place for place in member.places if place[0] == topic]
            for member in readers
        }
        # Who has the most may keep the larger shares: fewer moves. Ties go to who has less.
        readers.sort(key=lambda member: (-len(kept[id(member)]), len(member.places)))
        free = set(range(count)) - {p for places in kept.values() for _, p in places}
        room: list[tuple[_Member, int]] = []
        for index, member in enumerate(readers):
            quota = share + (index < extra)
            places = sorted(kept[id(member)])
            for place in places[quota:]:
                del member.places[place]
                free.add(place[1])
            room.append((member, quota - min(len(places), quota)))
        queue = iter(sorted(free))
        for member, lacking in room:
            for _ in range(lacking):
                member.places[(topic, next(queue))] = group.generation

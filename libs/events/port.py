"""The event log every service depends on; adapters sit beside this file."""

from __future__ import annotations

import enum
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Event:
    """A CloudEvent 1.0 before it has a place in the log.

    `id` survives retries and takeovers. `source` names the producer; (`source`, `incarnation`,
    `seq`) is
    set by the producer that publishes it, for the high-water marks of consumers (protocol, rule
    14).
    """

    id: str
    type: str
    subject: str
    """The session id; also the record's key."""
    data: bytes
    time: datetime
    source: str = ""
    incarnation: int = 0
    seq: int = 0
    content_type: str = "application/protobuf"
    traceparent: str = ""
    deadline_at: datetime | None = None
    extensions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Record:
    """An event at its place in the log."""

    topic: str
    partition: int
    offset: int
    key: str
    event: Event
    appended_at: datetime


@dataclass(frozen=True, slots=True)
class Position:
    """Where a record was appended."""

    topic: str
    partition: int
    offset: int


class Cleanup(enum.StrEnum):
    """What happens to old records of a topic."""

    DELETE = "delete"
    COMPACT = "compact"


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """A topic as code."""

    name: str
    partitions: int
    cleanup: Cleanup = Cleanup.DELETE
    retention_s: float = 7 * 86_400.0
    """Of DELETE topics: records older than this may be deleted. Of COMPACT ones: age of a
    tombstone."""


class Producer(Protocol):
    """The one live writer of its name; a later one of the same name fences it."""

    @property
    def name(self) -> str:
        """The name, written as `source`."""
        ...

    @property
    def incarnation(self) -> int:
        """Rises with every producer of this name; written as `incarnation`."""
        ...

    async def publish(self, topic: str, event: Event, *, partition: int | None = None) -> Position:
        """Append and return once the record survives a kill of this process (acknowledged).

        `partition` None: chosen from the subject as Kafka does (murmur2). Records that one
        producer sends
        to one partition keep the order of the calls. Cancelling the call does not say whether it
        was appended.

        Raises:
            Conflict: a later producer of this name exists (PRODUCER_FENCED); nothing was appended.
            NotFound: no such topic (TOPIC_NOT_FOUND).
            InvalidRequest: the event is larger than the log's limit (EVENT_TOO_LARGE), or there
            is no such partition.
            Overloaded: too many publishes are waiting (LOG_BUSY).
            DependencyDown: the log does not answer or cannot write (LOG_DOWN, LOG_FULL).
        """
        ...

    async def prove(self) -> None:
        """Return only if no later producer of this name existed when the log looked, after this
        call began.

        Raises:
            Conflict: fenced (PRODUCER_FENCED).
            DependencyDown: the log does not answer.
        """
        ...


class Subscription(Protocol):
    """One member of a consumer group."""

    async def fetch(self) -> Sequence[Record]:
        """Wait for the next records of the assigned partitions, in order for each partition;
        never empty.

        Each call is also the member's heartbeat; the adapter beats by itself while a call waits.
        Cancelling the call takes nothing away: the next one returns the records.

        Raises:
            Conflict: the member was evicted (MEMBER_EVICTED): subscribe anew.
        """
        ...

    async def commit(self, topic: str, partition: int, offset: int) -> None:
        """Say that everything below `offset` is done; lower than before is ignored.

        Raises:
            Conflict: the partition is no longer this member's (PARTITION_REVOKED).
        """
        ...

    async def beat(self) -> None:
        """Say that this member lives while it does not fetch, because its lanes are full.

        Raises:
            Conflict: the member was evicted (MEMBER_EVICTED).
        """
        ...

    @property
    def assignment(self) -> frozenset[tuple[str, int]]:
        """The partitions that are this member's now."""
        ...


class Tail(Protocol):
    """A reader without a group: sees every record of its partitions from where it began."""

    async def fetch(self) -> Sequence[Record]:
        """Wait for the next records, in order for each partition; never empty.

        Cancelling the call takes nothing away: the next one returns the records.
        """
        ...


class EventLog(Protocol):
    """Topics with partitions, consumer groups with committed offsets, fenced producers."""

    async def ensure_topics(self, specs: Sequence[TopicSpec]) -> None:
        """Create what is missing.

        Raises:
            WrongState: a topic exists with other settings (TOPIC_MISMATCH); the difference is
            named.
        """
        ...

    async def producer(self, name: str) -> Producer:
        """Return a producer that fences every earlier one of this name before it returns."""
        ...

    def subscribe(
        self, group: str, topics: Sequence[str]
    ) -> AbstractAsyncContextManager[Subscription]:
        """Join a group; partitions are shared among its members; starts at the committed offset,
        else at 0.

        Leaving the block leaves the group at once. A member that does not call for
        `member_timeout_s` is evicted.
        """
        ...

    def tail(self, start: Mapping[tuple[str, int], int]) -> AbstractAsyncContextManager[Tail]:
        """Follow these (topic, partition) from these offsets, without a group."""
        ...

    def read(
        self,
        topic: str,
        partition: int,
        *,
        start: int = 0,
        end: int | None = None,
        key: str | None = None,
    ) -> AsyncIterator[Record]:
        """What is there from `start` up to `end` (exclusive; None: the end as it is now), of one
        key or all.
        """
        ...

    async def end_offset(self, topic: str, partition: int) -> int:
        """The offset that the next record will have. A linearizable read."""
        ...

    async def partitions(self, topic: str) -> int:
        """How many partitions the topic has.

        Raises:
            NotFound: no such topic (TOPIC_NOT_FOUND).
        """
        ...

    async def partition_of(self, topic: str, key: str) -> int:
        """The partition that `publish` chooses for this key."""
        ...

    async def committed(self, group: str, topic: str, partition: int) -> int:
        """The committed offset of a group; 0 where it never committed."""
        ...

    async def aclose(self) -> None:
        """Stop; what was acknowledged stays."""
        ...

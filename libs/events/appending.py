"""What every adapter checks and adds before it appends."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from libs.errors import Conflict, InvalidRequest, NotFound, WrongState
from libs.events.cloudevents import RESERVED
from libs.events.groups import Place
from libs.events.partitioning import partition_for
from libs.events.port import Event, TopicSpec


def event_bytes(event: Event) -> int:
    """The size that counts against the limit: the data and every text attribute, in bytes."""
    text = event.id + event.type + event.subject + event.content_type + event.traceparent
    extensions = sum(len(name) + len(value) for name, value in event.extensions.items())
    return len(event.data) + len(text.encode()) + extensions


def check_event(event: Event, event_bytes_max: int) -> None:
    """Refuse what no adapter may append.

    Raises:
        InvalidRequest: a required attribute is empty or the time is naive (EVENT_MALFORMED), or
            the event is too large (EVENT_TOO_LARGE).
    """
    for name in ("id", "type", "subject"):
        if not getattr(event, name):
            raise InvalidRequest(
                "EVENT_MALFORMED", f"{name}: expected text, got ''", attribute=name
            )
    if event.time.tzinfo is None:
        raise InvalidRequest(
            "EVENT_MALFORMED",
            f"time: expected an aware datetime, got {event.time.isoformat()!r}",
            attribute="time",
        )
    for name in event.extensions:
        if name in RESERVED or not (name.isascii() and name.isalnum() and name == name.lower()):
            raise InvalidRequest(
                "EVENT_MALFORMED",
                f"extension {name!r}: expected lower-case letters and digits, no attribute's name",
                attribute=name,
            )
    size = event_bytes(event)
    if size > event_bytes_max:
        raise InvalidRequest(
            "EVENT_TOO_LARGE",
            f"an event may have {event_bytes_max} bytes, {event.type} has {size}; "
            "put the payload into the blob store",
            limit_bytes=str(event_bytes_max),
            size_bytes=str(size),
        )


def stamped(event: Event, source: str, incarnation: int, seq: int, traceparent: str) -> Event:
    """Return `event` as `source` publishes it."""
    return dataclasses.replace(
        event,
        source=source,
        incarnation=incarnation,
        seq=seq,
        traceparent=traceparent,
    )


def chosen_place(
    spec: TopicSpec, event: Event, partition: int | None, event_bytes_max: int
) -> Place:
    """Check an event and say where it goes.

    Raises:
        InvalidRequest: see Producer.publish.
    """
    check_event(event, event_bytes_max)
    if partition is None:
        return spec.name, partition_for(event.subject, spec.partitions)
    check_partition(spec, partition)
    return spec.name, partition


def check_partition(spec: TopicSpec, partition: int) -> None:
    """Raise InvalidRequest (NO_SUCH_PARTITION) unless the topic has this partition."""
    if not 0 <= partition < spec.partitions:
        raise InvalidRequest(
            "NO_SUCH_PARTITION",
            f"{spec.name} has partitions 0 to {spec.partitions - 1}, got {partition}",
            topic=spec.name,
            partition=str(partition),
        )


def check_spec(spec: TopicSpec, there: TopicSpec | None) -> None:
    """Refuse an impossible topic and one that differs from what is there.

    Raises:
        InvalidRequest: no partitions (TOPIC_MALFORMED).
        WrongState: the topic exists with other settings (TOPIC_MISMATCH).
    """
    if spec.partitions < 1:
        raise InvalidRequest(
            "TOPIC_MALFORMED", f"{spec.name}: expected 1 partition or more, got {spec.partitions}"
        )
    if there is None or there == spec:
        return
    differences = ", ".join(
        f"{name} is {getattr(there, name)!s}, expected {getattr(spec, name)!s}"
        for name in ("partitions", "cleanup", "retention_s")
        if getattr(there, name) != getattr(spec, name)
    )
    raise WrongState("TOPIC_MISMATCH", f"{spec.name}: {differences}", topic=spec.name)


def no_topic(topic: str, known: Mapping[str, object]) -> NotFound:
    """The error for a topic that does not exist."""
    return NotFound(
        "TOPIC_NOT_FOUND",
        f"no topic {topic!r}; there are {sorted(known)}",
        topic=topic,
    )


def fenced(name: str, incarnation: int) -> Conflict:
    """The error for a producer whose name somebody took over."""
    return Conflict(
        "PRODUCER_FENCED",
        f"producer {name!r}, incarnation {incarnation}, was fenced by a later one of its name",
        producer=name,
        incarnation=str(incarnation),
    )

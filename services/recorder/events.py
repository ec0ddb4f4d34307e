"""Events as they are kept: their CloudEvents attributes, their bytes, their place in the log."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from libs.events.port import Event, Record


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """One recorded event. `appended_ns` and `time_ns` are nanoseconds since the Unix epoch."""

    topic: str
    partition: int
    offset: int
    appended_ns: int
    time_ns: int
    attributes: Mapping[str, str]
    """CloudEvents attributes and extensions by name, as the Kafka binding writes them without `ce_`."""
    data: bytes

    @property
    def id(self) -> str:
        """The CloudEvents id."""
        return self.attributes.get("id", "")

    @property
    def type(self) -> str:
        """The CloudEvents type, such as `tectum.event.v1.Plan`."""
        return self.attributes.get("type", "")


def stored(record: Record) -> StoredEvent:
    """Return what is kept of `record`: every attribute, so that a replay publishes the same event."""
    return StoredEvent(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        appended_ns=_nanoseconds(record.appended_at),
        time_ns=_nanoseconds(record.event.time),
        attributes=_attributes(record.event, record.appended_at),
        data=record.event.data,
    )


def _attributes(event: Event, appended_at: datetime) -> dict[str, str]:
    found = {
        "specversion": "1.0",
        "id": event.id,
        "type": event.type,
        "source": event.source,
        "subject": event.subject,
        "time": event.time.isoformat(),
        "recordedtime": appended_at.isoformat(),
        "datacontenttype": event.content_type,
        "incarnation": str(event.incarnation),
        "producerseq": str(event.seq),
    }
    if event.traceparent:
        found["traceparent"] = event.traceparent
    if event.deadline_at is not None:
        found["tectumdeadline"] = event.deadline_at.isoformat()
    return {**event.extensions, **found}


def _nanoseconds(moment: datetime) -> int:
    # Through integers: a float of seconds since 1970 keeps microseconds only by luck.
    whole = int(moment.replace(microsecond=0).timestamp())
    return whole * 1_000_000_000 + moment.microsecond * 1_000


@dataclass(frozen=True, slots=True)
class FinishedSegment:
    """A segment on local disk that nothing is added to any more."""

    name: str
    sha256: str
    size_bytes: int
    events: int

"""One trace across the log: the event carries the W3C context, its handler continues it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from opentelemetry.trace import Span

from libs.events.port import Event, Record
from libs.telemetry import names
from libs.telemetry.trace import consumer_span, current_traceparent, producer_span


@contextmanager
def sending(topic: str, event: Event) -> Iterator[str]:
    """Run an append inside a span; yields the `traceparent` that the event gets.

    Outside a trace there is no span: an append alone is not worth a trace of its own. An event that has a
    `traceparent` keeps it.
    """
    if event.traceparent or not current_traceparent():
        yield event.traceparent
        return
    with producer_span(topic, attributes={names.EVENT_TYPE: event.type}):
        yield current_traceparent()


def handling(record: Record, group: str) -> AbstractContextManager[Span]:
    """Run a handler inside a span whose parent is the span that published `record`."""
    return consumer_span(
        record.topic,
        traceparent=record.event.traceparent,
        session_id=record.key,
        attributes={
            names.MESSAGING_GROUP: group,
            names.MESSAGING_PARTITION: str(record.partition),
            names.MESSAGING_OFFSET: record.offset,
            names.MESSAGING_ID: record.event.id,
            names.EVENT_TYPE: record.event.type,
        },
    )

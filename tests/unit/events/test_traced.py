"""One trace across the log: a handler's span is a child of the span that published."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import pairwise

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from libs.clock import SystemClock
from libs.errors import InvalidRequest
from libs.events.consumer import ConsumerCounts, consume
from libs.events.memory import MemoryEventLog
from libs.events.port import Event, Record, TopicSpec
from libs.events.settings import LaneSettings
from libs.telemetry import names
from libs.telemetry.trace import choose_tracer, drop_tracer, span

CLOCK = SystemClock()


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("test")
    choose_tracer(tracer)
    yield exporter
    drop_tracer(tracer)


async def test_publisher_and_handler_share_a_trace(spans: InMemorySpanExporter) -> None:
    log = MemoryEventLog(CLOCK)
    await log.ensure_topics([TopicSpec(t, 1) for t in ("a", "a.dlq", "b", "b.dlq")])
    producer = await log.producer("p")
    done = asyncio.Event()

    async def handle(record: Record) -> None:
        if record.topic == "a":
            # What a reactor does: the next event continues the trace without anybody's doing.
            await producer.publish("b", Event("2", "t", "s", b"", CLOCK.now()))
        else:
            done.set()
            raise InvalidRequest("BROKEN", "never in a span: 'user content'")

    counts = ConsumerCounts()
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        task = tasks.create_task(
            consume(
                log, "g", ["a", "b"], handle, settings=LaneSettings(), clock=CLOCK, counts=counts
            )
        )
        with span("root"):
            await producer.publish("a", Event("1", "t", "s", b"", CLOCK.now()))
        await done.wait()
        while not counts.dead_lettered:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        task.cancel()
    (record,) = [record async for record in log.read("a", 0)]
    finished = {made.name: made for made in spans.get_finished_spans()}
    chain = ["root", "send a", "process a", "send b", "process b"]
    assert list(finished) and set(chain) <= set(finished)
    for parent, child in pairwise(chain):
        above = finished[child].parent
        assert above is not None
        assert above.span_id == finished[parent].context.span_id
        assert finished[child].context.trace_id == finished["root"].context.trace_id
    assert record.event.traceparent.split("-")[2] == f"{finished['send a'].context.span_id:016x}"
    attributes = finished["process b"].attributes or {}
    assert attributes[names.MESSAGING_GROUP] == "g"
    assert attributes[names.ERROR_TYPE] == "BROKEN"
    assert "user content" not in finished["process b"].to_json()


async def test_outside_a_trace_nothing_is_sent_and_a_given_traceparent_stays(
    spans: InMemorySpanExporter,
) -> None:
    log = MemoryEventLog(CLOCK)
    await log.ensure_topics([TopicSpec("a", 1)])
    producer = await log.producer("p")
    given = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    await producer.publish("a", Event("1", "t", "s", b"", CLOCK.now()))
    with span("root"):
        await producer.publish("a", Event("2", "t", "s", b"", CLOCK.now(), traceparent=given))
    records = [record async for record in log.read("a", 0)]
    assert [record.event.traceparent for record in records] == ["", given]
    assert [made.name for made in spans.get_finished_spans()] == ["root"]

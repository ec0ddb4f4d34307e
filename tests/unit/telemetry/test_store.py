"""The span store keeps the newest spans, finds them by session and counts what it drops."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from opentelemetry import trace as otel

from libs.errors import DependencyDown, NotFound
from libs.telemetry import names
from libs.telemetry.setup import TelemetrySettings, running_telemetry
from libs.telemetry.store import SpanStore
from libs.telemetry.trace import (
    child_context,
    consumer_span,
    current_traceparent,
    producer_span,
    span,
    traceparent_of,
)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SpanStore]:
    async with running_telemetry(TelemetrySettings(interval_s=0.01), tmp_path) as running:
        yield running


async def test_one_trace_goes_through_the_log(store: SpanStore) -> None:
    with producer_span("tectum.plans"):
        sent = current_traceparent()
    with consumer_span("tectum.plans", traceparent=sent, session_id="s1"), span("tectum.decide"):
        pass
    with span("elsewhere"):
        pass
    found = await store.spans("s1")
    assert [one.name for one in found] == [
        "send tectum.plans",
        "process tectum.plans",
        "tectum.decide",
    ]
    assert len({one.trace_id for one in found}) == 1
    assert [one.parent_span_id for one in found] == ["", found[0].span_id, found[1].span_id]
    assert found[1].attributes[names.MESSAGING_TOPIC] == "tectum.plans"
    assert all(0 < one.start_ns <= one.end_ns for one in found)
    assert await store.spans("another") == []


async def test_a_failure_leaves_its_reason_and_no_text(store: SpanStore) -> None:
    with pytest.raises(NotFound), span("work", session_id="s1"):
        raise NotFound("THING_NOT_FOUND", "the user's secret")
    (found,) = await store.spans("s1")
    assert found.status == "ERROR THING_NOT_FOUND"
    assert "secret" not in str(found)


async def test_unsampled_parents_keep_their_children_out(store: SpanStore) -> None:
    unsampled = f"00-{'a' * 32}-{'b' * 16}-00"
    with consumer_span("t", traceparent=unsampled, session_id="s1"):
        assert current_traceparent()[:35] == unsampled[:35]
        assert current_traceparent().endswith("-00")
    with consumer_span("t", traceparent=f"{unsampled[:-1]}1", session_id="s2"):
        pass
    assert await store.spans("s1") == []
    assert len(await store.spans("s2")) == 1


@pytest.mark.parametrize(
    "text",
    ["", "00-x", "01" + "-" * 53, f"00-{'z' * 32}-{'b' * 16}-01", f"00-{'0' * 32}-{'0' * 16}-01"],
)
def test_a_malformed_parent_begins_a_trace(text: str) -> None:
    assert otel.get_current_span(child_context(text)) is otel.INVALID_SPAN


def test_a_parent_survives_the_round_trip() -> None:
    text = f"00-{'a' * 32}-{'b' * 16}-01"
    assert traceparent_of(otel.get_current_span(child_context(text)).get_span_context()) == text


async def test_what_does_not_fit_is_dropped_and_counted(tmp_path: Path) -> None:
    settings = TelemetrySettings(queue_max=64, interval_s=5)
    async with running_telemetry(settings, tmp_path) as store:
        for number in range(100):
            with span(f"span {number}", session_id="s1"):
                pass
        assert store.dropped == 36
        assert len(await store.spans("s1")) == 64


async def test_the_newest_are_kept(tmp_path: Path) -> None:
    settings = TelemetrySettings(spans_max=1_000, interval_s=0.001)
    async with running_telemetry(settings, tmp_path) as store:
        for number in range(1_500):
            with span(f"span {number}", session_id=f"s{number}"):
                pass
            if number % 100 == 0:
                assert await asyncio.to_thread(store.force_flush)
        assert await store.spans("s0") == []
        assert len(await store.spans("s1499")) == 1
        with sqlite3.connect(tmp_path / "traces.sqlite3") as database:
            counts = database.execute(
                "SELECT (SELECT count(*) FROM spans), (SELECT count(*) FROM sessions)"
            ).fetchone()
        database.close()
    assert 900 <= counts[0] <= 1_000
    assert counts[1] == counts[0]


async def test_spans_survive_a_restart(tmp_path: Path) -> None:
    for _ in range(2):
        async with running_telemetry(TelemetrySettings(), tmp_path):
            with span("work", session_id="s1"):
                pass
    async with running_telemetry(TelemetrySettings(), tmp_path) as store:
        assert len(await store.spans("s1")) == 2


async def test_a_file_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    with pytest.raises(DependencyDown) as caught:
        async with running_telemetry(TelemetrySettings(), tmp_path / "missing"):
            pass
    assert caught.value.reason == "TRACES_DOWN"


async def test_outside_of_telemetry_nothing_is_kept() -> None:
    with span("work", session_id="s1") as made:
        assert not made.is_recording()
        assert current_traceparent() == ""

"""Choose the process's tracer: sampling, resource, and where spans are kept."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from pydantic import Field
from pydantic_settings import SettingsConfigDict

from libs.offload import Offload
from libs.settings import Settings
from libs.telemetry import names
from libs.telemetry.store import SpanStore
from libs.telemetry.trace import choose_tracer, drop_tracer


class TelemetrySettings(Settings):
    """Variables TECTUM_TELEMETRY_*."""

    model_config = SettingsConfigDict(env_prefix="TECTUM_TELEMETRY_")

    sampled: float = Field(default=1.0, ge=0.0, le=1.0)
    """Share of the traces that are kept, 0 to 1; a caller's own decision (traceparent) counts more."""

    spans_max: int = Field(default=200_000, ge=1_000, le=100_000_000)
    """Spans kept on disk; the oldest go first. A step of an episode makes about 20, of 500 bytes each."""

    queue_max: int = Field(default=16_384, ge=64, le=1_000_000)
    """Ended spans that wait to be written; more are dropped and counted."""

    interval_s: float = Field(default=0.2, gt=0, le=10)
    """Seconds that a span waits for others to be written with."""


@asynccontextmanager
async def running_telemetry(
    settings: TelemetrySettings, folder: Path, *, service: str = names.SCOPE
) -> AsyncIterator[SpanStore]:
    """Trace into `folder`/traces.sqlite3 until the block exits; then write what waits.

    Raises:
        DependencyDown: the file cannot be written (TRACES_DOWN).
    """
    opener = Offload("traces-open", threads=1, waiting=1)
    try:
        store = await opener.run(
            SpanStore,
            folder / "traces.sqlite3",
            spans_max=settings.spans_max,
            queue_max=settings.queue_max,
            interval_s=settings.interval_s,
        )
    finally:
        await opener.aclose()
    provider = TracerProvider(
        sampler=ParentBased(TraceIdRatioBased(settings.sampled)),
        # Not Resource.create: it starts a thread pool to detect what we know.
        resource=Resource({"service.name": service}),
        span_limits=SpanLimits(max_attributes=64, max_events=16, max_attribute_length=512),
        shutdown_on_exit=False,
    )
    provider.add_span_processor(store)
    chosen = provider.get_tracer(names.SCOPE)
    choose_tracer(chosen)
    try:
        yield store
    finally:
        drop_tracer(chosen)
        await store.aclose()

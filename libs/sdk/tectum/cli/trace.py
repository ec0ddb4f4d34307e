"""`tectum trace`: the waterfall of a session, and the platform's own share of every step."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import click
from rich.table import Table
from rich.text import Text

from tectum.cli.console import Connection, connected, console
from tectum.recorder.v1 import recorder_pb2, recorder_pb2_grpc

_WIDTH = 48
_STEP = "tectum.step"
_ENVIRONMENT = ("execute_tool", "tectum.settle", "tectum.observe")
_THINKING = ("invoke_agent",)
"""The attribute and the beginnings of names by which the platform's telemetry tells spans apart."""


@click.command()
@click.argument("session_id", metavar="SESSION")
@click.option("--step", "only", type=int, help="Only this step.")
@connected
async def trace(connection: Connection, session_id: str, only: int | None) -> None:
    """Print the spans of a session as a waterfall."""
    async with connection.open() as platform:
        recorder = recorder_pb2_grpc.RecorderServiceStub(platform.channel)
        response = await recorder.GetTrace(
            recorder_pb2.GetTraceRequest(session_id=session_id), metadata=platform.metadata
        )
    spans = list(response.spans)
    if only is not None:
        spans = [span for span in spans if span.attributes.get(_STEP) == str(only)]
    if not spans:
        raise click.ClickException(f"no spans of {session_id}")
    console.print(waterfall(spans))
    console.print(shares(spans))


def waterfall(spans: Sequence[recorder_pb2.Span]) -> Table:
    """One line for each span: where it lies in time, its length, its service, its name."""
    began = min(span.start_ns for span in spans)
    length = max(1, max(span.end_ns for span in spans) - began)
    depth = _depths(spans)
    table = Table(
        box=None,
        pad_edge=False,
        title=f"{len(spans)} spans, {length / 1e6:.1f} ms",
        title_justify="left",
    )
    for heading in ("ms", "", "service", "span"):
        table.add_column(heading, justify="right" if heading == "ms" else "left", no_wrap=True)
    for span in sorted(spans, key=lambda span: span.start_ns):
        first = int(_WIDTH * (span.start_ns - began) / length)
        cells = max(1, round(_WIDTH * (span.end_ns - span.start_ns) / length))
        bar = " " * first + "█" * min(cells, _WIDTH - first)
        name = Text("  " * min(depth[span.span_id], 8) + span.name)
        if span.status not in ("", "OK", "UNSET"):
            name.stylize("red")
        table.add_row(
            f"{(span.end_ns - span.start_ns) / 1e6:.2f}", bar.ljust(_WIDTH), span.service, name
        )
    return table


def _depths(spans: Sequence[recorder_pb2.Span]) -> dict[str, int]:
    parents = {span.span_id: span.parent_span_id for span in spans}
    depths = {}
    for span_id in parents:
        depth, above, seen = 0, parents[span_id], {span_id}
        while above in parents and above not in seen:
            seen.add(above)
            depth, above = depth + 1, parents[above]
        depths[span_id] = depth
    return depths


def shares(spans: Sequence[recorder_pb2.Span]) -> Table:
    """For each step: its whole time, and what of it was neither thinking nor the environment's."""
    steps: dict[int, list[recorder_pb2.Span]] = defaultdict(list)
    for span in spans:
        if _STEP in span.attributes:
            steps[int(span.attributes[_STEP])].append(span)
    table = Table(box=None, pad_edge=False, title="step by step", title_justify="left")
    for heading in ("step", "ms", "environment", "thinking", "platform"):
        table.add_column(heading, justify="right")
    for step in sorted(steps):
        own = steps[step]
        whole = (max(span.end_ns for span in own) - min(span.start_ns for span in own)) / 1e6
        environment = _union_ms(own, _ENVIRONMENT)
        thinking = _union_ms(own, _THINKING)
        platform = max(0.0, whole - environment - thinking)
        table.add_row(
            str(step), f"{whole:.1f}", f"{environment:.1f}", f"{thinking:.1f}", f"{platform:.1f}"
        )
    return table


def _union_ms(spans: Sequence[recorder_pb2.Span], names: tuple[str, ...]) -> float:
    """Length of the union of the spans whose names begin so, in milliseconds."""
    total, reached = 0, 0
    for start, end in sorted((s.start_ns, s.end_ns) for s in spans if s.name.startswith(names)):
        total += max(0, end - max(start, reached))
        reached = max(reached, end)
    return total / 1e6

"""`tectum trace`: the waterfall of a session, and the platform's own share of every step."""

from __future__ import annotations

import re
import statistics
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import click

from tectum.cli.console import Connection, connected, console
from tectum.recorder.v1 import recorder_pb2, recorder_pb2_grpc

_STEP, _GROUP = "tectum.step", "messaging.consumer.group.name"
_ENVIRONMENT = ("execute_tool", "tectum.settle", "tectum.observe")
_THINKING = ("invoke_agent",)
"""The attributes and the beginnings of names by which the platform's telemetry tells spans apart."""

_PACKAGE = re.compile(r"^tectum\.\w+\.v\d+\.")
_NUMBERS = 19
"""Columns of the two numbers at the beginning of a line."""
_BAR_MOST, _BAR_LEAST, _INDENT_MOST = 40, 8, 8


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the waterfall."""

    text: str
    failed: bool = False


@dataclass(frozen=True, slots=True)
class Share:
    """Where a step's time went, in milliseconds."""

    step: int
    whole: float
    environment: float
    """Acting, settling, looking."""
    thinking: float
    """The strategy's own."""

    @property
    def platform(self) -> float:
        """What was neither."""
        return max(0.0, self.whole - self.environment - self.thinking)


@click.command()
@click.argument("session_id", metavar="SESSION")
@click.option("--step", "only", type=int, help="Only this step.")
@connected
async def trace(connection: Connection, session_id: str, only: int | None) -> None:
    """Print the spans of a session as a waterfall, step by step."""
    async with connection.open() as platform:
        recorder = recorder_pb2_grpc.RecorderServiceStub(platform.channel)
        response = await recorder.GetTrace(
            recorder_pb2.GetTraceRequest(session_id=session_id), metadata=platform.metadata
        )
    steps = by_step(list(response.spans))
    if only is not None:
        steps = {step: spans for step, spans in steps.items() if step == only}
    if not steps:
        raise click.ClickException(f"no spans of {session_id}")
    for line in waterfall(steps, console.width):
        console.print(
            line.text, style="red" if line.failed else None, markup=False, highlight=False,
            no_wrap=True, overflow="ellipsis", crop=True,
        )  # fmt: skip


def by_step(spans: Sequence[recorder_pb2.Span]) -> dict[int, list[recorder_pb2.Span]]:
    """Spans by the step that they or the nearest span above them name; 0: of the session as a whole."""
    known = {span.span_id: span for span in spans}
    found: dict[str, int] = {}
    for span in spans:
        way, at = [], span.span_id
        while at in known and at not in found and at not in way:
            way.append(at)
            if _STEP in known[at].attributes:
                break
            at = known[at].parent_span_id
        last = known[way[-1]] if way else span
        step = int(last.attributes[_STEP]) if _STEP in last.attributes else found.get(at, 0)
        found.update(dict.fromkeys(way, step))
    steps: dict[int, list[recorder_pb2.Span]] = defaultdict(list)
    for span in sorted(spans, key=lambda span: span.start_ns):
        steps[found[span.span_id]].append(span)
    return dict(sorted(steps.items()))


def share(step: int, spans: Sequence[recorder_pb2.Span]) -> Share:
    """Where the time of a step's spans went."""
    whole = max(span.end_ns for span in spans) - min(span.start_ns for span in spans)
    return Share(step, whole / 1e6, _union_ms(spans, _ENVIRONMENT), _union_ms(spans, _THINKING))


def waterfall(steps: Mapping[int, Sequence[recorder_pb2.Span]], width: int) -> Iterator[Line]:
    """The lines of a trace in `width` columns: each span's beginning and length in ms, its place in time, its name."""
    every = [span for spans in steps.values() for span in spans]
    began, traces = min(span.start_ns for span in every), {span.trace_id for span in every}
    ended = max(span.end_ns for span in every)
    yield Line(f"{len(every)} spans in {len(traces)} trace(s), {(ended - began) / 1e6:.1f} ms")
    yield Line(f"{'at ms':>9}{'ms':>10}")
    shares = []
    for step, spans in steps.items():
        yield Line("")
        if step:
            shares.append(share(step, spans))
            yield _said(f"step {step}", shares[-1], width)
        else:
            yield Line("the session")
        yield from _lines(spans, began, width)
    if len(shares) > 1:
        yield Line("")
        yield _said("a step in the median", _median(shares), width)


def _lines(spans: Sequence[recorder_pb2.Span], began: int, width: int) -> Iterator[Line]:
    """One line for each span, children below and to the right of their parent; bars span the group's own time."""
    first = min(span.start_ns for span in spans)
    length = max(1, max(span.end_ns for span in spans) - first)
    cells = max(_BAR_LEAST, min(_BAR_MOST, (width - _NUMBERS) // 4))
    for span, depth in _tree(spans):
        left = min(cells - 1, int(cells * (span.start_ns - first) / length))
        filled = max(1, round(cells * (span.end_ns - span.start_ns) / length))
        bar = (" " * left + "█" * min(filled, cells - left)).ljust(cells)
        at, took = (span.start_ns - began) / 1e6, (span.end_ns - span.start_ns) / 1e6
        failed = span.status not in ("", "OK", "UNSET")
        text = f"{at:9.1f}{took:10.2f} {bar} {'  ' * min(depth, _INDENT_MOST)}{_name(span)}"
        yield Line(text[:width], failed)


def _tree(spans: Sequence[recorder_pb2.Span]) -> Iterator[tuple[recorder_pb2.Span, int]]:
    """Depth first, by time; a span whose parent is not among `spans` stands at the left."""
    known = {span.span_id for span in spans}
    below: dict[str, list[recorder_pb2.Span]] = defaultdict(list)
    for span in spans:
        below[span.parent_span_id if span.parent_span_id in known else ""].append(span)
    waiting = [(span, 0) for span in reversed(below[""])]
    while waiting:
        span, depth = waiting.pop()
        yield span, depth
        waiting += [(child, depth + 1) for child in reversed(below[span.span_id])]


def _name(span: recorder_pb2.Span) -> str:
    name = _PACKAGE.sub("", span.name)
    if _GROUP in span.attributes:
        name += f" ({span.attributes[_GROUP]})"
    return name if span.status in ("", "OK", "UNSET") else f"{name} {span.status}"


def _said(what: str, spent: Share, width: int) -> Line:
    text = (
        f"{what}: {spent.whole:.1f} ms = environment {spent.environment:.1f}"
        f" + thinking {spent.thinking:.1f} + platform {spent.platform:.1f}"
    )
    return Line(text[:width])


def _median(shares: Sequence[Share]) -> Share:
    """The share of the step whose platform part is the median."""
    middle = statistics.median_low([one.platform for one in shares])
    return next(one for one in shares if one.platform == middle)


def _union_ms(spans: Sequence[recorder_pb2.Span], names: tuple[str, ...]) -> float:
    """Length of the union of the spans whose names begin so, in milliseconds."""
    total, reached = 0, 0
    for start, end in sorted((s.start_ns, s.end_ns) for s in spans if s.name.startswith(names)):
        total += max(0, end - max(start, reached))
        reached = max(reached, end)
    return total / 1e6

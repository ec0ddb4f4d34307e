"""`tectum sessions` and `tectum show`: what was done."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from rich.table import Table
from rich.text import Text

from tectum.cli.console import Connection, connected, console
from tectum.cli.run import Teller
from tectum.client import Platform
from tectum.event.v1 import control_pb2, observation_pb2, outcome_pb2, plan_pb2
from tectum.protocol.messages import (
    Control,
    Decision,
    Outcome,
    Plan,
    Score,
    SessionState,
    SessionStatus,
    TurnStarted,
)
from tectum.recorder.v1 import recorder_pb2, recorder_pb2_grpc
from tectum.session.v1 import session_pb2
from tectum.wire import from_wire

_NAME_WIDTH = 32
_TOLD: dict[str, tuple[Any, type[Any]]] = {
    "TurnStarted": (observation_pb2.TurnStarted, TurnStarted),
    "Plan": (plan_pb2.Plan, Plan),
    "Decision": (plan_pb2.Decision, Decision),
    "Outcome": (outcome_pb2.Outcome, Outcome),
    "Score": (outcome_pb2.Score, Score),
    "Control": (control_pb2.Control, Control),
}


@click.command()
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 1000))
@connected
async def sessions(connection: Connection, limit: int) -> None:
    """List the newest sessions."""
    table = Table(box=None)
    # A session's name is there to be copied: whole and on one line, however narrow the terminal.
    table.add_column("session", no_wrap=True, min_width=_NAME_WIDTH)
    table.add_column("opened", no_wrap=True, min_width=len("11-22 21:15"))
    for heading in ("status", "environment", "instruction"):
        table.add_column(heading)
    async with connection.open() as platform:
        response = await platform.sessions.ListSessions(
            session_pb2.ListSessionsRequest(page_size=limit), metadata=platform.metadata
        )
    for message in response.states:
        state = from_wire(message, SessionState)
        status = "working" if state.working else str(state.status)
        if state.status is SessionStatus.CLOSED:
            status = f"closed {state.reason}"
        opened = datetime.fromtimestamp(state.opened_at, UTC).strftime("%m-%d %H:%M")
        cells = (opened, status, state.environment, state.instruction)
        table.add_row(
            state.session_id, *(Text(c, no_wrap=True, overflow="ellipsis") for c in cells)
        )
    console.print(table)


@click.command()
@click.argument("session_id", metavar="SESSION")
@click.option("--html", type=click.Path(dir_okay=False, path_type=Path), help="Write the report.")
@connected
async def show(connection: Connection, session_id: str, html: Path | None) -> None:
    """Tell a recorded session step by step, or write its HTML report."""
    async with connection.open() as platform:
        if html is not None:
            page = await render(platform, [session_id])
            save(html, page)
            console.print(f"report: {html}")
            return
        await _tell(platform, session_id)


async def _tell(platform: Platform, session_id: str) -> None:
    recorder = recorder_pb2_grpc.RecorderServiceStub(platform.channel)
    teller = Teller()
    request = recorder_pb2.GetTrajectoryRequest(session_id=session_id)
    async for part in recorder.GetTrajectory(request, metadata=platform.metadata):
        if part.WhichOneof("part") != "event":
            continue
        name = part.event.attributes.get("type", "").rpartition(".")[2]
        if name in _TOLD:
            wire, plain = _TOLD[name]
            teller.tell(from_wire(wire.FromString(part.event.data), plain))
    teller.conclude()


async def render(platform: Platform, session_ids: list[str], title: str = "") -> bytes:
    """Return the report of these sessions, one self-contained HTML page.

    Raises:
        TectumError: one of them is not recorded.
    """
    recorder = recorder_pb2_grpc.RecorderServiceStub(platform.channel)
    request = recorder_pb2.RenderReportRequest(session_ids=session_ids, title=title)
    return b"".join(
        [part.chunk async for part in recorder.RenderReport(request, metadata=platform.metadata)]
    )


def save(path: Path, page: bytes) -> None:
    """Write a page, making its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(page)

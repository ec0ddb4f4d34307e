"""`tectum verify`: compare what is stored of a session with its manifest."""

from __future__ import annotations

import click

from tectum.cli.console import Connection, connected, console
from tectum.recorder.v1 import recorder_pb2, recorder_pb2_grpc


@click.command()
@click.argument("session_ids", metavar="SESSION…", nargs=-1)
@connected
async def verify(connection: Connection, session_ids: tuple[str, ...]) -> None:
    """Check hashes, counts and blobs of recorded sessions; without arguments, of all of them."""
    broken = 0
    async with connection.open() as platform:
        recorder = recorder_pb2_grpc.RecorderServiceStub(platform.channel)
        for session_id in session_ids or await _all(recorder, platform.metadata):
            answer = await recorder.VerifyTrajectory(
                recorder_pb2.VerifyTrajectoryRequest(session_id=session_id),
                metadata=platform.metadata,
            )
            broken += not answer.intact
            mark = "[green]intact[/green]" if answer.intact else "[red]BROKEN[/red]"
            console.print(f"{mark} {session_id}: {answer.events} events, {answer.blobs} blobs")
            for problem in answer.problems:
                console.print(f"    {problem}", style="red", markup=False)
    if broken:
        raise SystemExit(1)


async def _all(
    recorder: recorder_pb2_grpc.RecorderServiceAsyncStub, metadata: tuple[tuple[str, str], ...]
) -> list[str]:
    found: list[str] = []
    token = ""
    while True:
        page = await recorder.ListTrajectories(
            recorder_pb2.ListTrajectoriesRequest(page_size=1000, page_token=token),
            metadata=metadata,
        )
        found += [manifest.session_id for manifest in page.manifests]
        token = page.next_page_token
        if not token:
            return found

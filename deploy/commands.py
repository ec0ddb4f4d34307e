"""The commands that the platform adds to `tectum`: `up` and `doctor`."""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from pathlib import Path

import click

from deploy.settings import EmbeddedSettings
from libs.errors import PlatformError
from libs.rpc.server import termination


@click.command()
@click.option(
    "--data-dir", type=click.Path(file_okay=False, path_type=Path), help="TECTUM_EMBEDDED_DATA_DIR."
)
def up(data_dir: Path | None) -> None:
    """Run the whole platform in this process until it is told to stop."""
    began = time.monotonic()
    try:
        settings = EmbeddedSettings.load()
        if data_dir is not None:
            settings = settings.model_copy(update={"data_dir": data_dir})
        asyncio.run(_serve(settings, began))
    except (PlatformError, ValueError, ExceptionGroup) as error:
        raise click.ClickException(_in_words(error)) from None


def _in_words(error: BaseException) -> str:
    """What kept the platform from running; a bug is raised on as it is.

    A service that fails to start ends the others, so its error arrives inside a group.
    """
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    if isinstance(error, PlatformError):
        return f"{error.reason}: {error}"
    if isinstance(error, ValueError):
        return str(error)
    raise error


_SWITCH_S = 0.0002
"""How long a thread that has work may keep the event loop from the interpreter (ADR 0091)."""


async def _serve(settings: EmbeddedSettings, began: float) -> None:
    # What is made while starting stays, so collecting it is time lost: see ADR 0090.
    gc.disable()
    sys.setswitchinterval(_SWITCH_S)
    from deploy.embedded import platform  # what it imports takes most of the start

    with termination() as stop:
        async with platform(settings) as server:
            gc.collect()
            gc.freeze()
            gc.enable()
            click.echo(
                f"tectum is ready on {server.address} after {time.monotonic() - began:.2f} s"
            )
            await stop.wait()
            click.echo("draining")


@click.command()
@click.pass_context
def doctor(ctx: click.Context) -> None:
    """Check what the platform needs, and say how to mend what is missing."""
    from deploy.doctor import examine, report

    findings = examine()
    report(findings)
    ctx.exit(int(any(not finding.well for finding in findings)))

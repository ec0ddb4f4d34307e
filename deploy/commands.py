"""The commands that the platform adds to `tectum`: `up` and `doctor`."""

from __future__ import annotations

import asyncio
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
    except PlatformError as error:
        raise click.ClickException(f"{error.reason}: {error}") from None
    except ValueError as error:
        raise click.ClickException(str(error)) from None


async def _serve(settings: EmbeddedSettings, began: float) -> None:
    from deploy.embedded import platform  # what it imports takes most of the start

    with termination() as stop:
        async with platform(settings) as server:
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

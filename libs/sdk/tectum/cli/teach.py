"""`tectum teach`: record demonstrations through the platform."""

from __future__ import annotations

from pathlib import Path

import click
import yaml

from tectum.cli.console import Connection, connected, console
from tectum.cli.run import read_secrets
from tectum.demonstrations import DemonstrationError, Lesson, parse_lesson
from tectum.episodes import teach as teach_one

_FILE_BYTES_MAX = 1024 * 1024


def read_lesson(path: Path) -> Lesson:
    """Read a lesson from a YAML or JSON file.

    Raises:
        click.ClickException: it is too large or does not follow the format.
    """
    if path.stat().st_size > _FILE_BYTES_MAX:
        raise click.ClickException(f"{path}: expected at most {_FILE_BYTES_MAX} bytes")
    try:
        return parse_lesson(yaml.safe_load(path.read_text()), path.name)
    except (yaml.YAMLError, DemonstrationError, UnicodeDecodeError) as error:
        raise click.ClickException(f"{path}: {error}") from None


@click.command()
@click.argument("environment", metavar="ENV")
@click.option(
    "--from",
    "files",
    required=True,
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="YAML or JSON lesson; may be given several times.",
)
@click.option(
    "--verified", is_flag=True, help="You vouch for the result; for environments without a score."
)
@click.option("--secret", "secret_files", multiple=True, metavar="NAME=@FILE")
@connected
async def teach(
    connection: Connection,
    environment: str,
    files: tuple[Path, ...],
    verified: bool,
    secret_files: tuple[str, ...],
) -> None:
    """Carry out the demonstrations of a lesson and remember those that succeed.

    ENV is the start of the environments to teach in, such as miniwob://; demonstrations of others are
    left out.
    """
    secrets = read_secrets(secret_files)
    taught = failed = 0
    async with connection.open() as platform:
        for path in files:
            lesson = read_lesson(path)
            for demonstration in lesson.demonstrations:
                if not demonstration.environment.startswith(environment):
                    continue
                episode = await teach_one(
                    platform, lesson.name, demonstration, verified=verified, secrets=secrets
                )
                taught += episode.success
                failed += not episode.success
                mark = "[green]✓[/green]" if episode.success else "[red]✗[/red]"
                console.print(f"{mark} {lesson.name}: ", end="")
                console.print(f"{episode.instruction or demonstration.environment}", markup=False)
                if not episode.success:
                    console.print(
                        f"    {episode.reason} {episode.message}", style="red", markup=False
                    )
    if not taught + failed:
        raise click.ClickException(f"no demonstration of these files is for {environment!r}")
    console.print(f"{taught} demonstrations remembered, {failed} failed")
    if failed:
        raise SystemExit(1)

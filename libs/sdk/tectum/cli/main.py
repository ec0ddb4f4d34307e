"""The command group: its own commands, and those that distributions add through entry points."""

from __future__ import annotations

import importlib
from importlib.metadata import entry_points

import click

COMMANDS = "tectum.commands"
"""Entry-point group of further commands; each loads to a click.Command."""

_OWN = {
    "run": "tectum.cli.run:run",
    "teach": "tectum.cli.teach:teach",
    "eval": "tectum.cli.evaluate:evaluate",
    "sessions": "tectum.cli.sessions:sessions",
    "show": "tectum.cli.sessions:show",
    "trace": "tectum.cli.trace:trace",
    "verify": "tectum.cli.verify:verify",
}


class _Commands(click.Group):
    """Imports a command when it is asked for, so that `tectum --help` stays quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*_OWN, *(point.name for point in entry_points(group=COMMANDS))})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in _OWN:
            module, _, name = _OWN[cmd_name].partition(":")
            command: click.Command = getattr(importlib.import_module(module), name)
            return command
        for point in entry_points(group=COMMANDS, name=cmd_name):
            loaded: click.Command = point.load()
            return loaded
        return None


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="tectum")
def main() -> None:
    """Tectum runs multimodal agents: they see, decide, act, and every step is on record."""


if __name__ == "__main__":
    main()

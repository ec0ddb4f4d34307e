"""Suite `miniwob`: every page of MiniWoB++, episodes by seed."""

from __future__ import annotations

from collections.abc import Sequence

from services.gui.environments.miniwob import read_catalogue
from tectum.plugins import Suite


class MiniwobSuite:
    """The tasks of the package `miniwob`."""

    name = "miniwob"

    @property
    def tasks(self) -> Sequence[str]:
        """Their names, sorted."""
        return read_catalogue().tasks

    def environment(self, task: str, seed: int) -> str:
        """The URI of one episode."""
        return f"miniwob://{task}?seed={seed}"


def suite() -> Suite:
    """The registered suite."""
    return MiniwobSuite()

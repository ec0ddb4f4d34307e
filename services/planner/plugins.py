"""The strategies that are installed, from entry points."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from importlib.metadata import EntryPoint

from services.planner.traced import TracedPlugin
from tectum.plugins import StrategyPlugin

_logger = logging.getLogger(__name__)


def load_strategies(
    points: Iterable[EntryPoint],
) -> tuple[dict[str, StrategyPlugin], tuple[str, ...]]:
    """The strategies by name, and the names of those that are left out because they are broken.

    One strategy that cannot be loaded keeps nobody from using the others (ADR 0067): it is logged
    as an error, and who asks for it is told that it was left out.
    """
    found: dict[str, StrategyPlugin] = {}
    left_out: list[str] = []
    for point in points:
        try:
            found[point.name] = _load(point, found)
        except Exception as error:
            left_out.append(point.name)
            _logger.exception(
                "strategy is left out: its plug-in cannot be loaded",
                extra={
                    "strategy": point.name,
                    "entry_point": point.value,
                    "error": type(error).__name__,
                },
            )
    return found, tuple(sorted(set(left_out) - found.keys()))


def _load(point: EntryPoint, found: dict[str, StrategyPlugin]) -> StrategyPlugin:
    plugin: StrategyPlugin = point.load()()
    if plugin.name != point.name:
        raise ValueError(f"expected a strategy named {point.name!r}, got {plugin.name!r}")
    if point.name in found:
        raise ValueError(f"expected one strategy named {point.name!r}, got another one")
    if not callable(plugin.create):
        raise TypeError(f"expected a strategy with a method create, got {plugin!r}")
    return TracedPlugin(plugin)

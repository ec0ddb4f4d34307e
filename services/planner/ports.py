"""What the planner's rules need from outside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from tectum.plugins import ExemplarSearch, Offloader, StrategyPlugin
from tectum.protocol.messages import Outcome, Plan, TurnStarted

__all__ = [
    "Clock",
    "ExemplarSearch",
    "Offloader",
    "PlanSink",
    "PlannerLimits",
    "Strategies",
    "TurnLog",
    "TurnRecord",
]

Strategies = Mapping[str, StrategyPlugin]
"""The registered strategies by name."""


class Clock(Protocol):
    """Measures how long thinking takes."""

    def monotonic(self) -> float:
        """Seconds since some fixed moment."""
        ...


class PlanSink(Protocol):
    """Where plans go."""

    async def publish(self, plan: Plan) -> None:
        """Return once the plan is acknowledged; the same plan twice is one event.

        Raises:
            DependencyDown: the log does not answer.
            Conflict: another planner took this one's place.
        """
        ...


@dataclass(frozen=True, slots=True)
class TurnRecord:
    """What the log holds of a session's last turn, oldest first."""

    started: TurnStarted
    plans: Sequence[Plan] = ()
    outcomes: Sequence[Outcome] = ()


class TurnLog(Protocol):
    """Reads a turn back that this process does not know."""

    async def last_turn(self, session_id: str) -> TurnRecord | None:
        """The last turn of the session, None where none was begun.

        Raises:
            DependencyDown: the log does not answer.
        """
        ...


@dataclass(frozen=True, slots=True)
class PlannerLimits:
    """Bounds of the rules; units as in the settings."""

    turns_max: int = 1000
    steps_max: int = 100
    thinking_s: float = 120.0

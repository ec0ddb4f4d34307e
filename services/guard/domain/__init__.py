"""What an agent may do: feasibility, policies, and the questions that wait for a caller."""

from __future__ import annotations

from services.guard.domain.desk import Answered, Desk, Pending
from services.guard.domain.facts import Facts, Origin, OriginPattern, facts_of, origin_of
from services.guard.domain.feasibility import infeasibility
from services.guard.domain.guard import Guard
from services.guard.domain.rules import ElementPattern, Policy, Rule, TextPattern

__all__ = [
    "Answered",
    "Desk",
    "ElementPattern",
    "Facts",
    "Guard",
    "Origin",
    "OriginPattern",
    "Pending",
    "Policy",
    "Rule",
    "TextPattern",
    "facts_of",
    "infeasibility",
    "origin_of",
]

"""Strategy `exemplar`: learns programs from demonstrations, without a language model."""

from services.planner.strategies.exemplar.strategy import plugin

__all__ = ["plugin"]

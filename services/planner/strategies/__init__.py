"""The strategies that the planner ships with; others register under the same entry points."""

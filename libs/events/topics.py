"""The platform's topics as code."""

from __future__ import annotations

from libs.events.port import Cleanup, TopicSpec

OBSERVATIONS = "tectum.observations"
PERCEPTS = "tectum.percepts"
PLANS = "tectum.plans"
DECISIONS = "tectum.decisions"
ACTIONS_GUI = "tectum.actions.gui"
ACTIONS_ROBOT = "tectum.actions.robot"
ACTIONS_SPEECH = "tectum.actions.speech"
OUTCOMES = "tectum.outcomes"
CONTROL = "tectum.control"
SESSIONS = "tectum.sessions"
EXECUTORS = "tectum.executors"
TRAJECTORIES = "tectum.trajectories"

ACTIONS = {"gui": ACTIONS_GUI, "robot": ACTIONS_ROBOT, "speech": ACTIONS_SPEECH}
"""The topic of each kind of body."""

DEAD_LETTER_SUFFIX = ".dlq"


def topic_specs(partitions: int) -> tuple[TopicSpec, ...]:
    """Every topic, each with its dead-letter topic; `partitions` for those keyed by session."""
    keyed = (
        OBSERVATIONS, PERCEPTS, PLANS, DECISIONS, ACTIONS_GUI, ACTIONS_ROBOT, ACTIONS_SPEECH,
        OUTCOMES,
        CONTROL, TRAJECTORIES,
    )  # fmt: skip
    specs = [TopicSpec(name, partitions) for name in keyed]
    specs.append(TopicSpec(SESSIONS, partitions, Cleanup.COMPACT))
    specs.append(TopicSpec(EXECUTORS, 1, Cleanup.COMPACT))
    return tuple(specs) + tuple(TopicSpec(s.name + DEAD_LETTER_SUFFIX, 1) for s in specs)

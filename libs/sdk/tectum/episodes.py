"""One turn from its beginning to its end, measured by the client."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tectum.client import Agent, Platform, Update
from tectum.demonstrations import Demonstration
from tectum.memory.v1 import memory_pb2, memory_pb2_grpc
from tectum.protocol.messages import (
    Control,
    ControlKind,
    Decision,
    Outcome,
    OutcomeStatus,
    Plan,
    Score,
    TurnStarted,
    Verdict,
)

_EXEMPLAR_WAIT_S, _EXEMPLAR_POLL_S = 20.0, 0.1


@dataclass(slots=True)
class Episode:
    """What came of one turn."""

    environment: str
    session_id: str = ""
    instruction: str = ""
    steps: int = 0
    reward: float | None = None
    success: bool = False
    reason: str = ""
    message: str = ""
    seconds: float = 0.0
    overheads_ms: list[float] = field(default_factory=list)
    """Of each step: its whole time at the client less thinking, acting, settling and observing."""


class _Watch:
    """Folds the updates of one turn into an Episode."""

    def __init__(self, episode: Episode, now: Callable[[], float]) -> None:
        self._episode = episode
        self._now = now
        self._began = now()
        self._thinking_ms = 0.0
        self._accounted = True

    def see(self, update: Update) -> bool:
        """Take one update in; answers whether the turn has ended."""
        episode = self._episode
        match update:
            case TurnStarted():
                episode.instruction = update.instruction
                self._began = self._now()
            case Plan():
                self._thinking_ms = update.thinking_ms
            case Outcome():
                self._step(update)
            case Score(source="environment"):
                episode.reward, episode.success = update.reward, update.success
            case Control(kind=ControlKind.TURN_ENDED | ControlKind.CLOSED):
                episode.reason, episode.message = update.reason, update.message
                if episode.reward is None:
                    episode.success = update.reason == "DONE"
                return True
        return False

    def _step(self, outcome: Outcome) -> None:
        now = self._now()
        if outcome.status is not OutcomeStatus.UNKNOWN:
            spent_ms = outcome.acting_ms + outcome.settling_ms + outcome.observing_ms
            own_ms = 1e3 * (now - self._began) - self._thinking_ms - spent_ms
            self._episode.steps += 1
            self._episode.overheads_ms.append(max(0.0, own_ms))
        self._began = now


async def run_episode(
    platform: Platform,
    environment: str,
    instruction: str = "",
    *,
    agent: Agent | None = None,
    approve: bool = False,
    feedback: bool | None = None,
    secrets: Mapping[str, str] | None = None,
    on_update: Callable[[Update], None] = lambda _: None,
) -> Episode:
    """Run one turn in a session of its own and close the session.

    Args:
        platform: A connection.
        environment: URI of the environment.
        instruction: What to do; empty: what the environment itself asks for.
        agent: How the agent works.
        approve: The answer to every question of the guard.
        feedback: What to say about success where the environment keeps no score; None: nothing.
        secrets: Values that actions may refer to by name.
        on_update: Called with every update.

    Raises:
        TectumError: the platform refused.
    """
    loop = asyncio.get_running_loop()
    episode = Episode(environment)
    began = loop.time()
    async with platform.session(environment, instruction, agent=agent, secrets=secrets) as session:
        episode.session_id = session.session_id
        watch, ended = _Watch(episode, loop.time), False
        async for update in session.updates():
            on_update(update)
            if isinstance(update, Decision) and update.verdict is Verdict.ASK:
                await session.approve(update.step, approved=approve)
            if not ended and watch.see(update):
                ended = True
                episode.seconds = loop.time() - began
                if feedback is not None and episode.reward is None:
                    episode.success = feedback
                    await session.feedback(success=feedback)
                await session.close()
    return episode


async def teach(
    platform: Platform,
    lesson: str,
    demonstration: Demonstration,
    *,
    verified: bool = False,
    secrets: Mapping[str, str] | None = None,
    on_update: Callable[[Update], None] = lambda _: None,
) -> Episode:
    """Carry out a demonstration through the platform and wait until it is an exemplar.

    Args:
        platform: A connection.
        lesson: Demonstrations of one lesson show one task.
        demonstration: Where, what for and how.
        verified: A person vouches for the result; needed where the environment keeps no score.
        secrets: Values of the secrets that its steps type by name.
        on_update: Called with every update.

    Raises:
        TectumError: the platform refused.
        TimeoutError: the success was verified and no exemplar came of it.
    """
    agent = Agent(
        strategy="script",
        strategy_settings=json.dumps({"steps": list(demonstration.source)}),
        lesson=lesson,
        allow_literal_secrets=True,
    )
    episode = await run_episode(
        platform,
        demonstration.environment,
        demonstration.instruction,
        agent=agent,
        approve=True,
        feedback=True if verified else None,
        secrets=secrets,
        on_update=on_update,
    )
    if episode.success:
        await _exemplar_of(platform, lesson, episode.session_id)
    return episode


async def _exemplar_of(platform: Platform, lesson: str, session_id: str) -> None:
    memory = memory_pb2_grpc.MemoryServiceStub(platform.channel)
    request = memory_pb2.ListExemplarsRequest(lesson=lesson, page_size=1000)
    async with asyncio.timeout(_EXEMPLAR_WAIT_S):
        while True:
            response = await memory.ListExemplars(request, metadata=platform.metadata)
            if any(exemplar.session_id == session_id for exemplar in response.exemplars):
                return
            await asyncio.sleep(_EXEMPLAR_POLL_S)

"""Memory as strategies see it, over gRPC."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import grpc

from tectum.actions.types import Action
from tectum.event.v1 import observation_pb2
from tectum.memory.v1 import memory_pb2, memory_pb2_grpc
from tectum.observations.types import Screen
from tectum.plugins import Exemplar
from tectum.wire import from_wire, to_wire


class MemoryExemplars:
    """An ExemplarSearch over MemoryService."""

    def __init__(self, channel: grpc.aio.Channel, *, timeout_s: float) -> None:
        self._memory: Any = memory_pb2_grpc.MemoryServiceStub(channel)
        self._timeout_s = timeout_s

    async def search(
        self, instruction: str, screen: Screen, *, limit: int, by_lesson: bool
    ) -> Sequence[tuple[Exemplar, float]]:
        """Nearest exemplars with their similarity; with `by_lesson`, the whole lesson that wins."""
        response = await self._memory.SearchExemplars(
            memory_pb2.SearchExemplarsRequest(
                instruction=instruction,
                screen=to_wire(screen, observation_pb2.Screen),
                limit=limit,
                by_lesson=by_lesson,
            ),
            timeout=self._timeout_s,
        )
        return [(_exemplar(match.exemplar), match.similarity) for match in response.matches]

    async def history(self, site: str, last: int) -> Sequence[str]:
        """The last finished turns on a site, newest first, as text."""
        request = memory_pb2.GetHistoryRequest(site=site, last=last)
        response = await self._memory.GetHistory(request, timeout=self._timeout_s)
        return list(response.turns)


def _exemplar(message: memory_pb2.Exemplar) -> Exemplar:
    last = from_wire(message.last_screen, Screen) if message.HasField("last_screen") else None
    steps = tuple(
        (from_wire(step.screen, Screen), from_wire(step.action, Action)) for step in message.steps
    )
    return Exemplar(message.exemplar_id, message.lesson, message.instruction, steps, last)

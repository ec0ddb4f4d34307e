"""Translate between the wire and memory's domain; nothing else."""

from __future__ import annotations

from typing import Any

from libs.errors import InvalidRequest
from services.memory.domain.memory import Memory
from services.memory.types import Exemplar
from tectum.event.v1 import observation_pb2
from tectum.memory.v1 import memory_pb2, memory_pb2_grpc
from tectum.observations.types import Screen
from tectum.wire import from_wire


class MemoryServicer(memory_pb2_grpc.MemoryServiceServicer):
    """Memory's door."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    async def WriteExemplar(
        self, request: memory_pb2.WriteExemplarRequest, context: Any
    ) -> memory_pb2.WriteExemplarResponse:
        """Store a verified exemplar."""
        exemplar_id = await self._memory.write(_exemplar(request.exemplar))
        return memory_pb2.WriteExemplarResponse(exemplar_id=exemplar_id)

    async def SearchExemplars(
        self, request: memory_pb2.SearchExemplarsRequest, context: Any
    ) -> memory_pb2.SearchExemplarsResponse:
        """Nearest first, or the lesson that the nearest belong to."""
        found = await self._memory.search(
            request.instruction,
            _screen(request.screen) if request.HasField("screen") else None,
            limit=request.limit,
            lesson=request.lesson,
            by_lesson=request.by_lesson,
        )
        response = memory_pb2.SearchExemplarsResponse()
        for match in found:
            response.matches.add(similarity=match.similarity).exemplar.ParseFromString(
                match.payload
            )
        return response

    async def GetExemplar(
        self, request: memory_pb2.GetExemplarRequest, context: Any
    ) -> memory_pb2.GetExemplarResponse:
        """One exemplar with its screens."""
        payload = await self._memory.get(request.exemplar_id)
        return memory_pb2.GetExemplarResponse(exemplar=memory_pb2.Exemplar.FromString(payload))

    async def ListExemplars(
        self, request: memory_pb2.ListExemplarsRequest, context: Any
    ) -> memory_pb2.ListExemplarsResponse:
        """A page without screens."""
        payloads, token = await self._memory.list(
            request.lesson, request.page_size, request.page_token
        )
        return memory_pb2.ListExemplarsResponse(
            exemplars=[memory_pb2.Exemplar.FromString(payload) for payload in payloads],
            next_page_token=token,
        )

    async def Forget(
        self, request: memory_pb2.ForgetRequest, context: Any
    ) -> memory_pb2.ForgetResponse:
        """Delete for good."""
        forgotten = await self._memory.forget(
            exemplar_id=request.exemplar_id, lesson=request.lesson, session_id=request.session_id
        )
        return memory_pb2.ForgetResponse(forgotten=forgotten)

    async def GetHistory(
        self, request: memory_pb2.GetHistoryRequest, context: Any
    ) -> memory_pb2.GetHistoryResponse:
        """The last finished turns on a site."""
        return memory_pb2.GetHistoryResponse(
            turns=await self._memory.history(request.site, request.last)
        )


def _exemplar(message: memory_pb2.Exemplar) -> Exemplar:
    try:
        return from_wire(message, Exemplar)
    except ValueError as error:
        raise InvalidRequest(
            "EXEMPLAR_EMPTY", f"expected each step with its screen and action, got: {error}"
        ) from None


def _screen(message: observation_pb2.Screen) -> Screen:
    try:
        return from_wire(message, Screen)
    except ValueError as error:
        raise InvalidRequest(
            "SCREEN_MALFORMED", f"expected a screen with a size, got: {error}"
        ) from None

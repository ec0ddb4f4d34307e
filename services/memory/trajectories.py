"""The recorder as memory sees it: trajectories over gRPC, read as plain data."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import grpc

from libs.errors import InvalidRequest
from libs.events.messages import TYPE_PREFIX, decode
from libs.events.port import Event
from tectum.protocol.messages import Outcome, Plan, Score, TurnStarted
from tectum.recorder.v1 import recorder_pb2, recorder_pb2_grpc

_TYPES = tuple(TYPE_PREFIX + message.__name__ for message in (TurnStarted, Plan, Outcome, Score))
"""What there is to learn from; the rest is most of a trajectory, and steps of others wait while it is read."""


class RecorderTrajectories:
    """A TrajectoryReader over RecorderService."""

    def __init__(self, channel: grpc.aio.Channel, *, events_max: int, timeout_s: float) -> None:
        self._recorder = recorder_pb2_grpc.RecorderServiceStub(channel)
        self._events_max = events_max
        self._timeout_s = timeout_s

    async def read(self, session_id: str, *, screens: bool) -> Sequence[Any]:
        """See `TrajectoryReader.read`."""
        request = recorder_pb2.GetTrajectoryRequest(session_id=session_id, types=_TYPES)
        messages: list[Any] = []
        call: Any = self._recorder.GetTrajectory(request, timeout=self._timeout_s)
        async for part in call:
            if part.WhichOneof("part") != "event":
                continue
            if len(messages) >= self._events_max:
                raise InvalidRequest(
                    "TRAJECTORY_TOO_LARGE",
                    f"expected at most {self._events_max} events, got more",
                    session_id=session_id,
                )
            messages.append(_message(part.event, screens=screens))
        return [message for message in messages if message is not None]


def _message(event: recorder_pb2.RecordedEvent, *, screens: bool) -> Any:
    kept = Event(
        id=event.attributes.get("id", ""),
        type=event.attributes.get("type", ""),
        subject=event.attributes.get("subject", ""),
        data=event.data,
        time=datetime.fromtimestamp(0, UTC),
    )
    return decode(kept, screens=screens)

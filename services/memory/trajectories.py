"""The recorder as memory sees it: trajectories over gRPC, read as plain data."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import grpc

from libs.errors import InvalidRequest
from libs.events.messages import decode
from libs.events.port import Event
from tectum.recorder.v1 import recorder_pb2, recorder_pb2_grpc


class RecorderTrajectories:
    """A TrajectoryReader over RecorderService."""

    def __init__(self, channel: grpc.aio.Channel, *, events_max: int, timeout_s: float) -> None:
        self._recorder = recorder_pb2_grpc.RecorderServiceStub(channel)
        self._events_max = events_max
        self._timeout_s = timeout_s

    async def read(self, session_id: str, *, screens: bool) -> Sequence[Any]:
        """See `TrajectoryReader.read`."""
        request = recorder_pb2.GetTrajectoryRequest(session_id=session_id)
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

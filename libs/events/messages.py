"""Translate between the events of `tectum.event.v1` as plain data and events of the log."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from google.protobuf.message import DecodeError, Message

from libs.errors import InvalidRequest
from libs.events.port import Event
from tectum.event.v1 import control_pb2, observation_pb2, outcome_pb2, plan_pb2
from tectum.protocol import messages
from tectum.wire import from_wire, to_wire

TYPE_PREFIX = "tectum.event.v1."
"""A CloudEvents type is this and the message's name."""

_PAIRS: dict[type, type[Message]] = {
    messages.TurnStarted: observation_pb2.TurnStarted,
    messages.ClientMessageAccepted: observation_pb2.ClientMessageAccepted,
    messages.Plan: plan_pb2.Plan,
    messages.Decision: plan_pb2.Decision,
    messages.ActionIssued: plan_pb2.ActionIssued,
    messages.Started: outcome_pb2.Started,
    messages.Outcome: outcome_pb2.Outcome,
    messages.Score: outcome_pb2.Score,
    messages.Control: control_pb2.Control,
    messages.SessionState: control_pb2.SessionState,
    messages.ExecutorCheckpoint: outcome_pb2.ExecutorCheckpoint,
    messages.TrajectorySealed: control_pb2.TrajectorySealed,
}

_BY_TYPE = {TYPE_PREFIX + cls.__name__: (cls, wire) for cls, wire in _PAIRS.items()}


def encode(message: Any, *, event_id: str, subject: str, at: datetime) -> Event:
    """Return `message`, a data class of `tectum.protocol.messages`, as an event of `subject`.

    Raises:
        KeyError: no event carries this class.
    """
    cls = type(message)
    data = to_wire(message, _PAIRS[cls]).SerializeToString()
    return Event(id=event_id, type=TYPE_PREFIX + cls.__name__, subject=subject, data=data, time=at)


def decode(event: Event, *, screens: bool = True) -> Any:
    """Return the event's data class; None for a type that this version does not know, or a tombstone.

    Without `screens` an outcome's screen is left out, since its element tree is most of the work.

    Raises:
        InvalidRequest: the data is no such message (EVENT_MALFORMED).
    """
    pair = _BY_TYPE.get(event.type)
    if pair is None or not event.data:
        return None
    cls, wire = pair
    try:
        parsed = wire.FromString(event.data)
        if not screens and isinstance(parsed, outcome_pb2.Outcome):
            parsed.ClearField("screen")
        return from_wire(parsed, cls)
    except (DecodeError, ValueError) as error:
        raise InvalidRequest(
            "EVENT_MALFORMED",
            f"expected data of {event.type}, got {len(event.data)} bytes: {error}",
        ) from None

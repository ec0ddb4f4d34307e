"""Recorded bytes as the plain data of `tectum.protocol.messages`."""

from __future__ import annotations

from google.protobuf.message import DecodeError, Message

from services.recorder.events import StoredEvent
from tectum.event.v1 import control_pb2, observation_pb2, outcome_pb2, plan_pb2
from tectum.protocol import messages
from tectum.wire import from_wire

_TYPES: dict[str, tuple[type[Message], type]] = {
    wire.DESCRIPTOR.full_name: (wire, plain)
    for wire, plain in (
        (observation_pb2.TurnStarted, messages.TurnStarted),
        (observation_pb2.ClientMessageAccepted, messages.ClientMessageAccepted),
        (plan_pb2.Plan, messages.Plan),
        (plan_pb2.Decision, messages.Decision),
        (outcome_pb2.Started, messages.Started),
        (outcome_pb2.Outcome, messages.Outcome),
        (outcome_pb2.Score, messages.Score),
        (control_pb2.Control, messages.Control),
    )
}


def decode(event: StoredEvent) -> object | None:
    """The message without the elements of its screen; None for another type or broken bytes."""
    return _decode(event, elements=False)


def decode_whole(event: StoredEvent) -> object | None:
    """The message as it was; None for another type or broken bytes."""
    return _decode(event, elements=True)


def _decode(event: StoredEvent, *, elements: bool) -> object | None:
    if event.type not in _TYPES:
        return None
    wire, plain = _TYPES[event.type]
    try:
        message = wire.FromString(event.data)
        screen = "screen" in wire.DESCRIPTOR.fields_by_name and message.HasField("screen")
        if screen and not elements:
            # A screen has up to 300 elements, and only a report looks at them.
            message.screen.ClearField("elements")  # type: ignore[attr-defined]
        found: object = from_wire(message, plain)
    except (DecodeError, ValueError, KeyError):
        return None
    return found

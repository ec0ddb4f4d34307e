"""MCAP segments: events in, bytes out; and a reader that survives a file that was cut or damaged.

Each event is two MCAP messages of one sequence number: its attributes as `tectum.recorder.v1.RecordedEvent`
on the channel `cloudevents`, then its payload, under its own schema, on the channel `<topic>/<Type>`; so
common MCAP tools show plans as plans (ADR 0080).
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Iterator
from typing import Any

import zstandard
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.message import DecodeError
from mcap import records
from mcap.data_stream import ReadDataStream
from mcap.exceptions import McapError
from mcap.opcode import Opcode
from mcap.stream_reader import breakup_chunk
from mcap.writer import MCAP0_MAGIC, CompressionType, Writer
from mcap_protobuf.schema import register_schema

from services.recorder.events import StoredEvent
from tectum.event.v1 import control_pb2, observation_pb2, outcome_pb2, plan_pb2
from tectum.recorder.v1 import recorder_pb2

__all__ = ["SegmentReader", "SegmentWriter"]

_KNOWN = (control_pb2, observation_pb2, outcome_pb2, plan_pb2)
"""Imported so that the descriptor pool holds every event of the platform."""
_ENVELOPE_TOPIC = "cloudevents"
_CHUNK_BYTES = 64 * 1024
"""Uncompressed; small, since a damaged chunk is lost as a whole."""
_RECORD_BYTES_MAX = 64 * 1024 * 1024
"""A length above this is damage: events are at most 1 MiB and chunks close at 64 KiB and one event."""
_HEAD = struct.Struct("<BQ")
_DAMAGE = (McapError, ValueError, struct.error, zstandard.ZstdError, DecodeError, MemoryError)


class _Sink:
    """Collects what the MCAP writer writes until it is taken."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._written = 0

    def write(self, data: bytes) -> None:
        if data:
            self._parts.append(bytes(data))
            self._written += len(data)

    def tell(self) -> int:
        return self._written

    def flush(self) -> None:
        """Nothing stands behind this sink."""

    def take(self) -> bytes:
        taken, self._parts = b"".join(self._parts), []
        return taken


class SegmentWriter:
    """Turns events into the bytes of one segment; the caller appends them to the file."""

    def __init__(self) -> None:
        self._sink = _Sink()
        writer: Any = Writer
        self._writer = writer(self._sink, chunk_size=_CHUNK_BYTES, compression=CompressionType.ZSTD)
        self._writer.start(profile="tectum", library="tectum recorder 1")
        self._schemas: dict[str, int] = {}
        self._channels: dict[tuple[str, str], int] = {}
        self.events = 0
        """How many events were added."""

    def add(self, event: StoredEvent) -> None:
        """Add one event to the chunk in progress."""
        sequence = self.events
        envelope = recorder_pb2.RecordedEvent(
            attributes=event.attributes,
            topic=event.topic,
            partition=event.partition,
            offset=event.offset,
        )
        kind = recorder_pb2.RecordedEvent.DESCRIPTOR.full_name
        times = {"log_time": event.appended_ns, "publish_time": event.time_ns}
        self._writer.add_message(
            self._channel(_ENVELOPE_TOPIC, kind),
            data=envelope.SerializeToString(),
            sequence=sequence,
            **times,
        )
        self._writer.add_message(
            self._channel(f"{event.topic}/{event.type.rpartition('.')[2]}", event.type),
            data=event.data,
            sequence=sequence,
            **times,
        )
        self.events += 1

    def take(self) -> bytes:
        """Close the chunk in progress and return the bytes since the last call."""
        self._writer.flush()
        return self._sink.take()

    def finish(self) -> bytes:
        """Return the last bytes: what `take` would return, index and footer."""
        self._writer.finish()
        return self._sink.take()

    def _channel(self, topic: str, kind: str) -> int:
        found = self._channels.get((topic, kind))
        if found is None:
            found = self._writer.register_channel(
                topic=topic,
                message_encoding="protobuf",
                schema_id=self._schema(kind),
                metadata={"type": kind},
            )
            self._channels[topic, kind] = found
        return found

    def _schema(self, kind: str) -> int:
        """The schema of a message type; 0, which is MCAP's "none", of a type that this version does not know."""
        if kind not in self._schemas:
            try:
                descriptor = descriptor_pool.Default().FindMessageTypeByName(kind)
            except KeyError:
                self._schemas[kind] = 0
            else:
                message: Any = message_factory.GetMessageClass(descriptor)
                register: Callable[..., Any] = register_schema
                self._schemas[kind] = int(register(self._writer, message))
        return self._schemas[kind]


class SegmentReader:
    """Iterates over the events of a segment, chunk by chunk, and stops at the first damage.

    After the iteration: `problem` says what was wrong ("" for nothing), `finished` whether index and footer were
    reached, and `cut` whether the file merely ends too early, as a kill leaves it.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._envelopes: dict[int, recorder_pb2.RecordedEvent] = {}
        self._channels: dict[int, Any] = {}
        self.problem = ""
        self.finished = False
        self.cut = False

    def __iter__(self) -> Iterator[StoredEvent]:
        at = len(MCAP0_MAGIC)
        if self._data[:at] != MCAP0_MAGIC:
            self.cut = MCAP0_MAGIC.startswith(self._data)
            self.problem = "expected MCAP magic at byte 0"
            return
        while (end := self._end_of(at)) is not None:
            opcode = self._data[at]
            if opcode == Opcode.FOOTER and self._data[end:] == MCAP0_MAGIC:
                self.finished = True
                return
            if opcode == Opcode.CHUNK:
                try:
                    found = list(self._chunk(self._data[at + _HEAD.size : end]))
                except _DAMAGE as error:
                    self.problem = f"chunk at byte {at}: {type(error).__name__}: {error}"
                    return
                yield from found
            at = end
        self.problem = (
            f"ends at byte {len(self._data)} after the whole record at {at}, without a footer"
        )

    def _end_of(self, at: int) -> int | None:
        """Where the record at byte `at` ends; None where it is not whole or its length cannot be right."""
        head = self._data[at : at + _HEAD.size]
        length = _HEAD.unpack(head)[1] if len(head) == _HEAD.size else 0
        end = at + _HEAD.size + length
        self.cut = (end > len(self._data) and length <= _RECORD_BYTES_MAX) or at == len(self._data)
        return end if end <= len(self._data) and length <= _RECORD_BYTES_MAX else None

    def _chunk(self, body: bytes) -> Iterator[StoredEvent]:
        read: Any = records.Chunk.read
        chunk = read(ReadDataStream(io.BytesIO(body)))
        if chunk.uncompressed_size > _RECORD_BYTES_MAX:
            raise ValueError(
                f"expected at most {_RECORD_BYTES_MAX} bytes, got {chunk.uncompressed_size}"
            )
        for record in breakup_chunk(chunk, validate_crc=True):
            if isinstance(record, records.Channel):
                self._channels[record.id] = record
            elif isinstance(record, records.Message):
                event = self._message(record)
                if event is not None:
                    yield event

    def _message(self, message: records.Message) -> StoredEvent | None:
        channel = self._channels.get(message.channel_id)
        if channel is None:
            raise ValueError(f"expected a known channel, got {message.channel_id}")
        if channel.topic == _ENVELOPE_TOPIC:
            envelope = recorder_pb2.RecordedEvent.FromString(message.data)
            self._envelopes = {message.sequence: envelope}
            return None
        found = self._envelopes.pop(message.sequence, None)
        if found is None:
            raise ValueError(f"expected attributes before payload {message.sequence}")
        return StoredEvent(
            topic=found.topic,
            partition=found.partition,
            offset=found.offset,
            appended_ns=message.log_time,
            time_ns=message.publish_time,
            attributes=dict(found.attributes),
            data=message.data,
        )

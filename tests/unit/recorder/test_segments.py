from __future__ import annotations

import io

import pytest
from mcap.reader import make_reader
from mcap_protobuf.decoder import DecoderFactory

from services.recorder.events import StoredEvent, stored
from services.recorder.segments import SegmentReader, SegmentWriter
from tests.unit.recorder.sample import troubled


def _events() -> list[StoredEvent]:
    return [stored(record) for record in troubled().records()]


def _written(events: list[StoredEvent], *, each: int = 1) -> tuple[bytes, bytes]:
    """The segment before and after it is finished, with a chunk for every `each` events."""
    writer = SegmentWriter()
    data = b""
    for start in range(0, len(events), each):
        for event in events[start : start + each]:
            writer.add(event)
        data += writer.take()
    return data, data + writer.finish()


def test_events_come_back_as_they_were() -> None:
    events = _events()
    reader = SegmentReader(_written(events, each=4)[1])
    assert list(reader) == events
    assert (reader.finished, reader.problem) == (True, "")
    assert len(events) > 20


def test_a_stock_reader_shows_typed_messages() -> None:
    data = _written(_events())[1]
    reader = make_reader(io.BytesIO(data), decoder_factories=[DecoderFactory()])
    topics = ["tectum.plans/Plan"]
    plans = [item.decoded_message for item in reader.iter_decoded_messages(topics=topics)]
    assert [plan.step for plan in plans] == [1, 2, 3, 4]
    assert plans[0].action.upload_files.names == ["report.pdf"]


def test_attributes_survive() -> None:
    events = _events()
    first = next(iter(SegmentReader(_written(events)[1])))
    assert first.attributes["specversion"] == "1.0"
    assert first.attributes["subject"] == "s-troubled"
    assert first.attributes["datacontenttype"] == "application/protobuf"
    assert first.time_ns == events[0].time_ns != 0


def test_a_file_cut_anywhere_gives_a_prefix() -> None:
    events = _events()
    cut, whole = _written(events, each=3)
    seen = set()
    for length in range(0, len(whole), 173):
        reader = SegmentReader(whole[:length])
        found = list(reader)
        assert found == events[: len(found)]
        assert (reader.finished, reader.cut) == (False, True), length
        seen.add(len(found))
    assert len(list(SegmentReader(cut))) == len(events)
    assert {0, 3, len(events)} <= seen


def test_damage_ends_the_reading_and_is_told_from_a_cut() -> None:
    events = _events()
    cut, finished = _written(events, each=1)
    whole = bytearray(finished)
    third = len(cut) // 3
    whole[third : third + 600] = bytes(600)
    reader = SegmentReader(bytes(whole))
    found = list(reader)
    assert 0 < len(found) < len(events)
    assert found == events[: len(found)]
    assert not reader.finished
    assert reader.problem


@pytest.mark.parametrize("data", [b"", b"{}", b"\x89MCAP0\r\n", bytes(4096)])
def test_what_is_no_segment_gives_nothing_and_says_so(data: bytes) -> None:
    reader = SegmentReader(data)
    assert list(reader) == []
    assert reader.problem
    assert not reader.finished


def test_types_of_another_version_are_kept() -> None:
    event = StoredEvent("t", 1, 2, 3, 4, {"id": "a", "type": "org.example.Later"}, b"\xff\x00")
    empty = StoredEvent("t", 1, 3, 3, 4, {"id": "b", "type": "tectum.event.v1.Control"}, b"")
    assert list(SegmentReader(_written([event, empty])[1])) == [event, empty]

"""The CloudEvents Kafka binding, checked against the `cloudevents` package in both directions and modes."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from cloudevents.core.bindings import kafka
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from hypothesis import given
from hypothesis import strategies as st

from libs.errors import InvalidRequest
from libs.events.cloudevents import decode, encode_binary, encode_structured
from libs.events.port import Event

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
FULL = Event(
    "s/7",
    "tectum.event.v1.Plan",
    "session-ä",
    b"\x00\x01\xff",
    datetime(2026, 11, 22, 1, 2, 3, 456789, tzinfo=UTC),
    source="planner/1",
    incarnation=3,
    seq=2**40,
    traceparent=TRACE,
    deadline_at=datetime(2026, 11, 22, 1, 3, tzinfo=UTC),
    extensions={"dlqreason": "BROKEN", "dlqmessage": "ö"},
)
JSON_EVENT = Event(
    "1", "t", "s", b'{"a":[1,"\xc3\xa4"]}', FULL.time, source="p", content_type="application/json"
)


@pytest.mark.parametrize("event", [FULL, JSON_EVENT], ids=["protobuf", "json"])
def test_both_modes_come_back_as_they_were(event: Event) -> None:
    for encode in (encode_binary, encode_structured):
        key, headers, value = encode(event)
        assert key == event.subject
        assert decode(headers, value) == event


def test_the_headers_are_those_of_the_binding() -> None:
    _, headers, value = encode_binary(FULL)
    assert value == FULL.data
    assert dict(headers) == {
        "ce_specversion": b"1.0",
        "ce_id": b"s/7",
        "ce_source": b"planner/1",
        "ce_type": b"tectum.event.v1.Plan",
        "ce_subject": "session-ä".encode(),
        "ce_time": b"2026-11-22T01:02:03.456789Z",
        "content-type": b"application/protobuf",
        "ce_incarnation": b"3",
        "ce_producerseq": b"1099511627776",
        "traceparent": TRACE.encode(),
        "tectum-deadline": b"2026-11-22T01:03:00Z",
        "ce_dlqreason": b"BROKEN",
        "ce_dlqmessage": "ö".encode(),
    }


class TestAgainstTheReference:
    def check(self, read: CloudEvent, event: Event) -> None:
        assert read.get_specversion() == "1.0"
        assert read.get_id() == event.id
        assert read.get_source() == event.source
        assert read.get_type() == event.type
        assert read.get_subject() == event.subject
        assert read.get_time() == event.time
        assert read.get_datacontenttype() == event.content_type
        assert str(read.get_extension("incarnation")) == str(event.incarnation)
        assert str(read.get_extension("producerseq")) == str(event.seq)
        for name, text in event.extensions.items():
            assert read.get_extension(name) == text

    def test_it_reads_our_binary(self) -> None:
        key, headers, value = encode_binary(FULL)
        read = kafka.from_kafka(kafka.KafkaMessage(dict(headers), key, value), JSONFormat())
        self.check(read, FULL)
        assert read.get_data() == FULL.data

    def test_it_reads_our_structured(self) -> None:
        key, headers, value = encode_structured(FULL)
        read = kafka.from_kafka(kafka.KafkaMessage(dict(headers), key, value), JSONFormat())
        self.check(read, FULL)
        assert read.get_data() == FULL.data
        assert read.get_extension("traceparent") == TRACE

    def test_it_reads_our_json_data(self) -> None:
        for encode in (encode_binary, encode_structured):
            key, headers, value = encode(JSON_EVENT)
            read = kafka.from_kafka(kafka.KafkaMessage(dict(headers), key, value), JSONFormat())
            self.check(read, JSON_EVENT)
            assert read.get_data() == {"a": [1, "ä"]}

    @pytest.mark.parametrize("mode", ["binary", "structured"])
    @pytest.mark.parametrize(
        ("content_type", "data", "as_bytes"),
        [
            ("application/protobuf", b"\x00\xff", b"\x00\xff"),
            ("application/json", {"a": [1, "ä"]}, {"a": [1, "ä"]}),
            ("text/plain", "grüß", "grüß".encode()),
        ],
    )
    def test_we_read_what_it_writes(
        self, mode: str, content_type: str, data: object, as_bytes: object
    ) -> None:
        written = CloudEvent(
            {
                "id": "7",
                "source": "/elsewhere",
                "type": "com.example.made",
                "specversion": "1.0",
                "subject": "s",
                "time": FULL.time,
                "datacontenttype": content_type,
                "dataschema": "https://example.com/schema",
                "partitionkey": "pk",
                "flag": "yes",
            },
            data,
        )
        write = kafka.to_binary if mode == "binary" else kafka.to_structured
        message = write(written, JSONFormat())
        event = decode(list(message.headers.items()), message.value, key=str(message.key))
        assert (event.id, event.source, event.type) == ("7", "/elsewhere", "com.example.made")
        assert (event.subject, event.time, event.content_type) == ("s", FULL.time, content_type)
        assert (event.incarnation, event.seq, event.traceparent) == (0, 0, "")
        assert event.extensions["flag"] == "yes"
        assert event.extensions["dataschema"] == "https://example.com/schema"
        got = json.loads(event.data) if isinstance(data, dict) else event.data
        assert got == as_bytes

    def test_the_least_it_writes_is_enough(self) -> None:
        written = CloudEvent({"id": "7", "source": "/x", "type": "t", "specversion": "1.0"}, None)
        for write in (kafka.to_binary, kafka.to_structured):
            message = write(written, JSONFormat())
            event = decode(list(message.headers.items()), message.value, key="k")
            assert (event.id, event.subject, event.time) == ("7", "k", written.get_time())
            assert event.data == b""


def test_what_is_optional_is_taken_from_the_record() -> None:
    headers = [("ce_specversion", b"1.0"), ("ce_id", b"7"), ("ce_source", b"/x"), ("ce_type", b"t")]
    event = decode(headers, None, key="k", received_at=FULL.time)
    assert (event.id, event.subject, event.time) == ("7", "k", FULL.time)
    assert (event.content_type, event.data) == ("application/octet-stream", b"")
    made = {"specversion": "1.0", "id": "7", "source": "/x", "type": "t", "data": {"a": 1}}
    event = decode(
        [("content-type", b"application/cloudevents+json")],
        json.dumps(made).encode(),
        key="k",
        received_at=FULL.time,
    )
    assert (event.content_type, event.data) == ("application/json", b'{"a":1}')


# What str.isprintable allows; made so, since filtering discards half of what was drawn.
printable = st.characters(exclude_categories=("C", "Z"), include_characters=" ")
texts = st.text(printable, min_size=1, max_size=30)


@given(
    st.builds(
        Event,
        id=texts,
        type=texts,
        subject=texts,
        data=st.binary(max_size=100),
        time=st.datetimes(
            min_value=datetime(1971, 1, 1),  # noqa: DTZ001
            max_value=datetime(2900, 1, 1),  # noqa: DTZ001
            timezones=st.just(UTC),
        ),
        source=texts,
        incarnation=st.integers(0, 2**62),
        seq=st.integers(0, 2**62),
        traceparent=st.sampled_from(["", TRACE]),
        deadline_at=st.none() | st.just(FULL.time),
        extensions=st.dictionaries(
            st.text("abcdefghij0123456789", min_size=4, max_size=8), texts, max_size=3
        ),
    )
)
def test_any_event_comes_back(event: Event) -> None:
    for encode in (encode_binary, encode_structured):
        _, headers, value = encode(event)
        assert decode(headers, value) == event


def test_times_of_other_zones_and_precisions_are_read() -> None:
    _, headers, _ = encode_binary(FULL)
    for text, expected in (
        ("2026-11-22T02:02:03+01:00", datetime(2026, 11, 22, 1, 2, 3, tzinfo=UTC)),
        ("2026-11-22t01:02:03.123456789z", datetime(2026, 11, 22, 1, 2, 3, 123456, tzinfo=UTC)),
        ("2026-11-22T01:02:03.5Z", datetime(2026, 11, 22, 1, 2, 3, 500000, tzinfo=UTC)),
    ):
        changed = [(n, text.encode() if n == "ce_time" else v) for n, v in headers]
        assert decode(changed, b"").time == expected
    east = Event("1", "t", "s", b"", datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=9))), "p")
    _, headers, value = encode_binary(east)
    assert dict(headers)["ce_time"] == b"2025-12-31T15:00:00Z"
    assert decode(headers, value).time == east.time


def test_header_names_are_read_without_case_and_foreign_headers_ignored() -> None:
    _, headers, value = encode_binary(FULL)
    shouted = [(name.upper(), content) for name, content in headers]
    assert decode([*shouted, ("b3", b"\xff\xfe")], value) == FULL


def test_the_trace_extension_is_read_where_the_header_is_missing() -> None:
    _, headers, value = encode_binary(FULL)
    moved = [("ce_traceparent" if n == "traceparent" else n, v) for n, v in headers]
    assert decode(moved, value).traceparent == TRACE


@pytest.mark.parametrize(
    ("name", "content", "attribute"),
    [
        ("ce_specversion", None, "specversion"),
        ("ce_specversion", b"0.3", "specversion"),
        ("ce_id", None, "id"),
        ("ce_id", b"", "id"),
        ("ce_id", b"\xff\xfe", "id"),
        ("ce_source", None, "source"),
        ("ce_type", b"", "type"),
        ("ce_subject", None, "subject"),
        ("ce_time", None, "time"),
        ("ce_time", b"yesterday", "time"),
        ("ce_time", b"2026-11-22T01:02:03", "time"),
        ("ce_incarnation", b"-1", "incarnation"),
        ("ce_producerseq", "\u0661".encode(), "producerseq"),
        ("ce_producerseq", b"9" * 20, "producerseq"),
        ("tectum-deadline", b"soon", "tectum-deadline"),
        ("ce_bad-name", b"x", "bad-name"),
    ],
)
def test_malformed_binary_names_the_attribute(
    name: str, content: bytes | None, attribute: str
) -> None:
    _, headers, value = encode_binary(FULL)
    changed = [pair for pair in headers if pair[0] != name]
    if content is not None:
        changed.append((name, content))
    with pytest.raises(InvalidRequest) as caught:
        decode(changed, value)
    assert caught.value.reason == "EVENT_MALFORMED"
    assert caught.value.metadata["attribute"] == attribute
    assert str(caught.value).startswith(attribute)


@pytest.mark.parametrize(
    ("change", "attribute"),
    [
        ({"id": None}, "id"),
        ({"specversion": "0.3"}, "specversion"),
        ({"data": 1}, "data_base64"),
        ({"data_base64": "???"}, "data_base64"),
        ({"data_base64": 7}, "data_base64"),
        ({"time": "never"}, "time"),
        ({"thing": {"nested": 1}}, "thing"),
        ({"thing": 1.5}, "thing"),
        ({"Thing": "x"}, "Thing"),
        ({"incarnation": "x"}, "incarnation"),
    ],
)
def test_malformed_structured_names_the_attribute(
    change: dict[str, object], attribute: str
) -> None:
    _, headers, value = encode_structured(FULL)
    made = json.dumps({**json.loads(value), **change}).encode()
    with pytest.raises(InvalidRequest) as caught:
        decode(headers, made)
    assert caught.value.metadata["attribute"] == attribute


@pytest.mark.parametrize("value", [b"", b"[]", b"{", b"\xff", b"[" * 100_000])
def test_what_is_no_json_object_is_refused(value: bytes) -> None:
    with pytest.raises(InvalidRequest) as caught:
        decode([("content-type", b"application/cloudevents+json")], value)
    assert caught.value.metadata["attribute"] == "data"


def test_other_structured_formats_and_batches_are_refused() -> None:
    for media in (b"application/cloudevents-batch+json", b"application/cloudevents+avro"):
        with pytest.raises(InvalidRequest) as caught:
            decode([("content-type", media)], b"[]")
        assert caught.value.metadata["attribute"] == "content-type"

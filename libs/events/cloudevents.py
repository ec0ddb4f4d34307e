"""CloudEvents 1.0 in Kafka records: binary mode as we write it, binary and structured as we read it."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from libs.errors import InvalidRequest
from libs.events.port import Event

STRUCTURED_JSON = "application/cloudevents+json"
CONTENT_TYPE = "content-type"
TRACEPARENT = "traceparent"
DEADLINE = "tectum-deadline"
INCARNATION = "incarnation"
PRODUCER_SEQ = "producerseq"
DEADLINE_ATTRIBUTE = "tectumdeadline"
"""Name of the deadline in structured mode, where attributes have letters and digits only."""

_PREFIX = "ce_"
_VERSION = "1.0"
_OPAQUE = "application/octet-stream"

RESERVED = frozenset({
    "specversion", "id", "source", "type", "subject", "time", "datacontenttype", "data",
    "data_base64", INCARNATION, PRODUCER_SEQ, TRACEPARENT, DEADLINE_ATTRIBUTE,
})  # fmt: skip
"""Names that no extension may have: Event has fields for them."""

Headers = Sequence[tuple[str, bytes]]


def encode_binary(event: Event) -> tuple[str, list[tuple[str, bytes]], bytes]:
    """Return (key, headers, value) of a Kafka record in binary mode.

    Attributes are `ce_*` headers in UTF-8; `content-type`, `traceparent` and `tectum-deadline` (an
    RFC 3339 instant) are headers of their own; the value is the data as it is.
    """
    headers = [
        ("ce_specversion", b"1.0"),
        ("ce_id", event.id.encode()),
        ("ce_source", event.source.encode()),
        ("ce_type", event.type.encode()),
        ("ce_subject", event.subject.encode()),
        ("ce_time", _stamp(event.time).encode()),
        (CONTENT_TYPE, event.content_type.encode()),
        ("ce_incarnation", b"%d" % event.incarnation),
        ("ce_producerseq", b"%d" % event.seq),
    ]
    if event.traceparent:
        headers.append((TRACEPARENT, event.traceparent.encode()))
    if event.deadline_at is not None:
        headers.append((DEADLINE, _stamp(event.deadline_at).encode()))
    headers.extend((_PREFIX + name, text.encode()) for name, text in event.extensions.items())
    return event.subject, headers, event.data


def encode_structured(event: Event) -> tuple[str, list[tuple[str, bytes]], bytes]:
    """Return (key, headers, value) of a Kafka record in structured mode: all of it as JSON.

    JSON data stands in `data`, any other in `data_base64`.
    """
    made: dict[str, Any] = {
        "specversion": _VERSION,
        "id": event.id,
        "source": event.source,
        "type": event.type,
        "subject": event.subject,
        "time": _stamp(event.time),
        "datacontenttype": event.content_type,
        # Texts, for an Integer of CloudEvents has 32 bits.
        INCARNATION: str(event.incarnation),
        PRODUCER_SEQ: str(event.seq),
        **event.extensions,
    }
    if event.traceparent:
        made[TRACEPARENT] = event.traceparent
    if event.deadline_at is not None:
        made[DEADLINE_ATTRIBUTE] = _stamp(event.deadline_at)
    if _is_json(event.content_type) and (parsed := _parsed(event.data)) is not None:
        made["data"] = parsed
    else:
        made["data_base64"] = base64.b64encode(event.data).decode()
    value = json.dumps(made, ensure_ascii=False, separators=(",", ":")).encode()
    return event.subject, [(CONTENT_TYPE, f"{STRUCTURED_JSON}; charset=utf-8".encode())], value


def decode(
    headers: Headers, value: bytes | None, *, key: str = "", received_at: datetime | None = None
) -> Event:
    """Return the event in a Kafka record of either mode.

    Args:
        headers: As they stand in the record; names are read without regard to case.
        value: None (a tombstone) is read as no data.
        key: The record's key; the subject where the event has none.
        received_at: The time of an event without `time`.

    Raises:
        InvalidRequest: not a CloudEvent 1.0 (EVENT_MALFORMED); metadata `attribute` names the part.
    """
    texts = _texts(headers)
    content_type = texts.pop(CONTENT_TYPE, "")
    if content_type.lower().startswith("application/cloudevents"):
        attributes, data = _structured(content_type, value or b"")
        attributes.setdefault(TRACEPARENT, texts.get(TRACEPARENT, ""))
        attributes.setdefault(DEADLINE_ATTRIBUTE, texts.get(DEADLINE, ""))
    else:
        attributes = {
            name.removeprefix(_PREFIX): text
            for name, text in texts.items()
            if name.startswith(_PREFIX)
        }
        # Not every writer knows that traceparent has a header of its own.
        attributes[TRACEPARENT] = texts.get(TRACEPARENT) or attributes.get(TRACEPARENT, "")
        attributes[DEADLINE_ATTRIBUTE] = texts.get(DEADLINE, "")
        attributes["datacontenttype"] = content_type
        data = value or b""
    return _event(attributes, data, key, received_at)


def _event(
    attributes: dict[str, str], data: bytes, key: str, received_at: datetime | None
) -> Event:
    version = attributes.pop("specversion", "")
    if version != _VERSION:
        raise _malformed("specversion", f"expected {_VERSION!r}, got {version!r}")
    required = {name: attributes.pop(name, "") for name in ("id", "source", "type")}
    subject = attributes.pop("subject", "") or key
    for name, text in (*required.items(), ("subject", subject)):
        if not text:
            raise _malformed(name, "expected text, got nothing")
    written = attributes.pop("time", "")
    at = _instant("time", written) if written else received_at
    if at is None:
        raise _malformed("time", "expected an RFC 3339 instant, got nothing")
    deadline = attributes.pop(DEADLINE_ATTRIBUTE, "")
    content_type = attributes.pop("datacontenttype", "") or _OPAQUE
    traceparent = attributes.pop(TRACEPARENT, "")
    incarnation = _number(INCARNATION, attributes.pop(INCARNATION, ""))
    seq = _number(PRODUCER_SEQ, attributes.pop(PRODUCER_SEQ, ""))
    for name in attributes:
        if not (name.isascii() and name.isalnum() and name == name.lower()):
            raise _malformed(name, "expected a name of lower-case letters and digits")
    return Event(
        required["id"],
        required["type"],
        subject,
        data,
        at,
        source=required["source"],
        incarnation=incarnation,
        seq=seq,
        content_type=content_type,
        traceparent=traceparent,
        deadline_at=_instant(DEADLINE, deadline) if deadline else None,
        extensions=attributes,
    )


def _structured(content_type: str, value: bytes) -> tuple[dict[str, str], bytes]:
    media = content_type.split(";")[0].strip().lower()
    if media != STRUCTURED_JSON:
        raise _malformed(CONTENT_TYPE, f"expected {STRUCTURED_JSON!r}, got {media!r}")
    made = _parsed(value)
    if not isinstance(made, dict):
        raise _malformed(
            "data", f"expected a JSON object, got {len(value)} bytes of something else"
        )
    if "data" in made and "data_base64" in made:
        raise _malformed("data_base64", "expected either data or data_base64, got both")
    data = _structured_data(made)
    attributes: dict[str, str] = {}
    for name, content in made.items():
        if content is None:
            continue
        if not isinstance(content, str | int) or isinstance(content, float):
            raise _malformed(name, f"expected text, number or bool, got {type(content).__name__}")
        attributes[name] = str(content).lower() if isinstance(content, bool) else str(content)
    return attributes, data


def _structured_data(made: dict[str, Any]) -> bytes:
    """Take the data out of a structured event."""
    encoded = made.pop("data_base64", None)
    if encoded is not None:
        try:
            return base64.b64decode(encoded, validate=True)
        except (binascii.Error, TypeError, ValueError):
            raise _malformed("data_base64", "expected base64, got something else") from None
    if "data" not in made:
        return b""
    content = made.pop("data")
    content_type = made.setdefault("datacontenttype", "application/json")
    if isinstance(content, str) and not _is_json(str(content_type)):
        return content.encode()
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()


def _texts(headers: Headers) -> dict[str, str]:
    texts: dict[str, str] = {}
    for name, content in headers:
        try:
            texts[name.lower()] = content.decode()
        except UnicodeDecodeError:
            if name.lower().startswith(_PREFIX):
                attribute = name.lower().removeprefix(_PREFIX)
                raise _malformed(attribute, f"expected UTF-8, got {content[:32]!r}") from None
    return texts


def _is_json(content_type: str) -> bool:
    media = content_type.split(";")[0].strip().lower()
    return media in ("application/json", "text/json") or media.endswith("+json")


def _parsed(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def _stamp(at: datetime) -> str:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _instant(name: str, text: str) -> datetime:
    try:
        at = datetime.fromisoformat(text.upper())
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise _malformed(name, f"expected an RFC 3339 instant with its zone, got {text[:64]!r}")
    return at.astimezone(UTC)


def _number(name: str, text: str) -> int:
    if not text:
        return 0
    if not (text.isascii() and text.isdigit() and len(text) <= 19):
        raise _malformed(name, f"expected a whole number from 0, got {text[:64]!r}")
    return int(text)


def _malformed(attribute: str, problem: str) -> InvalidRequest:
    return InvalidRequest("EVENT_MALFORMED", f"{attribute}: {problem}", attribute=attribute)

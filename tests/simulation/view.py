"""Whether a caller's view of its session is the log's."""

from __future__ import annotations

from libs.events import topics
from libs.events.messages import decode
from libs.events.port import Record
from tectum.protocol.messages import Control, ControlKind
from tests.simulation.broker import Broker
from tests.simulation.client import VIEWED, Caller
from tests.simulation.witness import Witness

_TOPICS = (topics.OBSERVATIONS, topics.PLANS, topics.DECISIONS, topics.OUTCOMES, topics.CONTROL)


def judge_view(broker: Broker, witness: Witness, caller: Caller) -> None:
    """Compare what a caller saw over all its connections with the log: nothing missing, nothing twice.

    What came after CLOSED need not have reached it.
    """
    session_id = caller.memory.session_id
    for topic in _TOPICS:
        records = [r for r in broker.records(topic) if r.key == session_id]
        if topic == topics.CONTROL:
            records = _up_to_closed(records)
        expected = [r.offset for r in records if r.event.type.rpartition(".")[2] in VIEWED]
        seen = caller.memory.seen.get(topic, [])
        witness.saw(f"{session_id} {topic}", expected, seen, complete=topic == topics.CONTROL)


def _up_to_closed(records: list[Record]) -> list[Record]:
    for index, record in enumerate(records):
        message = decode(record.event)
        if isinstance(message, Control) and message.kind is ControlKind.CLOSED:
            return records[: index + 1]
    return records

"""Where records go that nobody could handle."""

from __future__ import annotations

import dataclasses

from libs.clock import Clock
from libs.errors import Conflict, InvalidRequest, PlatformError
from libs.events.port import Event, EventLog, Producer, Record
from libs.events.topics import DEAD_LETTER_SUFFIX

_MESSAGE_CHARACTERS = 512
_FENCED_TRIES = 5


class DeadLetters:
    """Puts a record into `<topic>.dlq`: the original event, and why it is there in extensions.

    dlqreason, dlqmessage, dlqtopic, dlqpartition, dlqoffset, dlqattempts, dlqgroup, dlqsource,
    dlqincarnation, dlqseq, dlqat. The text of a bug may hold user content, so only its class is kept.
    """

    def __init__(self, log: EventLog, group: str, clock: Clock) -> None:
        self._log = log
        self._group = group
        self._clock = clock
        self._producer: Producer | None = None

    async def put(self, record: Record, failure: Exception, attempts: int) -> None:
        """Append the dead letter.

        Raises:
            DependencyDown: the log cannot take it (LOG_DOWN, LOG_FULL).
            Overloaded: too many publishes are waiting.
            Conflict: members of the group took the producer's name from each other too often.
        """
        letter = self._letter(record, failure, attempts)
        topic = record.topic + DEAD_LETTER_SUFFIX
        try:
            await self._publish(topic, letter)
        except InvalidRequest as error:
            if error.reason != "EVENT_TOO_LARGE":
                raise
            # The reasons did not fit beside the data, which is still at its place in the topic.
            extensions = {**letter.extensions, "dlqdata": "omitted"}
            await self._publish(topic, dataclasses.replace(letter, data=b"", extensions=extensions))

    async def _publish(self, topic: str, letter: Event) -> None:
        # All members share one name, so that names do not grow in number; they may fence each other.
        for attempt in range(_FENCED_TRIES):
            if self._producer is None:
                self._producer = await self._log.producer(f"dead-letters/{self._group}")
            try:
                await self._producer.publish(topic, letter)
            except Conflict:
                self._producer = None
                if attempt == _FENCED_TRIES - 1:
                    raise
            else:
                return

    def _letter(self, record: Record, failure: Exception, attempts: int) -> Event:
        if isinstance(failure, PlatformError):
            reason, message = failure.reason, str(failure)[:_MESSAGE_CHARACTERS]
        else:
            reason, message = "INTERNAL", type(failure).__name__
        event = record.event
        return dataclasses.replace(
            event,
            extensions={
                **event.extensions,
                "dlqreason": reason,
                "dlqmessage": message,
                "dlqtopic": record.topic,
                "dlqpartition": str(record.partition),
                "dlqoffset": str(record.offset),
                "dlqattempts": str(attempts),
                "dlqgroup": self._group,
                "dlqsource": event.source,
                "dlqincarnation": str(event.incarnation),
                "dlqseq": str(event.seq),
                "dlqat": self._clock.now().isoformat(),
            },
        )

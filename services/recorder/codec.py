"""Reading segments and hashing on threads, for the archive."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Iterator, Sequence
from itertools import islice

from libs.errors import WrongState
from libs.offload import Offload
from services.recorder.events import StoredEvent
from services.recorder.segments import SegmentReader

_PAGE_EVENTS = 64


class McapCodec:
    """Codec over MCAP; one page of events is read in one visit to a thread."""

    def __init__(self, offload: Offload) -> None:
        self._offload = offload

    async def read(self, data: bytes) -> AsyncIterator[Sequence[StoredEvent]]:
        """See `Codec`."""
        reader = SegmentReader(data)
        events = iter(reader)
        while page := await self._offload.run(_page, events):
            yield page
        if reader.problem:
            raise WrongState("SEGMENT_CORRUPT", reader.problem)

    async def sha256(self, data: bytes) -> str:
        """See `Codec`."""
        return await self._offload.run(lambda: hashlib.sha256(data).hexdigest())


def _page(events: Iterator[StoredEvent]) -> list[StoredEvent]:
    return list(islice(events, _PAGE_EVENTS))

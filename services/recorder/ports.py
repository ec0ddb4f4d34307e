"""What the recorder's domain needs from the outside world."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime
from typing import Protocol

from libs.blobs.port import BlobStore, blob_key
from libs.telemetry.port import TraceReader
from services.recorder.events import FinishedSegment, StoredEvent

__all__ = ["BlobStore", "Codec", "Decode", "Now", "Spool", "TraceReader", "blob_key"]

Decode = Callable[[StoredEvent], object | None]
"""The event's message as plain data (tectum.protocol.messages); None where it is of no known type or broken.
Elements of screens are left out."""

Now = Callable[[], datetime]
"""The time, aware UTC."""


class Spool(Protocol):
    """Segments of sessions that are not sealed yet, on local disk."""

    async def sessions(self) -> Sequence[str]:
        """Ids of the sessions that have segments here, oldest first."""
        ...

    async def mend(self, session_id: str) -> None:
        """Finish what a kill cut short: the whole events stay, a torn end is dropped.

        Raises:
            DependencyDown: the disk is full or does not answer (SPOOL_FULL, SPOOL_DOWN).
        """
        ...

    async def append(self, session_id: str, events: Sequence[StoredEvent]) -> None:
        """Return once the events survive a kill of this process. After an error `mend` before the next append.

        Raises:
            DependencyDown: as `mend`; then none or some of the events are there.
        """
        ...

    async def park(self, session_id: str) -> None:
        """Forget what is held in memory for the session; `mend` before the next append."""
        ...

    async def scan(self, session_id: str, visit: Callable[[StoredEvent], None]) -> None:
        """Call `visit`, on another thread, with each event in the order of the record."""
        ...

    async def finish(self, session_id: str) -> Sequence[FinishedSegment]:
        """Close the segment in progress and name them all. Errors as `mend`."""
        ...

    async def content(self, session_id: str, name: str) -> bytes:
        """The bytes of one segment."""
        ...

    async def remove(self, session_id: str) -> None:
        """Delete everything of the session."""
        ...


class Codec(Protocol):
    """Reads segments, off the event loop."""

    def read(self, data: bytes) -> AsyncIterator[Sequence[StoredEvent]]:
        """The segment's events, in pages.

        Raises:
            WrongState: it is cut or damaged (SEGMENT_CORRUPT), after what could be read.
        """
        ...

    async def sha256(self, data: bytes) -> str:
        """Lower-case hexadecimal."""
        ...

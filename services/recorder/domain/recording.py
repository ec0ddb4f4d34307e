"""Append what the log says to the segments of its session, once each, and seal what was closed."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from libs.errors import InvalidRequest, PlatformError, WrongState
from libs.events.port import Record
from services.recorder.domain.archive import Archive
from services.recorder.domain.facts import Facts
from services.recorder.domain.manifest import Manifest
from services.recorder.events import StoredEvent, stored
from services.recorder.ports import Decode, Spool
from tectum.protocol.messages import Control, ControlKind


@dataclass(frozen=True, slots=True)
class Limits:
    """What one recorder holds in memory."""

    open_sessions: int = 256
    """Sessions whose segment is in progress; one more parks the one that was silent for longest."""
    remembered_ids: int = 20_000
    """Event ids of one session by which a repeated publish is known."""
    remembered_sealed: int = 1_000
    """Sealed sessions that are known without asking the blob store."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """A record that cannot be in a trajectory; it belongs into the dead-letter topic."""

    record: Record
    error: PlatformError


@dataclass(frozen=True, slots=True)
class Sealed:
    """A trajectory that is complete."""

    manifest: Manifest
    manifest_key: str
    traceparent: str


class _Recording:
    """What is remembered of one session: which events are on disk."""

    def __init__(self, remembered_ids: int) -> None:
        self._limit = remembered_ids
        self._ids: OrderedDict[bytes, None] = OrderedDict()
        self._cursors: dict[tuple[str, int], int] = {}

    def fresh(self, records: Iterable[Record]) -> list[Record]:
        """Those that are not on disk: neither read before, nor published before under the same id."""
        found: list[Record] = []
        inside: set[bytes] = set()
        for record in records:
            known = _digest(record.topic, record.event.id)
            place = (record.topic, record.partition)
            again = record.offset < self._cursors.get(place, 0)
            if not again and known not in self._ids and known not in inside:
                inside.add(known)
                found.append(record)
        return found

    def remember(self, event: StoredEvent) -> None:
        self._ids[_digest(event.topic, event.id)] = None
        if len(self._ids) > self._limit:
            self._ids.popitem(last=False)
        place = (event.topic, event.partition)
        self._cursors[place] = max(self._cursors.get(place, 0), event.offset + 1)


class Recorder:
    """Not for concurrent use: the reactor calls one method at a time."""

    def __init__(self, spool: Spool, archive: Archive, decode: Decode, limits: Limits) -> None:
        self._spool = spool
        self._archive = archive
        self._decode = decode
        self._limits = limits
        self._open: OrderedDict[str, _Recording] = OrderedDict()
        self._sealed: OrderedDict[str, Manifest] = OrderedDict()
        self._closing: dict[str, None] = {}

    @property
    def closing(self) -> tuple[str, ...]:
        """Sessions that were closed and are not sealed."""
        return tuple(self._closing)

    async def resume(self) -> None:
        """Find out which sessions an earlier process left behind, and which of them were closed."""
        for session_id in await self._spool.sessions():
            await self._opened(session_id)

    async def record(self, records: Sequence[Record]) -> Sequence[Rejected]:
        """Return once every record is on disk, or was there before, or is answered as rejected.

        Raises:
            DependencyDown: the disk or the blob store refuses; call again with the same records.
        """
        rejected: list[Rejected] = []
        by_session: dict[str, list[Record]] = {}
        for record in records:
            if record.event.subject:
                by_session.setdefault(record.event.subject, []).append(record)
            else:
                missing = InvalidRequest("SUBJECT_MISSING", "expected a session id, got ''")
                rejected.append(Rejected(record, missing))
        for session_id, found in by_session.items():
            try:
                manifest = await self._find_sealed(session_id)
            except WrongState as error:
                rejected += (Rejected(late, error) for late in found)
                continue
            if manifest is None:
                await self._append(session_id, found)
            else:
                rejected += (late for late in map(_Late(manifest), found) if late is not None)
        return rejected

    async def seal(self, session_id: str, rest: AsyncIterator[Sequence[Record]]) -> Sealed:
        """Complete a closed session with `rest` (its records that were not read yet, in pages) and seal it.

        Calling again after any error, or after a kill, leads to the same manifest. `forget` it afterwards.

        Raises:
            DependencyDown: disk or blob store; call again.
            WrongState: there is a manifest that cannot be read (MANIFEST_CORRUPT); `set_aside` the session.
        """
        async for records in rest:
            mine = [record for record in records if record.event.subject == session_id]
            await self._append(session_id, mine)
        segments = await self._spool.finish(session_id)
        facts = Facts(session_id)

        def visit(event: StoredEvent) -> None:
            facts.add(event, self._decode(event))

        await self._spool.scan(session_id, visit)

        async def content(name: str) -> bytes:
            return await self._spool.content(session_id, name)

        manifest, key = await self._archive.store(facts, segments, content)
        return Sealed(manifest, key, facts.traceparent)

    async def forget(self, sealed: Sealed) -> None:
        """Delete the local copy of a sealed session; the blob store has it."""
        session_id = sealed.manifest.session_id
        self._sealed[session_id] = sealed.manifest
        if len(self._sealed) > self._limits.remembered_sealed:
            self._sealed.popitem(last=False)
        await self._spool.remove(session_id)
        self._open.pop(session_id, None)
        self._closing.pop(session_id, None)

    async def set_aside(self, session_id: str) -> None:
        """Leave a closed session, which cannot be sealed, on disk until the next start."""
        await self._spool.park(session_id)
        self._open.pop(session_id, None)
        self._closing.pop(session_id, None)

    async def _find_sealed(self, session_id: str) -> Manifest | None:
        if session_id in self._open:
            return None
        if session_id in self._sealed:
            return self._sealed[session_id]
        return await self._archive.find(session_id)

    async def _append(self, session_id: str, records: Sequence[Record]) -> None:
        recording = await self._opened(session_id)
        events = [stored(record) for record in recording.fresh(records)]
        if not events:
            return
        try:
            await self._spool.append(session_id, events)
        except PlatformError:
            # Nobody knows how much of it reached the disk: read it again before the next append.
            self._open.pop(session_id, None)
            raise
        for event in events:
            self._remember(session_id, recording, event)

    async def _opened(self, session_id: str) -> _Recording:
        recording = self._open.get(session_id)
        if recording is None:
            recording = _Recording(self._limits.remembered_ids)
            await self._spool.mend(session_id)
            remember = partial(self._remember, session_id, recording)
            await self._spool.scan(session_id, remember)
            while len(self._open) >= self._limits.open_sessions:
                silent, _ = self._open.popitem(last=False)
                await self._spool.park(silent)
            self._open[session_id] = recording
        self._open.move_to_end(session_id)
        return recording

    def _remember(self, session_id: str, recording: _Recording, event: StoredEvent) -> None:
        recording.remember(event)
        if event.type.endswith(".Control"):
            message = self._decode(event)
            if isinstance(message, Control) and message.kind is ControlKind.CLOSED:
                self._closing[session_id] = None


class _Late:
    """Tells a redelivered record of a sealed session (None) from one that came too late."""

    def __init__(self, manifest: Manifest) -> None:
        self._cursors = manifest.cursors

    def __call__(self, record: Record) -> Rejected | None:
        if record.offset < self._cursors.get(f"{record.topic}/{record.partition}", 0):
            return None
        return Rejected(
            record,
            WrongState(
                "TRAJECTORY_SEALED",
                f"expected events of {record.event.subject!r} before its trajectory was sealed,"
                f" got {record.event.type!r} {record.event.id!r}",
            ),
        )


def _digest(topic: str, event_id: str) -> bytes:
    return hashlib.blake2b(f"{topic}\n{event_id}".encode(), digest_size=12).digest()

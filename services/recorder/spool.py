"""Open segments on local disk: `<root>/<session>/<number>.mcap`, each session's id in `session`."""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from libs.errors import DependencyDown
from libs.offload import Offload
from services.recorder.domain.manifest import safe_name
from services.recorder.events import FinishedSegment, StoredEvent
from services.recorder.segments import SegmentReader, SegmentWriter

__all__ = ["DiskSpool"]

T = TypeVar("T")
_log = logging.getLogger(__name__)

_TRASH = "~trash"
_DAMAGED = "~damaged"
_NAME_FILE = "session"
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@dataclass(slots=True)
class _Current:
    """The segment in progress of one session."""

    path: Path
    writer: SegmentWriter
    size_bytes: int = 0


class DiskSpool:
    """Spool on a folder that one process owns.

    What `append` acknowledged survives a kill of the process; a power cut may cost what the kernel had not
    written yet, unless `fsync` is set. Files are opened for each append, so that handles stay few.
    """

    def __init__(
        self, root: Path, offload: Offload, *, segment_bytes: int, fsync: bool = False
    ) -> None:
        self._root = root
        self._offload = offload
        self._segment_bytes = segment_bytes
        self._fsync = fsync
        self._current: dict[str, _Current] = {}

    async def sessions(self) -> Sequence[str]:
        """See `Spool`."""
        return await self._offload.run(_guarded, self._sessions)

    async def mend(self, session_id: str) -> None:
        """See `Spool`."""
        await self._offload.run(_guarded, lambda: self._mend(session_id))

    async def append(self, session_id: str, events: Sequence[StoredEvent]) -> None:
        """See `Spool`."""
        await self._offload.run(_guarded, lambda: self._append(session_id, events))

    async def park(self, session_id: str) -> None:
        """See `Spool`."""
        self._current.pop(session_id, None)

    async def scan(self, session_id: str, visit: Callable[[StoredEvent], None]) -> None:
        """See `Spool`."""
        await self._offload.run(_guarded, lambda: self._scan(session_id, visit))

    async def finish(self, session_id: str) -> Sequence[FinishedSegment]:
        """See `Spool`."""
        return await self._offload.run(_guarded, lambda: self._finish(session_id))

    async def content(self, session_id: str, name: str) -> bytes:
        """See `Spool`."""
        return await self._offload.run(_guarded, (self._folder(session_id) / name).read_bytes)

    async def remove(self, session_id: str) -> None:
        """See `Spool`."""
        await self._offload.run(_guarded, lambda: self._remove(session_id))

    def _folder(self, session_id: str) -> Path:
        return self._root / safe_name(session_id)

    def _segments(self, session_id: str) -> list[Path]:
        return sorted(self._folder(session_id).glob("*.mcap"))

    def _sessions(self) -> list[str]:
        if not self._root.exists():
            return []
        # A kill between the two halves of a removal leaves trash.
        shutil.rmtree(self._root / _TRASH, ignore_errors=True)
        names = [path / _NAME_FILE for path in self._root.iterdir()]
        found = [path for path in names if path.exists()]
        found.sort(key=lambda path: path.stat().st_mtime)
        return [path.read_text() for path in found]

    def _append(self, session_id: str, events: Sequence[StoredEvent]) -> None:
        current = self._current.get(session_id) or self._begin(session_id)
        for event in events:
            current.writer.add(event)
        data = current.writer.take()
        if current.size_bytes + len(data) >= self._segment_bytes:
            data += current.writer.finish()
            self._current.pop(session_id)
        try:
            self._write(current, data)
        except OSError:
            self._current.pop(session_id, None)
            raise

    def _begin(self, session_id: str) -> _Current:
        folder = self._folder(session_id)
        folder.mkdir(parents=True, exist_ok=True)
        name = folder / _NAME_FILE
        if not name.exists():
            _replace(name, session_id.encode())
        last = self._segments(session_id)
        number = int(last[-1].stem) + 1 if last else 0
        current = _Current(folder / f"{number:06d}.mcap", SegmentWriter())
        self._current[session_id] = current
        return current

    def _write(self, current: _Current, data: bytes) -> None:
        with current.path.open("ab", buffering=0) as file:
            try:
                left = memoryview(data)
                while left:
                    left = left[file.write(left) :]
                if self._fsync:
                    os.fsync(file.fileno())
            except OSError:
                file.truncate(current.size_bytes)
                raise
        current.size_bytes += len(data)

    def _mend(self, session_id: str) -> None:
        self._current.pop(session_id, None)
        for path in self._segments(session_id):
            self._finished(path)

    def _finished(self, path: Path) -> tuple[bytes, int] | None:
        """Bytes and number of events of a segment, given an end if it has none; None where it held nothing."""
        data = path.read_bytes()
        reader = SegmentReader(data)
        found = list(reader)
        if reader.finished:
            return data, len(found)
        if not reader.cut:
            # Not what a kill leaves: keep the evidence, since what follows the damage is lost here.
            damaged = self._root / _DAMAGED
            damaged.mkdir(exist_ok=True)
            _replace(damaged / f"{path.parent.name}-{path.name}", data)
            _log.error("damaged segment", extra={"segment": str(path), "problem": reader.problem})
        if not found:
            path.unlink()
            return None
        writer = SegmentWriter()
        for event in found:
            writer.add(event)
        data = writer.finish()
        _replace(path, data)
        return data, len(found)

    def _scan(self, session_id: str, visit: Callable[[StoredEvent], None]) -> None:
        for path in self._segments(session_id):
            for event in SegmentReader(path.read_bytes()):
                visit(event)

    def _finish(self, session_id: str) -> list[FinishedSegment]:
        current = self._current.pop(session_id, None)
        if current is not None:
            self._write(current, current.writer.finish())
        found: list[FinishedSegment] = []
        for path in self._segments(session_id):
            finished = self._finished(path)
            if finished is not None:
                data, events = finished
                sha256 = hashlib.sha256(data).hexdigest()
                found.append(FinishedSegment(path.name, sha256, len(data), events))
        return found

    def _remove(self, session_id: str) -> None:
        self._current.pop(session_id, None)
        folder = self._folder(session_id)
        if folder.exists():
            # Renamed at once: half a removal would look like a session without its end.
            trash = self._root / _TRASH
            trash.mkdir(exist_ok=True)
            shutil.rmtree(folder.replace(trash / folder.name))


def _replace(path: Path, data: bytes) -> None:
    temporary = path.with_suffix(".part")
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def _guarded(call: Callable[[], T]) -> T:
    try:
        return call()
    except OSError as error:
        if error.errno in _FULL:
            raise DependencyDown(
                "SPOOL_FULL", f"expected room on the recorder's disk: {error.strerror}"
            ) from error
        raise DependencyDown("SPOOL_DOWN", f"the recorder's disk: {error}") from error

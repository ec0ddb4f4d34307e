"""Sealed trajectories in the blob store: store, list, get, verify, delete."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass

from libs.errors import InvalidRequest, NotFound, WrongState
from services.recorder.domain.facts import Facts
from services.recorder.domain.manifest import (
    NEWEST_PREFIX,
    Manifest,
    Segment,
    folder_key,
    newest_key,
    pointer_key,
)
from services.recorder.events import FinishedSegment, StoredEvent
from services.recorder.ports import BlobStore, Codec, Decode, Now, Spool, blob_key

_PAGE_MAX = 1_000
_PAGE_BYTES = 4 * 2**20
"""Of manifests as JSON, which is longer than protobuf; an answer may have 8 MiB."""


@dataclass(frozen=True, slots=True)
class Page:
    """Some manifests, newest first; `next_token` is empty on the last page."""

    manifests: tuple[Manifest, ...]
    next_token: str


@dataclass(frozen=True, slots=True)
class Verification:
    """What a comparison of a trajectory with its manifest found."""

    problems: tuple[str, ...]
    events: int
    blobs: int


class Archive:
    """The trajectory store. A trajectory exists from the moment its manifest does."""

    def __init__(
        self,
        blobs: BlobStore,
        codec: Codec,
        spool: Spool,
        decode: Decode,
        now: Now,
        *,
        privacy_level: str,
    ) -> None:
        self._blobs = blobs
        self._codec = codec
        self._spool = spool
        self._decode = decode
        self._now = now
        self._privacy_level = privacy_level

    async def store(
        self,
        facts: Facts,
        segments: Sequence[FinishedSegment],
        content: Callable[[str], Awaitable[bytes]],
    ) -> tuple[Manifest, str]:
        """Upload segments, then the pointers to the manifest, then the manifest; return it and its key.

        Where the manifest is there already, from before a kill, nothing is changed.
        """
        draft = facts.manifest((), sealed_at=0.0, privacy_level="")
        folder = folder_key(draft.session_id, draft.opened_at)
        key = f"{folder}/manifest.json"
        if await self._blobs.find(key) is None:
            kept = [
                await self._upload(folder, segment, await content(segment.name))
                for segment in segments
            ]
            manifest = facts.manifest(
                tuple(kept),
                sealed_at=self._now().timestamp(),
                privacy_level=self._privacy_level,
            )
            await self._blobs.put(newest_key(draft.session_id, draft.opened_at), key.encode())
            await self._blobs.put(pointer_key(draft.session_id), key.encode())
            await self._blobs.create(key, manifest.encoded())
        return Manifest.decoded(await self._blobs.get(key), key), key

    async def _upload(self, folder: str, segment: FinishedSegment, data: bytes) -> Segment:
        key = f"{folder}/{segment.name}"
        if not await self._blobs.create(key, data) and await self._blobs.get(key) != data:
            # Left by a kill before the manifest named it, so nobody relies on it.
            await self._blobs.put(key, data)
        return Segment(key, segment.sha256, segment.size_bytes, segment.events)

    async def find(self, session_id: str) -> Manifest | None:
        """The manifest of a sealed session; None where there is none.

        Raises:
            WrongState: it cannot be read (MANIFEST_CORRUPT).
        """
        pointer = pointer_key(session_id)
        if await self._blobs.find(pointer) is None:
            return None
        try:
            return await self._manifest((await self._blobs.get(pointer)).decode())
        except NotFound:
            return None

    async def get(self, session_id: str) -> Manifest:
        """The manifest of a sealed session.

        Raises:
            NotFound: nothing is known of the session (TRAJECTORY_NOT_FOUND).
            WrongState: it is being recorded (TRAJECTORY_OPEN); its manifest is damaged (MANIFEST_CORRUPT).
        """
        found = await self.find(session_id)
        if found is not None:
            return found
        if session_id in await self._spool.sessions():
            raise WrongState(
                "TRAJECTORY_OPEN", f"expected a sealed trajectory, {session_id!r} is being recorded"
            )
        raise NotFound("TRAJECTORY_NOT_FOUND", f"expected a recorded session, got {session_id!r}")

    async def list(self, page_size: int, page_token: str) -> Page:
        """Newest first; `page_size` 1 to 1,000, 100 where 0; a page of large manifests has fewer.

        Raises:
            InvalidRequest: size or token is wrong (PAGE_SIZE_INVALID, PAGE_TOKEN_INVALID).
        """
        if not 0 <= page_size <= _PAGE_MAX:
            raise InvalidRequest(
                "PAGE_SIZE_INVALID", f"expected page_size 0 to {_PAGE_MAX}, got {page_size!r}"
            )
        if page_token and not page_token.startswith(NEWEST_PREFIX):
            raise InvalidRequest(
                "PAGE_TOKEN_INVALID", f"expected a token of an earlier page, got {page_token!r}"
            )
        size = page_size or 100
        keys = [i.key async for i in self._blobs.list(NEWEST_PREFIX) if i.key > page_token]
        manifests: list[Manifest] = []
        room = _PAGE_BYTES
        for position, key in enumerate(keys):
            if len(manifests) == size or room <= 0:
                return Page(tuple(manifests), keys[position - 1])
            manifest = await self._behind(key)
            if manifest is not None:
                manifests.append(manifest)
                room -= len(manifest.encoded())
        return Page(tuple(manifests), "")

    async def events(self, manifest: Manifest) -> AsyncIterator[Sequence[StoredEvent]]:
        """Every event, in pages, in the order of the record.

        Raises:
            WrongState: a segment is missing or damaged (SEGMENT_CORRUPT), after all that could be read.
        """
        problem: WrongState | None = None
        for segment in manifest.segments:
            try:
                async for page in self._codec.read(await self._blobs.get(segment.key)):
                    yield page
            except NotFound:
                problem = problem or WrongState("SEGMENT_CORRUPT", f"{segment.key} is missing")
            except WrongState as error:
                problem = problem or WrongState(error.reason, f"{segment.key}: {error}")
        if problem is not None:
            raise problem

    async def verify(self, session_id: str) -> Verification:
        """Compare hashes, counts and blobs with the manifest. Errors as `get`, but for damage, which is reported."""
        try:
            manifest = await self.get(session_id)
        except WrongState as error:
            if error.reason != "MANIFEST_CORRUPT":
                raise
            return Verification((str(error),), 0, 0)
        problems: tuple[str, ...] = ()
        events = 0
        for segment in manifest.segments:
            counted, found = await self._verify_segment(segment)
            events, problems = events + counted, problems + found
        for ref in manifest.blobs:
            problems += await self._verify_bytes(blob_key(ref.sha256), ref.sha256, ref.size_bytes)
        return Verification(problems, events, len(manifest.blobs))

    async def delete(self, session_id: str) -> None:
        """Delete segments and blobs that nothing else refers to, then the manifest; call again after an error.

        Raises:
            NotFound, WrongState: as `get`.
        """
        manifest = await self.get(session_id)
        key = f"{folder_key(manifest.session_id, manifest.opened_at)}/manifest.json"
        needed = await self._referred_by_others(session_id)
        for segment in manifest.segments:
            await self._blobs.delete(segment.key)
        for ref in manifest.blobs:
            if ref.sha256 not in needed:
                await self._blobs.delete(blob_key(ref.sha256))
        await self._blobs.delete(key)
        await self._blobs.delete(pointer_key(session_id))
        await self._blobs.delete(newest_key(session_id, manifest.opened_at))

    async def _manifest(self, key: str) -> Manifest:
        return Manifest.decoded(await self._blobs.get(key), key)

    async def _behind(self, pointer: str) -> Manifest | None:
        """The manifest behind a pointer; None where a kill came before it, or it cannot be read (verify says so)."""
        try:
            return await self._manifest((await self._blobs.get(pointer)).decode())
        except (NotFound, WrongState):
            return None

    async def _verify_segment(self, segment: Segment) -> tuple[int, tuple[str, ...]]:
        problems = await self._verify_bytes(segment.key, segment.sha256, segment.size_bytes)
        counted = 0
        try:
            async for page in self._codec.read(await self._blobs.get(segment.key)):
                counted += len(page)
        except NotFound:
            return 0, problems
        except WrongState as error:
            problems += (f"{segment.key}: {error}",)
        if counted != segment.events:
            problems += (f"{segment.key}: expected {segment.events} events, got {counted}",)
        return counted, problems

    async def _verify_bytes(self, key: str, sha256: str, size_bytes: int) -> tuple[str, ...]:
        try:
            data = await self._blobs.get(key)
        except NotFound:
            return (f"{key}: missing",)
        if len(data) != size_bytes:
            return (f"{key}: expected {size_bytes} bytes, got {len(data)}",)
        found = await self._codec.sha256(data)
        return () if found == sha256 else (f"{key}: expected sha256 {sha256}, got {found}",)

    async def _referred_by_others(self, session_id: str) -> set[str]:
        needed: set[str] = set()
        async for info in self._blobs.list(NEWEST_PREFIX):
            other = await self._behind(info.key)
            if other is not None and other.session_id != session_id:
                needed.update(ref.sha256 for ref in other.blobs)
        for open_id in await self._spool.sessions():
            facts = Facts(open_id)

            def visit(event: StoredEvent, facts: Facts = facts) -> None:
                facts.add(event, self._decode(event))

            await self._spool.scan(open_id, visit)
            needed |= facts.blobs
        return needed

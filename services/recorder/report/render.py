"""Sessions in, one HTML page out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from functools import cache
from typing import Protocol

import jinja2

from libs.blobs.port import BlobStore, blob_key
from libs.clock import Clock
from libs.errors import InvalidRequest, NotFound, WrongState
from libs.offload import Offload
from services.recorder.decode import decode_whole
from services.recorder.domain.manifest import Manifest
from services.recorder.events import StoredEvent
from services.recorder.ports import Spool
from services.recorder.report.model import EpisodeView, PageView, StepView
from services.recorder.report.pictures import LEVELS, Level, data_uri, within
from services.recorder.report.view import Episode, milliseconds, page, seconds

_SESSIONS_MAX = 200
_CHUNK_BYTES = 256 * 1024
_PICTURE_BYTES_MAX = 32 * 2**20
_SAMPLE = 6


class Trajectories(Protocol):
    """What a report needs of the archive."""

    async def find(self, session_id: str) -> Manifest | None:
        """The manifest of a sealed session."""
        ...

    def events(self, manifest: Manifest) -> AsyncIterator[Sequence[StoredEvent]]:
        """Its events."""
        ...


class Reports:
    """Renders reports; one session is in memory at a time, besides what the page shows."""

    def __init__(
        self,
        trajectories: Trajectories,
        spool: Spool,
        blobs: BlobStore,
        offload: Offload,
        clock: Clock,
        *,
        size_bytes: int,
    ) -> None:
        self._trajectories = trajectories
        self._spool = spool
        self._blobs = blobs
        self._offload = offload
        self._clock = clock
        self._size_bytes = size_bytes

    async def render(self, session_ids: Sequence[str], title: str) -> AsyncIterator[bytes]:
        """One self-contained HTML page, in chunks of 256 KiB.

        Raises:
            InvalidRequest: none or too many sessions (SESSION_IDS_INVALID).
            NotFound: one of them is not known (TRAJECTORY_NOT_FOUND).
            WrongState: a manifest is damaged (MANIFEST_CORRUPT).
        """
        if not 1 <= len(session_ids) <= _SESSIONS_MAX:
            raise InvalidRequest(
                "SESSION_IDS_INVALID",
                f"expected 1 to {_SESSIONS_MAX} session ids, got {len(session_ids)}",
            )
        episodes = [await self._episode(session_id) for session_id in session_ids]
        view = page(title, episodes, self._clock.now())
        bare = await self._offload.run(to_html, view, {})
        pictures = await self._pictures(view, self._size_bytes - len(bare))
        html = await self._offload.run(to_html, view, pictures)
        for start in range(0, len(html), _CHUNK_BYTES):
            yield html[start : start + _CHUNK_BYTES]

    async def _episode(self, session_id: str) -> EpisodeView:
        episode = Episode(session_id)

        def add(events: Sequence[StoredEvent]) -> None:
            for event in events:
                message = decode_whole(event)
                if message is not None:
                    episode.add(message, event.appended_ns)

        manifest = await self._trajectories.find(session_id)
        problem = ""
        if manifest is not None:
            try:
                async for events in self._trajectories.events(manifest):
                    await self._offload.run(add, events)
            except WrongState as error:
                problem = str(error)
        elif session_id in await self._spool.sessions():
            await self._spool.scan(session_id, lambda event: add((event,)))
        else:
            raise NotFound("TRAJECTORY_NOT_FOUND", f"expected a session, got {session_id!r}")
        return await self._offload.run(episode.view, problem)

    async def _pictures(self, view: PageView, room: int) -> dict[str, str]:
        """Data URIs by sha256, at the best level at which all fit into `room` bytes."""
        wanted = _wanted(view)
        found: dict[str, str] = {}
        for level in LEVELS[await self._first_level(wanted, room) :]:
            found = {}
            left = room
            for sha256 in wanted:
                found[sha256] = await self._picture(sha256, level)
                left -= len(found[sha256])
                if left < 0 and level is not LEVELS[-1]:
                    break
            else:
                break
        return await self._offload.run(within, found, room)

    async def _first_level(self, wanted: Sequence[str], room: int) -> int:
        """The level to begin with, guessed from a few pictures: making each at every level takes long."""
        few = wanted[:: max(1, len(wanted) // _SAMPLE)]
        sizes = [len(await self._picture(sha256, LEVELS[0])) for sha256 in few]
        whole = sum(sizes) / max(1, len(sizes)) * len(wanted)
        shares = (level.share for level in LEVELS)
        return next((n for n, share in enumerate(shares) if whole * share <= room), len(LEVELS) - 1)

    async def _picture(self, sha256: str, level: Level) -> str:
        key = blob_key(sha256)
        info = await self._blobs.find(key)
        if info is None or info.size_bytes > _PICTURE_BYTES_MAX:
            return ""
        return await self._offload.run(data_uri, await self._blobs.get(key), level)


def _wanted(view: PageView) -> list[str]:
    found: dict[str, None] = {}
    for episode in view.episodes:
        pictures = [e.picture for e in episode.entries if isinstance(e, StepView)]
        for picture in (*pictures, episode.last):
            if picture is not None:
                found.setdefault(picture.sha256)
    return list(found)


def to_html(view: PageView, pictures: dict[str, str]) -> bytes:
    """The page; `pictures` are data URIs by sha256, and what is missing shows as an empty frame."""
    shown = {sha256: uri for sha256, uri in pictures.items() if uri}
    names = {sha256: f"p{number}" for number, sha256 in enumerate(shown)}
    template = _environment().get_template("report.html.j2")
    return template.render(page=view, pictures=shown, names=names).encode()


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("services.recorder.report", ""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["seconds"] = seconds
    environment.filters["milliseconds"] = milliseconds
    return environment

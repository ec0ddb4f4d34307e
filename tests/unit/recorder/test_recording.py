from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace

import pytest

from libs.blobs.memory import MemoryBlobStore
from libs.errors import DependencyDown, WrongState
from libs.events.port import Record
from services.recorder.domain.recording import Limits
from services.recorder.events import StoredEvent, stored
from tests.unit.recorder.conftest import Process
from tests.unit.recorder.sample import Story, solved, troubled

Start = Callable[..., Process]


async def _recorded(process: Process, session_id: str) -> list[StoredEvent]:
    manifest = await process.archive.get(session_id)
    return [event async for page in process.archive.events(manifest) for event in page]


def _expected(records: Sequence[Record]) -> list[StoredEvent]:
    return [stored(record) for record in records]


async def test_a_session_is_sealed_as_it_was(start: Start) -> None:
    process, records = start(), list(solved().records())
    for record in records:
        assert not await process.record([record])
    assert process.recorder.closing == ("s-solved",)
    sealed = await process.seal("s-solved")
    manifest = sealed.manifest
    assert await _recorded(process, "s-solved") == _expected(records)
    assert sealed.manifest_key == "trajectories/2026/11/22/s-solved/manifest.json"
    assert (manifest.success, manifest.scored_by, manifest.reward) == (True, "environment", 0.83)
    assert (manifest.tenant, manifest.environment) == ("local", "miniwob://login-user?seed=1003")
    assert manifest.instructions == ("Log in as “kim” and press Login.",)
    assert (manifest.steps, manifest.reason, len(manifest.blobs)) == (4, "DONE", 4)
    assert sum(segment.events for segment in manifest.segments) == len(records)
    assert not process.recorder.closing
    assert await process.spool.sessions() == []


async def test_redelivered_and_republished_events_are_recorded_once(start: Start) -> None:
    process, records = start(), list(solved().records())
    await process.record(records[:6])
    await process.record(records[:6])
    republished = replace(records[2], offset=records[2].offset + 100)
    await process.record([republished, *records[3:], records[4]])
    await process.seal("s-solved")
    assert await _recorded(process, "s-solved") == _expected(records)


@pytest.mark.parametrize("segment_bytes", [1 << 20, 2048])
async def test_a_kill_anywhere_loses_and_doubles_nothing(start: Start, segment_bytes: int) -> None:
    records = list(troubled().records())
    for record in records:
        process = start(segment_bytes=segment_bytes)
        await process.recorder.resume()
        await process.record([record])
        # Killed before the commit: the next process is given this record again.
        process = start(segment_bytes=segment_bytes)
        await process.record([record])
    await process.seal("s-troubled")
    assert await _recorded(process, "s-troubled") == _expected(records)


async def test_a_closed_session_is_found_again_after_a_kill(start: Start) -> None:
    await start().record(list(solved().records()))
    process = start()
    await process.recorder.resume()
    assert process.recorder.closing == ("s-solved",)


async def test_what_other_topics_still_held_is_part_of_it(start: Start) -> None:
    process, records = start(), list(solved().records())
    control = [r for r in records if r.topic == "tectum.control"]
    others = [r for r in records if r.topic != "tectum.control"]
    await process.record(control)
    await process.seal("s-solved", rest=others)
    recorded = await _recorded(process, "s-solved")
    assert sorted(e.id for e in recorded) == sorted(r.event.id for r in records)
    # When the subscription reaches them they are known, also by a later process.
    assert not await process.record(others)
    assert not await start().record(others)


async def test_an_event_after_the_seal_is_rejected_with_its_reason(start: Start) -> None:
    process, records = start(), list(solved().records())
    await process.record(records)
    await process.seal("s-solved")
    late = replace(records[-1], offset=99, event=replace(records[-1].event, id="late"))
    for recorder in (process, start()):
        (rejected,) = await recorder.record([late])
        assert rejected.error.reason == "TRAJECTORY_SEALED"
        assert rejected.record is late


async def test_an_event_without_a_session_is_rejected(start: Start) -> None:
    record = next(solved().records())
    (rejected,) = await start().record([replace(record, event=replace(record.event, subject=""))])
    assert rejected.error.reason == "SUBJECT_MISSING"


async def test_sealing_again_after_a_kill_changes_nothing(start: Start) -> None:
    process, records = start(), list(solved().records())
    await process.record(records)

    async def nothing() -> AsyncIterator[Sequence[Record]]:
        yield []

    first = await process.recorder.seal("s-solved", nothing())
    # Killed before it was announced.
    process = start()
    await process.recorder.resume()
    again = await process.seal("s-solved")
    assert again == first
    assert await _recorded(process, "s-solved") == _expected(records)


async def test_a_kill_between_the_uploads_is_made_good(start: Start) -> None:
    process, records = start(), list(solved().records())
    await process.record(records)
    folder = "trajectories/2026/11/22/s-solved"
    await process.blobs.put(f"{folder}/000000.mcap", b"half an upload")
    await process.seal("s-solved")
    assert await _recorded(process, "s-solved") == _expected(records)


async def test_many_sessions_at_once_in_little_memory(start: Start) -> None:
    stories = [Story(f"s-{n}") for n in range(9)]
    for story in stories:
        screen = story.paint("a", (40, 40), {}, "x")
        story.open("fake://", f"task {story.session_id}", screen)
        story.close("DONE")
    process = start(Limits(open_sessions=2))
    for records in zip(*(story.records() for story in stories), strict=True):
        await process.record(records)
    for story in stories:
        await process.seal(story.session_id)
        assert await _recorded(process, story.session_id) == _expected(list(story.records()))


class _FullBlobStore(MemoryBlobStore):
    full = True

    async def create(self, key: str, data: bytes) -> bool:
        if self.full:
            raise DependencyDown("BLOBS_FULL", "expected room")
        return await super().create(key, data)


async def test_a_full_blob_store_leaves_the_session_to_be_sealed_later(start: Start) -> None:
    process, records = start(), list(solved().records())
    full = _FullBlobStore()
    process.archive._blobs = full
    await process.record(records)
    with pytest.raises(DependencyDown):
        await process.seal("s-solved")
    assert process.recorder.closing == ("s-solved",)
    full.full = False
    await process.seal("s-solved")
    assert await _recorded(process, "s-solved") == _expected(records)


async def test_a_broken_manifest_stops_neither_the_recorder_nor_hides(start: Start) -> None:
    process, records = start(), list(solved().records())
    await process.keep(solved())
    await process.blobs.put("trajectories/2026/11/22/s-solved/manifest.json", b"{")
    late = replace(records[-1], offset=99)
    later = start()
    (rejected,) = await later.record([late])
    assert rejected.error.reason == "MANIFEST_CORRUPT"


async def test_a_session_that_cannot_be_sealed_stays_on_disk(start: Start) -> None:
    process, records = start(), list(solved().records())
    await process.record(records)
    await process.blobs.put("trajectories/2026/11/22/s-solved/manifest.json", b"{")
    with pytest.raises(WrongState) as caught:
        await process.seal("s-solved")
    assert caught.value.reason == "MANIFEST_CORRUPT"
    await process.recorder.set_aside("s-solved")
    assert not process.recorder.closing
    assert await process.spool.sessions() == ["s-solved"]
    # Once the operator has removed what was broken, the next start seals it.
    await process.blobs.delete("trajectories/2026/11/22/s-solved/manifest.json")
    process = start()
    await process.recorder.resume()
    await process.seal("s-solved")
    assert await _recorded(process, "s-solved") == _expected(records)

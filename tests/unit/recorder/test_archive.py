from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from libs.blobs.port import blob_key
from libs.errors import InvalidRequest, NotFound, WrongState
from services.recorder.domain import archive
from tests.unit.recorder.conftest import Process
from tests.unit.recorder.sample import START, solved, troubled

Start = Callable[..., Process]


async def test_newest_first_in_pages(start: Start) -> None:
    process = start()
    stories = [solved(f"s-{n}") for n in range(5)]
    for n, story in enumerate(stories):
        moved = START + timedelta(days=n * 9 % 5)
        story.published = [
            (
                topic,
                type(event)(
                    event.id, event.type, event.subject, event.data, event.time + (moved - START)
                ),
            )
            for topic, event in story.published
        ]
        await process.keep(story)
    found: list[str] = []
    token, pages = "", 0
    while True:
        page = await process.archive.list(2, token)
        found += [manifest.session_id for manifest in page.manifests]
        token, pages = page.next_token, pages + 1
        if not token:
            break
    # Days 0, 4, 3, 2, 1.
    assert found == ["s-1", "s-2", "s-3", "s-4", "s-0"]
    assert pages == 3


async def test_a_page_of_large_manifests_is_short(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = start()
    await process.keep(*(solved(f"s-{n}") for n in range(3)))
    monkeypatch.setattr(archive, "_PAGE_BYTES", 1)
    page = await process.archive.list(0, "")
    assert len(page.manifests) == 1
    rest = await process.archive.list(0, page.next_token)
    assert rest.manifests[0].session_id != page.manifests[0].session_id


@pytest.mark.parametrize(
    ("size", "token", "reason"), [(1001, "", "PAGE_SIZE_INVALID"), (1, "x", "PAGE_TOKEN_INVALID")]
)
async def test_wrong_pages(start: Start, size: int, token: str, reason: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await start().archive.list(size, token)
    assert caught.value.reason == reason


async def test_unknown_and_open(start: Start) -> None:
    process = start()
    with pytest.raises(NotFound) as missing:
        await process.archive.get("s-none")
    assert missing.value.reason == "TRAJECTORY_NOT_FOUND"
    await process.record(list(solved().records())[:3])
    for call in (process.archive.get, process.archive.verify, process.archive.delete):
        with pytest.raises(WrongState) as caught:
            await call("s-solved")
        assert caught.value.reason == "TRAJECTORY_OPEN"


async def test_what_is_whole_is_verified(start: Start) -> None:
    process = start()
    await process.keep(solved())
    found = await process.archive.verify("s-solved")
    assert found.problems == ()
    assert (found.events, found.blobs) == (len(list(solved().records())), 4)


async def test_verify_names_everything_that_is_wrong(start: Start) -> None:
    process = start(segment_bytes=4096)
    await process.keep(solved())
    manifest = await process.archive.get("s-solved")
    assert len(manifest.segments) == 1  # one batch, so one segment although it is large
    segment = manifest.segments[0]
    data = bytearray(await process.blobs.get(segment.key))
    data[300] ^= 0xFF  # inside the first chunk
    await process.blobs.put(segment.key, bytes(data))
    changed, missing, short = (blob_key(ref.sha256) for ref in manifest.blobs[:3])
    picture = bytearray(await process.blobs.get(changed))
    picture[0] ^= 1
    await process.blobs.put(changed, bytes(picture))
    await process.blobs.delete(missing)
    await process.blobs.put(short, b"x")

    problems = (await process.archive.verify("s-solved")).problems
    assert any(p.startswith(segment.key) and "sha256" in p for p in problems)
    assert any(p.startswith(segment.key) and "events" in p for p in problems)
    assert any(p.startswith(changed) and "sha256" in p for p in problems)
    assert f"{missing}: missing" in problems
    assert any(p.startswith(short) and "bytes" in p for p in problems)


async def test_of_a_damaged_segment_comes_what_can_be_read(start: Start) -> None:
    process = start()
    records = list(solved().records())
    for record in records:
        await process.record([record])
    await process.seal("s-solved")
    manifest = await process.archive.get("s-solved")
    key = manifest.segments[0].key
    data = bytearray(await process.blobs.get(key))
    data[len(data) // 3 : len(data) // 3 + 500] = bytes(500)
    await process.blobs.put(key, bytes(data))
    found: list[str] = []
    with pytest.raises(WrongState) as caught:
        async for page in process.archive.events(manifest):
            found += [event.id for event in page]
    assert caught.value.reason == "SEGMENT_CORRUPT"
    assert key in str(caught.value)
    assert 0 < len(found) < len(records)
    assert found == [record.event.id for record in records][: len(found)]


async def test_a_damaged_manifest_is_named(start: Start) -> None:
    process = start()
    await process.keep(solved(), troubled())
    key = "trajectories/2026/11/22/s-solved/manifest.json"
    for broken in (
        b"{",
        b"[]",
        b'{"version": 1}',
        b'{"version": 99, "segments": [], "blobs": [], "instructions": [], "session_id": "x"}',
    ):
        await process.blobs.put(key, broken)
        with pytest.raises(WrongState) as caught:
            await process.archive.get("s-solved")
        assert caught.value.reason == "MANIFEST_CORRUPT"
        (problem,) = (await process.archive.verify("s-solved")).problems
        assert key in problem
    page = await process.archive.list(0, "")
    assert [manifest.session_id for manifest in page.manifests] == ["s-troubled"]


async def test_delete_keeps_what_others_refer_to(start: Start) -> None:
    process = start()
    # Two sessions with the same screens; a third, still open, has those of the second story.
    await process.keep(solved("s-1"), solved("s-2"), troubled("s-3"))
    await process.record(list(troubled("s-4").records())[:-1])
    refs = (await process.archive.get("s-1")).blobs
    await process.archive.delete("s-1")
    assert (await process.archive.verify("s-2")).problems == ()
    await process.archive.delete("s-2")
    for ref in refs:
        assert await process.blobs.find(blob_key(ref.sha256)) is None
    await process.archive.delete("s-3")
    for sha256 in troubled().pictures:
        assert await process.blobs.find(blob_key(sha256)) is not None
    left = [info.key async for info in process.blobs.list("traject")]
    assert left == []
    with pytest.raises(NotFound):
        await process.archive.get("s-1")

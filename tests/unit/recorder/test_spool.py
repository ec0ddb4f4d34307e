from __future__ import annotations

import resource
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from libs.errors import DependencyDown
from libs.offload import Offload
from services.recorder.events import StoredEvent, stored
from services.recorder.spool import DiskSpool
from tests.unit.recorder.sample import solved


@pytest.fixture
async def offload() -> AsyncIterator[Offload]:
    offload = Offload("spool", threads=1, waiting=8)
    yield offload
    await offload.aclose()


@pytest.fixture
def spool(tmp_path: Path, offload: Offload) -> DiskSpool:
    return DiskSpool(tmp_path / "spool", offload, segment_bytes=1 << 20)


@pytest.fixture
def small_files() -> Iterator[None]:
    """No file may grow beyond 8 KiB: the kernel refuses as it does on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def _events() -> list[StoredEvent]:
    return [stored(record) for record in solved().records()]


async def _scan(spool: DiskSpool, session_id: str) -> list[StoredEvent]:
    found: list[StoredEvent] = []
    await spool.scan(session_id, found.append)
    return found


async def test_what_was_appended_is_scanned_in_order(spool: DiskSpool) -> None:
    events = _events()
    await spool.append("s", events[:5])
    await spool.append("s", events[5:])
    assert await _scan(spool, "s") == events
    assert await spool.sessions() == ["s"]


async def test_a_later_process_goes_on_in_a_new_segment(
    spool: DiskSpool, tmp_path: Path, offload: Offload
) -> None:
    events = _events()
    await spool.append("s", events[:5])
    path = next((tmp_path / "spool" / "s").glob("*.mcap"))
    whole = path.read_bytes()
    path.write_bytes(whole + whole[-700:-300])  # a torn write behind what was acknowledged

    later = DiskSpool(tmp_path / "spool", offload, segment_bytes=1 << 20)
    assert await later.sessions() == ["s"]
    await later.mend("s")
    assert await _scan(later, "s") == events[:5]
    await later.append("s", events[5:])
    assert await _scan(later, "s") == events
    segments = await later.finish("s")
    assert [segment.events for segment in segments] == [5, len(events) - 5]


async def test_a_segment_that_is_large_is_followed_by_another(
    tmp_path: Path, offload: Offload
) -> None:
    spool = DiskSpool(tmp_path, offload, segment_bytes=4096)
    events = _events()
    for event in events:
        await spool.append("s", [event])
    segments = await spool.finish("s")
    assert len(segments) > 2
    assert sum(segment.events for segment in segments) == len(events)
    assert await _scan(spool, "s") == events


async def test_parking_forgets_nothing(spool: DiskSpool) -> None:
    events = _events()
    await spool.append("s", events[:3])
    await spool.park("s")
    await spool.mend("s")
    await spool.append("s", events[3:])
    assert await _scan(spool, "s") == events


async def test_removed_is_removed(spool: DiskSpool) -> None:
    await spool.append("s", _events())
    await spool.remove("s")
    await spool.remove("s")
    assert await spool.sessions() == []
    assert await _scan(spool, "s") == []


async def test_an_id_that_is_no_file_name(spool: DiskSpool, tmp_path: Path) -> None:
    for session_id in ("../../up", "a/b", "", ".hidden", "ü", "x" * 300):
        await spool.append(session_id, _events()[:1])
    assert sorted(await spool.sessions()) == sorted(
        ["../../up", "a/b", "", ".hidden", "ü", "x" * 300]
    )
    assert [path.name for path in tmp_path.iterdir()] == ["spool"]


@pytest.mark.usefixtures("small_files")
async def test_a_full_disk_refuses_and_leaves_what_was_there(spool: DiskSpool) -> None:
    events = _events()
    written = 0
    with pytest.raises(DependencyDown) as caught:
        for event in events * 20:
            await spool.append("s", [event])
            written += 1
    assert caught.value.reason == "SPOOL_FULL"
    assert written > 0
    assert await _scan(spool, "s") == (events * 20)[:written]


async def test_after_the_disk_was_full_it_goes_on(
    spool: DiskSpool, small_files: None, request: pytest.FixtureRequest
) -> None:
    events = _events()
    await spool.append("s", events[:4])
    with pytest.raises(DependencyDown):
        await spool.append("s", events * 20)
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    await spool.mend("s")
    await spool.append("s", events[4:])
    assert await _scan(spool, "s") == events

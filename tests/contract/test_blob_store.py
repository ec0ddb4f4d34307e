"""The blob store's contract, in memory and on the filesystem."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from libs.blobs.filesystem import FilesystemBlobStore
from libs.blobs.memory import MemoryBlobStore
from libs.blobs.port import BlobStore
from libs.errors import DependencyDown
from tests.contract.blob_store_contract import SETTINGS, BlobStoreContract, listed


class TestMemory(BlobStoreContract):
    @pytest.fixture
    def store(self) -> BlobStore:
        return MemoryBlobStore(SETTINGS)


class TestFilesystem(BlobStoreContract):
    @pytest.fixture(params=[False, True], ids=["plain", "fsync"])
    async def store(
        self, tmp_path: Path, request: pytest.FixtureRequest
    ) -> AsyncIterator[FilesystemBlobStore]:
        settings = SETTINGS.model_copy(update={"fsync": request.param})
        store = await FilesystemBlobStore.open(tmp_path / "blobs", settings=settings)
        yield store
        # Nothing half written stays behind, whatever the test did.
        assert list((tmp_path / "blobs" / "~tmp").iterdir()) == []
        await store.aclose()

    async def test_what_was_stored_is_there_after_opening_anew(self, tmp_path: Path) -> None:
        store = await FilesystemBlobStore.open(tmp_path, settings=SETTINGS)
        await store.put("a/b", b"1")
        await store.aclose()
        store = await FilesystemBlobStore.open(tmp_path, settings=SETTINGS)
        assert await store.get("a/b") == b"1"
        assert (tmp_path / "a" / "b").read_bytes() == b"1"
        await store.aclose()

    async def test_what_a_killed_writer_left_is_cleared(self, tmp_path: Path) -> None:
        process = subprocess.Popen([sys.executable, "-c", ""])
        process.wait()
        temporary = tmp_path / "~tmp"
        temporary.mkdir()
        (temporary / f"{process.pid}-7").write_bytes(b"half")
        (temporary / f"{os.getpid()}-7").write_bytes(b"of somebody alive")
        store = await FilesystemBlobStore.open(tmp_path, settings=SETTINGS)
        assert [path.name for path in temporary.iterdir()] == [f"{os.getpid()}-7"]
        assert await listed(store, "") == []
        await store.aclose()

    async def test_a_folder_that_cannot_be_used(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("x")
        with pytest.raises(DependencyDown) as caught:
            await FilesystemBlobStore.open(tmp_path / "file", settings=SETTINGS)
        assert caught.value.reason == "BLOBS_DOWN"


@pytest.fixture
def small_files() -> Iterator[None]:
    """The kernel lets this process write files of 8 KiB only: the nearest to a full disk without root."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def test_no_space_is_said_and_recovers(tmp_path: Path, small_files: None) -> None:
    store = await FilesystemBlobStore.open(tmp_path, settings=SETTINGS)
    await store.put("a", b"before")
    for call in (store.put, store.create):
        with pytest.raises(DependencyDown) as caught:
            await call("b", b"x" * 20_000)
        assert caught.value.reason == "BLOBS_FULL"
    with pytest.raises(DependencyDown):
        await store.put("a", b"x" * 20_000)
    assert await store.get("a") == b"before"
    assert list((tmp_path / "~tmp").iterdir()) == []
    await store.put("b", b"x" * 1000)
    assert await listed(store, "") == ["a", "b"]
    await store.aclose()


async def test_a_full_disk_is_said_and_recovers(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"needs the right to mount a small disk: {mounted.stderr.strip()}")
    try:
        store = await FilesystemBlobStore.open(disk, settings=SETTINGS)
        await store.put("a", b"x" * 30_000)
        with pytest.raises(DependencyDown) as caught:
            await store.put("b", b"x" * 60_000)
        assert caught.value.reason == "BLOBS_FULL"
        assert await listed(store, "") == ["a"]
        await store.delete("a")
        await store.put("b", b"x" * 40_000)
        await store.aclose()
    finally:
        subprocess.run(["umount", str(disk)], check=True)

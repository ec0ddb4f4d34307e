"""What every BlobStore adapter must do. Subclasses supply the `store` fixture, made with SETTINGS."""

from __future__ import annotations

import asyncio

import pytest

from libs.blobs.port import BlobInfo, BlobStore, blob_key
from libs.blobs.settings import BlobSettings
from libs.errors import InvalidRequest, NotFound

BLOB_BYTES_MAX = 1_000_000
SETTINGS = BlobSettings(blob_bytes_max=BLOB_BYTES_MAX)


async def listed(store: BlobStore, prefix: str) -> list[str]:
    return [info.key async for info in store.list(prefix)]


class BlobStoreContract:
    async def test_get_returns_what_put_stored(self, store: BlobStore) -> None:
        for data in (b"", b"\x00\xff", b"x" * BLOB_BYTES_MAX):
            await store.put("a/b=c/d-e_f.bin", data)
            assert await store.get("a/b=c/d-e_f.bin") == data

    async def test_put_replaces_and_create_does_not(self, store: BlobStore) -> None:
        await store.put("a", b"1")
        await store.put("a", b"2")
        assert await store.create("a", b"3") is False
        assert await store.get("a") == b"2"
        assert await store.create("b/c", b"4") is True
        assert await store.get("b/c") == b"4"

    async def test_of_many_creators_one_wins(self, store: BlobStore) -> None:
        async with asyncio.TaskGroup() as tasks:
            made = [tasks.create_task(store.create("k/x", b"%d" % n)) for n in range(20)]
        winners = [n for n, task in enumerate(made) if task.result()]
        assert len(winners) == 1
        assert await store.get("k/x") == b"%d" % winners[0]

    async def test_what_is_missing(self, store: BlobStore) -> None:
        await store.put("folder/inside", b"1")
        for key in ("missing", "no/such/folder", "folder", "folder/inside/deeper"):
            with pytest.raises(NotFound, match=key) as caught:
                await store.get(key)
            assert caught.value.reason == "BLOB_NOT_FOUND"
            assert await store.find(key) is None
            await store.delete(key)
        assert await store.get("folder/inside") == b"1"

    async def test_find_and_delete(self, store: BlobStore) -> None:
        await store.put("a/b", b"123")
        assert await store.find("a/b") == BlobInfo("a/b", 3)
        await store.delete("a/b")
        assert await store.find("a/b") is None
        await store.delete("a/b")
        # Its folder is gone as well, so the name is free.
        await store.put("a", b"1")
        assert await listed(store, "") == ["a"]

    async def test_list_is_by_key_and_by_prefix(self, store: BlobStore) -> None:
        keys = ["a-b", "a.b", "a/b", "a/b.c", "a/c/d", "a0", "ab/c", "z"]
        for key in reversed(keys):
            await store.put(key, key.encode())
        assert keys == sorted(keys)
        assert await listed(store, "") == keys
        assert await listed(store, "a") == keys[:-1]
        assert await listed(store, "a/") == ["a/b", "a/b.c", "a/c/d"]
        assert await listed(store, "a/b") == ["a/b", "a/b.c"]
        assert await listed(store, "a/c/d") == ["a/c/d"]
        assert await listed(store, "nothing") == []
        assert [info.size_bytes async for info in store.list("ab")] == [4]

    async def test_a_long_list_is_whole(self, store: BlobStore) -> None:
        keys = [f"many/{n:04d}" for n in range(600)]
        for key in keys:
            await store.put(key, b"")
        assert await listed(store, "many/") == keys

    @pytest.mark.parametrize(
        "key",
        ["", "/", "/a", "a/", "a//b", ".", "..", "a/../b", "a/./b", "a b", "ä", "a\\b", "a\n", "~tmp/x",
         "x" * 513, "x" * 256],
    )  # fmt: skip
    async def test_malformed_keys_are_refused(self, store: BlobStore, key: str) -> None:
        for call in (
            lambda: store.put(key, b""),
            lambda: store.create(key, b""),
            lambda: store.get(key),
            lambda: store.find(key),
            lambda: store.delete(key),
        ):
            with pytest.raises(InvalidRequest) as caught:
                await call()
            assert caught.value.reason == "BLOB_KEY_MALFORMED"

    async def test_too_large(self, store: BlobStore) -> None:
        for call in (store.put, store.create):
            with pytest.raises(InvalidRequest, match=str(BLOB_BYTES_MAX)) as caught:
                await call("a", b"x" * (BLOB_BYTES_MAX + 1))
            assert caught.value.reason == "BLOB_TOO_LARGE"
        assert await store.find("a") is None

    async def test_a_name_is_a_blob_or_a_folder(self, store: BlobStore) -> None:
        await store.put("a/b", b"1")
        await store.put("c", b"2")
        for key in ("a", "c/d", "c/d/e"):
            for call in (store.put, store.create):
                with pytest.raises(InvalidRequest) as caught:
                    await call(key, b"3")
                assert caught.value.reason == "BLOB_KEY_CLASHES"
        assert await listed(store, "") == ["a/b", "c"]

    async def test_readers_see_the_old_or_the_new(self, store: BlobStore) -> None:
        texts = [bytes([n]) * 50_000 for n in range(20)]
        await store.put("hot", texts[0])

        async def write() -> None:
            for text in texts:
                await store.put("hot", text)

        async with asyncio.TaskGroup() as tasks:
            writing = tasks.create_task(write())
            while not writing.done():
                assert await store.get("hot") in texts

    async def test_folders_come_and_go_under_load(self, store: BlobStore) -> None:
        async def churn(name: str) -> None:
            for _ in range(30):
                await store.put(f"x/y/{name}", b"1")
                assert await store.get(f"x/y/{name}") == b"1"
                await store.delete(f"x/y/{name}")

        async with asyncio.TaskGroup() as tasks:
            for name in "abcd":
                tasks.create_task(churn(name))
        assert await listed(store, "") == []

    def test_the_key_of_content(self) -> None:
        assert blob_key("ab" + "0" * 62) == "blobs/ab/ab" + "0" * 62

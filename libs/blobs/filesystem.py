"""The blob store in a folder: a blob is there whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
from builtins import list as list_
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import ParamSpec, Self, TypeVar

from libs.blobs.keys import check_key, check_size, clash, missing
from libs.blobs.port import BlobInfo
from libs.blobs.settings import BlobSettings
from libs.errors import DependencyDown, NotFound
from libs.offload import Offload

P = ParamSpec("P")
R = TypeVar("R")

_TEMPORARY = "~tmp"
"""Folder of blobs being written; `~` is in no key. Names begin with the writer's pid."""
_PAGE = 256
_TRIES = 20
"""A folder may vanish between its making and its use, when the last blob in it is deleted."""
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class FilesystemBlobStore:
    """A BlobStore; see the port. The key is the path below the folder. Make it with `open`.

    Several processes may share a folder. A kill of the process never leaves half a blob; without
    `fsync` a power cut may lose the newest.
    """

    def __init__(self, root: Path, settings: BlobSettings, workers: Offload) -> None:
        self._root = root
        self._settings = settings
        self._workers = workers
        self._count = itertools.count()

    @classmethod
    async def open(cls, root: Path, *, settings: BlobSettings) -> Self:
        """Use `root`, which is made where it is missing; clear what killed processes left half written.

        Raises:
            DependencyDown: the folder cannot be used (BLOBS_DOWN, BLOBS_FULL).
        """
        workers = Offload("blobs", threads=settings.threads, waiting=settings.waiting_max)
        store = cls(root, settings, workers)
        try:
            await store._run("", store._prepare)
        except BaseException:
            await workers.aclose()
            raise
        return store

    async def put(self, key: str, data: bytes) -> None:
        """Store, replacing what was there."""
        self._check(key, data)
        await self._run(key, self._write, key, data, os.replace)

    async def create(self, key: str, data: bytes) -> bool:
        """Store unless something is there; answer whether it was stored."""
        self._check(key, data)
        return await self._run(key, self._create, key, data)

    async def get(self, key: str) -> bytes:
        """Return the bytes under `key`."""
        check_key(key)
        return await self._run(key, (self._root / key).read_bytes)

    async def find(self, key: str) -> BlobInfo | None:
        """What is known of `key`; None where nothing was stored."""
        check_key(key)
        try:
            return await self._run(key, self._info, key)
        except NotFound:
            return None

    async def list(self, prefix: str) -> AsyncIterator[BlobInfo]:
        """Blobs whose key starts with `prefix`, by key."""
        found = self._walk(self._root, "", prefix)
        while page := await self._run(prefix, _take, found):
            for info in page:
                yield info

    async def delete(self, key: str) -> None:
        """Delete; deleting what is not there changes nothing. Folders that become empty go too."""
        check_key(key)
        with contextlib.suppress(NotFound):
            await self._run(key, self._remove, key)

    async def aclose(self) -> None:
        """Stop, once what runs is done."""
        await self._workers.aclose()

    def _check(self, key: str, data: bytes) -> None:
        check_key(key)
        check_size(key, len(data), self._settings.blob_bytes_max)

    async def _run(self, key: str, call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a blocking call on a worker and translate what the system says."""
        try:
            return await self._workers.run(partial(call, *args, **kwargs))
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            raise missing(key) from None
        except OSError as error:
            if error.errno in _FULL:
                raise DependencyDown(
                    "BLOBS_FULL", "the blob store needs space on its disk, there is none"
                ) from error
            raise DependencyDown(
                "BLOBS_DOWN", f"the blob store's folder cannot be used: {error.strerror}"
            ) from error

    def _prepare(self) -> None:
        temporary = self._root / _TEMPORARY
        try:
            temporary.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            # Here it is no missing blob but a file where the folder should be.
            raise OSError(errno.EIO, f"{self._root} is no folder") from error
        for path in temporary.iterdir():
            pid = path.name.split("-")[0]
            if pid.isdigit() and not _alive(int(pid)):
                path.unlink(missing_ok=True)

    def _write(self, key: str, data: bytes, move: Callable[[Path, Path], None]) -> None:
        """Write beside, then move into place: readers see the old blob or the new one."""
        target = self._root / key
        temporary = self._root / _TEMPORARY / f"{os.getpid()}-{next(self._count)}"
        try:
            with temporary.open("xb") as file:
                file.write(data)
                if self._settings.fsync:
                    file.flush()
                    os.fsync(file.fileno())
            self._move(key, temporary, target, move)
        finally:
            temporary.unlink(missing_ok=True)
        if self._settings.fsync:
            for folder in target.parents:
                _sync_folder(folder)
                if folder == self._root:
                    break

    def _move(
        self, key: str, temporary: Path, target: Path, move: Callable[[Path, Path], None]
    ) -> None:
        for _ in range(_TRIES):
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
            except (FileExistsError, NotADirectoryError, FileNotFoundError):
                # A blob is where a folder should be, or a folder vanished while it was looked at.
                if any(folder.is_file() for folder in target.parents):
                    raise clash(key) from None
                continue
            try:
                move(temporary, target)
            except FileNotFoundError:
                continue
            except (NotADirectoryError, IsADirectoryError):
                raise clash(key) from None
            except FileExistsError:
                if target.is_dir():
                    raise clash(key) from None
                raise
            return
        raise OSError(errno.EIO, "its folder keeps vanishing")

    def _create(self, key: str, data: bytes) -> bool:
        if (self._root / key).is_file():
            return False
        try:
            self._write(key, data, os.link)
        except FileExistsError:
            return False
        return True

    def _info(self, key: str) -> BlobInfo:
        path = self._root / key
        status = path.stat()
        if path.is_dir():
            raise IsADirectoryError(key)
        return BlobInfo(key, status.st_size)

    def _remove(self, key: str) -> None:
        path = self._root / key
        path.unlink()
        for folder in path.parents:
            if folder == self._root:
                return
            try:
                folder.rmdir()
            except OSError:
                # Not empty, or another was quicker.
                return

    def _walk(self, folder: Path, above: str, prefix: str) -> Iterator[BlobInfo]:
        """Depth first; a folder sorts as its name and a slash, which is the order of the keys."""
        try:
            with os.scandir(folder) as entries:
                names = sorted(
                    (above + entry.name + ("/" if entry.is_dir() else ""))
                    for entry in entries
                    if entry.name != _TEMPORARY
                )
        except (FileNotFoundError, NotADirectoryError):
            return
        for name in names:
            if name.endswith("/"):
                if name.startswith(prefix) or prefix.startswith(name):
                    yield from self._walk(self._root / name, name, prefix)
            elif name.startswith(prefix):
                with contextlib.suppress(FileNotFoundError, IsADirectoryError):
                    yield self._info(name)


def _take(found: Iterator[BlobInfo]) -> list_[BlobInfo]:
    return list_(itertools.islice(found, _PAGE))


def _sync_folder(folder: Path) -> None:
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except FileNotFoundError:
        # Another deleted the blob meanwhile, and its folder with it.
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True

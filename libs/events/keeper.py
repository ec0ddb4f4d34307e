"""Who may use the embedded log's folder, and what is done there in the background."""

from __future__ import annotations

import fcntl
import logging
import os
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Self

from libs.errors import DependencyDown, WrongState
from libs.events import store
from libs.events.settings import EventSettings

_logger = logging.getLogger(__name__)

_LOOK_S = 1.0
"""Pause between two looks at the size of the write-ahead file, in seconds."""


class FolderLock:
    """An exclusive lock on a folder; the kernel frees it when the process ends, however it ends."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def take(cls, folder: Path) -> Self:
        """Lock `folder`, which is made where it is missing.

        Raises:
            WrongState: another process has it (LOG_LOCKED; metadata `pid`).
            DependencyDown: the folder cannot be used (LOG_DOWN).
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(folder / "log.lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise DependencyDown(
                "LOG_DOWN", f"expected a folder to write in, got {error.strerror}: {folder}"
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
            os.close(descriptor)
            raise WrongState(
                "LOG_LOCKED",
                f"expected an event log of our own in {folder}, process {pid} has it open",
                pid=pid,
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        return cls(descriptor)

    def release(self) -> None:
        """Let others have the folder."""
        os.close(self._descriptor)


class Keeper:
    """A thread that folds the write-ahead file into the database beside the writer, and asks for cleaning.

    Folding waits for the disk; done here, no publish waits with it.
    """

    def __init__(
        self,
        path: Path,
        settings: EventSettings,
        clean: Callable[[sqlite3.Connection], None],
        put: Callable[[Callable[[sqlite3.Connection], None]], None],
    ) -> None:
        self._path = path
        self._settings = settings
        self._clean = clean
        self._put = put
        self._stop = threading.Event()
        self._cleaned = threading.Event()
        self._cleaned.set()
        self._thread = threading.Thread(target=self._work, name="log-keeper", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread. Blocks."""
        self._stop.set()
        self._thread.join()

    def _work(self) -> None:
        interval_s = self._settings.clean_interval_s
        waited_s = 0.0
        pause_s = min(_LOOK_S, interval_s)
        while not self._stop.wait(pause_s):
            self._fold()
            waited_s += pause_s
            # One round at a time: a writer that is behind is not given more of them.
            if waited_s >= interval_s and self._cleaned.is_set():
                waited_s = 0.0
                self._cleaned.clear()
                self._put(self._clean_once)

    def _clean_once(self, connection: sqlite3.Connection) -> None:
        try:
            self._clean(connection)
        finally:
            self._cleaned.set()

    def _fold(self) -> None:
        try:
            if Path(f"{self._path}-wal").stat().st_size < self._settings.checkpoint_bytes:
                return
            connection = store.connect(self._path, self._settings, writer=False)
            try:
                connection.execute("PRAGMA query_only = OFF")
                connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            finally:
                connection.close()
        except (OSError, sqlite3.Error, DependencyDown) as error:
            _logger.warning(
                "the write-ahead file could not be folded in", extra={"error": str(error)}
            )

"""Writing so that it stays written: fsync, rename, fsync the folder, and room kept free on the disk.

A rename is durable only when the folder that holds the new name is synced as well. An fsync that fails may have lost what earlier
writes put down, so it is never tried again: the process must stop and recover (JournalStopped).
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from gateway.core.errors import JournalStopped, NoRoom

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})  # EFBIG: RLIMIT_FSIZE or the file system's own limit


@contextmanager
def translating(path: Path) -> Iterator[None]:
    """Turn a failed write into NoRoom when the disk (or a limit) is full; every other OSError stays what it is."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise NoRoom(f"no room to write {path.name}: {error.strerror}", path=str(path)) from error
        raise


def sync(descriptor: int) -> None:
    """Sync an open file. Raises JournalStopped when it fails: what was written before is of unknown fate."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        raise JournalStopped(f"fsync failed ({error.strerror}): stop, check the disk, start again", errno=error.errno) from error


def sync_folder(folder: Path) -> None:
    """Make the names in ``folder`` durable. Raises JournalStopped."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        sync(descriptor)
    finally:
        os.close(descriptor)


def write_all(descriptor: int, data: bytes, path: Path) -> None:
    """Write every byte; a short write is continued. Raises NoRoom."""
    view = memoryview(data)
    with translating(path):
        while view:
            view = view[os.write(descriptor, view) :]


def write_durably(path: Path, data: bytes) -> None:
    """Give ``path`` this content, complete or not at all. Durable on return. Raises NoRoom, JournalStopped."""
    temporary = path.with_name(path.name + ".new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        write_all(descriptor, data, path)
        sync(descriptor)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    finally:
        os.close(descriptor)
    temporary.replace(path)
    sync_folder(path.parent)


class Headroom:
    """Bytes that must stay free on one disk, counting what open writers were promised and have not written yet."""

    def __init__(self, folder: Path, min_free: int) -> None:
        self._folder = folder
        self._min_free = min_free
        self._promised = 0
        self._lock = threading.Lock()

    def check(self, size: int = 0) -> None:
        """Raises NoRoom when ``size`` more bytes would leave less than the head-room."""
        with self._lock:
            self._check(size)

    def free(self) -> int:
        """Bytes free and promised to nobody."""
        disk = os.statvfs(self._folder)
        with self._lock:
            return disk.f_bavail * disk.f_frsize - self._promised

    def promise(self, size: int) -> None:
        """Set ``size`` bytes aside for a writer. Raises NoRoom."""
        with self._lock:
            self._check(size)
            self._promised += size

    @contextmanager
    def promised(self, size: int) -> Iterator[Promise]:
        """``promise`` for the time of one writing; what was not settled by its end is given back. Raises NoRoom."""
        self.promise(size)
        promise = Promise(self, size)
        try:
            yield promise
        finally:
            self.settle(promise.left)

    def settle(self, size: int) -> None:
        """Promised bytes were written, or will not be."""
        with self._lock:
            self._promised -= size

    def _check(self, size: int) -> None:
        disk = os.statvfs(self._folder)
        free = disk.f_bavail * disk.f_frsize
        if free - self._promised - size < self._min_free:
            raise NoRoom(
                f"{size} bytes wanted, {free} free of which {self._promised} are promised and {self._min_free} must stay free",
                wanted=size,
                free=free,
                min_free=self._min_free,
            )


class Promise:
    """Bytes set aside for one writer, less what it has written."""

    def __init__(self, headroom: Headroom, size: int) -> None:
        self._headroom = headroom
        self.left = size

    def settle(self, size: int) -> None:
        """So many of them are on the disk now."""
        self.left -= size
        self._headroom.settle(size)

"""The one door to the disk: writing so that it stays written, and room kept free.

Every byte the store, the home and the pilot authority keep goes through these few verbs (the folder office has its own few, below
folders strangers write into: ``adapters/folder_files.py``); a test sees to it that nobody else writes, renames or syncs.

A name is durable only when the folder that holds it is synced as well; so is a folder's own name in the folder above. An fsync that
fails may have lost what earlier writes put down, so it is never tried again: the process must stop and recover (JournalStopped).
"""

from __future__ import annotations

import errno
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from gateway.core.errors import JournalStopped, NoRoom

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})  # EFBIG: RLIMIT_FSIZE or the file system's own limit
_FAILED = frozenset({errno.EIO, errno.EROFS})  # a disk that fails, or that the kernel has closed after it failed


@contextmanager
def translating(path: Path) -> Iterator[None]:
    """Turn a failed write into NoRoom when the disk (or a limit) is full, into JournalStopped when it fails or may only be read."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise NoRoom(f"no room to write {path.name}: {error.strerror}", path=str(path)) from error
        if error.errno in _FAILED:
            message = f"{path} cannot be written ({error.strerror}): stop, check the disk, start again"
            raise JournalStopped(message, path=str(path), errno=error.errno) from error
        raise


@contextmanager
def telling(failed: Callable[[JournalStopped], None]) -> Iterator[None]:
    """Tell whoever ends the process of a failing disk, whoever asked: the asker may be a peer."""
    try:
        yield
    except JournalStopped as error:
        failed(error)
        raise


# ---- files open for writing ------------------------------------------------------------------------------------------------------


def create(path: Path, mode: int = 0o600) -> int:
    """A new file, empty; its descriptor. Raises NoRoom, JournalStopped, FileExistsError."""
    with translating(path):
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)


def open_for_change(path: Path) -> int:
    """The file, made when it is not there, for its owner alone; its descriptor. Raises NoRoom, JournalStopped."""
    with translating(path):
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)


def write_all(descriptor: int, data: bytes, path: Path) -> None:
    """Write every byte; a short write is continued. Raises NoRoom, JournalStopped."""
    view = memoryview(data)
    with translating(path):
        while view:
            view = view[os.write(descriptor, view) :]


def write_at(descriptor: int, offset: int, data: bytes, path: Path) -> None:
    """Write every byte from ``offset`` on. Raises NoRoom, JournalStopped."""
    view = memoryview(data)
    with translating(path):
        while view:
            written = os.pwrite(descriptor, view, offset)
            view, offset = view[written:], offset + written


def cut(descriptor: int, size: int, path: Path) -> None:
    """End the file there. Raises NoRoom, JournalStopped."""
    with translating(path):
        os.ftruncate(descriptor, size)


def sync(descriptor: int) -> None:
    """Sync an open file. Raises JournalStopped when it fails: what was written before is of unknown fate."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        raise JournalStopped(f"fsync failed ({error.strerror}): stop, check the disk, start again", errno=error.errno) from error


# ---- names -----------------------------------------------------------------------------------------------------------------------


def sync_folder(folder: Path) -> None:
    """Make the names in ``folder`` durable. Raises JournalStopped."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        sync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(path: Path, mode: int = 0o777, *, durable: bool = True) -> None:
    """The folder, with its parents when missing; with ``durable`` its name is so on return, too. Raises NoRoom, JournalStopped."""
    if not path.is_dir():
        make_folder(path.parent, durable=durable)
        with translating(path):
            path.mkdir(mode=mode, exist_ok=True)
        if durable:
            sync_folder(path.parent)


def rename(path: Path, target: Path) -> None:
    """Give a synced file or folder its name, in place of what has it. Durable on return. Raises NoRoom, JournalStopped."""
    with translating(target):
        path.replace(target)
    sync_folder(target.parent)


def remove(path: Path) -> None:
    """The name goes, by and by durably; one that is gone is no error. Raises JournalStopped."""
    with translating(path), suppress(FileNotFoundError):
        path.unlink()


def remove_tree(folder: Path) -> None:
    """A folder nobody relies on, with all in it; best effort."""
    shutil.rmtree(folder, ignore_errors=True)


def write_durably(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Give ``path`` this content, complete or not at all, and these permissions. Durable on return. Raises NoRoom, JournalStopped."""
    temporary = path.with_name(path.name + ".new")
    remove(temporary)  # of a process that was cut off; a path has one writer
    descriptor = create(temporary, mode)
    try:
        os.fchmod(descriptor, mode)  # whatever the umask says
        write_all(descriptor, data, path)
        sync(descriptor)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    finally:
        os.close(descriptor)
    try:
        rename(temporary, path)
    except NoRoom:
        remove(temporary)
        raise


AMPLE = 4 * 1024**3  # bytes beyond the head-room: more than is written within SEEN_SECONDS
SEEN_SECONDS = 0.1  # for so long a disk with that much is not asked again whether there is room; a promise always asks


class Headroom:
    """Bytes that must stay free on one disk, counting what open writers were promised and have not written yet."""

    def __init__(self, folder: Path, min_free: int) -> None:
        self._folder = folder
        self._min_free = min_free
        self._promised = 0
        self._lock = threading.Lock()
        self._seen = 0  # bytes free when the disk was last asked
        self._seen_until = 0.0

    def check(self, size: int = 0) -> None:
        """Raises NoRoom when ``size`` more bytes would leave less than the head-room."""
        with self._lock:
            ample = self._seen - self._promised - size >= self._min_free + AMPLE
            if not ample or time.monotonic() >= self._seen_until:
                self._check(size)

    def free(self) -> int:
        """Bytes free and promised to nobody."""
        disk = os.statvfs(self._folder)
        with self._lock:
            return disk.f_bavail * disk.f_frsize - self._promised

    def room(self) -> int:
        """The same less the head-room: what a writer could be promised; 0 when the disk is below it."""
        return max(0, self.free() - self._min_free)

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
        self._seen, self._seen_until = free, time.monotonic() + SEEN_SECONDS
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

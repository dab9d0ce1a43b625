"""Large ciphertext in files: blobs with a name once complete, uploads that continue after a restart.

A blob is written to ``growing/``, synced, renamed into its folder, and the folder synced; only then may a transaction name it. A crash
before the rename leaves a file in ``growing/`` that the next start removes; a crash between rename and transaction leaves a blob nobody
names, which fsck reports, nothing reads, and the flow sweeps away an hour later.

    blobs/growing/<name>       being written
    blobs/<2 hex>/<name>       complete, insert-only
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from crypto.errors import LocalError
from crypto.randomness import random_bytes
from gateway.core.errors import JournalStopped
from gateway.store.files import Headroom, create, make_folder, remove, rename, sync, sync_folder, telling, write_all

READ_PIECE = 256 * 1024  # large enough that a gigabyte takes 4,096 reads, small enough to hold one a stream
_NAME = re.compile(r"[0-9a-f]{32}")


class BlobMissing(LocalError):
    """A blob the database names is not there. Fact: ``blob``."""

    code = "blob-missing"


class BlobFile:
    """A blob growing on disk (ports.BlobWriter)."""

    def __init__(self, blobs: FolderBlobs, promised: int) -> None:
        self.size = 0
        self._blobs = blobs
        self._promised = promised
        self._left = promised
        self._name = random_bytes(16).hex()
        self._path = blobs.growing / self._name
        self._descriptor = create(self._path)

    def write(self, data: bytes) -> None:
        """Append. Raises NoRoom; the writer must then be discarded."""
        if self.size + len(data) > self._promised:
            raise AssertionError(f"internal: a blob of {self._promised} bytes grows beyond them")
        with telling(self._blobs.failed):
            write_all(self._descriptor, data, self._path)
        self.size += len(data)
        self._left -= len(data)
        self._blobs.headroom.settle(len(data))

    def finish(self) -> str:
        """Sync, rename, sync the folder; the blob's name. Raises JournalStopped."""
        with telling(self._blobs.failed):
            sync(self._descriptor)
        self._close()
        return self._blobs.adopt(self._path, self._name)

    def discard(self) -> None:
        """Leave no trace. Harmless after finish()."""
        self._close()
        remove(self._path)

    def _close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
            self._blobs.headroom.settle(self._left)
            self._left = 0


class FolderBlobs:
    """The blobs of one home (ports.Blobs). ``headroom`` is shared with the uploads on the same disk.

    ``failed`` is told, from whatever thread finds out, that the disk failed and this process must end.
    """

    def __init__(self, folder: Path, headroom: Headroom, failed: Callable[[JournalStopped], None] = lambda _: None) -> None:
        self.headroom = headroom
        self.failed = failed
        self.growing = folder / "growing"
        self._folder = folder
        make_folder(folder, 0o700)
        names = {path.name for path in folder.iterdir()}
        for name in ("growing", *(f"{shelf:02x}" for shelf in range(256))):
            if name not in names:
                make_folder(folder / name, 0o700, durable=False)
        sync_folder(folder)  # once for all, and of a start that was cut off before it
        for left_over in self.growing.iterdir():
            remove(left_over)

    def create(self, size: int) -> BlobFile:
        """A writer for at most ``size`` bytes. Raises NoRoom."""
        self.headroom.promise(size)
        try:
            return BlobFile(self, size)
        except BaseException:
            self.headroom.settle(size)
            raise

    def adopt(self, path: Path, name: str) -> str:
        """Make a synced file on this disk a blob of that name. Durable on return."""
        target = self.path(name)
        os.utime(path)  # its age counts from here, however long its bytes took to come
        with telling(self.failed):
            rename(path, target)
        return name

    def read(self, name: str, offset: int = 0) -> Iterator[bytes]:
        """The bytes from ``offset`` on. Raises BlobMissing, at once and not at the first piece."""
        try:
            descriptor = os.open(self.path(name), os.O_RDONLY)
        except FileNotFoundError:
            raise BlobMissing(f"blob {name} is not there: run fsck", blob=name) from None
        return _pieces(descriptor, offset)

    def has(self, name: str) -> bool:
        """Whether a blob of that name is there."""
        return self.path(name).is_file()

    def remove(self, name: str) -> None:
        """Destroy a blob nothing names any more; one that is gone already is no error."""
        remove(self.path(name))

    def older_than(self, seconds: float) -> Iterator[str]:
        """Names of blobs that have had their name for longer than that."""
        before = time.time() - seconds
        for shelf in range(256):
            with os.scandir(self._folder / f"{shelf:02x}") as listing:
                old = [entry.name for entry in listing if _NAME.fullmatch(entry.name) and entry.stat().st_mtime < before]
            yield from old

    def check_room(self) -> None:
        """Raises NoRoom when no new content may come."""
        self.headroom.check()

    def free(self) -> int:
        """Bytes free on the disk and promised to nobody."""
        return self.headroom.free()

    def path(self, name: str) -> Path:
        """Where a blob of that name lies; names come from the database, and a wrong one must not lead elsewhere."""
        if _NAME.fullmatch(name) is None:
            raise AssertionError(f"internal: {name!r} is no blob name")
        return self._folder / name[:2] / name


def _pieces(descriptor: int, offset: int) -> Iterator[bytes]:
    with open(descriptor, "rb", buffering=0) as stream:
        stream.seek(offset)
        while piece := stream.read(READ_PIECE):
            yield piece

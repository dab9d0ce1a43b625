"""The mark: how far the log of this home has come, kept outside the database it is about.

A database put back from an older copy looks perfectly healthy; only something outside can tell that it has already signed more than it
now holds. The mark is written in place, in one write smaller than a sector, so that a crash leaves the old mark or the new one.

It never leads: only a size whose COMMIT returned is written. It lags: a commit within WRITE_SECONDS of the last writing is put down by the
first commit after that time, by the writer as soon as it has been idle as long, or when the journal is closed; and the file is synced every
SYNC_SECONDS. So a process that is killed leaves a mark up to WRITE_SECONDS behind its database, a power cut one up to SYNC_SECONDS behind.
Starting takes both for the crash they are. What is given up: a copy of the database taken within that time before the crash and put back
after it is not told from the database that was lost.

    yizhan-mark/1
    bureau.example/node-1/2026.1
    00000000000000000042
    <root, 44 characters of base64>
"""

from __future__ import annotations

import base64
import os
import time
from dataclasses import dataclass
from pathlib import Path

from gateway.core.errors import JournalStopped
from gateway.store.files import open_for_change, sync, write_at, write_durably

_VERSION = "yizhan-mark/1"
WRITE_SECONDS = 0.1  # writing after each of the hundred commits of a busy second took a tenth of the writer's time
SYNC_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """The last checkpoint that counted: its origin, size and root."""

    origin: str
    size: int
    root: bytes

    def to_bytes(self) -> bytes:
        return f"{_VERSION}\n{self.origin}\n{self.size:020d}\n{base64.b64encode(self.root).decode()}\n".encode()


def read_mark(path: Path) -> Mark | None:
    """The mark there, None where there is none. Raises JournalStopped for a damaged one: it must not be guessed."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    mark = _parsed(data)
    if mark is None or mark.to_bytes() != data:
        raise JournalStopped(f"the mark {path} is damaged: compare the log with a witness or a backup of the mark", path=str(path))
    return mark


def _parsed(data: bytes) -> Mark | None:
    try:
        _version, origin, size, root, _end = data.decode().split("\n")
        return Mark(origin=origin, size=int(size), root=base64.b64decode(root))
    except ValueError:  # too few or many lines, no text, no number, no base64
        return None


class MarkFile:
    """The mark being moved forward by the writer."""

    def __init__(self, path: Path, mark: Mark) -> None:
        """Open it, creating it durably where there is none."""
        if not path.exists():
            write_durably(path, mark.to_bytes())
        self._origin = mark.origin
        self._path = path
        self._descriptor = open_for_change(path)
        self._synced = time.monotonic()
        self._unsynced = False
        self._newest: tuple[int, bytes] | None = (mark.size, mark.root)  # what is not written yet
        self._write(self._synced)

    def move(self, size: int, root: bytes) -> None:
        """The log has come to this size, durably; the file follows when it is time. Raises JournalStopped when a sync fails."""
        self._newest = (size, root)
        now = time.monotonic()
        if now - self._written >= WRITE_SECONDS:
            self._write(now)

    def settle(self) -> bool:
        """Write what is not written, and sync when it is time. Whether a sync is still to come. Raises JournalStopped when it fails."""
        self._write(time.monotonic())
        return self._unsynced

    def close(self) -> None:
        """Write, sync, end. Harmless twice. Raises JournalStopped when the sync fails."""
        if self._descriptor < 0:
            return
        try:
            self._put_down()
            sync(self._descriptor)
        finally:
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)

    def _write(self, now: float) -> None:
        self._put_down()
        self._written = now
        if self._unsynced and now - self._synced >= SYNC_SECONDS:
            sync(self._descriptor)
            self._synced = now
            self._unsynced = False

    def _put_down(self) -> None:
        """The length is the same for every size, so overwriting leaves nothing behind."""
        if self._newest is not None:
            size, root = self._newest
            write_at(self._descriptor, 0, Mark(origin=self._origin, size=size, root=root).to_bytes(), self._path)
            self._newest = None
            self._unsynced = True

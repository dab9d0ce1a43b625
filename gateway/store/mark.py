"""The mark: how far the log of this home has come, kept outside the database it is about.

A database put back from an older copy looks perfectly healthy; only something outside can tell that it has already signed more than it
now holds. The mark is written after each COMMIT, in place, in one write smaller than a sector, so that a crash leaves the old mark or the
new one.

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
from gateway.store.files import sync, write_durably

_VERSION = "yizhan-mark/1"
_SYNC_SECONDS = 1.0  # a power cut may take back at most this much of the mark; it never runs ahead of the database


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
        self._descriptor = os.open(path, os.O_WRONLY)
        self._synced = time.monotonic()
        self.write(mark)

    def write(self, mark: Mark) -> None:
        """Move the mark. The length is the same for every size, so overwriting leaves nothing behind."""
        os.pwrite(self._descriptor, mark.to_bytes(), 0)
        now = time.monotonic()
        if now - self._synced >= _SYNC_SECONDS:
            sync(self._descriptor)
            self._synced = now

    def close(self) -> None:
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            try:
                sync(descriptor)
            finally:
                os.close(descriptor)

"""One process at a time on one home: the log has one writer, scratch is emptied at start, uploads are continued in place."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from crypto.errors import LocalError
from gateway.store.files import cut, open_for_change, write_at


class HomeInUse(LocalError):
    """Another process works on this home. Fact: ``pid`` as it wrote itself down."""

    code = "home-in-use"


class HomeLock:
    """An exclusive lock held as long as this object is open; the kernel drops it with the process, however that ends.

    ``flock`` and not ``lockf``: a POSIX record lock would vanish as soon as anything in this process closes another handle of the file,
    and would not keep two openers within one process apart.
    """

    def __init__(self, path: Path) -> None:
        """Take the lock. Raises HomeInUse, NoRoom, JournalStopped: a disk that may only be read is found out here."""
        self._descriptor = open_for_change(path)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = os.read(self._descriptor, 20).decode("ascii", "replace").strip()
            os.close(self._descriptor)
            raise HomeInUse(f"{path.parent} is in use by process {pid or 'unknown'}: one gateway process a home", pid=pid) from None
        cut(self._descriptor, 0, path)
        write_at(self._descriptor, 0, b"%d\n" % os.getpid(), path)

    def close(self) -> None:
        """Give the home back. The file stays: removing it would let two processes lock two files of one name."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

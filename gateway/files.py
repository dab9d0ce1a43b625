"""Writing files so that a crash leaves the old one or the new one, and nothing in between.

For configuration, keys, certificates and the pilot authority's records; content has its own room (``gateway.store``).
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from crypto.randomness import random_bytes

_ACL_USER, _ACL_GROUPS, _ACL_MASK = 0x02, (0x04, 0x08), 0x10  # linux/posix_acl.h: e_tag


def write_atomic(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Put ``data`` under ``path``: whole, synced, with these permissions from the first byte on."""
    temporary = path.with_name(f".{path.name}.{random_bytes(6).hex()}.part")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)  # whatever the umask says
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in this folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def appear(growing: Path, place: Path) -> None:
    """Give a folder whose files are synced its name: complete from one moment to the next, and durably."""
    growing.rename(place)
    sync_folder(place.parent)


def make_folder(path: Path, *, private: bool = False) -> Path:
    """The folder, made with its parents when missing; ``private`` ones are for their owner alone."""
    path.mkdir(parents=True, exist_ok=True)
    if private:
        path.chmod(0o700)
    return path


def others_may_read(path: Path) -> bool:
    """Whether more than its owner and the account we run under may read a file, by its mode and its access list. Raises OSError.

    Where there is an access list (a credential of systemd has one), the group's bits of the mode are only the list's mask.
    """
    mode = path.stat().st_mode
    try:
        listed = os.getxattr(path, "system.posix_acl_access")
    except OSError:  # none, or a file system without them
        return bool(mode & 0o077)
    entries = list(struct.iter_unpack("<HHI", listed[4:]))  # tag, permissions, id; after four bytes of version
    mask = next((permissions for tag, permissions, _ in entries if tag == _ACL_MASK), 0o7)
    others = (permissions & mask for tag, permissions, who in entries if tag in _ACL_GROUPS or (tag == _ACL_USER and who != os.geteuid()))
    return bool(mode & 0o007) or any(others)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on this file while inside; others wait. The kernel releases it when the process dies."""
    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield

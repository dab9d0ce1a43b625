"""Files of a folder that strangers write into: nothing is followed, nothing is trusted to stay, nothing is half there.

Every name is opened below a folder already open (openat) and never through a link; devices and pipes are recognised before they are
opened. Writing is temporary name, fsync, rename, fsync of the folder. All of it blocks: called off the event loop.

What people call their files and folders stands in the facts of an error, never in its message: messages go to the log.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, Literal, NamedTuple

from gateway.core.errors import OfferGone, OfficeUnavailable, PartChanged

CHUNK: Final = 256 * 1024  # a large document stays a few hundred KiB of memory
FILE_MODE: Final = 0o660  # the office's people read and act; the umask narrows it
FOLDER_MODE: Final = 0o770

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # O_NONBLOCK: a pipe put in a file's place must not hang us
_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

Kind = Literal["file", "folder", "link", "other"]


class Seen(NamedTuple):
    """What a file was when it was looked at; any later difference means somebody changed it."""

    inode: int
    size: int
    mtime_ns: int


class Entry(NamedTuple):
    """One name in a folder, itself and never what it points to."""

    name: str
    kind: Kind
    seen: Seen


class FileTooLarge(Exception):
    """A file beyond the ceiling its reader names."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.size = size


@contextmanager
def folder_at(place: str | Path, *, below: int | None = None) -> Iterator[int]:
    """A folder open for ``below=``; its last component is no link. Raises OSError."""
    descriptor = os.open(place, _FOLDER, dir_fd=below)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def saving(what: str) -> Iterator[None]:
    """Turn a failing disk into OfficeUnavailable: full, no rights, a vanished share; the flow tries again later."""
    try:
        yield
    except OSError as error:
        raise OfficeUnavailable(f"{what}: {error.strerror or error}", errno=error.errno) from error


def seen(status: os.stat_result) -> Seen:
    return Seen(status.st_ino, status.st_size, status.st_mtime_ns)


def entries(folder: int, most: int) -> list[Entry]:
    """What lies in a folder, sorted by name; stops one beyond ``most``, so that a reader can tell. Raises OSError."""
    found: list[Entry] = []
    with os.scandir(folder) as listing:
        for entry in listing:
            with suppress(FileNotFoundError):  # gone since the listing: as if it had never been there
                status = entry.stat(follow_symlinks=False)
                found.append(Entry(entry.name, kind_of(status.st_mode), seen(status)))
            if len(found) > most:
                break
    return sorted(found)


def kind_of(mode: int) -> Kind:
    """What a file system entry is, by its mode."""
    if stat.S_ISREG(mode):
        return "file"
    if stat.S_ISDIR(mode):
        return "folder"
    return "link" if stat.S_ISLNK(mode) else "other"


def exists(name: str, *, below: int) -> bool:
    """Whether the name is taken, by anything."""
    try:
        os.stat(name, dir_fd=below, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


# ---- reading ---------------------------------------------------------------------------------------------------------------------


def read_small(name: str, ceiling: int, *, below: int) -> bytes:
    """A whole small file as it was at one moment.

    Raises OSError, FileTooLarge, and PartChanged when it is no plain file or changes meanwhile.
    """
    descriptor = os.open(name, _READ, dir_fd=below)
    try:
        before = _plain(descriptor, name)
        if before.size > ceiling:
            raise FileTooLarge(before.size)
        data = b"".join(_chunks(descriptor, before.size + 1))
        if len(data) != before.size or seen(os.fstat(descriptor)) != before:
            raise PartChanged("a file changed while it was read", name=name)
        return data
    finally:
        os.close(descriptor)


def read_part(place: Path, name: str, expected: Seen) -> Iterator[bytes]:
    """The bytes of ``place/name``, provided it is still the file that was offered, to its end.

    Raises PartChanged, and OfferGone when folder or file are no longer there.
    """
    try:
        with folder_at(place) as folder:
            descriptor = os.open(name, _READ, dir_fd=folder)
    except FileNotFoundError as error:
        raise OfferGone("a file is no longer in the office's folder", name=name) from error
    except OSError as error:
        raise PartChanged(f"a file cannot be read: {error.strerror}", name=name) from error
    try:
        if _plain(descriptor, name) != expected:
            raise PartChanged("a file is not the one that was offered", name=name)
        total = 0
        for chunk in _chunks(descriptor, expected.size + 1):
            total += len(chunk)
            yield chunk
        if total != expected.size or seen(os.fstat(descriptor)) != expected:
            raise PartChanged("a file changed while it was read", name=name)
    finally:
        os.close(descriptor)


def _plain(descriptor: int, name: str) -> Seen:
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise PartChanged("what was a file is no plain file", name=name)
    return seen(status)


def _chunks(descriptor: int, most: int) -> Iterator[bytes]:
    while most > 0 and (chunk := os.read(descriptor, min(CHUNK, most))):
        most -= len(chunk)
        yield chunk


# ---- writing ---------------------------------------------------------------------------------------------------------------------


def write_new(name: str, chunks: Iterator[bytes], *, below: int) -> int:
    """Make a file of these chunks; its open descriptor, not synced yet. Raises OSError."""
    descriptor = os.open(name, _CREATE, FILE_MODE, dir_fd=below)
    try:
        for chunk in chunks:
            view = memoryview(chunk)
            while view:
                view = view[os.write(descriptor, view) :]
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def sync(descriptor: int) -> None:
    """Make what was written to a file, or the names in a folder, durable. Raises OSError."""
    os.fsync(descriptor)


def sync_and_close(descriptor: int) -> None:
    """Make what was written durable. Raises OSError."""
    try:
        sync(descriptor)
    finally:
        os.close(descriptor)


def put(name: str, data: bytes, *, below: int) -> None:
    """Give a name this content, the old one or the new one at any moment; durable on return. Raises OSError."""
    temporary = f".{name}.part"
    with suppress(FileNotFoundError):  # of a crash before; or of somebody's: not ours to follow or keep
        os.unlink(temporary, dir_fd=below)
    sync_and_close(write_new(temporary, iter((data,)), below=below))
    move(temporary, name, below=below, into=below)
    sync(below)


def make_folder(name: str, *, below: int) -> None:
    """A folder for the office's people. Raises OSError."""
    os.mkdir(name, FOLDER_MODE, dir_fd=below)


def make_root(root: Path, folders: Sequence[str]) -> None:
    """An office with these folders; their names are durable: a document in a folder whose own name is lost is lost with it."""
    for folder in folders:
        (root / folder).mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
    with folder_at(root) as opened:
        sync(opened)


def move(name: str, target: str, *, below: int, into: int) -> None:
    """Another name, or another folder, from one moment to the next; durable once the folders are synced. Raises OSError."""
    os.rename(name, target, src_dir_fd=below, dst_dir_fd=into)


def remove_file(name: str, *, below: int) -> None:
    """The name goes. Raises OSError."""
    os.unlink(name, dir_fd=below)


def remove_tree(name: str, *, below: int) -> None:
    """Remove what has that name, and for a folder all in it, following no link; best effort."""
    shutil.rmtree(name, ignore_errors=True, dir_fd=below)
    with suppress(OSError):
        os.unlink(name, dir_fd=below)

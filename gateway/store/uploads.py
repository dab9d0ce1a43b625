"""Arrivals that come in pieces and survive a restart at their last synced offset (ports.Upload, ports.Uploads).

An upload is three files named by the digest of its key: ``.cover`` (key, size and the cover it came with, written whole), ``.part`` (the
ciphertext so far) and ``.offset`` (how much of it is known to be on disk). The offset is written after the sync it speaks of and is not
synced itself: a power cut may leave it behind the truth, never ahead of it, and what stands behind it is cut off on opening. The cover
comes last: its folder is synced with it, so that what has a cover has the other two.

Room is set aside for the whole of an upload when it begins, as long as it is within its peer's share: to announce costs nothing, and who
only announces must not turn others away. Beyond its share the whole must fit when it begins, and room is set aside as bytes come.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import msgspec

from crypto.errors import Malformed
from crypto.randomness import random_bytes
from gateway.core.errors import TooManyUploads
from gateway.store.blobs import READ_PIECE, FolderBlobs
from gateway.store.files import cut, make_folder, open_for_change, remove, sync, sync_folder, telling, write_at, write_durably

MAX_OPEN = 256  # DoS: one file handle each, whoever asks
MAX_OPEN_A_PEER = 16  # DoS: one peer may not take them all
MAX_SHARE_A_PEER = 0.5  # DoS: of the room beyond the head-room, what one peer's announcements may set aside; the rest is for the others
STEP = 16 * 1024 * 1024  # set aside at a time beyond the share: one look at the disk for so many bytes
SYNC_EVERY = 16 * 1024 * 1024  # what a kill may cost on the wire; a gigabyte then waits for the disk 64 times

_OFFSET_DIGITS = 20


class _Cover(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    v: Literal["yizhan-upload/1"]
    key: str
    size: int
    cover: bytes


class UploadFile:
    """One open upload. Not for two threads at once: the flow lets one request at a time append."""

    def __init__(self, uploads: FolderUploads, stem: str, meta: _Cover, durable: int, promised: int) -> None:
        self.key = meta.key
        self.cover = meta.cover
        self.size = meta.size
        self.offset = durable
        self.promised = promised  # bytes set aside from ``offset`` on
        self._uploads = uploads
        self._stem = stem
        self._synced = durable
        self._path = uploads.folder / f"{stem}.part"
        self._offset_path = uploads.folder / f"{stem}.offset"
        self._descriptor = open_for_change(self._path)
        try:
            if os.fstat(self._descriptor).st_size != durable:  # else left alone: it would look as if bytes had come
                cut(self._descriptor, durable, self._path)
            self._offset_descriptor = open_for_change(self._offset_path)
        except BaseException:
            os.close(self._descriptor)
            raise

    def write(self, data: bytes) -> None:
        """Append at ``offset``; synced now and then on the way. Raises Malformed beyond the announced size, NoRoom, JournalStopped."""
        if self.offset + len(data) > self.size:
            raise Malformed(f"an upload of {self.size} bytes goes on beyond them", size=self.size)
        self._set_aside(len(data))
        with telling(self._uploads.blobs.failed):
            write_at(self._descriptor, self.offset, data, self._path)  # an attempt that found no room may have left bytes there
        self.offset += len(data)
        self.promised -= len(data)
        self._uploads.blobs.headroom.settle(len(data))
        if self.offset - self._synced >= SYNC_EVERY:
            self.sync()

    def sync(self) -> int:
        """The offset that survives a restart from now on. Raises JournalStopped."""
        if self._synced != self.offset:
            with telling(self._uploads.blobs.failed):
                sync(self._descriptor)
                self._note_offset(self.offset)
        return self.offset

    def reset(self) -> None:
        """Back to the start. Raises JournalStopped."""
        with telling(self._uploads.blobs.failed):
            self._note_offset(0)  # durably, and before the bytes go: the offset is never ahead of them
            sync(self._offset_descriptor)
            cut(self._descriptor, 0, self._path)
        self._uploads.blobs.headroom.settle(-self.offset)  # the very room it gave back
        self.promised += self.offset
        self.offset = 0

    def read(self) -> Iterator[bytes]:
        """What came so far, from the start; appending may go on afterwards."""
        position = 0
        while piece := os.pread(self._descriptor, min(READ_PIECE, self.offset - position), position):
            yield piece
            position += len(piece)

    def finish(self) -> str:
        """Become a blob. A crash before the rename leaves a complete upload; one after it an unnamed blob and a cover without content."""
        if self.offset != self.size:
            raise AssertionError(f"internal: an upload of {self.size} bytes is finished at {self.offset}")
        with telling(self._uploads.blobs.failed):
            sync(self._descriptor)
        name = self._uploads.blobs.adopt(self._path, random_bytes(16).hex())
        self.discard()
        return name

    def discard(self) -> None:
        """Leave no trace. Harmless twice."""
        if self.close():
            self._uploads.remove(self._stem)

    def idle(self) -> float:
        """Seconds since the last byte came."""
        return time.time() - os.fstat(self._descriptor).st_mtime if self._descriptor >= 0 else 0.0

    def close(self) -> bool:
        """Let go of the files, which stay; whether they were held."""
        if self._descriptor < 0:
            return False
        os.close(self._descriptor)
        os.close(self._offset_descriptor)
        self._descriptor = -1
        self._uploads.forget(self.key, self.promised)
        self.promised = 0
        return True

    def _set_aside(self, size: int) -> None:
        """Room for the next bytes, where it was not there from the beginning. Raises NoRoom."""
        if size > self.promised:
            more = min(max(size, STEP), self.size - self.offset) - self.promised
            self._uploads.blobs.headroom.promise(more)
            self.promised += more

    def _note_offset(self, offset: int) -> None:
        write_at(self._offset_descriptor, 0, b"%0*d" % (_OFFSET_DIGITS, offset), self._offset_path)
        self._synced = offset


class FolderUploads:
    """The open uploads of one home. ``peer_of`` says who an upload's key belongs to, for the limit a peer has."""

    def __init__(
        self,
        folder: Path,
        blobs: FolderBlobs,
        *,
        max_open: int = MAX_OPEN,
        max_open_a_peer: int = MAX_OPEN_A_PEER,
        peer_of: Callable[[str], str] = lambda key: key.rpartition("/")[0],
    ) -> None:
        self.folder = folder
        self.blobs = blobs
        self._max_open = max_open
        self._max_open_a_peer = max_open_a_peer
        self._peer_of = peer_of
        self._lock = threading.RLock()
        self._open: dict[str, UploadFile] = {}
        make_folder(folder, 0o700)
        self._recover()

    def open(self, key: str) -> UploadFile | None:
        """The upload of that key at its durable offset, or None; the same object while it is open."""
        with self._lock:
            return self._open.get(key)

    def begin(self, key: str, cover: bytes, size: int) -> UploadFile:
        """A new upload; one of the same key starts over. Raises NoRoom, TooManyUploads."""
        with self._lock:
            before = self._open.get(key)
            if before is not None:
                before.discard()
            self._check_count(key)
            meta = _Cover(v="yizhan-upload/1", key=key, size=size, cover=cover)
            self.blobs.headroom.check(size)
            promised = min(size, self._share(key))
            self.blobs.headroom.promise(promised)
            try:
                # its files first: one sync of the folder makes all three names durable
                upload = UploadFile(self, _stem(key), meta, 0, promised)
            except BaseException:
                self.blobs.headroom.settle(promised)
                raise
            try:
                with telling(self.blobs.failed):
                    write_durably(self.folder / f"{_stem(key)}.cover", msgspec.msgpack.encode(meta))
            except BaseException:
                upload.close()
                self.remove(_stem(key))
                raise
            self._open[key] = upload
            return upload

    def all(self) -> tuple[UploadFile, ...]:
        """Every open upload."""
        with self._lock:
            return tuple(self._open.values())

    def close(self) -> None:
        """Let go of every file; the uploads go on after the next start."""
        with self._lock:
            for upload in list(self._open.values()):
                upload.close()

    def forget(self, key: str, promised: int) -> None:
        with self._lock:
            self._open.pop(key, None)
        self.blobs.headroom.settle(promised)

    def remove(self, stem: str) -> None:
        """The cover last goes first: without it the rest is nobody's and the next start removes it."""
        for suffix in (".cover", ".part", ".offset"):
            remove(self.folder / (stem + suffix))

    def _check_count(self, key: str) -> None:
        peer = self._peer_of(key)
        of_peer = sum(1 for other in self._open if self._peer_of(other) == peer)
        if len(self._open) >= self._max_open or of_peer >= self._max_open_a_peer:
            raise TooManyUploads(f"{of_peer} uploads of {peer or 'this peer'} are open, {len(self._open)} in all", peer=peer)

    def _share(self, key: str) -> int:
        """What may still be set aside for announcements of that peer."""
        peer = self._peer_of(key)
        held = sum(other.promised for other in self._open.values() if self._peer_of(other.key) == peer)
        return max(0, int((self.blobs.headroom.room() + held) * MAX_SHARE_A_PEER) - held)

    def _recover(self) -> None:
        """Open what a previous process left; parts without a readable cover are nobody's."""
        covers = {path.stem: path for path in self.folder.glob("*.cover")}
        for path in self.folder.iterdir():
            if path.stem not in covers or path.suffix not in {".cover", ".part", ".offset"}:
                remove(path)
        for stem, path in sorted(covers.items(), key=lambda cover: cover[1].stat().st_mtime):  # who came first had room set aside first
            if not (self.folder / f"{stem}.part").exists():
                self.remove(stem)  # it became a blob, or never began
                continue
            meta = msgspec.msgpack.decode(path.read_bytes(), type=_Cover)
            durable = self._durable(stem)
            promised = min(meta.size - durable, self._share(meta.key))
            self._open[meta.key] = UploadFile(self, stem, meta, durable, promised)
            self.blobs.headroom.settle(-promised)  # promised already, before the restart
        sync_folder(self.folder)

    def _durable(self, stem: str) -> int:
        """The offset written after the last sync, or 0 where none can be read; never more than there is."""
        try:
            noted = int((self.folder / f"{stem}.offset").read_bytes())
        except (FileNotFoundError, ValueError):
            return 0
        return min(noted, (self.folder / f"{stem}.part").stat().st_size)


def _stem(key: str) -> str:
    """File names of one length and alphabet, whatever the peer put into the key."""
    return hashlib.sha256(key.encode()).hexdigest()

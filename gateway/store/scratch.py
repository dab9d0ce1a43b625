"""Plaintext on its way through this process, never readable after it (DESIGN, The journey: Plaintext).

A part of at most 1 MiB stays in memory while all such parts together stay below a ceiling; anything else is written in pieces of 1 MiB,
each sealed with AES-256-GCM under a key that exists only in this object. The files need no sync: after a crash nobody can read them, and
the next start removes them.
"""

from __future__ import annotations

import os
import threading
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from crypto.digests import Hasher, digest
from crypto.randomness import random_bytes
from crypto.suites import DigestName
from gateway.core.errors import NoRoom, PartChanged
from gateway.store.files import Headroom, Promise, create, make_folder, remove, write_all

PIECE = 1024 * 1024  # what one part may hold in memory, and the plaintext of one sealed piece
MEMORY_CEILING = 16 * PIECE  # all small parts together; beyond it they go to disk like large ones, so that memory stays flat
_TAG = 16
_DIGESTS: dict[str, DigestName] = {"sm3": "sm3", "sha256": "sha256"}


class HeldPart:
    """One part in scratch (ports.Held). Its bytes are in memory, or sealed in a file of its own."""

    def __init__(self, scratch: SealedScratch, size: int, crc: int, digests: dict[str, str], memory: bytes | None, number: int) -> None:
        self.size = size
        self.crc = crc
        self.digests = digests
        self._scratch = scratch
        self._memory = memory
        self._number = number
        self._dropped = False

    def chunks(self) -> Iterator[bytes]:
        """The plaintext again, from the start, as often as wanted until dropped."""
        if self._dropped:
            raise AssertionError("internal: a dropped part is read")
        if self._memory is None:
            return self._scratch.unseal(self._number, self.size)
        return iter((self._memory,))

    def drop(self) -> None:
        """Forget it. Harmless twice."""
        if not self._dropped:
            self._dropped = True
            self._scratch.forget(self._number, self.size, in_memory=self._memory is not None)
            self._memory = None


class SealedScratch:
    """The scratch of one home (ports.Scratch). ``ceiling`` bounds the plaintext bytes held at one time, in memory and on disk together."""

    def __init__(self, folder: Path, ceiling: int, headroom: Headroom, memory_ceiling: int = MEMORY_CEILING) -> None:
        self._folder = folder
        self._ceiling = ceiling
        self._memory_ceiling = memory_ceiling
        self._headroom = headroom
        self._cipher = AESGCM(random_bytes(32))
        self._lock = threading.Lock()
        self._numbers = 0
        self._bytes = 0
        self._bytes_in_memory = 0
        make_folder(folder, 0o700, durable=False)
        for left_over in folder.iterdir():
            remove(left_over)

    def hold(self, chunks: Iterator[bytes], size: int, digests: Sequence[str]) -> HeldPart:
        """Copy a part in with its size, CRC-32 and digests, in one pass. Raises NoRoom, PartChanged when it is not ``size`` bytes long."""
        number, in_memory = self._admit(size)
        try:
            if in_memory:
                return self._hold_in_memory(number, chunks, size, digests)
            with self._headroom.promised(size) as room, _Copy(self, number, size, digests, room) as copy:
                for chunk in chunks:
                    copy.take(chunk)
                return copy.finish()
        except BaseException:
            self.forget(number, size, in_memory=in_memory)
            raise

    def _hold_in_memory(self, number: int, chunks: Iterator[bytes], size: int, digests: Sequence[str]) -> HeldPart:
        """Most parts are small and come in one chunk: put together once, and digested once."""
        taken: list[bytes] = []
        left = size
        for chunk in chunks:
            left -= len(chunk)
            if left < 0:
                raise _goes_on(size)
            taken.append(chunk)
        if left:
            raise _ended(size, size - left)
        whole = b"".join(taken)  # of one chunk: that chunk itself
        return HeldPart(self, size, zlib.crc32(whole), {name: digest(_DIGESTS[name], whole) for name in digests}, whole, number)

    def seal_piece(self, number: int, index: int, plaintext: bytes | bytearray | memoryview) -> bytes:
        """Nonce and associated data in one: (file, piece) names each piece once under this key, so none can be moved or swapped."""
        return self._cipher.encrypt(_nonce(number, index), plaintext, None)

    def unseal(self, number: int, size: int) -> Iterator[bytes]:
        """The pieces of a file again. Raises InvalidTag when the disk gives back other bytes."""
        with self.path(number).open("rb", buffering=0) as stream:
            for index in range((size + PIECE - 1) // PIECE):
                length = min(PIECE, size - index * PIECE) + _TAG
                yield self._cipher.decrypt(_nonce(number, index), stream.read(length), None)

    def forget(self, number: int, size: int, *, in_memory: bool) -> None:
        """Give the bytes of a part free again."""
        if not in_memory:
            remove(self.path(number))
        with self._lock:
            self._bytes -= size
            self._bytes_in_memory -= size if in_memory else 0

    def path(self, number: int) -> Path:
        return self._folder / f"{number:016x}"

    def _admit(self, size: int) -> tuple[int, bool]:
        with self._lock:
            if self._bytes + size > self._ceiling:
                raise NoRoom(f"scratch holds {self._bytes} bytes and may hold {self._ceiling}", wanted=size, ceiling=self._ceiling)
            in_memory = size <= PIECE and self._bytes_in_memory + size <= self._memory_ceiling
            self._bytes += size
            self._bytes_in_memory += size if in_memory else 0
            self._numbers += 1
            return self._numbers, in_memory


class _Copy:
    """One part on its way to the disk: counted, digested and sealed piece by piece."""

    def __init__(self, scratch: SealedScratch, number: int, size: int, digests: Sequence[str], room: Promise) -> None:
        self._scratch = scratch
        self._room = room
        self._number = number
        self._size = size
        self._hashers = [Hasher(_DIGESTS[name]) for name in digests]
        self._taken = 0
        self._crc = 0
        self._piece = bytearray(min(PIECE, size))  # filled again and again: one that grows costs more than the cipher
        self._filled = 0
        self._pieces = 0
        self._path = scratch.path(number)
        self._descriptor = create(self._path)

    def take(self, chunk: bytes) -> None:
        self._taken += len(chunk)
        if self._taken > self._size:
            raise _goes_on(self._size)
        self._crc = zlib.crc32(chunk, self._crc)
        for hasher in self._hashers:
            hasher.update(chunk)
        left = memoryview(chunk)
        while left:
            if not self._filled and len(left) >= PIECE:  # a whole piece at once: not copied
                self._write_piece(left[:PIECE])
                left = left[PIECE:]
                continue
            taken = min(PIECE - self._filled, len(left))
            self._piece[self._filled : self._filled + taken] = left[:taken]
            self._filled += taken
            left = left[taken:]
            if self._filled == PIECE:
                self._write_piece(self._piece)
                self._filled = 0

    def finish(self) -> HeldPart:
        if self._taken != self._size:
            raise _ended(self._size, self._taken)
        if self._filled:
            self._write_piece(memoryview(self._piece)[: self._filled])
        digests: dict[str, str] = {hasher.name: hasher.text() for hasher in self._hashers}
        return HeldPart(self._scratch, self._size, self._crc, digests, None, self._number)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        os.close(self._descriptor)

    def _write_piece(self, plaintext: bytearray | memoryview) -> None:
        write_all(self._descriptor, self._scratch.seal_piece(self._number, self._pieces, plaintext), self._path)
        self._room.settle(len(plaintext))
        self._pieces += 1


def _goes_on(size: int) -> PartChanged:
    return PartChanged(f"a part of {size} bytes goes on beyond them", size=size)


def _ended(size: int, taken: int) -> PartChanged:
    return PartChanged(f"a part of {size} bytes ended after {taken}", size=size, taken=taken)


def _nonce(number: int, index: int) -> bytes:
    return number.to_bytes(8, "big") + index.to_bytes(4, "big")

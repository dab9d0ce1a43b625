"""The content: a ZIP whose bytes are a function of manifest and parts (docs/format.md, Content).

``zip_chunks`` writes it in one forward pass; ``ContentReader`` takes it in pieces of any size, rebuilds every header from what the
manifest says, and compares. Nothing is looked up from the end, so there is one reading of these bytes and no other. Memory does not
grow with the parts.
"""

from __future__ import annotations

import struct
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final
from zlib import crc32

from crypto.digests import Hasher, digest
from crypto.errors import LocalError, Malformed, Unverified
from crypto.suites import DigestName
from gateway.core.manifest import MANIFEST_NAME, MAX_MANIFEST_BYTES, Manifest, PartEntry
from gateway.core.transmittal import MAX_CONTENT_BYTES

COALESCE = 64 * 1024  # small pieces are joined up to here: every piece costs a call into cipher and digest

# APPNOTE.TXT 6.3.10. Fields that never vary are written into the formats' arguments below.
_LOCAL: Final = struct.Struct("<4s5H3I2H")  # 4.3.7
_CENTRAL: Final = struct.Struct("<4s6H3I5H2I")  # 4.3.12
_END64: Final = struct.Struct("<4sQ2H2I4Q")  # 4.3.14
_LOCATOR: Final = struct.Struct("<4sIQI")  # 4.3.15
_END: Final = struct.Struct("<4s4H2IH")  # 4.3.16

_CRC_AND_SIZE: Final = struct.Struct("<14xII")  # where a local header holds its CRC and compressed size
_UTF8 = 0x0800  # general purpose bit 11
_STORED = 0
_TIME, _DATE = 0, 0x0021  # 1980-01-01 00:00:00: the content says nothing about when it was packed
_PLAIN, _ZIP64 = 20, 45  # version needed to extract
_UNIX = 3 << 8  # version made by: the attributes below are Unix ones
_REGULAR_FILE = 0o100644 << 16
_SATURATED = 0xFFFF_FFFF  # a field of this value says: look into the ZIP64 extra field
_EXTRA_ID = 0x0001


class PartDiffers(LocalError):
    """A part yielded more or fewer bytes than its entry says. Facts: ``name``, ``size``."""

    code = "part-differs"


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestRead:
    """The manifest, its digest verified."""

    manifest: Manifest
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class PartStarted:
    """A part begins."""

    entry: PartEntry


@dataclass(frozen=True, slots=True, kw_only=True)
class PartData:
    """Some bytes of the part that began last. Believe them only after its PartEnded."""

    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class PartEnded:
    """The part is complete: size, CRC and digest hold."""

    entry: PartEntry


ReadEvent = ManifestRead | PartStarted | PartData | PartEnded


def _local_header(name: bytes, crc: int, size: int) -> bytes:
    if size < _SATURATED:
        return _LOCAL.pack(b"PK\x03\x04", _PLAIN, _UTF8, _STORED, _TIME, _DATE, crc, size, size, len(name), 0) + name
    extra = struct.pack("<HHQQ", _EXTRA_ID, 16, size, size)
    fixed = _LOCAL.pack(b"PK\x03\x04", _ZIP64, _UTF8, _STORED, _TIME, _DATE, crc, _SATURATED, _SATURATED, len(name), len(extra))
    return fixed + name + extra


def _central_header(name: bytes, crc: int, size: int, offset: int) -> bytes:
    large = [size, size] if size >= _SATURATED else []
    far = [offset] if offset >= _SATURATED else []
    extra = struct.pack(f"<HH{len(large + far)}Q", _EXTRA_ID, 8 * len(large + far), *large, *far) if large or far else b""
    needed = _ZIP64 if extra else _PLAIN
    shown = min(size, _SATURATED)
    fixed = (b"PK\x01\x02", _UNIX | needed, needed, _UTF8, _STORED, _TIME, _DATE, crc, shown, shown, len(name), len(extra))
    return _CENTRAL.pack(*fixed, 0, 0, 0, _REGULAR_FILE, min(offset, _SATURATED)) + name + extra


def _end_records(count: int, size: int, offset: int) -> bytes:
    if offset < _SATURATED:
        return _END.pack(b"PK\x05\x06", 0, 0, count, count, size, offset, 0)
    end64 = _END64.pack(b"PK\x06\x06", _END64.size - 12, _UNIX | _ZIP64, _ZIP64, 0, 0, count, count, size, offset)
    return end64 + _LOCATOR.pack(b"PK\x06\x07", 0, offset + size, 1) + _END.pack(b"PK\x05\x06", 0, 0, count, count, size, _SATURATED, 0)


def difference(header: bytes, expected: bytes) -> str:
    """A word for what is wrong with a local header, for the log of whoever wonders who sent that."""
    signature, needed, flags, method, *_, stored, size, name, extra = _LOCAL.unpack_from(header)
    *_, right_stored, right_size, right_name, right_extra = _LOCAL.unpack_from(expected)
    findings = (
        ("zip-signature", signature != b"PK\x03\x04"),
        ("zip-compressed", method != _STORED),
        ("zip-encrypted", flags & 0x0001),
        ("zip-data-descriptor", flags & 0x0008),
        ("zip-flags", flags != _UTF8),
        ("zip-size", (stored, size) != (right_stored, right_size)),
        ("zip-name", name != right_name or header[_LOCAL.size :][:right_name] != expected[_LOCAL.size :][:right_name]),
        ("zip-extra", extra != right_extra or header[_LOCAL.size + name :] != expected[_LOCAL.size + right_name :]),
        ("zip-version", needed not in (_PLAIN, _ZIP64)),
    )
    return next((word for word, found in findings if found), "zip-time")


class _Index:
    """The members written or read so far, and the directory that must follow them."""

    def __init__(self) -> None:
        self.offset = 0
        self._count = 0
        self._directory: list[bytes] = []

    def member(self, name: bytes, crc: int, size: int) -> bytes:
        """Note a member; its local header."""
        header = _local_header(name, crc, size)
        self._directory.append(_central_header(name, crc, size, self.offset))
        self.offset += len(header) + size
        self._count += 1
        return header

    def tail(self) -> bytes:
        """Central directory and end records; at most MAX_PARTS + 1 entries of a few hundred bytes."""
        directory = b"".join(self._directory)
        return directory + _end_records(self._count, len(directory), self.offset)


def content_size(manifest: bytes, parts: Sequence[tuple[PartEntry, int]]) -> int:
    """The exact length of the content of these parts, each with its CRC-32. Raises Malformed above the ceiling."""
    index = _Index()
    index.member(MANIFEST_NAME.encode(), 0, len(manifest))
    for entry, crc in parts:
        index.member(entry.name.encode(), crc, entry.size)
    size = index.offset + len(index.tail())
    if size > MAX_CONTENT_BYTES:
        raise Malformed(f"content of {size} bytes where {MAX_CONTENT_BYTES} are the most", size=size, ceiling=MAX_CONTENT_BYTES)
    return size


def zip_chunks(manifest: bytes, parts: Iterable[tuple[PartEntry, int, Iterator[bytes]]]) -> Iterator[bytes]:
    """The content in pieces: small ones joined, large ones as they come.

    Raises PartDiffers when a part is not as long as its entry says.
    """
    waiting: list[bytes] = []
    length = 0
    for piece in _pieces(manifest, parts):
        if length and length + len(piece) > COALESCE:
            yield b"".join(waiting)
            waiting.clear()
            length = 0
        if len(piece) >= COALESCE:
            yield piece
        else:
            waiting.append(piece)
            length += len(piece)
    yield b"".join(waiting)


def _pieces(manifest: bytes, parts: Iterable[tuple[PartEntry, int, Iterator[bytes]]]) -> Iterator[bytes]:
    index = _Index()
    yield index.member(MANIFEST_NAME.encode(), crc32(manifest), len(manifest))
    yield manifest
    for entry, crc, chunks in parts:
        yield index.member(entry.name.encode(), crc, entry.size)
        left = entry.size
        for chunk in chunks:
            left -= len(chunk)
            if left < 0:
                break
            yield chunk
        if left:
            raise PartDiffers(f"part {entry.name!r} is not {entry.size} bytes long", name=entry.name, size=entry.size)
    yield index.tail()


class ContentReader:
    """Takes the content apart in one forward walk.

    Feed it pieces of any size, then call ``finish``. Raises Malformed for bytes that are not exactly what manifest and parts make,
    Unverified for a manifest or part with another digest; after either it takes nothing more.

    ``again``: all of it held once, and whoever feeds it knows by the cipher's tag that these are the same bytes. Then neither CRC nor
    digest of a part is computed anew.
    """

    def __init__(self, digest_name: DigestName, manifest_digest: str, *, again: bool = False) -> None:
        self._again = again
        self._digest_name = digest_name
        self._manifest_digest = manifest_digest
        self._data = b""
        self._at = 0
        self._events: list[ReadEvent] = []
        self._ended = False
        self._walker = self._walk()

    def feed(self, data: bytes) -> list[ReadEvent]:
        """What these bytes complete. Raises Malformed, Unverified."""
        self._data, self._at, self._events = data, 0, []
        next(self._walker, None)
        if self._at < len(data):
            if self._ended:
                raise Malformed("bytes behind the content", check="zip-behind")
            raise Malformed("the content was refused already", check="refused")
        return self._events

    def finish(self) -> None:
        """The content ends here. Raises Malformed when something is missing."""
        if not self._ended:
            raise Malformed("the content is cut short", check="zip-cut")

    def _walk(self) -> Generator[None]:
        """1. manifest, 2. each part, 3. the directory: rebuilt and compared, never believed."""
        index = _Index()
        # 1. manifest
        data = yield from self._manifest_bytes(index)
        if digest(self._digest_name, data) != self._manifest_digest:
            raise Unverified("the manifest is not the one signed for", check="manifest-digest")
        manifest = Manifest.from_bytes(data)
        self._events.append(ManifestRead(manifest=manifest, data=data))
        # 2. parts
        for entry in manifest.parts:
            yield from self._part(index, entry)
        # 3. directory and end
        yield from self._exactly(index.tail(), "directory")
        self._ended = True

    def _manifest_bytes(self, index: _Index) -> Generator[None, None, bytes]:
        name = MANIFEST_NAME.encode()
        header = yield from self._take(_LOCAL.size + len(name))
        crc, size = _CRC_AND_SIZE.unpack_from(header)
        if size > MAX_MANIFEST_BYTES:
            raise Malformed("the manifest is larger than one may be, or something else stands in its place", check="zip-size", size=size)
        expected = index.member(name, crc, size)
        if header != expected:
            raise Malformed(
                f"the content does not begin with its manifest ({difference(header, expected)})", check=difference(header, expected)
            )
        data = yield from self._take(size)
        if crc32(data) != crc:
            raise Malformed("the manifest has another CRC than its header says", check="zip-crc")
        return data

    def _part(self, index: _Index, entry: PartEntry) -> Generator[None]:
        name = entry.name.encode()
        header = yield from self._take(len(_local_header(name, 0, entry.size)))
        crc, _ = _CRC_AND_SIZE.unpack_from(header)
        expected = index.member(name, crc, entry.size)
        if header != expected:
            check = difference(header, expected)
            raise Malformed(f"the header of part {entry.name!r} is not the one its entry makes ({check})", check=check, name=entry.name)
        self._events.append(PartStarted(entry=entry))
        hasher, found, left = Hasher(self._digest_name), 0, entry.size
        while left:
            data = yield from self._some(left)
            if not self._again:
                hasher.update(data)
                found = crc32(data, found)
            left -= len(data)
            self._events.append(PartData(data=data))
        if self._again:
            self._events.append(PartEnded(entry=entry))
            return
        if found != crc:
            raise Malformed(f"part {entry.name!r} has another CRC than its header says", check="zip-crc", name=entry.name)
        if hasher.text() != entry.digest:
            raise Unverified(f"part {entry.name!r} has another digest than the manifest says", check="part-digest", name=entry.name)
        self._events.append(PartEnded(entry=entry))

    def _exactly(self, expected: bytes, what: str) -> Generator[None]:
        """Compare as the bytes come, so that nothing is gathered."""
        at = 0
        while at < len(expected):
            data = yield from self._some(len(expected) - at)
            if data != expected[at : at + len(data)]:
                raise Malformed(f"the {what} is not the one its members make", check="zip-directory")
            at += len(data)

    def _take(self, count: int) -> Generator[None, None, bytes]:
        """Exactly ``count`` bytes; callers bound it."""
        pieces = []
        while count:
            piece = yield from self._some(count)
            pieces.append(piece)
            count -= len(piece)
        return b"".join(pieces)

    def _some(self, most: int) -> Generator[None, None, bytes]:
        """At least one byte and at most ``most``, waiting for the next feed when none is left."""
        while self._at == len(self._data):
            yield
        piece = self._data[self._at : self._at + most]
        self._at += len(piece)
        return piece

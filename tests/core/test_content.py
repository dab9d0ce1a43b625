"""The content has one spelling: other tools read it as a ZIP, and no changed, missing, spare or moved byte passes."""

from __future__ import annotations

import io
import subprocess
import tracemalloc
import zipfile
from collections.abc import Iterator
from pathlib import Path
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto.digests import digest
from crypto.errors import Malformed, Unverified
from gateway.core import content
from gateway.core.content import (
    COALESCE,
    ContentReader,
    ManifestRead,
    PartData,
    PartDiffers,
    PartEnded,
    PartStarted,
    ReadEvent,
    content_size,
    zip_chunks,
)
from gateway.core.manifest import MANIFEST_NAME, MAX_MANIFEST_BYTES
from gateway.core.transmittal import MAX_CONTENT_BYTES
from tests.core.samples import manifest, packed, part

PARTS = (("正文.ofd", b"%OFD" + bytes(range(256)) * 3), ("附件 1.xlsx", b""), ("c.bin", b"\xff" * 70))
DATA, DIGEST, MANIFEST = packed(*PARTS)
GIB4 = 0xFFFF_FFFF


def read(data: bytes, sizes: Iterator[int] | None = None, expected: str = DIGEST, name: str = "sha256") -> list[ReadEvent]:
    """Feed in pieces of these sizes (whole when None) and finish; neighbouring PartData joined."""
    reader = ContentReader("sm3" if name == "sm3" else "sha256", expected)
    events: list[ReadEvent] = []
    at = 0
    while at < len(data):
        step = len(data) if sizes is None else next(sizes)
        events += reader.feed(data[at : at + step])
        at += step
    reader.finish()
    joined: list[ReadEvent] = []
    for event in events:
        if isinstance(event, PartData) and isinstance(joined[-1], PartData):
            joined[-1] = PartData(data=joined[-1].data + event.data)
        else:
            joined.append(event)
    return joined


def forever(*sizes: int) -> Iterator[int]:
    while True:
        yield from sizes


EVENTS = read(DATA)


def test_the_events_tell_the_document() -> None:
    first, *rest = EVENTS
    assert isinstance(first, ManifestRead)
    assert first.manifest == MANIFEST
    assert first.data == MANIFEST.to_bytes()
    expected: list[ReadEvent] = []
    for entry, (_, body) in zip(MANIFEST.parts, PARTS, strict=True):
        expected += [PartStarted(entry=entry), *([PartData(data=body)] if body else []), PartEnded(entry=entry)]
    assert rest == expected


def test_whole_byte_by_byte_and_odd_pieces_give_the_same_events() -> None:
    assert read(DATA, forever(1)) == EVENTS
    assert read(DATA, forever(7, 1, 64)) == EVENTS
    for cut in range(1, len(DATA)):
        assert read(DATA, forever(cut, len(DATA))) == EVENTS


@given(st.lists(st.integers(0, 400), min_size=1, max_size=20).filter(any))
def test_any_split_gives_the_same_events(sizes: list[int]) -> None:
    assert read(DATA, forever(*sizes)) == EVENTS


def test_gm_digests() -> None:
    data, expected, value = packed(("a", b"1"), suite="gm-1")
    events = read(data, expected=expected, name="sm3")
    assert isinstance(events[0], ManifestRead)
    assert events[0].manifest == value


def test_the_size_is_known_before() -> None:
    crcs = [(entry, crc32(body)) for entry, (_, body) in zip(MANIFEST.parts, PARTS, strict=True)]
    assert content_size(MANIFEST.to_bytes(), crcs) == len(DATA)


# ---- other tools -------------------------------------------------------------------------------------------------------------------


def test_zipfile_reads_it() -> None:
    with zipfile.ZipFile(io.BytesIO(DATA)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == [MANIFEST_NAME, *(name for name, _ in PARTS)]
        assert archive.comment == b""
        for name, body in PARTS:
            info = archive.getinfo(name)
            assert archive.read(name) == body
            assert (info.date_time, info.compress_type, info.extra, info.comment) == ((1980, 1, 1, 0, 0, 0), zipfile.ZIP_STORED, b"", b"")
            assert info.flag_bits == 0x0800


def test_unzip_tests_it(tmp_path: Path) -> None:
    file = tmp_path / "content.zip"
    file.write_bytes(DATA)
    try:
        done = subprocess.run(["unzip", "-tqq", str(file)], capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("unzip is not installed")
    assert done.returncode == 0, done.stdout + done.stderr


# ---- what it refuses ---------------------------------------------------------------------------------------------------------------


def test_no_flipped_byte_passes() -> None:
    for at in range(len(DATA)):
        for flip in (0x01, 0x80, 0xFF):
            data = bytearray(DATA)
            data[at] ^= flip
            with pytest.raises((Malformed, Unverified)):
                read(bytes(data))


def test_no_byte_is_missing_or_spare() -> None:
    for at in range(len(DATA)):
        with pytest.raises((Malformed, Unverified)):
            read(DATA[:at])
        with pytest.raises((Malformed, Unverified)):
            read(DATA[:at] + DATA[at + 1 :])
        with pytest.raises((Malformed, Unverified)):
            read(DATA[:at] + b"\0" + DATA[at:])
    with pytest.raises(Malformed):
        read(DATA + b"\0")


def test_it_takes_nothing_after_a_refusal_or_the_end() -> None:
    reader = ContentReader("sha256", DIGEST)
    with pytest.raises(Malformed):
        reader.feed(b"\0" * 100)
    with pytest.raises(Malformed):
        reader.feed(DATA)
    with pytest.raises(Malformed):
        reader.finish()
    reader = ContentReader("sha256", DIGEST)
    reader.feed(DATA)
    assert reader.feed(b"") == []
    with pytest.raises(Malformed):
        reader.feed(b"\0")


def test_another_manifest_than_signed_for() -> None:
    with pytest.raises(Unverified) as caught:
        read(DATA, expected="sha256:" + "0" * 64)
    assert caught.value.check == "manifest-digest"


def test_a_part_with_another_digest() -> None:
    entry = part(b"right")
    value = manifest([entry]).to_bytes()
    data = b"".join(zip_chunks(value, [(entry, crc32(b"wrong"), iter([b"wrong"]))]))
    with pytest.raises(Unverified) as caught:
        read(data, expected=digest("sha256", value))
    assert caught.value.check == "part-digest"


def test_a_part_or_manifest_with_another_crc() -> None:
    entry = part(b"right")
    value = manifest([entry]).to_bytes()
    data = b"".join(zip_chunks(value, [(entry, 0, iter([b"right"]))]))
    with pytest.raises(Malformed, match="CRC"):
        read(data, expected=digest("sha256", value))
    with pytest.raises(Malformed, match="CRC"):
        read(DATA[:14] + b"\0\0\0\0" + DATA[18:])


def test_a_manifest_beyond_its_ceiling_is_refused_by_its_header() -> None:
    header = content._local_header(MANIFEST_NAME.encode(), 0, MAX_MANIFEST_BYTES + 1)
    with pytest.raises(Malformed):
        ContentReader("sha256", DIGEST).feed(header)


def _repacked(
    method: int = zipfile.ZIP_STORED, *, date: tuple[int, int, int, int, int, int] = (1980, 1, 1, 0, 0, 0), comment: bytes = b""
) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, body in ((MANIFEST_NAME, MANIFEST.to_bytes()), *PARTS):
            archive.writestr(zipfile.ZipInfo(name, date), body, method)
        archive.comment = comment
    return buffer.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        _repacked(),
        _repacked(zipfile.ZIP_DEFLATED),
        _repacked(date=(2026, 3, 2, 8, 0, 0)),
        _repacked(comment=b"hello"),
        b"MZ" + DATA,
        DATA + DATA,
        b"",
        DATA[-22:],
    ],
)
def test_the_same_members_packed_otherwise_are_refused(data: bytes) -> None:
    with pytest.raises(Malformed):
        read(data)


def test_parts_in_another_order_or_of_another_name_are_refused() -> None:
    entries = [part(body, name, role="attachment" if index else "body") for index, (name, body) in enumerate(PARTS)]
    value = manifest(entries).to_bytes()
    bodies = dict(PARTS)
    for order in (entries[::-1], entries[:2], [*entries, entries[0]]):
        data = b"".join(zip_chunks(value, [(entry, crc32(bodies[entry.name]), iter([bodies[entry.name]])) for entry in order]))
        with pytest.raises((Malformed, Unverified)):
            read(data)


@given(st.binary(max_size=400))
def test_any_bytes_are_refused(data: bytes) -> None:
    with pytest.raises((Malformed, Unverified)):
        read(data)


# ---- writing -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("yielded", [[b"12345", b"6789"], [b"1234567890", b"1"], [], [b"12345678901"]])
def test_a_part_of_another_length_is_our_own_failure(yielded: list[bytes]) -> None:
    entry = part(b"1234567890")
    with pytest.raises(PartDiffers):
        list(zip_chunks(manifest([entry]).to_bytes(), [(entry, 0, iter(yielded))]))


@pytest.mark.parametrize("size", [0, 1, COALESCE - 1000, COALESCE - 1, COALESCE, COALESCE + 1, 2 * COALESCE, 3 * COALESCE + 17])
@pytest.mark.parametrize("chunk", [1000, COALESCE - 1, COALESCE, 1 << 20])
def test_sizes_at_the_edges_of_chunks(size: int, chunk: int) -> None:
    body = bytes(size)
    data, expected, value = packed(("a", body), ("b", b"tail"), chunk=chunk)
    events = read(data, forever(chunk), expected=expected)
    assert b"".join(event.data for event in events if isinstance(event, PartData)) == body + b"tail"
    assert len(data) == content_size(value.to_bytes(), [(value.parts[0], 0), (value.parts[1], 0)])


def test_a_small_document_is_one_piece_and_a_large_one_few() -> None:
    entry = part(bytes(10_240))
    value = manifest([entry]).to_bytes()
    assert len(list(zip_chunks(value, [(entry, 0, iter([bytes(10_240)]))]))) == 1
    large = part(bytes(1 << 20))
    pieces = list(zip_chunks(manifest([large]).to_bytes(), [(large, 0, iter([bytes(256 * 1024)] * 4))]))
    assert len(pieces) == 6
    tiny = part(bytes(1 << 20))
    pieces = list(zip_chunks(manifest([tiny]).to_bytes(), [(tiny, 0, iter([bytes(1024)] * 1024))]))
    assert len(pieces) <= 17
    assert max(map(len, pieces)) <= COALESCE


# ---- large: headers from sizes alone -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [GIB4 - 1, GIB4, GIB4 + 1, 60 * 2**30])
def test_zip64_stands_exactly_where_it_must(size: int) -> None:
    local = content._local_header(b"a", 1, size)
    central = content._central_header(b"a", 1, size, 0)
    if size < GIB4:
        assert (len(local), len(central)) == (31, 47)
        assert size.to_bytes(4, "little") * 2 in local
    else:
        extra = size.to_bytes(8, "little") * 2
        assert local.endswith(b"\x01\x00\x10\x00" + extra)
        assert central.endswith(b"\x01\x00\x10\x00" + extra)
        assert b"\xff" * 8 in local
    assert content._central_header(b"a", 1, 1, size).endswith(b"\x01\x00\x08\x00" + size.to_bytes(8, "little")) == (size >= GIB4)
    assert content._central_header(b"a", 1, size, size)[-8:] == size.to_bytes(8, "little") or size < GIB4


class _Sparse(io.RawIOBase):
    """A file that is zeros but for given stretches: gigabytes cost nothing."""

    def __init__(self, stretches: dict[int, bytes], size: int) -> None:
        self._stretches, self._size, self._at = stretches, size, 0

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = offset + (0, self._at, self._size)[whence]
        return self._at

    def read(self, count: int = -1) -> bytes:
        end = self._size if count < 0 else min(self._size, self._at + count)
        data = bytearray(end - self._at)
        for start, stretch in self._stretches.items():
            low, high = max(start, self._at), min(start + len(stretch), end)
            if low < high:
                data[low - self._at : high - self._at] = stretch[low - start : high - start]
        self._at = end
        return bytes(data)


@pytest.mark.parametrize("size", [GIB4 - 200, GIB4 - 1, GIB4, 5 * 2**30])
def test_zipfile_finds_the_members_behind_gigabytes(size: int) -> None:
    """The directory of a document with one huge part and a small one behind it, read back by another implementation."""
    index = content._Index()
    stretches = {0: index.member(b"huge", 0, size)}
    start = index.offset
    stretches[start] = index.member(b"small", crc32(b"small"), 5) + b"small"
    end = index.offset
    stretches[end] = index.tail()
    with zipfile.ZipFile(_Sparse(stretches, end + len(index.tail()))) as archive:  # type: ignore[arg-type]
        assert archive.getinfo("huge").file_size == size
        assert archive.getinfo("small").header_offset == start
        assert archive.read("small") == b"small"
    assert (
        content_size(b"", [(part(b"", name="huge", size=size), 0), (part(b"", name="small", size=5), 0)])
        == end + len(index.tail()) + _manifest_member()
    )


def _manifest_member() -> int:
    return len(content._local_header(MANIFEST_NAME.encode(), 0, 0)) + len(content._central_header(MANIFEST_NAME.encode(), 0, 0, 0))


def test_the_ceiling_of_one_nonce() -> None:
    manifest_bytes = manifest([part()]).to_bytes()
    spare = content_size(manifest_bytes, [(part(b"", size=5 * 2**30), 0)]) - 5 * 2**30
    largest = part(b"", size=MAX_CONTENT_BYTES - spare)
    assert content_size(manifest_bytes, [(largest, 0)]) == MAX_CONTENT_BYTES == 68_719_476_704
    with pytest.raises(Malformed):
        content_size(manifest_bytes, [(part(b"", size=largest.size + 1), 0)])


@pytest.mark.parametrize("chunk", [64 * 1024, 1 << 20])
def test_memory_does_not_grow_with_the_part(chunk: int) -> None:
    size = 64 * 2**20
    block = bytes(chunk)
    entry = part(b"", size=size, digest="sha256:" + "0" * 64)
    value = manifest([entry]).to_bytes()
    reader = ContentReader("sha256", digest("sha256", value))
    tracemalloc.start()
    try:
        with pytest.raises(Unverified):  # the digest is not computed beforehand: its mismatch says that all of it was read
            for piece in zip_chunks(value, [(entry, _crc_of_zeros(size), (block for _ in range(size // chunk)))]):
                reader.feed(piece)
        assert tracemalloc.get_traced_memory()[1] < 4 * chunk + 2**20
    finally:
        tracemalloc.stop()


def _crc_of_zeros(size: int) -> int:
    crc = 0
    for _ in range(size >> 20):
        crc = crc32(bytes(1 << 20), crc)
    return crc


def test_read_again_it_has_the_same_parts_and_the_same_structure() -> None:
    """Digests and CRCs are the tag's business then; what the ZIP must be stays exact."""
    first = [type(event) for event in read(DATA)]
    reader = ContentReader("sha256", DIGEST, again=True)
    events = reader.feed(DATA)
    reader.finish()
    assert [type(event) for event in events] == first
    assert b"".join(event.data for event in events if isinstance(event, PartData)) == b"".join(content for _, content in PARTS)
    with pytest.raises(Malformed):
        ContentReader("sha256", DIGEST, again=True).feed(DATA[:-1] + b"\xff")

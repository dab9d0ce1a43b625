"""Hostile files: every trick with ZIP, names, JSON and DER is refused, each with its own word, within bounds of time and memory.

The tables are made here, byte by byte, so that each trick is visible; at the end some go through a whole gateway, signed by a member.
"""

from __future__ import annotations

import io
import json
import os
import struct
import time
import tracemalloc
import zipfile
from collections.abc import Callable
from contextlib import contextmanager
from zlib import crc32

import pytest

from crypto.certificates import Certificate
from crypto.digests import digest
from crypto.envelopes import MAX_ENVELOPE, open_envelope
from crypto.errors import Malformed, RemoteError, Unverified
from crypto.signed_data import MAX_SIGNED_DATA, SignedData
from crypto.timestamps import token_from_response
from gateway.core.content import ContentReader, zip_chunks
from gateway.core.cover import Cover
from gateway.core.leaf import Leaf
from gateway.core.manifest import Manifest, PartEntry, check_part_name
from gateway.core.receipt import Receipt
from gateway.core.transmittal import MAX_RECIPIENTS, Transmittal
from gateway.net.frames import unpack_answers, unpack_pending, unpack_receipts
from tests.core.samples import EXCHANGE, manifest, part, transmittal
from tests.faults.hostile import Forge, good_content, manifest_of, part_of, strangers
from tests.flow.world import World, receipted

SECONDS, MIB = 1.0, 1024 * 1024


@contextmanager
def bounded(seconds: float = SECONDS, memory: int = 16 * MIB):
    """Whatever is thrown at it: within that time and that much more memory."""
    tracemalloc.start()
    begun = time.process_time()
    try:
        yield
    finally:
        took, peak = time.process_time() - begun, tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert took < seconds, f"{took:.2f} s"
    assert peak < memory, f"{peak} bytes"


# ---- ZIP -------------------------------------------------------------------------------------------------------------------------

BODY, SECOND = b"%PDF-1.7 " + b"x" * 300, b"second"
SUM, LENGTH = crc32(BODY), len(BODY)
ENTRIES = (part(BODY, name="a.pdf"), part(SECOND, name="b.pdf", role="attachment"))
MANIFEST = manifest(ENTRIES).to_bytes()
GOOD = b"".join(zip_chunks(MANIFEST, [(ENTRIES[0], crc32(BODY), iter([BODY])), (ENTRIES[1], crc32(SECOND), iter([SECOND]))]))
FIRST = 30 + len(b"manifest.json") + len(MANIFEST)  # where the local header of a.pdf begins
FIRST_DATA = FIRST + 30 + len(b"a.pdf")
NEXT = FIRST_DATA + len(BODY)  # … of b.pdf
DIRECTORY = NEXT + 30 + len(b"b.pdf") + len(SECOND)


def patched(at: int, data: bytes, zip_: bytes = GOOD) -> bytes:
    return zip_[:at] + data + zip_[at + len(data) :]


def local(name: bytes = b"a.pdf", *, flags=0x0800, method=0, crc=SUM, stored=LENGTH, size=LENGTH, extra=b"", needed=20):
    return struct.pack("<4s5H3I2H", b"PK\x03\x04", needed, flags, method, 0, 0x21, crc, stored, size, len(name), len(extra)) + name + extra


def with_first(header: bytes, data: bytes = BODY) -> bytes:
    """The content with another local header and other data for a.pdf."""
    return GOOD[:FIRST] + header + data + GOOD[NEXT:]


def by_zipfile(method: int, *, comment: bytes = b"") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, body in (("manifest.json", MANIFEST), ("a.pdf", BODY), ("b.pdf", SECOND)):
            archive.writestr(zipfile.ZipInfo(name), body, method)
        archive.comment = comment
    return buffer.getvalue()


def with_local_directory(change: Callable[[bytes], bytes]) -> bytes:
    return GOOD[:DIRECTORY] + change(GOOD[DIRECTORY:])


ZIP64 = struct.pack("<HHQQ", 1, 16, len(BODY), len(BODY))
TRICKS: dict[str, tuple[bytes, str]] = {
    # compression and encryption
    "deflated": (with_first(local(method=8)), "zip-compressed"),
    "a bomb: a gigabyte of zeros, deflated": (with_first(local(method=8, stored=1_043_000, size=1 << 30)), "zip-compressed"),
    "deflate64": (with_first(local(method=9)), "zip-compressed"),
    "bzip2": (with_first(local(method=12)), "zip-compressed"),
    "LZMA": (with_first(local(method=14)), "zip-compressed"),
    "Zstandard": (with_first(local(method=93)), "zip-compressed"),
    "an unknown method": (with_first(local(method=0xFFFF)), "zip-compressed"),
    "all of it by another packer, deflated": (by_zipfile(zipfile.ZIP_DEFLATED), "zip-compressed"),
    "encrypted": (with_first(local(flags=0x0801)), "zip-encrypted"),
    "a data descriptor": (with_first(local(flags=0x0808, crc=0, stored=0, size=0)), "zip-data-descriptor"),
    "a patch of something": (with_first(local(flags=0x0820)), "zip-flags"),
    "a name that is not UTF-8": (with_first(local(flags=0)), "zip-flags"),
    "stored, by another packer": (by_zipfile(zipfile.ZIP_STORED), "zip-flags"),
    # sizes
    "a size one too small": (with_first(local(stored=len(BODY) - 1, size=len(BODY) - 1)), "zip-size"),
    "a size one too large": (with_first(local(stored=len(BODY) + 1, size=len(BODY) + 1)), "zip-size"),
    "two sizes": (with_first(local(size=len(BODY) + 1)), "zip-size"),
    "4 GiB − 1": (with_first(local(stored=0xFFFFFFFE, size=0xFFFFFFFE)), "zip-size"),
    "ZIP64 where none is needed": (with_first(local(stored=0xFFFFFFFF, size=0xFFFFFFFF, extra=ZIP64, needed=45)), "zip-size"),
    "ZIP64 beside true sizes": (with_first(local(extra=ZIP64)), "zip-extra"),
    "an extra field": (with_first(local(extra=b"UT\x05\x00\x01\0\0\0\0")), "zip-extra"),
    "an extra field that says it is longer": (with_first(local(extra=b"UT\xff\xff")), "zip-extra"),
    "a wrong CRC": (with_first(local(crc=1)), "zip-crc"),
    "a wrong CRC of the manifest": (patched(14, b"\0\0\0\0"), "zip-crc"),
    "a manifest above its ceiling": (patched(18, struct.pack("<II", 0xFFFFFFFF, 0xFFFFFFFF)), "zip-size"),
    # names
    "another name of the same length": (with_first(local(b"c.pdf")), "zip-name"),
    "a longer name": (with_first(local(b"a.pdf.exe")), "zip-name"),
    "an absolute path": (with_first(local(b"/a.pd")), "zip-name"),
    "a way out": (with_first(local(b"../a.")), "zip-name"),
    "a name with a zero byte": (with_first(local(b"a\0pdf")), "zip-name"),
    "a name of 64 KiB": (with_first(local(b"a" * 65535)), "zip-name"),
    # order, overlap, twins
    "two members of one name": (GOOD[:NEXT] + GOOD[FIRST:NEXT] + GOOD[NEXT:], "zip-size"),
    "the parts in another order": (GOOD[:FIRST] + GOOD[NEXT:DIRECTORY] + GOOD[FIRST:NEXT] + GOOD[DIRECTORY:], "zip-size"),
    "a part missing": (GOOD[:NEXT] + GOOD[DIRECTORY:], "zip-signature"),
    "a part more": (GOOD[:DIRECTORY] + local(b"c.pdf") + BODY + GOOD[DIRECTORY:], "zip-directory"),
    "bytes between two parts": (GOOD[:NEXT] + b"\0" * 100 + GOOD[NEXT:], "zip-signature"),
    "a part inside a part: the directory points into the first": (
        with_local_directory(lambda tail: tail.replace(struct.pack("<I", FIRST), struct.pack("<I", FIRST_DATA), 1)),
        "zip-directory",
    ),
    "both entries of the directory over one part": (
        with_local_directory(lambda tail: tail.replace(struct.pack("<I", NEXT), struct.pack("<I", FIRST), 1)),
        "zip-directory",
    ),
    "another name in the directory": (with_local_directory(lambda tail: tail.replace(b"b.pdf", b"b.exe")), "zip-directory"),
    "a way out in the directory": (with_local_directory(lambda tail: tail.replace(b"a.pdf", b"../..", 1)), "zip-directory"),
    "a symbolic link in the directory": (
        with_local_directory(lambda tail: tail.replace(struct.pack("<I", 0o100644 << 16), struct.pack("<I", 0o120777 << 16), 1)),
        "zip-directory",
    ),
    "an empty directory": (with_local_directory(lambda tail: tail[-22:]), "zip-directory"),
    "a directory entry twice": (with_local_directory(lambda tail: tail[: len(tail) // 3] + tail), "zip-directory"),
    "a count that lies": (GOOD[:-14] + struct.pack("<HH", 9, 9) + GOOD[-10:], "zip-directory"),
    "several disks": (GOOD[:-18] + struct.pack("<HH", 1, 1) + GOOD[-14:], "zip-directory"),
    "ZIP64 end records that nobody needs": (GOOD[:-22] + struct.pack("<4sQ", b"PK\x06\x06", 44) + b"\0" * 64 + GOOD[-22:], "zip-directory"),
    # before, behind, comments
    "a comment": (GOOD[:-2] + struct.pack("<H", 5) + b"hello", "zip-directory"),
    "by another packer, with a comment": (by_zipfile(zipfile.ZIP_STORED, comment=b"x" * 60000), "zip-flags"),
    "a program before it": (b"MZ" + b"\0" * 200 + GOOD, "zip-signature"),
    "one byte before it": (b"\0" + GOOD, "zip-signature"),
    "one byte behind it": (GOOD + b"\0", "zip-behind"),
    "a second ZIP behind it": (GOOD + GOOD, "zip-behind"),
    "cut short": (GOOD[:-1], "zip-cut"),
    "cut in a part": (GOOD[: FIRST_DATA + 5], "zip-cut"),
    "nothing": (b"", "zip-cut"),
    "the end record alone": (GOOD[-22:], "zip-cut"),
    "another time": (with_first(local()[:10] + b"\x01" + local()[11:]), "zip-time"),
    "another version": (with_first(local(needed=63)), "zip-version"),
    "not a local header": (with_first(b"PK\x07\x08" + local()[4:]), "zip-signature"),
    # the same header and other bytes
    "another part of the same size and CRC field": (with_first(local(crc=crc32(BODY[::-1])), BODY[::-1]), "part-digest"),
    "another manifest": (patched(30 + 13 + 5, b"X"), "zip-crc"),
}


def read(data: bytes, step: int) -> None:
    reader = ContentReader("sha256", digest("sha256", MANIFEST))
    for at in range(0, len(data), step):
        reader.feed(data[at : at + step])
    reader.finish()


def test_the_good_one_is_read():
    read(GOOD, 1)
    read(GOOD, len(GOOD))


@pytest.mark.parametrize(("data", "word"), TRICKS.values(), ids=TRICKS.keys())
def test_a_zip_with_a_trick_is_refused_by_its_name(data, word):
    for step in (max(1, len(data)), 7, 1):
        with bounded(), pytest.raises((Malformed, Unverified)) as caught:
            read(data, step)
        assert caught.value.check == word


def test_a_bomb_is_refused_before_a_byte_of_it_is_unpacked():
    """Ten gigabytes of zeros in ten megabytes: the header is read, and nothing else."""
    with bounded(0.5, 4 * MIB):
        reader = ContentReader("sha256", digest("sha256", MANIFEST))
        with pytest.raises(Malformed) as caught:
            reader.feed(with_first(local(method=8, stored=10_420_000, size=0xFFFFFFF0), b""))
        assert caught.value.check == "zip-compressed"
        for _ in range(10):
            with pytest.raises(Malformed):
                reader.feed(bytes(MIB))


# ---- names -----------------------------------------------------------------------------------------------------------------------

NAMES = {
    "../a": "name-path", "..": "name-path", "/etc/passwd": "name-path", "C:\\a": "name-path", "a/b": "name-path", "a\\b": "name-path",
    "\\\\server\\share": "name-path", "a:stream": "name-path", "a.": "name-path", "a ": "name-path", " a": "name-path", ".a": "name-path",
    "a\u3000": "name-path", "\u2003a": "name-path", "a\u2044b": "name-path", "a\u2215b": "name-path", "a\u29f8b": "name-path",
    "a\uff0fb": "name-path", "a\uff3cb": "name-path", "a\u2216b": "name-path", "a\ufe68b": "name-path", "a*": "name-path", "a|b": "name-path",
    "a\u202efdp.exe": "name-characters", "a\u2066b": "name-characters", "a\u200fb": "name-characters", "a\u061cb": "name-characters",
    "a\u200bb": "name-characters", "a\u200db": "name-characters", "a\u2060b": "name-characters", "a\u00adb": "name-characters",
    "a\ufe0f": "name-characters", "a\u3164b": "name-characters", "a\U000e0061": "name-characters", "a\ufeffb": "name-characters",
    "a\0b": "name-characters", "a\nb": "name-characters", "a\x7fb": "name-characters", "a\x85b": "name-characters",
    "a\u2028b": "name-characters", "e\u0301.pdf": "name-characters", "\u1112\u1161\u11ab.pdf": "name-characters", "\u212b.pdf": "name-characters",
    "CON": "name-reserved", "con.pdf": "name-reserved", "PRN.txt": "name-reserved", "aux": "name-reserved", "NUL.tar.gz": "name-reserved",
    "COM1": "name-reserved", "lpt9.pdf": "name-reserved", "COM\u00b9.pdf": "name-reserved", "CONIN$": "name-reserved",
    "nul .txt": "name-reserved", "manifest.json": "name-reserved", "MANIFEST.json": "name-reserved",
    "": "name-length", "a" * 121: "name-length", "\u6587" * 86: "name-length", "a" * 100_000: "name-length",
}  # fmt: skip


@pytest.mark.parametrize(("name", "word"), NAMES.items(), ids=[name[:20].encode("unicode_escape").decode() for name in NAMES])
def test_a_name_with_a_trick_is_refused_by_its_kind(name, word):
    with bounded(0.2), pytest.raises(Malformed) as caught:
        check_part_name(name)
    assert caught.value.check == word


TWINS = [
    ("A.pdf", "a.PDF"),
    ("straße.pdf", "STRASSE.pdf"),
    ("Σ.pdf", "ς.pdf"),
    ("\u01f0.pdf", "\u01f0.PDF"),
    ("\u0390.pdf", "\u0390.PDF"),
    ("ﬁ.pdf", "FI.pdf"),
]


@pytest.mark.parametrize(("one", "other"), TWINS, ids=[one for one, _ in TWINS])
def test_names_that_meet_on_some_disk_are_twins(one, other):
    with pytest.raises(Malformed) as caught:
        manifest((part(b"1", name=one), part(b"2", name=other, role="attachment")))
    assert caught.value.check == "name-twice"


# ---- JSON ------------------------------------------------------------------------------------------------------------------------

TRANSMITTAL = transmittal().to_bytes()
READERS: dict[str, Callable[[bytes], object]] = {
    "transmittal": Transmittal.from_bytes,
    "manifest": Manifest.from_bytes,
    "receipt": Receipt.from_bytes,
    "leaf": Leaf.from_bytes,
    "part": PartEntry.from_bytes,
    "answers": unpack_answers,
    "pending": unpack_pending,
}
LARGE = 200_000
JSON = {
    "deep lists": b"[" * LARGE,
    "deep lists, closed": b"[" * (LARGE // 2) + b"]" * (LARGE // 2),
    "deep objects": b'{"a":' * (LARGE // 5),
    "a deep value in a known field": b'{"content":' + b"[" * LARGE,
    "a deep value in an unknown field": b'{"zzz":' + b"[" * LARGE,
    "a deep value in every field": b'{"created":' + b'{"created":' * (LARGE // 12),
    "an integer of 200,000 digits": b'{"content":' + b"9" * LARGE + b"}",
    "an integer beyond 2^53 as a size": TRANSMITTAL.replace(b'"size":', b'"size":9007199254740993', 1),
    "a negative integer": TRANSMITTAL.replace(b'"size":', b'"size":-', 1),
    "a float": TRANSMITTAL.replace(b'"size":', b'"size":1.0', 1),
    "an exponent": TRANSMITTAL.replace(b'"size":', b'"size":1e999999999', 1),
    "minus zero": b'{"offset":-0,"state":"upload","v":"yizhan-pending/1"}',
    "NaN": b'{"offset":NaN,"state":"upload","v":"yizhan-pending/1"}',
    "a truth value for a number": b'{"offset":true,"state":"upload","v":"yizhan-pending/1"}',
    "the same key twice": b'{"offset":0,"offset":0,"state":"upload","v":"yizhan-pending/1"}',
    "the same key twenty thousand times": b"{" + b'"v":"x",' * 20_000 + b'"v":"x"}',
    "twenty thousand keys": b"{" + b",".join(b'"k%d":0' % number for number in range(20_000)) + b"}",
    "a string of escapes": b'{"v":"' + b"\\u0041" * 30_000 + b'"}',
    "half a surrogate": b'{"v":"\\ud800"}',
    "an overlong UTF-8": b'{"v":"\xc0\xaf"}',
    "UTF-16": '{"v":"x"}'.encode("utf-16"),
    "a byte order mark": b"\xef\xbb\xbf" + TRANSMITTAL,
    "combining characters without end": ('{"v":"a' + "\u0301\u0323" * 40_000 + '"}').encode(),
    "white space": b" " * LARGE + TRANSMITTAL,
    "behind it": TRANSMITTAL + b" ",
    "nothing": b"",
    "above every ceiling": b'{"v":"' + b"a" * (2 * MIB) + b'"}',
}


@pytest.mark.parametrize("data", JSON.values(), ids=JSON.keys())
@pytest.mark.parametrize("reader", READERS.values(), ids=READERS.keys())
def test_json_with_a_trick_is_malformed(reader, data):
    with bounded(), pytest.raises(Malformed):
        reader(data)


def test_a_thousand_recipients_are_read_and_one_more_is_not():
    value = json.loads(TRANSMITTAL)
    template = value["recipients"][0]
    for count, good in ((MAX_RECIPIENTS, True), (MAX_RECIPIENTS + 1, False), (5000, False)):
        value["recipients"] = [{**template, "org": org} for org in sorted(strangers(count))]
        data = json.dumps(value, separators=(",", ":"), sort_keys=True).encode()
        with bounded(0.3):
            if good:
                assert len(Transmittal.from_bytes(data).recipients) == count
            else:
                with pytest.raises(Malformed):
                    Transmittal.from_bytes(data)


# ---- DER -------------------------------------------------------------------------------------------------------------------------


def tlv(tag: int, body: bytes, length: bytes | None = None) -> bytes:
    if length is None:
        size = len(body)
        digits = size.to_bytes((size.bit_length() + 7) // 8 or 1, "big")
        length = digits if size < 128 else bytes([0x80 | len(digits)]) + digits
    return bytes([tag]) + length + body


def nested(levels: int, tag: int = 0x30) -> bytes:
    """That many constructed values inside each other, with right lengths."""
    pieces, size = [], 0
    for _ in range(levels):
        header = tlv(tag, b"\0" * size)[: -size or None] if size < 128 else bytes([tag, 0x84]) + size.to_bytes(4, "big")
        pieces.append(header)
        size += len(header)
    return b"".join(reversed(pieces))


SET_OF = tlv(0x31, tlv(0x02, b"\x01") * 3)
DER = {
    "nothing": b"",
    "a tag alone": b"\x30",
    "an indefinite length": b"\x30\x80\x04\x01a\x00\x00",
    "indefinite lengths inside each other": b"\x30\x80" * 20_000,
    "a length longer than the bytes": b"\x30\x05\x04\x01a",
    "a length of 2^31": b"\x30\x84\x80\x00\x00\x00",
    "a length of 2^64": b"\x30\x89" + b"\x01" + b"\0" * 8,
    "a length of 127 bytes": b"\x30\xff" + b"\xff" * 127,
    "the reserved length": b"\x30\xff",
    "a length not in its shortest form": tlv(0x30, b"\x04\x01a", b"\x81\x03"),
    "a length with a leading zero": tlv(0x30, b"\x04\x01a", b"\x82\x00\x03"),
    "a tag of a hundred bytes": b"\x3f" + b"\xff" * 100 + b"\x01\x00",
    "a constructed octet string": tlv(0x30, tlv(0x24, tlv(4, b"a") + tlv(4, b"b")) + tlv(4, b"b") + tlv(0x30, b"")),
    "a thousand levels": nested(1000),
    "ten thousand levels": nested(10_000),
    "ten thousand levels of context tags": nested(10_000, 0xA0),
    "ten thousand levels of sets": nested(10_000, 0x31),
    "a set": SET_OF,
    "an integer of 60,000 bytes": tlv(0x30, tlv(0x02, b"\x7f" + b"\xff" * 60_000)),
    "an object identifier of 60,000 bytes": tlv(0x30, tlv(0x06, b"\xff" * 60_000)),
    "an object identifier that never ends": tlv(0x30, tlv(0x06, b"\x80" * 60_000)),
    "fifteen thousand empty sequences": tlv(0x30, b"\x30\x00" * 15_000),
    "zeros": b"\0" * 60_000,
    "ones": b"\xff" * 60_000,
}


class NoKey:
    """An unwrapper that must not be reached."""

    def __getattr__(self, name):
        raise AssertionError("a key was asked for")


DER_READERS: dict[str, Callable[[bytes], object]] = {
    "cover": lambda der: Cover.from_bytes(len(der).to_bytes(4, "big") + der),
    "receipts": lambda der: unpack_receipts(len(der).to_bytes(4, "big") + der),
    "signature": SignedData.from_der,
    "token": token_from_response,
    "certificate": Certificate.from_der,
}


@pytest.mark.parametrize("der", DER.values(), ids=DER.keys())
@pytest.mark.parametrize("reader", DER_READERS.values(), ids=DER_READERS.keys())
def test_der_with_a_trick_is_malformed(reader, der):
    with bounded(), pytest.raises(RemoteError) as caught:
        reader(der)
    assert isinstance(caught.value, Malformed | Unverified)


def test_what_is_above_its_ceiling_is_not_parsed():
    for ceiling, reader in ((MAX_SIGNED_DATA, SignedData.from_der), (MAX_ENVELOPE, lambda der: open_envelope(der, NoKey()))):
        with bounded(0.2, 4 * MIB), pytest.raises(Malformed):
            reader(nested(1000) + b"\0" * ceiling)


def test_a_frame_that_says_it_is_large_takes_no_memory():
    for length in (0, 1, 2**31, 2**32 - 1):
        for reader in (Cover.from_bytes, unpack_receipts):
            with bounded(0.2, 1 * MIB), pytest.raises(Malformed):
                reader(length.to_bytes(4, "big") + b"\x30\x00")


# ---- through a whole gateway -----------------------------------------------------------------------------------------------------


def signed_tricks(forge: Forge, exchange: str) -> dict[str, tuple[bytes, bytes]]:
    """(plain content, manifest) of what a member signs with its own good key."""
    body = os.urandom(500)
    zip_, value = good_content(forge.standing, forge.suite, exchange, body)
    entry = part_of(body, forge.suite)
    name = entry.name.encode()
    at = 30 + 13 + len(value)
    header = len(zip_[at:]) and zip_[at : at + 30 + len(name)]
    bent = manifest_of(forge.standing, exchange, (entry,)).replace("正文.pdf".encode(), "../文.pdf".encode())
    return {
        "compressed": (zip_[: at + 8] + b"\x08" + zip_[at + 9 :], value),
        "no ZIP": (os.urandom(900), value),
        "a way out in the manifest": (zip_.replace(value, bent), bent),
        "two directories": (zip_ + zip_[-100:], value),
        "cut": (zip_[:-30], value),
        "another name": (zip_.replace(header, header[:30] + b"x" * len(name)), value),
    }


@pytest.mark.parametrize("suite", ["intl-1", "gm-1"])
async def test_a_member_that_signs_a_trick_is_refused_under_signature_and_the_office_sees_nothing(tmp_path, suite):
    from crypto.suites import suite_named

    async with World(tmp_path, suite=suite_named(suite)) as world:
        office, finance = world["office"], world["finance"]
        rooms = office.rooms
        forge = Forge(rooms.standing, suite, finance.code, rooms.tokens[suite], rooms.clock.now)
        for trick in signed_tricks(forge, forge.new_id()):
            exchange = forge.new_id()
            made = await forge.make(exchange, *signed_tricks(forge, exchange)[trick])
            (receipt,) = receipted(await finance.journey.inbound.offer(office.gateway, made.cover, made.content))
            stated = Receipt.from_bytes(receipt.body)
            assert (stated.event, stated.reason and stated.reason.code) == ("ContentConsignmentFailure", "content-invalid"), trick
            again = receipted(await finance.journey.inbound.offer(office.gateway, made.cover, made.content))
            assert again == (receipt,), "and said once for ever"
        good = await forge.good()
        (receipt,) = receipted(await finance.journey.inbound.offer(office.gateway, good.cover, good.content))
        assert Receipt.from_bytes(receipt.body).event == "ContentConsignment"
        crowd = forge.new_id()
        made = await forge.make(crowd, *good_content(forge.standing, forge.suite, crowd, b"x"), others=999)
        (receipt,) = receipted(await finance.journey.inbound.offer(office.gateway, made.cover, made.content))
        assert crowd != EXCHANGE

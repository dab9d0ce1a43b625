"""Targets of what travels between gateways: the JSON objects, the cover, the content, frames, small answers, headers, problem documents."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any, Final
from zlib import crc32

import msgspec

from crypto.digests import digest, parse_digest
from crypto.errors import Malformed, UnknownSuite, Unverified, YizhanError
from crypto.suites import DigestName, suite_named
from gateway.core.canonical import Wire, format_time, parse_time
from gateway.core.content import ContentReader, ManifestRead, PartData, PartEnded, PartStarted, content_size, zip_chunks
from gateway.core.cover import MAX_COVER, Cover
from gateway.core.directory import AuthorityEntry, DirectoryHead, EntryRef, GatewayEntry, OrganisationEntry
from gateway.core.exchange import Event
from gateway.core.leaf import Leaf
from gateway.core.manifest import Manifest
from gateway.core.receipt import Receipt, ReceiptReason
from gateway.core.transmittal import Transmittal
from gateway.flow.ports import Pending, ReceiptAnswer, SignedReceipt
from gateway.net import frames, problems
from gateway.net.peer_client import _retry_after
from gateway.net.time_stream import MAX_QUERY, MAX_REPLY, Flag, MessageReader, message
from gateway.store.spelling import spell
from tests.core import samples
from tests.core.worlds import entries_of
from tests.fuzz.good import both, proof
from tests.fuzz.target import Target

# ---- canonical JSON ------------------------------------------------------------------------------------------------------------------


KINDS: Final = (
    Transmittal,
    Manifest,
    Receipt,
    Leaf,
    DirectoryHead,
    OrganisationEntry,
    GatewayEntry,
    AuthorityEntry,
)  # all with a version line


def _canonical(kind: type[Wire], more: Callable[[Any], object] = lambda value: None) -> Callable[[bytes], None]:
    def run(data: bytes) -> None:
        value = kind.from_bytes(data)
        assert value.to_bytes() == data
        assert kind.from_bytes(data) == value
        more(value)

    return run


def _wire(name: str, kind: type[Wire], seeds: Callable[[], Sequence[bytes]], more: Callable[[Any], object] = lambda value: None) -> Target:
    return Target(name=name, run=_canonical(kind, more), errors=(Malformed,), seeds=seeds, shape="json")


def _transmittals() -> Sequence[bytes]:
    notices = [samples.notice(kind) for kind in ("withdraw", "void", "urge")]
    return [*(each.message for each in both()), samples.transmittal().to_bytes(), *(each.to_bytes() for each in notices)]


def _check_transmittal(value: Transmittal) -> None:
    assert value.created_at < value.expires_at
    assert len({each.org for each in value.recipients}) == len(value.recipients)
    assert all(value.recipient(each.org) is each for each in value.recipients)
    assert suite_named(value.suite).id == value.suite


def _manifests() -> Sequence[bytes]:
    rich = samples.document(
        document_number="政办函〔2026〕1号", signatory=("张三",), deadline="2026-03-09T08:00:00Z", print_quota=3, docket_year=2026
    )
    parts = [samples.part(), samples.part(b"", "附件 1.xlsx", role="attachment", level="public")]
    return [
        samples.manifest([samples.part()]).to_bytes(),
        samples.manifest(parts, document=rich).to_bytes(),
        samples.manifest([samples.part(suite="gm-1")]).to_bytes(),
    ]


def _check_manifest(value: Manifest) -> None:
    """A manifest's content has a size that can be told, and against any transmittal it holds or names what does not."""
    assert content_size(value.to_bytes(), [(part, 0) for part in value.parts]) > len(value.to_bytes())


def _receipts() -> Sequence[bytes]:
    reasoned = samples.receipt(Event.RETURNED, reason=ReceiptReason(code="wrong-recipient", note=samples.some_digest("words")))
    submission = samples.receipt(Event.SUBMISSION_ACCEPTANCE, recipient=None, refs=(samples.EXCHANGE,))
    return [samples.receipt().to_bytes(), reasoned.to_bytes(), submission.to_bytes()]


def _check_receipt(value: Receipt) -> None:
    assert parse_time(format_time(value.moment)) == value.moment


def _leaves() -> Sequence[bytes]:
    full = samples.leaf(
        exchange=samples.EXCHANGE,
        recipient=samples.FINANCE,
        object=samples.some_digest("o"),
        size=5,
        level="internal",
        src="a",
        dst="b",
        reason="x",
    )
    return [samples.leaf().to_bytes(), full.to_bytes()]


def _check_leaf(value: Leaf) -> None:
    assert spell(value) == value.to_bytes()
    assert value.moment.tzinfo is not None


def _heads() -> Sequence[bytes]:
    refs = (
        EntryRef(id="gateway/gw-office", digest=samples.some_digest("g")),
        EntryRef(id=f"organisation/{samples.HEALTH}", digest=samples.some_digest("o", "sm3")),
    )
    later = DirectoryHead(version=2, prev=samples.some_digest("one"), issued=samples.CREATED, expires=samples.EXPIRES, entries=refs)
    first = DirectoryHead(version=1, prev=None, issued=samples.CREATED, expires=samples.EXPIRES, entries=())
    return [later.to_bytes(), first.to_bytes()]


def _entries(kind: type[Wire]) -> Callable[[], Sequence[bytes]]:
    return lambda: [entry.to_bytes() for each in both() for entry in entries_of(each.pki) if isinstance(entry, kind)]


# ---- cover and content ---------------------------------------------------------------------------------------------------------------


def _covers() -> Sequence[bytes]:
    whole = [Cover(transmittal=each.message, nro=each.nro.der, envelopes=((samples.FINANCE, each.envelope),)).to_bytes() for each in both()]
    two = Cover(transmittal=b"{}", nro=b"0\0", envelopes=((samples.FINANCE, b"e"), (samples.HEALTH, b"f")))
    return [*whole, two.to_bytes(), Cover(transmittal=b"", nro=b"", envelopes=()).to_bytes()]


def _cover(data: bytes) -> None:
    cover = Cover.from_bytes(data)
    assert cover.to_bytes() == data
    assert Cover.from_bytes(cover.to_bytes()) == cover
    assert len(data) <= 4 + MAX_COVER


def _contents() -> Sequence[bytes]:
    one = samples.packed(("正文.ofd", b"body " * 20))
    two = samples.packed(("正文.ofd", b"b"), ("附件.txt", b""), suite="gm-1")
    return [one[0], two[0], samples.packed(("a", b""))[0]]


_NAME_END = 30 + len("manifest.json")  # where the manifest's bytes begin: behind the first local header


def _content(data: bytes) -> None:
    """The sender of these bytes signed for the manifest in them, whatever it says; fed whole or in any pieces, the outcome is one."""
    size = int.from_bytes(data[18:22], "little")
    manifest = data[_NAME_END : _NAME_END + min(size, len(data))]
    name: DigestName = "sm3" if b'"sm3:' in manifest else "sha256"
    pieces = _pieces(data)
    whole, split = _read_content(name, digest(name, manifest), [data]), _read_content(name, digest(name, manifest), pieces)
    assert type(whole) is type(split) and str(whole) == str(split), (whole, split, [len(piece) for piece in pieces])
    if isinstance(whole, YizhanError):
        raise whole
    again = zip_chunks(whole.data, ((entry, crc32(body), iter([body])) for entry, body in whole.parts))
    assert b"".join(again) == data
    assert content_size(whole.data, [(entry, crc32(body)) for entry, body in whole.parts]) == len(data)


def _pieces(data: bytes) -> list[bytes]:
    random = Random(crc32(data))
    cuts = sorted(random.randrange(len(data) + 1) for _ in range(random.choice((1, 3, 20))))
    return [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]


class _Unpacked(msgspec.Struct, frozen=True):
    data: bytes
    parts: list[tuple[Any, bytes]]


def _read_content(name: DigestName, manifest_digest: str, pieces: Sequence[bytes]) -> _Unpacked | YizhanError:
    reader = ContentReader(name, manifest_digest)
    data, parts = b"", []
    try:
        for piece in pieces:
            for event in reader.feed(piece):
                match event:
                    case ManifestRead():
                        data = event.data
                    case PartStarted():
                        parts.append((event.entry, bytearray()))
                    case PartData():
                        parts[-1][1].extend(event.data)
                    case PartEnded():
                        assert len(parts[-1][1]) == event.entry.size
        reader.finish()
    except (Malformed, Unverified, UnknownSuite) as error:
        return error
    return _Unpacked(data, [(entry, bytes(body)) for entry, body in parts])


# ---- HTTP bodies, answers and headers ------------------------------------------------------------------------------------------------


def _receipt_frames() -> Sequence[bytes]:
    receipts = [SignedReceipt(body=body, signature=each.bare.der) for each in both() for body in _receipts()]
    return [frames.pack_receipts(receipts[:1]), frames.pack_receipts(receipts[:3])]


def _receipts_frame(data: bytes) -> None:
    receipts = frames.unpack_receipts(data)
    assert frames.pack_receipts(receipts) == data
    assert [one for run in frames.batches(receipts) for one in run] == list(receipts)


def _exchange_body(data: bytes) -> None:
    """The body of POST /v1/exchanges as the server takes it apart: a cover, then the ciphertext."""
    end = frames.LENGTH_BYTES + frames.framed_length(data, MAX_COVER)
    if len(data) < end:
        raise Malformed("a cover longer than the body")
    cover = Cover.from_bytes(data[:end])
    assert cover.to_bytes() + data[end:] == data


def _answers(data: bytes) -> None:
    assert frames.pack_answers(frames.unpack_answers(data)) == data


def _pending(data: bytes) -> None:
    pending = frames.unpack_pending(data)
    assert frames.pack_pending(pending) == data
    assert frames.parse_offset(str(pending.offset)) == pending.offset


def _proof_answer(data: bytes) -> None:
    assert frames.pack_proof(*frames.unpack_proof(data)) == data


def _problem(data: bytes) -> None:
    read = problems.read_problem(data)
    assert problems.is_word(read.code)
    assert read == problems.read_problem(msgspec.json.encode(read))


def _headers(data: bytes) -> None:
    """The headers of an upload, one a line: offset, transmittal digest, and the words of an answer. HTTP gives them as Latin 1."""
    offset, transmittal, retry_after, word = (*data.decode("latin-1").split("\n", 3), "", "", "", "")[:4]
    later = _retry_after(retry_after)
    assert later is None or 0 <= later <= problems.MAX_RETRY_AFTER
    if problems.is_word(word):
        assert word.isascii()
        assert "\n" not in word
    assert str(frames.parse_offset(offset)) == offset
    name, raw = parse_digest(transmittal)
    assert f"{name}:{raw.hex()}" == transmittal


_HEADERS = (
    b"0\n" + samples.some_digest("t").encode() + b"\n5\nbusy",
    b"68719476704\n" + samples.some_digest("t", "sm3").encode() + b"\nsoon\n",
)

# ---- the stream of time stamps -------------------------------------------------------------------------------------------------------


def _stream(data: bytes) -> None:
    """Fed whole or in pieces the messages are the same; written again they are the bytes that were read."""
    for ceiling in (MAX_QUERY, MAX_REPLY):
        whole, split = _messages([data], ceiling), _messages(_pieces(data), ceiling)
        assert whole == split
        found, failure = whole
        assert data.startswith(b"".join((1 + len(value)).to_bytes(4, "big") + bytes((flag,)) + value for flag, value in found))
    if failure:
        raise Malformed(failure)


def _messages(pieces: Sequence[bytes], ceiling: int) -> tuple[list[tuple[int, bytes]], str]:
    reader = MessageReader(ceiling)
    found = []
    try:
        for piece in pieces:
            reader.feed(piece)
            while (one := reader.next()) is not None:
                found.append(one)
    except Malformed as error:
        return found, str(error)
    return found, ""


def _streams() -> Sequence[bytes]:
    return [
        b"".join(message(Flag.TSA_MSG, each.request) for each in both()),
        *(message(Flag.FINAL_MSG_REP, each.response) + message(Flag.ERROR_MSG_REP, b"no") for each in both()),
    ]


WIRE_TARGETS = (
    _wire("transmittal", Transmittal, _transmittals, _check_transmittal),
    _wire("manifest", Manifest, _manifests, _check_manifest),
    _wire("receipt", Receipt, _receipts, _check_receipt),
    _wire("leaf", Leaf, _leaves, _check_leaf),
    _wire("directory-head", DirectoryHead, _heads),
    _wire("organisation-entry", OrganisationEntry, _entries(OrganisationEntry)),
    _wire("gateway-entry", GatewayEntry, _entries(GatewayEntry)),
    _wire("authority-entry", AuthorityEntry, _entries(AuthorityEntry)),
    Target(name="cover", run=_cover, errors=(Malformed,), seeds=_covers, shape="der"),
    Target(
        name="exchange-body", run=_exchange_body, errors=(Malformed,), seeds=lambda: [each + b"c" * 40 for each in _covers()], shape="der"
    ),
    Target(name="content", run=_content, errors=(Malformed, Unverified), seeds=_contents, shape="bytes"),
    Target(name="receipts-frame", run=_receipts_frame, errors=(Malformed,), seeds=_receipt_frames, shape="der"),
    Target(
        name="answers",
        run=_answers,
        errors=(Malformed,),
        seeds=lambda: [frames.pack_answers([ReceiptAnswer(digest=samples.some_digest("r"), code="recorded", retryable=False)] * 2)],
        shape="json",
    ),
    Target(
        name="pending",
        run=_pending,
        errors=(Malformed,),
        seeds=lambda: [frames.pack_pending(Pending(state="upload", offset=5)), frames.pack_pending(Pending(state="held", offset=0))],
        shape="json",
    ),
    Target(
        name="proof-answer", run=_proof_answer, errors=(Malformed,), seeds=lambda: [frames.pack_proof(_leaves()[0], proof())], shape="json"
    ),
    Target(
        name="problem",
        run=_problem,
        errors=(Malformed,),
        seeds=lambda: [problems.problem("busy").to_bytes(), problems.problem("offset-mismatch", offset=7).to_bytes()],
        shape="json",
    ),
    Target(name="headers", run=_headers, errors=(Malformed,), seeds=lambda: _HEADERS, shape="text", longest=512),
    Target(name="tsp-stream", run=_stream, errors=(Malformed,), seeds=_streams, shape="bytes"),
)

"""Receipt frames and the small JSON answers: what parses is spelled one way, everything else is Malformed."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto.digests import digest
from crypto.errors import Malformed
from gateway.core.receipt import MAX_RECEIPT_BYTES
from gateway.flow.ports import Pending, ReceiptAnswer, SignedReceipt
from gateway.net import frames

RECEIPTS = (SignedReceipt(body=b"one", signature=b"sig one"), SignedReceipt(body=b"two" * 300, signature=b"s" * 2000))
FRAME = frames.pack_receipts(RECEIPTS)


def test_the_frame_is_the_one_written_down():
    """docs/protocol.md, Receipts frame: the worked example."""
    frame = frames.pack_receipts([SignedReceipt(body=b"A", signature=b"B")])
    assert frame == bytes.fromhex("0000000c 300a 3008 3006 040141 040142".replace(" ", ""))


def test_frames_come_back():
    assert frames.unpack_receipts(FRAME) == RECEIPTS


@pytest.mark.parametrize("end", range(60))
def test_every_shorter_frame_is_malformed(end):
    with pytest.raises(Malformed):
        frames.unpack_receipts(FRAME[:end])


def test_trailing_bytes_are_malformed():
    with pytest.raises(Malformed):
        frames.unpack_receipts(FRAME + b"\0")
    inside = FRAME[4:] + b"\0"
    with pytest.raises(Malformed):
        frames.unpack_receipts(len(inside).to_bytes(4, "big") + inside)


@pytest.mark.parametrize("place", range(20))
@pytest.mark.parametrize("bit", range(8))
def test_a_flipped_bit_of_structure_never_gives_the_same_receipts(place, bit):
    flipped = bytearray(FRAME)
    flipped[place] ^= 1 << bit
    with contextlib.suppress(Malformed):
        assert frames.unpack_receipts(bytes(flipped)) != RECEIPTS


@given(st.binary(max_size=200))
def test_any_bytes_give_receipts_or_malformed(data):
    """Invariant: any bytes give a value that packs to the same bytes, or Malformed."""
    for frame in (data, len(data).to_bytes(4, "big") + data):
        try:
            receipts = frames.unpack_receipts(frame)
        except Malformed:
            continue
        assert frames.pack_receipts(receipts) == frame


def test_sizes_of_receipts_are_bounded():
    for body, signature in (
        (b"", b"s"),
        (b"b", b""),
        (b"b" * (MAX_RECEIPT_BYTES + 1), b"s"),
        (b"b", b"s" * (frames.MAX_RECEIPT_SIGNATURE + 1)),
    ):
        with pytest.raises(Malformed):
            frames.unpack_receipts(frames.pack_receipts([SignedReceipt(body=body, signature=signature)]))


def test_counts_of_receipts_are_bounded():
    for count in (0, frames.MAX_RECEIPTS + 1):
        with pytest.raises(Malformed):
            frames.unpack_receipts(frames.pack_receipts([SignedReceipt(body=b"b", signature=b"s")] * count))
    assert len(frames.unpack_receipts(frames.pack_receipts([SignedReceipt(body=b"b", signature=b"s")] * frames.MAX_RECEIPTS))) == 1000


def test_a_frame_above_the_ceiling_is_not_even_decoded():
    with pytest.raises(Malformed, match="bytes"):
        frames.unpack_receipts((frames.MAX_RECEIPTS_FRAME + 1).to_bytes(4, "big") + b"x" * (frames.MAX_RECEIPTS_FRAME + 1))


@given(st.lists(st.tuples(st.integers(1, MAX_RECEIPT_BYTES), st.integers(1, frames.MAX_RECEIPT_SIGNATURE)), max_size=300))
def test_batches_fit_and_lose_nothing(sizes):
    receipts = [SignedReceipt(body=b"b" * body, signature=b"s" * signature) for body, signature in sizes]
    runs = frames.batches(receipts)
    assert [receipt for run in runs for receipt in run] == receipts
    for run in runs:
        assert 0 < len(run) <= frames.MAX_RECEIPTS
        assert len(frames.pack_receipts(run)) <= frames.MAX_RECEIPTS_FRAME + 4


ANSWERS = (
    ReceiptAnswer(digest=digest("sha256", b"1"), code="ok", retryable=False),
    ReceiptAnswer(digest=digest("sm3", b"2"), code="directory-unknown", retryable=True),
)


def test_answers_come_back_and_are_canonical():
    data = frames.pack_answers(ANSWERS)
    assert frames.unpack_answers(data) == ANSWERS
    assert data.startswith(b'{"answers":[{"code":"ok","digest":"sha256:')
    assert data.endswith(b'"retryable":true}],"v":"yizhan-answers/1"}')


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data + b" ",
        lambda data: data.replace(b":", b": ", 1),
        lambda data: data.replace(b"answers/1", b"answers/2"),
        lambda data: data.replace(b'"ok"', b'"OK"'),
        lambda data: data.replace(b'"ok"', b'""'),
        lambda data: data.replace(b"sm3:", b"md5:"),
        lambda data: data.replace(b"false", b"0"),
        lambda data: data.replace(b'"v"', b'"w":1,"v"'),
        lambda data: b'{"answers":[],"v":"yizhan-answers/1"}',
        lambda data: b"\xff",
        lambda data: b"[" * 100_000,
        lambda data: data[:-1],
    ],
)
def test_other_spellings_of_answers_are_malformed(change):
    with pytest.raises(Malformed):
        frames.unpack_answers(change(frames.pack_answers(ANSWERS)))


@pytest.mark.parametrize("state", ["upload", "verifying", "held"])
def test_pending_comes_back(state):
    assert frames.unpack_pending(frames.pack_pending(Pending(state=state, offset=7))) == Pending(state=state, offset=7)


@pytest.mark.parametrize(
    "data",
    [
        b'{"offset":-1,"state":"upload","v":"yizhan-pending/1"}',
        b'{"offset":68719476705,"state":"upload","v":"yizhan-pending/1"}',
        b'{"offset":0,"state":"gone","v":"yizhan-pending/1"}',
        b'{"offset":0,"state":"held","v":"yizhan-pending/2"}',
        b'{"offset":0.0,"state":"held","v":"yizhan-pending/1"}',
        b'{"state":"held","offset":0,"v":"yizhan-pending/1"}',
        b"{" + b" " * 2000 + b"}",
    ],
)
def test_other_pendings_are_malformed(data):
    with pytest.raises(Malformed):
        frames.unpack_pending(data)


def test_proofs_come_back():
    assert frames.unpack_proof(frames.pack_proof(b"\0leaf", b"proof\n")) == (b"\0leaf", b"proof\n")
    with pytest.raises(Malformed):
        frames.unpack_proof(frames.pack_proof(b"leaf", b"proof").replace(b"=", b""))


@pytest.mark.parametrize(("text", "value"), [("0", 0), ("7", 7), ("68719476704", 68_719_476_704)])
def test_offsets(text, value):
    assert frames.parse_offset(text) == value


@pytest.mark.parametrize("text", [None, "", "-0", "00", "1_0", " 1", "1 ", "٣", "687194767040"])
def test_other_offsets_are_malformed(text):
    with pytest.raises(Malformed):
        frames.parse_offset(text)

"""Bodies of the peer protocol as pure functions (docs/protocol.md, Bodies). No sockets here.

Receipts travel as a frame: four bytes of length, then one strict DER value

    Receipts ::= SEQUENCE { receipts SEQUENCE OF SEQUENCE { body OCTET STRING, signature OCTET STRING } }

and nothing behind it. The small answers are canonical JSON with a version of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec
from cryptography.hazmat import asn1

from crypto.digests import parse_digest
from crypto.errors import Malformed
from gateway.core.cover import LENGTH_BYTES
from gateway.core.receipt import MAX_RECEIPT_BYTES
from gateway.core.transmittal import MAX_CONTENT_BYTES
from gateway.flow.ports import Pending, ReceiptAnswer, SignedReceipt
from gateway.net.problems import is_word

EXCHANGE_TYPE = "application/vnd.yizhan.exchange"
RECEIPTS_TYPE = "application/vnd.yizhan.receipts"
CONTENT_TYPE = "application/octet-stream"  # ciphertext in a PATCH
JSON_TYPE = "application/json"

OFFSET_HEADER = "Upload-Offset"
TRANSMITTAL_HEADER = "Yizhan-Transmittal"

MAX_INLINE = 1024 * 1024  # ciphertext that may follow the cover in one POST; larger content is uploaded and can be resumed
MAX_RECEIPT_SIGNATURE = 64 * 1024  # CMS with certificate and time-stamp token is 2 to 8 KiB
MAX_RECEIPTS = 1000  # an exchange has at most 1,000 recipients, each with one receipt in the answer
MAX_RECEIPTS_FRAME = 8 * 1024 * 1024  # 1,000 receipts of ordinary size; bounds what one request may keep in memory
MAX_ANSWER = 256 * 1024  # MAX_RECEIPTS answers of at most 180 bytes
MAX_OFFSET_DIGITS = len(str(MAX_CONTENT_BYTES))  # the largest content


@asn1.sequence
class _Receipt:
    body: bytes
    signature: bytes


@asn1.sequence
class _Receipts:
    receipts: list[_Receipt]


def framed_length(prefix: bytes, ceiling: int) -> int:
    """The length a frame's first four bytes state. Raises Malformed when it is short, zero or above the ceiling."""
    if len(prefix) < LENGTH_BYTES:
        raise Malformed("a frame without its length")
    length = int.from_bytes(prefix[:LENGTH_BYTES], "big")
    if not 0 < length <= ceiling:
        raise Malformed(f"a frame of {length} bytes", length=length)
    return length


def pack_receipts(receipts: Sequence[SignedReceipt]) -> bytes:
    """The frame of these receipts, in their order."""
    value = _Receipts(receipts=[_Receipt(body=receipt.body, signature=receipt.signature) for receipt in receipts])
    der = asn1.encode_der(value)
    return len(der).to_bytes(LENGTH_BYTES, "big") + der


def unpack_receipts(frame: bytes) -> tuple[SignedReceipt, ...]:
    """The receipts of a frame, at least one. Raises Malformed."""
    length = framed_length(frame, MAX_RECEIPTS_FRAME)
    if len(frame) != LENGTH_BYTES + length:
        raise Malformed("a receipts frame of another length than it states", stated=length, size=len(frame))
    try:
        value = asn1.decode_der(_Receipts, frame[LENGTH_BYTES:])
    except ValueError as error:
        raise Malformed("not a receipts frame") from error
    if not 0 < len(value.receipts) <= MAX_RECEIPTS:
        raise Malformed("a receipts frame of none or too many receipts", count=len(value.receipts))
    return tuple(_signed_receipt(receipt) for receipt in value.receipts)


def _signed_receipt(receipt: _Receipt) -> SignedReceipt:
    if not 0 < len(receipt.body) <= MAX_RECEIPT_BYTES or not 0 < len(receipt.signature) <= MAX_RECEIPT_SIGNATURE:
        raise Malformed("a receipt or its signature outside its sizes", body=len(receipt.body), signature=len(receipt.signature))
    return SignedReceipt(body=receipt.body, signature=receipt.signature)


def batches(receipts: Sequence[SignedReceipt]) -> list[Sequence[SignedReceipt]]:
    """The receipts cut into runs that each fit one frame."""
    runs: list[Sequence[SignedReceipt]] = []
    start = used = 0
    for index, receipt in enumerate(receipts):
        size = len(receipt.body) + len(receipt.signature) + 32  # 32: more than the DER headers of one receipt
        if index > start and (used + size > MAX_RECEIPTS_FRAME - 64 or index - start == MAX_RECEIPTS):
            runs.append(receipts[start:index])
            start, used = index, 0
        used += size
    if start < len(receipts):
        runs.append(receipts[start:])
    return runs


# ---- the small JSON answers ------------------------------------------------------------------------------------------------------


class _Answer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    code: str
    digest: str
    retryable: bool


class _Answers(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    answers: list[_Answer]
    v: Literal["yizhan-answers/1"]


class _Pending(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    offset: int
    state: Literal["upload", "verifying", "held"]
    v: Literal["yizhan-pending/1"]


class _Proof(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    leaf: bytes
    proof: bytes
    v: Literal["yizhan-proof/1"]


_ENCODER = msgspec.json.Encoder(order="sorted")
_ANSWERS = msgspec.json.Decoder(_Answers)
_PENDING = msgspec.json.Decoder(_Pending)
_PROOF = msgspec.json.Decoder(_Proof)


def _read(decoder: msgspec.json.Decoder[Any], data: bytes, ceiling: int, what: str) -> Any:
    if len(data) > ceiling:
        raise Malformed(f"{what} above its ceiling", size=len(data))
    try:
        value = decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(f"not {what}") from error
    if _ENCODER.encode(value) != data:
        raise Malformed(f"{what} not in canonical form")
    return value


def pack_answers(answers: Sequence[ReceiptAnswer]) -> bytes:
    """What became of each receipt of a batch, in its order."""
    rows = [_Answer(code=answer.code, digest=answer.digest, retryable=answer.retryable) for answer in answers]
    return _ENCODER.encode(_Answers(answers=rows, v="yizhan-answers/1"))


def unpack_answers(data: bytes) -> tuple[ReceiptAnswer, ...]:
    """Raises Malformed."""
    value: _Answers = _read(_ANSWERS, data, MAX_ANSWER, "answers to receipts")
    if not 0 < len(value.answers) <= MAX_RECEIPTS:
        raise Malformed("answers to none or too many receipts")
    for answer in value.answers:
        parse_digest(answer.digest)
        if not is_word(answer.code):
            raise Malformed("an answer's code is no word")
    return tuple(ReceiptAnswer(digest=answer.digest, code=answer.code, retryable=answer.retryable) for answer in value.answers)


def pack_pending(pending: Pending) -> bytes:
    """The body of a 202."""
    return _ENCODER.encode(_Pending(offset=pending.offset, state=pending.state, v="yizhan-pending/1"))


def unpack_pending(data: bytes) -> Pending:
    """Raises Malformed."""
    value: _Pending = _read(_PENDING, data, 1024, "a pending answer")
    if not 0 <= value.offset <= MAX_CONTENT_BYTES:
        raise Malformed("an offset outside any content")
    return Pending(state=value.state, offset=value.offset)


def pack_proof(leaf: bytes, proof: bytes) -> bytes:
    """A leaf's exact bytes and its tlog-proof, both in base64."""
    return _ENCODER.encode(_Proof(leaf=leaf, proof=proof, v="yizhan-proof/1"))


def unpack_proof(data: bytes) -> tuple[bytes, bytes]:
    """Leaf and tlog-proof. Raises Malformed."""
    value: _Proof = _read(_PROOF, data, MAX_ANSWER, "a proof answer")
    return value.leaf, value.proof


def parse_offset(text: str | None) -> int:
    """An ``Upload-Offset``: decimal digits without sign or leading zero. Raises Malformed."""
    if text is None or not text.isascii() or not text.isdigit() or len(text) > MAX_OFFSET_DIGITS or (text[0] == "0" and text != "0"):
        raise Malformed("not an upload offset")
    return int(text)

"""The floor: what the cryptographic primitives of one document cost when nothing is batched, measured alone.

One recipient, a token for the signature, two receipts (ContentConsignment, ContentHandover). Every signature, verification, wrap, digest
and encrypted byte that the protocol cannot do without is done here once with the same public primitives the journey uses, and nothing
else: no DER, no JSON, no chains, no database. Counted is CPU time of this process.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from crypto.content_cipher import ContentDecryptor, ContentEncryptor, ContentKey, fresh_content_key
from crypto.digests import Hasher, digest_raw
from crypto.keys import PrivateKey, WrappedKey, wrap_key
from crypto.suites import Suite, SuiteId, suite_named

PIECE: Final = 1024 * 1024

# Lengths of the small messages as the formats make them for a document of one part and one recipient, both suites within some per cent.
ATTRIBUTES: Final = 280  # signed attributes: what a signature is over
MANIFEST: Final = 800
TRANSMITTAL: Final = 870
RECEIPT: Final = 550
ENVELOPE: Final = 350
SIGNATURE: Final = 71
TOKEN_INFO: Final = 150
AROUND: Final = 1050  # manifest and ZIP structure around the part


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """So many times this primitive over so many bytes, and for what."""

    primitive: str
    times: int
    size: int
    what: str

    def to_json(self) -> dict[str, object]:
        return {"primitive": self.primitive, "times": self.times, "bytes": self.size, "what": self.what}


def counts(size: int) -> tuple[Count, ...]:
    """Exactly what one document of one part of ``size`` bytes needs."""
    sealed = size + AROUND
    return (
        Count(primitive="sign", times=4, size=ATTRIBUTES, what="transmittal, token, receipt of consignment, receipt of handover"),
        Count(
            primitive="verify",
            times=5,
            size=ATTRIBUTES,
            what="token at the sender; transmittal, token at the recipient; two receipts at the sender",
        ),
        Count(primitive="wrap", times=1, size=32, what="content key, for the recipient"),
        Count(primitive="unwrap", times=1, size=32, what="content key, by the recipient"),
        Count(primitive="digest", times=2, size=size, what="part: when copied from the office, when opened"),
        Count(primitive="digest", times=2, size=sealed, what="ciphertext: when sealed, when received"),
        Count(primitive="digest", times=2, size=MANIFEST, what="manifest: when sealed, when opened"),
        Count(primitive="digest", times=2, size=TRANSMITTAL, what="transmittal: signed, verified"),
        Count(primitive="digest", times=4, size=RECEIPT, what="two receipts: signed, verified"),
        Count(primitive="digest", times=2, size=ENVELOPE, what="envelope: when sealed, when received"),
        Count(primitive="digest", times=3, size=SIGNATURE, what="signature value under the token: asked for, verified twice"),
        Count(primitive="digest", times=3, size=TOKEN_INFO, what="what the token says: signed, verified twice"),
        Count(primitive="encrypt", times=1, size=sealed, what="content"),
        Count(primitive="decrypt", times=1, size=sealed, what="content"),
    )


class Floor:
    """The primitives of one suite, ready to be measured."""

    def __init__(self, suite: SuiteId) -> None:
        self.suite: Suite = suite_named(suite)
        self._private = PrivateKey.generate(self.suite)
        self._message = os.urandom(ATTRIBUTES)
        self._signature = self._private.sign(self._message)
        self._content_key = os.urandom(self.suite.content_key_length)
        self._wrapped: WrappedKey = wrap_key(self._content_key, self._private.public)
        self._bytes = os.urandom(PIECE)

    def measure(self, size: int, documents: int) -> dict[str, float]:
        """CPU milliseconds a document, by primitive."""
        spent = dict.fromkeys((count.primitive for count in counts(size)), 0)
        for _ in range(documents):
            for count in counts(size):
                begun = time.process_time_ns()
                for _ in range(count.times):
                    self._once(count)
                spent[count.primitive] += time.process_time_ns() - begun
        return {primitive: nanoseconds / 1e6 / documents for primitive, nanoseconds in spent.items()}

    def _once(self, count: Count) -> None:
        match count.primitive:
            case "sign":
                self._private.sign(self._message)
            case "verify":
                self._private.public.verify(self._signature, self._message)
            case "wrap":
                wrap_key(self._content_key, self._private.public)
            case "unwrap":
                self._private.unwrap(self._wrapped)
            case "digest":
                self._digest(count.size)
            case "encrypt":
                _through(ContentEncryptor(fresh_content_key(self.suite)).update, self._pieces(count.size))
            case "decrypt":
                # GCM decrypts with the same work whatever the tag; checking it at the end is a comparison of 16 bytes.
                _through(ContentDecryptor(_with_any_tag(fresh_content_key(self.suite))).update, self._pieces(count.size))
            case other:
                raise AssertionError(f"internal: no primitive {other}")

    def _digest(self, size: int) -> None:
        if size <= PIECE:
            digest_raw(self.suite.digest, self._bytes[:size])
            return
        hasher = Hasher(self.suite.digest)
        for piece in self._pieces(size):
            hasher.update(piece)
        hasher.raw()

    def _pieces(self, size: int) -> Iterator[bytes]:
        for left in range(size, 0, -PIECE):
            yield self._bytes if left >= PIECE else self._bytes[:left]


def _with_any_tag(key: ContentKey) -> ContentKey:
    return key.with_tag(bytes(16))


def _through(act: Callable[[bytes], bytes], pieces: Iterator[bytes]) -> None:
    for piece in pieces:
        act(piece)

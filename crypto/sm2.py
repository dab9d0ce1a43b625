"""SM2 (GB/T 32918): signatures and public-key encryption, over whichever engine this machine has.

An engine is curve work only; what may not differ between engines stands here, once: the curve, the forms of signature and
ciphertext (strict DER), point and range checks. ``engine()`` is libcrypto 3 where it has SM2, else ``gmssl``'s curve arithmetic.

    private, public = engine().generate()
    signature = engine().sign(private, public, b"message", SM2_DEFAULT_ID)
    engine().verify(public, signature, b"message", SM2_DEFAULT_ID)
"""

from __future__ import annotations

import functools
import hmac
from dataclasses import dataclass
from typing import Protocol

from cryptography.hazmat import asn1
from cryptography.hazmat.primitives import hashes

from crypto.errors import LocalError, Malformed, Unverified
from crypto.randomness import random_bytes

# GB/T 32918.5: the recommended curve. a = p - 3.
P = 0xFFFFFFFEFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF00000000FFFFFFFFFFFFFFFF
A = P - 3
B = 0x28E9FA9E9D9F5E344D5A9E4BCF6509A7F39789F515AB8F92DDBCBD414D940E93
N = 0xFFFFFFFEFFFFFFFFFFFFFFFFFFFFFFFF7203DF6B21C6052B53BBF40939D54123
GX = 0x32C4AE2C1F1981195F9904466A39C9948FE30BBFF2660BE1715A4589334C74C7
GY = 0xBC3736A2F4F6779C59BDCEE36B692153D0A9877CC62A474002DF32E52139F0A0

FIELD_BYTES = 32
POINT_BYTES = 2 * FIELD_BYTES  # x || y; the leading 04 of the uncompressed form never travels inside our code
MAX_SIGNATURE = 72  # SEQUENCE of two INTEGERs of at most 33 bytes
MIN_PLAINTEXT = 16  # a shorter key stream would now and then be all zero, which engines treat differently
MAX_PLAINTEXT = 256  # SM2 encrypts keys here, nothing else; the KDF stays within eight blocks
MAX_CIPHERTEXT = MAX_PLAINTEXT + 128  # x, y, C3 and their DER heads take at most 114 bytes
MAX_ID = 8191  # ENTL_A counts bits in 16 bits, GB/T 32918.2 5.5


class Sm2Missing(LocalError):
    """No usable SM2 engine on this machine."""

    code = "sm2-missing"


class Sm2Engine(Protocol):
    """SM2 over raw keys: 32 bytes private, 64 bytes public. Every method may be called from several threads at once."""

    @property
    def name(self) -> str: ...

    @property
    def constant_time(self) -> bool:
        """False where timing may tell about the private key: log and doctor warn then."""

    def sign(self, private: bytes, public: bytes, message: bytes, identity: bytes) -> bytes:
        """The DER signature over Z_A || message."""

    def verify(self, public: bytes, signature: bytes, message: bytes, identity: bytes) -> None:
        """Return if the signature holds. Raises Unverified, or Malformed for a public key off the curve."""

    def encrypt(self, public: bytes, data: bytes) -> bytes:
        """SM2Cipher (DER, C1 C3 C2) of MIN_PLAINTEXT to MAX_PLAINTEXT bytes."""

    def decrypt(self, private: bytes, ciphertext: bytes) -> bytes:
        """The plaintext. Raises Malformed for bytes that are no SM2Cipher, Unverified where C3 does not match."""

    def generate(self) -> tuple[bytes, bytes]:
        """A fresh key pair."""

    def derive_public(self, private: bytes) -> bytes:
        """The public key of a private one. Raises Malformed outside [1, n-2]."""


# ---- which engine ----------------------------------------------------------------------------------------------------------------


@functools.cache
def engines() -> tuple[Sm2Engine, ...]:
    """Every engine usable on this machine, best first."""
    from crypto import sm2_gmssl, sm2_libcrypto  # here, because both take the curve from this module

    found = (sm2_libcrypto.load(), sm2_gmssl.load())
    return tuple(each for each in found if each is not None)


@functools.cache
def engine() -> Sm2Engine:
    """The engine to use. Raises Sm2Missing."""
    if not engines():
        raise Sm2Missing("neither an OpenSSL libcrypto 3 with SM2 nor the gmssl package is here")
    return engines()[0]


# ---- the forms, the same for every engine ----------------------------------------------------------------------------------------


@asn1.sequence
class _Signature:
    """GB/T 35276 7.3 SM2Signature."""

    r: int
    s: int


@asn1.sequence
class _Cipher:
    """GB/T 35276 7.2 SM2Cipher."""

    x: int
    y: int
    c3: bytes
    c2: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Sm2Cipher:
    """The parts of one ciphertext; ``c1`` lies on the curve."""

    c1: bytes
    c3: bytes
    c2: bytes

    def to_der(self) -> bytes:
        """The DER form SEQUENCE {x, y, C3, C2}."""
        x, y = _coordinates(self.c1)
        return asn1.encode_der(_Cipher(x=x, y=y, c3=self.c3, c2=self.c2))

    @classmethod
    def from_der(cls, der: bytes) -> Sm2Cipher:
        """Parse strictly. Raises Malformed: not DER, a wrong length, C1 off the curve."""
        if len(der) > MAX_CIPHERTEXT:
            raise Malformed("SM2 ciphertext too long", length=len(der))
        try:
            parts = asn1.decode_der(_Cipher, der)
        except ValueError as error:
            raise Malformed(f"not an SM2Cipher: {error}") from error
        if len(parts.c3) != FIELD_BYTES or not MIN_PLAINTEXT <= len(parts.c2) <= MAX_PLAINTEXT:
            raise Malformed("an SM2Cipher with wrong lengths")
        check_on_curve(parts.x, parts.y)
        return cls(c1=to_raw(parts.x, parts.y), c3=parts.c3, c2=parts.c2)


def signature_to_der(r: int, s: int) -> bytes:
    """The DER form of a signature."""
    return asn1.encode_der(_Signature(r=r, s=s))


def signature_from_der(der: bytes) -> tuple[int, int]:
    """(r, s), both in [1, n-1] (GB/T 32918.2 7.1 B1, B2). Raises Unverified: bytes that are no signature verify nothing."""
    if len(der) > MAX_SIGNATURE:
        raise Unverified("SM2 signature too long", check="signature")
    try:
        parts = asn1.decode_der(_Signature, der)
    except ValueError as error:
        raise Unverified(f"not an SM2 signature: {error}", check="signature") from error
    if not (1 <= parts.r < N and 1 <= parts.s < N):
        raise Unverified("an SM2 signature out of range", check="signature")
    return parts.r, parts.s


def to_raw(x: int, y: int) -> bytes:
    """The 64 bytes of a point."""
    return x.to_bytes(FIELD_BYTES, "big") + y.to_bytes(FIELD_BYTES, "big")


def check_on_curve(x: int, y: int) -> None:
    """Raise Malformed unless (x, y) is a point of the curve; infinity has no such form. The cofactor is 1: no further check is due."""
    if not (0 <= x < P and 0 <= y < P) or (y * y - (x * x * x + A * x + B)) % P:
        raise Malformed("a point that is not on the SM2 curve")


def check_public(public: bytes) -> None:
    """Raise Malformed unless these are the 64 bytes of a point on the curve."""
    if len(public) != POINT_BYTES:
        raise Malformed("an SM2 public key is 64 bytes", length=len(public))
    check_on_curve(*_coordinates(public))


def check_private(private: bytes) -> None:
    """Raise Malformed unless d is 32 bytes in [1, n-2] (GB/T 32918.1 6.1: n-1 would have no inverse of 1 + d)."""
    if len(private) != FIELD_BYTES or not 1 <= int.from_bytes(private, "big") <= N - 2:
        raise Malformed("not an SM2 private key")


def check_plaintext(data: bytes) -> None:
    """Raise ValueError for a length SM2 encryption is not for: a defect of the caller."""
    if not MIN_PLAINTEXT <= len(data) <= MAX_PLAINTEXT:
        raise ValueError(f"SM2 encrypts {MIN_PLAINTEXT} to {MAX_PLAINTEXT} bytes")


def random_scalar(highest: int = N - 1) -> int:
    """Uniform in [1, highest], by rejection (one draw in 2^32 is thrown away)."""
    while True:
        scalar = int.from_bytes(random_bytes(FIELD_BYTES), "big")
        if 1 <= scalar <= highest:
            return scalar


def identity_digest(public: bytes, identity: bytes) -> bytes:
    """Z_A (GB/T 32918.2 5.5)."""
    if len(identity) > MAX_ID:
        raise ValueError("the distinguishing identifier is too long")
    return sm3(_entl(identity), identity, _CURVE, public)


def sm3(*pieces: bytes) -> bytes:
    """SM3 over the pieces one after another."""
    hasher = hashes.Hash(hashes.SM3())
    for piece in pieces:
        hasher.update(piece)
    return hasher.finalize()


def same(left: bytes, right: bytes) -> bool:
    """Equality whose time tells nothing about where they differ."""
    return hmac.compare_digest(left, right)


def _entl(identity: bytes) -> bytes:
    return (8 * len(identity)).to_bytes(2, "big")


def _coordinates(raw: bytes) -> tuple[int, int]:
    return int.from_bytes(raw[:FIELD_BYTES], "big"), int.from_bytes(raw[FIELD_BYTES:], "big")


_CURVE = to_raw(A, B) + to_raw(GX, GY)

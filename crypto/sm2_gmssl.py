"""SM2 with ``gmssl`` as curve arithmetic and nothing more: the fallback where no libcrypto has SM2.

Of that package only point multiplication and addition are used. Its own signing and encryption are never called: they draw
nonces from ``random``, never compare C3, and damage public keys that begin with 04. Nonces come from ``crypto.randomness``, the
KDF, C3 and every range check are ours. Big-integer arithmetic in Python is not constant in time, which is why this is a fallback
that log and doctor warn about.
"""

from __future__ import annotations

from typing import Any

from crypto import sm2
from crypto.errors import Unverified

_KDF_BLOCK = 32  # bytes of one SM3 output


def load() -> Sm2Gmssl | None:
    """The engine, or None where the package is not installed."""
    try:
        from gmssl.sm2 import CryptSM2
    except ImportError:
        return None
    # Keys go in as arguments of each multiplication; the object only carries the curve.
    return Sm2Gmssl(CryptSM2(private_key="", public_key=""))


class Sm2Gmssl:
    """See ``crypto.sm2.Sm2Engine``."""

    name = "gmssl"
    constant_time = False

    def __init__(self, curve: Any) -> None:
        self._curve = curve

    # ---- signatures (GB/T 32918.2 6.1, 7.1) ----

    def sign(self, private: bytes, public: bytes, message: bytes, identity: bytes) -> bytes:
        """The DER signature over Z_A || message."""
        while True:
            signature = self._sign_with_nonce(private, public, message, identity, nonce=sm2.random_scalar())
            if signature is not None:
                return signature

    def _sign_with_nonce(self, private: bytes, public: bytes, message: bytes, identity: bytes, *, nonce: int) -> bytes | None:
        """The signature made with this k, or None where the standard asks for another k (6.1 A5, A6)."""
        sm2.check_private(private)
        d = int.from_bytes(private, "big")
        e = _message_digest(public, message, identity)
        x1 = self._times(nonce, _G)[0]
        r = (e + x1) % sm2.N
        if r == 0 or r + nonce == sm2.N:
            return None
        s = pow(1 + d, -1, sm2.N) * (nonce - r * d) % sm2.N
        return None if s == 0 else sm2.signature_to_der(r, s)

    def verify(self, public: bytes, signature: bytes, message: bytes, identity: bytes) -> None:
        """Return if the signature holds. Raises Unverified, or Malformed for a public key off the curve."""
        sm2.check_public(public)
        r, s = sm2.signature_from_der(signature)
        t = (r + s) % sm2.N
        if t == 0:  # 7.1 B5
            raise Unverified("the SM2 signature does not hold", check="signature")
        point = self._sum(self._times(s, _G), self._times(t, _point(public)))
        if point is None or (_message_digest(public, message, identity) + point[0]) % sm2.N != r:
            raise Unverified("the SM2 signature does not hold", check="signature")

    # ---- encryption (GB/T 32918.4 6.1, 7.1) ----

    def encrypt(self, public: bytes, data: bytes) -> bytes:
        """SM2Cipher (DER, C1 C3 C2) of MIN_PLAINTEXT to MAX_PLAINTEXT bytes."""
        while True:
            ciphertext = self._encrypt_with_nonce(public, data, nonce=sm2.random_scalar())
            if ciphertext is not None:
                return ciphertext

    def _encrypt_with_nonce(self, public: bytes, data: bytes, *, nonce: int) -> bytes | None:
        """The ciphertext made with this k, or None where the key stream is all zero (6.1 A5)."""
        sm2.check_public(public)
        sm2.check_plaintext(data)
        shared = sm2.to_raw(*self._times(nonce, _point(public)))
        stream = _key_stream(shared, len(data))
        if not any(stream):
            return None
        c1 = sm2.to_raw(*self._times(nonce, _G))
        return sm2.Sm2Cipher(c1=c1, c3=_check_value(shared, data), c2=_xor(data, stream)).to_der()

    def decrypt(self, private: bytes, ciphertext: bytes) -> bytes:
        """The plaintext. Raises Malformed for bytes that are no SM2Cipher, Unverified where C3 does not match."""
        sm2.check_private(private)
        cipher = sm2.Sm2Cipher.from_der(ciphertext)
        shared = sm2.to_raw(*self._times(int.from_bytes(private, "big"), _point(cipher.c1)))
        stream = _key_stream(shared, len(cipher.c2))
        plaintext = _xor(cipher.c2, stream)
        # 7.1 B4 refuses an all-zero stream; it is refused together with C3 so that the two cannot be told apart.
        if not sm2.same(_check_value(shared, plaintext), cipher.c3) or not any(stream):
            raise Unverified("the SM2 ciphertext does not open", check="unwrap")
        return plaintext

    # ---- keys ----

    def generate(self) -> tuple[bytes, bytes]:
        """A fresh key pair."""
        private = sm2.random_scalar(sm2.N - 2).to_bytes(sm2.FIELD_BYTES, "big")
        return private, self.derive_public(private)

    def derive_public(self, private: bytes) -> bytes:
        """The public key of a private one. Raises Malformed outside [1, n-2]."""
        sm2.check_private(private)
        return sm2.to_raw(*self._times(int.from_bytes(private, "big"), _G))

    # ---- the borrowed arithmetic: points there are hex strings, and its only doors are private ----

    def _times(self, scalar: int, point: str) -> tuple[int, int]:
        """The product scalar * point, for 1 <= scalar < n and a point of order n: never infinity."""
        return _from_hex(self._curve._kg(scalar, point))  # noqa: SLF001

    def _sum(self, left: tuple[int, int], right: tuple[int, int]) -> tuple[int, int] | None:
        """The sum, or None at infinity. Equal points are doubled: the borrowed addition does not know that case."""
        start = sm2.to_raw(*left).hex() + "1"  # Jacobian with Z = 1
        curve = self._curve
        added = curve._double_point(start) if left == right else curve._add_point(start, sm2.to_raw(*right).hex())  # noqa: SLF001
        affine = curve._convert_jacb_to_nor(added)  # noqa: SLF001
        return None if affine is None else _from_hex(affine)


_G = sm2.to_raw(sm2.GX, sm2.GY).hex()


def _point(raw: bytes) -> str:
    return raw.hex()


def _from_hex(text: str) -> tuple[int, int]:
    return int(text[:64], 16), int(text[64:128], 16)


def _message_digest(public: bytes, message: bytes, identity: bytes) -> int:
    return int.from_bytes(sm2.sm3(sm2.identity_digest(public, identity), message), "big")


def _key_stream(shared: bytes, length: int) -> bytes:
    """The KDF of GB/T 32918.4 5.4.3."""
    blocks = -(-length // _KDF_BLOCK)
    return b"".join(sm2.sm3(shared, counter.to_bytes(4, "big")) for counter in range(1, blocks + 1))[:length]


def _check_value(shared: bytes, plaintext: bytes) -> bytes:
    """C3 = SM3(x2 || M || y2)."""
    return sm2.sm3(shared[: sm2.FIELD_BYTES], plaintext, shared[sm2.FIELD_BYTES :])


def _xor(left: bytes, right: bytes) -> bytes:
    return (int.from_bytes(left, "big") ^ int.from_bytes(right, "big")).to_bytes(len(left), "big")

"""Keys of the two suites: what signs, verifies, wraps and unwraps.

A key belongs to one suite and serves one purpose; the certificate says which. ``Signer`` and ``Unwrapper`` are the seams behind
which a file, a PKCS#11 token or a key-holding process may stand. Decoded keys are cached behind their bytes.

    private = PrivateKey.generate(GM_1)
    private.public.verify(private.sign(b"message"), b"message")
    pem = private.to_pkcs8(b"password")
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat import asn1
from cryptography.hazmat.primitives import hashes, keywrap
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.kdf.x963kdf import X963KDF
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509 import ObjectIdentifier as Oid

from crypto import pkcs8, sm2
from crypto.errors import KeyUnusable, Malformed, UnknownSuite, Unverified
from crypto.randomness import random_bytes
from crypto.suites import GM_1, INTL_1, SM2_DEFAULT_ID, Suite

if TYPE_CHECKING:
    from crypto.certificates import Certificate

_CACHED = 512  # decoded public keys: an agency's peers and authorities
_SCALAR = 32
_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_P256 = ec.SECP256R1()
_ECDSA = ec.ECDSA(hashes.SHA256())

# SubjectPublicKeyInfo up to the point: id-ecPublicKey, named curve, uncompressed (RFC 5480, GB/T 35276). Nothing else is a key here.
_SPKI_HEADS = {
    GM_1.id: bytes.fromhex("3059301306072a8648ce3d020106082a811ccf5501822d03420004"),
    INTL_1.id: bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d03010703420004"),
}
_POINT = 64
# ECC-CMS-SharedInfo (RFC 5753 7.2): id-aes256-wrap without parameters, no entityUInfo, key length 256 bits.
_SHARED_INFO = bytes.fromhex("3015300b060960864801650304012da206040400000100")

_ED25519_HEAD = bytes.fromhex("302e020100300506032b657004220420")  # PKCS#8 up to the seed

_EC_PUBLIC_KEY = Oid("1.2.840.10045.2.1")
_CURVES = {GM_1.id: Oid("1.2.156.10197.1.301"), INTL_1.id: Oid("1.2.840.10045.3.1.7")}


# ---- public keys -----------------------------------------------------------------------------------------------------------------


class PublicKey:
    """A public key of one suite; its point lies on the curve."""

    __slots__ = ("_p256", "raw", "spki", "suite")

    def __init__(self, suite: Suite, raw: bytes) -> None:
        """Raises Malformed unless ``raw`` (x || y) is a point of the suite's curve."""
        self.suite = suite
        self.raw = raw
        self.spki = _SPKI_HEADS[suite.id] + raw
        self._p256 = None if suite is GM_1 else _p256_point(b"\x04" + raw)
        if suite is GM_1:
            sm2.check_public(raw)

    @classmethod
    def from_spki(cls, spki: bytes) -> PublicKey:
        """The key of a SubjectPublicKeyInfo. Raises Malformed, or UnknownSuite for keys of other kinds."""
        return _public_from_spki(spki)

    def verify(self, signature: bytes, message: bytes) -> None:
        """Return if the signature holds. Raises Unverified."""
        if self._p256 is None:
            sm2.engine().verify(self.raw, signature, message, SM2_DEFAULT_ID)
            return
        try:
            self._p256.verify(signature, message, _ECDSA)
        except InvalidSignature as error:
            raise Unverified("the ECDSA signature does not hold", check="signature") from error

    def wrap(self, content_key: bytes) -> WrappedKey:
        """The content key wrapped for the holder of this key."""
        if self._p256 is None:
            ciphertext = sm2.engine().encrypt(self.raw, _owned(content_key, self.suite))
            return WrappedKey(suite=self.suite, ephemeral=b"", ciphertext=ciphertext)
        return self._wrap_from_parts(content_key, ephemeral=_random_p256_scalar())

    def _wrap_from_parts(self, content_key: bytes, *, ephemeral: bytes) -> WrappedKey:
        """ECDH-ES, X9.63 KDF with SHA-256, AES-256 wrap (RFC 5753 3.1, SEC 1 3.6.1)."""
        assert self._p256 is not None
        private = _p256_private(ephemeral)
        shared = private.exchange(ec.ECDH(), self._p256)
        ciphertext = keywrap.aes_key_wrap(_wrapping_key(shared), _owned(content_key, self.suite))
        return WrappedKey(suite=self.suite, ephemeral=b"\x04" + _raw_point(private), ciphertext=ciphertext)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PublicKey) and self.spki == other.spki

    def __hash__(self) -> int:
        return hash(self.spki)

    def __repr__(self) -> str:
        return f"PublicKey({self.suite.id}, {self.raw.hex()})"


@functools.lru_cache(maxsize=_CACHED)
def _public_from_spki(spki: bytes) -> PublicKey:
    for suite in (GM_1, INTL_1):
        head = _SPKI_HEADS[suite.id]
        if spki.startswith(head):
            if len(spki) != len(head) + _POINT:
                raise Malformed("a public key of the wrong length")
            return PublicKey(suite, spki[len(head) :])
    raise UnknownSuite("a public key of no suite of ours")


def _p256_point(encoded: bytes) -> ec.EllipticCurvePublicKey:
    """The P-256 key of an uncompressed point. Raises Malformed."""
    if len(encoded) != 1 + _POINT or encoded[0] != 4:
        raise Malformed("not an uncompressed P-256 point")
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(_P256, encoded)
    except ValueError as error:
        raise Malformed("a point that is not on the P-256 curve") from error


# ---- private keys ----------------------------------------------------------------------------------------------------------------


@asn1.sequence
class _EcPrivateKey:
    """RFC 5915 3."""

    version: int
    scalar: bytes
    curve: Annotated[Oid | None, asn1.Explicit(0)]
    public: Annotated[asn1.BitString | None, asn1.Explicit(1)]


@asn1.sequence
class _EcAlgorithm:
    algorithm: Oid
    curve: Oid


@asn1.sequence
class _PrivateKeyInfo:
    """RFC 5958 2, without attributes."""

    version: int
    algorithm: _EcAlgorithm
    key: bytes


class PrivateKey:
    """A private key of one suite. Its bytes leave only encrypted."""

    __slots__ = ("_p256", "_scalar", "public", "suite")

    def __init__(self, suite: Suite, scalar: bytes) -> None:
        """Raises Malformed for a scalar outside the curve's range."""
        self.suite = suite
        self._scalar = scalar
        self._p256 = None if suite is GM_1 else _p256_private(scalar)
        raw = sm2.engine().derive_public(scalar) if self._p256 is None else _raw_point(self._p256)
        self.public = PublicKey(suite, raw)

    @classmethod
    def generate(cls, suite: Suite) -> PrivateKey:
        """A fresh key."""
        if suite is GM_1:
            return cls(suite, sm2.engine().generate()[0])
        return cls(suite, _random_p256_scalar())

    def sign(self, message: bytes) -> bytes:
        """The DER signature over the message, with the suite's digest (and Z_A of the default identifier for SM2)."""
        if self._p256 is None:
            return sm2.engine().sign(self._scalar, self.public.raw, message, SM2_DEFAULT_ID)
        return self._p256.sign(message, _ECDSA)

    def unwrap(self, wrapped: WrappedKey) -> bytes:
        """The content key. Raises Malformed or Unverified; for attackers the two look alike one room further up."""
        if wrapped.suite is not self.suite:
            raise Unverified("a content key wrapped under another suite", check="unwrap")
        if self._p256 is None:
            return _sized(sm2.engine().decrypt(self._scalar, wrapped.ciphertext), self.suite)
        shared = self._p256.exchange(ec.ECDH(), _p256_point(wrapped.ephemeral))
        try:
            return _sized(keywrap.aes_key_unwrap(_wrapping_key(shared), wrapped.ciphertext), self.suite)
        except keywrap.InvalidUnwrap as error:
            raise Unverified("the wrapped content key does not open", check="unwrap") from error

    def to_pkcs8(self, password: bytes, *, rounds: int = pkcs8.ROUNDS) -> bytes:
        """The encrypted PEM (see ``crypto.pkcs8``)."""
        point = asn1.BitString(b"\x04" + self.public.raw, 0)
        inner = _EcPrivateKey(version=1, scalar=self._scalar, curve=None, public=point)
        algorithm = _EcAlgorithm(algorithm=_EC_PUBLIC_KEY, curve=_CURVES[self.suite.id])
        info = _PrivateKeyInfo(version=0, algorithm=algorithm, key=asn1.encode_der(inner))
        return pkcs8.encrypt(asn1.encode_der(info), password, rounds=rounds)

    @classmethod
    def from_pkcs8(cls, pem: bytes, password: bytes) -> PrivateKey:
        """The key of an encrypted PEM. Raises KeyUnusable."""
        der = pkcs8.decrypt(pem, password)
        try:
            info = asn1.decode_der(_PrivateKeyInfo, der)
            inner = asn1.decode_der(_EcPrivateKey, info.key)
            suite = _suite_of(info.algorithm)
            private = cls(suite, inner.scalar)
        except (ValueError, Malformed) as error:
            raise KeyUnusable("not a private key of a suite of ours") from error
        if inner.curve not in (None, info.algorithm.curve) or (info.version, inner.version) != (0, 1):
            raise KeyUnusable("a private key that contradicts itself")
        if inner.public is not None and inner.public.as_bytes() != b"\x04" + private.public.raw:
            raise KeyUnusable("a private key whose public half is another key's")
        return private

    def __repr__(self) -> str:
        return f"PrivateKey({self.suite.id}, of {self.public.raw.hex()})"


def _suite_of(algorithm: _EcAlgorithm) -> Suite:
    for suite in (GM_1, INTL_1):
        if (algorithm.algorithm, algorithm.curve) == (_EC_PUBLIC_KEY, _CURVES[suite.id]):
            return suite
    raise KeyUnusable("a private key of no suite of ours")


def _p256_private(scalar: bytes) -> ec.EllipticCurvePrivateKey:
    value = int.from_bytes(scalar, "big")
    if len(scalar) != _SCALAR or not 1 <= value < _P256_ORDER:
        raise Malformed("not a P-256 private key")
    return ec.derive_private_key(value, _P256)


def _raw_point(private: ec.EllipticCurvePrivateKey) -> bytes:
    numbers = private.public_key().public_numbers()
    return numbers.x.to_bytes(_SCALAR, "big") + numbers.y.to_bytes(_SCALAR, "big")


def _random_p256_scalar() -> bytes:
    """Uniform in [1, n-1], by rejection."""
    while True:
        scalar = random_bytes(_SCALAR)
        if 1 <= int.from_bytes(scalar, "big") < _P256_ORDER:
            return scalar


def ed25519_to_pkcs8(private: ed25519.Ed25519PrivateKey, password: bytes, *, rounds: int = pkcs8.ROUNDS) -> bytes:
    """The encrypted PEM of a log key, in the same form as the keys of the suites."""
    return pkcs8.encrypt(private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()), password, rounds=rounds)


def ed25519_from_pkcs8(pem: bytes, password: bytes) -> ed25519.Ed25519PrivateKey:
    """The log key of an encrypted PEM. Raises KeyUnusable."""
    der = pkcs8.decrypt(pem, password)
    # One form, RFC 8410 7 without public key: OpenSSL's reader takes many and answers some bad ones with an internal error.
    if len(der) != len(_ED25519_HEAD) + _SCALAR or not der.startswith(_ED25519_HEAD):
        raise KeyUnusable("not an Ed25519 private key")
    return ed25519.Ed25519PrivateKey.from_private_bytes(der[len(_ED25519_HEAD) :])


# ---- wrapping a content key ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class WrappedKey:
    """A content key under one recipient's public key.

    intl-1: ``ephemeral`` is the uncompressed point, ``ciphertext`` the AES-256 wrap (RFC 3394). gm-1: ``ephemeral`` is empty,
    ``ciphertext`` is the SM2Cipher.
    """

    suite: Suite
    ephemeral: bytes
    ciphertext: bytes


def wrap_key(content_key: bytes, public: PublicKey) -> WrappedKey:
    """The content key wrapped for the holder of a public key."""
    return public.wrap(content_key)


def _wrapping_key(shared: bytes) -> bytes:
    return X963KDF(hashes.SHA256(), length=32, sharedinfo=_SHARED_INFO).derive(shared)


def _owned(content_key: bytes, suite: Suite) -> bytes:
    """Our own content key; another length is a defect of ours."""
    if len(content_key) != suite.content_key_length:
        raise AssertionError("internal: a content key of the wrong length")
    return content_key


def _sized(content_key: bytes, suite: Suite) -> bytes:
    """A content key somebody wrapped for us; another length is theirs to answer for."""
    if len(content_key) != suite.content_key_length:
        raise Unverified("a content key of the wrong length", check="unwrap")
    return content_key


# ---- the seams -------------------------------------------------------------------------------------------------------------------


class Signer(Protocol):
    """Signs with the key of one certificate. May be called from several threads."""

    @property
    def suite(self) -> Suite: ...

    @property
    def certificate(self) -> Certificate: ...

    def sign(self, message: bytes) -> bytes:
        """The DER signature over the message."""


class Unwrapper(Protocol):
    """Unwraps content keys with the key of one certificate. May be called from several threads."""

    @property
    def suite(self) -> Suite: ...

    @property
    def certificate(self) -> Certificate: ...

    def unwrap(self, wrapped: WrappedKey) -> bytes:
        """The content key. Raises Malformed or Unverified."""


@dataclass(frozen=True, slots=True)
class _Keyed:
    """A private key together with its certificate. Raises KeyUnusable when the two do not belong together."""

    private: PrivateKey = field(repr=False)
    certificate: Certificate

    def __post_init__(self) -> None:
        if self.certificate.suite is not self.private.suite or self.certificate.public_key != self.private.public:
            raise KeyUnusable("this private key does not belong to this certificate")

    @property
    def suite(self) -> Suite:
        return self.private.suite


class KeySigner(_Keyed):
    """A Signer over a key in memory."""

    __slots__ = ()

    def sign(self, message: bytes) -> bytes:
        """The DER signature over the message."""
        return self.private.sign(message)


class KeyUnwrapper(_Keyed):
    """An Unwrapper over a key in memory."""

    __slots__ = ()

    def unwrap(self, wrapped: WrappedKey) -> bytes:
        """The content key. Raises Malformed or Unverified."""
        return self.private.unwrap(wrapped)

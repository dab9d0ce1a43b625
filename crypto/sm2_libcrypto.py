"""SM2 over OpenSSL's libcrypto 3, through ctypes.

Two handles of one library: small setters go through ``PyDLL`` and keep the interpreter lock (releasing it invites a busy thread
in and costs more than the call); the four long operations and key decoding go through ``CDLL`` and release it. Decoded keys are
cached behind their raw bytes; a handle lives as long as anyone uses it, so eviction in one thread never frees a key another thread
signs with.

What libcrypto refuses leaves an entry in the thread's error queue, which Python's own ``ssl`` module may share: it is emptied
after every failure.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ctypes import POINTER, byref, c_char_p, c_int, c_long, c_size_t, c_ulong, c_void_p, create_string_buffer
from typing import Any

from crypto import sm2
from crypto.errors import LocalError, Unverified, YizhanError

_SONAMES = ("libcrypto.so.3", "libcrypto.so.4", "libcrypto.3.dylib", "libcrypto-3-x64.dll")
_OLDEST = 0x30000000  # EVP_PKEY_CTX_set1_id is a function, and SM2 a key type of its own, only since 3.0
_PUBLIC_KEYS = 512  # cached handles, about 2 KiB each: an agency's peers and their certificates
_PRIVATE_KEYS = 64  # our own: organisation signing and encryption, present and past

# DER around raw keys: SubjectPublicKeyInfo (RFC 5480) and PKCS#8 (RFC 5208) without the public key, which libcrypto derives.
_SPKI_HEAD = bytes.fromhex("3059301306072a8648ce3d020106082a811ccf5501822d03420004")
_PKCS8_HEAD = bytes.fromhex("3041020100301306072a8648ce3d020106082a811ccf5501822d042730250201010420")

_SMALL: dict[str, tuple[Any, list[Any]]] = {
    "OpenSSL_version_num": (c_ulong, []),
    "ERR_clear_error": (None, []),
    "EVP_sm3": (c_void_p, []),
    "EVP_PKEY_is_a": (c_int, [c_void_p, c_char_p]),
    "EVP_PKEY_free": (None, [c_void_p]),
    "EVP_PKEY_get1_encoded_public_key": (c_size_t, [c_void_p, POINTER(c_void_p)]),
    "CRYPTO_free": (None, [c_void_p, c_char_p, c_int]),
    "EVP_MD_CTX_new": (c_void_p, []),
    "EVP_MD_CTX_free": (None, [c_void_p]),
    "EVP_DigestSignInit": (c_int, [c_void_p, POINTER(c_void_p), c_void_p, c_void_p, c_void_p]),
    "EVP_DigestVerifyInit": (c_int, [c_void_p, POINTER(c_void_p), c_void_p, c_void_p, c_void_p]),
    "EVP_PKEY_CTX_set1_id": (c_int, [c_void_p, c_char_p, c_size_t]),
    "EVP_PKEY_CTX_new": (c_void_p, [c_void_p, c_void_p]),
    "EVP_PKEY_CTX_free": (None, [c_void_p]),
    "EVP_PKEY_encrypt_init": (c_int, [c_void_p]),
    "EVP_PKEY_decrypt_init": (c_int, [c_void_p]),
}
_LONG: dict[str, tuple[Any, list[Any]]] = {
    "d2i_PUBKEY": (c_void_p, [c_void_p, POINTER(c_char_p), c_long]),
    "d2i_AutoPrivateKey": (c_void_p, [c_void_p, POINTER(c_char_p), c_long]),
    "EVP_DigestSign": (c_int, [c_void_p, c_char_p, POINTER(c_size_t), c_char_p, c_size_t]),
    "EVP_DigestVerify": (c_int, [c_void_p, c_char_p, c_size_t, c_char_p, c_size_t]),
    "EVP_PKEY_encrypt": (c_int, [c_void_p, c_char_p, POINTER(c_size_t), c_char_p, c_size_t]),
    "EVP_PKEY_decrypt": (c_int, [c_void_p, c_char_p, POINTER(c_size_t), c_char_p, c_size_t]),
}


class LibcryptoFailed(LocalError):
    """libcrypto refused something it had no reason to refuse. Fact: ``call``."""

    code = "libcrypto-failed"


def load() -> Sm2Libcrypto | None:
    """The engine over the first library that really has SM2, or None."""
    for name in _candidates():
        try:
            lib = _Library(name)
            engine = Sm2Libcrypto(lib)
            _prove(engine)
        except (OSError, AttributeError, YizhanError):  # not there, too old, or built without SM2: try the next
            continue
        return engine
    return None


def _candidates() -> Iterator[str]:
    yield from _SONAMES
    found = ctypes.util.find_library("crypto")  # last: it starts a process
    if found is not None:
        yield found


class _Library:
    """The functions we call, with their types. AttributeError where one is missing, OSError where the library is."""

    def __init__(self, name: str) -> None:
        for table, library in ((_SMALL, ctypes.PyDLL(name)), (_LONG, ctypes.CDLL(name))):
            for symbol, (result, arguments) in table.items():
                function = getattr(library, symbol)
                function.restype, function.argtypes = result, arguments
                setattr(self, symbol, function)
        version = self.OpenSSL_version_num()
        if version < _OLDEST:
            raise LibcryptoFailed("libcrypto is older than 3.0", call="OpenSSL_version_num", version=version)

    def __getattr__(self, symbol: str) -> Callable[..., Any]:
        raise AttributeError(symbol)  # only reached for a symbol outside the tables

    def refused(self) -> None:
        """Forget what the failed call left in this thread's error queue."""
        self.ERR_clear_error()

    def must(self, outcome: int | None, call: str) -> int:
        """The outcome of a call that has no reason to fail. Raises LibcryptoFailed."""
        if outcome is None or outcome <= 0:
            self.refused()
            raise LibcryptoFailed(f"libcrypto: {call} failed", call=call)
        return outcome


class _Key:
    """An EVP_PKEY, freed with the last reference to it."""

    __slots__ = ("_free", "pointer")

    def __init__(self, pointer: int, free: Callable[[int], None]) -> None:
        self.pointer = pointer
        self._free = free

    def __del__(self) -> None:
        self._free(self.pointer)


class Sm2Libcrypto:
    """See ``crypto.sm2.Sm2Engine``."""

    name = "libcrypto"
    constant_time = True

    def __init__(self, lib: _Library) -> None:
        self._lib = lib
        self._sm3 = lib.must(lib.EVP_sm3(), "EVP_sm3")
        self._public = functools.lru_cache(maxsize=_PUBLIC_KEYS)(self._decode_public)
        self._private = functools.lru_cache(maxsize=_PRIVATE_KEYS)(self._decode_private)

    # ---- signatures ----

    def sign(self, private: bytes, public: bytes, message: bytes, identity: bytes) -> bytes:  # noqa: ARG002
        """The DER signature over Z_A || message. ``public`` is not needed: libcrypto derived it when it decoded the private key."""
        lib, key = self._lib, self._private(private)
        with self._digest_context(lib.EVP_DigestSignInit, key, identity) as context:
            signature, length = create_string_buffer(sm2.MAX_SIGNATURE), c_size_t(sm2.MAX_SIGNATURE)
            lib.must(lib.EVP_DigestSign(context, signature, byref(length), message, len(message)), "EVP_DigestSign")
        return signature.raw[: length.value]

    def verify(self, public: bytes, signature: bytes, message: bytes, identity: bytes) -> None:
        """Return if the signature holds. Raises Unverified, or Malformed for a public key off the curve."""
        lib, key = self._lib, self._public(public)
        sm2.signature_from_der(signature)
        with self._digest_context(lib.EVP_DigestVerifyInit, key, identity) as context:
            holds = lib.EVP_DigestVerify(context, signature, len(signature), message, len(message)) == 1
            if not holds:
                lib.refused()
                raise Unverified("the SM2 signature does not hold", check="signature")

    @contextmanager
    def _digest_context(self, init: Callable[..., int], key: _Key, identity: bytes) -> Iterator[int]:
        lib = self._lib
        context = lib.must(lib.EVP_MD_CTX_new(), "EVP_MD_CTX_new")
        try:
            pkey_context = c_void_p()  # owned by the digest context
            lib.must(init(context, byref(pkey_context), self._sm3, None, key.pointer), "EVP_DigestSign/VerifyInit")
            lib.must(lib.EVP_PKEY_CTX_set1_id(pkey_context, identity, len(identity)), "EVP_PKEY_CTX_set1_id")
            yield context
        finally:
            lib.EVP_MD_CTX_free(context)

    # ---- encryption ----

    def encrypt(self, public: bytes, data: bytes) -> bytes:
        """SM2Cipher (DER, C1 C3 C2) of MIN_PLAINTEXT to MAX_PLAINTEXT bytes."""
        sm2.check_plaintext(data)
        lib, key = self._lib, self._public(public)
        with self._key_context(lib.EVP_PKEY_encrypt_init, key) as context:
            out, length = create_string_buffer(sm2.MAX_CIPHERTEXT), c_size_t(sm2.MAX_CIPHERTEXT)
            lib.must(lib.EVP_PKEY_encrypt(context, out, byref(length), data, len(data)), "EVP_PKEY_encrypt")
        return out.raw[: length.value]

    def decrypt(self, private: bytes, ciphertext: bytes) -> bytes:
        """The plaintext. Raises Malformed for bytes that are no SM2Cipher, Unverified where C3 does not match."""
        sm2.Sm2Cipher.from_der(ciphertext)
        lib, key = self._lib, self._private(private)
        with self._key_context(lib.EVP_PKEY_decrypt_init, key) as context:
            out, length = create_string_buffer(sm2.MAX_CIPHERTEXT), c_size_t(sm2.MAX_CIPHERTEXT)
            if lib.EVP_PKEY_decrypt(context, out, byref(length), ciphertext, len(ciphertext)) != 1:
                lib.refused()
                raise Unverified("the SM2 ciphertext does not open", check="unwrap")
        return out.raw[: length.value]

    @contextmanager
    def _key_context(self, init: Callable[[int], int], key: _Key) -> Iterator[int]:
        lib = self._lib
        context = lib.must(lib.EVP_PKEY_CTX_new(key.pointer, None), "EVP_PKEY_CTX_new")
        try:
            lib.must(init(context), "EVP_PKEY_encrypt/decrypt_init")
            yield context
        finally:
            lib.EVP_PKEY_CTX_free(context)

    # ---- keys ----

    def generate(self) -> tuple[bytes, bytes]:
        """A fresh key pair."""
        private = sm2.random_scalar(sm2.N - 2).to_bytes(sm2.FIELD_BYTES, "big")
        return private, self.derive_public(private)

    def derive_public(self, private: bytes) -> bytes:
        """The public key of a private one. Raises Malformed outside [1, n-2]."""
        lib, key = self._lib, self._private(private)
        encoded = c_void_p()
        length = lib.must(lib.EVP_PKEY_get1_encoded_public_key(key.pointer, byref(encoded)), "EVP_PKEY_get1_encoded_public_key")
        try:
            point = ctypes.string_at(encoded.value or 0, length)
        finally:
            lib.CRYPTO_free(encoded, None, 0)
        return point[1:]  # without the 04 of the uncompressed form

    def _decode_public(self, public: bytes) -> _Key:
        sm2.check_public(public)
        return self._decode("d2i_PUBKEY", _SPKI_HEAD + public)

    def _decode_private(self, private: bytes) -> _Key:
        sm2.check_private(private)
        return self._decode("d2i_AutoPrivateKey", _PKCS8_HEAD + private)

    def _decode(self, call: str, der: bytes) -> _Key:
        lib = self._lib
        position = c_char_p(der)
        pointer = lib.must(getattr(lib, call)(None, byref(position), len(der)), call)
        key = _Key(pointer, lib.EVP_PKEY_free)
        lib.must(lib.EVP_PKEY_is_a(pointer, b"SM2"), "EVP_PKEY_is_a")
        return key


def _prove(engine: Sm2Libcrypto) -> None:
    """Show that this library computes SM2: the example of GB/T 32918.5 A.2 holds, another message does not, and a key opens."""
    private = bytes.fromhex("3945208f7b2144b13f36e38ac6d39f95889393692860b51a42fb81ef4df7c5b8")
    public = engine.derive_public(private)
    signature = sm2.signature_to_der(
        0xF5A03B0648D2C4630EEAC513E1BB81A15944DA3827D5B74143AC7EACEEE720B3,
        0xB1B6AA29DF212FD8763182BC0D421CA1BB9038FD1F7F42D4840B69C485BBC1AA,
    )
    engine.verify(public, signature, b"message digest", b"1234567812345678")
    try:
        engine.verify(public, signature, b"another message", b"1234567812345678")
    except Unverified:
        pass
    else:
        raise LibcryptoFailed("libcrypto accepts a wrong SM2 signature", call="EVP_DigestVerify")
    key = bytes(range(sm2.MIN_PLAINTEXT))
    if engine.decrypt(private, engine.encrypt(public, key)) != key:
        raise LibcryptoFailed("libcrypto does not open its own SM2 ciphertext", call="EVP_PKEY_decrypt")

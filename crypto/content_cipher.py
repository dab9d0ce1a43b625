"""Symmetric encryption: a document's content in one pass under its suite's AEAD, and small things under the storage key.

Content has no length known ahead and no memory to hold it, so both directions are push machines. A decryptor hands out plaintext
*before* the tag is checked: nothing of it may leave scratch until ``finalize`` has returned.

    key = fresh_content_key(GM_1)
    encryptor = ContentEncryptor(key)
    sealed = encryptor.update(b"...")
    key = key.with_tag(encryptor.finalize())
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final, Literal

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from crypto.errors import KeyUnusable, LocalError, Malformed, Unverified
from crypto.randomness import random_bytes
from crypto.suites import GM_1, Suite

NONCE_BYTES = 12
TAG_BYTES = 16  # DESIGN 4: exactly 16, although GCM could be had with less
MAX_CONTENT = 68_719_476_704  # NIST SP 800-38D 5.2.1.1: 2^36 - 32 bytes under one key and nonce

StorageCipher = Literal["aes-256-gcm", "sm4-gcm"]
STORAGE_KEY_BYTES = 32
MAX_SMALL = 64 * 1024 * 1024  # one sealed piece is held in memory whole
_CIPHER_NUMBERS: Final[dict[StorageCipher, int]] = {"aes-256-gcm": 1, "sm4-gcm": 2}
_SM4_PURPOSE = b"yizhan storage key, sm4-gcm, v1"
_NAMES_PURPOSE = b"yizhan storage key, digests of names, v1"


class ContentTooLong(LocalError):
    """More content than one key and nonce may encrypt."""

    code = "content-too-long"


@dataclass(frozen=True, slots=True, kw_only=True)
class ContentKey:
    """What opens one document's content: key, nonce and, once the content is encrypted, the tag over it."""

    suite: Suite
    key: bytes = field(repr=False)
    nonce: bytes
    tag: bytes | None = None

    def __post_init__(self) -> None:
        """Raise Malformed for a wrong length."""
        if len(self.key) != self.suite.content_key_length or len(self.nonce) != NONCE_BYTES:
            raise Malformed("a content key with wrong lengths")
        if self.tag is not None and len(self.tag) != TAG_BYTES:
            raise Malformed("a tag that is not 16 bytes")

    def with_tag(self, tag: bytes) -> ContentKey:
        """The same key, for content that ended in this tag."""
        return replace(self, tag=tag)


def fresh_content_key(suite: Suite) -> ContentKey:
    """A random key and nonce, for one content only."""
    return ContentKey(suite=suite, key=random_bytes(suite.content_key_length), nonce=random_bytes(NONCE_BYTES))


class ContentEncryptor:
    """Encrypts one content, piece by piece."""

    __slots__ = ("_context", "_room")

    def __init__(self, key: ContentKey) -> None:
        self._context = Cipher(_algorithm(key), modes.GCM(key.nonce)).encryptor()
        self._room = MAX_CONTENT

    def update(self, data: bytes) -> bytes:
        """The ciphertext of the next bytes. Raises ContentTooLong."""
        self._room -= len(data)
        if self._room < 0:
            raise ContentTooLong("content beyond what one key may encrypt", ceiling=MAX_CONTENT)
        return self._context.update(data)

    def finalize(self) -> bytes:
        """The tag. Nothing can be encrypted after it."""
        self._context.finalize()
        return self._context.tag


class ContentDecryptor:
    """Decrypts one content, piece by piece. What ``update`` gives is unverified until ``finalize`` has returned."""

    __slots__ = ("_context", "_room")

    def __init__(self, key: ContentKey) -> None:
        if key.tag is None:
            raise AssertionError("internal: a content key without tag opens nothing")
        self._context: CipherContext = Cipher(_algorithm(key), modes.GCM(key.nonce, key.tag)).decryptor()
        self._room = MAX_CONTENT

    def update(self, data: bytes) -> bytes:
        """The plaintext of the next bytes, not verified yet. Raises Malformed beyond the ceiling."""
        self._room -= len(data)
        if self._room < 0:
            raise Malformed("content beyond what one key may encrypt", ceiling=MAX_CONTENT)
        return self._context.update(data)

    def finalize(self) -> None:
        """Return if the tag holds over all that was given. Raises Unverified."""
        try:
            self._context.finalize()
        except InvalidTag as error:
            raise Unverified("the content's tag does not hold", check="tag") from error


def _algorithm(key: ContentKey) -> algorithms.SM4 | algorithms.AES256:
    return algorithms.SM4(key.key) if key.suite is GM_1 else algorithms.AES256(key.key)


# ---- the storage key -------------------------------------------------------------------------------------------------------------


class StorageKey:
    """Our own key for what we keep: held documents, content keys, private metadata, scratch.

    Sealed form: cipher number (1 byte), nonce (12), ciphertext, tag (16); number and associated data are authenticated. Nonces are
    random, so one key must seal fewer than 2^32 pieces (SP 800-38D 8.3); keys change yearly.
    """

    __slots__ = ("_aes", "_names", "_sm4", "cipher")

    def __init__(self, key: bytes, *, cipher: StorageCipher = "aes-256-gcm") -> None:
        """``cipher`` is what seals; both ciphers open. Raises KeyUnusable unless the key is 32 bytes."""
        if len(key) != STORAGE_KEY_BYTES:
            raise KeyUnusable("a storage key is 32 bytes", length=len(key))
        self.cipher: StorageCipher = cipher
        self._aes = AESGCM(key)
        # SM4 has 128-bit keys: a derived one, so that no two ciphers ever share key bytes.
        self._names = HKDFExpand(hashes.SHA256(), length=32, info=_NAMES_PURPOSE).derive(key)
        self._sm4 = algorithms.SM4(HKDFExpand(hashes.SM3(), length=16, info=_SM4_PURPOSE).derive(key))

    def seal(self, plaintext: bytes, associated: bytes) -> bytes:
        """The sealed form, bound to ``associated``. Raises ContentTooLong."""
        return self._seal_from_parts(plaintext, associated, nonce=random_bytes(NONCE_BYTES))

    def _seal_from_parts(self, plaintext: bytes, associated: bytes, *, nonce: bytes) -> bytes:
        if len(plaintext) > MAX_SMALL:
            raise ContentTooLong("too long to seal in one piece", ceiling=MAX_SMALL)
        head = bytes([_CIPHER_NUMBERS[self.cipher]])
        if self.cipher == "aes-256-gcm":
            return head + nonce + self._aes.encrypt(nonce, plaintext, head + associated)
        context = Cipher(self._sm4, modes.GCM(nonce)).encryptor()
        context.authenticate_additional_data(head + associated)
        return b"".join((head, nonce, context.update(plaintext), context.finalize(), context.tag))

    def open(self, sealed: bytes, associated: bytes) -> bytes:
        """The plaintext. Raises Malformed for another form, Unverified where key, bytes or ``associated`` do not fit."""
        if not 1 + NONCE_BYTES + TAG_BYTES <= len(sealed) <= 1 + NONCE_BYTES + MAX_SMALL + TAG_BYTES:
            raise Malformed("not a sealed piece", length=len(sealed))
        if sealed[0] not in _CIPHER_NUMBERS.values():
            raise Malformed("sealed under a cipher we do not know", number=sealed[0])
        head, nonce, body = sealed[:1], sealed[1 : 1 + NONCE_BYTES], sealed[1 + NONCE_BYTES :]
        try:
            if sealed[0] == _CIPHER_NUMBERS["aes-256-gcm"]:
                return self._aes.decrypt(nonce, body, head + associated)
            context = Cipher(self._sm4, modes.GCM(nonce, body[-TAG_BYTES:])).decryptor()
            context.authenticate_additional_data(head + associated)
            return context.update(body[:-TAG_BYTES]) + context.finalize()
        except InvalidTag as error:
            raise Unverified("a sealed piece does not open", check="tag") from error

    def digest(self, purpose: str, name: str) -> str:
        """A keyed digest of a name that is only ever compared (hexadecimal): without the key nobody can try names."""
        mac = hmac.HMAC(self._names, hashes.SHA256())
        mac.update(purpose.encode() + b"\0" + name.encode("utf-8", "surrogateescape"))
        return mac.finalize().hex()

    def __repr__(self) -> str:
        return f"StorageKey({self.cipher})"


def seal_small(key: bytes, plaintext: bytes, associated: bytes, *, cipher: StorageCipher = "aes-256-gcm") -> bytes:
    """Seal once under a 32-byte key; see ``StorageKey.seal``."""
    return StorageKey(key, cipher=cipher).seal(plaintext, associated)


def open_small(key: bytes, sealed: bytes, associated: bytes) -> bytes:
    """Open what ``seal_small`` or a StorageKey sealed; see ``StorageKey.open``."""
    return StorageKey(key).open(sealed, associated)

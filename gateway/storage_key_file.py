"""The storage key at rest: 32 random bytes sealed under a key drawn from the home's passphrase by scrypt.

One text line each: format, salt, sealed key (base64). PKCS#8 holds private keys of a pair; this is a symmetric one.
"""

from __future__ import annotations

import base64
import binascii

from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from crypto.content_cipher import StorageKey
from crypto.errors import KeyUnusable, YizhanError
from crypto.randomness import random_bytes

_FORMAT = b"yizhan-storage-key/1"
_SALT = 16
_KEY = 32
_COST = 1 << 15  # 32 MiB and about 0.1 s: once a start, and slow for whoever guesses


def new_storage_key(passphrase: bytes) -> bytes:
    """A fresh storage key as the bytes of its file."""
    return _seal_from_parts(random_bytes(_KEY), random_bytes(_SALT), passphrase)


def open_storage_key(file: bytes, passphrase: bytes) -> StorageKey:
    """The storage key in these bytes. Raises KeyUnusable for a wrong passphrase or a damaged file."""
    try:
        form, salt, sealed = file.split()
        if form != _FORMAT:
            raise KeyUnusable("storage.key: not a storage key file of this version")
        key = _lock(base64.b64decode(salt, validate=True), passphrase).open(base64.b64decode(sealed, validate=True), _FORMAT)
    except (ValueError, binascii.Error, YizhanError) as problem:
        raise KeyUnusable("storage.key: damaged, or the passphrase is not the one it was made with") from problem
    return StorageKey(key)


def _seal_from_parts(key: bytes, salt: bytes, passphrase: bytes) -> bytes:
    sealed = _lock(salt, passphrase).seal(key, _FORMAT)
    return b"\n".join((_FORMAT, base64.b64encode(salt), base64.b64encode(sealed))) + b"\n"


def _lock(salt: bytes, passphrase: bytes) -> StorageKey:
    return StorageKey(Scrypt(salt=salt, length=_KEY, n=_COST, r=8, p=1).derive(passphrase))

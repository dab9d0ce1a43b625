"""Good values of every format in both suites, made with real keys: what the mutations start from.

All of it is the same in every process, keys, serial numbers and signatures: a corpus kept from an earlier run is believed by this one,
and so is a vector found years ago.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from unittest import mock

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from crypto import ca, content_cipher, keys, pkcs8, sm2, sm2_gmssl
from crypto.content_cipher import ContentKey, StorageKey
from crypto.digests import digest
from crypto.envelopes import make_envelope
from crypto.merkle import leaf_hash
from crypto.notes import Checkpoint, LogKey, make_checkpoint, tlog_proof
from crypto.signed_data import SignedData, sign_detached
from crypto.suites import SUITES, Suite
from crypto.timestamps import make_request, token_from_response
from gateway.core.transmittal import ContentRef, Recipient, Transmittal
from tests.core import samples
from tests.crypto.pki import Pki, make_pki

PASSWORD = b"a password of the fuzzing home"
LOG_NAME = "gw-office/1/2026.1"
LEAF = b'{"a leaf":"of the log"}'


def stream(seed: str) -> Callable[[int], bytes]:
    """An endless stream of fixed bytes in the place of the operating system's."""
    count = 0

    def draw(size: int) -> bytes:
        nonlocal count
        count += 1
        return hashlib.shake_256(f"{seed}/{count}".encode()).digest(size)

    return draw


@contextmanager
def fixed_randomness(seed: str) -> Iterator[None]:
    """What is made inside is the same in every process: SM2 by the engine whose nonces come through our door, ECDSA with RFC 6979."""
    draw, engine = stream(seed), sm2_gmssl.load()
    with (
        mock.patch.object(sm2, "engine", return_value=engine),
        mock.patch.object(keys, "_ECDSA", ec.ECDSA(hashes.SHA256(), deterministic_signing=True)),
        mock.patch.object(ca, "random_bytes", draw),
        mock.patch.object(content_cipher, "random_bytes", draw),
        mock.patch.object(keys, "random_bytes", draw),
        mock.patch.object(pkcs8, "random_bytes", draw),
        mock.patch.object(sm2, "random_bytes", draw),
    ):
        yield


@dataclass(frozen=True, slots=True, kw_only=True)
class Good:
    """The good values of one suite."""

    suite: Suite
    pki: Pki
    transmittal: Transmittal
    message: bytes  # the transmittal's bytes, which ``nro`` is over
    bare: SignedData  # without token
    nro: SignedData
    token: bytes
    request: bytes
    response: bytes
    content_key: ContentKey
    envelope: bytes


@cache
def good(suite_id: str) -> Good:
    """The good values of that suite, made once a process."""
    with fixed_randomness(f"fuzz/{suite_id}"):
        return _make(SUITES[suite_id])


def _make(suite: Suite) -> Good:
    pki, prefix = make_pki(suite), suite.digest
    key = ContentKey(suite=suite, key=b"k" * suite.content_key_length, nonce=b"n" * 12, tag=b"t" * 16)
    envelope = make_envelope(key, pki.finance.encryption.certificate)
    transmittal = samples.transmittal(
        suite=suite.id,
        content=ContentRef(manifest=samples.some_digest("manifest", prefix), sealed=samples.some_digest("sealed", prefix), size=12_345),
        recipients=(Recipient(org=samples.FINANCE, role="primary", envelope=digest(prefix, envelope)),),
    )
    message = transmittal.to_bytes()
    bare = sign_detached(message, pki.office.signing.signer, at=pki.now)
    request = make_request(prefix, bare.signature, nonce=7)
    response = pki.authority.respond(request, at=pki.now, serial=1)
    token = token_from_response(response)
    return Good(
        suite=suite,
        pki=pki,
        transmittal=transmittal,
        message=message,
        bare=bare,
        nro=bare.with_token(token),
        token=token,
        request=request,
        response=response,
        content_key=key,
        envelope=envelope,
    )


def both() -> tuple[Good, ...]:
    """The good values of both suites."""
    return tuple(good(suite_id) for suite_id in SUITES)


@cache
def log_key() -> LogKey:
    """The key of a log."""
    return LogKey._from_seed(LOG_NAME, b"s" * 32)


@cache
def checkpoint() -> bytes:
    """A checkpoint over one leaf."""
    return make_checkpoint(Checkpoint(origin=LOG_NAME, size=1, root=leaf_hash(LEAF)), log_key())


@cache
def proof() -> bytes:
    """The proof of that leaf."""
    return tlog_proof(0, [], checkpoint())


@cache
def storage_key() -> StorageKey:
    """A storage key that seals with AES; it opens both ciphers."""
    return StorageKey(b"s" * 32)

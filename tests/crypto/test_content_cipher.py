"""Content in one pass under both suites' ciphers, and small things under the storage key."""

from __future__ import annotations

import itertools

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given, settings
from hypothesis import strategies as st

from crypto import content_cipher
from crypto.content_cipher import (
    MAX_CONTENT,
    ContentDecryptor,
    ContentEncryptor,
    ContentKey,
    ContentTooLong,
    StorageKey,
    fresh_content_key,
    open_small,
    seal_small,
)
from crypto.errors import KeyUnusable, Malformed, Unverified
from crypto.suites import GM_1, SUITES
from tests.crypto.openssl_pki import gm_vectors

each_suite = pytest.mark.parametrize("suite", SUITES.values(), ids=SUITES.keys())
each_cipher = pytest.mark.parametrize("cipher", ["aes-256-gcm", "sm4-gcm"])
STORAGE = bytes(range(32))


def encrypt(key: ContentKey, *pieces: bytes) -> tuple[bytes, ContentKey]:
    encryptor = ContentEncryptor(key)
    ciphertext = b"".join(encryptor.update(piece) for piece in pieces)
    return ciphertext, key.with_tag(encryptor.finalize())


def decrypt(key: ContentKey, *pieces: bytes) -> bytes:
    decryptor = ContentDecryptor(key)
    plaintext = b"".join(decryptor.update(piece) for piece in pieces)
    decryptor.finalize()
    return plaintext


def test_sm4_vectors():
    vector = {name: bytes.fromhex(value) for name, value in gm_vectors()["sm4_gcm"].items()}
    key = ContentKey(suite=GM_1, key=vector["key"], nonce=vector["iv"])
    assert encrypt(key, vector["plaintext"])[0] == vector["ciphertext"]
    # Content has no associated data, the published tag does: it is asked of the same primitive.
    primitive = Cipher(algorithms.SM4(vector["key"]), modes.GCM(vector["iv"])).encryptor()
    primitive.authenticate_additional_data(vector["aad"])
    assert primitive.update(vector["plaintext"]) + primitive.finalize() == vector["ciphertext"]
    assert primitive.tag == vector["tag"]


@each_suite
@given(data=st.binary(max_size=400), cuts=st.lists(st.integers(min_value=0, max_value=400), max_size=5))
@settings(max_examples=60)
def test_pieces_do_not_matter(suite, data, cuts):
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    key = fresh_content_key(suite)
    whole, sealed = encrypt(key, data)
    pieces, also_sealed = encrypt(key, *(data[start:end] for start, end in itertools.pairwise(edges)))
    assert (whole, sealed) == (pieces, also_sealed)
    assert decrypt(sealed, *(whole[start:end] for start, end in itertools.pairwise(edges))) == data


@each_suite
def test_anything_changed_is_refused(suite):
    ciphertext, key = encrypt(fresh_content_key(suite), b"a notice of forty bytes, more or less....")
    for position in range(len(ciphertext)):
        with pytest.raises(Unverified):
            decrypt(key, ciphertext[:position] + bytes([ciphertext[position] ^ 1]) + ciphertext[position + 1 :])
    for position in range(16):
        with pytest.raises(Unverified) as caught:
            decrypt(key.with_tag(key.tag[:position] + bytes([key.tag[position] ^ 1]) + key.tag[position + 1 :]), ciphertext)
        assert caught.value.check == "tag"
    for bad in (ciphertext[:-1], ciphertext + b"\x00", b""):
        with pytest.raises(Unverified):
            decrypt(key, bad)
    for other in (
        ContentKey(suite=suite, key=bytes(suite.content_key_length), nonce=key.nonce, tag=key.tag),
        ContentKey(suite=suite, key=key.key, nonce=bytes(12), tag=key.tag),
    ):
        with pytest.raises(Unverified):
            decrypt(other, ciphertext)


@each_suite
def test_lengths(suite):
    good = {"suite": suite, "key": bytes(suite.content_key_length), "nonce": bytes(12), "tag": bytes(16)}
    ContentKey(**good)
    for part, length in (("key", 24), ("key", 0), ("nonce", 11), ("nonce", 16), ("tag", 1), ("tag", 15), ("tag", 17), ("tag", 0)):
        with pytest.raises(Malformed):
            ContentKey(**{**good, part: bytes(length)})


@each_suite
def test_a_key_is_fresh_and_never_shows_itself(suite):
    key = fresh_content_key(suite)
    assert key != fresh_content_key(suite)
    assert key.tag is None
    assert repr(key.key) not in repr(key)
    with pytest.raises(AssertionError):
        ContentDecryptor(key)


@each_suite
def test_the_ceiling_of_one_key(suite):
    encryptor = ContentEncryptor(fresh_content_key(suite))
    encryptor._room = 10  # as after 64 GiB
    encryptor.update(bytes(10))
    with pytest.raises(ContentTooLong) as caught:
        encryptor.update(b"\x00")
    assert caught.value.ceiling == MAX_CONTENT == 2**36 - 32
    decryptor = ContentDecryptor(fresh_content_key(suite).with_tag(bytes(16)))
    decryptor._room = 10
    with pytest.raises(Malformed):
        decryptor.update(bytes(11))


# ---- the storage key ----


@each_cipher
@given(data=st.binary(max_size=300), associated=st.binary(max_size=40))
@settings(max_examples=40)
def test_what_is_sealed_opens(cipher, data, associated):
    key = StorageKey(STORAGE, cipher=cipher)
    sealed = key.seal(data, associated)
    assert key.open(sealed, associated) == data
    assert key.seal(data, associated) != sealed
    assert len(sealed) == len(data) + 29


@each_cipher
def test_both_ciphers_open_whichever_sealed(cipher):
    assert StorageKey(STORAGE).cipher == "aes-256-gcm"
    sealed = seal_small(STORAGE, b"piece", b"place", cipher=cipher)
    assert open_small(STORAGE, sealed, b"place") == b"piece"
    assert StorageKey(STORAGE, cipher="sm4-gcm").open(sealed, b"place") == b"piece"


@each_cipher
def test_a_sealed_piece_with_anything_changed(cipher):
    key = StorageKey(STORAGE, cipher=cipher)
    sealed = key.seal(b"piece", b"place")
    for position in range(len(sealed)):
        for mask in (1, 3, 0x80):
            with pytest.raises((Malformed, Unverified)):
                key.open(sealed[:position] + bytes([sealed[position] ^ mask]) + sealed[position + 1 :], b"place")
    for other, associated in ((key, b"plac"), (key, b""), (StorageKey(bytes(32), cipher=cipher), b"place")):
        with pytest.raises(Unverified):
            other.open(sealed, associated)
    for bad in (b"", sealed[:28], b"\x00" + sealed[1:], b"\x07" + sealed[1:]):
        with pytest.raises(Malformed):
            key.open(bad, b"place")
    for bad in (sealed[:-1], sealed + b"\x00"):
        with pytest.raises(Unverified):
            key.open(bad, b"place")


def test_the_ciphers_share_no_key_bytes():
    """One cipher's number in front of the other's piece opens nothing."""
    for cipher, number in (("aes-256-gcm", 2), ("sm4-gcm", 1)):
        sealed = seal_small(STORAGE, b"piece", b"", cipher=cipher)
        with pytest.raises(Unverified):
            open_small(STORAGE, bytes([number]) + sealed[1:], b"")


@each_cipher
def test_the_sealed_form_is_fixed(cipher):
    sealed = StorageKey(STORAGE, cipher=cipher)._seal_from_parts(b"piece", b"place", nonce=bytes(range(12)))
    assert sealed.hex() == SEALED[cipher]


SEALED = {
    "aes-256-gcm": "01000102030405060708090a0b376bb378a0ff8b4eded8d9a7dd481ab0e6a984ee48",
    "sm4-gcm": "02000102030405060708090a0b703310a964a38c75603d06fb97e202fb0152773ddd",
}


def test_limits(monkeypatch):
    for length in (0, 16, 31, 33):
        with pytest.raises(KeyUnusable):
            StorageKey(bytes(length))
    monkeypatch.setattr(content_cipher, "MAX_SMALL", 100)
    key = StorageKey(STORAGE)
    assert key.open(key.seal(bytes(100), b""), b"") == bytes(100)
    with pytest.raises(ContentTooLong):
        key.seal(bytes(101), b"")
    with pytest.raises(Malformed):
        key.open(bytes(130), b"")
    assert STORAGE.hex() not in repr(key)
    assert repr(key) == "StorageKey(aes-256-gcm)"


@given(data=st.binary(max_size=100))
def test_any_bytes_are_no_sealed_piece(data):
    with pytest.raises((Malformed, Unverified)):
        StorageKey(STORAGE).open(data, b"")


def test_digests_of_names_need_the_key_and_keep_purposes_apart():
    key, other = StorageKey(b"k" * 32), StorageKey(b"l" * 32)
    name = key.digest("source", "folder/关于试点的通知")
    assert name == StorageKey(b"k" * 32, cipher="sm4-gcm").digest("source", "folder/关于试点的通知")
    assert len(name) == 64
    others = {
        other.digest("source", "folder/关于试点的通知"),
        key.digest("account", "folder/关于试点的通知"),
        key.digest("source", "folder/"),
    }
    assert name not in others
    assert key.digest("source", "n\udce4me")

"""Private keys at rest: PKCS#8 under a password, as PEM (RFC 5958, RFC 7468).

One closed form is written: PBES2 with PBKDF2-HMAC-SHA256 and AES-256-CBC (RFC 8018), which ``openssl pkey`` reads. The same form
with other counts is read, so that keys made by OpenSSL 3 come in. Nothing here writes a key unencrypted.
"""

from __future__ import annotations

import base64
import binascii

from cryptography.hazmat import asn1
from cryptography.hazmat.primitives import hashes, padding
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC
from cryptography.x509 import ObjectIdentifier as Oid

from crypto.errors import KeyUnusable
from crypto.randomness import random_bytes

ROUNDS = 600_000  # about 80 ms on one core, once a key and process
MIN_ROUNDS = 2_048  # what `openssl genpkey -aes-256-cbc` writes by default
MAX_ROUNDS = 10_000_000  # a file must not keep a start busy for minutes
MAX_PASSWORD = 1_024  # derivation costs more the longer it is; a page of words fits
MAX_PEM = 16_384  # keys of our suites take about 500 bytes
_SALT = 16
_BLOCK = 16
_BEGIN, _END = b"-----BEGIN ENCRYPTED PRIVATE KEY-----", b"-----END ENCRYPTED PRIVATE KEY-----"

_PBES2 = Oid("1.2.840.113549.1.5.13")
_PBKDF2 = Oid("1.2.840.113549.1.5.12")
_HMAC_SHA256 = Oid("1.2.840.113549.2.9")
_AES_256_CBC = Oid("2.16.840.1.101.3.4.1.42")


@asn1.sequence
class _Prf:
    algorithm: Oid
    parameters: asn1.Null


@asn1.sequence
class _Pbkdf2Parameters:
    salt: bytes
    rounds: int
    key_length: int | None
    prf: _Prf


@asn1.sequence
class _KeyDerivation:
    algorithm: Oid
    parameters: _Pbkdf2Parameters


@asn1.sequence
class _Encryption:
    algorithm: Oid
    iv: bytes


@asn1.sequence
class _Pbes2Parameters:
    derivation: _KeyDerivation
    encryption: _Encryption


@asn1.sequence
class _Pbes2:
    algorithm: Oid
    parameters: _Pbes2Parameters


@asn1.sequence
class _EncryptedPrivateKeyInfo:
    algorithm: _Pbes2
    data: bytes


def encrypt(private_key_info: bytes, password: bytes, *, rounds: int = ROUNDS) -> bytes:
    """The PEM of a PrivateKeyInfo (DER) under a password. Fewer ``rounds`` are for passwords that are random keys themselves."""
    return _encrypt_from_parts(private_key_info, password, salt=random_bytes(_SALT), iv=random_bytes(_BLOCK), rounds=rounds)


def _encrypt_from_parts(private_key_info: bytes, password: bytes, *, salt: bytes, iv: bytes, rounds: int) -> bytes:
    cipher = _cipher(password, salt, iv, rounds).encryptor()
    padder = padding.PKCS7(8 * _BLOCK).padder()
    data = cipher.update(padder.update(private_key_info) + padder.finalize()) + cipher.finalize()
    prf = _Prf(algorithm=_HMAC_SHA256, parameters=asn1.Null())
    derivation = _KeyDerivation(algorithm=_PBKDF2, parameters=_Pbkdf2Parameters(salt=salt, rounds=rounds, key_length=None, prf=prf))
    parameters = _Pbes2Parameters(derivation=derivation, encryption=_Encryption(algorithm=_AES_256_CBC, iv=iv))
    return _to_pem(asn1.encode_der(_EncryptedPrivateKeyInfo(algorithm=_Pbes2(algorithm=_PBES2, parameters=parameters), data=data)))


def decrypt(pem: bytes, password: bytes) -> bytes:
    """The PrivateKeyInfo (DER). Raises KeyUnusable: another form, or another password."""
    try:
        outer = asn1.decode_der(_EncryptedPrivateKeyInfo, _from_pem(pem))
    except ValueError as error:
        raise KeyUnusable(f"not an encrypted private key of the form we read: {error}") from error
    derivation, encryption = outer.algorithm.parameters.derivation, outer.algorithm.parameters.encryption
    algorithms_found = (outer.algorithm.algorithm, derivation.algorithm, derivation.parameters.prf.algorithm, encryption.algorithm)
    if algorithms_found != (_PBES2, _PBKDF2, _HMAC_SHA256, _AES_256_CBC):
        raise KeyUnusable("a private key under algorithms we do not read; wanted: PBES2, PBKDF2-HMAC-SHA256, AES-256-CBC")
    if derivation.parameters.key_length not in (None, 32) or len(encryption.iv) != _BLOCK:
        raise KeyUnusable("a private key with wrong lengths")
    cipher = _cipher(password, derivation.parameters.salt, encryption.iv, derivation.parameters.rounds).decryptor()
    unpadder = padding.PKCS7(8 * _BLOCK).unpadder()
    try:
        return unpadder.update(cipher.update(outer.data) + cipher.finalize()) + unpadder.finalize()
    except ValueError as error:
        raise KeyUnusable("the password does not open this private key") from error


def _cipher(password: bytes, salt: bytes, iv: bytes, rounds: int) -> Cipher[modes.CBC]:
    if not MIN_ROUNDS <= rounds <= MAX_ROUNDS:
        raise KeyUnusable("a count of PBKDF2 rounds outside our limits", rounds=rounds)
    if not 1 <= len(password) <= MAX_PASSWORD:
        raise KeyUnusable(f"a password has 1 to {MAX_PASSWORD} bytes")
    key = PBKDF2HMAC(hashes.SHA256(), length=32, salt=salt, iterations=rounds).derive(password)
    return Cipher(algorithms.AES256(key), modes.CBC(iv))


def _to_pem(der: bytes) -> bytes:
    text = base64.b64encode(der)
    lines = [text[start : start + 64] for start in range(0, len(text), 64)]
    return b"\n".join([_BEGIN, *lines, _END, b""])


def _from_pem(pem: bytes) -> bytes:
    if len(pem) > MAX_PEM:
        raise KeyUnusable("a key file too long", length=len(pem))
    lines = pem.split()
    text = b" ".join(lines)
    if not (text.startswith(_BEGIN) and text.endswith(_END)):
        raise KeyUnusable("not the PEM of one encrypted private key")
    try:
        return base64.b64decode(text[len(_BEGIN) : -len(_END)].replace(b" ", b""), validate=True)
    except binascii.Error as error:
        raise KeyUnusable("a key file with broken base64") from error

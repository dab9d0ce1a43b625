"""Digital envelopes 数字信封: the content key for one recipient, as AuthEnvelopedData without the content (docs/format.md, CMS).

The ciphertext stands elsewhere, once for all recipients; an envelope is a few hundred bytes that hold the wrapped key, the nonce and
the tag. An envelope proves nothing about its sender: its digest stands in the signed transmittal.

    der = make_envelope(key, recipient_certificate)
    key = open_envelope(der, unwrapper)
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from cryptography.hazmat import asn1

from crypto import cms
from crypto.certificates import Certificate
from crypto.content_cipher import NONCE_BYTES, TAG_BYTES, ContentKey
from crypto.der import BIT_STRING, CONTEXT_0, CONTEXT_1, OCTET_STRING, SEQUENCE, SET, element
from crypto.errors import Malformed, UnknownSuite, Unverified
from crypto.keys import Unwrapper, WrappedKey, wrap_key
from crypto.pkix import AlgorithmIdentifier, tlv
from crypto.suites import GM_1, INTL_1

MAX_ENVELOPE: Final = 8 * 1024  # about 400 bytes and the issuer's name
RECIPIENTS: Final = 1024  # names kept encoded: the recipients one gateway writes to in a while


@dataclass(frozen=True, slots=True, kw_only=True)
class _Envelope:
    """The values of one envelope."""

    issuer: bytes
    serial: int
    wrapped: WrappedKey
    nonce: bytes
    tag: bytes


def make_envelope(key: ContentKey, recipient: Certificate) -> bytes:
    """The envelope that lets the recipient open what ``key`` (with its tag) encrypted. Raises UnknownSuite."""
    if key.tag is None:
        raise AssertionError("internal: an envelope is made when the content is encrypted")
    if recipient.suite is not key.suite:
        raise UnknownSuite("the recipient's certificate is of another suite than the content", suite=key.suite.id)
    wrapped = wrap_key(key.key, recipient.public_key)
    return _assemble(_Envelope(issuer=recipient.issuer_der, serial=recipient.serial, wrapped=wrapped, nonce=key.nonce, tag=key.tag))


def open_envelope(der: bytes, unwrapper: Unwrapper) -> ContentKey:
    """The content key inside.

    1. The envelope is in the profile. 2. It is for the unwrapper's certificate, in its suite. 3. The key unwraps.
    Raises Malformed or Unverified.
    """
    envelope = _from_der(der)
    certificate = unwrapper.certificate
    if (envelope.issuer, envelope.serial) != (certificate.issuer_der, certificate.serial):
        raise Unverified("the envelope is for another certificate", check="recipient")
    if envelope.wrapped.suite is not unwrapper.suite:
        raise Unverified("the envelope is of another suite than its recipient's certificate", check="recipient")
    key = unwrapper.unwrap(envelope.wrapped)
    return ContentKey(suite=envelope.wrapped.suite, key=key, nonce=envelope.nonce, tag=envelope.tag)


def envelope_recipient(der: bytes) -> tuple[bytes, int]:
    """Issuer (DER) and serial number of the certificate an envelope is for. Raises Malformed."""
    envelope = _from_der(der)
    return envelope.issuer, envelope.serial


# ---- reading: take out what may vary ---------------------------------------------------------------------------------------------


def _from_der(der: bytes) -> _Envelope:
    if len(der) > MAX_ENVELOPE:
        raise Malformed("an envelope too long", length=len(der), ceiling=MAX_ENVELOPE)
    try:
        envelope = _read(asn1.decode_der(cms.AuthEnvelopedDataInfo, der).body)
    except ValueError as error:
        raise Malformed(f"not an envelope of our profile: {error}") from error
    if _assemble(envelope) != der:
        raise Malformed("an envelope outside our profile")
    return envelope


def _read(body: cms.AuthEnvelopedDataBody) -> _Envelope:
    recipients = body.recipients.as_list()
    if len(recipients) != 1:
        raise Malformed("not exactly one recipient")
    name, wrapped = _wrapped(recipients[0])
    parameters = body.content.cipher.parameters
    if len(parameters.nonce) != NONCE_BYTES or len(body.mac) != TAG_BYTES:
        raise Malformed("a nonce or tag of the wrong length")
    return _Envelope(issuer=asn1.encode_der(name.issuer), serial=name.serial, wrapped=wrapped, nonce=parameters.nonce, tag=body.mac)


def _wrapped(recipient: cms.KeyTransport | cms.KeyAgreement) -> tuple[cms.IssuerAndSerial, WrappedKey]:
    if isinstance(recipient, cms.KeyTransport):
        return recipient.recipient, WrappedKey(suite=GM_1, ephemeral=b"", ciphertext=recipient.key)
    if len(recipient.keys) != 1:
        raise Malformed("not exactly one recipient key")
    point = recipient.originator.key.point.as_bytes()
    return recipient.keys[0].recipient, WrappedKey(suite=INTL_1, ephemeral=point, ciphertext=recipient.keys[0].key)


# ---- building --------------------------------------------------------------------------------------------------------------------
#
# Joined from bytes, as signatures are (see ``signed_moulds``): only key, nonce, tag and the recipient's name vary. Reading compares with
# what is built here, and tests with what the declared structures encode.


def _assemble(envelope: _Envelope) -> bytes:
    suite, wrapped = envelope.wrapped.suite, envelope.wrapped
    name = _recipient_name(envelope.issuer, envelope.serial)
    if suite is GM_1:
        recipient = element(SEQUENCE, _VERSION_0, name, _SM2_ENCRYPTION, element(OCTET_STRING, wrapped.ciphertext))
    else:
        point = element(CONTEXT_1, _EC_PUBLIC_KEY, element(BIT_STRING, b"\0", wrapped.ephemeral))
        key = element(SEQUENCE, name, element(OCTET_STRING, wrapped.ciphertext))
        recipient = element(CONTEXT_1, _VERSION_3, element(CONTEXT_0, point), _KEY_AGREEMENT, element(SEQUENCE, key))
    parameters = element(SEQUENCE, element(OCTET_STRING, envelope.nonce), _TAG_LENGTH)
    content = element(SEQUENCE, _DATA, element(SEQUENCE, _CIPHERS[suite.id], parameters))
    body = element(SEQUENCE, _VERSION_0, element(SET, recipient), content, element(OCTET_STRING, envelope.tag))
    return element(SEQUENCE, _TYPE, element(CONTEXT_0, body))


@lru_cache(maxsize=RECIPIENTS)
def _recipient_name(issuer: bytes, serial: int) -> bytes:
    return asn1.encode_der(cms.IssuerAndSerial(issuer=tlv(issuer), serial=serial))


_VERSION_0: Final = asn1.encode_der(0)
_VERSION_3: Final = asn1.encode_der(3)
_TAG_LENGTH: Final = asn1.encode_der(TAG_BYTES)
_TYPE: Final = asn1.encode_der(cms.ID_AUTH_ENVELOPED_DATA)
_DATA: Final = asn1.encode_der(cms.ID_DATA)
_CIPHERS: Final = {GM_1.id: asn1.encode_der(cms.SM4_GCM), INTL_1.id: asn1.encode_der(cms.AES_256_GCM)}
_SM2_ENCRYPTION: Final = asn1.encode_der(AlgorithmIdentifier(algorithm=cms.SM2_ENCRYPTION))
_EC_PUBLIC_KEY: Final = asn1.encode_der(AlgorithmIdentifier(algorithm=cms.EC_PUBLIC_KEY))
_KEY_AGREEMENT: Final = asn1.encode_der(
    cms.KeyAgreementAlgorithm(algorithm=cms.ECDH_SHA256_KDF, wrap=AlgorithmIdentifier(algorithm=cms.AES_256_WRAP))
)

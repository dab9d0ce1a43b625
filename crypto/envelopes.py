"""Digital envelopes 数字信封: the content key for one recipient, as AuthEnvelopedData without the content (docs/format.md, CMS).

The ciphertext stands elsewhere, once for all recipients; an envelope is a few hundred bytes that hold the wrapped key, the nonce and
the tag. An envelope proves nothing about its sender: its digest stands in the signed transmittal.

    der = make_envelope(key, recipient_certificate)
    key = open_envelope(der, unwrapper)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cryptography.hazmat import asn1

from crypto import cms
from crypto.certificates import Certificate
from crypto.content_cipher import NONCE_BYTES, TAG_BYTES, ContentKey
from crypto.errors import Malformed, UnknownSuite, Unverified
from crypto.keys import Unwrapper, WrappedKey, wrap_key
from crypto.pkix import AlgorithmIdentifier, tlv
from crypto.suites import GM_1, INTL_1, Suite

MAX_ENVELOPE: Final = 8 * 1024  # about 400 bytes and the issuer's name

_AES_256_WRAP: Final = AlgorithmIdentifier(algorithm=cms.AES_256_WRAP)
_CIPHERS: Final = {GM_1.id: cms.SM4_GCM, INTL_1.id: cms.AES_256_GCM}


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


def _assemble(envelope: _Envelope) -> bytes:
    suite = envelope.wrapped.suite
    parameters = cms.GcmParameters(nonce=envelope.nonce, tag_length=TAG_BYTES)
    cipher = cms.ContentCipher(algorithm=_CIPHERS[suite.id], parameters=parameters)
    body = cms.AuthEnvelopedDataBody(
        version=0,
        recipients=asn1.SetOf([_recipient(envelope, suite)]),
        content=cms.DetachedCiphertext(type=cms.ID_DATA, cipher=cipher),
        mac=envelope.tag,
    )
    return asn1.encode_der(cms.AuthEnvelopedDataInfo(type=cms.ID_AUTH_ENVELOPED_DATA, body=body))


def _recipient(envelope: _Envelope, suite: Suite) -> cms.KeyTransport | cms.KeyAgreement:
    name = cms.IssuerAndSerial(issuer=tlv(envelope.issuer), serial=envelope.serial)
    if suite is GM_1:
        algorithm = AlgorithmIdentifier(algorithm=cms.SM2_ENCRYPTION)
        return cms.KeyTransport(version=0, recipient=name, algorithm=algorithm, key=envelope.wrapped.ciphertext)
    originator = cms.OriginatorPublicKey(
        algorithm=AlgorithmIdentifier(algorithm=cms.EC_PUBLIC_KEY),
        point=asn1.BitString(envelope.wrapped.ephemeral, 0),
    )
    return cms.KeyAgreement(
        version=3,
        originator=cms.OriginatorKey(key=originator),
        algorithm=cms.KeyAgreementAlgorithm(algorithm=cms.ECDH_SHA256_KDF, wrap=_AES_256_WRAP),
        keys=[cms.RecipientKey(recipient=name, key=envelope.wrapped.ciphertext)],
    )

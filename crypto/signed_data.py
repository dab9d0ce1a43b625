"""Detached CMS signatures in one closed profile: CAdES-BES, and CAdES-T once a token is added (docs/format.md, CMS).

One signer, its one certificate inside, five signed attributes, each once. Whoever holds a ``SignedData`` holds exactly these bytes in
exactly this profile; whether the signature holds over a message is asked with ``verify``, whether to believe the certificate with
``certificates.verify_chain``, and whether the token holds with ``timestamps.verify_token``.

    signed = sign_detached(transmittal, signer, at=now)
    signed = signed.with_token(token)
    SignedData.from_der(signed.der).verify(transmittal)
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from typing import Final

from cryptography.hazmat import asn1
from cryptography.x509 import ObjectIdentifier as Oid

from crypto import cms
from crypto.certificates import Certificate
from crypto.digests import digest_raw
from crypto.errors import Malformed, Unverified
from crypto.keys import Signer
from crypto.pkix import tlv, utc
from crypto.signed_moulds import MOULDS, Poured, attributes_der, poured, signed_data_der
from crypto.suites import Suite

MAX_SIGNED_DATA: Final = 64 * 1024  # certificate up to 16 KiB, token with the authority's certificates, the rest 1 KiB
MAX_TOKEN: Final = 32 * 1024  # a token with a chain of three certificates takes about 6 KiB
MAX_SIGNATURE: Final = 72  # SEQUENCE of two INTEGERs of at most 33 bytes, both suites
_DIGEST_BYTES: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedData:
    """One signature in the closed profile. Holding one proves nothing: see ``verify``."""

    certificate: Certificate
    certificate_digest: bytes  # what the signer says its certificate is (ESSCertIDv2)
    signing_time: datetime  # what the signer says; only a token proves a time
    message_digest: bytes
    attributes: bytes  # the signed attributes as received, as the DER SET OF the signature is over (RFC 5652 5.4)
    signature: bytes
    token: bytes | None  # RFC 3161, over ``signature``
    der: bytes

    @classmethod
    def from_der(cls, der: bytes) -> SignedData:
        """Parse strictly. Raises Malformed for everything outside the profile, keys of no suite among it."""
        if len(der) > MAX_SIGNED_DATA:
            raise Malformed("a SignedData too long", length=len(der), ceiling=MAX_SIGNED_DATA)
        found = poured(der)
        if found is not None and len(found.signature) <= MAX_SIGNATURE:
            return _of_moulds(found, der)
        try:
            signed = _read(asn1.decode_der(cms.SignedDataInfo, der))
        except ValueError as error:
            raise Malformed(f"not a SignedData of our profile: {error}") from error
        if signed.der != der:
            raise Malformed("a SignedData outside our profile")
        return signed

    def with_token(self, token: bytes) -> SignedData:
        """The same signature with this token in the place of any before it. Raises Malformed."""
        tlv(token)  # one DER element, or the structure around it would be none
        der = signed_data_der(self.certificate, self.attributes, self.signature, _checked_token(token))
        return replace(self, token=token, der=der)

    @property
    def suite(self) -> Suite:
        """The suite of the signature."""
        return _suite(self.certificate)

    def verify(self, message: bytes) -> None:
        """Return if the signature holds over the message.

        1. The message has the signed digest. 2. The certificate inside is the one signed for (RFC 5035). 3. The algorithms are the
        signed ones (RFC 6211): parsing saw to it, for both must be those of the certificate's suite. 4. The signature over the
        attributes as received holds by the certificate's key. Raises Unverified.
        """
        if digest_raw(self.suite.digest, message) != self.message_digest:
            raise Unverified("the signature is over another message", check="message-digest")
        if _digest_of(self.certificate) != self.certificate_digest:
            raise Unverified("the signature is for another certificate", check="certificate-reference")
        self.certificate.public_key.verify(self.signature, self.attributes)


def sign_detached(message: bytes, signer: Signer, *, at: datetime) -> SignedData:
    """The signature of one signer over a message that stands elsewhere; ``at`` is stated in whole seconds."""
    certificate, suite = signer.certificate, signer.suite
    certificate_digest = _digest_of(certificate)
    signing_time, message_digest = utc(at).replace(microsecond=0), digest_raw(suite.digest, message)
    attributes = attributes_der(suite, signing_time, message_digest, certificate_digest)
    signature = signer.sign(attributes)
    return SignedData(
        certificate=certificate,
        certificate_digest=certificate_digest,
        signing_time=signing_time,
        message_digest=message_digest,
        attributes=attributes,
        signature=signature,
        token=None,
        der=signed_data_der(certificate, attributes, signature, None),
    )


# ---- reading: take out what may vary ---------------------------------------------------------------------------------------------


def _of_moulds(found: Poured, der: bytes) -> SignedData:
    """The usual case: bytes that the moulds make again of the values found in them."""
    return SignedData(
        certificate=found.certificate,
        certificate_digest=found.certificate_digest,
        signing_time=found.time,
        message_digest=found.message_digest,
        attributes=found.attributes,
        signature=found.signature,
        token=None if found.token is None else _checked_token(found.token),
        der=der,
    )


def _read(info: cms.SignedDataInfo) -> SignedData:
    """The values of a structure, with the DER they make: the caller compares it with what came. Raises Malformed, ValueError."""
    certificates, signers = info.body.certificates.as_list(), info.body.signers.as_list()
    if len(certificates) != 1 or len(signers) != 1:
        raise Malformed("not exactly one certificate and one signer")
    certificate = Certificate.from_der(asn1.encode_der(certificates[0]))
    if certificate.suite is None:
        raise Malformed("a signature by a key of no suite of ours", subject=certificate.subject)
    signer = signers[0]
    values = _single_values(signer.attributes.as_list())
    message_digest = values[cms.MESSAGE_DIGEST].parse(bytes)
    certificate_digest = _referenced(values[cms.SIGNING_CERTIFICATE_V2].parse(cms.SigningCertificateV2))
    if len(message_digest) != _DIGEST_BYTES or len(certificate_digest) != _DIGEST_BYTES or len(signer.signature) > MAX_SIGNATURE:
        raise Malformed("a digest or signature of the wrong length")
    # The caller compares the rebuilt structure with the bytes received: what is read here is read from nothing else.
    signing_time, token = _moment(values[cms.SIGNING_TIME]), _token_of(signer.unsigned)
    attributes = attributes_der(certificate.suite, signing_time, message_digest, certificate_digest)
    return SignedData(
        certificate=certificate,
        certificate_digest=certificate_digest,
        signing_time=signing_time,
        message_digest=message_digest,
        attributes=attributes,
        signature=signer.signature,
        token=token,
        der=signed_data_der(certificate, attributes, signer.signature, token),
    )


def _single_values(attributes: list[cms.Attribute]) -> dict[Oid, asn1.TLV]:
    """The value of each attribute. Raises Malformed unless each of the five is there, once, with one value."""
    values = {each.type: each.values.as_list()[0] for each in attributes if len(each.values.as_list()) == 1}
    if len(attributes) != len(values) or values.keys() != _SIGNED_ATTRIBUTES:
        raise Malformed("not the five signed attributes, each once")
    return values


def _moment(value: asn1.TLV) -> datetime:
    kind = asn1.GeneralizedTime if value.tag_bytes == _GENERALIZED_TIME else asn1.UTCTime
    time: asn1.UTCTime | asn1.GeneralizedTime = value.parse(kind)
    return utc(time.as_datetime())


def _referenced(reference: cms.SigningCertificateV2) -> bytes:
    if len(reference.certificates) != 1:
        raise Malformed("not exactly one certificate reference")
    return reference.certificates[0].hash


def _token_of(unsigned: asn1.SetOf[cms.Attribute] | None) -> bytes | None:
    if unsigned is None:
        return None
    attributes = unsigned.as_list()
    if len(attributes) != 1 or attributes[0].type != cms.TIME_STAMP_TOKEN or len(attributes[0].values.as_list()) != 1:
        raise Malformed("unsigned attributes other than one time-stamp token")
    return _checked_token(asn1.encode_der(attributes[0].values.as_list()[0]))


def _checked_token(token: bytes) -> bytes:
    if len(token) > MAX_TOKEN:
        raise Malformed("a time-stamp token too long", length=len(token), ceiling=MAX_TOKEN)
    return token


_SIGNED_ATTRIBUTES: Final = {
    cms.CONTENT_TYPE,
    cms.MESSAGE_DIGEST,
    cms.SIGNING_TIME,
    cms.SIGNING_CERTIFICATE_V2,
    cms.ALGORITHM_PROTECTION,
}
_GENERALIZED_TIME: Final = b"\x18"


@lru_cache(maxsize=MOULDS)
def _digest_of(certificate: Certificate) -> bytes:
    """What a signer refers to its certificate by (ESSCertIDv2)."""
    return digest_raw(_suite(certificate).digest, certificate.der)


def _suite(certificate: Certificate) -> Suite:
    if certificate.suite is None:
        raise AssertionError("internal: a SignedData is of a suite")  # _read refuses others, a Signer has none
    return certificate.suite

"""The shapes of CMS (RFC 5652, RFC 5083, RFC 5753) in our closed profile, and nothing that is not in it (docs/format.md, CMS).

``signed_data`` and ``envelopes`` read with these shapes, take the few values that may vary, build the structure again from them and
compare: what is not byte for byte what we would write is refused. Optional fields outside the profile are therefore not declared.
"""

from __future__ import annotations

from typing import Annotated, Final

from cryptography.hazmat import asn1
from cryptography.x509 import ObjectIdentifier as Oid

from crypto.pkix import AlgorithmIdentifier, tlv

ID_DATA: Final = Oid("1.2.840.113549.1.7.1")
ID_SIGNED_DATA: Final = Oid("1.2.840.113549.1.7.2")
ID_AUTH_ENVELOPED_DATA: Final = Oid("1.2.840.113549.1.9.16.1.23")

CONTENT_TYPE: Final = Oid("1.2.840.113549.1.9.3")
MESSAGE_DIGEST: Final = Oid("1.2.840.113549.1.9.4")
SIGNING_TIME: Final = Oid("1.2.840.113549.1.9.5")
SIGNING_CERTIFICATE_V2: Final = Oid("1.2.840.113549.1.9.16.2.47")
ALGORITHM_PROTECTION: Final = Oid("1.2.840.113549.1.9.52")
TIME_STAMP_TOKEN: Final = Oid("1.2.840.113549.1.9.16.2.14")

SM2_ENCRYPTION: Final = Oid("1.2.156.10197.1.301.3")
SM4_GCM: Final = Oid("1.2.156.10197.1.104.8")
ECDH_SHA256_KDF: Final = Oid("1.3.132.1.11.1")  # dhSinglePass-stdDH-sha256kdf-scheme, SEC 1
AES_256_WRAP: Final = Oid("2.16.840.1.101.3.4.1.45")
AES_256_GCM: Final = Oid("2.16.840.1.101.3.4.1.46")
EC_PUBLIC_KEY: Final = Oid("1.2.840.10045.2.1")


@asn1.sequence
class IssuerAndSerial:
    """How a certificate is named (RFC 5652 10.2.4)."""

    issuer: asn1.TLV
    serial: int


@asn1.sequence
class Attribute:
    """A type and its values (RFC 5652 5.3)."""

    type: Oid
    values: asn1.SetOf[asn1.TLV]


def attribute(kind: Oid, value: bytes) -> Attribute:
    """An attribute with the one value encoded in ``value``."""
    return Attribute(type=kind, values=asn1.SetOf([tlv(value)]))


# ---- SignedData ------------------------------------------------------------------------------------------------------------------


@asn1.sequence
class AlgorithmProtection:
    """CMSAlgorithmProtection (RFC 6211 2)."""

    digest: AlgorithmIdentifier
    signature: Annotated[AlgorithmIdentifier, asn1.Implicit(1)]


@asn1.sequence
class EssCertificate:
    """ESSCertIDv2 (RFC 5035 4) without issuerSerial: the hash is over the whole certificate. Absent ``digest`` means SHA-256."""

    digest: AlgorithmIdentifier | None
    hash: bytes


@asn1.sequence
class SigningCertificateV2:
    """SigningCertificateV2 (RFC 5035 3) without policies."""

    certificates: list[EssCertificate]


@asn1.sequence
class DetachedContent:
    """EncapsulatedContentInfo without content."""

    type: Oid


@asn1.sequence
class SignerInfo:
    """RFC 5652 5.3, with signed attributes always."""

    version: int
    sid: IssuerAndSerial
    digest: AlgorithmIdentifier
    attributes: Annotated[asn1.SetOf[Attribute], asn1.Implicit(0)]
    signature_algorithm: AlgorithmIdentifier
    signature: bytes
    unsigned: Annotated[asn1.SetOf[Attribute] | None, asn1.Implicit(1)]


@asn1.sequence
class SignedDataBody:
    """RFC 5652 5.1, with certificates and without revocation lists."""

    version: int
    digests: asn1.SetOf[AlgorithmIdentifier]
    content: DetachedContent
    certificates: Annotated[asn1.SetOf[asn1.TLV], asn1.Implicit(0)]
    signers: asn1.SetOf[SignerInfo]


@asn1.sequence
class SignedDataInfo:
    """ContentInfo of a SignedData."""

    type: Oid
    body: Annotated[SignedDataBody, asn1.Explicit(0)]


# ---- AuthEnvelopedData -----------------------------------------------------------------------------------------------------------


@asn1.sequence
class GcmParameters:
    """RFC 5084 3.2; a tag length of 12 would be the default and absent."""

    nonce: bytes
    tag_length: int


@asn1.sequence
class ContentCipher:
    """The content cipher with its parameters."""

    algorithm: Oid
    parameters: GcmParameters


@asn1.sequence
class DetachedCiphertext:
    """EncryptedContentInfo without encryptedContent."""

    type: Oid
    cipher: ContentCipher


@asn1.sequence
class KeyTransport:
    """KeyTransRecipientInfo (RFC 5652 6.2.1): gm-1."""

    version: int
    recipient: IssuerAndSerial
    algorithm: AlgorithmIdentifier
    key: bytes


@asn1.sequence
class OriginatorPublicKey:
    """The ephemeral point (RFC 5753 3.1.1), its curve being the recipient's."""

    algorithm: AlgorithmIdentifier
    point: asn1.BitString


@asn1.sequence
class OriginatorKey:
    """``[0] EXPLICIT`` around the choice ``[1] originatorKey``: the same bytes as ``[0] IMPLICIT`` on a sequence of that one member."""

    key: Annotated[OriginatorPublicKey, asn1.Implicit(1)]


@asn1.sequence
class KeyAgreementAlgorithm:
    """The scheme, with the key wrap as its parameter."""

    algorithm: Oid
    wrap: AlgorithmIdentifier


@asn1.sequence
class RecipientKey:
    """RecipientEncryptedKey with issuer and serial."""

    recipient: IssuerAndSerial
    key: bytes


@asn1.sequence
class KeyAgreement:
    """KeyAgreeRecipientInfo (RFC 5652 6.2.2) without user keying material: intl-1."""

    version: int
    originator: Annotated[OriginatorKey, asn1.Implicit(0)]
    algorithm: KeyAgreementAlgorithm
    keys: list[RecipientKey]


@asn1.sequence
class AuthEnvelopedDataBody:
    """RFC 5083 2.1 without originator information and attributes."""

    version: int
    recipients: asn1.SetOf[KeyTransport | Annotated[KeyAgreement, asn1.Implicit(1)]]
    content: DetachedCiphertext
    mac: bytes


@asn1.sequence
class AuthEnvelopedDataInfo:
    """ContentInfo of an AuthEnvelopedData."""

    type: Oid
    body: Annotated[AuthEnvelopedDataBody, asn1.Explicit(0)]

"""The shapes of RFC 3161 time-stamps (and of the CMS around them) as declarations; what they mean stands in ``timestamps`` and ``tsa``."""

from __future__ import annotations

from typing import Annotated, Final

from cryptography.hazmat import asn1
from cryptography.x509 import ObjectIdentifier as Oid

from crypto.certificates import Certificate
from crypto.digests import digest_raw
from crypto.pkix import AlgorithmIdentifier, Extension, digest_oid
from crypto.suites import DigestName

SIGNED_DATA: Final = Oid("1.2.840.113549.1.7.2")
TST_INFO: Final = Oid("1.2.840.113549.1.9.16.1.4")
CONTENT_TYPE: Final = Oid("1.2.840.113549.1.9.3")
MESSAGE_DIGEST: Final = Oid("1.2.840.113549.1.9.4")
SIGNING_CERTIFICATE_V2: Final = Oid("1.2.840.113549.1.9.16.2.47")

GRANTED: Final = 0
GRANTED_WITH_MODS: Final = 1
REJECTION: Final = 2


# RFC 3161 2.4, RFC 5652 5, RFC 5035 4


@asn1.sequence
class MessageImprint:
    """The digest that is stamped."""

    algorithm: AlgorithmIdentifier
    digest: bytes


@asn1.sequence
class TimeStampReq:
    """A request."""

    version: int
    imprint: MessageImprint
    policy: Oid | None
    nonce: int | None
    cert_req: Annotated[bool, asn1.Default(value=False)]
    extensions: Annotated[list[Extension] | None, asn1.Implicit(0)]


@asn1.sequence
class StatusInfo:
    """How a request fared."""

    status: int
    text: list[str] | None
    failure: asn1.BitString | None


@asn1.sequence
class Accuracy:
    """How far the time may be off."""

    seconds: int | None
    millis: Annotated[int | None, asn1.Implicit(0)]
    micros: Annotated[int | None, asn1.Implicit(1)]


@asn1.sequence
class TstInfo:
    """What a token says."""

    version: int
    policy: Oid
    imprint: MessageImprint
    serial: int
    gen_time: asn1.GeneralizedTime
    accuracy: Accuracy | None
    ordering: Annotated[bool, asn1.Default(value=False)]
    nonce: int | None


@asn1.sequence
class IssuerAndSerial:
    """A certificate by its issuer and number."""

    issuer: asn1.TLV
    serial: int


@asn1.sequence
class Attribute:
    """A signed attribute."""

    oid: Oid
    values: asn1.SetOf[asn1.TLV]


@asn1.sequence
class SignerInfo:
    """The authority's signature."""

    version: int
    sid: IssuerAndSerial
    digest_algorithm: AlgorithmIdentifier
    attributes: Annotated[asn1.SetOf[Attribute], asn1.Implicit(0)]
    signature_algorithm: AlgorithmIdentifier
    signature: bytes


@asn1.sequence
class EncapsulatedInfo:
    """The TSTInfo inside."""

    content_type: Oid
    content: Annotated[bytes, asn1.Explicit(0)]


@asn1.sequence
class SignedToken:
    """SignedData with its one certificate (none when the request did not ask for it)."""

    version: int
    digest_algorithms: asn1.SetOf[AlgorithmIdentifier]
    encapsulated: EncapsulatedInfo
    certificates: Annotated[asn1.SetOf[asn1.TLV] | None, asn1.Implicit(0)]
    signers: asn1.SetOf[SignerInfo]


@asn1.sequence
class Token:
    """ContentInfo of a token."""

    content_type: Oid
    content: Annotated[SignedToken, asn1.Explicit(0)]


@asn1.sequence
class TimeStampResp:
    """A response; ``token`` is there exactly when the status grants."""

    status: StatusInfo
    token: Token | None


@asn1.sequence
class EssCertId:
    """ESSCertIDv2 without issuerSerial, which SignerInfo.sid already gives (RFC 5035 4)."""

    algorithm: AlgorithmIdentifier | None
    digest: bytes


@asn1.sequence
class SigningCertificate:
    """SigningCertificateV2 of one certificate, without policies."""

    certificates: list[EssCertId]


def signed_bytes(attributes: asn1.SetOf[Attribute]) -> bytes:
    """What the signature is over: the attributes as a SET OF with its own tag (RFC 5652 5.4)."""
    return asn1.encode_der(attributes)


def signing_certificate(certificate: Certificate, digest: DigestName) -> bytes:
    """SigningCertificateV2 that names this certificate by the suite's digest; SHA-256 is the DEFAULT and so never written."""
    algorithm = None if digest == "sha256" else AlgorithmIdentifier(algorithm=digest_oid(digest))
    return asn1.encode_der(SigningCertificate(certificates=[EssCertId(algorithm=algorithm, digest=digest_raw(digest, certificate.der))]))

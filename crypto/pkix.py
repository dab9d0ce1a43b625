"""The shapes of X.509 (RFC 5280) that we write ourselves, and the object identifiers of this room.

``cryptography`` reads certificates of every kind but builds none with an SM2 key, so both suites are built from the declarations here;
one builder for both keeps them alike. What a certificate *means* stands in ``certificates``.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Final

from cryptography.hazmat import asn1
from cryptography.x509 import ObjectIdentifier as Oid

from crypto.errors import Malformed
from crypto.suites import GM_1, INTL_1, DigestName, Suite

SM2_WITH_SM3: Final = Oid("1.2.156.10197.1.501")
ECDSA_WITH_SHA256: Final = Oid("1.2.840.10045.4.3.2")
SM3: Final = Oid("1.2.156.10197.1.401")
SHA256: Final = Oid("2.16.840.1.101.3.4.2.1")

COUNTRY: Final = Oid("2.5.4.6")
ORGANISATION_NAME: Final = Oid("2.5.4.10")
COMMON_NAME: Final = Oid("2.5.4.3")
ORGANISATION_IDENTIFIER: Final = Oid("2.5.4.97")  # X.520 organizationIdentifier: here the 18-character unified social credit code
TIME_STAMPING: Final = Oid("1.3.6.1.5.5.7.3.8")
# Extended key usage of a directory authority. Under 2.25 (ITU-T X.667: a UUID is an arc of its own), so it needs no registration:
# UUID 9c1a1b06-c808-413b-bac2-45f99db23528. Critical and alone, so that no signing certificate of an agency can pass for one.
DIRECTORY_AUTHORITY: Final = Oid(f"2.25.{0x9C1A1B06C808413BBAC245F99DB23528}")

_SIGNATURES: Final[dict[str, Oid]] = {GM_1.id: SM2_WITH_SM3, INTL_1.id: ECDSA_WITH_SHA256}
_DIGESTS: Final[dict[DigestName, Oid]] = {"sm3": SM3, "sha256": SHA256}


def signature_oid(suite: Suite) -> Oid:
    """The signature algorithm of a suite."""
    return _SIGNATURES[suite.id]


def digest_oid(name: DigestName) -> Oid:
    """The identifier of a digest."""
    return _DIGESTS[name]


@asn1.sequence
class AlgorithmIdentifier:
    """An algorithm without parameters or with NULL: all that our suites use outside of keys."""

    algorithm: Oid
    parameters: asn1.Null | None = None


@asn1.sequence
class KeyAlgorithm:
    """id-ecPublicKey with a named curve (RFC 5480 2.1.1, GB/T 35276 7.1)."""

    algorithm: Oid
    curve: Oid


@asn1.sequence
class SubjectPublicKeyInfo:
    """A public key as certificates carry it."""

    algorithm: KeyAlgorithm
    key: asn1.BitString


@asn1.sequence
class Validity:
    """From and until, both included (RFC 5280 4.1.2.5)."""

    not_before: asn1.UTCTime | asn1.GeneralizedTime
    not_after: asn1.UTCTime | asn1.GeneralizedTime


@asn1.sequence
class Extension:
    """One extension; ``value`` is the DER inside its OCTET STRING."""

    oid: Oid
    critical: Annotated[bool, asn1.Default(value=False)]
    value: bytes


@asn1.sequence
class NameAttribute:
    """One attribute of a distinguished name."""

    oid: Oid
    value: asn1.TLV


@asn1.sequence
class _NameRead:
    name: list[asn1.SetOf[NameAttribute]]


@asn1.sequence
class _NameKept:
    name: asn1.TLV


@asn1.sequence
class TbsCertificate:
    """What a certificate's signature is over (RFC 5280 4.1.2). Unique identifiers are not for us."""

    version: Annotated[int, asn1.Explicit(0), asn1.Default(0)]
    serial: int
    signature: asn1.TLV
    issuer: asn1.TLV
    validity: Validity
    subject: asn1.TLV
    spki: asn1.TLV
    extensions: Annotated[list[Extension] | None, asn1.Explicit(3)]


@asn1.sequence
class SignedObject:
    """The outer shape of certificates and CRLs: what is signed, how, and the signature."""

    tbs: asn1.TLV
    algorithm: asn1.TLV
    signature: asn1.BitString


@asn1.sequence
class RevokedEntry:
    """One line of a CRL (RFC 5280 5.1.2.6)."""

    serial: int
    when: asn1.UTCTime | asn1.GeneralizedTime
    extensions: list[Extension] | None


@asn1.sequence
class TbsCrl:
    """What a CRL's signature is over (RFC 5280 5.1.2)."""

    version: int
    signature: asn1.TLV
    issuer: asn1.TLV
    this_update: asn1.UTCTime | asn1.GeneralizedTime
    next_update: asn1.UTCTime | asn1.GeneralizedTime | None
    revoked: list[RevokedEntry] | None
    extensions: Annotated[list[Extension] | None, asn1.Explicit(0)]


def tlv(der: bytes) -> asn1.TLV:
    """One DER element, kept as it is. Raises Malformed."""
    try:
        return asn1.decode_der(asn1.TLV, der)
    except ValueError as error:
        raise Malformed(f"not one DER element: {error}") from error


_STRING_CODECS: Final = {b"\x0c": "utf-8", b"\x13": "ascii", b"\x16": "ascii", b"\x14": "latin-1", b"\x1e": "utf-16-be"}
_LABELS: Final = {
    "2.5.4.3": "CN",
    "2.5.4.6": "C",
    "2.5.4.7": "L",
    "2.5.4.8": "ST",
    "2.5.4.10": "O",
    "2.5.4.11": "OU",
    "2.5.4.97": "organizationIdentifier",
}


def read_name(name: asn1.TLV) -> list[tuple[Oid, str]]:
    """The attributes of a distinguished name in their order; values that are no text as hexadecimal. Raises ValueError.

    Read here and not by ``cryptography``, which counts the 64 characters of X.520 in bytes and so stumbles over Chinese names.
    """
    relative = asn1.decode_der(_NameRead, asn1.encode_der(_NameKept(name=name))).name
    return [(attribute.oid, _text(attribute.value)) for part in relative for attribute in part.as_list()]


def build_name(attributes: list[tuple[Oid, str]]) -> asn1.TLV:
    """A distinguished name of single-valued parts: the country PrintableString (X.520 6.3.1), everything else UTF8String."""
    parts = [asn1.SetOf([NameAttribute(oid=oid, value=_string(oid, text))]) for oid, text in attributes]
    return asn1.decode_der(_NameKept, asn1.encode_der(_NameRead(name=parts))).name


def name_text(attributes: list[tuple[Oid, str]]) -> str:
    """A distinguished name for people, most significant part first."""
    return ", ".join(f"{_LABELS.get(oid.dotted_string, oid.dotted_string)}={text}" for oid, text in attributes)


def _text(value: asn1.TLV) -> str:
    codec = _STRING_CODECS.get(value.tag_bytes)
    return value.data.tobytes().decode(codec) if codec else value.data.hex()


def _string(oid: Oid, text: str) -> asn1.TLV:
    return tlv(asn1.encode_der(asn1.PrintableString(text) if oid == COUNTRY else text))


def pkix_time(moment: datetime) -> asn1.UTCTime | asn1.GeneralizedTime:
    """A moment in whole seconds as RFC 5280 4.1.2.5 wants it: UTCTime until 2049, then GeneralizedTime."""
    whole = utc(moment).replace(microsecond=0)
    return asn1.UTCTime(whole) if whole.year < 2050 else asn1.GeneralizedTime(whole)


def utc(moment: datetime) -> datetime:
    """The same moment in UTC. A moment without zone is a defect of ours (DOMAIN: Beijing local time without zone)."""
    if moment.tzinfo is None:
        raise AssertionError("internal: a moment without time zone")
    return moment.astimezone(UTC)


def key_bits(spki: bytes) -> bytes:
    """The point of a key of one of our suites, as its BIT STRING carries it."""
    return asn1.decode_der(SubjectPublicKeyInfo, spki).key.as_bytes()

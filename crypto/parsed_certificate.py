"""What one X.509 certificate of either suite says, parsed or refused, and what it is made for.

Nothing here believes a certificate: that is ``certificates.verify_chain``. Import ``Certificate`` and ``Purpose`` from ``certificates``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from typing import Final, TypeVar

from cryptography import x509
from cryptography.hazmat import asn1
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from crypto.digests import digest
from crypto.errors import Malformed, UnknownSuite, Unverified
from crypto.keys import PublicKey
from crypto.pkix import (
    DIRECTORY_AUTHORITY,
    ORGANISATION_IDENTIFIER,
    TIME_STAMPING,
    SignedObject,
    TbsCertificate,
    name_text,
    read_name,
)
from crypto.suites import Suite

MAX_CERTIFICATE: Final = 16 * 1024  # a certificate with many alternative names has 4 KiB
MAX_SERIAL: Final = 1 << 159  # RFC 5280 4.1.2.2: positive, at most 20 octets

_ORGANISATION_CODE = re.compile("[0-9A-HJ-NPQRTUWXY]{18}")  # GB 32100: no I, O, S, V, Z; the check digit is checked in gateway.core
_SERVER_AUTH = ExtendedKeyUsageOID.SERVER_AUTH.dotted_string
_CLIENT_AUTH = ExtendedKeyUsageOID.CLIENT_AUTH.dotted_string
_SPECIAL = frozenset({TIME_STAMPING.dotted_string, DIRECTORY_AUTHORITY.dotted_string, _SERVER_AUTH})

_SIGNING = frozenset({"digital_signature", "content_commitment"})
_ENCIPHERING = frozenset({"key_encipherment", "data_encipherment", "key_agreement"})
_ISSUING = frozenset({"key_cert_sign", "crl_sign"})


class WrongPurpose(Unverified):
    """The certificate is not for this purpose. Facts: ``purpose``, ``subject``."""

    code = "wrong-purpose"


class Purpose(StrEnum):
    """What a certificate is presented for. One key has one purpose (DESIGN 5)."""

    SIGN = "sign"
    ENCRYPT = "encrypt"
    TLS = "tls"
    TIME_STAMP = "time-stamp"
    DIRECTORY = "directory"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Certificate:
    """One parsed certificate; equal when its bytes are. Nothing in it is believed by parsing it."""

    der: bytes
    subject: str  # RFC 4514, for people
    subject_der: bytes
    issuer_der: bytes
    serial: int
    not_before: datetime
    not_after: datetime
    suite: Suite | None  # None for keys of no suite of ours
    signature_algorithm: x509.ObjectIdentifier
    spki: bytes
    organisation: str | None  # 18-character code in the subject's organizationIdentifier
    usages: frozenset[str]  # KeyUsage bits by RFC 5280 name in snake case; empty when the extension is absent
    ekus: tuple[str, ...]
    eku_critical: bool
    uris: tuple[str, ...]
    dns_names: tuple[str, ...]
    is_ca: bool
    path_length: int | None  # authorities allowed below this one; None without limit
    key_identifier: bytes | None
    fingerprint: str  # "sha256:<hex>" of the DER
    _key: PublicKey | None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Certificate) and self.der == other.der

    def __hash__(self) -> int:
        return hash(self.der)

    @staticmethod
    def from_der(der: bytes) -> Certificate:
        """The certificate in exactly these bytes; decoded once and remembered. Raises Malformed."""
        return _parsed(der)

    @staticmethod
    def from_pem(pem: bytes) -> Certificate:
        """The one certificate in a PEM text. Raises Malformed."""
        if pem.count(b"-----BEGIN ") != 1:
            raise Malformed("not exactly one PEM block")
        try:
            der = x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)
        except FOREIGN_ERRORS as error:
            raise Malformed(f"not a certificate: {error}") from error
        return _parsed(der)

    @property
    def pem(self) -> bytes:
        """The certificate as PEM text."""
        return x509.load_der_x509_certificate(self.der).public_bytes(Encoding.PEM)

    @property
    def public_key(self) -> PublicKey:
        """The certified key. Raises UnknownSuite for a key of no suite of ours."""
        if self._key is None:
            raise UnknownSuite("the certificate's key belongs to no suite", subject=self.subject)
        return self._key

    @property
    def may_sign(self) -> bool:
        """Whether its key may sign for the organisation (GB/T 20518 signing certificate): digitalSignature and contentCommitment."""
        return self.usages >= _SIGNING and not self.usages & (_ENCIPHERING | _ISSUING)

    @property
    def may_encrypt(self) -> bool:
        """Whether keys may be wrapped for it (GB/T 20518 encryption certificate); never one that may also sign."""
        return bool(self.usages & {"key_encipherment", "key_agreement"}) and not self.usages & (_SIGNING | _ISSUING)

    def require(self, purpose: Purpose) -> None:
        """Check that the certificate is made for ``purpose``. Raises WrongPurpose."""
        if self.is_ca or not _fits(self, purpose):
            raise WrongPurpose(
                f"{self.subject} is no certificate for {purpose}", check="purpose", purpose=purpose.value, subject=self.subject
            )


def _fits(certificate: Certificate, purpose: Purpose) -> bool:
    ekus, usages = frozenset(certificate.ekus), certificate.usages
    match purpose:
        case Purpose.SIGN:
            return certificate.may_sign and not ekus & _SPECIAL
        case Purpose.ENCRYPT:
            return certificate.may_encrypt and not ekus & _SPECIAL
        case Purpose.TLS:
            return "digital_signature" in usages and not usages & _ISSUING and {_SERVER_AUTH, _CLIENT_AUTH} <= ekus
        case Purpose.TIME_STAMP:  # RFC 3161 2.3: critical and alone
            return _alone(certificate, TIME_STAMPING) and bool(usages) and usages <= _SIGNING
        case Purpose.DIRECTORY:
            return _alone(certificate, DIRECTORY_AUTHORITY) and "digital_signature" in usages and usages <= _SIGNING


def _alone(certificate: Certificate, eku: x509.ObjectIdentifier) -> bool:
    return certificate.eku_critical and certificate.ekus == (eku.dotted_string,)


_Extension = TypeVar("_Extension", bound=x509.ExtensionType)
# What cryptography raises for bytes it dislikes; a warning is among them where warnings are errors.
FOREIGN_ERRORS = (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType, x509.InvalidVersion, Warning)


@lru_cache(maxsize=1024)
def _parsed(der: bytes) -> Certificate:
    if len(der) > MAX_CERTIFICATE:
        raise Malformed(f"a certificate of more than {MAX_CERTIFICATE} bytes")
    try:
        return _read(der)
    except FOREIGN_ERRORS as error:
        raise Malformed(f"not a certificate: {error}") from error


def _read(der: bytes) -> Certificate:
    signed = asn1.decode_der(SignedObject, der)
    tbs = asn1.decode_der(TbsCertificate, asn1.encode_der(signed.tbs))
    if tbs.version != 2 or not 0 < tbs.serial < MAX_SERIAL or asn1.encode_der(tbs.signature) != asn1.encode_der(signed.algorithm):
        raise ValueError("not version 3, or a bad serial number, or two signature algorithms")  # RFC 5280 4.1.2.1, 4.1.2.2, 4.1.1.2
    parsed = x509.load_der_x509_certificate(der)
    spki = asn1.encode_der(tbs.spki)
    key = _key(spki)
    name = read_name(tbs.subject)
    usage = _extension(parsed, x509.KeyUsage)
    eku = _extension(parsed, x509.ExtendedKeyUsage)
    names = _extension(parsed, x509.SubjectAlternativeName)
    constraints = _extension(parsed, x509.BasicConstraints)
    identifier = _extension(parsed, x509.SubjectKeyIdentifier)
    return Certificate(
        der=der,
        subject=name_text(name),
        subject_der=asn1.encode_der(tbs.subject),
        issuer_der=asn1.encode_der(tbs.issuer),
        serial=tbs.serial,
        not_before=parsed.not_valid_before_utc,
        not_after=parsed.not_valid_after_utc,
        suite=key.suite if key else None,
        signature_algorithm=parsed.signature_algorithm_oid,
        spki=spki,
        organisation=_organisation(name),
        usages=_usages(usage.value) if usage else frozenset(),
        ekus=tuple(oid.dotted_string for oid in eku.value) if eku else (),
        eku_critical=eku is not None and eku.critical,
        uris=tuple(names.value.get_values_for_type(x509.UniformResourceIdentifier)) if names else (),
        dns_names=tuple(names.value.get_values_for_type(x509.DNSName)) if names else (),
        is_ca=constraints is not None and constraints.value.ca,
        path_length=constraints.value.path_length if constraints else None,
        key_identifier=identifier.value.digest if identifier else None,
        fingerprint=digest("sha256", der),
        _key=key,
    )


def _key(spki: bytes) -> PublicKey | None:
    try:
        return PublicKey.from_spki(spki)
    except UnknownSuite:
        return None


def _extension(parsed: x509.Certificate, kind: type[_Extension]) -> x509.Extension[_Extension] | None:
    try:
        return parsed.extensions.get_extension_for_class(kind)
    except x509.ExtensionNotFound:
        return None


def _organisation(name: list[tuple[x509.ObjectIdentifier, str]]) -> str | None:
    codes = [text for oid, text in name if oid == ORGANISATION_IDENTIFIER]
    if len(codes) > 1:
        raise ValueError("two organisation identifiers")
    return codes[0] if codes and _ORGANISATION_CODE.fullmatch(codes[0]) else None


def _usages(usage: x509.KeyUsage) -> frozenset[str]:
    return frozenset(bit for bit in sorted(_SIGNING | _ENCIPHERING | _ISSUING) if getattr(usage, bit))

"""A small issuing authority for throw-away and pilot PKIs, the same for both suites.

One authority issues for one suite: root, at most one layer below it, and end-entity certificates by profile. Each organisation gets two
(GB/T 20518 双证书): one to sign with, one to receive with. TLS certificates are always P-256. It keeps no register: who calls it keeps
what was issued and revoked.

    root = IssuingAuthority.create_root(GM_1, "驿站试点根", at)
    signing = root.issue(private.public, Profile.SIGN, subject, at, days=730)
    crl = root.crl([], number=1, at=at, days=7)
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from cryptography import x509
from cryptography.hazmat import asn1
from cryptography.x509 import ObjectIdentifier as Oid
from cryptography.x509.oid import ExtendedKeyUsageOID

from crypto.certificates import MAX_CERTIFICATE, Certificate
from crypto.crls import AUTHORITY_KEY_IDENTIFIER, CRL_NUMBER, REASON_CODE, REASONS
from crypto.digests import digest_raw
from crypto.errors import LocalError
from crypto.keys import PrivateKey, PublicKey
from crypto.pkix import (
    COMMON_NAME,
    COUNTRY,
    DIRECTORY_AUTHORITY,
    ORGANISATION_IDENTIFIER,
    ORGANISATION_NAME,
    TIME_STAMPING,
    AlgorithmIdentifier,
    Extension,
    RevokedEntry,
    SignedObject,
    TbsCertificate,
    TbsCrl,
    Validity,
    build_name,
    key_bits,
    pkix_time,
    signature_oid,
    tlv,
    utc,
)
from crypto.randomness import random_bytes
from crypto.suites import GM_1, INTL_1, Suite

MAX_NAME: Final = 128  # characters of one name part; X.520 says 64 but Chinese authorities and agencies go beyond
MAX_SANS: Final = 32  # a gateway has one name; more than a few is no certificate of ours
_COUNTRY: Final = re.compile("[A-Z]{2}")  # ISO 3166
GATEWAY_URN: Final = "urn:yizhan:gateway:"


class CannotIssue(LocalError):
    """The authority is asked for something it may not or cannot issue."""

    code = "cannot-issue"


class Profile(StrEnum):
    """What a certificate will be made for."""

    SIGN = "sign"
    ENCRYPT = "encrypt"
    TLS = "tls"
    TIME_STAMP = "time-stamp"
    DIRECTORY = "directory"
    CA = "ca"


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """Who a certificate names. ``organisation_code`` is the 18-character code that binds it to a directory entry."""

    common_name: str
    organisation_name: str
    organisation_code: str | None = None
    country: str = "CN"

    def attributes(self) -> list[tuple[Oid, str]]:
        """The distinguished name, most significant first. Raises CannotIssue for parts that are empty or too long."""
        parts = [(COUNTRY, self.country), (ORGANISATION_NAME, self.organisation_name)]
        if self.organisation_code is not None:
            parts.append((ORGANISATION_IDENTIFIER, self.organisation_code))
        parts.append((COMMON_NAME, self.common_name))
        for oid, text in parts:
            if not 0 < len(text) <= MAX_NAME or not text.isprintable():
                raise CannotIssue(f"a name part of {len(text)} characters, or with control characters", attribute=oid.dotted_string)
        if not _COUNTRY.fullmatch(self.country):
            raise CannotIssue(f"not a country of two letters: {self.country!r}")
        return parts


# Per profile: KeyUsage bits, extended key usages and whether these are critical. ENCRYPT differs by suite: SM2 keys transport keys
# (GB/T 20518 5.2.4.2.2), P-256 keys agree on them.
_USAGES: Final[dict[Profile, frozenset[str]]] = {
    Profile.SIGN: frozenset({"digital_signature", "content_commitment"}),
    Profile.TLS: frozenset({"digital_signature"}),
    Profile.TIME_STAMP: frozenset({"digital_signature", "content_commitment"}),
    Profile.DIRECTORY: frozenset({"digital_signature", "content_commitment"}),
    Profile.CA: frozenset({"key_cert_sign", "crl_sign"}),
}
_ENCRYPT_USAGES: Final[dict[str, frozenset[str]]] = {
    GM_1.id: frozenset({"key_encipherment", "data_encipherment", "key_agreement"}),
    INTL_1.id: frozenset({"key_agreement"}),
}
_EKUS: Final[dict[Profile, tuple[tuple[Oid, ...], bool]]] = {
    Profile.TLS: ((ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH), False),
    Profile.TIME_STAMP: ((TIME_STAMPING,), True),
    Profile.DIRECTORY: ((DIRECTORY_AUTHORITY,), True),
}
_KEY_USAGE_BITS: Final = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)


class IssuingAuthority:
    """A certification authority: its key and its certificate."""

    __slots__ = ("certificate", "private")

    def __init__(self, private: PrivateKey, certificate: Certificate) -> None:
        self.private = private
        self.certificate = certificate

    @classmethod
    def create_root(cls, suite: Suite, name: str, at: datetime, years: int = 20, *, layers: int = 1) -> IssuingAuthority:
        """A new root with a new key, allowing ``layers`` of authorities below it."""
        return cls._root_from_parts(PrivateKey.generate(suite), name, at, years, layers, _serial())

    @classmethod
    def _root_from_parts(cls, private: PrivateKey, name: str, at: datetime, years: int, layers: int, serial: int) -> IssuingAuthority:
        subject = build_name(Subject(common_name=name, organisation_name=name).attributes())
        validity = _validity(at, timedelta(days=365.25 * years))
        extensions = [*_authority_extensions(layers), *_identifiers(private.public, private.public)]
        return cls(private, _certificate(private, serial, subject, validity, subject, private.public, extensions))

    @classmethod
    def load(cls, private: PrivateKey, certificate: Certificate) -> IssuingAuthority:
        """An authority from its kept key and certificate. Raises CannotIssue when they do not belong together or it is no authority."""
        if not certificate.is_ca or certificate.spki != private.public.spki:
            raise CannotIssue(f"{certificate.subject} is no authority, or this is not its key", subject=certificate.subject)
        return cls(private, certificate)

    @property
    def suite(self) -> Suite:
        """The suite it issues for."""
        return self.private.public.suite

    def issue(
        self, public_key: PublicKey, profile: Profile, subject: Subject, at: datetime, days: int, *, sans: Sequence[str] = ()
    ) -> Certificate:
        """A certificate valid from ``at``. ``sans``: ``"URI:urn:…"``, ``"DNS:name"``, ``"IP:address"``.

        Raises CannotIssue: key of another suite, validity beyond our own, a TLS certificate without gateway URN, an authority too deep.
        """
        return self._issue_from_parts(public_key, profile, subject, at, days, sans, _serial())

    def _issue_from_parts(
        self, public_key: PublicKey, profile: Profile, subject: Subject, at: datetime, days: int, sans: Sequence[str], serial: int
    ) -> Certificate:
        until = utc(at) + timedelta(days=days)
        self._require(public_key, profile, utc(at), until, sans)
        extensions = [*self._profile_extensions(profile), *_alternative_names(sans), *_identifiers(public_key, self.private.public)]
        return _certificate(
            self.private,
            serial,
            tlv(self.certificate.subject_der),
            _validity(at, timedelta(days=days)),
            build_name(subject.attributes()),
            public_key,
            extensions,
        )

    def _require(self, public_key: PublicKey, profile: Profile, at: datetime, until: datetime, sans: Sequence[str]) -> None:
        if public_key.suite is not self.suite:
            raise CannotIssue("a key of another suite than the authority's", suite=public_key.suite.id)
        if not self.certificate.not_before <= at.replace(microsecond=0) < until <= self.certificate.not_after:
            raise CannotIssue("a validity that does not lie within the authority's own", not_after=self.certificate.not_after)
        if profile is Profile.TLS and (self.suite is not INTL_1 or not any(san.startswith(f"URI:{GATEWAY_URN}") for san in sans)):
            raise CannotIssue(f"a TLS certificate is P-256 and names URI:{GATEWAY_URN}<id>")
        if profile is Profile.CA and self.certificate.path_length == 0:
            raise CannotIssue("an authority deeper than this one may have below it")
        if len(sans) > MAX_SANS:
            raise CannotIssue(f"more than {MAX_SANS} alternative names")

    def _profile_extensions(self, profile: Profile) -> list[Extension]:
        if profile is Profile.CA:
            return _authority_extensions(0 if self.certificate.path_length is None else self.certificate.path_length - 1)
        usages = _ENCRYPT_USAGES[self.suite.id] if profile is Profile.ENCRYPT else _USAGES[profile]
        extensions = [_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True), _key_usage(usages)]
        if profile in _EKUS:
            ekus, critical = _EKUS[profile]
            extensions.append(_extension(x509.ExtendedKeyUsage(ekus), critical=critical))
        return extensions

    def crl(self, revoked: Sequence[tuple[int, datetime, str | None]], number: int, at: datetime, days: int) -> bytes:
        """The list of all certificates revoked so far, expired ones included: (serial, when, RFC 5280 reason name or None).

        ``number`` must grow with each list (RFC 5280 5.2.3). Raises CannotIssue for an unknown reason.
        """
        entries = [
            RevokedEntry(serial=serial, when=pkix_time(when), extensions=None if reason is None else [_reason(reason)])
            for serial, when, reason in revoked
        ]
        tbs = TbsCrl(
            version=1,
            signature=_algorithm(self.suite),
            issuer=tlv(self.certificate.subject_der),
            this_update=pkix_time(at),
            next_update=pkix_time(utc(at) + timedelta(days=days)),
            revoked=entries or None,  # RFC 5280 5.1.2.6: absent when nothing is revoked
            extensions=[
                _authority_identifier(self.private.public),
                Extension(oid=CRL_NUMBER, critical=False, value=asn1.encode_der(number)),
            ],
        )
        return _signed(self.private, asn1.encode_der(tbs))


def _validity(at: datetime, duration: timedelta) -> Validity:
    return Validity(not_before=pkix_time(at), not_after=pkix_time(utc(at) + duration))


def _serial() -> int:
    return int.from_bytes(random_bytes(16)) | 1  # 127 bits of chance; never zero (RFC 5280 4.1.2.2)


def _certificate(
    issuer: PrivateKey,
    serial: int,
    issuer_name: asn1.TLV,
    validity: Validity,
    subject: asn1.TLV,
    key: PublicKey,
    extensions: list[Extension],
) -> Certificate:
    tbs = TbsCertificate(
        version=2,
        serial=serial,
        signature=_algorithm(issuer.public.suite),
        issuer=issuer_name,
        validity=validity,
        subject=subject,
        spki=tlv(key.spki),
        extensions=extensions,
    )
    der = _signed(issuer, asn1.encode_der(tbs))
    if len(der) > MAX_CERTIFICATE:
        raise CannotIssue(f"a certificate of more than {MAX_CERTIFICATE} bytes")
    return Certificate.from_der(der)


def _signed(private: PrivateKey, tbs: bytes) -> bytes:
    return asn1.encode_der(
        SignedObject(tbs=tlv(tbs), algorithm=_algorithm(private.public.suite), signature=asn1.BitString(private.sign(tbs), 0))
    )


def _algorithm(suite: Suite) -> asn1.TLV:
    return tlv(asn1.encode_der(AlgorithmIdentifier(algorithm=signature_oid(suite))))


# ---- extensions ------------------------------------------------------------------------------------------------------------------


def _extension(value: x509.ExtensionType, *, critical: bool) -> Extension:
    return Extension(oid=value.oid, critical=critical, value=value.public_bytes())


def _key_usage(usages: frozenset[str]) -> Extension:
    return _extension(x509.KeyUsage(**{bit: bit in usages for bit in _KEY_USAGE_BITS}), critical=True)


def _authority_extensions(path_length: int) -> list[Extension]:
    return [_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True), _key_usage(_USAGES[Profile.CA])]


def _identifiers(subject: PublicKey, issuer: PublicKey) -> list[Extension]:
    identifier = x509.SubjectKeyIdentifier(_key_identifier(subject))
    return [_extension(identifier, critical=False), _authority_identifier(issuer)]


def _authority_identifier(issuer: PublicKey) -> Extension:
    identifier = x509.AuthorityKeyIdentifier(_key_identifier(issuer), None, None)
    return Extension(oid=AUTHORITY_KEY_IDENTIFIER, critical=False, value=identifier.public_bytes())


def _key_identifier(key: PublicKey) -> bytes:
    return digest_raw(key.suite.digest, key_bits(key.spki))[:20]  # RFC 7093 2, method 1, with the suite's digest


def _alternative_names(sans: Sequence[str]) -> list[Extension]:
    if not sans:
        return []
    return [_extension(x509.SubjectAlternativeName([_general_name(san) for san in sans]), critical=False)]


def _general_name(san: str) -> x509.GeneralName:
    kind, _, value = san.partition(":")
    try:
        match kind:
            case "URI":
                return x509.UniformResourceIdentifier(value)
            case "DNS":
                return x509.DNSName(value)
            case "IP":
                return x509.IPAddress(ipaddress.ip_address(value))
    except ValueError as error:
        raise CannotIssue(f"not an alternative name: {san!r}") from error
    raise CannotIssue(f"not an alternative name: {san!r}")


def _reason(reason: str) -> Extension:
    if reason not in REASONS:
        raise CannotIssue(f"no reason of RFC 5280: {reason!r}")
    return Extension(oid=REASON_CODE, critical=False, value=bytes((0x0A, 1, REASONS[reason])))

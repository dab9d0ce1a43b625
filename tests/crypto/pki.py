"""A whole small PKI per suite, built with our own authority: for tests that need real keys, certificates, trust and lists.

pki = pki_for(GM_1)                      # built once a session, valid at pki.now
pki.finance.signing.signer               # a KeySigner; .certificate, .private
pki.trust                                # roots, the intermediate, fresh lists
pki.trust_after(revoked=[(certificate, when, "keyCompromise")], now=later)
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat import asn1

from crypto.ca import IssuingAuthority, Profile, Subject
from crypto.certificates import Certificate, Chain, ChainCache, Purpose, Trust, verify_chain
from crypto.keys import KeySigner, KeyUnwrapper, PrivateKey, PublicKey
from crypto.pkix import (
    COMMON_NAME,
    AlgorithmIdentifier,
    Extension,
    SignedObject,
    TbsCertificate,
    Validity,
    build_name,
    pkix_time,
    signature_oid,
    tlv,
)
from crypto.suites import INTL_1, Suite, suite_named
from crypto.tsa import TimeAuthority

NOW = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)  # of every certificate but the roots'
DAYS = 730
TSA_POLICY = "1.3.6.1.4.1.99999.1.1"

KEY_USAGE_BITS = (
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

OFFICE_CODE = "11310000MB0001234B"
FINANCE_CODE = "11310000MB0005678F"
HEALTH_CODE = "11310000MB000910XR"


def organisation_code(first17: str) -> str:
    """The 18-character code with its check character (GB 32100: weights 3^i mod 31)."""
    alphabet = "0123456789ABCDEFGHJKLMNPQRTUWXY"
    total = sum(alphabet.index(character) * pow(3, position, 31) for position, character in enumerate(first17))
    return first17 + alphabet[-total % 31]


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """A private key and its certificate."""

    private: PrivateKey
    certificate: Certificate

    @property
    def signer(self) -> KeySigner:
        return KeySigner(private=self.private, certificate=self.certificate)

    @property
    def unwrapper(self) -> KeyUnwrapper:
        return KeyUnwrapper(private=self.private, certificate=self.certificate)


@dataclass(frozen=True, slots=True, kw_only=True)
class Organisation:
    """An agency: its code, name, gateway id and its three certificates. TLS is P-256 in both suites."""

    code: str
    name: str
    gateway: str
    signing: Holder
    encryption: Holder
    tls: Holder


@dataclass(frozen=True, slots=True, kw_only=True)
class Pki:
    """Everything, valid at ``now``. Certificates are issued by ``intermediate``, those for TLS by ``tls_root``."""

    suite: Suite
    now: datetime
    root: IssuingAuthority
    intermediate: IssuingAuthority
    tls_root: IssuingAuthority
    office: Organisation
    finance: Organisation
    health: Organisation
    tsa: Holder
    directory: Holder
    trust: Trust

    @property
    def organisations(self) -> tuple[Organisation, ...]:
        return (self.office, self.finance, self.health)

    @property
    def cache(self) -> ChainCache:
        return ChainCache(self.trust)

    @property
    def authority(self) -> TimeAuthority:
        """The time-stamping authority, ready to respond."""
        return TimeAuthority(self.tsa.signer, TSA_POLICY, accuracy_ms=500)

    @property
    def crls(self) -> tuple[bytes, ...]:
        return self.trust.crls

    def issue(
        self, profile: Profile, subject: Subject, *, at: datetime | None = None, days: int = DAYS, sans: Sequence[str] = ()
    ) -> Holder:
        """One more certificate with a fresh key, by the intermediate (TLS: by the TLS root)."""
        authority = self.tls_root if profile is Profile.TLS else self.intermediate
        return issue(authority, profile, subject, at=at or self.now - (NOW - BEGIN), days=days, sans=sans)

    def crls_after(
        self,
        revoked: Sequence[tuple[Certificate, datetime, str | None]] = (),
        *,
        now: datetime | None = None,
        number: int = 2,
        days: int = 7,
    ) -> tuple[bytes, ...]:
        """Fresh lists of all three authorities in which these certificates are revoked."""
        at = now or self.now
        lists = []
        for authority in (self.root, self.intermediate, self.tls_root):
            mine = [(each.serial, when, why) for each, when, why in revoked if each.issuer_der == authority.certificate.subject_der]
            lists.append(authority.crl(mine, number, at, days))
        return tuple(lists)

    def trust_after(self, revoked: Sequence[tuple[Certificate, datetime, str | None]] = (), *, now: datetime | None = None) -> Trust:
        """The trust with such lists in place of the old ones."""
        return replace(self.trust, crls=self.crls_after(revoked, now=now))


def issue(
    authority: IssuingAuthority, profile: Profile, subject: Subject, *, at: datetime, days: int = DAYS, sans: Sequence[str] = ()
) -> Holder:
    """A fresh key and a certificate for it."""
    private = PrivateKey.generate(authority.suite)
    return Holder(private=private, certificate=authority.issue(private.public, profile, subject, at, days, sans=sans))


def make_pki(suite: Suite, now: datetime = NOW) -> Pki:
    """A new PKI whose certificates began two months before ``now`` and whose lists are an hour old."""
    begin = now - (NOW - BEGIN)
    root = IssuingAuthority.create_root(suite, f"Test root {suite.id}", begin - timedelta(days=365))
    below = issue(
        root,
        Profile.CA,
        Subject(common_name=f"Test issuing authority {suite.id}", organisation_name="Test"),
        at=begin - timedelta(days=300),
        days=3650,
    )
    intermediate = IssuingAuthority.load(below.private, below.certificate)
    tls_root = IssuingAuthority.create_root(INTL_1, "Test TLS root", begin - timedelta(days=365))

    def organisation(code: str, name: str, gateway: str) -> Organisation:
        subject = Subject(common_name=name, organisation_name=name, organisation_code=code)
        sans = (f"URI:urn:yizhan:gateway:{gateway}", "DNS:localhost", "IP:127.0.0.1")
        return Organisation(
            code=code,
            name=name,
            gateway=gateway,
            signing=issue(intermediate, Profile.SIGN, subject, at=begin),
            encryption=issue(intermediate, Profile.ENCRYPT, subject, at=begin),
            tls=issue(tls_root, Profile.TLS, subject, at=begin, sans=sans),
        )

    authorities = (root, intermediate, tls_root)
    return Pki(
        suite=suite,
        now=now,
        root=root,
        intermediate=intermediate,
        tls_root=tls_root,
        office=organisation(OFFICE_CODE, "市政府办公室", "gw-office"),
        finance=organisation(FINANCE_CODE, "市财政局", "gw-finance"),
        health=organisation(HEALTH_CODE, "市卫生健康委员会", "gw-health"),
        tsa=issue(intermediate, Profile.TIME_STAMP, Subject(common_name="Test time authority", organisation_name="Test"), at=begin),
        directory=issue(
            intermediate, Profile.DIRECTORY, Subject(common_name="Test directory authority", organisation_name="Test"), at=begin
        ),
        trust=Trust(
            roots=(root.certificate, tls_root.certificate),
            intermediates=(intermediate.certificate,),
            crls=tuple(authority.crl([], 1, now - timedelta(hours=1), 7) for authority in authorities),
        ),
    )


def extension(value: x509.ExtensionType, *, critical: bool = False) -> Extension:
    """An extension for ``raw_certificate``."""
    return Extension(oid=value.oid, critical=critical, value=value.public_bytes())


def key_usage(*bits: str) -> Extension:
    """A critical KeyUsage with these bits."""
    return extension(x509.KeyUsage(**{bit: bit in bits for bit in KEY_USAGE_BITS}), critical=True)


def raw_certificate(
    issuer: PrivateKey,
    issuer_name: bytes,
    key: PublicKey,
    extensions: Sequence[Extension],
    *,
    at: datetime = BEGIN,
    days: int = DAYS,
    name: Sequence[tuple[x509.ObjectIdentifier, str]] = ((COMMON_NAME, "raw"),),
    serial: int = 4711,
    version: int = 2,
    inner: Suite | None = None,
    outer: Suite | None = None,
) -> bytes:
    """Any certificate at all, rightly signed: what our own authority would never issue."""
    tbs = TbsCertificate(
        version=version,
        serial=serial,
        signature=_algorithm(inner or issuer.public.suite),
        issuer=tlv(issuer_name),
        validity=Validity(not_before=pkix_time(at), not_after=pkix_time(at + timedelta(days=days))),
        subject=build_name(list(name)),
        spki=tlv(key.spki),
        extensions=list(extensions),
    )
    der = asn1.encode_der(tbs)
    signed = SignedObject(tbs=tlv(der), algorithm=_algorithm(outer or issuer.public.suite), signature=asn1.BitString(issuer.sign(der), 0))
    return asn1.encode_der(signed)


def _algorithm(suite: Suite) -> asn1.TLV:
    return tlv(asn1.encode_der(AlgorithmIdentifier(algorithm=signature_oid(suite))))


@functools.cache
def _cached(suite_id: str) -> Pki:
    return make_pki(suite_named(suite_id))


def pki_for(suite: Suite) -> Pki:
    """The session's PKI of a suite."""
    return _cached(suite.id)


def identified(pki: Pki, *more: Extension) -> list[Extension]:
    """The extensions X509_STRICT wants of any certificate, and ``more``."""
    keys = Certificate.from_der(pki.intermediate.certificate.der).key_identifier
    return [extension(x509.AuthorityKeyIdentifier(keys, None, None)), extension(x509.SubjectKeyIdentifier(b"k" * 20)), *more]


def check(pki: Pki, *, at: datetime = NOW, now: datetime = NOW, trust: Trust | None = None, holder: Holder | None = None) -> Chain:
    return verify_chain((holder or pki.office.signing).certificate, trust or pki.trust, at=at, now=now, purpose=Purpose.SIGN)


def identified_by(authority: IssuingAuthority, more: list[Extension]) -> list[Extension]:
    keys = authority.certificate.key_identifier
    return [extension(x509.AuthorityKeyIdentifier(keys, None, None)), extension(x509.SubjectKeyIdentifier(b"k" * 20)), *more]

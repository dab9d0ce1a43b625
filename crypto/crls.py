"""Certificate revocation lists (RFC 5280 5), of both suites.

A list is worth something only when complete, direct and signed by the very authority that issued the certificate in question; anything
else is not used at all, and a missing list is the same as a stale one (see ``certificates.verify_chain``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from cryptography.hazmat import asn1
from cryptography.x509 import ObjectIdentifier as Oid

from crypto.errors import Malformed, Unverified
from crypto.pkix import AlgorithmIdentifier, Extension, RevokedEntry, SignedObject, TbsCrl, signature_oid

if TYPE_CHECKING:
    from crypto.keys import PublicKey

MAX_CRL: Final = 4 * 1024 * 1024  # about 100,000 revoked certificates; larger authorities split their issuing keys

FIRST_YEAR: Final = 1950  # of UTCTime (RFC 5280 4.1.2.5.1); a skew before it is still in the calendar

HOLD: Final = "certificateHold"
CRL_NUMBER: Final = Oid("2.5.29.20")
AUTHORITY_KEY_IDENTIFIER: Final = Oid("2.5.29.35")
REASON_CODE: Final = Oid("2.5.29.21")
INVALIDITY_DATE: Final = Oid("2.5.29.24")
# IssuingDistributionPoint and DeltaCRLIndicator make a list partial or indirect, so they are not among what we know; both are always
# critical, and RFC 5280 5.2 forbids the use of a list with a critical extension one does not process.
_KNOWN: Final = frozenset({AUTHORITY_KEY_IDENTIFIER, CRL_NUMBER})
_KNOWN_OF_ENTRY: Final = frozenset({REASON_CODE, INVALIDITY_DATE})

REASONS: Final[Mapping[str, int]] = {  # RFC 5280 5.3.1; 7 is unused
    "unspecified": 0,
    "keyCompromise": 1,
    "cACompromise": 2,
    "affiliationChanged": 3,
    "superseded": 4,
    "cessationOfOperation": 5,
    "certificateHold": 6,
    "removeFromCRL": 8,
    "privilegeWithdrawn": 9,
    "aACompromise": 10,
}
_REASON_OF_DER: Final = {bytes((0x0A, 1, code)): name for name, code in REASONS.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Revocation:
    """When a certificate was revoked and why; no ``reason`` where the list gives none."""

    when: datetime
    reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Crl:
    """One parsed list; its signature is not verified by parsing."""

    der: bytes
    issuer_der: bytes
    number: int
    this_update: datetime
    next_update: datetime
    revoked: Mapping[int, Revocation]
    _signed: SignedObject

    @staticmethod
    def from_der(der: bytes) -> Crl:
        """The list in these bytes. Raises Malformed, also for a list that is partial, indirect, or without number or next update."""
        return _parsed(der)

    def verify(self, issuer: PublicKey) -> None:
        """Check that ``issuer`` signed this list. Raises Unverified."""
        signature = self._signed.signature
        if _algorithm(self._signed.algorithm) != signature_oid(issuer.suite) or signature.padding_bits():
            raise Unverified("the revocation list is not signed with its suite's algorithm", check="crl-signature")
        issuer.verify(signature.as_bytes(), asn1.encode_der(self._signed.tbs))


@lru_cache(maxsize=64)
def _parsed(der: bytes) -> Crl:
    if len(der) > MAX_CRL:
        raise Malformed(f"a revocation list of more than {MAX_CRL} bytes")
    try:
        return _read(der)
    except ValueError as error:
        raise Malformed(f"not a revocation list we can use: {error}") from error


def _read(der: bytes) -> Crl:
    signed = asn1.decode_der(SignedObject, der)
    tbs = asn1.decode_der(TbsCrl, asn1.encode_der(signed.tbs))
    extensions = _by_oid(tbs.extensions, _KNOWN)
    if tbs.version != 1 or tbs.next_update is None or CRL_NUMBER not in extensions:
        raise ValueError("no version 2 list with number and next update")  # RFC 5280 5.1.2.1, 5.1.2.5, 5.2.3
    if tbs.this_update.as_datetime().year < FIRST_YEAR:
        raise ValueError("a list from before there were lists")
    if asn1.encode_der(tbs.signature) != asn1.encode_der(signed.algorithm):
        raise ValueError("two signature algorithms")  # RFC 5280 5.1.1.2
    return Crl(
        der=der,
        issuer_der=asn1.encode_der(tbs.issuer),
        number=asn1.decode_der(int, extensions[CRL_NUMBER]),
        this_update=tbs.this_update.as_datetime(),
        next_update=tbs.next_update.as_datetime(),
        revoked=_entries(tbs.revoked or []),
        _signed=signed,
    )


def _algorithm(algorithm: asn1.TLV) -> Oid | None:
    try:
        return asn1.decode_der(AlgorithmIdentifier, asn1.encode_der(algorithm)).algorithm
    except ValueError:
        return None


def _entries(entries: list[RevokedEntry]) -> dict[int, Revocation]:
    revoked: dict[int, Revocation] = {}
    for entry in entries:
        reason = _by_oid(entry.extensions, _KNOWN_OF_ENTRY).get(REASON_CODE)
        found = Revocation(when=entry.when.as_datetime(), reason=None if reason is None else _reason(reason))
        earlier = revoked.get(entry.serial)
        if earlier is None or found.when < earlier.when:
            revoked[entry.serial] = found
    return revoked


def _reason(der: bytes) -> str:
    try:
        return _REASON_OF_DER[der]
    except KeyError:
        raise ValueError("an unknown reason code") from None


def _by_oid(extensions: list[Extension] | None, known: frozenset[Oid]) -> dict[Oid, bytes]:
    found: dict[Oid, bytes] = {}
    for extension in extensions or ():
        if extension.oid in found:
            raise ValueError(f"extension {extension.oid.dotted_string} twice")  # RFC 5280 4.2
        if extension.critical and extension.oid not in known:
            raise ValueError(f"critical extension {extension.oid.dotted_string}")
        found[extension.oid] = extension.value
    return found

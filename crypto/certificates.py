"""Whether to believe an X.509 certificate at a moment, for a purpose.

Parsing gives a good ``Certificate`` or raises; believing is ``verify_chain``, always under roots from our own configuration, at a moment
and for one purpose. Signatures and path rules (RFC 5280 6) are left to OpenSSL 4, which knows SM2; the rules of the house are here.

    chain = verify_chain(certificate, trust, at=token_time, now=now, purpose=Purpose.SIGN)
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Final

from OpenSSL import crypto as openssl

from crypto.crls import HOLD, Crl, Revocation
from crypto.errors import LocalError, Malformed, Unverified
from crypto.parsed_certificate import MAX_CERTIFICATE, Certificate, Purpose, WrongPurpose
from crypto.pkix import signature_oid, utc

__all__ = [
    "MAX_CERTIFICATE",
    "Certificate",
    "Chain",
    "ChainBroken",
    "ChainCache",
    "CrlStale",
    "NotValidAt",
    "Purpose",
    "Revoked",
    "Trust",
    "TrustUnusable",
    "Window",
    "WrongPurpose",
    "verify_chain",
]

MAX_ROOTS: Final = 64  # one or two authorities a suite, with their predecessors
MAX_INTERMEDIATES: Final = 256  # authorities below the roots of one network; each is tried for a path
MAX_CRLS: Final = 1024  # the current list of each authority, and old ones that name certificates long expired
MAX_CHAINS: Final = 4096  # remembered verdicts of one ChainCache; about 1 KiB each
CRL_SKEW: Final = timedelta(minutes=1)  # the clocks of authority and gateway may differ; the same minute as everywhere (DESIGN 3)


class ChainBroken(Unverified):
    """No path of valid certificates of one suite leads to a configured root."""

    code = "chain-broken"


class NotValidAt(Unverified):
    """A certificate of the path was not valid at the moment. Facts: ``not_before``, ``not_after``, ``at``, ``subject``."""

    code = "not-valid-at"


class Revoked(Unverified):
    """A certificate of the path was revoked at or before the moment. Facts: ``revoked_at``, ``reason``, ``subject``."""

    code = "revoked"


class CrlStale(LocalError):
    """We hold no fresh revocation list of an authority of the path: fetch it and try again. Facts: ``issuer``, ``next_update`` (or None)."""

    code = "crl-stale"


class TrustUnusable(LocalError):
    """The configured roots or intermediates cannot be used."""

    code = "trust-unusable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """What we believe in: roots from our configuration, intermediates to build paths with, and the revocation lists we hold."""

    roots: tuple[Certificate, ...]
    intermediates: tuple[Certificate, ...] = ()
    crls: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        """Raises TrustUnusable."""
        if len(self.roots) > MAX_ROOTS or len(self.intermediates) > MAX_INTERMEDIATES or len(self.crls) > MAX_CRLS:
            raise TrustUnusable("too many roots, intermediates or revocation lists")
        for authority in (*self.roots, *self.intermediates):
            if authority.suite is None or not authority.is_ca:
                raise TrustUnusable(f"{authority.subject} is no certification authority of one of our suites", subject=authority.subject)


_LAST: Final = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Moments from ``start`` to ``end``; ``end`` itself belongs to it."""

    start: datetime
    end: datetime

    def __contains__(self, moment: datetime) -> bool:
        return self.start <= moment <= self.end

    def lengthened(self, span: timedelta) -> Window:
        """The same window, open so much longer."""
        return Window(start=self.start, end=self.end + span if span and self.end < _LAST - span else self.end)

    def narrowed(self, other: Window) -> Window:
        """The moments in both."""
        return Window(start=max(self.start, other.start), end=min(self.end, other.end))


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """A believed certificate: the path to its root, and a revocation after the moment, if there was one.

    The answer is the same for every moment ``at`` in ``valid`` and every ``now`` in ``fresh``.
    """

    certificate: Certificate
    path: tuple[Certificate, ...]
    revoked_later: datetime | None
    revocation_reason: str | None  # of ``revoked_later``; None also where the list gives no reason
    valid: Window
    fresh: Window


def verify_chain(certificate: Certificate, trust: Trust, *, at: datetime, now: datetime, purpose: Purpose) -> Chain:
    """Believe a certificate for one purpose at the moment ``at``, judged with what we know at ``now``.

    1. The certificate is made for the purpose. 2. Its key is of a suite. 3. A path of CA certificates leads to a root of ours, every
    signature, validity at ``at`` and path rule holds (OpenSSL, RFC 5280 6.1). 4. Keys and signatures of the whole path are of one suite.
    5. For every certificate below the root we hold its issuer's revocation list, signed by the issuer and fresh at ``now``.
    6. None was revoked at or before ``at``; an invalidity date is the issuer's opinion and does not count (RFC 5280 5.3.2).

    Raises WrongPurpose, ChainBroken, NotValidAt, CrlStale, Revoked.
    """
    return _Verifier(trust).verify(certificate, utc(at), utc(now), purpose)


class ChainCache:
    """``verify_chain`` under one trust, remembering good answers while they cannot change. Safe to use from several threads."""

    __slots__ = ("_grace", "_known", "_lock", "_verifier", "stale_since", "trust")

    def __init__(self, trust: Trust) -> None:
        self.trust = trust
        self.stale_since: datetime | None = None  # of ``within``: since when the oldest list an answer rested on is over
        self._grace = timedelta(0)
        self._verifier = _Verifier(trust)
        self._known: dict[tuple[Certificate, Purpose], Chain] = {}
        self._lock = threading.Lock()

    def verify(self, certificate: Certificate, at: datetime, now: datetime, purpose: Purpose) -> Chain:
        """The same answer as verify_chain, in about a microsecond when it is known. Raises the same."""
        known = self._known.get((certificate, purpose))
        if known is not None and at in known.valid and now in known.fresh:
            return known
        if known is None or at not in known.valid or now not in known.fresh.lengthened(self._grace):
            known = self._verifier.verify(certificate, utc(at), utc(now), purpose, self._grace)
            with self._lock:
                if len(self._known) >= MAX_CHAINS:
                    self._known.pop(next(iter(self._known)))
                self._known[certificate, purpose] = known
        if now > known.fresh.end and (self.stale_since is None or known.fresh.end < self.stale_since):
            self.stale_since = known.fresh.end
        return known

    def within(self, grace: timedelta) -> ChainCache:
        """The same trust and memory for one act, for which a revocation list counts so much longer than its next update."""
        other = ChainCache.__new__(ChainCache)
        other.trust, other.stale_since = self.trust, None
        other._grace, other._verifier, other._known, other._lock = grace, self._verifier, self._known, self._lock  # noqa: SLF001  # of this class
        return other


_NO_GRACE: Final = timedelta(0)


class _Verifier:
    """The checks of verify_chain over one trust; keeps decoded authorities and verified revocation lists."""

    def __init__(self, trust: Trust) -> None:
        self._roots = [(root.suite, _openssl(root)) for root in trust.roots]
        self._intermediates = [_openssl(intermediate) for intermediate in trust.intermediates]
        self._crls = _by_issuer(trust.crls)
        self._signed_by: dict[Certificate, tuple[Crl, ...]] = {}

    def verify(self, certificate: Certificate, at: datetime, now: datetime, purpose: Purpose, grace: timedelta = _NO_GRACE) -> Chain:
        certificate.require(purpose)
        path = self._path(certificate, at)
        _require_one_suite(path)
        valid = Window(start=max(each.not_before for each in path), end=min(each.not_after for each in path))
        fresh = Window(start=_ALWAYS.start, end=_ALWAYS.end)
        later: Revocation | None = None
        for subject, issuer in pairwise(path):
            lists = self._lists(issuer)
            fresh = fresh.narrowed(_freshness(lists, issuer, now, grace))
            revocation = _revocation(lists, subject)
            if revocation is None:
                continue
            if revocation.when <= at:
                raise Revoked(
                    f"{subject.subject} was revoked at {revocation.when.isoformat()}",
                    check="revocation",
                    revoked_at=revocation.when,
                    reason=revocation.reason,
                    subject=subject.subject,
                )
            valid = valid.narrowed(Window(start=valid.start, end=revocation.when - _INSTANT))
            later = revocation if later is None or revocation.when < later.when else later
        return Chain(
            certificate=certificate,
            path=path,
            revoked_later=later.when if later else None,
            revocation_reason=later.reason if later else None,
            valid=valid,
            fresh=fresh,
        )

    def _path(self, certificate: Certificate, at: datetime) -> tuple[Certificate, ...]:
        store = openssl.X509Store()
        for suite, root in self._roots:
            if suite is certificate.suite:
                store.add_cert(root)
        store.set_time(at)
        store.set_flags(openssl.X509StoreFlags.X509_STRICT)
        try:
            path = openssl.X509StoreContext(store, _openssl(certificate), self._intermediates).get_verified_chain()
        except openssl.X509StoreContextError as error:
            raise _broken(error, certificate, at) from error
        return tuple(_certificate(each) for each in path)

    def _lists(self, issuer: Certificate) -> tuple[Crl, ...]:
        known = self._signed_by.get(issuer)
        if known is None:
            candidates = self._crls.get(issuer.subject_der, ()) if "crl_sign" in issuer.usages else ()
            known = self._signed_by[issuer] = tuple(crl for crl in candidates if _signed(crl, issuer))
        return known


_INSTANT = timedelta(microseconds=1)
_ALWAYS = Window(start=datetime.min.replace(tzinfo=UTC), end=_LAST)
_OUT_OF_VALIDITY = frozenset({9, 10})  # X509_V_ERR_CERT_NOT_YET_VALID, X509_V_ERR_CERT_HAS_EXPIRED


def _openssl(certificate: Certificate) -> openssl.X509:
    try:
        return openssl.load_certificate(openssl.FILETYPE_ASN1, certificate.der)
    except openssl.Error as error:
        raise ChainBroken(f"{certificate.subject}: OpenSSL cannot read it", check="chain", subject=certificate.subject) from error


def _certificate(x: openssl.X509) -> Certificate:
    return Certificate.from_der(openssl.dump_certificate(openssl.FILETYPE_ASN1, x))


def _broken(error: openssl.X509StoreContextError, certificate: Certificate, at: datetime) -> ChainBroken | NotValidAt:
    code, depth, message = error.errors
    culprit = _certificate(error.certificate)
    if code in _OUT_OF_VALIDITY:
        return NotValidAt(
            f"{culprit.subject} is valid from {culprit.not_before.isoformat()} to {culprit.not_after.isoformat()}, not at {at.isoformat()}",
            check="validity",
            not_before=culprit.not_before,
            not_after=culprit.not_after,
            at=at,
            subject=culprit.subject,
        )
    return ChainBroken(f"{certificate.subject}: {message}", check="chain", depth=depth, openssl=code, subject=culprit.subject)


def _require_one_suite(path: tuple[Certificate, ...]) -> None:
    suite = path[0].suite
    if suite is None or any(each.suite is not suite or each.signature_algorithm != signature_oid(suite) for each in path):
        raise ChainBroken(
            f"{path[0].subject}: keys and signatures of the path are not of one suite", check="chain-suite", subject=path[0].subject
        )


def _by_issuer(ders: Iterable[bytes]) -> dict[bytes, list[Crl]]:
    found: dict[bytes, list[Crl]] = {}
    for der in ders:
        try:
            crl = Crl.from_der(der)
        except Malformed:
            continue  # lists are fetched from others: a bad one must not hide the good ones, and counts as missing
        found.setdefault(crl.issuer_der, []).append(crl)
    return found


def _signed(crl: Crl, issuer: Certificate) -> bool:
    try:
        crl.verify(issuer.public_key)
    except Unverified:
        return False  # a forged list is the same as none
    return True


def _freshness(lists: Iterable[Crl], issuer: Certificate, now: datetime, grace: timedelta) -> Window:
    windows = [Window(start=crl.this_update - CRL_SKEW, end=crl.next_update) for crl in lists]
    fresh = [window for window in windows if now in window.lengthened(grace)]
    if not fresh:
        newest = max((window.end for window in windows), default=None)
        raise CrlStale(f"no fresh revocation list of {issuer.subject}", check="crl", issuer=issuer.subject, next_update=newest)
    return max(fresh, key=lambda window: window.end)


def _revocation(lists: tuple[Crl, ...], subject: Certificate) -> Revocation | None:
    """The earliest revocation in any list: authorities may drop what has expired (RFC 5280 3.3). A hold counts in the newest list alone."""
    newest = max(crl.number for crl in lists)
    found = [
        revocation
        for crl in lists
        if (revocation := crl.revoked.get(subject.serial)) is not None
        if crl.number == newest or revocation.reason != HOLD
    ]
    return min(found, key=lambda revocation: revocation.when, default=None)

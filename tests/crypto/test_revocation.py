"""Revocation: what the lists say at a moment, which lists count, and which are as good as missing."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat import asn1

from crypto.ca import IssuingAuthority
from crypto.certificates import (
    Certificate,
    CrlStale,
    Purpose,
    Revoked,
    Trust,
    verify_chain,
)
from crypto.crls import MAX_CRL, REASON_CODE, Crl
from crypto.errors import LocalError, Malformed, Unverified
from crypto.keys import PrivateKey
from crypto.pkix import (
    COMMON_NAME,
    AlgorithmIdentifier,
    Extension,
    RevokedEntry,
    SignedObject,
    TbsCrl,
    pkix_time,
    signature_oid,
    tlv,
)
from crypto.suites import GM_1, INTL_1, SUITES, Suite
from tests.crypto.pki import NOW, Pki, check, extension, identified_by, key_usage, pki_for, raw_certificate

DAY = timedelta(days=1)


@pytest.fixture(params=sorted(SUITES))
def pki(request: pytest.FixtureRequest) -> Pki:
    return pki_for(SUITES[request.param])


def test_revoked_before_at_and_after_the_moment(pki: Pki) -> None:
    certificate, when = pki.office.signing.certificate, NOW - DAY
    trust = pki.trust_after([(certificate, when, "superseded")])
    for at in (when, NOW):
        with pytest.raises(Revoked) as caught:
            check(pki, at=at, trust=trust)
        assert (caught.value.revoked_at, caught.value.reason) == (when, "superseded")
    chain = check(pki, at=when - timedelta(microseconds=1), trust=trust)
    assert (chain.revoked_later, chain.revocation_reason) == (when, "superseded")
    assert check(pki, trust=trust, holder=pki.finance.signing).revoked_later is None


def test_a_revoked_intermediate_takes_all_below_with_it(pki: Pki) -> None:
    trust = pki.trust_after([(pki.intermediate.certificate, NOW - DAY, "cACompromise")])
    with pytest.raises(Revoked):
        check(pki, trust=trust)


def test_the_earliest_later_revocation_of_the_path_counts(pki: Pki) -> None:
    revoked = [(pki.intermediate.certificate, NOW - DAY, None), (pki.office.signing.certificate, NOW - 2 * DAY, "keyCompromise")]
    chain = check(pki, at=NOW - 10 * DAY, trust=pki.trust_after(revoked))
    assert (chain.revoked_later, chain.revocation_reason) == (NOW - 2 * DAY, "keyCompromise")
    later = [(pki.intermediate.certificate, NOW - 3 * DAY, None), (pki.office.signing.certificate, NOW - 2 * DAY, "keyCompromise")]
    assert check(pki, at=NOW - 10 * DAY, trust=pki.trust_after(later)).revoked_later == NOW - 3 * DAY


@pytest.mark.parametrize("now", [NOW + 8 * DAY, NOW - DAY], ids=["stale", "not yet"])
def test_a_list_that_is_not_fresh(pki: Pki, now: datetime) -> None:
    with pytest.raises(CrlStale) as caught:
        check(pki, now=now)
    assert caught.value.next_update == NOW - timedelta(hours=1) + 7 * DAY
    assert isinstance(caught.value, LocalError)


def test_the_clocks_may_differ_by_a_minute(pki: Pki) -> None:
    check(pki, now=NOW - timedelta(hours=1, minutes=1))
    with pytest.raises(CrlStale):
        check(pki, now=NOW - timedelta(hours=1, minutes=1, seconds=1))


@pytest.mark.parametrize("missing", [0, 1], ids=["the root's", "the intermediate's"])
def test_every_authority_of_the_path_needs_a_list(pki: Pki, missing: int) -> None:
    lists = tuple(each for place, each in enumerate(pki.crls) if place != missing)
    with pytest.raises(CrlStale) as caught:
        check(pki, trust=replace(pki.trust, crls=lists))
    assert caught.value.next_update is None


def test_a_forged_list_is_no_list(pki: Pki) -> None:
    forged = _list(pki, signer=PrivateKey.generate(pki.suite))
    with pytest.raises(CrlStale):
        check(pki, trust=replace(pki.trust, crls=(pki.crls[0], forged)))
    check(pki, trust=replace(pki.trust, crls=(forged, *pki.crls)))


def _list(
    pki: Pki,
    *,
    signer: PrivateKey | None = None,
    suite: Suite | None = None,
    inner: Suite | None = None,
    version: int = 1,
    next_update: datetime | None = NOW + DAY,
    revoked: list[RevokedEntry] | None = None,
    more: tuple[Extension, ...] = (),
    number: int | None = 9,
) -> bytes:
    """A list in the intermediate's name, right in everything that is not asked otherwise."""
    signer = signer or pki.intermediate.private

    def algorithm(suite: Suite) -> asn1.TLV:
        return tlv(asn1.encode_der(AlgorithmIdentifier(algorithm=signature_oid(suite))))

    extensions = [extension(x509.CRLNumber(number))] if number is not None else []
    tbs = TbsCrl(
        version=version,
        signature=algorithm(inner or suite or signer.suite),
        issuer=tlv(pki.intermediate.certificate.subject_der),
        this_update=pkix_time(NOW - DAY),
        next_update=pkix_time(next_update) if next_update else None,
        revoked=revoked,
        extensions=[*extensions, *more],
    )
    der = asn1.encode_der(tbs)
    return asn1.encode_der(
        SignedObject(tbs=tlv(der), algorithm=algorithm(suite or signer.suite), signature=asn1.BitString(signer.sign(der), 0))
    )


INDIRECT = Extension(oid=x509.ObjectIdentifier("2.5.29.28"), critical=True, value=bytes.fromhex("30038401ff"))
DELTA = Extension(oid=x509.ObjectIdentifier("2.5.29.27"), critical=True, value=b"\x02\x01\x01")


def _entry(*extensions: Extension) -> list[RevokedEntry]:
    return [RevokedEntry(serial=5, when=pkix_time(NOW), extensions=list(extensions))]


def test_our_helper_makes_good_lists(pki: Pki) -> None:
    check(pki, trust=replace(pki.trust, crls=(pki.crls[0], _list(pki))))


@pytest.mark.parametrize(
    "wrong",
    [
        {"more": (INDIRECT,)},
        {"more": (DELTA,)},
        {"more": (extension(x509.CRLNumber(3)),)},
        {"number": None},
        {"next_update": None},
        {"version": 0},
        {"revoked": _entry(Extension(oid=REASON_CODE, critical=False, value=b"\x0a\x01\x07"))},
        {"revoked": _entry(INDIRECT)},
    ],
    ids=["indirect", "delta", "number twice", "no number", "no next update", "version 1", "unknown reason", "entry of another issuer"],
)
def test_lists_that_cannot_be_used_count_as_missing(pki: Pki, wrong: dict[str, object]) -> None:
    bad = _list(pki, **wrong)  # type: ignore[arg-type]
    with pytest.raises(Malformed):
        Crl.from_der(bad)
    with pytest.raises(CrlStale):
        check(pki, trust=replace(pki.trust, crls=(pki.crls[0], bad)))


def test_a_list_with_two_algorithms(pki: Pki) -> None:
    with pytest.raises(Malformed):
        Crl.from_der(_list(pki, inner=GM_1 if pki.suite is INTL_1 else INTL_1))


def test_a_list_that_claims_the_other_suite(pki: Pki) -> None:
    crl = Crl.from_der(_list(pki, suite=GM_1 if pki.suite is INTL_1 else INTL_1))
    with pytest.raises(Unverified) as caught:
        crl.verify(pki.intermediate.private.public)
    assert caught.value.check == "crl-signature"


def test_a_list_with_an_algorithm_that_is_none(pki: Pki) -> None:
    odd = tlv(bytes.fromhex("3003020105"))
    tbs = TbsCrl(
        version=1,
        signature=odd,
        issuer=tlv(pki.intermediate.certificate.subject_der),
        this_update=pkix_time(NOW),
        next_update=pkix_time(NOW + DAY),
        revoked=None,
        extensions=[extension(x509.CRLNumber(1))],
    )
    der = asn1.encode_der(SignedObject(tbs=tlv(asn1.encode_der(tbs)), algorithm=odd, signature=asn1.BitString(b"x", 0)))
    with pytest.raises(Unverified):
        Crl.from_der(der).verify(pki.intermediate.private.public)


def test_too_long_a_list() -> None:
    with pytest.raises(Malformed):
        Crl.from_der(bytes(MAX_CRL + 1))


def test_an_authority_that_may_not_sign_lists(pki: Pki) -> None:
    key, below = PrivateKey.generate(pki.suite), PrivateKey.generate(pki.suite)
    ca = [extension(x509.BasicConstraints(ca=True, path_length=0), critical=True), key_usage("key_cert_sign")]
    der = raw_certificate(
        pki.root.private, pki.root.certificate.subject_der, key.public, identified_by(pki.root, ca), name=[(COMMON_NAME, "no lists")]
    )
    authority = IssuingAuthority.load(key, Certificate.from_der(der))
    usage = key_usage("digital_signature", "content_commitment")
    keys = extension(x509.AuthorityKeyIdentifier(b"k" * 20, None, None))
    leaf = Certificate.from_der(raw_certificate(key, authority.certificate.subject_der, below.public, [keys, usage]))
    trust = Trust(roots=pki.trust.roots, intermediates=(authority.certificate,), crls=(pki.crls[0], authority.crl([], 1, NOW, 7)))
    with pytest.raises(CrlStale):
        verify_chain(leaf, trust, at=NOW, now=NOW, purpose=Purpose.SIGN)


def test_an_old_list_still_tells_of_what_a_new_one_dropped(pki: Pki) -> None:
    certificate = pki.office.signing.certificate
    old = pki.intermediate.crl([(certificate.serial, NOW - DAY, "keyCompromise")], 5, NOW - 30 * DAY, 7)
    new = pki.intermediate.crl([], 6, NOW, 7)
    with pytest.raises(Revoked):
        check(pki, trust=replace(pki.trust, crls=(pki.crls[0], old, new)))


def test_a_hold_ends_with_the_list_that_no_longer_names_it(pki: Pki) -> None:
    certificate = pki.office.signing.certificate
    held = pki.intermediate.crl([(certificate.serial, NOW - DAY, "certificateHold")], 5, NOW - DAY, 7)
    with pytest.raises(Revoked):
        check(pki, trust=replace(pki.trust, crls=(pki.crls[0], held)))
    released = pki.intermediate.crl([], 6, NOW, 7)
    check(pki, trust=replace(pki.trust, crls=(pki.crls[0], held, released)))


def test_a_serial_revoked_twice_was_revoked_the_first_time(pki: Pki) -> None:
    serial = pki.office.signing.certificate.serial
    for order in ([NOW, NOW - DAY], [NOW - DAY, NOW]):
        crl = Crl.from_der(pki.intermediate.crl([(serial, when, None) for when in order], 7, NOW, 7))
        assert crl.revoked[serial].when == NOW - DAY
        assert crl.revoked[serial].reason is None

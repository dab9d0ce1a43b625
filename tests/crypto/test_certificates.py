"""Certificates: parsing, purposes, chains at a moment, and the cache."""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from crypto import certificates as module
from crypto.ca import Profile, Subject
from crypto.certificates import (
    MAX_CERTIFICATE,
    Certificate,
    ChainBroken,
    ChainCache,
    CrlStale,
    NotValidAt,
    Purpose,
    Revoked,
    Trust,
    TrustUnusable,
    WrongPurpose,
    verify_chain,
)
from crypto.crls import Crl
from crypto.errors import Malformed, RemoteError, UnknownSuite
from crypto.keys import PrivateKey
from crypto.pkix import (
    COMMON_NAME,
    ORGANISATION_IDENTIFIER,
    Extension,
    build_name,
    read_name,
    tlv,
    utc,
)
from crypto.suites import GM_1, INTL_1, SUITES, Suite
from tests.crypto.pki import (
    BEGIN,
    NOW,
    Holder,
    Pki,
    check,
    extension,
    identified,
    identified_by,
    key_usage,
    make_pki,
    pki_for,
    raw_certificate,
)

DAY = timedelta(days=1)
PURPOSES: dict[Purpose, Callable[[Pki], Holder]] = {
    Purpose.SIGN: lambda pki: pki.office.signing,
    Purpose.ENCRYPT: lambda pki: pki.office.encryption,
    Purpose.TLS: lambda pki: pki.office.tls,
    Purpose.TIME_STAMP: lambda pki: pki.tsa,
    Purpose.DIRECTORY: lambda pki: pki.directory,
}


@pytest.fixture(params=sorted(SUITES))
def pki(request: pytest.FixtureRequest) -> Pki:
    return pki_for(SUITES[request.param])


def issued(pki: Pki, extensions: list[Extension], *, key: PrivateKey | None = None, **changes: object) -> bytes:
    key = key or PrivateKey.generate(pki.suite)
    return raw_certificate(pki.intermediate.private, pki.intermediate.certificate.subject_der, key.public, extensions, **changes)  # type: ignore[arg-type]


# ---- parsing ---------------------------------------------------------------------------------------------------------------------


def test_what_a_signing_certificate_says(pki: Pki) -> None:
    certificate = pki.office.signing.certificate
    assert certificate.suite is pki.suite
    assert certificate.organisation == pki.office.code
    assert certificate.subject == f"C=CN, O=市政府办公室, organizationIdentifier={pki.office.code}, CN=市政府办公室"
    assert certificate.issuer_der == pki.intermediate.certificate.subject_der
    assert (certificate.not_before, certificate.not_after) == (BEGIN, BEGIN + 730 * DAY)
    assert certificate.may_sign
    assert not certificate.may_encrypt
    assert not certificate.is_ca
    assert certificate.public_key == pki.office.signing.private.public
    assert certificate.fingerprint.startswith("sha256:")
    assert certificate.ekus == ()


def test_dual_certificates_differ_by_key_usage(pki: Pki) -> None:
    encryption = pki.office.encryption.certificate
    assert encryption.may_encrypt
    assert not encryption.may_sign
    assert encryption.organisation == pki.office.code
    assert not encryption.usages & {"digital_signature", "content_commitment"}


def test_tls_certificate_is_p256_with_the_gateway_urn(pki: Pki) -> None:
    certificate = pki.office.tls.certificate
    assert certificate.suite is INTL_1
    assert certificate.uris == ("urn:yizhan:gateway:gw-office",)
    assert certificate.dns_names == ("localhost",)


def test_equal_by_bytes_and_remembered(pki: Pki) -> None:
    certificate = pki.office.signing.certificate
    assert Certificate.from_der(bytes(bytearray(certificate.der))) is certificate
    assert certificate != pki.office.encryption.certificate
    assert certificate != certificate.der
    assert len({certificate, replace(certificate), pki.office.encryption.certificate}) == 2


def test_pem_round_trip(pki: Pki) -> None:
    certificate = pki.office.signing.certificate
    assert Certificate.from_pem(certificate.pem) is certificate


@pytest.mark.parametrize("pem", [b"", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_bad_pem(pem: bytes) -> None:
    with pytest.raises(Malformed):
        Certificate.from_pem(pem)


def test_two_certificates_in_one_pem_are_refused(pki: Pki) -> None:
    with pytest.raises(Malformed):
        Certificate.from_pem(pki.office.signing.certificate.pem * 2)


def test_a_key_of_no_suite(pki: Pki) -> None:
    spki = ed25519.Ed25519PrivateKey.generate().public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    class Foreign:
        pass

    foreign = Foreign()
    foreign.spki = spki  # type: ignore[attr-defined]
    name = pki.root.certificate.subject_der
    der = raw_certificate(pki.root.private, name, foreign, [key_usage("digital_signature", "content_commitment")])  # type: ignore[arg-type]
    certificate = Certificate.from_der(der)
    assert certificate.suite is None
    with pytest.raises(UnknownSuite):
        _ = certificate.public_key
    with pytest.raises(ChainBroken):
        verify_chain(certificate, pki.trust, at=NOW, now=NOW, purpose=Purpose.SIGN)
    with pytest.raises(TrustUnusable):
        Trust(roots=(certificate,))


@pytest.mark.parametrize(
    "changes",
    [{"version": 0}, {"serial": 0}, {"serial": -5}, {"serial": 1 << 159}, {"inner": GM_1, "outer": INTL_1}],
    ids=["version 1", "serial zero", "serial negative", "serial too long", "two algorithms"],
)
def test_malformed_fields(changes: dict[str, object]) -> None:
    with pytest.raises(Malformed):
        Certificate.from_der(issued(pki_for(INTL_1), [key_usage("digital_signature")], **changes))


def test_duplicated_extension(pki: Pki) -> None:
    with pytest.raises(Malformed):
        Certificate.from_der(issued(pki, [key_usage("digital_signature"), key_usage("key_agreement")]))


def test_two_organisations_in_one_subject(pki: Pki) -> None:
    name = [(ORGANISATION_IDENTIFIER, pki.office.code), (ORGANISATION_IDENTIFIER, pki.finance.code)]
    with pytest.raises(Malformed):
        Certificate.from_der(issued(pki, [key_usage("digital_signature")], name=name))


def test_an_organisation_identifier_of_another_spelling_is_no_code(pki: Pki) -> None:
    der = issued(pki, [key_usage("digital_signature")], name=[(ORGANISATION_IDENTIFIER, "VATDE-123456789")])
    assert Certificate.from_der(der).organisation is None


def test_a_point_off_the_curve(pki: Pki) -> None:
    certificate = pki.office.signing.certificate
    der = certificate.der.replace(certificate.spki, certificate.spki[:-1] + bytes([certificate.spki[-1] ^ 1]))
    with pytest.raises(Malformed):
        Certificate.from_der(der)


def test_too_long() -> None:
    with pytest.raises(Malformed):
        Certificate.from_der(bytes(MAX_CERTIFICATE + 1))


def test_names_of_every_string_type() -> None:
    parts = ["310b300906035504061302434e", "310f300d06035504031e064e2d65875b57", "310f300d060355042d0306000102030405"]
    body = bytes.fromhex("".join(parts))
    name = b"\x30" + bytes([len(body)]) + body
    assert [text for _, text in read_name(tlv(name))] == ["CN", "中文字", "000102030405"]


def test_a_chinese_name_longer_than_64_bytes(pki: Pki) -> None:
    name = "驿站市人民政府办公室电子公文交换中心综合协调与档案管理处"
    holder = pki.issue(Profile.SIGN, Subject(common_name=name, organisation_name=name, organisation_code=pki.office.code))
    assert verify_chain(holder.certificate, pki.trust, at=NOW, now=NOW, purpose=Purpose.SIGN).certificate.subject.endswith(f"CN={name}")


@settings(max_examples=300)
@given(st.binary(max_size=600))
def test_any_bytes_give_a_certificate_or_malformed(data: bytes) -> None:
    for read in (Certificate.from_der, Certificate.from_pem, Crl.from_der):
        with contextlib.suppress(Malformed):
            read(data)


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(sorted(SUITES)), st.data())
def test_a_damaged_certificate_or_list_is_malformed_or_not_believed(suite_id: str, data: st.DataObject) -> None:
    pki = pki_for(SUITES[suite_id])
    good = pki.office.signing.certificate
    der = _damaged(data, good.der)
    try:
        verify_chain(Certificate.from_der(der), pki.trust, at=NOW, now=NOW, purpose=Purpose.SIGN)
    except RemoteError:
        pass
    else:
        assert der == good.der
    lists = tuple(_damaged(data, each) for each in pki.crls)
    try:
        verify_chain(good, replace(pki.trust, crls=lists), at=NOW, now=NOW, purpose=Purpose.SIGN)
    except CrlStale:
        pass
    else:
        assert lists[:2] == pki.crls[:2]


def _damaged(data: st.DataObject, der: bytes) -> bytes:
    place = data.draw(st.integers(0, len(der) - 1))
    return der[:place] + data.draw(st.binary(max_size=2)) + der[place + data.draw(st.integers(0, 2)) :]


def test_every_flipped_byte_is_noticed(pki: Pki) -> None:
    good = pki.office.signing.certificate.der
    cache = pki.cache
    for place in range(len(good)):
        der = good[:place] + bytes([good[place] ^ 0x01]) + good[place + 1 :]
        with pytest.raises(RemoteError):
            cache.verify(Certificate.from_der(der), NOW, NOW, Purpose.SIGN)


# ---- purposes --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("made_for", "asked"), list(itertools.product(PURPOSES, PURPOSES)))
def test_each_certificate_is_for_its_purpose_alone(pki: Pki, made_for: Purpose, asked: Purpose) -> None:
    certificate = PURPOSES[made_for](pki).certificate
    if made_for is asked:
        chain = verify_chain(certificate, pki.trust, at=NOW, now=NOW, purpose=asked)
        assert chain.certificate is certificate
        assert chain.path[0] == certificate
        assert chain.path[-1] in pki.trust.roots
        assert chain.revoked_later is None
    else:
        with pytest.raises(WrongPurpose) as caught:
            verify_chain(certificate, pki.trust, at=NOW, now=NOW, purpose=asked)
        assert caught.value.purpose == asked


@pytest.mark.parametrize("purpose", list(Purpose))
def test_an_authority_is_for_no_purpose(pki: Pki, purpose: Purpose) -> None:
    with pytest.raises(WrongPurpose):
        verify_chain(pki.intermediate.certificate, pki.trust, at=NOW, now=NOW, purpose=purpose)


TIME = x509.ObjectIdentifier("1.3.6.1.5.5.7.3.8")
EMAIL = x509.ObjectIdentifier("1.3.6.1.5.5.7.3.4")


@pytest.mark.parametrize(
    ("purpose", "extensions"),
    [
        (Purpose.TIME_STAMP, [key_usage("digital_signature"), extension(x509.ExtendedKeyUsage([TIME]))]),
        (Purpose.TIME_STAMP, [key_usage("digital_signature"), extension(x509.ExtendedKeyUsage([TIME, EMAIL]), critical=True)]),
        (Purpose.TIME_STAMP, [key_usage("digital_signature", "key_agreement"), extension(x509.ExtendedKeyUsage([TIME]), critical=True)]),
        (Purpose.TIME_STAMP, [extension(x509.ExtendedKeyUsage([TIME]), critical=True)]),
        (Purpose.SIGN, [key_usage("digital_signature")]),
        (Purpose.SIGN, [key_usage("digital_signature", "content_commitment", "key_encipherment")]),
        (Purpose.SIGN, []),
        (Purpose.ENCRYPT, [key_usage("digital_signature", "key_agreement")]),
        (Purpose.ENCRYPT, [key_usage("data_encipherment")]),
    ],
    ids=[
        "EKU not critical",
        "EKU not alone",
        "TSA that agrees on keys",
        "TSA without usage",
        "sign without commitment",
        "sign and encipher",
        "no usage",
        "encrypt and sign",
        "data only",
    ],
)
def test_near_misses_of_a_purpose(purpose: Purpose, extensions: list[Extension]) -> None:
    certificate = Certificate.from_der(issued(pki_for(INTL_1), extensions))
    with pytest.raises(WrongPurpose):
        certificate.require(purpose)


# ---- the path --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", [BEGIN - timedelta(seconds=1), BEGIN + 730 * DAY + timedelta(seconds=1)], ids=["not yet", "expired"])
def test_outside_of_its_validity(pki: Pki, at: datetime) -> None:
    with pytest.raises(NotValidAt) as caught:
        check(pki, at=at)
    assert (caught.value.not_before, caught.value.not_after) == (BEGIN, BEGIN + 730 * DAY)
    assert caught.value.check == "validity"


@pytest.mark.parametrize("at", [BEGIN, BEGIN + 730 * DAY])
def test_both_ends_of_its_validity(pki: Pki, at: datetime) -> None:
    check(pki, at=at)


def test_the_moment_may_be_given_in_another_zone(pki: Pki) -> None:
    check(pki, at=BEGIN.astimezone(timezone(timedelta(hours=8))))
    with pytest.raises(NotValidAt):
        check(pki, at=(BEGIN - timedelta(seconds=1)).astimezone(timezone(timedelta(hours=8))))


def test_a_moment_without_zone_is_a_defect(pki: Pki) -> None:
    with pytest.raises(AssertionError, match="internal"):
        check(pki, at=NOW.replace(tzinfo=None))


def test_unknown_root(pki: Pki) -> None:
    stranger = make_pki(pki.suite)
    with pytest.raises(ChainBroken) as caught:
        check(pki, trust=stranger.trust)
    assert caught.value.check == "chain"


def test_a_missing_intermediate(pki: Pki) -> None:
    with pytest.raises(ChainBroken):
        check(pki, trust=replace(pki.trust, intermediates=()))


def test_a_root_of_the_same_name_with_another_key(pki: Pki) -> None:
    twin = make_pki(pki.suite)
    with pytest.raises(ChainBroken):
        check(pki, trust=replace(pki.trust, roots=twin.trust.roots))


def test_an_intermediate_is_no_root_of_its_own(pki: Pki) -> None:
    with pytest.raises(ChainBroken):
        check(pki, trust=Trust(roots=(pki.intermediate.certificate,), crls=pki.crls))


def test_an_issuer_that_is_no_authority(pki: Pki) -> None:
    finance = pki.finance.signing
    key = PrivateKey.generate(pki.suite)
    usage = key_usage("digital_signature", "content_commitment")
    der = raw_certificate(finance.private, finance.certificate.subject_der, key.public, identified(pki, usage))
    der2 = Certificate.from_der(der)
    with pytest.raises(TrustUnusable):
        replace(pki.trust, intermediates=(*pki.trust.intermediates, finance.certificate))
    with pytest.raises(ChainBroken):
        verify_chain(der2, pki.trust, at=NOW, now=NOW, purpose=Purpose.SIGN)


def test_an_authority_without_the_right_to_sign_certificates(pki: Pki) -> None:
    key = PrivateKey.generate(pki.suite)
    below = PrivateKey.generate(pki.suite)
    ca = [extension(x509.BasicConstraints(ca=True, path_length=0), critical=True), key_usage("crl_sign")]
    authority = Certificate.from_der(
        raw_certificate(pki.root.private, pki.root.certificate.subject_der, key.public, identified_by(pki.root, ca))
    )
    usage = key_usage("digital_signature", "content_commitment")
    der = raw_certificate(key, authority.subject_der, below.public, [extension(x509.AuthorityKeyIdentifier(b"k" * 20, None, None)), usage])
    with pytest.raises(ChainBroken):
        trust = replace(pki.trust, intermediates=(authority,))
        verify_chain(Certificate.from_der(der), trust, at=NOW, now=NOW, purpose=Purpose.SIGN)


def test_a_path_longer_than_an_authority_allows(pki: Pki) -> None:
    key, below = PrivateKey.generate(pki.suite), PrivateKey.generate(pki.suite)
    ca = [extension(x509.BasicConstraints(ca=True, path_length=0), critical=True), key_usage("key_cert_sign", "crl_sign")]
    deep = Certificate.from_der(issued(pki, identified(pki, *ca), key=key, name=[(COMMON_NAME, "too deep")]))
    usage = key_usage("digital_signature", "content_commitment")
    leaf = raw_certificate(key, deep.subject_der, below.public, [extension(x509.AuthorityKeyIdentifier(b"k" * 20, None, None)), usage])
    with pytest.raises(ChainBroken) as caught:
        trust = replace(pki.trust, intermediates=(*pki.trust.intermediates, deep))
        verify_chain(Certificate.from_der(leaf), trust, at=NOW, now=NOW, purpose=Purpose.SIGN)
    assert caught.value.openssl == 25  # X509_V_ERR_PATH_LENGTH_EXCEEDED


def test_an_unknown_critical_extension(pki: Pki) -> None:
    usage = key_usage("digital_signature", "content_commitment")
    odd = Extension(oid=x509.ObjectIdentifier("1.2.3.4"), critical=True, value=b"\x05\x00")
    with pytest.raises(ChainBroken):
        certificate = Certificate.from_der(issued(pki, identified(pki, usage, odd)))
        verify_chain(certificate, pki.trust, at=NOW, now=NOW, purpose=Purpose.SIGN)


@pytest.mark.parametrize("suite", [GM_1, INTL_1], ids=lambda suite: suite.id)
def test_suites_are_not_mixed_in_a_path(suite: Suite) -> None:
    """A key of one suite under an authority of the other, whose root is of the first: each signature holds, the path does not."""
    pki, other = pki_for(suite), GM_1 if suite is INTL_1 else INTL_1
    between, key = PrivateKey.generate(other), PrivateKey.generate(suite)
    ca = [extension(x509.BasicConstraints(ca=True, path_length=0), critical=True), key_usage("key_cert_sign", "crl_sign")]
    name = pki.root.certificate.subject_der
    middle = Certificate.from_der(raw_certificate(pki.root.private, name, between.public, identified_by(pki.root, ca)))
    usage = key_usage("digital_signature", "content_commitment")
    leaf = raw_certificate(between, middle.subject_der, key.public, [extension(x509.AuthorityKeyIdentifier(b"k" * 20, None, None)), usage])
    trust = replace(pki.trust, intermediates=(middle,))
    with pytest.raises(ChainBroken) as caught:
        verify_chain(Certificate.from_der(leaf), trust, at=NOW, now=NOW, purpose=Purpose.SIGN)
    assert caught.value.check == "chain-suite"


def test_a_root_of_the_other_suite_does_not_help(pki: Pki) -> None:
    other = pki_for(GM_1 if pki.suite is INTL_1 else INTL_1)
    with pytest.raises(ChainBroken):
        check(pki, trust=replace(pki.trust, roots=(other.root.certificate,)))


def test_ceilings_of_a_trust(pki: Pki) -> None:
    root = pki.root.certificate
    for too_many in (
        {"roots": (root,) * (module.MAX_ROOTS + 1)},
        {"roots": (root,), "intermediates": (root,) * (module.MAX_INTERMEDIATES + 1)},
        {"roots": (root,), "crls": (b"",) * (module.MAX_CRLS + 1)},
    ):
        with pytest.raises(TrustUnusable):
            Trust(**too_many)  # type: ignore[arg-type]


def test_what_openssl_cannot_read_is_a_broken_chain(pki: Pki) -> None:
    broken = replace(pki.office.signing.certificate, der=b"\x30\x00")
    with pytest.raises(ChainBroken):
        verify_chain(broken, pki.trust, at=NOW, now=NOW, purpose=Purpose.SIGN)


# ---- the cache -------------------------------------------------------------------------------------------------------------------


def test_a_hit_is_the_same_answer_as_a_fresh_check(pki: Pki) -> None:
    cache, certificate = pki.cache, pki.office.signing.certificate
    first = cache.verify(certificate, NOW, NOW, Purpose.SIGN)
    assert cache.verify(certificate, NOW + DAY, NOW + DAY, Purpose.SIGN) is first
    assert first == check(pki)


def test_a_remembered_answer_ends_with_its_windows(pki: Pki) -> None:
    certificate = pki.office.signing.certificate
    cache = ChainCache(pki.trust_after([(certificate, NOW + DAY, "superseded")]))
    assert cache.verify(certificate, NOW, NOW, Purpose.SIGN).revoked_later == NOW + DAY
    with pytest.raises(Revoked):
        cache.verify(certificate, NOW + DAY, NOW + DAY, Purpose.SIGN)
    with pytest.raises(CrlStale):
        cache.verify(certificate, NOW, NOW + 8 * DAY, Purpose.SIGN)
    with pytest.raises(NotValidAt):
        cache.verify(certificate, BEGIN - DAY, NOW, Purpose.SIGN)
    with pytest.raises(WrongPurpose):
        cache.verify(certificate, NOW, NOW, Purpose.TIME_STAMP)


def test_the_cache_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_CHAINS", 2)
    pki = pki_for(INTL_1)
    cache = pki.cache
    for organisation in pki.organisations:
        cache.verify(organisation.signing.certificate, NOW, NOW, Purpose.SIGN)
    assert len(cache._known) == 2
    cache.verify(pki.office.signing.certificate, NOW, NOW, Purpose.SIGN)


def test_the_cache_from_many_threads(pki: Pki) -> None:
    cache, failures = pki.cache, []

    def work() -> None:
        try:
            for each in range(40):
                purpose = list(PURPOSES)[each % len(PURPOSES)]
                certificate = PURPOSES[purpose](pki).certificate
                at = NOW if each % 3 else BEGIN + 731 * DAY
                try:
                    assert cache.verify(certificate, at, NOW, purpose).certificate == certificate
                except NotValidAt:
                    assert at != NOW
        except BaseException as error:  # noqa: BLE001 reported by the main thread
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_utc_and_names() -> None:
    assert utc(datetime(2026, 1, 1, 8, tzinfo=timezone(timedelta(hours=8)))) == datetime(2026, 1, 1, tzinfo=UTC)
    assert read_name(build_name([(COMMON_NAME, "甲")])) == [(COMMON_NAME, "甲")]
    with pytest.raises(Malformed):
        tlv(b"\x30\x05")

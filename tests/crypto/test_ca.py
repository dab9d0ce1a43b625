"""The issuing authority: what it issues holds with us and with the openssl command line; what it must not issue it refuses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from crypto.ca import MAX_NAME, MAX_SANS, CannotIssue, IssuingAuthority, Profile, Subject
from crypto.certificates import Certificate, Purpose, Trust, verify_chain
from crypto.crls import Crl
from crypto.keys import PrivateKey
from crypto.pkix import DIRECTORY_AUTHORITY
from crypto.suites import GM_1, INTL_1, SUITES
from tests.crypto.openssl_pki import openssl
from tests.crypto.pki import BEGIN, FINANCE_CODE, HEALTH_CODE, NOW, OFFICE_CODE, Pki, organisation_code, pki_for

DAY = timedelta(days=1)
MOMENT = str(int(NOW.timestamp()))
SUBJECT = Subject(common_name="x", organisation_name="y")
DISTID = ("-vfyopt", "distid:1234567812345678")


@pytest.fixture(params=sorted(SUITES))
def pki(request: pytest.FixtureRequest) -> Pki:
    return pki_for(SUITES[request.param])


def pem_crl(der: bytes, path: Path) -> Path:
    path.with_suffix(".der").write_bytes(der)
    openssl("crl", "-inform", "DER", "-in", path.with_suffix(".der"), "-out", path)
    return path


def write(path: Path, *certificates: Certificate) -> Path:
    path.write_bytes(b"".join(certificate.pem for certificate in certificates))
    return path


# ---- with the openssl command line -----------------------------------------------------------------------------------------------


def test_openssl_reads_every_certificate(pki: Pki, tmp_path: Path) -> None:
    office = pki.office
    for certificate in (
        pki.root.certificate,
        pki.intermediate.certificate,
        office.signing.certificate,
        office.encryption.certificate,
        office.tls.certificate,
        pki.tsa.certificate,
        pki.directory.certificate,
    ):
        path = write(tmp_path / "certificate.pem", certificate)
        text = openssl("x509", "-in", path, "-noout", "-text").stdout
        assert f"{certificate.serial:032x}" in text.decode().replace(":", "").replace(" ", "").replace("\n", "")
        assert b"Signature Algorithm: SM2-with-SM3" in text or b"Signature Algorithm: ecdsa-with-SHA256" in text
        openssl("asn1parse", "-in", path)


def test_openssl_accepts_the_p256_chain_with_both_lists(tmp_path: Path) -> None:
    pki = pki_for(INTL_1)
    lists = [pem_crl(der, tmp_path / f"{place}.pem") for place, der in enumerate(pki.crls[:2])]
    everything = tmp_path / "all.pem"
    everything.write_bytes(b"".join([pki.root.certificate.pem, pki.intermediate.certificate.pem, *(path.read_bytes() for path in lists)]))
    for holder in (pki.office.signing, pki.office.encryption, pki.tsa, pki.directory):
        path = write(tmp_path / "certificate.pem", holder.certificate)
        usual = ("-attime", MOMENT, "-x509_strict", "-CAfile", everything, path)
        critical = () if holder is not pki.directory else ("-purpose", "any")
        assert b": OK" in openssl("verify", "-crl_check", *critical, *usual).stdout
        assert b": OK" in openssl("verify", "-crl_check_all", *critical, *usual).stdout


def test_openssl_accepts_the_tls_chain_for_server_and_client(tmp_path: Path) -> None:
    pki = pki_for(GM_1)
    roots = write(tmp_path / "root.pem", pki.tls_root.certificate)
    path = write(tmp_path / "certificate.pem", pki.office.tls.certificate)
    for purpose in ("sslserver", "sslclient"):
        openssl("verify", "-attime", MOMENT, "-x509_strict", "-purpose", purpose, "-verify_hostname", "localhost", "-CAfile", roots, path)


def test_openssl_sees_the_revocation(tmp_path: Path) -> None:
    pki = pki_for(INTL_1)
    revoked = [(pki.office.signing.certificate, NOW - DAY, "keyCompromise")]
    lists = [pem_crl(der, tmp_path / f"{place}.pem").read_bytes() for place, der in enumerate(pki.crls_after(revoked)[:2])]
    everything = tmp_path / "all.pem"
    everything.write_bytes(b"".join([pki.root.certificate.pem, pki.intermediate.certificate.pem, *lists]))
    path = write(tmp_path / "certificate.pem", pki.office.signing.certificate)
    answer = openssl("verify", "-crl_check", "-attime", MOMENT, "-CAfile", everything, path, check=False)
    assert answer.returncode != 0
    assert b"certificate revoked" in answer.stderr
    text = openssl("crl", "-in", tmp_path / "1.pem", "-noout", "-text").stdout
    assert b"Key Compromise" in text
    assert b"X509v3 CRL Number" in text


def test_openssl_accepts_sm2_certificates_one_signature_deep(tmp_path: Path) -> None:
    """OpenSSL 3 hands the identifier to the first certificate alone, so each link of an SM2 path is checked by itself.

    A self-signed SM2 root passes because OpenSSL does not check the signature of a trust anchor. Lists fail: the identifier reaches
    no CRL. OpenSSL 4 has the right identifier by default, and our own check uses it (test_certificates).
    """
    pki = pki_for(GM_1)
    root, middle = write(tmp_path / "root.pem", pki.root.certificate), write(tmp_path / "middle.pem", pki.intermediate.certificate)
    usual = ("verify", "-attime", MOMENT, "-x509_strict", *DISTID)
    assert b": OK" in openssl(*usual, "-CAfile", root, root).stdout
    assert b": OK" in openssl(*usual, "-CAfile", root, middle).stdout
    for holder in (pki.office.signing, pki.office.encryption, pki.tsa, pki.directory):
        path = write(tmp_path / "certificate.pem", holder.certificate)
        assert b": OK" in openssl(*usual, "-partial_chain", "-trusted", middle, path).stdout
    direct = pki.root.issue(PrivateKey.generate(GM_1).public, Profile.SIGN, SUBJECT, BEGIN, 100)
    assert b": OK" in openssl(*usual, "-CAfile", root, write(tmp_path / "direct.pem", direct)).stdout


def test_openssl_reads_a_list_of_each_suite(pki: Pki, tmp_path: Path) -> None:
    der = pki.crls_after([(pki.office.signing.certificate, NOW - DAY, "superseded"), (pki.tsa.certificate, NOW, None)])[1]
    text = openssl("crl", "-in", pem_crl(der, tmp_path / "list.pem"), "-noout", "-text").stdout.decode()
    assert text.count("Serial Number:") == 2
    assert text.count("Superseded") == 1


# ---- what is in them -------------------------------------------------------------------------------------------------------------


def test_profiles(pki: Pki) -> None:
    for profile, holder in ((Profile.TIME_STAMP, pki.tsa), (Profile.DIRECTORY, pki.directory)):
        eku = x509.load_der_x509_certificate(holder.certificate.der).extensions.get_extension_for_class(x509.ExtendedKeyUsage)
        assert eku.critical, profile
        assert len(list(eku.value)) == 1
    assert pki.directory.certificate.ekus == (DIRECTORY_AUTHORITY.dotted_string,)
    transport = {"key_encipherment", "data_encipherment", "key_agreement"} if pki.suite is GM_1 else {"key_agreement"}
    assert pki.office.encryption.certificate.usages == transport
    assert pki.root.certificate.path_length == 1
    assert pki.intermediate.certificate.path_length == 0
    assert {pki.root.certificate.usages, pki.intermediate.certificate.usages} == {frozenset({"key_cert_sign", "crl_sign"})}


def test_key_identifiers_link_the_path(pki: Pki) -> None:
    for certificate, issuer in ((pki.office.signing.certificate, pki.intermediate), (pki.intermediate.certificate, pki.root)):
        extensions = x509.load_der_x509_certificate(certificate.der).extensions
        authority = extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
        assert authority.key_identifier == issuer.certificate.key_identifier
    assert len({pki.root.certificate.key_identifier, pki.intermediate.certificate.key_identifier}) == 2


def test_another_library_verifies_the_p256_signatures() -> None:
    pki = pki_for(INTL_1)
    leaf = x509.load_der_x509_certificate(pki.office.signing.certificate.der)
    middle = x509.load_der_x509_certificate(pki.intermediate.certificate.der)
    leaf.verify_directly_issued_by(middle)
    key = middle.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert x509.load_der_x509_crl(pki.crls[1]).is_signature_valid(key)


def test_serial_numbers_are_random_and_in_range(pki: Pki) -> None:
    serials = {pki.intermediate.issue(pki.office.signing.private.public, Profile.SIGN, SUBJECT, BEGIN, 1).serial for _ in range(8)}
    assert len(serials) == 8
    assert all(0 < serial < 1 << 128 for serial in serials)


def test_the_same_parts_give_the_same_p256_fields(pki: Pki) -> None:
    """All but the signature, which has a nonce, is a function of the parts."""
    public = pki.office.signing.private.public
    one, two = (pki.root._issue_from_parts(public, Profile.SIGN, SUBJECT, BEGIN, 10, (), 99) for _ in range(2))
    assert one.serial == two.serial == 99
    tbs = [x509.load_der_x509_certificate(each.der).tbs_certificate_bytes for each in (one, two)]
    assert tbs[0] == tbs[1]


def test_years_beyond_2049(pki: Pki) -> None:
    root = IssuingAuthority.create_root(pki.suite, "long-lived", BEGIN, years=40)
    late = root.certificate.not_after - 300 * DAY
    leaf = root.issue(PrivateKey.generate(pki.suite).public, Profile.SIGN, SUBJECT, late, 100)
    trust = Trust(roots=(root.certificate,), crls=(root.crl([], 1, late, 7),))
    assert verify_chain(leaf, trust, at=late + DAY, now=late + DAY, purpose=Purpose.SIGN).path == (leaf, root.certificate)


def test_an_empty_list_has_no_entries_at_all(pki: Pki) -> None:
    crl = Crl.from_der(pki.root.crl([], 12, NOW, 30))
    assert (crl.number, dict(crl.revoked), crl.this_update, crl.next_update) == (12, {}, NOW, NOW + 30 * DAY)
    crl.verify(pki.root.certificate.public_key)


def test_organisation_codes_of_the_test_pki() -> None:
    assert [organisation_code(code[:17]) for code in (OFFICE_CODE, FINANCE_CODE, HEALTH_CODE)] == [OFFICE_CODE, FINANCE_CODE, HEALTH_CODE]


# ---- what it must not do ---------------------------------------------------------------------------------------------------------


def test_load_wants_an_authority_and_its_key(pki: Pki) -> None:
    loaded = IssuingAuthority.load(pki.root.private, pki.root.certificate)
    assert loaded.suite is pki.suite
    with pytest.raises(CannotIssue):
        IssuingAuthority.load(pki.intermediate.private, pki.root.certificate)
    with pytest.raises(CannotIssue):
        IssuingAuthority.load(pki.office.signing.private, pki.office.signing.certificate)


Attempt = Callable[[IssuingAuthority, PrivateKey], object]
GATEWAY = "URI:urn:yizhan:gateway:g"
REFUSED: dict[str, Attempt] = {
    "longer than the authority": lambda ca, key: ca.issue(key.public, Profile.SIGN, SUBJECT, BEGIN, 40 * 366),
    "earlier than the authority": lambda ca, key: ca.issue(key.public, Profile.SIGN, SUBJECT, BEGIN - 9999 * DAY, 100),
    "no time at all": lambda ca, key: ca.issue(key.public, Profile.SIGN, SUBJECT, BEGIN, 0),
    "TLS without the gateway's URN": lambda ca, key: ca.issue(key.public, Profile.TLS, SUBJECT, BEGIN, 1, sans=("DNS:localhost",)),
    "too many names": lambda ca, key: ca.issue(key.public, Profile.TLS, SUBJECT, BEGIN, 1, sans=(GATEWAY,) * (MAX_SANS + 1)),
    "names beyond a certificate's ceiling": lambda ca, key: ca.issue(
        key.public, Profile.TLS, SUBJECT, BEGIN, 1, sans=(GATEWAY,) + ("URI:urn:" + "x" * 1000,) * 20
    ),
    "a name of unknown kind": lambda ca, key: ca.issue(key.public, Profile.TLS, SUBJECT, BEGIN, 1, sans=(GATEWAY, "MAIL:a@b")),
    "an address that is none": lambda ca, key: ca.issue(key.public, Profile.TLS, SUBJECT, BEGIN, 1, sans=(GATEWAY, "IP:300.1.1.1")),
    "a DNS name beyond ASCII": lambda ca, key: ca.issue(key.public, Profile.TLS, SUBJECT, BEGIN, 1, sans=(GATEWAY, "DNS:驿站")),
    "an empty name": lambda ca, key: ca.issue(key.public, Profile.SIGN, replace(SUBJECT, common_name=""), BEGIN, 1),
    "too long a name": lambda ca, key: ca.issue(key.public, Profile.SIGN, replace(SUBJECT, common_name="x" * (MAX_NAME + 1)), BEGIN, 1),
    "a control character": lambda ca, key: ca.issue(key.public, Profile.SIGN, replace(SUBJECT, common_name="a\nb"), BEGIN, 1),
    "a country beyond ASCII": lambda ca, key: ca.issue(key.public, Profile.SIGN, replace(SUBJECT, country="中国"), BEGIN, 1),
    "an unknown reason": lambda ca, key: ca.crl([(1, NOW, "because")], 1, NOW, 7),
}


@pytest.mark.parametrize("attempt", REFUSED.values(), ids=REFUSED)
def test_refusals(attempt: Attempt) -> None:
    pki = pki_for(INTL_1)
    with pytest.raises(CannotIssue):
        attempt(pki.root, pki.office.signing.private)


def test_a_key_of_the_other_suite(pki: Pki) -> None:
    other = PrivateKey.generate(GM_1 if pki.suite is INTL_1 else INTL_1)
    with pytest.raises(CannotIssue):
        pki.root.issue(other.public, Profile.SIGN, SUBJECT, BEGIN, 1)


def test_no_tls_certificate_with_an_sm2_key() -> None:
    pki = pki_for(GM_1)
    with pytest.raises(CannotIssue):
        pki.root.issue(pki.office.signing.private.public, Profile.TLS, SUBJECT, BEGIN, 1, sans=(GATEWAY,))


def test_no_authority_below_the_last_layer(pki: Pki) -> None:
    with pytest.raises(CannotIssue):
        pki.intermediate.issue(pki.office.signing.private.public, Profile.CA, SUBJECT, BEGIN, 1)

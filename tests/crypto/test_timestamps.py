"""Time-stamp tokens: the good one is believed, each damaged, foreign or misplaced one is refused and says by which check."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat import asn1
from cryptography.x509 import ObjectIdentifier as Oid
from hypothesis import given, settings
from hypothesis import strategies as st

from crypto.ca import Profile, Subject
from crypto.certificates import CrlStale, NotValidAt, Revoked, WrongPurpose
from crypto.digests import digest_raw
from crypto.errors import Malformed, RemoteError, Unverified
from crypto.keys import KeySigner, PrivateKey
from crypto.pkix import AlgorithmIdentifier, tlv
from crypto.rfc3161 import (
    CONTENT_TYPE,
    MESSAGE_DIGEST,
    SIGNING_CERTIFICATE_V2,
    Accuracy,
    Attribute,
    IssuerAndSerial,
    MessageImprint,
    StatusInfo,
    TimeStampResp,
    Token,
    TstInfo,
    signed_bytes,
    signing_certificate,
)
from crypto.suites import GM_1, INTL_1, SUITES
from crypto.timestamps import (
    MAX_RESPONSE,
    MAX_TOKEN,
    TimeStamp,
    TimeStampRefused,
    make_request,
    read_token,
    token_from_response,
    verify_token,
)
from crypto.tsa import TimeAuthority
from tests.crypto.openssl_pki import PASSWORD, openssl
from tests.crypto.pki import NOW, TSA_POLICY, Pki, make_pki, pki_for

OVER = b"a signature value"
NONCE = 0xFEDCBA9876543210
DAY = timedelta(days=1)
AT = NOW - timedelta(seconds=5, microseconds=-123456)


@pytest.fixture(params=sorted(SUITES))
def pki(request: pytest.FixtureRequest) -> Pki:
    return pki_for(SUITES[request.param])


def token_of(pki: Pki, *, at: datetime = AT, authority: TimeAuthority | None = None, over: bytes = OVER) -> bytes:
    request = make_request(pki.suite.digest, over, nonce=NONCE)
    return token_from_response((authority or pki.authority).respond(request, at=at, serial=77))


def believe(pki: Pki, token: bytes, **changes: Any) -> TimeStamp:
    """verify_token with everything right but what is given."""
    arguments: dict[str, Any] = {
        "suite": pki.suite,
        "trust": pki.trust,
        "allowed": {pki.tsa.certificate.fingerprint},
        "now": NOW,
        "nonce": NONCE,
    }
    return verify_token(token, **{"over": OVER, **arguments, **changes})


# ---- the good one ----------------------------------------------------------------------------------------------------------------


def test_a_good_token(pki: Pki) -> None:
    token = token_of(pki)
    stamp = believe(pki, token)
    assert stamp.at == AT.replace(microsecond=123000)
    assert (stamp.serial, stamp.policy, stamp.accuracy_ms) == (77, TSA_POLICY, 500)
    assert stamp.authority == pki.tsa.certificate
    assert stamp.token == token
    assert believe(pki, token, nonce=None) == stamp
    assert believe(pki, token, trust=pki.cache) == stamp


def test_reading_claims_without_believing(pki: Pki) -> None:
    claimed = read_token(token_of(pki))
    assert (claimed.serial, claimed.nonce, claimed.policy) == (77, NONCE, TSA_POLICY)
    assert claimed.imprint == digest_raw(pki.suite.digest, OVER)


@pytest.mark.parametrize("nonce", [0, -1, 1 << 160])
def test_a_nonce_of_ours_out_of_range_is_a_defect(nonce: int) -> None:
    with pytest.raises(AssertionError, match="internal"):
        make_request("sm3", OVER, nonce=nonce)


# ---- each check ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("check", "changes"),
    [
        ("token-imprint", {"over": OVER + b"!"}),
        ("token-nonce", {"nonce": NONCE + 1}),
        ("token-authority", {"allowed": ()}),
        ("token-time", {"now": AT - timedelta(minutes=2)}),
    ],
)
def test_a_good_token_in_the_wrong_place(pki: Pki, check: str, changes: dict[str, Any]) -> None:
    with pytest.raises(Unverified) as caught:
        believe(pki, token_of(pki), **changes)
    assert caught.value.check == check


def test_a_clock_a_minute_ahead_is_borne(pki: Pki) -> None:
    assert believe(pki, token_of(pki, at=NOW + timedelta(minutes=1))).at == NOW + timedelta(minutes=1)


def test_a_token_of_the_other_suite(pki: Pki) -> None:
    other = pki_for(GM_1 if pki.suite is INTL_1 else INTL_1)
    with pytest.raises(Unverified) as caught:
        believe(pki, token_of(pki), suite=other.suite)
    assert caught.value.check == "token-suite"


def test_a_certificate_not_for_time_stamping(pki: Pki) -> None:
    """The authority refuses to start with such a key, so one is put in its hands afterwards."""
    authority = pki.authority
    authority._signer = pki.office.signing.signer
    authority._references = _attribute(SIGNING_CERTIFICATE_V2, signing_certificate(pki.office.signing.certificate, pki.suite.digest))
    with pytest.raises(WrongPurpose):
        believe(pki, token_of(pki, authority=authority), allowed={pki.office.signing.certificate.fingerprint})


def test_an_authority_whose_certificate_was_not_valid_then(pki: Pki) -> None:
    short = pki.issue(Profile.TIME_STAMP, Subject(common_name="short", organisation_name="Test"), at=NOW - 2 * DAY, days=1)
    token = token_of(pki, authority=TimeAuthority(short.signer, TSA_POLICY, 1), at=NOW - 1.5 * DAY)
    allowed = {short.certificate.fingerprint}
    assert believe(pki, token, allowed=allowed).at == NOW - 1.5 * DAY
    forged = _changed(pki, token, info={"gen_time": asn1.GeneralizedTime(NOW)}, signer=short.signer)
    with pytest.raises(NotValidAt) as caught:
        believe(pki, forged, allowed=allowed)
    assert caught.value.check == "validity"


def test_a_revoked_authority(pki: Pki) -> None:
    token = token_of(pki)
    for reason in (None, "superseded", "keyCompromise"):
        with pytest.raises(Revoked):
            believe(pki, token, trust=pki.trust_after([(pki.tsa.certificate, AT - DAY, reason)]))


@pytest.mark.parametrize("reason", ["unspecified", "affiliationChanged", "superseded", "cessationOfOperation"])
def test_tokens_outlive_a_harmless_revocation(pki: Pki, reason: str) -> None:
    believe(pki, token_of(pki), trust=pki.trust_after([(pki.tsa.certificate, AT + DAY, reason)]))


@pytest.mark.parametrize("reason", [None, "keyCompromise", "cACompromise", "privilegeWithdrawn"])
def test_tokens_fall_with_a_key_that_may_be_known(pki: Pki, reason: str | None) -> None:
    with pytest.raises(Revoked) as caught:
        believe(pki, token_of(pki), trust=pki.trust_after([(pki.tsa.certificate, AT + DAY, reason)]))
    assert (caught.value.revoked_at, caught.value.reason) == ((AT + DAY).replace(microsecond=0), reason)


def test_without_a_fresh_list(pki: Pki) -> None:
    with pytest.raises(CrlStale):
        believe(pki, token_of(pki), trust=replace(pki.trust, crls=()))


# ---- forged from a good one ------------------------------------------------------------------------------------------------------


def _attribute(oid: Oid, *values: bytes) -> Attribute:
    return Attribute(oid=oid, values=asn1.SetOf([tlv(value) for value in values]))


def _changed(
    pki: Pki,
    token: bytes,
    *,
    info: dict[str, Any] | None = None,
    attributes: Callable[[list[Attribute]], list[Attribute]] = list,
    signer: KeySigner | None = None,
    signer_info: dict[str, Any] | None = None,
    content: dict[str, Any] | None = None,
) -> bytes:
    """A token with other fields, signed again: only the field itself can betray it."""
    parsed = asn1.decode_der(Token, token)
    signed = parsed.content
    tst = asn1.decode_der(TstInfo, signed.encapsulated.content)
    for name, value in (info or {}).items():
        setattr(tst, name, value)
    signed.encapsulated.content = asn1.encode_der(tst)
    one = signed.signers.as_list()[0]
    digest = asn1.encode_der(digest_raw(pki.suite.digest, signed.encapsulated.content))
    refreshed = [_attribute(MESSAGE_DIGEST, digest) if each.oid == MESSAGE_DIGEST else each for each in one.attributes.as_list()]
    one.attributes = asn1.SetOf(attributes(refreshed))
    one.signature = (signer or pki.tsa.signer).sign(signed_bytes(one.attributes))
    for name, value in (signer_info or {}).items():
        setattr(one, name, value)
    signed.signers = asn1.SetOf([one])
    for name, value in (content or {}).items():
        setattr(signed, name, value)
    return asn1.encode_der(parsed)


def test_the_forger_makes_good_tokens_when_asked_for_nothing(pki: Pki) -> None:
    assert believe(pki, _changed(pki, token_of(pki))).serial == 77


def without(oid: Oid) -> Callable[[list[Attribute]], list[Attribute]]:
    return lambda attributes: [each for each in attributes if each.oid != oid]


def instead(oid: Oid, *values: bytes) -> Callable[[list[Attribute]], list[Attribute]]:
    return lambda attributes: [*without(oid)(attributes), _attribute(oid, *values)]


@dataclass(frozen=True)
class Forgery:
    expect: str
    how: Callable[[Pki], dict[str, Any]]


def _other_algorithm(pki: Pki) -> AlgorithmIdentifier:
    return AlgorithmIdentifier(algorithm=Oid("1.2.840.113549.1.1.11"))


FORGERIES = {
    "no content type": Forgery("token-attributes", lambda _: {"attributes": without(CONTENT_TYPE)}),
    "no digest": Forgery("token-attributes", lambda _: {"attributes": without(MESSAGE_DIGEST)}),
    "no reference": Forgery("token-attributes", lambda _: {"attributes": without(SIGNING_CERTIFICATE_V2)}),
    "an attribute twice": Forgery("token-attributes", lambda _: {"attributes": lambda them: [*them, them[0]]}),
    "two values": Forgery("token-attributes", lambda _: {"attributes": instead(CONTENT_TYPE, b"\x05\x00", b"\x05\x00")}),
    "another content type": Forgery("token-content-type", lambda _: {"attributes": instead(CONTENT_TYPE, b"\x06\x01\x2a")}),
    "another digest": Forgery("token-digest", lambda _: {"attributes": instead(MESSAGE_DIGEST, b"\x04\x20" + bytes(32))}),
    "a reference to another certificate": Forgery(
        "token-certificate-reference",
        lambda pki: {"attributes": instead(SIGNING_CERTIFICATE_V2, signing_certificate(pki.root.certificate, pki.suite.digest))},
    ),
    "another signer id": Forgery(
        "token-signer", lambda pki: {"signer_info": {"sid": _sid(pki.tsa.certificate.issuer_der, pki.tsa.certificate.serial + 1)}}
    ),
    "another issuer": Forgery(
        "token-signer", lambda pki: {"signer_info": {"sid": _sid(pki.root.certificate.subject_der, pki.tsa.certificate.serial)}}
    ),
    "another key": Forgery(
        "token-signature",
        lambda pki: {"signer": type("Stranger", (), {"sign": lambda _, data: PrivateKey.generate(pki.suite).sign(data)})()},
    ),
    "no signature at all": Forgery("token-signature", lambda _: {"signer_info": {"signature": b""}}),
    "another signature algorithm": Forgery("token-suite", lambda pki: {"signer_info": {"signature_algorithm": _other_algorithm(pki)}}),
    "a serial number of zero": Forgery("malformed", lambda _: {"info": {"serial": 0}}),
    "a negative nonce": Forgery("malformed", lambda _: {"info": {"nonce": -1}}),
    "version 2": Forgery("malformed", lambda _: {"info": {"version": 2}}),
    "SignedData version 1": Forgery("malformed", lambda _: {"content": {"version": 1}}),
    "no certificate": Forgery("malformed", lambda _: {"content": {"certificates": None}}),
    "two certificates": Forgery(
        "malformed",
        lambda pki: {"content": {"certificates": asn1.SetOf([tlv(pki.tsa.certificate.der), tlv(pki.root.certificate.der)])}},
    ),
    "no signer": Forgery("malformed", lambda _: {"content": {"signers": asn1.SetOf([])}}),
    "no digest algorithm": Forgery("malformed", lambda _: {"content": {"digest_algorithms": asn1.SetOf([])}}),
    "two digest algorithms": Forgery("malformed", lambda pki: {"content": {"digest_algorithms": asn1.SetOf([_other_algorithm(pki)])}}),
    "an accuracy of 1000 ms": Forgery("malformed", lambda _: {"info": {"accuracy": Accuracy(seconds=None, millis=1000, micros=None)}}),
    "a negative accuracy": Forgery("malformed", lambda _: {"info": {"accuracy": Accuracy(seconds=-1, millis=None, micros=None)}}),
}


def _sid(issuer: bytes, serial: int) -> Any:
    return IssuerAndSerial(issuer=tlv(issuer), serial=serial)


@pytest.mark.parametrize("forgery", FORGERIES.values(), ids=FORGERIES)
def test_forgeries(pki: Pki, forgery: Forgery) -> None:
    token = _changed(pki, token_of(pki), **forgery.how(pki))
    with pytest.raises(RemoteError) as caught:
        believe(pki, token)
    assert caught.value.facts.get("check", caught.value.code) == forgery.expect


@pytest.mark.parametrize(
    ("accuracy", "milliseconds"),
    [(None, None), (Accuracy(seconds=2, millis=None, micros=None), 2000), (Accuracy(seconds=1, millis=5, micros=1), 1006)],
)
def test_accuracies(accuracy: Accuracy | None, milliseconds: int | None) -> None:
    pki = pki_for(INTL_1)
    assert believe(pki, _changed(pki, token_of(pki), info={"accuracy": accuracy})).accuracy_ms == milliseconds


def test_an_imprint_of_another_algorithm(pki: Pki) -> None:
    odd = MessageImprint(algorithm=_other_algorithm(pki), digest=digest_raw(pki.suite.digest, OVER))
    with pytest.raises(Unverified) as caught:
        believe(pki, _changed(pki, token_of(pki), info={"imprint": odd}))
    assert caught.value.check == "token-imprint"


def test_the_certificate_of_another_authority_inside(pki: Pki) -> None:
    twin = pki.issue(Profile.TIME_STAMP, Subject(common_name="twin", organisation_name="Test"))
    token = _changed(pki, token_of(pki), content={"certificates": asn1.SetOf([tlv(twin.certificate.der)])})
    with pytest.raises(Unverified) as caught:
        believe(pki, token)
    assert caught.value.check == "token-authority"
    with pytest.raises(Unverified) as caught:
        believe(pki, token, allowed={twin.certificate.fingerprint})
    assert caught.value.check == "token-signer"


# ---- bytes -----------------------------------------------------------------------------------------------------------------------


def test_every_flipped_byte_is_noticed(pki: Pki) -> None:
    token, cache = token_of(pki), pki.cache
    for place in range(len(token)):
        with pytest.raises(RemoteError):
            believe(pki, token[:place] + bytes([token[place] ^ 0x01]) + token[place + 1 :], trust=cache)


@pytest.mark.parametrize("spoil", [lambda token: token[:-1], lambda token: token + b"\x00", lambda _: b"", lambda _: bytes(MAX_TOKEN + 1)])
def test_cut_and_padded_tokens(spoil: Callable[[bytes], bytes]) -> None:
    with pytest.raises(Malformed):
        read_token(spoil(token_of(pki_for(INTL_1))))


@settings(max_examples=300)
@given(st.binary(max_size=400))
def test_any_bytes_give_a_value_or_our_error(data: bytes) -> None:
    for read in (read_token, token_from_response):
        with contextlib.suppress(Malformed, TimeStampRefused):
            read(data)


@functools.cache
def _good_response(suite_id: str) -> bytes:
    """One response a session: signatures differ in length, and Hypothesis wants the same bounds each time."""
    pki = pki_for(SUITES[suite_id])
    return pki.authority.respond(make_request(pki.suite.digest, OVER, nonce=NONCE), at=AT, serial=77)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(SUITES)), st.data())
def test_damaged_tokens_and_responses(suite_id: str, data: st.DataObject) -> None:
    pki = pki_for(SUITES[suite_id])
    response = _good_response(suite_id)
    good = token_from_response(response)
    place, gone, extra = data.draw(st.integers(0, len(response) - 1)), data.draw(st.integers(0, 3)), data.draw(st.binary(max_size=3))
    try:
        token = token_from_response(response[:place] + extra + response[place + gone :])
        believe(pki, token)
    except RemoteError:
        return
    assert token == good


# ---- responses -------------------------------------------------------------------------------------------------------------------


def test_a_rejection_says_why() -> None:
    status = StatusInfo(status=2, text=["no", "never"], failure=asn1.BitString(b"\x84", 2))
    with pytest.raises(TimeStampRefused) as caught:
        token_from_response(asn1.encode_der(TimeStampResp(status=status, token=None)))
    assert (caught.value.status, caught.value.failures, caught.value.text) == (2, (0, 5), "no; never")


def test_a_rejection_that_says_nothing() -> None:
    with pytest.raises(TimeStampRefused) as caught:
        token_from_response(asn1.encode_der(TimeStampResp(status=StatusInfo(status=3, text=None, failure=None), token=None)))
    assert (caught.value.status, caught.value.failures, caught.value.text) == (3, (), "")


@pytest.mark.parametrize("status", [0, 2])
def test_status_and_token_that_contradict_each_other(status: int) -> None:
    token = asn1.decode_der(Token, token_of(pki_for(INTL_1))) if status else None
    response = asn1.encode_der(TimeStampResp(status=StatusInfo(status=status, text=None, failure=None), token=token))
    with pytest.raises(Malformed):
        token_from_response(response)


def test_too_long_a_response() -> None:
    with pytest.raises(Malformed):
        token_from_response(bytes(MAX_RESPONSE + 1))


# ---- with the openssl command line -----------------------------------------------------------------------------------------------

MOMENT = str(int(NOW.timestamp()))


def test_openssl_verifies_our_token(tmp_path: Path) -> None:
    pki = pki_for(INTL_1)
    (tmp_path / "token").write_bytes(token_of(pki))
    (tmp_path / "sig.bin").write_bytes(OVER)
    (tmp_path / "root.pem").write_bytes(pki.root.certificate.pem)
    (tmp_path / "middle.pem").write_bytes(pki.intermediate.certificate.pem)
    usual = (
        "ts",
        "-verify",
        "-token_in",
        "-in",
        tmp_path / "token",
        "-CAfile",
        tmp_path / "root.pem",
        "-untrusted",
        tmp_path / "middle.pem",
    )
    assert b"Verification: OK" in openssl(*usual, "-attime", MOMENT, "-data", tmp_path / "sig.bin").stdout
    (tmp_path / "sig.bin").write_bytes(OVER + b"!")
    assert openssl(*usual, "-attime", MOMENT, "-data", tmp_path / "sig.bin", check=False).returncode != 0


def test_openssl_verifies_a_token_under_a_root_alone(tmp_path: Path) -> None:
    pki = pki_for(INTL_1)
    key = PrivateKey.generate(INTL_1)
    certificate = pki.root.issue(key.public, Profile.TIME_STAMP, Subject(common_name="t", organisation_name="t"), NOW - DAY, 30)
    token = token_of(pki, authority=TimeAuthority(KeySigner(private=key, certificate=certificate), TSA_POLICY, 1500))
    assert believe(pki, token, allowed={certificate.fingerprint}).accuracy_ms == 1500
    (tmp_path / "token").write_bytes(token)
    (tmp_path / "sig.bin").write_bytes(OVER)
    (tmp_path / "root.pem").write_bytes(pki.root.certificate.pem)
    where = ("-in", tmp_path / "token", "-data", tmp_path / "sig.bin", "-CAfile", tmp_path / "root.pem")
    assert b"Verification: OK" in openssl("ts", "-verify", "-attime", MOMENT, "-token_in", *where).stdout


def test_openssl_reads_our_messages(pki: Pki, tmp_path: Path) -> None:
    request = make_request(pki.suite.digest, OVER, nonce=NONCE, policy=TSA_POLICY)
    (tmp_path / "request").write_bytes(request)
    (tmp_path / "response").write_bytes(pki.authority.respond(request, at=AT, serial=77))
    (tmp_path / "refusal").write_bytes(pki.authority.respond(request[:-3], at=AT, serial=77))
    query = openssl("ts", "-query", "-in", tmp_path / "request", "-text").stdout
    assert b"Nonce: 0xFEDCBA9876543210" in query
    assert TSA_POLICY.encode() in query
    reply = openssl("ts", "-reply", "-in", tmp_path / "response", "-text").stdout
    assert b"Status: Granted." in reply
    assert b"Serial number: 0x4D" in reply
    assert b"0x01F4 millis" in reply
    refusal = openssl("ts", "-reply", "-in", tmp_path / "refusal", "-text").stdout
    assert b"Status: Rejected." in refusal
    assert b"the data submitted has the wrong format" in refusal


def test_we_believe_a_token_of_openssl(tmp_path: Path) -> None:
    """The stock tool as authority with one of our keys; its token falls into the closed profile. It stamps by its own clock."""
    pki = make_pki(INTL_1, datetime.now(UTC))
    (tmp_path / "key.pem").write_bytes(pki.tsa.private.to_pkcs8(PASSWORD))
    (tmp_path / "tsa.pem").write_bytes(pki.tsa.certificate.pem)
    (tmp_path / "request").write_bytes(make_request("sha256", OVER, nonce=NONCE))
    (tmp_path / "serial").write_text("1A2B\n")
    (tmp_path / "tsa.cnf").write_text(
        f"[tsa]\ndefault_tsa=one\n[one]\nserial={tmp_path}/serial\ncrypto_device=builtin\nsigner_digest=sha256\n"
        f"default_policy={TSA_POLICY}\ndigests=sha256\naccuracy=secs:1\nordering=no\ntsa_name=no\ness_cert_id_chain=no\ness_cert_id_alg=sha256\n"
    )
    key = ("-inkey", tmp_path / "key.pem", "-passin", f"pass:{PASSWORD.decode()}", "-signer", tmp_path / "tsa.pem")
    openssl("ts", "-reply", "-config", tmp_path / "tsa.cnf", "-queryfile", tmp_path / "request", *key, "-out", tmp_path / "response")
    token = token_from_response((tmp_path / "response").read_bytes())
    stamp = believe(pki, token, now=datetime.now(UTC))
    assert (stamp.serial, stamp.policy, stamp.accuracy_ms) == (0x1A2C, TSA_POLICY, 1000)  # it counts up before it stamps

"""The embedded time-stamping authority: what it grants, and how it refuses."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat import asn1
from cryptography.x509 import ObjectIdentifier as Oid
from hypothesis import given
from hypothesis import strategies as st

from crypto.digests import digest_raw
from crypto.errors import KeyUnusable, Malformed
from crypto.pkix import AlgorithmIdentifier, digest_oid
from crypto.rfc3161 import MessageImprint, TimeStampReq, TimeStampResp
from crypto.suites import GM_1, INTL_1, SUITES
from crypto.timestamps import MAX_REQUEST, TimeStampRefused, read_token, token_from_response, verify_token
from crypto.tsa import Failure, TimeAuthority
from tests.crypto.openssl_pki import openssl
from tests.crypto.pki import BEGIN, DAYS, NOW, TSA_POLICY, Pki, extension, pki_for

OVER = b"a signature value"


@pytest.fixture(params=sorted(SUITES))
def pki(request: pytest.FixtureRequest) -> Pki:
    return pki_for(SUITES[request.param])


def request_of(pki: Pki, **changes: Any) -> bytes:
    imprint = MessageImprint(
        algorithm=AlgorithmIdentifier(algorithm=digest_oid(pki.suite.digest)), digest=digest_raw(pki.suite.digest, OVER)
    )
    fields: dict[str, Any] = {"version": 1, "imprint": imprint, "policy": None, "nonce": 7, "cert_req": True, "extensions": None}
    return asn1.encode_der(TimeStampReq(**{**fields, **changes}))


def refusal(pki: Pki, request: bytes, **changes: Any) -> tuple[int, ...]:
    """The failure bits of a rejection."""
    response = pki.authority.respond(request, **{"at": NOW, "serial": 1, **changes})
    with pytest.raises(TimeStampRefused) as caught:
        token_from_response(response)
    assert caught.value.status == 2
    assert caught.value.text
    return tuple(caught.value.failures)


def test_what_is_granted_is_believed(pki: Pki) -> None:
    for policy in (None, Oid(TSA_POLICY)):
        token = token_from_response(pki.authority.respond(request_of(pki, policy=policy), at=NOW, serial=12345))
        stamp = verify_token(token, OVER, suite=pki.suite, trust=pki.trust, allowed=[pki.tsa.certificate.fingerprint], now=NOW, nonce=7)
        assert (stamp.serial, stamp.at) == (12345, NOW)


def test_times_are_in_milliseconds(pki: Pki) -> None:
    at = NOW + timedelta(microseconds=999_999)
    token = token_from_response(pki.authority.respond(request_of(pki), at=at, serial=1))
    assert read_token(token).at == NOW + timedelta(milliseconds=999)


def test_a_request_without_nonce(pki: Pki) -> None:
    token = token_from_response(pki.authority.respond(request_of(pki, nonce=None), at=NOW, serial=1))
    assert read_token(token).nonce is None


def test_no_certificate_unless_asked_for(pki: Pki) -> None:
    response = pki.authority.respond(request_of(pki, cert_req=False), at=NOW, serial=1)
    granted = asn1.decode_der(TimeStampResp, response)
    assert granted.token is not None
    assert granted.token.content.certificates is None
    with pytest.raises(Malformed):
        read_token(token_from_response(response))


def test_refusals(pki: Pki) -> None:
    other = GM_1 if pki.suite is INTL_1 else INTL_1
    digest = AlgorithmIdentifier(algorithm=digest_oid(pki.suite.digest))
    foreign = MessageImprint(algorithm=AlgorithmIdentifier(algorithm=digest_oid(other.digest)), digest=bytes(32))
    short, long = (MessageImprint(algorithm=digest, digest=bytes(length)) for length in (31, 33))
    assert refusal(pki, request_of(pki, imprint=foreign)) == (Failure.BAD_ALG,)
    assert refusal(pki, request_of(pki, imprint=short)) == (Failure.BAD_DATA_FORMAT,)
    assert refusal(pki, request_of(pki, imprint=long)) == (Failure.BAD_DATA_FORMAT,)
    assert refusal(pki, request_of(pki, version=2)) == (Failure.BAD_REQUEST,)
    for nonce in (0, -1, 1 << 160):
        assert refusal(pki, request_of(pki, nonce=nonce)) == (Failure.BAD_REQUEST,)
    assert refusal(pki, request_of(pki, policy=Oid("1.2.3.4"))) == (Failure.UNACCEPTED_POLICY,)
    assert refusal(pki, request_of(pki, extensions=[extension(x509.CRLNumber(1))])) == (Failure.UNACCEPTED_EXTENSION,)
    assert refusal(pki, request_of(pki, extensions=[])) == (Failure.UNACCEPTED_EXTENSION,)
    for request in (b"", b"\x30\x00", request_of(pki) + b"\x00", request_of(pki)[:-1], bytes(MAX_REQUEST + 1)):
        assert refusal(pki, request) == (Failure.BAD_DATA_FORMAT,)


def test_outside_of_its_certificate_it_has_no_time(pki: Pki) -> None:
    for at in (BEGIN - timedelta(seconds=1), BEGIN + timedelta(days=DAYS, seconds=1)):
        assert refusal(pki, request_of(pki), at=at) == (Failure.TIME_NOT_AVAILABLE,)


@pytest.mark.parametrize("serial", [0, -1, 1 << 160])
def test_a_serial_number_out_of_range_is_a_defect(pki: Pki, serial: int) -> None:
    with pytest.raises(AssertionError, match="internal"):
        pki.authority.respond(request_of(pki), at=NOW, serial=serial)


def test_only_a_certificate_for_time_stamping_alone(pki: Pki) -> None:
    for holder in (pki.office.signing, pki.directory):
        with pytest.raises(KeyUnusable):
            TimeAuthority(holder.signer, TSA_POLICY, 500)


@pytest.mark.parametrize(("milliseconds", "read"), [(1, 1), (999, 999), (1000, 1000), (2500, 2500)])
def test_accuracy(pki: Pki, milliseconds: int, read: int) -> None:
    authority = TimeAuthority(pki.tsa.signer, TSA_POLICY, milliseconds)
    token = token_from_response(authority.respond(request_of(pki), at=NOW, serial=1))
    assert read_token(token).accuracy_ms == read


@given(st.sampled_from(sorted(SUITES)), st.binary(max_size=200))
def test_any_request_gets_an_answer(suite_id: str, request: bytes) -> None:
    with contextlib.suppress(TimeStampRefused):
        token_from_response(pki_for(SUITES[suite_id]).authority.respond(request, at=NOW, serial=1))


def test_a_query_of_openssl_is_answered_and_its_reply_verified(tmp_path: Path) -> None:
    pki = pki_for(INTL_1)
    (tmp_path / "sig.bin").write_bytes(OVER)
    (tmp_path / "root.pem").write_bytes(pki.root.certificate.pem)
    (tmp_path / "middle.pem").write_bytes(pki.intermediate.certificate.pem)
    openssl("ts", "-query", "-data", tmp_path / "sig.bin", "-sha256", "-cert", "-out", tmp_path / "query")
    (tmp_path / "reply").write_bytes(pki.authority.respond((tmp_path / "query").read_bytes(), at=NOW, serial=99))
    chain = ("-CAfile", tmp_path / "root.pem", "-untrusted", tmp_path / "middle.pem", "-attime", str(int(NOW.timestamp())))
    answer = openssl("ts", "-verify", "-queryfile", tmp_path / "query", "-in", tmp_path / "reply", *chain)
    assert b"Verification: OK" in answer.stdout


def test_an_sm3_query_of_openssl_is_answered(tmp_path: Path) -> None:
    """OpenSSL 3 makes the query and reads the reply; verifying SM2 there needs an identifier that `ts` cannot be given."""
    pki = pki_for(GM_1)
    (tmp_path / "sig.bin").write_bytes(OVER)
    openssl("ts", "-query", "-data", tmp_path / "sig.bin", "-sm3", "-cert", "-out", tmp_path / "query")
    response = pki.authority.respond((tmp_path / "query").read_bytes(), at=NOW, serial=99)
    (tmp_path / "reply").write_bytes(response)
    assert b"Hash Algorithm: sm3" in openssl("ts", "-reply", "-in", tmp_path / "reply", "-text").stdout
    token = token_from_response(response)
    allowed = {pki.tsa.certificate.fingerprint}
    assert verify_token(token, OVER, suite=GM_1, trust=pki.trust, allowed=allowed, now=NOW).serial == 99


def test_many_threads_share_one_authority(pki: Pki) -> None:
    authority, cache, stamps = pki.authority, pki.cache, []

    def work(first: int) -> None:
        for serial in range(first, first + 10):
            token = token_from_response(authority.respond(request_of(pki, nonce=serial), at=NOW, serial=serial))
            allowed = {pki.tsa.certificate.fingerprint}
            stamp = verify_token(token, OVER, suite=pki.suite, trust=cache, allowed=allowed, now=NOW, nonce=serial)
            stamps.append(replace(stamp).serial)

    threads = [threading.Thread(target=work, args=(first,)) for first in (1, 101, 201)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(stamps) == [*range(1, 11), *range(101, 111), *range(201, 211)]

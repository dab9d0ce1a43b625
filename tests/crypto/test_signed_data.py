"""Detached signatures: what holds, what the stock tools say, and everything outside the profile."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from cryptography.hazmat import asn1
from hypothesis import given, settings
from hypothesis import strategies as st

from crypto import cms, signed_data
from crypto.digests import digest_raw
from crypto.errors import Malformed, Unverified
from crypto.pkix import AlgorithmIdentifier, digest_oid, signature_oid, tlv
from crypto.signed_data import SignedData, sign_detached
from crypto.suites import GM_1, INTL_1, SUITES
from tests.crypto.openssl_pki import folder, foreign_certificate, holder, openssl

AT = datetime(2026, 3, 2, 8, 30, 15, 999_999, tzinfo=UTC)
MESSAGE = b'{"v":"yizhan-transmittal/1"}'
TOKEN = asn1.encode_der(b"a token of a shape nobody looks at here")
each_suite = pytest.mark.parametrize("suite", SUITES.values(), ids=SUITES.keys())
SIGNED = {suite.id: sign_detached(MESSAGE, holder(suite).signer, at=AT) for suite in SUITES.values()}


def flip(data: bytes, position: int, mask: int) -> bytes:
    return data[:position] + bytes([data[position] ^ mask]) + data[position + 1 :]


# ---- what holds ----


@each_suite
def test_a_signature_holds_and_parses_to_itself(suite):
    signed = SIGNED[suite.id]
    signed.verify(MESSAGE)
    again = SignedData.from_der(signed.der)
    assert again == signed
    again.verify(MESSAGE)
    assert again.suite is suite
    assert again.signing_time == AT.replace(microsecond=0)
    assert again.message_digest == digest_raw(suite.digest, MESSAGE)
    assert again.certificate == holder(suite).certificate
    assert again.token is None
    assert len(again.der) < 1024


@each_suite
def test_the_algorithms_are_those_of_the_suite(suite):
    body = asn1.decode_der(cms.SignedDataInfo, SIGNED[suite.id].der).body
    signer = body.signers.as_list()[0]
    digest, signature = digest_oid(suite.digest), signature_oid(suite)
    for algorithm, oid in ((signer.digest, digest), (signer.signature_algorithm, signature), (body.digests.as_list()[0], digest)):
        assert (algorithm.algorithm, algorithm.parameters) == (oid, None)
    values = {each.type: each.values.as_list()[0] for each in signer.attributes.as_list()}
    protection = values[cms.ALGORITHM_PROTECTION].parse(cms.AlgorithmProtection)
    assert (protection.digest.algorithm, protection.signature.algorithm) == (digest, signature)
    reference = values[cms.SIGNING_CERTIFICATE_V2].parse(cms.SigningCertificateV2).certificates[0]
    assert reference.hash == digest_raw(suite.digest, holder(suite).certificate.der)
    assert reference.digest is None if suite is INTL_1 else reference.digest.algorithm == digest


@each_suite
def test_another_message_is_not_signed(suite):
    for message in (b"", MESSAGE + b" ", MESSAGE[:-1]):
        with pytest.raises(Unverified) as caught:
            SIGNED[suite.id].verify(message)
        assert caught.value.check == "message-digest"


@each_suite
def test_a_token_goes_in_and_the_signature_stays(suite):
    signed = SIGNED[suite.id]
    stamped = signed.with_token(TOKEN)
    again = SignedData.from_der(stamped.der)
    assert again == stamped
    assert again.token == TOKEN
    again.verify(MESSAGE)
    assert replace(again, token=None, der=signed.der) == signed
    assert stamped.with_token(b"\x05\x00").token == b"\x05\x00"
    for bad in (b"", TOKEN + b"\x00", TOKEN[:-1], asn1.encode_der(bytes(signed_data.MAX_TOKEN))):
        with pytest.raises(Malformed):
            signed.with_token(bad)


@each_suite
def test_times(suite):
    signer = holder(suite).signer
    beijing = AT.astimezone(timezone(timedelta(hours=8)))
    assert sign_detached(MESSAGE, signer, at=beijing).signing_time == SIGNED[suite.id].signing_time
    late = datetime(2050, 1, 1, tzinfo=UTC)
    signed = SignedData.from_der(sign_detached(MESSAGE, signer, at=late).der)  # GeneralizedTime from here on
    assert signed.signing_time == late
    signed.verify(MESSAGE)
    with pytest.raises(AssertionError):
        sign_detached(MESSAGE, signer, at=AT.replace(tzinfo=None))


# ---- what the stock tools say ----


def test_openssl_cms_accepts_intl_1():
    owner = holder(INTL_1)
    (folder() / "transmittal.json").write_bytes(MESSAGE)
    (folder() / "nro.p7s").write_bytes(SIGNED[INTL_1.id].der)
    arguments = ["cms", "-verify", "-cades", "-binary", "-inform", "DER", "-in", folder() / "nro.p7s"]
    arguments += ["-content", folder() / "transmittal.json", "-CAfile", owner.certificate_file, "-purpose", "any"]
    good = openssl(*arguments)
    assert b"CAdES Verification successful" in good.stderr
    assert good.stdout == MESSAGE
    (folder() / "transmittal.json").write_bytes(MESSAGE + b" ")
    assert openssl(*arguments, check=False).returncode != 0


def test_openssl_pkeyutl_accepts_gm_1():
    owner, signed = holder(GM_1), SIGNED[GM_1.id]
    (folder() / "signedattrs.der").write_bytes(signed.attributes)
    (folder() / "sig.der").write_bytes(signed.signature)
    (folder() / "pub.pem").write_bytes(openssl("pkey", "-in", owner.key_file, "-pubout").stdout)
    arguments = ["pkeyutl", "-verify", "-pubin", "-inkey", folder() / "pub.pem", "-rawin", "-digest", "sm3"]
    arguments += ["-in", folder() / "signedattrs.der", "-sigfile", folder() / "sig.der", "-pkeyopt"]
    assert b"Signature Verified Successfully" in openssl(*arguments, "distid:1234567812345678").stdout
    assert openssl(*arguments, "distid:1234567812345679", check=False).returncode != 0


@each_suite
def test_openssl_sees_the_attributes_we_hashed(suite):
    """asn1parse finds the signed attributes in the file; with SET OF in front they are what the signature is over (RFC 5652 5.4)."""
    signed = SIGNED[suite.id]
    assert signed.attributes[0] == 0x31
    assert b"\xa0" + signed.attributes[1:] in signed.der
    listing = openssl("asn1parse", "-inform", "DER", stdin=signed.der).stdout
    for name in (b"contentType", b"messageDigest", b"signingTime", b"id-smime-aa-signingCertificateV2"):
        assert listing.count(b":" + name) == 1


# ---- any byte changed ----


@each_suite
@pytest.mark.parametrize("mask", [0x01, 0x20, 0x80])
def test_any_byte_changed_is_refused(suite, mask):
    der = SIGNED[suite.id].der
    for position in range(len(der)):
        with pytest.raises((Malformed, Unverified)):
            SignedData.from_der(flip(der, position, mask)).verify(MESSAGE)


@each_suite
def test_with_a_token_only_the_token_itself_may_change(suite):
    """The token is not under the signature; what it says about the signature is for verify_token to judge."""
    stamped = SIGNED[suite.id].with_token(TOKEN)
    for position in range(len(stamped.der) - len(TOKEN) - 40, len(stamped.der)):
        changed = flip(stamped.der, position, 1)
        try:
            again = SignedData.from_der(changed)
            again.verify(MESSAGE)
        except (Malformed, Unverified):
            continue
        assert again.token != TOKEN
        assert replace(again, token=None, der=b"") == replace(stamped, token=None, der=b"")


@each_suite
def test_cut_and_lengthened(suite):
    der = SIGNED[suite.id].der
    for bad in (*(der[:length] for length in range(0, len(der), 7)), der + b"\x00", der + der, der + bytes(signed_data.MAX_SIGNED_DATA)):
        with pytest.raises(Malformed):
            SignedData.from_der(bad)


@given(data=st.binary(max_size=300))
@settings(max_examples=200)
def test_any_bytes_are_malformed(data):
    with pytest.raises(Malformed):
        SignedData.from_der(data)


@each_suite
@given(data=st.data())
@settings(max_examples=100, deadline=None)
def test_any_piece_replaced_is_refused(suite, data):
    der = SIGNED[suite.id].der
    start = data.draw(st.integers(min_value=0, max_value=len(der)))
    end = data.draw(st.integers(min_value=start, max_value=len(der)))
    piece = data.draw(st.binary(max_size=60))
    changed = der[:start] + piece + der[end:]
    if changed == der:
        return
    with pytest.raises((Malformed, Unverified)):
        SignedData.from_der(changed).verify(MESSAGE)


# ---- outside the profile, though well formed and honestly signed ----


def info_of(suite) -> cms.SignedDataInfo:
    """The structure, decoded afresh so that a test may change it."""
    return asn1.decode_der(cms.SignedDataInfo, SIGNED[suite.id].der)


def resigned(suite, change) -> bytes:
    """The structure with its list of attributes changed, and signed again over them."""
    info = info_of(suite)
    signer = info.body.signers.as_list()[0]
    signer.attributes = asn1.SetOf(change(signer.attributes.as_list()))
    signer.signature = holder(suite).private.sign(asn1.encode_der(signer.attributes))
    info.body.signers = asn1.SetOf([signer])
    return asn1.encode_der(info)


def put(kind, *values: bytes):
    """A change that gives one attribute other values."""
    attribute = cms.Attribute(type=kind, values=asn1.SetOf([tlv(value) for value in values]))
    return lambda attributes: [attribute if each.type == kind else each for each in attributes]


def reference(*hashes: bytes, digest=None) -> bytes:
    certificates = [cms.EssCertificate(digest=digest, hash=each) for each in hashes]
    return asn1.encode_der(cms.SigningCertificateV2(certificates=certificates))


HINT = cms.attribute(cms.Oid("1.2.840.113549.1.9.16.2.4"), b"\x0c\x01x")
DIGEST = bytes(32)
CHANGES = {
    "one attribute more": lambda attributes: [*attributes, HINT],
    "another in the place of one": lambda attributes: [HINT, *attributes[1:]],
    "one twice": lambda attributes: [*attributes, attributes[0]],
    "one twice with another value": lambda attributes: [*attributes, cms.attribute(cms.MESSAGE_DIGEST, asn1.encode_der(DIGEST))],
    "none": lambda attributes: [],
    **{f"without the {number}th": lambda attributes, number=number: attributes[:number] + attributes[number + 1 :] for number in range(5)},
    "two values": put(cms.MESSAGE_DIGEST, asn1.encode_der(DIGEST), asn1.encode_der(b"\x01" * 32)),
    "the same value twice": put(cms.MESSAGE_DIGEST, asn1.encode_der(DIGEST), asn1.encode_der(DIGEST)),
    "no value": put(cms.MESSAGE_DIGEST),
    "a short digest": put(cms.MESSAGE_DIGEST, asn1.encode_der(bytes(31))),
    "a digest of another type": put(cms.MESSAGE_DIGEST, b"\x02\x01\x05"),
    "another content type": put(cms.CONTENT_TYPE, asn1.encode_der(cms.ID_SIGNED_DATA)),
    "two certificate references": put(cms.SIGNING_CERTIFICATE_V2, reference(DIGEST, DIGEST)),
    "no certificate reference": put(cms.SIGNING_CERTIFICATE_V2, reference()),
    "a short certificate reference": put(cms.SIGNING_CERTIFICATE_V2, reference(bytes(20))),
    "a reference under SHA-256 written out": put(
        cms.SIGNING_CERTIFICATE_V2, reference(DIGEST, digest=AlgorithmIdentifier(algorithm=digest_oid("sha256")))
    ),
    "time before 2050 as GeneralizedTime": put(cms.SIGNING_TIME, asn1.encode_der(asn1.GeneralizedTime(datetime(2026, 3, 2, tzinfo=UTC)))),
    "time before 1950": put(cms.SIGNING_TIME, asn1.encode_der(asn1.GeneralizedTime(datetime(1800, 3, 2, tzinfo=UTC)))),
    "time with a fraction": put(cms.SIGNING_TIME, b"\x18\x1120260302083015.5Z"),
    "time without zone": put(cms.SIGNING_TIME, b"\x17\x0c260302083015"),
    "time of another type": put(cms.SIGNING_TIME, b"\x0c\x01x"),
    "NULL parameters in the protection": put(
        cms.ALGORITHM_PROTECTION,
        asn1.encode_der(
            cms.AlgorithmProtection(
                digest=AlgorithmIdentifier(algorithm=digest_oid("sha256"), parameters=asn1.Null()),
                signature=AlgorithmIdentifier(algorithm=signature_oid(INTL_1)),
            )
        ),
    ),
}


@each_suite
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_signed_attributes_outside_the_profile(suite, change):
    with pytest.raises(Malformed):
        SignedData.from_der(resigned(suite, change))


@each_suite
def test_the_way_of_changing_is_itself_sound(suite):
    SignedData.from_der(resigned(suite, lambda attributes: attributes)).verify(MESSAGE)


@each_suite
def test_the_other_suites_algorithms_are_refused(suite):
    other = GM_1 if suite is INTL_1 else INTL_1
    protection = cms.AlgorithmProtection(
        digest=AlgorithmIdentifier(algorithm=digest_oid(other.digest)), signature=AlgorithmIdentifier(algorithm=signature_oid(other))
    )
    with pytest.raises(Malformed):
        SignedData.from_der(resigned(suite, put(cms.ALGORITHM_PROTECTION, asn1.encode_der(protection))))
    for field, oid in (("digest", digest_oid(other.digest)), ("signature_algorithm", signature_oid(other))):
        info = info_of(suite)
        signer = info.body.signers.as_list()[0]
        setattr(signer, field, AlgorithmIdentifier(algorithm=oid))
        info.body.signers = asn1.SetOf([signer])
        with pytest.raises(Malformed):
            SignedData.from_der(asn1.encode_der(info))


@each_suite
def test_a_reference_to_another_certificate_does_not_hold(suite):
    """A well-formed signature whose signer meant another certificate with the same key (RFC 5035 1.1)."""
    digest = None if suite is INTL_1 else AlgorithmIdentifier(algorithm=digest_oid("sm3"))
    signed = SignedData.from_der(resigned(suite, put(cms.SIGNING_CERTIFICATE_V2, reference(DIGEST, digest=digest))))
    with pytest.raises(Unverified) as caught:
        signed.verify(MESSAGE)
    assert caught.value.check == "certificate-reference"


@each_suite
def test_another_holders_certificate_does_not_hold(suite):
    stranger = holder(suite, "stranger")
    info = info_of(suite)
    info.body.certificates = asn1.SetOf([tlv(stranger.certificate.der)])
    with pytest.raises(Malformed):  # the signer is named by issuer and serial, too
        SignedData.from_der(asn1.encode_der(info))
    signer = info.body.signers.as_list()[0]
    signer.sid = cms.IssuerAndSerial(issuer=tlv(stranger.certificate.issuer_der), serial=stranger.certificate.serial)
    info.body.signers = asn1.SetOf([signer])
    with pytest.raises(Unverified) as caught:
        SignedData.from_der(asn1.encode_der(info)).verify(MESSAGE)
    assert caught.value.check == "certificate-reference"


@each_suite
def test_a_signature_of_another_key_does_not_hold(suite):
    mine, theirs = holder(suite), holder(suite, "stranger")
    signed = SIGNED[suite.id]
    forged = theirs.private.sign(signed.attributes)
    info = info_of(suite)
    signer = info.body.signers.as_list()[0]
    signer.signature = forged
    info.body.signers = asn1.SetOf([signer])
    with pytest.raises(Unverified) as caught:
        SignedData.from_der(asn1.encode_der(info)).verify(MESSAGE)
    assert caught.value.check == "signature"
    mine.certificate.public_key.verify(signed.signature, signed.attributes)


def change_body(**values):
    def change(info):
        for name, value in values.items():
            setattr(info.body, name, value)

    return change


def change_signer(**values):
    def change(info):
        signer = info.body.signers.as_list()[0]
        for name, value in values.items():
            setattr(signer, name, value)
        info.body.signers = asn1.SetOf([signer])

    return change


def twice(name):
    def change(info):
        setattr(info.body, name, asn1.SetOf(getattr(info.body, name).as_list() * 2))

    return change


def retype(info):
    info.type = cms.ID_DATA


SHA256 = AlgorithmIdentifier(algorithm=digest_oid("sha256"))
STAMP = cms.attribute(cms.TIME_STAMP_TOKEN, TOKEN)
OUTSIDE = {
    "another content type": retype,
    "version 3": change_body(version=3),
    "encapsulated content of another type": change_body(content=cms.DetachedContent(type=cms.ID_SIGNED_DATA)),
    "no digest algorithm": change_body(digests=asn1.SetOf([])),
    "two digest algorithms": change_body(digests=asn1.SetOf([SHA256, AlgorithmIdentifier(algorithm=digest_oid("sm3"))])),
    "a digest algorithm twice": twice("digests"),
    "no certificate": change_body(certificates=asn1.SetOf([])),
    "the certificate twice": twice("certificates"),
    "no signer": change_body(signers=asn1.SetOf([])),
    "the signer twice": twice("signers"),
    "a certificate that is none": change_body(certificates=asn1.SetOf([tlv(b"\x30\x00")])),
    "signer version 3": change_signer(version=3),
    "signature empty": change_signer(signature=b""),
    "signature too long": change_signer(signature=bytes(73)),
    "an unsigned attribute of another kind": change_signer(unsigned=asn1.SetOf([HINT])),
    "no unsigned attribute in the set": change_signer(unsigned=asn1.SetOf([])),
    "the token twice": change_signer(unsigned=asn1.SetOf([STAMP, STAMP])),
    "two tokens in one attribute": change_signer(
        unsigned=asn1.SetOf([cms.Attribute(type=cms.TIME_STAMP_TOKEN, values=asn1.SetOf([tlv(TOKEN), tlv(b"\x05\x00")]))])
    ),
    "a token too long": change_signer(
        unsigned=asn1.SetOf([cms.attribute(cms.TIME_STAMP_TOKEN, asn1.encode_der(bytes(signed_data.MAX_TOKEN)))])
    ),
}


@each_suite
@pytest.mark.parametrize("change", OUTSIDE.values(), ids=OUTSIDE.keys())
def test_structures_outside_the_profile(suite, change):
    info = info_of(suite)
    change(info)
    der = asn1.encode_der(info)
    assert der != SIGNED[suite.id].der
    with pytest.raises((Malformed, Unverified)):
        SignedData.from_der(der).verify(MESSAGE)


def test_openssls_own_signatures_are_outside_the_profile():
    """NULL parameters, sMIMECapabilities, no algorithm protection: for imports, not for us."""
    owner = holder(INTL_1)
    made = openssl(
        "cms", "-sign", "-cades", "-binary", "-outform", "DER", "-signer", owner.certificate_file, "-inkey", owner.key_file, stdin=MESSAGE
    ).stdout
    with pytest.raises(Malformed):
        SignedData.from_der(made)


def test_keys_of_no_suite_are_malformed():
    info = info_of(INTL_1)
    info.body.certificates = asn1.SetOf([tlv(foreign_certificate().der)])
    with pytest.raises(Malformed):
        SignedData.from_der(asn1.encode_der(info))


def test_unsorted_attributes_are_refused():
    signed = SIGNED[INTL_1.id]
    attributes = [asn1.encode_der(each) for each in info_of(INTL_1).body.signers.as_list()[0].attributes.as_list()]
    ordered, reversed_ = b"".join(attributes), b"".join(reversed(attributes))
    assert signed.der.count(ordered) == 1
    with pytest.raises(Malformed):
        SignedData.from_der(signed.der.replace(ordered, reversed_))


# ---- threads ----


@each_suite
def test_threads(suite):
    signer = holder(suite).signer

    def work(number: int) -> None:
        for round_ in range(10):
            message = bytes([number, round_])
            SignedData.from_der(sign_detached(message, signer, at=AT).der).verify(message)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(8)))

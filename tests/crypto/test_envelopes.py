"""Envelopes: who can open them, what the stock tool says, and everything outside the profile."""

from __future__ import annotations

import pytest
from cryptography.hazmat import asn1
from hypothesis import given, settings
from hypothesis import strategies as st

from crypto import cms, envelopes
from crypto.content_cipher import ContentDecryptor, ContentEncryptor, ContentKey, fresh_content_key
from crypto.envelopes import envelope_recipient, make_envelope, open_envelope
from crypto.errors import Malformed, UnknownSuite, Unverified
from crypto.keys import WrappedKey
from crypto.pkix import AlgorithmIdentifier, tlv
from crypto.suites import GM_1, INTL_1, SUITES
from tests.crypto.openssl_pki import folder, holder, openssl

each_suite = pytest.mark.parametrize("suite", SUITES.values(), ids=SUITES.keys())
CONTENT = b"the content of a document"


def sealed(suite) -> tuple[bytes, ContentKey]:
    key = fresh_content_key(suite)
    encryptor = ContentEncryptor(key)
    return encryptor.update(CONTENT), key.with_tag(encryptor.finalize())


SEALED = {suite.id: sealed(suite) for suite in SUITES.values()}
ENVELOPES = {suite.id: make_envelope(SEALED[suite.id][1], holder(suite).certificate) for suite in SUITES.values()}


def open_all(suite, der: bytes) -> bytes:
    """The content through the envelope, as a recipient does it: nothing counts before the tag held."""
    decryptor = ContentDecryptor(open_envelope(der, holder(suite).unwrapper))
    plaintext = decryptor.update(SEALED[suite.id][0])
    decryptor.finalize()
    return plaintext


# ---- what opens ----


@each_suite
def test_the_recipient_opens_its_envelope(suite):
    der, key = ENVELOPES[suite.id], SEALED[suite.id][1]
    assert open_envelope(der, holder(suite).unwrapper) == key
    assert open_all(suite, der) == CONTENT
    certificate = holder(suite).certificate
    assert envelope_recipient(der) == (certificate.issuer_der, certificate.serial)
    assert len(der) < 512
    assert make_envelope(key, certificate) != der


@each_suite
def test_it_is_what_the_declared_structures_encode(suite):
    der = ENVELOPES[suite.id]
    assert asn1.encode_der(asn1.decode_der(cms.AuthEnvelopedDataInfo, der)) == der


@each_suite
def test_nobody_else_opens_it(suite):
    stranger = holder(suite, "stranger")
    with pytest.raises(Unverified) as caught:
        open_envelope(ENVELOPES[suite.id], stranger.unwrapper)
    assert caught.value.check == "recipient"


@each_suite
def test_another_key_under_the_same_name_does_not_open_it(suite):
    der, name = ENVELOPES[suite.id], holder(suite).certificate

    class Impostor:
        certificate = name
        unwrap = holder(suite, "stranger").private.unwrap

        def __init__(self):
            self.suite = suite

    with pytest.raises(Unverified) as caught:
        open_envelope(der, Impostor())
    assert caught.value.check == "unwrap"


@each_suite
def test_suites_do_not_mix(suite):
    other = GM_1 if suite is INTL_1 else INTL_1
    with pytest.raises(UnknownSuite):
        make_envelope(SEALED[suite.id][1], holder(other).certificate)
    # An envelope of the other suite that names our certificate.
    theirs = envelopes._from_der(ENVELOPES[other.id])
    certificate = holder(suite).certificate
    named = envelopes._Envelope(
        issuer=certificate.issuer_der, serial=certificate.serial, wrapped=theirs.wrapped, nonce=theirs.nonce, tag=theirs.tag
    )
    with pytest.raises(Unverified) as caught:
        open_envelope(envelopes._assemble(named), holder(suite).unwrapper)
    assert caught.value.check == "recipient"


@each_suite
def test_an_envelope_is_made_when_the_tag_is_known(suite):
    with pytest.raises(AssertionError):
        make_envelope(fresh_content_key(suite), holder(suite).certificate)


# ---- what the stock tool says ----


def decrypt_arguments(owner) -> list:
    arguments = ["cms", "-decrypt", "-inform", "DER", "-in", folder() / "envelope.p7m", "-content", folder() / "sealed.bin"]
    return [*arguments, "-recip", owner.certificate_file, "-inkey", owner.key_file]


def test_openssl_cms_opens_intl_1():
    owner = holder(INTL_1)
    (folder() / "envelope.p7m").write_bytes(ENVELOPES[INTL_1.id])
    (folder() / "sealed.bin").write_bytes(SEALED[INTL_1.id][0])
    assert openssl(*decrypt_arguments(owner)).stdout == CONTENT
    (folder() / "sealed.bin").write_bytes(SEALED[INTL_1.id][0] + b"\x00")
    assert openssl(*decrypt_arguments(owner), check=False).returncode != 0
    (folder() / "sealed.bin").write_bytes(SEALED[INTL_1.id][0])
    assert openssl(*decrypt_arguments(holder(INTL_1, "stranger")), check=False).returncode != 0


def test_openssl_pkeyutl_unwraps_gm_1():
    owner, (_, key) = holder(GM_1), SEALED[GM_1.id]
    wrapped = envelopes._from_der(ENVELOPES[GM_1.id]).wrapped
    assert openssl("pkeyutl", "-decrypt", "-inkey", owner.key_file, stdin=wrapped.ciphertext).stdout == key.key
    theirs = openssl("pkeyutl", "-encrypt", "-inkey", owner.key_file, stdin=key.key).stdout
    assert owner.unwrapper.unwrap(WrappedKey(suite=GM_1, ephemeral=b"", ciphertext=theirs)) == key.key


def test_openssls_own_envelopes_are_outside_the_profile():
    """The content inside, SHA-1 in the key derivation: for imports, not for us."""
    made = openssl("cms", "-encrypt", "-aes-256-gcm", "-binary", "-outform", "DER", holder(INTL_1).certificate_file, stdin=CONTENT).stdout
    enveloped = openssl(
        "cms", "-encrypt", "-aes-256-cbc", "-binary", "-outform", "DER", holder(INTL_1).certificate_file, stdin=CONTENT
    ).stdout
    for der in (made, enveloped):
        with pytest.raises(Malformed):
            envelope_recipient(der)


# ---- any byte changed ----


@each_suite
@pytest.mark.parametrize("mask", [0x01, 0x20, 0x80])
def test_any_byte_changed_is_refused(suite, mask):
    der = ENVELOPES[suite.id]
    for position in range(len(der)):
        with pytest.raises((Malformed, Unverified)):
            open_all(suite, der[:position] + bytes([der[position] ^ mask]) + der[position + 1 :])


@each_suite
def test_cut_and_lengthened(suite):
    der = ENVELOPES[suite.id]
    for bad in (*(der[:length] for length in range(len(der))), der + b"\x00", der + bytes(envelopes.MAX_ENVELOPE)):
        with pytest.raises(Malformed):
            open_envelope(bad, holder(suite).unwrapper)


@given(data=st.binary(max_size=300))
@settings(max_examples=200)
def test_any_bytes_are_malformed(data):
    with pytest.raises(Malformed):
        open_envelope(data, holder(INTL_1).unwrapper)


@each_suite
@given(data=st.data())
@settings(max_examples=100, deadline=None)
def test_any_piece_replaced_is_refused(suite, data):
    der = ENVELOPES[suite.id]
    start = data.draw(st.integers(min_value=0, max_value=len(der)))
    end = data.draw(st.integers(min_value=start, max_value=len(der)))
    changed = der[:start] + data.draw(st.binary(max_size=40)) + der[end:]
    if changed == der:
        return
    with pytest.raises((Malformed, Unverified)):
        open_all(suite, changed)


# ---- outside the profile ----


def agreement(info) -> cms.KeyAgreement:
    return info.body.recipients.as_list()[0]


def set_recipients(info, *recipients):
    info.body.recipients = asn1.SetOf(list(recipients))


def change_recipient(**values):
    def change(info):
        recipient = info.body.recipients.as_list()[0]
        for name, value in values.items():
            setattr(recipient, name, value)
        set_recipients(info, recipient)

    return change


def change_cipher(**values):
    def change(info):
        for name, value in values.items():
            target = info.body.content.cipher if name == "algorithm" else info.body.content.cipher.parameters
            setattr(target, name, value)

    return change


def change_body(**values):
    def change(info):
        for name, value in values.items():
            setattr(info.body, name, value)

    return change


def content_type(info):
    info.body.content.type = cms.ID_SIGNED_DATA


def outer_type(info):
    info.type = cms.Oid("1.2.840.113549.1.7.3")  # EnvelopedData, unauthenticated


COMMON = {
    "another outer type": outer_type,
    "another content type": content_type,
    "version 1": change_body(version=1),
    "no recipient": set_recipients,
    "the recipient twice": lambda info: set_recipients(info, *info.body.recipients.as_list() * 2),
    "tag of 15 bytes": change_body(mac=bytes(15)),
    "tag of 1 byte": change_body(mac=b"\x00"),
    "tag length 12": change_cipher(tag_length=12),
    "nonce of 8 bytes": change_cipher(nonce=bytes(8)),
    "nonce of 16 bytes": change_cipher(nonce=bytes(16)),
    "AES-128-GCM": change_cipher(algorithm=cms.Oid("2.16.840.1.101.3.4.1.6")),
    "another wrap version": change_recipient(version=2),
}
AGREEMENT = {
    "no recipient key": change_recipient(keys=[]),
    "two recipient keys": lambda info: change_recipient(keys=agreement(info).keys * 2)(info),
    "SHA-1 in the key derivation": change_recipient(
        algorithm=cms.KeyAgreementAlgorithm(
            algorithm=cms.Oid("1.3.133.16.840.63.0.2"), wrap=AlgorithmIdentifier(algorithm=cms.AES_256_WRAP)
        )
    ),
    "AES-128 wrap": change_recipient(
        algorithm=cms.KeyAgreementAlgorithm(
            algorithm=cms.ECDH_SHA256_KDF, wrap=AlgorithmIdentifier(algorithm=cms.Oid("2.16.840.1.101.3.4.1.5"))
        )
    ),
    "NULL beside the wrap": change_recipient(
        algorithm=cms.KeyAgreementAlgorithm(
            algorithm=cms.ECDH_SHA256_KDF, wrap=AlgorithmIdentifier(algorithm=cms.AES_256_WRAP, parameters=asn1.Null())
        )
    ),
    "NULL beside the ephemeral key": lambda info: setattr(
        agreement(info).originator.key, "algorithm", AlgorithmIdentifier(algorithm=cms.EC_PUBLIC_KEY, parameters=asn1.Null())
    ),
    "point with spare bits": lambda info: setattr(
        agreement(info).originator.key, "point", asn1.BitString(b"\x04" + bytes(63) + b"\x80", 7)
    ),
    "point off the curve": lambda info: setattr(agreement(info).originator.key, "point", asn1.BitString(b"\x04" + bytes(63) + b"\x01", 0)),
    "point at infinity": lambda info: setattr(agreement(info).originator.key, "point", asn1.BitString(b"\x00", 0)),
}


def changed(suite, change) -> bytes:
    """The envelope with one member changed; elements of a SET OF come out as copies, so they are put back."""
    info = asn1.decode_der(cms.AuthEnvelopedDataInfo, ENVELOPES[suite.id])
    recipients = info.body.recipients.as_list()
    info.body.recipients = asn1.SetOf(recipients)
    change(info)
    return asn1.encode_der(info)


@each_suite
@pytest.mark.parametrize("change", COMMON.values(), ids=COMMON.keys())
def test_structures_outside_the_profile(suite, change):
    der = changed(suite, change)
    assert der != ENVELOPES[suite.id]
    with pytest.raises(Malformed):
        envelope_recipient(der)


@pytest.mark.parametrize("change", AGREEMENT.values(), ids=AGREEMENT.keys())
def test_key_agreements_outside_the_profile(change):
    der = changed(INTL_1, change)
    assert der != ENVELOPES[INTL_1.id]
    with pytest.raises((Malformed, Unverified)):
        open_envelope(der, holder(INTL_1).unwrapper)


def test_key_transport_outside_the_profile():
    for algorithm in (
        AlgorithmIdentifier(algorithm=cms.Oid("1.2.840.113549.1.1.1")),
        AlgorithmIdentifier(algorithm=cms.SM2_ENCRYPTION, parameters=asn1.Null()),
    ):
        with pytest.raises(Malformed):
            envelope_recipient(changed(GM_1, change_recipient(algorithm=algorithm)))


@each_suite
def test_the_way_of_changing_is_itself_sound(suite):
    assert changed(suite, lambda info: None) == ENVELOPES[suite.id]


@each_suite
def test_another_serial_or_issuer_is_another_recipient(suite):
    certificate = holder(suite).certificate
    for issuer, serial in (
        (b"\x30\x00", certificate.serial),
        (certificate.issuer_der, certificate.serial + 1),
        (certificate.issuer_der, -1),
    ):
        name = cms.IssuerAndSerial(issuer=tlv(issuer), serial=serial)

        def rename(info, name=name):
            recipient = info.body.recipients.as_list()[0]
            if suite is GM_1:
                recipient.recipient = name
            else:
                recipient.keys = [cms.RecipientKey(recipient=name, key=recipient.keys[0].key)]
            set_recipients(info, recipient)

        der = changed(suite, rename)
        assert envelope_recipient(der) == (issuer, serial)
        with pytest.raises(Unverified):
            open_envelope(der, holder(suite).unwrapper)

"""Keys of both suites: signing, wrapping, files, and what does not belong together."""

from __future__ import annotations

import pytest
from cryptography.hazmat import asn1
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from crypto import keys, pkcs8, sm2
from crypto.errors import KeyUnusable, Malformed, UnknownSuite, Unverified
from crypto.keys import KeySigner, KeyUnwrapper, PrivateKey, PublicKey, WrappedKey, wrap_key
from crypto.suites import GM_1, INTL_1, SUITES
from tests.crypto.openssl_pki import PASSWORD, folder, foreign_certificate, holder, openssl

FAST = pkcs8.MIN_ROUNDS
PRIVATE = {suite.id: PrivateKey.generate(suite) for suite in SUITES.values()}
each_suite = pytest.mark.parametrize("suite", SUITES.values(), ids=SUITES.keys())


def other_than(suite):
    return INTL_1 if suite is GM_1 else GM_1


def content_key(suite):
    return bytes(range(suite.content_key_length))


def spki_of(public) -> bytes:
    return public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


# ---- public keys and signatures ----


@each_suite
def test_a_signature_holds_for_its_message_and_key_alone(suite):
    private = PRIVATE[suite.id]
    signature = private.sign(b"message")
    private.public.verify(signature, b"message")
    for public, made, message in (
        (private.public, signature, b"massage"),
        (private.public, signature + b"\x00", b"message"),
        (private.public, b"", b"message"),
        (PrivateKey.generate(suite).public, signature, b"message"),
        (PRIVATE[other_than(suite).id].public, signature, b"message"),
    ):
        with pytest.raises(Unverified) as caught:
            public.verify(made, message)
        assert caught.value.check == "signature"


@each_suite
def test_openssl_agrees_with_our_signatures(suite):
    owner = holder(suite)
    (folder() / "message").write_bytes(b"message")
    (folder() / "signature").write_bytes(owner.private.sign(b"message"))
    how = ["-digest", "sm3", "-pkeyopt", "distid:1234567812345678"] if suite is GM_1 else ["-digest", "sha256"]
    files = ["-in", folder() / "message", "-sigfile", folder() / "signature"]
    assert b"Success" in openssl("pkeyutl", "-verify", "-inkey", owner.key_file, "-rawin", *how, *files).stdout
    signed = openssl("pkeyutl", "-sign", "-inkey", owner.key_file, "-rawin", *how, "-in", folder() / "message").stdout
    owner.private.public.verify(signed, b"message")


@each_suite
def test_a_public_key_is_its_spki(suite):
    public = PRIVATE[suite.id].public
    again = PublicKey.from_spki(public.spki)
    assert again == public
    assert hash(again) == hash(public)
    assert again.suite is suite
    assert PublicKey.from_spki(public.spki) is again  # decoded once
    assert public != PrivateKey.generate(suite).public
    assert public != public.spki
    assert suite.id in repr(public)


@each_suite
def test_points_in_another_form_are_refused(suite):
    spki = PRIVATE[suite.id].public.spki
    for bad in (spki[:-1], spki + b"\x00", spki[:-1] + bytes([spki[-1] ^ 1]), spki[:-64] + bytes(64), spki[:-64] + b"\xff" * 64):
        with pytest.raises(Malformed):
            PublicKey.from_spki(bad)


def test_keys_of_no_suite():
    compressed = asn1.encode_der(keys._EcAlgorithm(algorithm=keys._EC_PUBLIC_KEY, curve=keys._CURVES[INTL_1.id])) + asn1.encode_der(
        asn1.BitString(b"\x02" + PRIVATE[INTL_1.id].public.raw[:32], 0)
    )
    others = [
        spki_of(ed25519.Ed25519PrivateKey.generate().public_key()),
        spki_of(ec.generate_private_key(ec.SECP384R1()).public_key()),
        b"\x30" + bytes([len(compressed)]) + compressed,
        b"",
    ]
    for spki in others:
        with pytest.raises(UnknownSuite):
            PublicKey.from_spki(spki)


@given(data=st.binary(max_size=120))
@settings(max_examples=200)
def test_any_bytes_are_no_public_key(data):
    with pytest.raises((Malformed, UnknownSuite)):
        PublicKey.from_spki(data)


@each_suite
def test_a_private_key_never_shows_itself(suite):
    private = PRIVATE[suite.id]
    owner = holder(suite)
    for shown in (repr(private), str(private), repr(owner.signer)):
        assert private._scalar.hex() not in shown
        assert owner.private._scalar.hex() not in shown
        assert repr(private._scalar) not in shown


@each_suite
def test_scalars_out_of_range(suite):
    for scalar in (bytes(32), b"\xff" * 32, bytes(31) + b"", b"\x01" * 33):
        with pytest.raises(Malformed):
            PrivateKey(suite, scalar)


def test_random_p256_scalars_are_drawn_again_out_of_range(monkeypatch):
    draws = iter([bytes(32), b"\xff" * 32, b"\x01" * 32])
    monkeypatch.setattr(keys, "random_bytes", lambda count: next(draws))
    assert keys._random_p256_scalar() == b"\x01" * 32


# ---- wrapping ----


@each_suite
def test_a_wrapped_key_opens_for_its_holder_alone(suite):
    private = PRIVATE[suite.id]
    wrapped = wrap_key(content_key(suite), private.public)
    assert private.unwrap(wrapped) == content_key(suite)
    assert wrap_key(content_key(suite), private.public) != wrapped
    with pytest.raises(Unverified):
        PrivateKey.generate(suite).unwrap(wrapped)
    with pytest.raises(Unverified):
        PRIVATE[other_than(suite).id].unwrap(wrapped)


@each_suite
def test_a_wrapped_key_with_any_byte_changed(suite):
    private = PRIVATE[suite.id]
    wrapped = wrap_key(content_key(suite), private.public)
    for part in ("ephemeral", "ciphertext"):
        good = getattr(wrapped, part)
        for position in range(len(good)):
            bad = good[:position] + bytes([good[position] ^ 1]) + good[position + 1 :]
            values = {"suite": suite, "ephemeral": wrapped.ephemeral, "ciphertext": wrapped.ciphertext, part: bad}
            with pytest.raises((Malformed, Unverified)):
                private.unwrap(WrappedKey(**values))


def test_ephemeral_points_in_another_form():
    private = PRIVATE[INTL_1.id]
    wrapped = wrap_key(content_key(INTL_1), private.public)
    point = wrapped.ephemeral
    compressed = bytes([2 + point[-1] % 2]) + point[1:33]
    for bad in (b"", b"\x00", compressed, point[:-1], point + b"\x00", b"\x04" + bytes(64), b"\x06" + point[1:]):
        with pytest.raises(Malformed):
            private.unwrap(WrappedKey(suite=INTL_1, ephemeral=bad, ciphertext=wrapped.ciphertext))


@each_suite
def test_content_keys_of_the_wrong_length(suite):
    private = PRIVATE[suite.id]
    wrong = bytes(24)
    with pytest.raises(AssertionError):
        wrap_key(wrong, private.public)
    if suite is GM_1:
        theirs = WrappedKey(suite=suite, ephemeral=b"", ciphertext=sm2.engine().encrypt(private.public.raw, wrong))
    else:
        ephemeral = ec.generate_private_key(ec.SECP256R1())
        shared = ephemeral.exchange(ec.ECDH(), private._p256.public_key())
        point = ephemeral.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        theirs = WrappedKey(suite=suite, ephemeral=point, ciphertext=keys.keywrap.aes_key_wrap(keys._wrapping_key(shared), wrong))
    with pytest.raises(Unverified):
        private.unwrap(theirs)


def test_a_p256_wrap_from_fixed_parts_is_always_the_same():
    public = PrivateKey(INTL_1, b"\x02" * 32).public
    wrapped = public._wrap_from_parts(content_key(INTL_1), ephemeral=b"\x03" * 32)
    assert wrapped == public._wrap_from_parts(content_key(INTL_1), ephemeral=b"\x03" * 32)
    assert wrapped.ciphertext.hex() == WRAPPED


# Pins the bytes; that openssl opens what is made this way is asked in test_envelopes.py.
WRAPPED = "bcf4db367cd062e2c7a8f79751743afaaa81a1affb71b61ec3d16f7cc6e44df76673672134d12928"


# ---- files ----


@each_suite
def test_key_files_round_trip_and_openssl_reads_them(suite):
    private = PRIVATE[suite.id]
    pem = private.to_pkcs8(PASSWORD)
    again = PrivateKey.from_pkcs8(pem, PASSWORD)
    assert again.public == private.public
    private.public.verify(again.sign(b"m"), b"m")
    assert pem != private.to_pkcs8(PASSWORD, rounds=FAST)
    spki = openssl("pkey", "-passin", f"pass:{PASSWORD.decode()}", "-pubout", "-outform", "DER", stdin=pem).stdout
    assert spki == private.public.spki


@each_suite
def test_wrong_passwords(suite):
    pem = PRIVATE[suite.id].to_pkcs8(PASSWORD, rounds=FAST)
    for wrong in (b"throw-awa", b"x", b"", bytes(pkcs8.MAX_PASSWORD + 1)):
        with pytest.raises(KeyUnusable):
            PrivateKey.from_pkcs8(pem, wrong)


def test_counts_of_rounds_are_bounded():
    for rounds in (0, pkcs8.MIN_ROUNDS - 1, pkcs8.MAX_ROUNDS + 1):
        with pytest.raises(KeyUnusable):
            PRIVATE[GM_1.id].to_pkcs8(PASSWORD, rounds=rounds)


@each_suite
def test_a_key_file_without_or_under_other_encryption(suite):
    plain = holder(suite).key_file
    assert b"BEGIN PRIVATE KEY" in plain.read_bytes()
    ways = (["-scrypt"], ["-v2", "aes-128-cbc"], ["-v2prf", "hmacWithSHA512"], ["-v2", "des3"])
    others = [openssl("pkcs8", "-topk8", "-in", plain, *how, "-passout", f"pass:{PASSWORD.decode()}").stdout for how in ways]
    others.append(plain.read_bytes())
    for pem in others:
        with pytest.raises(KeyUnusable):
            PrivateKey.from_pkcs8(pem, PASSWORD)


def test_broken_key_files():
    pem = PRIVATE[INTL_1.id].to_pkcs8(PASSWORD, rounds=FAST)
    lines = pem.splitlines()
    for bad in (
        b"",
        b"\n".join(lines[1:]),
        b"\n".join(lines[:-1]),
        b"\n".join([lines[0], b"!!!!", lines[-1]]),
        pem + pem,
        bytes(20_000),
        b"x" + pem,
    ):
        with pytest.raises(KeyUnusable):
            PrivateKey.from_pkcs8(bad, PASSWORD)
    assert PrivateKey.from_pkcs8(pem.replace(b"\n", b"\r\n"), PASSWORD).public == PRIVATE[INTL_1.id].public


@given(data=st.binary(max_size=300))
@settings(max_examples=100)
def test_any_bytes_are_no_key_file(data):
    with pytest.raises(KeyUnusable):
        PrivateKey.from_pkcs8(data, PASSWORD)
    with pytest.raises(KeyUnusable):
        PrivateKey.from_pkcs8(pkcs8._to_pem(data), PASSWORD)


def encrypted(*, suite=GM_1, version=0, inner_version=1, scalar=None, curve=None, public=None, algorithm=None, cut=0) -> bytes:
    """A key file whose inside may contradict itself."""
    private = PRIVATE[suite.id]
    inner = keys._EcPrivateKey(version=inner_version, scalar=scalar or private._scalar, curve=curve, public=public)
    algorithm = algorithm or keys._EcAlgorithm(algorithm=keys._EC_PUBLIC_KEY, curve=keys._CURVES[suite.id])
    der = asn1.encode_der(keys._PrivateKeyInfo(version=version, algorithm=algorithm, key=asn1.encode_der(inner)))
    return pkcs8.encrypt(der[: len(der) - cut], PASSWORD, rounds=FAST)


@each_suite
def test_keys_that_contradict_themselves(suite):
    good = {"suite": suite, "curve": keys._CURVES[suite.id]}
    assert PrivateKey.from_pkcs8(encrypted(**good), PASSWORD).public == PRIVATE[suite.id].public
    rsa = keys._EcAlgorithm(algorithm=keys.Oid("1.2.840.113549.1.1.1"), curve=keys._CURVES[suite.id])
    another = asn1.BitString(b"\x04" + PrivateKey.generate(suite).public.raw, 0)
    for bad in (
        {"version": 1},
        {"inner_version": 0},
        {"curve": keys._CURVES[other_than(suite).id]},
        {"public": another},
        {"scalar": bytes(32)},
        {"scalar": b"\x01" * 31},
        {"algorithm": rsa},
        {"cut": 1},
    ):
        with pytest.raises(KeyUnusable):
            PrivateKey.from_pkcs8(encrypted(**{**good, **bad}), PASSWORD)


def test_lengths_inside_the_encryption_parameters(monkeypatch):
    info = asn1.decode_der(pkcs8._EncryptedPrivateKeyInfo, pkcs8._from_pem(encrypted()))
    info.algorithm.parameters.derivation.parameters.key_length = 16
    with pytest.raises(KeyUnusable):
        pkcs8.decrypt(pkcs8._to_pem(asn1.encode_der(info)), PASSWORD)
    info.algorithm.parameters.derivation.parameters.key_length = 32
    assert pkcs8.decrypt(pkcs8._to_pem(asn1.encode_der(info)), PASSWORD)
    info.algorithm.parameters.encryption.iv = bytes(8)
    with pytest.raises(KeyUnusable):
        pkcs8.decrypt(pkcs8._to_pem(asn1.encode_der(info)), PASSWORD)


def test_log_keys_use_the_same_files():
    private = ed25519.Ed25519PrivateKey.generate()
    pem = keys.ed25519_to_pkcs8(private, PASSWORD, rounds=FAST)
    assert keys.ed25519_from_pkcs8(pem, PASSWORD).public_key() == private.public_key()
    spki = openssl("pkey", "-passin", f"pass:{PASSWORD.decode()}", "-pubout", "-outform", "DER", stdin=pem).stdout
    assert spki == spki_of(private.public_key())
    with pytest.raises(KeyUnusable):
        keys.ed25519_from_pkcs8(PRIVATE[INTL_1.id].to_pkcs8(PASSWORD, rounds=FAST), PASSWORD)
    with pytest.raises(KeyUnusable):
        keys.ed25519_from_pkcs8(pkcs8.encrypt(b"nothing", PASSWORD, rounds=FAST), PASSWORD)
    with pytest.raises(KeyUnusable):
        PrivateKey.from_pkcs8(pem, PASSWORD)


# ---- the seams ----


@each_suite
def test_a_key_and_its_certificate_belong_together(suite):
    owner, stranger, foreigner = holder(suite), holder(suite, "stranger"), holder(other_than(suite))
    assert owner.signer.suite is suite
    owner.certificate.public_key.verify(owner.signer.sign(b"m"), b"m")
    assert owner.unwrapper.unwrap(wrap_key(content_key(suite), owner.certificate.public_key)) == content_key(suite)
    for kind in (KeySigner, KeyUnwrapper):
        for certificate in (stranger.certificate, foreigner.certificate, foreign_certificate()):
            with pytest.raises(KeyUnusable):
                kind(private=owner.private, certificate=certificate)

"""SM2 through both engines: published vectors, each other's work, and everything that must be refused."""

from __future__ import annotations

import gc
import itertools
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crypto import sm2, sm2_gmssl, sm2_libcrypto
from crypto.digests import digest_raw
from crypto.errors import Malformed, Unverified
from crypto.suites import SM2_DEFAULT_ID as ID
from tests.crypto.openssl_pki import gm_vectors

ENGINES = {engine.name: engine for engine in sm2.engines()}
GMSSL: sm2_gmssl.Sm2Gmssl = ENGINES["gmssl"]
LIBCRYPTO: sm2_libcrypto.Sm2Libcrypto = ENGINES["libcrypto"]
PAIRS = list(itertools.product(ENGINES, ENGINES))

PRIVATE = bytes.fromhex("3945208f7b2144b13f36e38ac6d39f95889393692860b51a42fb81ef4df7c5b8")
PUBLIC = GMSSL.derive_public(PRIVATE)
MESSAGE = b"a message"
SIGNATURE = GMSSL.sign(PRIVATE, PUBLIC, MESSAGE, ID)
R, S = sm2.signature_from_der(SIGNATURE)
KEY = bytes(range(16))
CIPHER = GMSSL.encrypt(PUBLIC, KEY)

each_engine = pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES.keys())


# ---- DER by hand, so that the wrong forms can be made ----


def tlv(tag: int, content: bytes, *, long: bool = False) -> bytes:
    length = b"\x81" + bytes([len(content)]) if long or len(content) > 127 else bytes([len(content)])
    return bytes([tag]) + length + content


def integer(value: int, *, pad: int = 0) -> bytes:
    return tlv(2, bytes(pad) + value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))


def signature(r: bytes, s: bytes, **how) -> bytes:
    return tlv(0x30, r + s, **how)


def cipher(*, x=None, y=None, c3=None, c2=None, end=b"", pad=0) -> bytes:
    good = sm2.Sm2Cipher.from_der(CIPHER)
    x = int.from_bytes(good.c1[:32], "big") if x is None else x
    y = int.from_bytes(good.c1[32:], "big") if y is None else y
    return tlv(0x30, integer(x, pad=pad) + integer(y) + tlv(4, good.c3 if c3 is None else c3) + tlv(4, good.c2 if c2 is None else c2) + end)


def flipped(data: bytes, position: int, mask: int = 1) -> bytes:
    return data[:position] + bytes([data[position] ^ mask]) + data[position + 1 :]


# ---- published vectors ----


def test_both_engines_are_here_and_libcrypto_comes_first():
    assert list(ENGINES) == ["libcrypto", "gmssl"]
    assert sm2.engine() is LIBCRYPTO
    assert LIBCRYPTO.constant_time
    assert not GMSSL.constant_time


def test_the_curve_is_the_published_one():
    curve = {name: int(value, 16) for name, value in gm_vectors()["sm2_curve"].items()}
    assert curve == {"p": sm2.P, "b": sm2.B, "n": sm2.N, "gx": sm2.GX, "gy": sm2.GY}


def test_sm3_vectors():
    for vector in gm_vectors()["sm3"]:
        message, expected = vector["message_utf8"].encode(), bytes.fromhex(vector["digest"])
        assert digest_raw("sm3", message) == expected == sm2.sm3(message)


@each_engine
def test_the_published_signature_holds(engine):
    vector = gm_vectors()["sm2_sign"]
    public = bytes.fromhex(vector["px"] + vector["py"])
    message, identity = vector["message_utf8"].encode(), vector["id_utf8"].encode()
    published = sm2.signature_to_der(int(vector["r"], 16), int(vector["s"], 16))
    assert engine.derive_public(bytes.fromhex(vector["d"])) == public
    assert sm2.identity_digest(public, identity) == bytes.fromhex(vector["za"])
    engine.verify(public, published, message, identity)
    with pytest.raises(Unverified):
        engine.verify(public, published, message + b".", identity)


@each_engine
def test_the_published_ciphertext_opens(engine):
    vectors = gm_vectors()
    sign, vector = vectors["sm2_sign"], vectors["sm2_encrypt"]
    c1 = bytes.fromhex(vector["c1x"] + vector["c1y"])
    published = sm2.Sm2Cipher(c1=c1, c3=bytes.fromhex(vector["c3"]), c2=bytes.fromhex(vector["c2"]))
    assert engine.decrypt(bytes.fromhex(sign["d"]), published.to_der()) == vector["message_utf8"].encode()


def test_the_published_nonce_gives_the_published_bytes():
    vectors = gm_vectors()
    sign, encrypt = vectors["sm2_sign"], vectors["sm2_encrypt"]
    private, public, nonce = bytes.fromhex(sign["d"]), bytes.fromhex(sign["px"] + sign["py"]), int(sign["k"], 16)
    made = GMSSL._sign_with_nonce(private, public, sign["message_utf8"].encode(), sign["id_utf8"].encode(), nonce=nonce)
    assert made == sm2.signature_to_der(int(sign["r"], 16), int(sign["s"], 16))
    ciphertext = sm2.Sm2Cipher.from_der(GMSSL._encrypt_with_nonce(public, encrypt["message_utf8"].encode(), nonce=nonce))
    assert ciphertext.c1.hex().upper() == encrypt["c1x"] + encrypt["c1y"]
    assert (ciphertext.c3.hex().upper(), ciphertext.c2.hex().upper()) == (encrypt["c3"], encrypt["c2"])


# ---- each engine accepts the other's work ----


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_engines_agree(one, other):
    private, public = ENGINES[one].generate()
    assert ENGINES[other].derive_public(private) == public
    for message in (b"", b"m", bytes(1000)):
        ENGINES[other].verify(public, ENGINES[one].sign(private, public, message, ID), message, ID)
    for data in (bytes(16), bytes(range(32)), bytes(sm2.MAX_PLAINTEXT)):
        assert ENGINES[other].decrypt(private, ENGINES[one].encrypt(public, data)) == data


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_public_keys_that_begin_with_04_survive(one, other):
    """The bytes gmssl's own classes would strip."""
    for scalar in itertools.count(1):
        public = LIBCRYPTO.derive_public(scalar.to_bytes(32, "big"))
        if public[0] == 4:
            break
    private = scalar.to_bytes(32, "big")
    ENGINES[other].verify(public, ENGINES[one].sign(private, public, MESSAGE, ID), MESSAGE, ID)
    assert ENGINES[other].decrypt(private, ENGINES[one].encrypt(public, KEY)) == KEY


@each_engine
def test_every_signature_and_ciphertext_is_fresh(engine):
    assert engine.sign(PRIVATE, PUBLIC, MESSAGE, ID) != engine.sign(PRIVATE, PUBLIC, MESSAGE, ID)
    assert engine.encrypt(PUBLIC, KEY) != engine.encrypt(PUBLIC, KEY)
    assert engine.generate() != engine.generate()


# ---- what must be refused: signatures ----

BAD_SIGNATURES = {
    "empty": b"",
    "not DER": b"\x00" * 70,
    "trailing byte": SIGNATURE + b"\x00",
    "trailing byte inside": signature(integer(R), integer(S) + b"\x00"),
    "cut": SIGNATURE[:-1],
    "long length": signature(integer(R), integer(S), long=True),
    "indefinite length": b"\x30\x80" + integer(R) + integer(S) + b"\x00\x00",
    "leading zero in r": signature(integer(R, pad=1), integer(S)),
    "leading zero in s": signature(integer(R), integer(S, pad=1)),
    "negative r": signature(integer(R - sm2.N), integer(S)),
    "negative s": signature(integer(R), integer(S - sm2.N)),
    "r beyond n": signature(integer(R + sm2.N), integer(S)),
    "s beyond n": signature(integer(R), integer(S + sm2.N)),
    "r zero": signature(integer(0), integer(S)),
    "s zero": signature(integer(R), integer(0)),
    "r and s exchanged": signature(integer(S), integer(R)),
    "t zero": signature(integer(sm2.N - S), integer(S)),
    "three integers": signature(integer(R), integer(S) + integer(1)),
    "a SET": tlv(0x31, integer(R) + integer(S)),
    "raw 64 bytes": R.to_bytes(32, "big") + S.to_bytes(32, "big"),
    "far too long": SIGNATURE + bytes(10_000),
}


@each_engine
@pytest.mark.parametrize("bad", BAD_SIGNATURES.values(), ids=BAD_SIGNATURES.keys())
def test_bad_signatures_are_refused(engine, bad):
    with pytest.raises(Unverified) as caught:
        engine.verify(PUBLIC, bad, MESSAGE, ID)
    assert caught.value.check == "signature"


@pytest.mark.parametrize("bad", [name for name in BAD_SIGNATURES if name not in ("r and s exchanged", "t zero")])
def test_the_form_is_refused_before_any_engine_sees_it(bad):
    with pytest.raises(Unverified):
        sm2.signature_from_der(BAD_SIGNATURES[bad])


@each_engine
def test_the_good_signature_is_good(engine):
    engine.verify(PUBLIC, SIGNATURE, MESSAGE, ID)
    engine.verify(PUBLIC, signature(integer(R), integer(S)), MESSAGE, ID)


@each_engine
def test_a_flipped_bit_anywhere_is_refused(engine):
    for position in range(0, len(SIGNATURE), 1 if engine is LIBCRYPTO else 5):
        with pytest.raises(Unverified):
            engine.verify(PUBLIC, flipped(SIGNATURE, position), MESSAGE, ID)


@each_engine
def test_wrong_identifier_key_or_message(engine):
    other = engine.generate()[1]
    for public, message, identity in (
        (PUBLIC, MESSAGE, b""),
        (PUBLIC, MESSAGE, b"1234567812345679"),
        (other, MESSAGE, ID),
        (PUBLIC, b"", ID),
    ):
        with pytest.raises(Unverified):
            engine.verify(public, SIGNATURE, message, identity)


@each_engine
def test_a_signature_that_leads_to_infinity(engine):
    """s·G + t·P = O: no point, so nothing to compare with."""
    s = 12345
    t = -s * pow(int.from_bytes(PRIVATE, "big"), -1, sm2.N) % sm2.N
    with pytest.raises(Unverified):
        engine.verify(PUBLIC, sm2.signature_to_der((t - s) % sm2.N, s), MESSAGE, ID)


# ---- what must be refused: keys and points ----

X, Y = int.from_bytes(PUBLIC[:32], "big"), int.from_bytes(PUBLIC[32:], "big")
BAD_PUBLIC = {
    "empty": b"",
    "63 bytes": PUBLIC[:-1],
    "with 04": b"\x04" + PUBLIC,
    "off the curve": flipped(PUBLIC, 63),
    "infinity as zeros": bytes(64),
    "x not reduced": (sm2.P + 1).to_bytes(32, "big") + PUBLIC[32:],
    "all ones": b"\xff" * 64,
}


@each_engine
@pytest.mark.parametrize("public", BAD_PUBLIC.values(), ids=BAD_PUBLIC.keys())
def test_bad_public_keys(engine, public):
    with pytest.raises(Malformed):
        engine.verify(public, SIGNATURE, MESSAGE, ID)
    with pytest.raises(Malformed):
        engine.encrypt(public, KEY)


@each_engine
@pytest.mark.parametrize(
    "private", [b"", bytes(31), bytes(32), bytes(33), (sm2.N - 1).to_bytes(32, "big"), sm2.N.to_bytes(32, "big"), b"\xff" * 32]
)
def test_bad_private_keys(engine, private):
    with pytest.raises(Malformed):
        engine.derive_public(private)
    with pytest.raises(Malformed):
        engine.sign(private, PUBLIC, MESSAGE, ID)
    with pytest.raises(Malformed):
        engine.decrypt(private, CIPHER)


@each_engine
def test_the_smallest_and_largest_private_keys(engine):
    for scalar in (1, 2, sm2.N - 2):
        private = scalar.to_bytes(32, "big")
        public = engine.derive_public(private)
        engine.verify(public, engine.sign(private, public, MESSAGE, ID), MESSAGE, ID)
    assert engine.derive_public((1).to_bytes(32, "big")) == sm2.to_raw(sm2.GX, sm2.GY)


# ---- what must be refused: ciphertexts ----

GOOD = sm2.Sm2Cipher.from_der(CIPHER)
CX, CY = int.from_bytes(GOOD.c1[:32], "big"), int.from_bytes(GOOD.c1[32:], "big")
MALFORMED_CIPHERS = {
    "empty": b"",
    "trailing byte": CIPHER + b"\x00",
    "trailing byte inside": cipher(end=b"\x00"),
    "a fifth member": cipher(end=integer(1)),
    "cut": CIPHER[:-1],
    "leading zero in x": cipher(pad=1),
    "negative x": cipher(x=CX - sm2.P),
    "negative y": cipher(y=CY - sm2.P),
    "x beyond p": cipher(x=CX + sm2.P),
    "y beyond p": cipher(y=CY + sm2.P),
    "off the curve": cipher(y=CY ^ 1),
    "infinity as zeros": cipher(x=0, y=0),
    "C3 short": cipher(c3=GOOD.c3[:31]),
    "C3 long": cipher(c3=GOOD.c3 + b"\x00"),
    "C2 empty": cipher(c2=b""),
    "C2 too short": cipher(c2=bytes(sm2.MIN_PLAINTEXT - 1)),
    "indefinite length": b"\x30\x80" + CIPHER[2:] + b"\x00\x00",
    "raw C1 C3 C2": b"\x04" + GOOD.c1 + GOOD.c3 + GOOD.c2,
    "far too long": CIPHER + bytes(10_000),
}
UNVERIFIED_CIPHERS = {
    "C3 changed": cipher(c3=flipped(GOOD.c3, 0)),
    "C3 zero": cipher(c3=bytes(32)),
    "C2 changed": cipher(c2=flipped(GOOD.c2, 0)),
    "C2 shorter": cipher(c2=GOOD.c2 + b"\x00"),
    "another point": cipher(x=sm2.GX, y=sm2.GY),
    "the mirrored point": cipher(y=sm2.P - CY),
    "C1 C2 C3": cipher(c3=GOOD.c2 + GOOD.c3[:16], c2=GOOD.c3[16:]),
}


@each_engine
@pytest.mark.parametrize("bad", MALFORMED_CIPHERS.values(), ids=MALFORMED_CIPHERS.keys())
def test_ciphertexts_in_another_form(engine, bad):
    with pytest.raises(Malformed):
        engine.decrypt(PRIVATE, bad)


@each_engine
@pytest.mark.parametrize("bad", UNVERIFIED_CIPHERS.values(), ids=UNVERIFIED_CIPHERS.keys())
def test_ciphertexts_that_do_not_open(engine, bad):
    with pytest.raises(Unverified) as caught:
        engine.decrypt(PRIVATE, bad)
    assert caught.value.check == "unwrap"


@each_engine
def test_the_good_ciphertext_is_good_and_only_for_its_key(engine):
    assert cipher() == CIPHER
    assert engine.decrypt(PRIVATE, CIPHER) == KEY
    with pytest.raises(Unverified):
        engine.decrypt(engine.generate()[0], CIPHER)


@each_engine
def test_lengths_sm2_encryption_is_not_for(engine):
    for length in (0, 1, sm2.MIN_PLAINTEXT - 1, sm2.MAX_PLAINTEXT + 1):
        with pytest.raises(ValueError, match="SM2 encrypts"):
            engine.encrypt(PUBLIC, bytes(length))


def test_an_identifier_too_long_is_a_defect():
    with pytest.raises(ValueError, match="identifier"):
        sm2.identity_digest(PUBLIC, bytes(sm2.MAX_ID + 1))


# ---- any bytes ----


@each_engine
@given(data=st.binary(max_size=160))
@settings(max_examples=150, deadline=None)
def test_any_bytes_are_refused(engine, data):
    with pytest.raises(Unverified):
        engine.verify(PUBLIC, data, MESSAGE, ID)
    with pytest.raises((Malformed, Unverified)):
        engine.decrypt(PRIVATE, data)


@each_engine
@given(position=st.integers(min_value=0, max_value=len(CIPHER) - 1), mask=st.integers(min_value=1, max_value=255))
@settings(max_examples=60, deadline=None)
def test_any_changed_byte_is_refused(engine, position, mask):
    with pytest.raises((Malformed, Unverified)):
        engine.decrypt(PRIVATE, flipped(CIPHER, position, mask))


# ---- the gmssl engine's own corners ----


def test_a_sum_of_equal_points_is_doubled():
    point = (sm2.GX, sm2.GY)
    assert GMSSL._sum(point, point) == GMSSL._times(2, sm2_gmssl._G)
    assert GMSSL._sum(point, (sm2.GX, sm2.P - sm2.GY)) is None


def test_nonces_the_standard_refuses(monkeypatch):
    nonce = 1234567
    x1 = GMSSL._times(nonce, sm2_gmssl._G)[0]
    for e in (-x1 % sm2.N, (-x1 - nonce) % sm2.N):  # r = 0, r + k = n
        with monkeypatch.context() as patch:
            patch.setattr(sm2_gmssl, "_message_digest", lambda *_, e=e: e)
            assert GMSSL._sign_with_nonce(PRIVATE, PUBLIC, MESSAGE, ID, nonce=nonce) is None
    r = (sm2_gmssl._message_digest(PUBLIC, MESSAGE, ID) + x1) % sm2.N
    private = (nonce * pow(r, -1, sm2.N) % sm2.N).to_bytes(32, "big")  # makes k - r d, and so s, zero
    assert GMSSL._sign_with_nonce(private, PUBLIC, MESSAGE, ID, nonce=nonce) is None


def test_signing_and_encrypting_ask_for_another_nonce(monkeypatch):
    real_sign, real_stream, calls = GMSSL._sign_with_nonce, sm2_gmssl._key_stream, []

    def first_refused(*args, **kwargs):
        calls.append(kwargs["nonce"])
        return None if len(calls) == 1 else real_sign(*args, **kwargs)

    monkeypatch.setattr(GMSSL, "_sign_with_nonce", first_refused)
    LIBCRYPTO.verify(PUBLIC, GMSSL.sign(PRIVATE, PUBLIC, MESSAGE, ID), MESSAGE, ID)
    assert len(set(calls)) == 2

    streams = iter([bytes(16)])
    monkeypatch.setattr(sm2_gmssl, "_key_stream", lambda shared, length: next(streams, None) or real_stream(shared, length))
    assert LIBCRYPTO.decrypt(PRIVATE, GMSSL.encrypt(PUBLIC, KEY)) == KEY


def test_an_all_zero_key_stream_does_not_open(monkeypatch):
    shared = sm2.to_raw(*GMSSL._times(int.from_bytes(PRIVATE, "big"), GOOD.c1.hex()))
    made = sm2.Sm2Cipher(c1=GOOD.c1, c3=sm2_gmssl._check_value(shared, KEY), c2=KEY).to_der()
    monkeypatch.setattr(sm2_gmssl, "_key_stream", lambda shared, length: bytes(length))
    with pytest.raises(Unverified):
        GMSSL.decrypt(PRIVATE, made)


def test_random_scalars_are_drawn_again_out_of_range(monkeypatch):
    draws = iter([bytes(32), b"\xff" * 32, (7).to_bytes(32, "big")])
    monkeypatch.setattr(sm2, "random_bytes", lambda count: next(draws))
    assert sm2.random_scalar() == 7


def test_without_the_package_there_is_no_engine(monkeypatch):
    monkeypatch.setitem(sys.modules, "gmssl.sm2", None)
    assert sm2_gmssl.load() is None


# ---- the libcrypto engine's own corners ----


def test_without_a_library_there_is_no_engine(monkeypatch):
    monkeypatch.setattr(sm2_libcrypto.ctypes.util, "find_library", lambda name: None)
    monkeypatch.setattr(sm2_libcrypto, "_SONAMES", ("no-such-library.so.3", "libc.so.6"))
    assert sm2_libcrypto.load() is None


def test_the_library_is_also_found_by_the_system(monkeypatch):
    monkeypatch.setattr(sm2_libcrypto, "_SONAMES", ())
    assert sm2_libcrypto.load() is not None


def test_an_old_library_is_not_used(monkeypatch):
    monkeypatch.setattr(sm2_libcrypto, "_OLDEST", 1 << 62)
    assert sm2_libcrypto.load() is None


class _Lying:
    """An engine that says yes to everything."""

    def derive_public(self, private):
        return PUBLIC

    def verify(self, public, signature, message, identity):
        return None


class _Closed(_Lying):
    """An engine that verifies and does not open."""

    def verify(self, public, signature, message, identity):
        if message != b"message digest":
            raise Unverified("no")

    def encrypt(self, public, data):
        return data

    def decrypt(self, private, ciphertext):
        return ciphertext[::-1]


@pytest.mark.parametrize("liar", [_Lying(), _Closed()])
def test_a_library_that_computes_something_else_is_not_used(liar):
    with pytest.raises(sm2_libcrypto.LibcryptoFailed):
        sm2_libcrypto._prove(liar)


def test_a_call_that_must_not_fail_names_itself():
    for outcome in (None, 0, -1):
        with pytest.raises(sm2_libcrypto.LibcryptoFailed) as caught:
            LIBCRYPTO._lib.must(outcome, "EVP_something")
        assert caught.value.call == "EVP_something"
    with pytest.raises(AttributeError):
        LIBCRYPTO._lib.EVP_something  # noqa: B018


def test_long_operations_release_the_interpreter_lock_and_setters_keep_it():
    keeps = 4  # ctypes FUNCFLAG_PYTHONAPI
    lib = LIBCRYPTO._lib
    assert all(getattr(lib, name)._flags_ & keeps for name in sm2_libcrypto._SMALL)
    assert not any(getattr(lib, name)._flags_ & keeps for name in sm2_libcrypto._LONG)


def test_a_failure_leaves_nothing_in_the_error_queue():
    """Python's ssl module may share the library, and reads the queue of its thread."""
    peek = sm2_libcrypto.ctypes.PyDLL("libcrypto.so.3").ERR_peek_error
    peek.restype = sm2_libcrypto.c_ulong
    for refused in (
        lambda: LIBCRYPTO.verify(PUBLIC, SIGNATURE, b"another", ID),
        lambda: LIBCRYPTO.decrypt(PRIVATE, UNVERIFIED_CIPHERS["C3 changed"]),
        lambda: LIBCRYPTO._decode("d2i_PUBKEY", b"\x30\x00"),
    ):
        with pytest.raises((Unverified, sm2_libcrypto.LibcryptoFailed)):
            refused()
        assert peek() == 0
    LIBCRYPTO.generate()
    assert peek() == 0


def test_handles_are_freed_once_and_not_while_in_use():
    lib = sm2_libcrypto._Library("libcrypto.so.3")
    freed, real = [], lib.EVP_PKEY_free
    lib.EVP_PKEY_free = lambda pointer: (freed.append(pointer), real(pointer))
    engine = sm2_libcrypto.Sm2Libcrypto(lib)
    keys = [engine.generate() for _ in range(3)]
    for private, public in keys:
        engine.verify(public, engine.sign(private, public, MESSAGE, ID), MESSAGE, ID)
    assert freed == []
    held = engine._private(keys[0][0])
    engine._private.cache_clear()
    engine._public.cache_clear()
    gc.collect()
    assert len(freed) == len(set(freed)) == 5
    assert held.pointer not in freed
    del held
    gc.collect()
    assert len(freed) == 6


def test_threads_share_keys_while_the_cache_forgets_them():
    engine = sm2_libcrypto.load()
    keys = [engine.generate() for _ in range(6)]
    engine._private = sm2_libcrypto.functools.lru_cache(maxsize=2)(engine._decode_private)
    engine._public = sm2_libcrypto.functools.lru_cache(maxsize=2)(engine._decode_public)

    def work(number: int) -> int:
        for round_ in range(20):
            private, public = keys[(number + round_) % len(keys)]
            message = bytes([number, round_])
            engine.verify(public, engine.sign(private, public, message, ID), message, ID)
            assert engine.decrypt(private, engine.encrypt(public, KEY)) == KEY
        return number

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(work, range(8))) == list(range(8))


def test_no_engine_at_all_says_so(monkeypatch):
    monkeypatch.setattr(sm2, "engines", tuple)
    with pytest.raises(sm2.Sm2Missing):
        sm2.engine.__wrapped__()

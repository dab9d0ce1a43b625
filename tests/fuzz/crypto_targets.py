"""Targets of the lowest room: CMS, time stamps, certificates and their lists, keys, SM2 through every engine, notes and proofs of the log."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import msgspec
from cryptography.hazmat import asn1

from crypto import envelopes, pkcs8, sm2
from crypto.certificates import Certificate, ChainCache, CrlStale, Purpose
from crypto.content_cipher import StorageKey
from crypto.crls import Crl
from crypto.envelopes import envelope_recipient, make_envelope, open_envelope
from crypto.errors import KeyUnusable, Malformed, UnknownSuite, Unverified, YizhanError
from crypto.keys import PrivateKey, PublicKey, ed25519_from_pkcs8, ed25519_to_pkcs8
from crypto.notes import Checkpoint, LogProof, LogVerifier, open_checkpoint, open_note
from crypto.pkix import SignedObject
from crypto.signed_data import SignedData
from crypto.suites import GM_1, INTL_1, SM2_DEFAULT_ID
from crypto.timestamps import TimeStampRefused, make_request, read_token, token_from_response, verify_token
from crypto.tsa import TimeAuthorities
from gateway.flow.private import Private, bound, open_private
from gateway.net.tls import peer_certificate
from tests.core import samples
from tests.crypto.pki import NOW
from tests.fuzz.good import LEAF, LOG_NAME, PASSWORD, both, checkpoint, good, log_key, proof, storage_key
from tests.fuzz.target import Target

_ROUNDS = pkcs8.MIN_ROUNDS
Engine = sm2.Sm2Engine


@cache
def _chains(suite_id: str) -> ChainCache:
    return good(suite_id).pki.cache


# ---- CMS -----------------------------------------------------------------------------------------------------------------------------


def _signed_data(data: bytes) -> None:
    """Read, and rebuilt from its values. A signature that is read and holds is over the message and nothing else."""
    signed = SignedData.from_der(data)
    assert signed.der == data
    assert SignedData.from_der(data) == signed
    if signed.token is not None:
        assert signed.with_token(signed.token) == signed
    signed.verify(good(signed.suite.id).message)


def _signed_seeds() -> Sequence[bytes]:
    return [signed.der for each in both() for signed in (each.bare, each.nro)]


def _envelope(data: bytes) -> None:
    """Read, opened, and whatever key is inside is one the suite can use."""
    recipient = envelope_recipient(data)
    assert envelope_recipient(data) == recipient
    assert envelopes._assemble(envelopes._from_der(data)) == data
    for each in both():
        certificate = each.pki.finance.encryption.certificate
        if recipient == (certificate.issuer_der, certificate.serial):
            key = open_envelope(data, each.pki.finance.encryption.unwrapper)
            assert key.suite is each.suite
            assert key.tag is not None


def _envelope_seeds() -> Sequence[bytes]:
    others = [make_envelope(each.content_key, each.pki.health.encryption.certificate) for each in both()]
    return [*(each.envelope for each in both()), *others]


# ---- time stamps -----------------------------------------------------------------------------------------------------------------------


def _token(data: bytes) -> None:
    """Read, and believed or not; what is believed is of the authority's certificate and not ahead of the clock."""
    claimed = read_token(data)
    assert claimed.token == data
    suite = claimed.authority.suite
    if suite is None:
        raise UnknownSuite("an authority's key of no suite of ours")
    own = good(suite.id)
    stamp = verify_token(
        data, own.bare.signature, suite=suite, trust=_chains(suite.id), allowed={own.pki.tsa.certificate.fingerprint}, now=NOW, nonce=7
    )
    assert (stamp.at, stamp.token) == (claimed.at, data)


def _response(data: bytes) -> None:
    token = token_from_response(data)
    assert token in data  # strict DER in, the same bytes out


@cache
def _authorities() -> TimeAuthorities:
    return TimeAuthorities([each.pki.authority for each in both()])


def _request(data: bytes) -> None:
    """Whatever is asked, the authority answers with a response of the format: a token, or a refusal."""
    answer = _authorities().respond(data, at=NOW, serial=5)
    try:
        token = token_from_response(answer)
    except TimeStampRefused as error:
        assert error.text  # noqa: PT017
        return
    if any(
        each.pki.tsa.certificate.der in token for each in both()
    ):  # else its certificate was not asked for, and nothing of ours reads it
        assert read_token(token).at == NOW


def _requests() -> Sequence[bytes]:
    bare = make_request("sha256", b"x", nonce=1)
    return [*(each.request for each in both()), bare, make_request("sm3", b"x", nonce=(1 << 159), policy="1.3.6.1.4.1.99999.1.1")]


# ---- certificates and lists --------------------------------------------------------------------------------------------------------


def _certificates() -> Sequence[bytes]:
    found = []
    for each in both():
        pki = each.pki
        holders = (pki.office.signing, pki.finance.encryption, pki.health.tls, pki.tsa, pki.directory)
        found += [pki.root.certificate.der, pki.intermediate.certificate.der, *(holder.certificate.der for holder in holders)]
    return found


def _certificate(data: bytes) -> None:
    """Read, asked for every purpose, and spelled as PEM and back."""
    certificate = Certificate.from_der(data)
    assert certificate.der == data
    assert Certificate.from_pem(certificate.pem) == certificate
    assert not (certificate.may_sign and certificate.may_encrypt)
    for purpose in Purpose:
        try:
            certificate.require(purpose)
        except Unverified:
            continue
    assert PublicKey.from_spki(certificate.spki) == certificate.public_key


def _signed_part(der: bytes) -> bytes:
    return asn1.encode_der(asn1.decode_der(SignedObject, der).tbs)


@cache
def _issued() -> frozenset[bytes]:
    return frozenset(map(_signed_part, _certificates()))


def _chain(data: bytes) -> None:
    """Believed for a purpose or refused with our word, whatever OpenSSL thinks of it."""
    certificate = Certificate.from_der(data)
    suite = certificate.suite or INTL_1
    for purpose in (Purpose.SIGN, Purpose.ENCRYPT, Purpose.TIME_STAMP):
        try:
            chain = _chains(suite.id).verify(certificate, NOW, NOW, purpose)
        except (Unverified, CrlStale) as error:
            last: YizhanError = error
            continue
        assert chain.certificate == certificate
        assert _signed_part(data) in _issued(), "a certificate nobody issued is believed"  # a signature has a second spelling, s for n - s
        return
    raise last


def _tls_certificate(data: bytes) -> None:
    peer = peer_certificate(data)
    assert peer.gateway
    assert "/" not in peer.gateway


def _tls_seeds() -> Sequence[bytes]:
    return [holder.tls.certificate.der for each in both() for holder in each.pki.organisations[:2]]


def _pem(data: bytes) -> None:
    certificate = Certificate.from_pem(data)
    assert Certificate.from_pem(certificate.pem) == certificate


def _crl(data: bytes) -> None:
    """Read; signed by an authority of ours only if it is one of its lists."""
    crl = Crl.from_der(data)
    assert crl.der == data
    for each in both():
        for authority in (each.pki.root, each.pki.intermediate):
            if authority.certificate.subject_der == crl.issuer_der:
                crl.verify(authority.certificate.public_key)


def _crls() -> Sequence[bytes]:
    found = []
    for each in both():
        revoked = [(each.pki.office.signing.certificate, NOW, "keyCompromise"), (each.pki.tsa.certificate, NOW, None)]
        found += [each.pki.crls[0], each.pki.crls_after(revoked)[1]]
    return found


# ---- keys ------------------------------------------------------------------------------------------------------------------------------


def _spki(data: bytes) -> None:
    key = PublicKey.from_spki(data)
    assert key.spki == data
    assert key == PublicKey.from_spki(data)


def _spkis() -> Sequence[bytes]:
    return [each.pki.office.signing.private.public.spki for each in both()]


def _key_file(data: bytes) -> None:
    """A key file of the home, which somebody else may have written."""
    try:
        ed25519_from_pkcs8(data, PASSWORD)
    except KeyUnusable:
        private = PrivateKey.from_pkcs8(data, PASSWORD)
        assert PrivateKey.from_pkcs8(private.to_pkcs8(PASSWORD, rounds=_ROUNDS), PASSWORD).public == private.public


@cache
def _key_infos() -> tuple[bytes, ...]:
    return tuple(pkcs8.decrypt(pem, PASSWORD) for pem in _key_files())


@cache
def _key_files() -> tuple[bytes, ...]:
    pairs = [each.pki.office.signing.private.to_pkcs8(PASSWORD, rounds=_ROUNDS) for each in both()]
    return (*pairs, ed25519_to_pkcs8(log_key()._private, PASSWORD, rounds=_ROUNDS))


def _key_info(data: bytes) -> None:
    """What stands inside an encrypted key file, behind a password that fits."""
    _key_file(pkcs8._encrypt_from_parts(data, PASSWORD, salt=b"s" * 16, iv=b"i" * 16, rounds=_ROUNDS))


# ---- SM2 through every engine ----------------------------------------------------------------------------------------------------------

_SM2_MESSAGE = b"the message"


def _every_engine(ask: Callable[[Engine], object]) -> object:
    """What all engines answer alike; an error counts by its kind. Raises what they raised."""
    outcomes = []
    for engine in sm2.engines():
        try:
            outcomes.append((None, ask(engine)))
        except (Malformed, Unverified) as error:
            outcomes.append((error, None))
    first, *others = outcomes
    for other in others:
        assert type(other[0]) is type(first[0]) and other[1] == first[1], (first, other)
    if first[0] is not None:
        raise first[0]
    return first[1]


def _own() -> tuple[bytes, bytes]:
    private = good(GM_1.id).pki.finance.encryption.private
    return private._scalar, private.public.raw


def _sm2_signature(data: bytes) -> None:
    sm2.engine().verify(_own()[1], data, _SM2_MESSAGE, SM2_DEFAULT_ID)


def _sm2_signature_everywhere(data: bytes) -> None:
    public = _own()[1]
    _every_engine(lambda engine: engine.verify(public, data, _SM2_MESSAGE, SM2_DEFAULT_ID))


@cache
def _sm2_signatures() -> tuple[bytes, ...]:
    """A good one; numbers at the edges; and with our own private key two that lead the verifier to infinity and to a doubling."""
    private, public = _own()
    d, n = int.from_bytes(private, "big"), sm2.N
    edges = (0, 1, n - 1, n, n + 1, (1 << 256) - 1)
    odd = [sm2.signature_to_der(r, s) for r in edges for s in edges]
    t = 5  # s·G + t·P with P = d·G: infinity for s = -t·d, two equal points for s = t·d; r = t - s in both
    odd += [sm2.signature_to_der((t - s) % n, s) for s in (-t * d % n, t * d % n)]
    return (sm2.engine().sign(private, public, _SM2_MESSAGE, SM2_DEFAULT_ID), *odd)


def _sm2_ciphertext(data: bytes) -> None:
    plaintext = sm2.engine().decrypt(_own()[0], data)
    assert sm2.MIN_PLAINTEXT <= len(plaintext) <= sm2.MAX_PLAINTEXT
    assert sm2.Sm2Cipher.from_der(data).to_der() == data


def _sm2_ciphertext_everywhere(data: bytes) -> None:
    private = _own()[0]
    _every_engine(lambda engine: engine.decrypt(private, data))


@cache
def _sm2_ciphertexts() -> tuple[bytes, ...]:
    public = _own()[1]
    good_ones = [sm2.engine().encrypt(public, b"k" * size) for size in (16, 32, 256)]
    point = (sm2.GX, sm2.GY)
    forged = [sm2.Sm2Cipher(c1=sm2.to_raw(*point), c3=b"3" * 32, c2=b"2" * 16).to_der()]
    return (*good_ones, *forged)


def _sm2_public(data: bytes) -> None:
    """A public key of any bytes: refused by every engine, or usable by every engine."""
    _every_engine(lambda engine: engine.verify(data, _sm2_signatures()[0], _SM2_MESSAGE, SM2_DEFAULT_ID))


def _sm2_private(data: bytes) -> None:
    """A private key of any bytes: every engine refuses it, or derives the same public key."""
    public = _every_engine(lambda engine: engine.derive_public(data))
    assert isinstance(public, bytes)
    sm2.check_public(public)


def _sm2_scalars() -> Sequence[bytes]:
    return [value.to_bytes(32, "big") for value in (0, 1, 2, sm2.N - 2, sm2.N - 1, sm2.N, (1 << 256) - 1)] + [_own()[0]]


def _sm2_points() -> Sequence[bytes]:
    infinity, generator = bytes(64), sm2.to_raw(sm2.GX, sm2.GY)
    beyond = (sm2.GX + sm2.P).to_bytes(33, "big")[-32:] + generator[32:]
    return [_own()[1], generator, infinity, beyond, b"\x04" + generator, sm2.to_raw(sm2.GX, sm2.P - sm2.GY)]


def _ecdsa_signature(data: bytes) -> None:
    good(INTL_1.id).pki.office.signing.private.public.verify(data, _SM2_MESSAGE)


def _ecdsa_signatures() -> Sequence[bytes]:
    return [good(INTL_1.id).pki.office.signing.private.sign(_SM2_MESSAGE), *_sm2_signatures()[1:6]]


# ---- what we seal and log --------------------------------------------------------------------------------------------------------------


def _sealed(data: bytes) -> None:
    """A piece sealed under the storage key, and the metadata of an exchange, as they come back from the disk."""
    try:
        assert storage_key().open(data, _BOUND) == _PIECE
    except Unverified:
        private = open_private(storage_key(), "out", samples.EXCHANGE, data)
        assert private == _PRIVATE


_BOUND, _PIECE = b"associated", b"plaintext"
_PRIVATE = Private(document=samples.document(), source="source")


def _sealed_seeds() -> Sequence[bytes]:
    private = storage_key().seal(msgspec.json.encode(_PRIVATE), bound("private", "out", samples.EXCHANGE))
    return [private, storage_key().seal(_PIECE, _BOUND), StorageKey(b"s" * 32, cipher="sm4-gcm").seal(_PIECE, _BOUND)]


def _note(data: bytes) -> None:
    text = open_note(data, [log_key().verifier])
    assert data.startswith(text.encode())
    found = open_checkpoint(data, [log_key().verifier], origin=LOG_NAME)
    assert Checkpoint.from_text(found.to_text()) == found
    assert found.to_text() == text


def _checkpoint_text(data: bytes) -> None:
    """The text of a checkpoint, as a log of somebody else would sign it."""
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise Malformed("not text") from error
    assert Checkpoint.from_text(text).to_text() == text


def _proof(data: bytes) -> None:
    found = LogProof.from_bytes(data)
    assert found.to_bytes() == data
    found.verify(LEAF, [log_key().verifier], origin=LOG_NAME)


def _vkey(data: bytes) -> None:
    text = data.decode("latin-1")
    assert LogVerifier.from_vkey(text).vkey == text


def _notes() -> Sequence[bytes]:
    cosigned = checkpoint() + "\u2014 witness AAAAAAAA\n".encode()
    return [checkpoint(), cosigned, log_key().sign_note("any text\nof two lines\n")]


def _proofs() -> Sequence[bytes]:
    more = LogProof(index=2, hashes=(b"h" * 32, b"i" * 32), checkpoint=checkpoint(), extra=b"extra")
    return [proof(), more.to_bytes()]


_VERIFIED = (Malformed, Unverified, UnknownSuite)

CRYPTO_TARGETS = (
    Target(name="signed-data", run=_signed_data, errors=_VERIFIED, seeds=_signed_seeds, shape="der"),
    Target(name="envelope", run=_envelope, errors=(Malformed, Unverified), seeds=_envelope_seeds, shape="der", slow=True),
    Target(name="token", run=_token, errors=(*_VERIFIED, CrlStale), seeds=lambda: [each.token for each in both()], shape="der"),
    Target(name="time-request", run=_request, errors=(), seeds=_requests, shape="der", longest=1200, slow=True),
    Target(
        name="time-response",
        run=_response,
        errors=(Malformed, TimeStampRefused),
        seeds=lambda: [each.response for each in both()],
        shape="der",
    ),
    Target(name="certificate", run=_certificate, errors=_VERIFIED, seeds=_certificates, shape="der"),
    Target(name="chain", run=_chain, errors=(*_VERIFIED, CrlStale), seeds=_certificates, shape="der", slow=True),
    Target(name="tls-certificate", run=_tls_certificate, errors=(Unverified,), seeds=_tls_seeds, shape="der"),
    Target(
        name="certificate-pem",
        run=_pem,
        errors=(Malformed,),
        seeds=lambda: [Certificate.from_der(der).pem for der in _certificates()[:3]],
        shape="text",
    ),
    Target(name="crl", run=_crl, errors=(Malformed, Unverified), seeds=_crls, shape="der"),
    Target(name="spki", run=_spki, errors=(Malformed, UnknownSuite), seeds=_spkis, shape="bytes", longest=256),
    # The ceiling is that of MAX_ROUNDS, which bounds how long a key file may keep a start busy.
    Target(name="key-file", run=_key_file, errors=(KeyUnusable,), seeds=_key_files, shape="text", milliseconds=4_000),
    Target(name="key-info", run=_key_info, errors=(KeyUnusable,), seeds=_key_infos, shape="der", longest=1024, slow=True),
    Target(name="sm2-signature", run=_sm2_signature, errors=(Malformed, Unverified), seeds=_sm2_signatures, shape="der", longest=256),
    Target(
        name="sm2-signature-everywhere",
        run=_sm2_signature_everywhere,
        errors=(Malformed, Unverified),
        seeds=_sm2_signatures,
        shape="der",
        longest=256,
        milliseconds=100,
        slow=True,
    ),
    Target(name="sm2-ciphertext", run=_sm2_ciphertext, errors=(Malformed, Unverified), seeds=_sm2_ciphertexts, shape="der", longest=512),
    Target(
        name="sm2-ciphertext-everywhere",
        run=_sm2_ciphertext_everywhere,
        errors=(Malformed, Unverified),
        seeds=_sm2_ciphertexts,
        shape="der",
        longest=512,
        milliseconds=100,
        slow=True,
    ),
    Target(
        name="sm2-public",
        run=_sm2_public,
        errors=(Malformed, Unverified),
        seeds=_sm2_points,
        shape="bytes",
        longest=128,
        milliseconds=100,
        slow=True,
    ),
    Target(
        name="sm2-private",
        run=_sm2_private,
        errors=(Malformed,),
        seeds=_sm2_scalars,
        shape="bytes",
        longest=64,
        milliseconds=100,
        slow=True,
    ),
    Target(name="ecdsa-signature", run=_ecdsa_signature, errors=(Unverified,), seeds=_ecdsa_signatures, shape="der", longest=256),
    Target(name="sealed", run=_sealed, errors=(Malformed, Unverified), seeds=_sealed_seeds, shape="bytes", longest=512),
    Target(name="note", run=_note, errors=(Malformed, Unverified), seeds=_notes, shape="text"),
    Target(
        name="checkpoint",
        run=_checkpoint_text,
        errors=(Malformed,),
        seeds=lambda: [checkpoint().split(b"\n\n")[0] + b"\n"],
        shape="text",
        longest=1024,
    ),
    Target(name="proof", run=_proof, errors=(Malformed, Unverified), seeds=_proofs, shape="text"),
    Target(name="log-key", run=_vkey, errors=(Malformed,), seeds=lambda: [log_key().verifier.vkey.encode()], shape="text", longest=512),
)

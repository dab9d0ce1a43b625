"""RFC 3161 time-stamps of both suites: requests, responses, and the one shape of token we believe.

Strict DER throughout and a closed profile: one signer, its certificate inside, SHA-256 and ECDSA (intl-1) or SM3 and SM2 (gm-1, the shape
GB/T 20520 shares). Tokens of other authorities that are only valid BER, or sign with RSA, are not for this reader.

    request = make_request("sm3", signature, nonce=nonce)
    token = token_from_response(await source.respond(request))
    stamp = verify_token(token, signature, suite=GM_1, trust=cache, allowed=fingerprints, now=now, nonce=nonce)
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from cryptography.hazmat import asn1
from cryptography.x509 import ObjectIdentifier as Oid

from crypto.certificates import Certificate, ChainCache, Purpose, Revoked, Trust, verify_chain
from crypto.digests import digest_raw
from crypto.errors import Malformed, RemoteError, Unverified
from crypto.pkix import AlgorithmIdentifier, digest_oid, signature_oid, utc
from crypto.rfc3161 import (
    CONTENT_TYPE,
    GRANTED,
    GRANTED_WITH_MODS,
    MESSAGE_DIGEST,
    SIGNED_DATA,
    SIGNING_CERTIFICATE_V2,
    TST_INFO,
    Accuracy,
    Attribute,
    MessageImprint,
    SignerInfo,
    TimeStampReq,
    TimeStampResp,
    Token,
    TstInfo,
    signed_bytes,
    signing_certificate,
)
from crypto.suites import DigestName, Suite

MAX_REQUEST: Final = 1024  # ours have about 100 bytes
MAX_TOKEN: Final = 24 * 1024  # ours have 1 KiB; room for a certificate at its own ceiling
MAX_RESPONSE: Final = MAX_TOKEN + 4096  # a token and a status around it
MAX_NONCE: Final = 1 << 160  # bounded as serial numbers are (RFC 3161 2.4.2)
MAX_AHEAD: Final = timedelta(minutes=1)  # how far an authority's clock may be before ours (DESIGN 3, check 5)

_TST_INFO_DER: Final = asn1.encode_der(TST_INFO)
_REQUIRED: Final = frozenset({CONTENT_TYPE, MESSAGE_DIGEST, SIGNING_CERTIFICATE_V2})

# RFC 3161 4: after a revocation for one of these reasons the tokens made before it stay good; for any other, or none given, all fall.
HARMLESS_REVOCATIONS: Final = frozenset({"unspecified", "affiliationChanged", "superseded", "cessationOfOperation"})


class TimeStampRefused(RemoteError):
    """The authority answered without a token. Facts: ``status`` (PKIStatus), ``failures`` (PKIFailureInfo bit numbers), ``text``."""

    code = "time-stamp-refused"


# ---- asking ----------------------------------------------------------------------------------------------------------------------


def make_request(digest_name: DigestName, over: bytes, *, nonce: int, policy: str | None = None) -> bytes:
    """A request for a token over the digest of ``over``, with the authority's certificate inside.

    ``nonce`` is drawn by the caller, who keeps it to check the answer; positive and at most 20 octets.
    """
    if not 0 < nonce < MAX_NONCE:
        raise AssertionError("internal: a nonce out of range")
    return asn1.encode_der(
        TimeStampReq(
            version=1,
            imprint=MessageImprint(algorithm=AlgorithmIdentifier(algorithm=digest_oid(digest_name)), digest=digest_raw(digest_name, over)),
            policy=None if policy is None else Oid(policy),
            nonce=nonce,
            cert_req=True,
            extensions=None,
        )
    )


def token_from_response(response: bytes) -> bytes:
    """The token in a response. Raises TimeStampRefused when the authority gives none, Malformed."""
    if len(response) > MAX_RESPONSE:
        raise Malformed(f"a time-stamp response of more than {MAX_RESPONSE} bytes")
    try:
        parsed = asn1.decode_der(TimeStampResp, response)
    except ValueError as error:
        raise Malformed(f"not a time-stamp response: {error}") from error
    granted = parsed.status.status in (GRANTED, GRANTED_WITH_MODS)
    if granted != (parsed.token is not None):
        raise Malformed("a time-stamp response whose status and token contradict each other")  # RFC 3161 2.4.2
    if parsed.token is None:
        failures = _bits(parsed.status.failure)
        text = "; ".join(parsed.status.text or ())[:200]
        raise TimeStampRefused(
            f"the time authority refused: status {parsed.status.status}, failures {failures}, {text!r}",
            status=parsed.status.status,
            failures=failures,
            text=text,
        )
    return asn1.encode_der(parsed.token)  # strict DER in, so these are the bytes that came


def _bits(bits: asn1.BitString | None) -> tuple[int, ...]:
    data = b"" if bits is None else bits.as_bytes()
    return tuple(place for place in range(8 * len(data)) if data[place // 8] & 0x80 >> place % 8)


# ---- reading and believing -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class UnverifiedToken:
    """What a well-formed token claims. Nothing of it is checked against anything: see ``verify_token``."""

    at: datetime
    serial: int
    policy: str
    nonce: int | None
    accuracy_ms: int | None
    imprint_algorithm: Oid
    imprint: bytes
    authority: Certificate
    token: bytes
    info: bytes  # the TSTInfo
    signer: SignerInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeStamp:
    """A believed time-stamp: ``authority`` saw the bytes no later than ``at``."""

    at: datetime
    serial: int
    policy: str
    accuracy_ms: int | None
    authority: Certificate
    token: bytes


def read_token(token: bytes) -> UnverifiedToken:
    """What a token claims, its shape checked and nothing else. Raises Malformed."""
    if len(token) > MAX_TOKEN:
        raise Malformed(f"a time-stamp token of more than {MAX_TOKEN} bytes")
    try:
        return _read(asn1.decode_der(Token, token), token)
    except ValueError as error:
        raise Malformed(f"not a time-stamp token: {error}") from error


def _read(parsed: Token, token: bytes) -> UnverifiedToken:
    signed = parsed.content
    signers = signed.signers.as_list()
    certificates = [] if signed.certificates is None else signed.certificates.as_list()
    digests = signed.digest_algorithms.as_list()
    if (parsed.content_type, signed.encapsulated.content_type, signed.version) != (SIGNED_DATA, TST_INFO, 3):
        raise ValueError("not SignedData version 3 over a TSTInfo")  # RFC 5652 5.1
    if (len(signers), len(certificates), len(digests)) != (1, 1, 1) or signers[0].version != 1:
        raise ValueError("not exactly one signer, digest and certificate")
    if digests[0].algorithm != signers[0].digest_algorithm.algorithm:
        raise ValueError("two digest algorithms")
    info = asn1.decode_der(TstInfo, signed.encapsulated.content)
    if info.version != 1 or not 0 < info.serial < MAX_NONCE or not (info.nonce is None or 0 < info.nonce < MAX_NONCE):
        raise ValueError("not version 1, or a serial number or nonce out of range")
    return UnverifiedToken(
        at=info.gen_time.as_datetime(),
        serial=info.serial,
        policy=info.policy.dotted_string,
        nonce=info.nonce,
        accuracy_ms=None if info.accuracy is None else _milliseconds(info.accuracy),
        imprint_algorithm=info.imprint.algorithm.algorithm,
        imprint=info.imprint.digest,
        authority=Certificate.from_der(asn1.encode_der(certificates[0])),
        token=token,
        info=signed.encapsulated.content,
        signer=signers[0],
    )


def _milliseconds(accuracy: Accuracy) -> int:
    seconds, millis, micros = accuracy.seconds or 0, accuracy.millis, accuracy.micros
    if not 0 <= seconds < 1 << 32 or not (millis is None or 0 < millis < 1000) or not (micros is None or 0 < micros < 1000):
        raise ValueError("an accuracy out of range")  # RFC 3161 2.4.2
    return seconds * 1000 + (millis or 0) + (micros is not None)


def verify_token(
    token: bytes,
    over: bytes,
    *,
    suite: Suite,
    trust: Trust | ChainCache,
    allowed: Collection[str],
    now: datetime,
    nonce: int | None = None,
) -> TimeStamp:
    """Believe a token over ``over``.

    1. Its shape. 2. The authority's certificate is among ``allowed`` (fingerprints). 3. Certificate, digests and signature are of the
    suite. 4. The imprint is the digest of ``over``. 5. The nonce, where one was sent. 6. The time is not ahead of our clock. 7. SignerInfo
    and SigningCertificateV2 name that certificate. 8. The signed digest is that of the TSTInfo. 9. The signature. 10. The chain at the
    token's time, for time-stamping only (EKU critical and alone), and no later revocation that voids tokens (RFC 3161 4).

    Raises Malformed; Unverified (fact ``check``) and its kin from verify_chain; CrlStale.
    """
    claimed = read_token(token)
    if claimed.authority.fingerprint not in allowed:
        raise _refused("authority", f"time authority {claimed.authority.subject} is not allowed")
    _check_suite(claimed, suite)
    if claimed.imprint_algorithm != digest_oid(suite.digest) or claimed.imprint != digest_raw(suite.digest, over):
        raise _refused("imprint", "the token is over something else")
    if nonce is not None and claimed.nonce != nonce:
        raise _refused("nonce", "the token answers another request")
    if claimed.at > utc(now) + MAX_AHEAD:
        raise _refused("time", f"the token's time {claimed.at.isoformat()} has not come yet")
    _check_signature(claimed, suite)
    _check_chain(claimed, trust, now)
    return TimeStamp(
        at=claimed.at,
        serial=claimed.serial,
        policy=claimed.policy,
        accuracy_ms=claimed.accuracy_ms,
        authority=claimed.authority,
        token=token,
    )


def _refused(check: str, message: str) -> Unverified:
    return Unverified(message, check=f"token-{check}")


def _check_suite(claimed: UnverifiedToken, suite: Suite) -> None:
    signer = claimed.signer
    if (
        claimed.authority.suite is not suite
        or signer.digest_algorithm.algorithm != digest_oid(suite.digest)
        or signer.signature_algorithm.algorithm != signature_oid(suite)
    ):
        raise _refused("suite", f"the token is not of suite {suite.id}")


def _check_signature(claimed: UnverifiedToken, suite: Suite) -> None:
    authority, signer = claimed.authority, claimed.signer
    attributes = _single_valued(signer.attributes)
    if (asn1.encode_der(signer.sid.issuer), signer.sid.serial) != (authority.issuer_der, authority.serial):
        raise _refused("signer", "the signer is not the certificate in the token")
    if attributes[SIGNING_CERTIFICATE_V2] != signing_certificate(authority, suite.digest):
        raise _refused("certificate-reference", "the signature is bound to another certificate")
    if attributes[CONTENT_TYPE] != _TST_INFO_DER:
        raise _refused("content-type", "the signature is over another type of content")
    if attributes[MESSAGE_DIGEST] != asn1.encode_der(digest_raw(suite.digest, claimed.info)):
        raise _refused("digest", "the signature is over another TSTInfo")
    try:
        authority.public_key.verify(signer.signature, signed_bytes(signer.attributes))
    except (Unverified, Malformed) as error:
        raise _refused("signature", f"the token's signature does not hold: {error}") from error


def _single_valued(attributes: asn1.SetOf[Attribute]) -> dict[Oid, bytes]:
    """The signed attributes, each once and with one value (RFC 5652 5.3, 11). Raises Unverified when one of the required is missing."""
    found: dict[Oid, bytes] = {}
    for attribute in attributes.as_list():
        values = attribute.values.as_list()
        if attribute.oid in found or len(values) != 1:
            raise _refused("attributes", f"attribute {attribute.oid.dotted_string} not exactly once")
        found[attribute.oid] = asn1.encode_der(values[0])
    if not found.keys() >= _REQUIRED:
        raise _refused("attributes", "a required signed attribute is missing")
    return found


def _check_chain(claimed: UnverifiedToken, trust: Trust | ChainCache, now: datetime) -> None:
    authority, at, purpose = claimed.authority, claimed.at, Purpose.TIME_STAMP
    if isinstance(trust, ChainCache):
        chain = trust.verify(authority, at, now, purpose)
    else:
        chain = verify_chain(authority, trust, at=at, now=now, purpose=purpose)
    if chain.revoked_later is not None and chain.revocation_reason not in HARMLESS_REVOCATIONS:
        raise Revoked(
            f"{authority.subject} was revoked for {chain.revocation_reason or 'a reason not given'}: all its tokens are void",
            check="revocation",
            revoked_at=chain.revoked_later,
            reason=chain.revocation_reason,
            subject=authority.subject,
        )

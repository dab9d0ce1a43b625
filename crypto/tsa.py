"""A time-stamping authority (RFC 3161), embedded: for pilots, demonstrations and agencies without one of their own.

It answers every request, a bad one with a rejection that says why (RFC 3161 2.4.2). The moment and the serial number are arguments: who
runs it owns a good clock and a counter that never repeats.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from enum import IntEnum
from typing import Final

from cryptography.hazmat import asn1
from cryptography.x509 import ObjectIdentifier as Oid

from crypto.certificates import Purpose, WrongPurpose
from crypto.digests import digest_raw
from crypto.errors import KeyUnusable
from crypto.keys import Signer
from crypto.pkix import AlgorithmIdentifier, digest_oid, signature_oid, tlv, utc
from crypto.rfc3161 import (
    CONTENT_TYPE,
    GRANTED,
    MESSAGE_DIGEST,
    REJECTION,
    SIGNED_DATA,
    SIGNING_CERTIFICATE_V2,
    TST_INFO,
    Accuracy,
    Attribute,
    EncapsulatedInfo,
    IssuerAndSerial,
    SignedToken,
    SignerInfo,
    StatusInfo,
    TimeStampReq,
    TimeStampResp,
    Token,
    TstInfo,
    signed_bytes,
    signing_certificate,
)
from crypto.suites import DigestName
from crypto.timestamps import MAX_NONCE, MAX_REQUEST

_DIGEST_LENGTH: Final = 32  # of SM3 and of SHA-256


class Failure(IntEnum):
    """PKIFailureInfo (RFC 3161 2.4.2)."""

    BAD_ALG = 0
    BAD_REQUEST = 2
    BAD_DATA_FORMAT = 5
    TIME_NOT_AVAILABLE = 14
    UNACCEPTED_POLICY = 15
    UNACCEPTED_EXTENSION = 16


class TimeAuthority:
    """One authority of one suite with one policy. Safe to use from several threads."""

    __slots__ = ("_accuracy", "_policy", "_references", "_signer")

    def __init__(self, signer: Signer, policy: str, accuracy_ms: int) -> None:
        """Raises KeyUnusable when the signer's certificate is not one for time-stamping alone."""
        try:
            signer.certificate.require(Purpose.TIME_STAMP)
        except WrongPurpose as error:
            raise KeyUnusable(str(error)) from error
        self._signer = signer
        self._policy = Oid(policy)
        self._accuracy = Accuracy(seconds=accuracy_ms // 1000 or None, millis=accuracy_ms % 1000 or None, micros=None)
        self._references = _attribute(SIGNING_CERTIFICATE_V2, signing_certificate(signer.certificate, signer.suite.digest))

    def respond(self, request: bytes, *, at: datetime, serial: int) -> bytes:
        """The response to a request: a token dated ``at`` (to the millisecond), or a rejection."""
        asked = _decoded(request)
        return _UNREADABLE if asked is None else self.answer(asked, at=at, serial=serial)

    @property
    def digest(self) -> DigestName:
        """The one digest it stamps."""
        return self._signer.suite.digest

    def answer(self, asked: TimeStampReq, *, at: datetime, serial: int) -> bytes:
        """The response to a request already read, as ``respond`` gives it."""
        if not 0 < serial < MAX_NONCE:
            raise AssertionError("internal: a serial number out of range")
        objection = self._objection(asked, utc(at))
        if objection is not None:
            return _rejection(*objection)
        status = StatusInfo(status=GRANTED, text=None, failure=None)
        return asn1.encode_der(TimeStampResp(status=status, token=self._token(asked, utc(at), serial)))

    def _objection(self, asked: TimeStampReq, at: datetime) -> tuple[Failure, str] | None:
        certificate, suite = self._signer.certificate, self._signer.suite
        if asked.version != 1:
            return Failure.BAD_REQUEST, "not a request of version 1"
        if asked.imprint.algorithm.algorithm != digest_oid(suite.digest):
            return Failure.BAD_ALG, f"this authority stamps {suite.digest} only"
        if len(asked.imprint.digest) != _DIGEST_LENGTH:
            return Failure.BAD_DATA_FORMAT, "a digest of the wrong length"
        if asked.nonce is not None and not 0 < asked.nonce < MAX_NONCE:
            return Failure.BAD_REQUEST, "a nonce out of range"
        if asked.policy not in (None, self._policy):
            return Failure.UNACCEPTED_POLICY, "another policy than this authority's"
        if asked.extensions is not None:
            return Failure.UNACCEPTED_EXTENSION, "extensions are not supported"
        if not certificate.not_before <= at <= certificate.not_after:
            return Failure.TIME_NOT_AVAILABLE, "the authority's certificate is not valid now"
        return None

    def _token(self, asked: TimeStampReq, at: datetime, serial: int) -> Token:
        info = TstInfo(
            version=1,
            policy=self._policy,
            imprint=asked.imprint,
            serial=serial,
            gen_time=asn1.GeneralizedTime(at.replace(microsecond=at.microsecond // 1000 * 1000)),
            accuracy=self._accuracy,
            ordering=False,
            nonce=asked.nonce,
        )
        content = asn1.encode_der(info)
        digest = AlgorithmIdentifier(algorithm=digest_oid(self._signer.suite.digest))
        certificate = tlv(self._signer.certificate.der)
        return Token(
            content_type=SIGNED_DATA,
            content=SignedToken(
                version=3,
                digest_algorithms=asn1.SetOf([digest]),
                encapsulated=EncapsulatedInfo(content_type=TST_INFO, content=content),
                certificates=asn1.SetOf([certificate]) if asked.cert_req else None,  # RFC 3161 2.4.1: not unless asked for
                signers=asn1.SetOf([self._sign(content, digest)]),
            ),
        )

    def _sign(self, content: bytes, digest: AlgorithmIdentifier) -> SignerInfo:
        certificate, suite = self._signer.certificate, self._signer.suite
        attributes = asn1.SetOf(
            [
                _attribute(CONTENT_TYPE, asn1.encode_der(TST_INFO)),
                _attribute(MESSAGE_DIGEST, asn1.encode_der(digest_raw(suite.digest, content))),
                self._references,
            ]
        )
        return SignerInfo(
            version=1,
            sid=IssuerAndSerial(issuer=tlv(certificate.issuer_der), serial=certificate.serial),
            digest_algorithm=digest,
            attributes=attributes,
            signature_algorithm=AlgorithmIdentifier(algorithm=signature_oid(suite)),
            signature=self._signer.sign(signed_bytes(attributes)),
        )


class TimeAuthorities:
    """Authorities of several suites behind one door without paths: the digest algorithm a request names says whose it is."""

    __slots__ = ("_by_digest",)

    def __init__(self, authorities: Collection[TimeAuthority]) -> None:
        self._by_digest = {digest_oid(authority.digest): authority for authority in authorities}
        if not authorities or len(self._by_digest) != len(authorities):
            raise AssertionError("internal: no time authority, or two of one digest")

    def respond(self, request: bytes, *, at: datetime, serial: int) -> bytes:
        """As TimeAuthority.respond; a digest nobody here stamps is rejected."""
        asked = _decoded(request)
        if asked is None:
            return _UNREADABLE
        authority = self._by_digest.get(asked.imprint.algorithm.algorithm)
        if authority is None:
            return _rejection(Failure.BAD_ALG, "no authority here stamps this digest")
        return authority.answer(asked, at=at, serial=serial)


def _decoded(request: bytes) -> TimeStampReq | None:
    try:
        return asn1.decode_der(TimeStampReq, request) if len(request) <= MAX_REQUEST else None
    except ValueError:
        return None


def _attribute(oid: Oid, value: bytes) -> Attribute:
    return Attribute(oid=oid, values=asn1.SetOf([tlv(value)]))


def _rejection(failure: Failure, text: str) -> bytes:
    status = StatusInfo(status=REJECTION, text=[text], failure=_named_bit(failure))
    return asn1.encode_der(TimeStampResp(status=status, token=None))


def _named_bit(place: int) -> asn1.BitString:
    """One named bit; DER leaves no trailing zero bits (X.690 11.2.2)."""
    return asn1.BitString(bytes(place // 8) + bytes((0x80 >> place % 8,)), 7 - place % 8)


_UNREADABLE: Final = _rejection(Failure.BAD_DATA_FORMAT, "not a time-stamp request")

"""The DER of our closed SignedData profile, poured into moulds.

In a closed profile only a few values vary from one signature to the next; everything around them is the same for every signature of a
suite or of a certificate. It is encoded once by the declared structures of ``crypto.cms`` and kept in pieces; a signature then costs the
joining of bytes instead of a tree of objects (measured in a living gateway, where code runs cold: 0.4 ms before, 0.1 after). Tests decode
and encode what comes out through the declared structures and compare.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import Final, NamedTuple

from cryptography.hazmat import asn1

from crypto import cms
from crypto.certificates import Certificate
from crypto.pkix import AlgorithmIdentifier, digest_oid, pkix_time, signature_oid, tlv
from crypto.suites import SUITES, Suite, suite_named

MOULDS: Final = 1024  # certificates whose fixed parts are kept: the signers one gateway meets in a while
FIRST_GENERALIZED_YEAR: Final = 2050  # RFC 5280 4.1.2.5: before it a time is a UTCTime, and attributes are all of one length

_SEQUENCE, _SET, _OCTETS, _IMPLICIT_0, _IMPLICIT_1 = b"\x30", b"\x31", b"\x04", b"\xa0", b"\xa1"
_VERSION_1: Final = b"\x02\x01\x01"
_TIME: Final = datetime(2001, 2, 3, 4, 5, 6, tzinfo=UTC)
_TIME_DIGITS: Final = b"010203040506Z"
_MESSAGE_MARK, _CERTIFICATE_MARK = b"\xaa" * 32, b"\xbb" * 32


class _Fixed(NamedTuple):
    """What one certificate's signatures share: the signer before its attributes, its algorithm after them, the body before the signer."""

    signer_head: bytes
    signature_algorithm: bytes
    body_head: bytes


def attributes_der(suite: Suite, time: datetime, message_digest: bytes, certificate_digest: bytes) -> bytes:
    """The five signed attributes as the DER SET OF that is signed (RFC 5652 5.4); ``time`` in whole seconds, UTC."""
    if time.year >= FIRST_GENERALIZED_YEAR:
        return _encode_attributes(suite, time, message_digest, certificate_digest)
    values = {
        _TIME_DIGITS: time.strftime("%y%m%d%H%M%SZ").encode(),
        _MESSAGE_MARK: message_digest,
        _CERTIFICATE_MARK: certificate_digest,
    }
    return b"".join([values.get(piece, piece) for piece in _attribute_mould(suite.id)])


def signed_data_der(certificate: Certificate, attributes: bytes, signature: bytes, token: bytes | None) -> bytes:
    """The whole structure around signed attributes, signature and at most one token."""
    fixed = _fixed(certificate)
    unsigned = b"" if token is None else _element(_IMPLICIT_1, _element(_SEQUENCE, _TOKEN_TYPE, _element(_SET, token)))
    signer = _element(
        _SEQUENCE,
        fixed.signer_head,
        _IMPLICIT_0 + attributes[1:],  # the SET OF under its IMPLICIT tag
        fixed.signature_algorithm,
        _element(_OCTETS, signature),
        unsigned,
    )
    body = _element(_SEQUENCE, fixed.body_head, _element(_SET, signer))
    return _element(_SEQUENCE, _SIGNED_DATA_TYPE, _element(_IMPLICIT_0, body))


def _element(tag: bytes, *contents: bytes) -> bytes:
    """One DER element with the shortest length there is (X.690 10.1)."""
    content = b"".join(contents)
    length = len(content)
    if length < 0x80:
        return tag + bytes((length,)) + content
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return tag + bytes((0x80 | len(octets),)) + octets + content


_TOKEN_TYPE: Final = asn1.encode_der(cms.TIME_STAMP_TOKEN)
_SIGNED_DATA_TYPE: Final = asn1.encode_der(cms.ID_SIGNED_DATA)


class _Algorithms(NamedTuple):
    """What is the same in every signature of one suite."""

    digest: AlgorithmIdentifier
    signature: AlgorithmIdentifier
    reference: AlgorithmIdentifier | None  # DER omits the default, SHA-256 (RFC 5035 4)


def _algorithms_of(suite: Suite) -> _Algorithms:
    digest = AlgorithmIdentifier(algorithm=digest_oid(suite.digest))
    signature = AlgorithmIdentifier(algorithm=signature_oid(suite))
    return _Algorithms(digest, signature, None if suite.digest == "sha256" else digest)


_ALGORITHMS: Final = {suite.id: _algorithms_of(suite) for suite in SUITES.values()}


@lru_cache(maxsize=len(SUITES))
def _attribute_mould(suite_id: str) -> tuple[bytes, ...]:
    """The attributes in pieces: what is fixed, and the marks where a value goes. All lengths are fixed, and so is the order of the SET OF."""
    whole = _encode_attributes(suite_named(suite_id), _TIME, _MESSAGE_MARK, _CERTIFICATE_MARK)
    pieces: list[bytes] = []
    for mark in sorted((_TIME_DIGITS, _MESSAGE_MARK, _CERTIFICATE_MARK), key=whole.index):
        before, _, whole = whole.partition(mark)
        pieces += (before, mark)
    return (*pieces, whole)


def _encode_attributes(suite: Suite, time: datetime, message_digest: bytes, certificate_digest: bytes) -> bytes:
    algorithms = _ALGORITHMS[suite.id]
    reference = cms.EssCertificate(digest=algorithms.reference, hash=certificate_digest)
    protection = cms.AlgorithmProtection(digest=algorithms.digest, signature=algorithms.signature)
    return asn1.encode_der(
        asn1.SetOf(
            [
                cms.attribute(cms.CONTENT_TYPE, asn1.encode_der(cms.ID_DATA)),
                cms.attribute(cms.ALGORITHM_PROTECTION, asn1.encode_der(protection)),
                cms.attribute(cms.SIGNING_TIME, asn1.encode_der(pkix_time(time))),
                cms.attribute(cms.MESSAGE_DIGEST, asn1.encode_der(message_digest)),
                cms.attribute(cms.SIGNING_CERTIFICATE_V2, asn1.encode_der(cms.SigningCertificateV2(certificates=[reference]))),
            ]
        )
    )


@lru_cache(maxsize=MOULDS)
def _fixed(certificate: Certificate) -> _Fixed:
    assert certificate.suite is not None, "internal: a SignedData is of a suite"
    algorithms = _ALGORITHMS[certificate.suite.id]
    digest = asn1.encode_der(algorithms.digest)
    sid = asn1.encode_der(cms.IssuerAndSerial(issuer=tlv(certificate.issuer_der), serial=certificate.serial))
    return _Fixed(
        signer_head=_VERSION_1 + sid + digest,
        signature_algorithm=asn1.encode_der(algorithms.signature),
        body_head=b"".join(
            (
                _VERSION_1,
                _element(_SET, digest),
                asn1.encode_der(cms.DetachedContent(type=cms.ID_DATA)),
                _element(_IMPLICIT_0, certificate.der),
            )
        ),
    )

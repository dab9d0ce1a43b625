"""What is poured into moulds is what the declared structures encode."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from cryptography.hazmat import asn1
from hypothesis import given, settings
from hypothesis import strategies as st

from crypto import cms
from crypto.signed_data import SignedData, _read, sign_detached
from crypto.signed_moulds import _encode_attributes, attributes_der, poured, signed_data_der
from crypto.suites import SUITES
from tests.crypto.openssl_pki import holder

digests = st.binary(min_size=32, max_size=32)
moments = st.integers(-631_152_000, 3_786_912_000).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))  # 1950 to 2090
tokens = st.none() | st.binary(max_size=70_000).map(asn1.encode_der)


@pytest.mark.parametrize("suite", SUITES.values(), ids=list(SUITES))
@given(time=moments, message=digests, certificate=digests)
@settings(max_examples=60)
def test_attributes_are_those_the_declared_structures_encode(suite, time, message, certificate):
    assert attributes_der(suite, time, message, certificate) == _encode_attributes(suite, time, message, certificate)


@pytest.mark.parametrize("suite", SUITES.values(), ids=list(SUITES))
@given(signature=st.binary(min_size=8, max_size=72), token=tokens)
@settings(max_examples=60)
def test_the_structure_reads_back_and_encodes_the_same(suite, signature, token):
    certificate = holder(suite, "moulded").certificate
    attributes = attributes_der(suite, datetime(2026, 1, 1, tzinfo=UTC), b"\xaa" * 32, b"\xbb" * 32)
    der = signed_data_der(certificate, attributes, signature, token)
    declared = asn1.decode_der(cms.SignedDataInfo, der)
    assert asn1.encode_der(declared) == der
    signer = declared.body.signers.as_list()[0]
    assert (signer.signature, asn1.encode_der(signer.attributes)) == (signature, attributes)


def test_a_value_that_looks_like_a_mark_stays_a_value():
    suite = SUITES["intl-1"]
    time = datetime(2001, 2, 3, 4, 5, 6, tzinfo=UTC)
    for message, certificate in ((b"\xbb" * 32, b"\xaa" * 32), (b"\xaa" * 32, b"\xbb" * 32)):
        assert attributes_der(suite, time, message, certificate) == _encode_attributes(suite, time, message, certificate)


@pytest.mark.parametrize("suite", SUITES.values(), ids=list(SUITES))
@given(time=moments, message=st.binary(max_size=50), token=tokens)
@settings(max_examples=60, deadline=None)
def test_what_the_moulds_find_is_what_the_declared_structures_read(suite, time, message, token):
    signed = sign_detached(message, holder(suite, "moulded").signer, at=time)
    der = signed_data_der(signed.certificate, signed.attributes, signed.signature, token)
    found = poured(der)
    if time.year >= 2050:
        assert found is None, "attributes of another length are for the declared structures"
        return
    assert found is not None
    if token is None or len(token) <= 32 * 1024:
        assert SignedData.from_der(der) == _read(asn1.decode_der(cms.SignedDataInfo, der))


@pytest.mark.parametrize("suite", SUITES.values(), ids=list(SUITES))
def test_one_bit_elsewhere_and_the_moulds_find_nothing_or_another_value(suite):
    signed = sign_detached(b"message", holder(suite, "moulded").signer, at=datetime(2026, 1, 1, tzinfo=UTC))
    for position in range(len(signed.der)):
        other = signed.der[:position] + bytes([signed.der[position] ^ 1]) + signed.der[position + 1 :]
        found = poured(other)
        if found is not None:
            assert signed_data_der(found.certificate, found.attributes, found.signature, found.token) == other

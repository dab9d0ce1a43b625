"""The wire cover: strict DER under a length, nothing behind it, every part under its ceiling."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto.envelopes import MAX_ENVELOPE
from crypto.errors import Malformed
from gateway.core.cover import MAX_COVER, MAX_NRO, Cover
from gateway.core.transmittal import MAX_RECIPIENTS
from tests.core.samples import FINANCE, HEALTH

GOOD = Cover(transmittal=b"{}", nro=b"\x30\x00", envelopes=((FINANCE, b"e" * 300), (HEALTH, b"f" * 300)))
DATA = GOOD.to_bytes()


def _framed(der: bytes) -> bytes:
    return len(der).to_bytes(4, "big") + der


def test_it_reads_back() -> None:
    assert Cover.from_bytes(DATA) == GOOD
    assert int.from_bytes(DATA[:4], "big") == len(DATA) - 4


def test_the_bytes_are_those_of_the_format() -> None:
    value = Cover(transmittal=b"T", nro=b"N", envelopes=(("A", b"E"),))
    assert value.to_bytes() == _framed(bytes.fromhex("3010" + "040154" + "04014e" + "3008" + "3006" + "0c0141" + "040145"))


def test_openssl_reads_the_same_structure() -> None:
    shown = subprocess.run(["openssl", "asn1parse", "-inform", "DER"], input=DATA[4:], capture_output=True, check=True).stdout.decode()
    assert shown.count("OCTET STRING") == 4
    assert shown.count("UTF8STRING") == 2


def test_no_envelopes_is_for_the_caller_to_judge() -> None:
    assert Cover.from_bytes(Cover(transmittal=b"", nro=b"", envelopes=()).to_bytes()).envelopes == ()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0\0\0",
        b"\0\0\0\0",
        DATA[:-1],
        DATA + b"\0",
        DATA[4:],
        _framed(DATA[4:] + b"\0"),
        _framed(b"\x30\x80" + DATA[8:] + b"\0\0"),  # indefinite length: BER
        _framed(b"\x31" + DATA[5:]),
        (2**32 - 1).to_bytes(4, "big") + DATA[4:],
        (MAX_COVER + 1).to_bytes(4, "big") + bytes(MAX_COVER + 1),
        _framed(bytes.fromhex("301004015404014e300830060c01ff040145")),  # not UTF-8
    ],
)
def test_it_refuses_bytes(data: bytes) -> None:
    with pytest.raises(Malformed):
        Cover.from_bytes(data)


@pytest.mark.parametrize(
    "cover",
    [
        {"transmittal": bytes(256 * 1024 + 1)},
        {"nro": bytes(MAX_NRO + 1)},
        {"envelopes": ((FINANCE, bytes(MAX_ENVELOPE + 1)),)},
        {"envelopes": ((FINANCE + "X", b""),)},
        {"envelopes": ((HEALTH, b""), (FINANCE, b""))},
        {"envelopes": ((FINANCE, b""), (FINANCE, b"x"))},
        {"envelopes": tuple((f"{number:018d}", b"") for number in range(MAX_RECIPIENTS + 1))},
    ],
)
def test_it_refuses_values(cover: dict[str, object]) -> None:
    with pytest.raises(Malformed):
        Cover(**({"transmittal": b"", "nro": b"", "envelopes": ()} | cover))  # type: ignore[arg-type]


def test_the_largest_fits_under_the_ceiling() -> None:
    envelopes = tuple((f"{number:018d}", bytes(MAX_ENVELOPE)) for number in range(MAX_RECIPIENTS))
    data = Cover(transmittal=bytes(256 * 1024), nro=bytes(MAX_NRO), envelopes=envelopes).to_bytes()
    assert len(data) - 4 <= MAX_COVER
    assert len(Cover.from_bytes(data).envelopes) == MAX_RECIPIENTS


def test_no_flipped_bit_leaves_it_as_it_was() -> None:
    for at in range(len(DATA)):
        for bit in range(8):
            data = bytearray(DATA)
            data[at] ^= 1 << bit
            try:
                assert Cover.from_bytes(bytes(data)) != GOOD
            except Malformed:
                continue


@given(st.binary(max_size=120))
def test_any_bytes_give_a_cover_or_malformed(der: bytes) -> None:
    for data in (der, _framed(der)):
        try:
            assert Cover.from_bytes(data).to_bytes() == data
        except Malformed:
            continue

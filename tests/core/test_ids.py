"""UUIDv7 against the example of RFC 9562 A.6 and the standard library's reading of it."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.ids import uuid7
from tests.core.samples import transmittal

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FIRST, LAST = datetime(1970, 1, 1), datetime(9999, 1, 1)  # noqa: DTZ001 - hypothesis adds the zone itself


def test_the_example_of_the_standard() -> None:
    # RFC 9562 A.6: 017F22E2-79B0-7CC3-98C4-DC0C0C07398F; rand_a 0xCC3, rand_b 0x18C4DC0C0C07398F
    random = (0xCC3 << 68 | 0x18C4DC0C0C07398F).to_bytes(10, "big")
    at = EPOCH + timedelta(milliseconds=0x017F22E279B0)
    assert uuid7(at, random) == "017f22e2-79b0-7cc3-98c4-dc0c0c07398f"


@given(
    st.datetimes(min_value=FIRST, max_value=LAST, timezones=st.just(UTC)),
    st.binary(min_size=10, max_size=10),
)
def test_version_variant_and_moment(at: datetime, random: bytes) -> None:
    text = uuid7(at, random)
    value = uuid.UUID(text)
    assert (str(value), value.version, value.variant) == (text, 7, uuid.RFC_4122)
    assert value.int >> 80 == (at - EPOCH) // timedelta(milliseconds=1)
    assert transmittal(id=text).to_bytes()  # it is an exchange id


def test_later_sorts_later() -> None:
    ids = [uuid7(EPOCH + timedelta(milliseconds=step * 997), b"\xff" * 10 if step % 2 else bytes(10)) for step in range(100)]
    assert ids == sorted(ids)


@pytest.mark.parametrize(("at", "random"), [(EPOCH - timedelta(milliseconds=1), bytes(10)), (EPOCH, bytes(9)), (EPOCH, bytes(11))])
def test_what_it_cannot_hold(at: datetime, random: bytes) -> None:
    with pytest.raises(ValueError, match="UUIDv7"):
        uuid7(at, random)

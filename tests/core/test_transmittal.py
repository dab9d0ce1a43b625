"""A transmittal satisfies every rule that can be judged from itself, or it is none."""

from __future__ import annotations

import contextlib
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto.errors import Malformed, UnknownSuite
from gateway.core.transmittal import (
    MAX_CONTENT_BYTES,
    MAX_RECIPIENTS,
    ContentRef,
    NotEntitled,
    Recipient,
    Sender,
    Transmittal,
    check_notice,
)
from tests.core.samples import EXCHANGE, FINANCE, HEALTH, OFFICE, OTHER_EXCHANGE, notice, some_digest, transmittal

GOOD = transmittal()
DATA = GOOD.to_bytes()
FINANCE_ENTRY, HEALTH_ENTRY = GOOD.recipients


def test_it_reads_back_with_its_moments() -> None:
    read = Transmittal.from_bytes(DATA)
    assert read == GOOD
    assert read.created_at < read.expires_at
    assert read.recipient(HEALTH) == HEALTH_ENTRY
    assert read.recipient(OFFICE) is None


@pytest.mark.parametrize("suite", ["gm-1", "intl-1"])
def test_both_suites(suite: str) -> None:
    value = transmittal(suite=suite)
    assert Transmittal.from_bytes(value.to_bytes()) == value


def _recipients(*orgs: str) -> tuple[Recipient, ...]:
    return tuple(Recipient(org=org, role="primary", envelope=some_digest(org)) for org in orgs)


BAD: dict[str, dict[str, Any]] = {
    "nobody": {"recipients": ()},
    "unsorted": {"recipients": (HEALTH_ENTRY, FINANCE_ENTRY)},
    "twice": {"recipients": (FINANCE_ENTRY, FINANCE_ENTRY)},
    "sender-among-them": {"recipients": _recipients(OFFICE, FINANCE)},
    "too-many": {"recipients": _recipients(*(f"{number:018d}" for number in range(MAX_RECIPIENTS + 1)))},
    "no-org": {"recipients": _recipients("1131000000000000I0")},
    "role": {"recipients": (msgspec.structs.replace(FINANCE_ENTRY, role="boss"),)},
    "envelope-missing": {"recipients": (Recipient(org=FINANCE, role="primary", envelope=None),)},
    "envelope-of-other-suite": {"recipients": (Recipient(org=FINANCE, role="primary", envelope=some_digest("x", "sm3")),)},
    "manifest-of-other-suite": {"content": ContentRef(manifest=some_digest("m", "sm3"), sealed=some_digest("s"), size=1)},
    "sealed-of-other-suite": {"content": ContentRef(manifest=some_digest("m"), sealed=some_digest("s", "sm3"), size=1)},
    "content-missing": {"content": None},
    "content-missing-no-envelopes": {"content": None, "recipients": (Recipient(org=FINANCE, role="primary", envelope=None),)},
    "content-empty": {"content": ContentRef(manifest=some_digest("m"), sealed=some_digest("s"), size=0)},
    "content-too-large": {"content": ContentRef(manifest=some_digest("m"), sealed=some_digest("s"), size=MAX_CONTENT_BYTES + 1)},
    "level": {"level": "restricted"},
    "urgency": {"urgency": "now"},
    "suite": {"suite": "intl-2"},
    "kind": {"kind": "gossip"},
    "id-v4": {"id": "019cadf8-1c00-4abc-8def-0123456789ab"},
    "id-upper-case": {"id": EXCHANGE.upper()},
    "gateway-upper-case": {"sender": Sender(org=OFFICE, gateway="GW")},
    "gateway-empty": {"sender": Sender(org=OFFICE, gateway="")},
    "expires-before-created": {"expires": "2026-03-02T07:59:59Z"},
    "expires-when-created": {"expires": "2026-03-02T08:00:00Z"},
    "time-with-offset": {"created": "2026-03-02T08:00:00+00:00"},
    "refs-itself": {"refs": (EXCHANGE,)},
    "refs-twice": {"refs": (OTHER_EXCHANGE, OTHER_EXCHANGE)},
    "refs-too-many": {"refs": tuple(f"{EXCHANGE[:-2]}{number:02d}" for number in range(17))},
    "version": {"v": "yizhan-transmittal/2"},
    "bidi": {"policy": msgspec.structs.replace(GOOD.policy, id="a\u202eb")},
}


@pytest.mark.parametrize("changes", BAD.values(), ids=BAD.keys())
def test_it_refuses(changes: dict[str, Any]) -> None:
    with pytest.raises((Malformed, UnknownSuite)):
        transmittal(**changes).to_bytes()
    # The same on reading: built from plain values, so that no check of ours runs before.
    plain = msgspec.json.decode(DATA) | msgspec.json.decode(msgspec.json.encode(changes))
    with pytest.raises(Malformed):
        Transmittal.from_bytes(msgspec.json.encode(plain, order="sorted"))


def test_the_largest_fits() -> None:
    orgs = [f"{number:018d}" for number in range(MAX_RECIPIENTS)]
    data = transmittal(recipients=_recipients(*orgs)).to_bytes()
    assert len(Transmittal.from_bytes(data).recipients) == MAX_RECIPIENTS
    assert len(data) <= Transmittal.MAX_BYTES == 256 * 1024


def test_no_flipped_bit_leaves_it_as_it_was() -> None:
    for at in range(len(DATA)):
        for bit in range(8):
            data = bytearray(DATA)
            data[at] ^= 1 << bit
            try:
                assert Transmittal.from_bytes(bytes(data)) != GOOD
            except Malformed:
                continue


@pytest.mark.parametrize("data", [DATA[:-1], DATA + b"\n", b" " + DATA, b"\xef\xbb\xbf" + DATA, b"", DATA * 2])
def test_spare_and_missing_bytes(data: bytes) -> None:
    with pytest.raises(Malformed):
        Transmittal.from_bytes(data)


def test_each_field_is_needed_and_none_is_added() -> None:
    plain = msgspec.json.decode(DATA)
    for name in plain:
        with pytest.raises(Malformed):
            Transmittal.from_bytes(msgspec.json.encode({key: value for key, value in plain.items() if key != name}, order="sorted"))
    with pytest.raises(Malformed):
        Transmittal.from_bytes(msgspec.json.encode(plain | {"extra": 1}, order="sorted"))


@given(st.binary(max_size=200), st.integers(0, len(DATA)), st.integers(0, 40))
def test_spliced_bytes_give_a_value_or_malformed(splice: bytes, at: int, cut: int) -> None:
    data = DATA[:at] + splice + DATA[at + cut :]
    with contextlib.suppress(Malformed):
        assert Transmittal.from_bytes(data).to_bytes() == data


# ---- notices -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["withdraw", "void", "urge"])
def test_a_notice_of_the_sender_carries_no_content(kind: str) -> None:
    check_notice(Transmittal.from_bytes(notice(kind).to_bytes()), GOOD)
    with pytest.raises(Malformed):
        notice(kind, content=GOOD.content, recipients=GOOD.recipients)
    with pytest.raises(Malformed):
        notice(kind, recipients=_recipients(FINANCE))
    with pytest.raises(Malformed):
        notice(kind, refs=())


def _feedback(**changes: Any) -> Transmittal:
    fields: dict[str, Any] = {
        "content": GOOD.content,
        "sender": Sender(org=FINANCE, gateway="gw-finance"),
        "recipients": _recipients(OFFICE),
    }
    return notice("feedback", **(fields | changes))


def _supplement(*orgs: str, **changes: Any) -> Transmittal:
    return notice("supplement", **({"content": GOOD.content, "recipients": _recipients(*orgs)} | changes))


THIRD = "11310000MB0009999X"


def test_who_may_make_which_notice() -> None:
    check_notice(_feedback(), GOOD)
    check_notice(_supplement(THIRD), GOOD)
    by_finance = {
        "sender": Sender(org=FINANCE, gateway="gw-finance"),
        "recipients": (Recipient(org=HEALTH, role="primary", envelope=None),),
    }
    refused = (
        notice("withdraw", **by_finance),
        notice("void", **by_finance),
        notice("urge", recipients=(Recipient(org=THIRD, role="primary", envelope=None),)),
        notice("withdraw", refs=("019cadf8-1c00-7abc-8def-0123456789ad", EXCHANGE)),
        _supplement(FINANCE),
        _supplement(THIRD, sender=Sender(org=FINANCE, gateway="gw-finance")),
        _feedback(sender=Sender(org=THIRD, gateway="gw-third")),
    )
    for value in refused:
        with pytest.raises(NotEntitled):
            check_notice(value, GOOD)

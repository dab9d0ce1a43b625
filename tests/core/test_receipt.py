"""Receipts as bytes, and who is entitled to state what."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto.errors import Malformed
from gateway.core.exchange import RECEIPT_EVENTS, Event
from gateway.core.receipt import (
    EVENTS,
    MAX_RECEIPT_BYTES,
    OUTCOME_EVENTS,
    RELAY_EVENTS,
    SUBMISSION_EVENTS,
    Issuer,
    Receipt,
    ReceiptReason,
    entitled,
    receipt_digest,
)
from gateway.core.transmittal import NotEntitled
from tests.core.samples import EXCHANGE, EXPIRES, FINANCE, HEALTH, OFFICE, OTHER_EXCHANGE, receipt, some_digest, transmittal
from tests.core.worlds import directory_of_three

GOOD = receipt(prev=some_digest("prev"), reason=ReceiptReason(code="office.busy", note=some_digest("salted")))
DATA = GOOD.to_bytes()
COVER = transmittal()


def test_it_reads_back() -> None:
    assert Receipt.from_bytes(DATA) == GOOD
    assert GOOD.moment.microsecond == 250_000
    assert receipt_digest(DATA, "gm-1").startswith("sm3:")
    assert len(DATA) < MAX_RECEIPT_BYTES // 4


def test_the_events_are_a_partition() -> None:
    assert EVENTS == RECEIPT_EVENTS
    assert len(EVENTS) == 15
    assert not SUBMISSION_EVENTS & RELAY_EVENTS
    assert not OUTCOME_EVENTS & (SUBMISSION_EVENTS | RELAY_EVENTS)


@pytest.mark.parametrize("event", sorted(EVENTS))
def test_every_event_is_written_and_read(event: Event) -> None:
    value = receipt(event, recipient=None if event in SUBMISSION_EVENTS else FINANCE)
    assert Receipt.from_bytes(value.to_bytes()).event == event
    with pytest.raises(Malformed):
        receipt(event, recipient=FINANCE if event in SUBMISSION_EVENTS else None)


@pytest.mark.parametrize(
    "changes",
    [
        {"event": "seal"},
        {"event": "Gossip"},
        {"at": "2026-03-02T08:00:00.000Z"},
        {"reason": ReceiptReason(code="Too busy, sorry", note=None)},
        {"prev": "sha256:00"},
        {"recipient": "office"},
        {"v": "yizhan-receipt/2"},
        {"refs": (OTHER_EXCHANGE,) * 17},
    ],
)
def test_it_refuses(changes: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        receipt(**changes).to_bytes()


def test_no_flipped_bit_leaves_it_as_it_was() -> None:
    for at in range(len(DATA)):
        for bit in range(8):
            data = bytearray(DATA)
            data[at] ^= 1 << bit
            try:
                assert Receipt.from_bytes(bytes(data)) != GOOD
            except Malformed:
                continue


@given(st.binary(max_size=60), st.integers(0, len(DATA)), st.integers(0, 40))
def test_spliced_bytes_give_a_value_or_malformed(splice: bytes, at: int, cut: int) -> None:
    data = DATA[:at] + splice + DATA[at + cut :]
    try:
        value = Receipt.from_bytes(data)
    except Malformed:
        return
    assert value.to_bytes() == data


def test_null_fields_are_written() -> None:
    plain = msgspec.json.decode(receipt().to_bytes())
    assert (plain["prev"], plain["reason"], plain["refs"]) == (None, None, [])


# ---- entitlement -------------------------------------------------------------------------------------------------------------------

BY_FINANCE = Issuer(org=FINANCE, gateway="gw-finance")
BY_HEALTH = Issuer(org=HEALTH, gateway="gw-health")
BY_OFFICE = Issuer(org=OFFICE, gateway="gw-office")


@pytest.mark.parametrize("event", sorted(EVENTS - SUBMISSION_EVENTS - RELAY_EVENTS))
def test_the_recipient_alone_speaks_for_itself(event: str) -> None:
    directory = directory_of_three()
    entitled(receipt(event, by=BY_FINANCE), COVER, directory)
    for by in (BY_HEALTH, BY_OFFICE, Issuer(org=FINANCE, gateway="gw-health"), Issuer(org=FINANCE, gateway="gw-unknown")):
        with pytest.raises(NotEntitled):
            entitled(receipt(event, by=by), COVER, directory)


@pytest.mark.parametrize("event", sorted(SUBMISSION_EVENTS))
def test_submission_is_the_senders(event: str) -> None:
    directory = directory_of_three()
    entitled(receipt(event, recipient=None, by=BY_OFFICE), COVER, directory)
    with pytest.raises(NotEntitled):
        entitled(receipt(event, recipient=None, by=BY_FINANCE), COVER, directory)


@pytest.mark.parametrize("event", sorted(RELAY_EVENTS))
def test_relays_are_the_route_and_the_senders_gateway(event: str) -> None:
    directory = directory_of_three()
    entitled(receipt(event, by=BY_OFFICE), COVER, directory)
    entitled(receipt(event, by=BY_HEALTH), COVER, directory, route=("gw-health",))
    with pytest.raises(NotEntitled):
        entitled(receipt(event, by=BY_HEALTH), COVER, directory)


@pytest.mark.parametrize(
    "changes",
    [
        {"exchange": OTHER_EXCHANGE},
        {"sealed": some_digest("other content")},
        {"recipient": OFFICE, "by": BY_OFFICE},
        {"at": "2026-04-01T08:00:00.001Z"},
    ],
)
def test_about_this_exchange_and_in_time(changes: dict[str, Any]) -> None:
    with pytest.raises(NotEntitled):
        entitled(receipt(Event.CONSIGNMENT, **changes), COVER, directory_of_three())


def test_the_last_moment_counts_and_later_events_may_come_later() -> None:
    directory = directory_of_three()
    entitled(receipt(Event.CONSIGNMENT, at=EXPIRES), COVER, directory)
    entitled(receipt(Event.SIGNED_FOR, at="2026-05-01T00:00:00Z"), COVER, directory)
    entitled(receipt(Event.CONSIGNMENT, sealed=None), COVER, directory)
    assert COVER.id == EXCHANGE

"""The one transition table: what it says, what it refuses, and that receipts in any order end in the same state."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.exchange import (
    IMPLIED,
    PRESUMED,
    RECEIPT_EVENTS,
    TERMINAL,
    TRANSITIONS,
    Direction,
    Event,
    Impossible,
    State,
    advance,
    apply_receipt,
    diagram,
)

ROOT = Path(__file__).resolve().parents[2]
OUTBOUND = [
    "TAKEN",
    "HELD",
    "REFUSED",
    "SEALED",
    "DISPATCHED",
    "RELAYED",
    "CONSIGNED",
    "DELIVERED",
    "SIGNED_FOR",
    "RETURNED",
    "NOT_SIGNED_FOR",
    "REFUSED_BY_RELAY",
    "REFUSED_BY_RECIPIENT",
    "WITHDRAW_ASKED",
    "WITHDRAWN",
    "VOIDED",
    "EXPIRED",
    "STUCK",
    "UNCONFIRMED",
]
INBOUND = [
    "ARRIVED",
    "QUARANTINED",
    "REFUSED",
    "ACCEPTED",
    "HELD",
    "DELIVERED",
    "SIGNED_FOR",
    "RETURNED",
    "WITHDRAWING",
    "WITHDRAWN",
    "VOIDED",
    "EXPIRED",
]


def _states(direction: Direction) -> set[State]:
    return {edge.target for edge in TRANSITIONS if edge.direction == direction}


def test_the_states_are_those_of_the_design_and_all_can_be_reached() -> None:
    for direction, names in (("out", OUTBOUND), ("in", INBOUND)):
        assert _states(direction) == {State(name) for name in names}  # type: ignore[arg-type]
        reached: set[State | None] = {None}
        for _ in State:
            reached |= {edge.target for edge in TRANSITIONS if edge.direction == direction and edge.source in reached}
        assert reached - {None} == {State(name) for name in names}


def test_an_event_takes_one_edge() -> None:
    keys = [(edge.direction, edge.source, edge.event) for edge in TRANSITIONS]
    assert len(set(keys)) == len(keys)
    for edge in TRANSITIONS:
        assert advance(edge.direction, edge.source, edge.event) is edge.target


def test_an_event_of_a_receipt_has_one_target_a_side() -> None:
    for direction in ("out", "in"):
        for event in RECEIPT_EVENTS:
            targets = {edge.target for edge in TRANSITIONS if (edge.direction, edge.event) == (direction, event)}
            assert len(targets) <= 1, (direction, event)


def test_states_that_are_not_final_can_be_left() -> None:
    for direction in ("out", "in"):
        for state in _states(direction):  # type: ignore[arg-type]
            leaves = {edge.target for edge in TRANSITIONS if edge.direction == direction and edge.source is state} - {state}
            assert leaves or state in TERMINAL[direction], (direction, state)  # type: ignore[index]


def test_final_states_are_left_only_by_a_later_word() -> None:
    for edge in TRANSITIONS:
        if edge.source in TERMINAL[edge.direction]:
            assert edge.event in RECEIPT_EVENTS or (edge.source, edge.event) == (State.UNCONFIRMED, Event.ASK_WITHDRAWAL)
            assert edge.source in PRESUMED or edge.event is Event.VOIDED


@pytest.mark.parametrize(
    ("direction", "state", "event"),
    [
        ("out", None, Event.SEAL),
        ("out", State.TAKEN, Event.CONSIGNMENT),
        ("out", State.HELD, Event.SEAL),
        ("out", State.REFUSED, Event.SEAL),
        ("out", State.SIGNED_FOR, Event.RETURNED),
        ("out", State.RETURNED, Event.SIGNED_FOR),
        ("out", State.RETURNED, Event.VOIDED),
        ("out", State.REFUSED_BY_RECIPIENT, Event.CONSIGNMENT),
        ("out", State.WITHDRAWN, Event.SIGNED_FOR),
        ("out", State.CONSIGNED, Event.EXPIRE),
        ("out", State.DELIVERED, Event.EXPIRE),
        ("out", State.SIGNED_FOR, Event.EXPIRE),
        ("out", State.SEALED, Event.ARRIVE),
        ("in", None, Event.TAKE),
        ("in", None, Event.HANDOVER),
        ("in", State.REFUSED, Event.CONSIGNMENT),
        ("in", State.QUARANTINED, Event.CONSIGNMENT),
        ("in", State.SIGNED_FOR, Event.RETURNED),
        ("in", State.SIGNED_FOR, Event.ASK_WITHDRAWAL),
        ("in", State.EXPIRED, Event.SIGNED_FOR),
        ("in", State.ACCEPTED, Event.WITHDRAWN),
        ("in", State.ACCEPTED, Event.SUBMISSION_ACCEPTANCE),
        ("in", State.ACCEPTED, "gossip"),
    ],
)
def test_impossible(direction: Direction, state: State | None, event: str) -> None:
    with pytest.raises(Impossible) as caught:
        advance(direction, state, event)
    assert caught.value.state is state


def test_the_same_event_again_changes_nothing() -> None:
    for edge in TRANSITIONS:
        if (edge.direction, edge.target, edge.event) not in {(e.direction, e.source, e.event) for e in TRANSITIONS}:
            assert advance(edge.direction, edge.target, edge.event) is edge.target


WAYS = [
    ((Event.SUBMISSION_ACCEPTANCE, Event.RELAY_ACCEPTANCE, Event.CONSIGNMENT, Event.HANDOVER, Event.SIGNED_FOR), State.SIGNED_FOR),
    ((Event.CONSIGNMENT, Event.HANDOVER, Event.RETURNED), State.RETURNED),
    ((Event.CONSIGNMENT, Event.HANDOVER_FAILURE, Event.HANDOVER, Event.NOT_SIGNED_FOR), State.NOT_SIGNED_FOR),
    ((Event.CONSIGNMENT, Event.HANDOVER, Event.WITHDRAWAL_REFUSED, Event.SIGNED_FOR), State.SIGNED_FOR),
    ((Event.CONSIGNMENT, Event.HANDOVER, Event.WITHDRAWN), State.WITHDRAWN),
    ((Event.CONSIGNMENT, Event.HANDOVER, Event.SIGNED_FOR, Event.VOIDED), State.VOIDED),
    ((Event.RELAY_ACCEPTANCE, Event.CONSIGNMENT_FAILURE), State.REFUSED_BY_RECIPIENT),
    ((Event.RELAY_ACCEPTANCE, Event.RELAY_FAILURE, Event.CONSIGNMENT, Event.HANDOVER), State.DELIVERED),
    ((Event.RELAY_REJECTION, Event.CONSIGNMENT, Event.HANDOVER), State.DELIVERED),
]


@pytest.mark.parametrize(("events", "end"), WAYS)
@pytest.mark.parametrize("start", [State.SEALED, State.DISPATCHED, State.RELAYED, State.UNCONFIRMED, State.STUCK, State.EXPIRED])
def test_receipts_in_any_order_end_in_the_same_state(start: State, events: tuple[Event, ...], end: State) -> None:
    for order in permutations(events):
        state = start
        for event in order:
            state = apply_receipt(state, event)
        assert state is end, order


def test_a_relay_does_not_speak_over_our_presumption_nor_over_the_recipient() -> None:
    for state in (State.STUCK, State.EXPIRED, State.CONSIGNED, State.DELIVERED, State.SIGNED_FOR, State.RETURNED):
        for event in (Event.RELAY_ACCEPTANCE, Event.RELAY_REJECTION, Event.RELAY_FAILURE):
            assert apply_receipt(state, event) is state
    assert apply_receipt(State.UNCONFIRMED, Event.RELAY_ACCEPTANCE) is State.RELAYED


@pytest.mark.parametrize("presumption", sorted(PRESUMED))
def test_the_recipients_word_replaces_every_presumption(presumption: State) -> None:
    assert apply_receipt(presumption, Event.CONSIGNMENT) is State.CONSIGNED
    assert apply_receipt(presumption, Event.SIGNED_FOR) is State.SIGNED_FOR
    assert apply_receipt(presumption, Event.CONSIGNMENT_FAILURE) is State.REFUSED_BY_RECIPIENT


def test_only_receipts_are_applied() -> None:
    for event in (Event.EXPIRE, "expire", "gossip"):
        with pytest.raises(Impossible):
            apply_receipt(State.SEALED, event)


@given(st.sampled_from(sorted(IMPLIED)), st.lists(st.sampled_from(sorted(RECEIPT_EVENTS)), max_size=12))
def test_no_receipts_undo_the_recipients_outcome(start: State, events: list[Event]) -> None:
    outcomes = {State.SIGNED_FOR, State.RETURNED, State.NOT_SIGNED_FOR, State.REFUSED_BY_RECIPIENT, State.WITHDRAWN}
    state, decided = start, start if start in outcomes else None
    for event in events:
        try:
            state = apply_receipt(state, event)
        except Impossible:
            continue
        if decided is not None:
            assert state in (decided, State.VOIDED)
        elif state in outcomes:
            decided = state


def test_the_documented_diagrams_are_the_generated_ones() -> None:
    text = (ROOT / "docs" / "states.md").read_text(encoding="utf-8")
    for direction in ("out", "in"):
        assert f"```mermaid\n{diagram(direction)}```\n" in text  # type: ignore[arg-type]
    assert text.count("stateDiagram-v2") == 2

"""One exchange with one recipient, seen from one side: its states and every way between them (docs/states.md is generated here).

The table is the documentation. An edge is named by the event that takes it: our own acts in lower case, the signed statements of a
receipt by the receipt's event. The outcome of a pair is decided once, by the recipient's gateway; what the sender concludes from
silence (EXPIRED, STUCK, UNCONFIRMED) or from a relay's word is a presumption that a later receipt of the recipient replaces.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, Literal, NamedTuple

from crypto.errors import LocalError

Direction = Literal["out", "in"]


class State(StrEnum):
    """Where a pair stands. Some names serve both directions."""

    TAKEN = "TAKEN"
    HELD = "HELD"
    REFUSED = "REFUSED"
    SEALED = "SEALED"
    DISPATCHED = "DISPATCHED"
    RELAYED = "RELAYED"
    CONSIGNED = "CONSIGNED"
    ARRIVED = "ARRIVED"
    QUARANTINED = "QUARANTINED"
    ACCEPTED = "ACCEPTED"
    DELIVERED = "DELIVERED"
    SIGNED_FOR = "SIGNED_FOR"
    RETURNED = "RETURNED"
    NOT_SIGNED_FOR = "NOT_SIGNED_FOR"
    REFUSED_BY_RELAY = "REFUSED_BY_RELAY"
    REFUSED_BY_RECIPIENT = "REFUSED_BY_RECIPIENT"
    WITHDRAW_ASKED = "WITHDRAW_ASKED"
    WITHDRAWING = "WITHDRAWING"
    WITHDRAWN = "WITHDRAWN"
    VOIDED = "VOIDED"
    EXPIRED = "EXPIRED"
    STUCK = "STUCK"
    UNCONFIRMED = "UNCONFIRMED"


class Event(StrEnum):
    """What moves a pair. The first group are our own acts, the second the events a receipt may state."""

    TAKE = "take"
    HOLD = "hold"
    REFUSE = "refuse"
    RELEASE = "release"  # a held document not yet sealed goes on
    SEAL = "seal"
    RESUME = "resume"  # a held or stuck document, sealed already, goes on
    DISPATCH = "dispatch"  # handed to a way that gives no answer at once
    GIVE_UP = "give-up"  # every attempt is used up
    EXPIRE = "expire"
    LEAVE_UNCONFIRMED = "leave-unconfirmed"  # a way without return path: no answer is to be expected any more
    ASK_WITHDRAWAL = "ask-withdrawal"
    ARRIVE = "arrive"
    QUARANTINE = "quarantine"

    SUBMISSION_ACCEPTANCE = "SubmissionAcceptance"
    SUBMISSION_REJECTION = "SubmissionRejection"
    RELAY_ACCEPTANCE = "RelayAcceptance"
    RELAY_REJECTION = "RelayRejection"
    RELAY_FAILURE = "RelayFailure"
    CONSIGNMENT = "ContentConsignment"
    CONSIGNMENT_FAILURE = "ContentConsignmentFailure"
    HANDOVER = "ContentHandover"
    HANDOVER_FAILURE = "ContentHandoverFailure"
    SIGNED_FOR = "SignedFor"
    RETURNED = "Returned"
    NOT_SIGNED_FOR = "NotSignedFor"
    WITHDRAWN = "Withdrawn"
    WITHDRAWAL_REFUSED = "WithdrawalRefused"
    VOIDED = "Voided"


RECEIPT_EVENTS: Final[frozenset[Event]] = frozenset(event for event in Event if event.value[0].isupper())


class Impossible(LocalError):
    """An event that no edge takes from this state. Facts: ``direction``, ``state``, ``event``."""

    code = "impossible-transition"


class Transition(NamedTuple):
    """One edge; ``source`` is None where a pair comes into being."""

    direction: Direction
    source: State | None
    event: Event
    target: State


S, E = State, Event  # the table below is read by people; short names keep an edge on a line

_IN_FLIGHT: Final = (S.SEALED, S.DISPATCHED, S.RELAYED)
_PRESUMED: Final = (S.EXPIRED, S.STUCK, S.UNCONFIRMED, S.REFUSED_BY_RELAY)  # what the recipient's word replaces
_UNDECIDED: Final = (*_IN_FLIGHT, *_PRESUMED)
_HELD_THERE: Final = (*_UNDECIDED, S.CONSIGNED, S.DELIVERED, S.WITHDRAW_ASKED)  # the recipient may still state its outcome


def _edges(direction: Direction, sources: tuple[State | None, ...], event: Event, target: State) -> tuple[Transition, ...]:
    return tuple(Transition(direction, source, event, target) for source in sources)


TRANSITIONS: Final[tuple[Transition, ...]] = (
    # out: until it is sealed
    *_edges("out", (None,), E.TAKE, S.TAKEN),
    *_edges("out", (None, S.TAKEN, S.SEALED), E.HOLD, S.HELD),
    *_edges("out", (None, S.TAKEN, S.HELD, S.SEALED), E.REFUSE, S.REFUSED),
    *_edges("out", (S.HELD,), E.RELEASE, S.TAKEN),
    *_edges("out", (S.TAKEN,), E.SEAL, S.SEALED),
    *_edges("out", (S.HELD, S.STUCK), E.RESUME, S.SEALED),
    # out: on the way
    *_edges("out", (S.SEALED,), E.DISPATCH, S.DISPATCHED),
    *_edges("out", (S.SEALED, S.DISPATCHED, S.UNCONFIRMED), E.RELAY_ACCEPTANCE, S.RELAYED),
    *_edges("out", (*_IN_FLIGHT, S.UNCONFIRMED), E.RELAY_REJECTION, S.REFUSED_BY_RELAY),
    *_edges("out", (*_IN_FLIGHT, S.UNCONFIRMED), E.RELAY_FAILURE, S.STUCK),
    *_edges("out", _IN_FLIGHT, E.GIVE_UP, S.STUCK),
    *_edges("out", (S.DISPATCHED,), E.LEAVE_UNCONFIRMED, S.UNCONFIRMED),
    *_edges("out", (S.TAKEN, S.HELD, *_IN_FLIGHT, S.STUCK, S.WITHDRAW_ASKED), E.EXPIRE, S.EXPIRED),
    # out: the recipient's word
    *_edges("out", _UNDECIDED, E.CONSIGNMENT, S.CONSIGNED),
    *_edges("out", (*_UNDECIDED, S.WITHDRAW_ASKED), E.CONSIGNMENT_FAILURE, S.REFUSED_BY_RECIPIENT),
    *_edges("out", (*_UNDECIDED, S.CONSIGNED), E.HANDOVER, S.DELIVERED),
    *_edges("out", _UNDECIDED, E.HANDOVER_FAILURE, S.CONSIGNED),
    *_edges("out", _HELD_THERE, E.SIGNED_FOR, S.SIGNED_FOR),
    *_edges("out", _HELD_THERE, E.RETURNED, S.RETURNED),
    *_edges("out", _HELD_THERE, E.NOT_SIGNED_FOR, S.NOT_SIGNED_FOR),
    *_edges("out", (*_IN_FLIGHT, S.STUCK, S.UNCONFIRMED, S.CONSIGNED, S.DELIVERED), E.ASK_WITHDRAWAL, S.WITHDRAW_ASKED),
    *_edges("out", _HELD_THERE, E.WITHDRAWN, S.WITHDRAWN),
    *_edges(
        "out", (*_UNDECIDED, S.CONSIGNED, S.WITHDRAW_ASKED), E.WITHDRAWAL_REFUSED, S.DELIVERED
    ),  # refused only for what the office holds
    *_edges("out", (*_HELD_THERE, S.SIGNED_FOR), E.VOIDED, S.VOIDED),
    # in: until it is accepted
    *_edges("in", (None,), E.ARRIVE, S.ARRIVED),
    *_edges("in", (None, S.ARRIVED, S.HELD), E.CONSIGNMENT, S.ACCEPTED),
    *_edges("in", (None, S.ARRIVED), E.HOLD, S.HELD),
    *_edges("in", (None, S.ARRIVED, S.HELD), E.QUARANTINE, S.QUARANTINED),
    *_edges("in", (None, S.ARRIVED, S.HELD, S.QUARANTINED), E.CONSIGNMENT_FAILURE, S.REFUSED),
    *_edges("in", (S.ARRIVED, S.HELD, S.QUARANTINED), E.EXPIRE, S.EXPIRED),
    # in: with the office and its people; a person's act proves the hand-over whose answer was lost
    *_edges("in", (S.ACCEPTED,), E.HANDOVER, S.DELIVERED),
    *_edges("in", (S.ACCEPTED,), E.HANDOVER_FAILURE, S.ACCEPTED),
    *_edges("in", (S.ACCEPTED, S.DELIVERED, S.WITHDRAWING), E.SIGNED_FOR, S.SIGNED_FOR),
    *_edges("in", (S.ACCEPTED, S.DELIVERED, S.WITHDRAWING), E.RETURNED, S.RETURNED),
    *_edges("in", (S.ACCEPTED, S.DELIVERED), E.NOT_SIGNED_FOR, S.EXPIRED),
    *_edges("in", (S.ACCEPTED, S.DELIVERED), E.ASK_WITHDRAWAL, S.WITHDRAWING),
    *_edges("in", (S.WITHDRAWING,), E.WITHDRAWAL_REFUSED, S.DELIVERED),
    # a notice that came before its exchange leaves a tombstone: the edge from nothing
    *_edges("in", (None, S.ARRIVED, S.HELD, S.QUARANTINED, S.WITHDRAWING), E.WITHDRAWN, S.WITHDRAWN),
    *_edges("in", (None, S.ARRIVED, S.HELD, S.QUARANTINED, S.ACCEPTED, S.DELIVERED, S.WITHDRAWING, S.SIGNED_FOR), E.VOIDED, S.VOIDED),
)

_TABLE: Final = {(edge.direction, edge.source, edge.event): edge.target for edge in TRANSITIONS}
_LED_HERE: Final = frozenset((edge.direction, edge.target, edge.event) for edge in TRANSITIONS)

# Nothing of our own moves these any more: only, at the sender, a later word of the recipient, and on both sides Voided.
TERMINAL: Final[dict[Direction, frozenset[State]]] = {
    "out": frozenset(
        {S.REFUSED, S.SIGNED_FOR, S.RETURNED, S.NOT_SIGNED_FOR, S.REFUSED_BY_RELAY, S.REFUSED_BY_RECIPIENT, S.WITHDRAWN, S.VOIDED}
        | {S.EXPIRED, S.UNCONFIRMED}
    ),
    "in": frozenset({S.REFUSED, S.SIGNED_FOR, S.RETURNED, S.WITHDRAWN, S.VOIDED, S.EXPIRED}),
}
PRESUMED: Final[frozenset[State]] = frozenset(_PRESUMED)

_RELAY_WORDS: Final = frozenset({E.SUBMISSION_ACCEPTANCE, E.RELAY_ACCEPTANCE, E.RELAY_REJECTION, E.RELAY_FAILURE})
_TAKEN_IN: Final = _RELAY_WORDS | {E.CONSIGNMENT, E.HANDOVER_FAILURE}
_HANDED_OVER: Final = _TAKEN_IN | {E.HANDOVER, E.WITHDRAWAL_REFUSED}

# What each state of the sender takes as said already: a later event implies the earlier, whatever order the receipts come in.
IMPLIED: Final[dict[State, frozenset[Event]]] = {
    S.REFUSED: frozenset({E.SUBMISSION_REJECTION}),
    S.TAKEN: frozenset({E.SUBMISSION_ACCEPTANCE}),
    S.SEALED: frozenset({E.SUBMISSION_ACCEPTANCE}),
    S.DISPATCHED: frozenset({E.SUBMISSION_ACCEPTANCE}),
    S.RELAYED: frozenset({E.SUBMISSION_ACCEPTANCE}),
    S.UNCONFIRMED: frozenset({E.SUBMISSION_ACCEPTANCE}),
    S.STUCK: _RELAY_WORDS,
    S.EXPIRED: _RELAY_WORDS,
    S.REFUSED_BY_RELAY: _RELAY_WORDS,
    S.REFUSED_BY_RECIPIENT: _RELAY_WORDS,
    S.CONSIGNED: _TAKEN_IN,
    S.DELIVERED: _HANDED_OVER,
    S.WITHDRAW_ASKED: _TAKEN_IN | {E.HANDOVER},
    S.SIGNED_FOR: _HANDED_OVER,
    S.RETURNED: _HANDED_OVER,
    S.NOT_SIGNED_FOR: _HANDED_OVER,
    S.WITHDRAWN: _HANDED_OVER,
    S.VOIDED: _HANDED_OVER | {E.SIGNED_FOR},
}


def advance(direction: Direction, state: State | None, event: Event | str) -> State:
    """The state after that event; the same state for an event that led here already or, at the sender, is implied by it.

    Raises Impossible for every other event outside the table: a defect of ours or, for a receipt, a recipient contradicting itself.
    """
    try:
        event = Event(event)
    except ValueError:
        raise Impossible(f"no event {event!r}", direction=direction, state=state, event=event) from None
    target = _TABLE.get((direction, state, event))
    if target is not None:
        return target
    if state is not None and ((direction, state, event) in _LED_HERE or (direction == "out" and event in IMPLIED.get(state, ()))):
        return state
    raise Impossible(f"{event} cannot happen to {direction} {state}", direction=direction, state=state, event=event)


def apply_receipt(state: State, event: Event | str) -> State:
    """The sender's state after a receipt with that event came in, in whatever order they come.

    Raises Impossible where the receipt contradicts what its issuer stated before: never a state, but a leaf and an alarm.
    """
    if event not in RECEIPT_EVENTS:
        raise Impossible(f"{event!r} is no event of a receipt", direction="out", state=state, event=event)
    return advance("out", state, event)


def diagram(direction: Direction) -> str:
    """The table of one direction as a Mermaid state diagram; edges between the same two states share a line."""
    labels: dict[tuple[str, str], list[str]] = {}
    for edge in TRANSITIONS:
        if edge.direction == direction:
            labels.setdefault((edge.source or "[*]", edge.target), []).append(edge.event)
    lines = [f"    {source} --> {target}: {', '.join(events)}" for (source, target), events in sorted(labels.items())]
    ends = [f"    {state} --> [*]" for state in sorted(TERMINAL[direction])]
    return "\n".join(("stateDiagram-v2", *lines, *ends)) + "\n"

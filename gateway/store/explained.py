"""What the leaves of the log say about the state of a passage: fsck's own reading of it, independent of the table the flow goes by.

A leaf speaks through its kind, or through the receipt it is about. The latest word that goes furthest binds: a passage may be in any state
some leaf explains, but not behind what a later leaf says.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

# What a leaf of that kind says about the state of a passage. A kind that is not here says nothing.
_KINDS: dict[str, dict[str, frozenset[str]]] = {
    "out": {
        "taken": frozenset({"TAKEN"}),
        "held": frozenset({"HELD"}),
        "released": frozenset({"TAKEN", "SEALED"}),
        "refused": frozenset({"REFUSED"}),
        "sealed": frozenset({"SEALED"}),
        "dispatched": frozenset({"DISPATCHED"}),
        "relayed": frozenset({"RELAYED"}),
        "withdraw-asked": frozenset({"WITHDRAW_ASKED"}),
        "expired": frozenset({"EXPIRED"}),
        "stuck": frozenset({"STUCK"}),
        "unconfirmed": frozenset({"UNCONFIRMED"}),
        "retried": frozenset({"SEALED"}),
    },
    "in": {
        "arrived": frozenset({"ARRIVED"}),
        "accepted": frozenset({"ACCEPTED"}),
        "released": frozenset({"ACCEPTED"}),
        "refused": frozenset({"REFUSED"}),
        "held": frozenset({"HELD"}),
        "quarantined": frozenset({"QUARANTINED", "REFUSED"}),
        "delivered": frozenset({"DELIVERED"}),
        "delivery-failed": frozenset({"ACCEPTED"}),
        "signed-for": frozenset({"SIGNED_FOR"}),
        "returned": frozenset({"RETURNED"}),
        "withdraw-asked": frozenset({"WITHDRAWING"}),
        "withdrawn": frozenset({"WITHDRAWN"}),
        "withdrawal-refused": frozenset({"DELIVERED"}),
        "voided": frozenset({"VOIDED"}),
        "expired": frozenset({"EXPIRED"}),
    },
}
# What a leaf about a receipt of that event says.
_EVENTS: dict[str, dict[str, frozenset[str]]] = {
    "out": {
        "RelayAcceptance": frozenset({"RELAYED"}),
        "RelayRejection": frozenset({"REFUSED_BY_RELAY"}),
        "RelayFailure": frozenset({"STUCK", "EXPIRED"}),
        "SubmissionRejection": frozenset({"REFUSED"}),
        "ContentConsignment": frozenset({"CONSIGNED"}),
        "ContentConsignmentFailure": frozenset({"REFUSED_BY_RECIPIENT"}),
        "ContentHandover": frozenset({"DELIVERED"}),
        "ContentHandoverFailure": frozenset({"CONSIGNED"}),
        "SignedFor": frozenset({"SIGNED_FOR"}),
        "Returned": frozenset({"RETURNED"}),
        "NotSignedFor": frozenset({"NOT_SIGNED_FOR"}),
        "Withdrawn": frozenset({"WITHDRAWN"}),
        "WithdrawalRefused": frozenset({"DELIVERED"}),
        "Voided": frozenset({"VOIDED"}),
    },
    "in": {
        "ContentConsignment": frozenset({"ACCEPTED"}),
        "ContentConsignmentFailure": frozenset({"REFUSED"}),
        "ContentHandover": frozenset({"DELIVERED"}),
        "ContentHandoverFailure": frozenset({"ACCEPTED"}),
        "SignedFor": frozenset({"SIGNED_FOR"}),
        "Returned": frozenset({"RETURNED"}),
        "NotSignedFor": frozenset({"EXPIRED"}),
        "Withdrawn": frozenset({"WITHDRAWN"}),
        "WithdrawalRefused": frozenset({"DELIVERED"}),
        "Voided": frozenset({"VOIDED"}),
    },
}
_SAYS_NOTHING = frozenset({"contradiction", "not-entitled", "equivocation", "alarm"})
# How far a state is; what is presumed is less than anything the recipient said. A passage is never behind its last word.
_RANK = {
    **dict.fromkeys(("TAKEN", "HELD", "ARRIVED"), 0),
    **dict.fromkeys(("SEALED", "QUARANTINED"), 1),
    **dict.fromkeys(("DISPATCHED", "RELAYED"), 2),
    **dict.fromkeys(("STUCK", "UNCONFIRMED", "REFUSED_BY_RELAY"), 3),  # and a sender's EXPIRED
    **dict.fromkeys(("CONSIGNED", "ACCEPTED"), 4),
    **dict.fromkeys(("DELIVERED", "WITHDRAW_ASKED", "WITHDRAWING"), 5),
    **dict.fromkeys(("REFUSED", "REFUSED_BY_RECIPIENT", "SIGNED_FOR", "RETURNED", "NOT_SIGNED_FOR", "WITHDRAWN"), 6),
    "VOIDED": 7,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """A leaf about one exchange, as far as it matters here. ``event``: of the receipt that is its object, if it is one."""

    index: int
    kind: str
    outcome: str
    recipient: str | None
    event: str | None


def objection(direction: str, recipient: str, state: str, words: Iterable[Word]) -> str | None:
    """What speaks against that state, or None."""
    explained = [(word.index, states) for word in words if word.recipient in (None, recipient) and (states := _says(direction, word))]
    here = [index for index, states in explained if state in states]
    if not here:
        return f"is {state}, which no leaf explains"
    further = [
        (index, sorted(states))
        for index, states in explained
        if index > here[-1] and min(_rank(direction, one) for one in states) > _rank(direction, state)
    ]
    if further:
        index, names = further[-1]
        return f"is {state}, behind leaf {index} which says {' or '.join(names)}"
    return None


def _says(direction: str, word: Word) -> frozenset[str]:
    if word.kind in _SAYS_NOTHING or word.outcome == "implied":
        return frozenset()
    return _KINDS[direction].get(word.kind, frozenset()) | _EVENTS[direction].get(word.event or "", frozenset())


def _rank(direction: str, state: str) -> int:
    if state == "EXPIRED":
        return 3 if direction == "out" else 6
    return _RANK.get(state, 0)

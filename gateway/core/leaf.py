"""One entry of the audit log (docs/format.md, Leaf): what happened, to which exchange, by whom, under which policy.

A leaf never holds what erasure law may one day demand back, nor a digest of plain content: personal data stand outside, bound by a
salted HMAC, and ``actor.id`` is a random account number.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, ClassVar, Literal

import msgspec

from crypto.errors import Malformed
from gateway.core.canonical import DigestText, ExchangeId, Natural, OrgCode, TimeText, Wire, parse_time, version
from gateway.core.document import LevelId
from gateway.core.keys import arrival_key
from gateway.core.transmittal import DirectoryRef, PolicyRef

MAX_LEAF_BYTES = 4096  # keeps an entry bundle of 256 leaves (C2SP tlog-tiles) at 1 MiB

Word = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9]([a-z0-9.-]{0,62}[a-z0-9])?\Z")]
AccountId = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9]([A-Za-z0-9.@_-]{0,62}[A-Za-z0-9])?\Z")]
Party = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9]([A-Za-z0-9.:_-]{0,94}[A-Za-z0-9])?\Z")]


class LeafKind(StrEnum):
    """What a leaf is about. Adding a kind is a change of the format."""

    # the way of an exchange
    TAKEN = "taken"
    HELD = "held"
    RELEASED = "released"
    REFUSED = "refused"
    SEALED = "sealed"
    DISPATCHED = "dispatched"
    RELAYED = "relayed"
    ARRIVED = "arrived"
    ACCEPTED = "accepted"
    QUARANTINED = "quarantined"
    DELIVERED = "delivered"
    DELIVERY_FAILED = "delivery-failed"
    SIGNED_FOR = "signed-for"
    RETURNED = "returned"
    WITHDRAW_ASKED = "withdraw-asked"
    WITHDRAWN = "withdrawn"
    WITHDRAWAL_REFUSED = "withdrawal-refused"
    VOIDED = "voided"
    EXPIRED = "expired"
    STUCK = "stuck"
    UNCONFIRMED = "unconfirmed"
    RETRIED = "retried"  # a person put it due again
    REMINDED = "reminded"  # a deadline drew near or passed; ``outcome`` says which, ``reason`` whose
    RECEIPT = "receipt"  # a receipt of another came in
    # what must be noticed
    NOT_ENTITLED = "not-entitled"  # a signed statement by somebody who may not make it
    CONTRADICTION = "contradiction"  # a sender or recipient contradicts itself under signature
    EQUIVOCATION = "equivocation"  # one directory version, two digests
    ALARM = "alarm"
    # the gateway itself
    STARTED = "started"
    STOPPED = "stopped"
    ORIGIN = "origin"  # the first leaf of a log; ``object`` is the digest of the last checkpoint of the origin before
    POLICY = "policy"  # a policy came into force
    DIRECTORY = "directory"  # a directory came into force
    DEGRADED = "degraded"  # something is away that a level needs; ``reason`` says what
    ROOTS = "roots"  # both trees' roots at one size
    EVIDENCE = "evidence"  # evidence was exported
    ERASED = "erased"


class Actor(Wire, frozen=True, kw_only=True):
    """Who acted: a random account number (or the gateway's id for the machine), in which role, proved how."""

    auth: Word
    id: AccountId
    role: Word


class Leaf(Wire, frozen=True, kw_only=True):
    """One entry of the audit log; a field that does not apply is left out."""

    MAX_BYTES: ClassVar[int] = MAX_LEAF_BYTES

    actor: Actor
    at: TimeText
    directory: DirectoryRef | None = None
    dst: Party | None = None
    exchange: ExchangeId | None = None
    kind: LeafKind
    level: LevelId | None = None
    object: DigestText | None = None
    outcome: Word
    policy: PolicyRef | None = None
    reason: Word | None = None
    recipient: OrgCode | None = None
    sender: OrgCode | None = None  # of an arrival: whose exchange it is; an id alone names none
    since: TimeText | None = None  # of a degraded leaf: when what is away went away
    size: Natural | None = None
    src: Party | None = None
    until: TimeText | None = None  # and how long policy lets the level go on
    v: Literal["yizhan-leaf/1"] = version("yizhan-leaf/1")

    def __post_init__(self) -> None:
        for moment in (self.at, self.since, self.until):
            if moment is not None:
                parse_time(moment)
        if self.sender is not None and self.exchange is None:
            raise Malformed("a leaf names the sender of no exchange")

    @property
    def key(self) -> str | None:
        """What the exchange it is about is known by in this gateway."""
        return self.exchange if self.exchange is None or self.sender is None else arrival_key(self.exchange, self.sender)

    @property
    def moment(self) -> datetime:
        """When it happened; never earlier than the leaf before."""
        return parse_time(self.at)

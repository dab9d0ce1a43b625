"""What one database transaction changes, as values.

The flow decides a ``Step``; the journal carries it out whole or not at all. Changes are a closed union: the journal knows every kind
by name and there is no other way to change state. An ``exchange`` is always a key (core/keys.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from gateway.core.exchange import Direction, State
from gateway.core.keys import exchange_key
from gateway.core.leaf import Leaf

WorkKind = Literal[
    "settle",
    "refuse",
    "seal",
    "deliver",
    "hand-over",
    "report",
    "send-receipt",
    "acknowledge",
    "remind",
    # What came from outside and made our own code fail, set aside under the name of the act that failed; done again when a person says so.
    "take",
    "arrive",
    "take-receipt",
]
# Due never: set aside until a person says otherwise. Within what the tables, the wire format of a moment and a timer can hold.
SET_ASIDE = datetime(9999, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredContent:
    """Where the ciphertext lies: in a row (``inline``) when at most 64 KiB, else in the blob of that name."""

    size: int
    inline: bytes | None = None
    blob: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """Something due outside the database: at least once, harmless twice. ``key`` names it uniquely; scheduling a key again replaces it."""

    key: str  # "<kind>:<direction>:<exchange>[:<recipient or receipt digest>]"
    kind: WorkKind
    direction: Direction
    exchange: str
    due: datetime
    peer: str = ""  # gateway id, office name, or empty
    priority: int = 0  # larger goes first; from the urgency's weight
    attempts: int = 0
    detail: bytes = b""  # what the worker needs beyond the exchange: canonical JSON or bytes; never plain content
    trouble: bytes = b""  # why the last attempt failed (flow.trouble); its words sealed, for they may quote a document


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenExchange:
    """Insert an exchange and its passages.

    Conflicts, raised for this step alone: AlreadyOpen for the key or the office triple, NameTaken for ``name``.
    """

    direction: Direction
    id: str
    at: datetime
    state: State
    recipients: tuple[str, ...]
    level: str
    urgency: str
    suite: str
    sender_org: str
    sender_gateway: str
    office: str = ""
    source: str = ""
    content_digest: str = ""  # of the offered content; with office and source the key of an offer
    name: str = ""  # what the office knows an arrival by, once it is accepted; no two have the same
    private: bytes = b""  # metadata for our own people (title …), sealed under the storage key
    expires: datetime | None = None

    @property
    def key(self) -> str:
        """What every other change calls it."""
        return exchange_key(self.direction, self.id, self.sender_org)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepSealed:
    """Attach what was signed and sealed: the exact bytes, the envelopes by organisation, the ciphertext's place, our own wrapped content key."""

    direction: Direction
    exchange: str
    transmittal: bytes
    transmittal_digest: str
    nro: bytes
    envelopes: tuple[tuple[str, bytes], ...]
    content: StoredContent | None
    own_key: bytes  # content key, nonce and tag under the storage key
    expires: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Advance:
    """Move one passage. Conflict (raises Superseded for this step alone): its state is not among ``expect``."""

    direction: Direction
    exchange: str
    recipient: str
    expect: frozenset[State]
    to: State
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepReceipt:
    """Insert a receipt's exact bytes; the same digest again is no change."""

    digest: str
    direction: Direction
    exchange: str
    recipient: str  # "" only for Submission*
    event: str
    issuer_org: str
    at: datetime
    body: bytes
    signature: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Make work due (insert or replace by key)."""

    work: Work


@dataclass(frozen=True, slots=True, kw_only=True)
class Finish:
    """Work done: delete it by key. With ``detail``, only while the work still carries that detail: it may have been scheduled anew meanwhile."""

    key: str
    detail: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """Insert bytes into an insert-only shelf under a name; the same name again is no change.

    Shelves: ``policy`` (by digest), ``directory`` (head by version), ``directory-signature`` (by version), ``entry`` (by digest),
    ``certificate`` (by fingerprint), ``crl`` (by digest), ``token`` (checkpoint token by tree size).
    """

    shelf: Literal["policy", "directory", "directory-signature", "entry", "certificate", "crl", "token"]
    name: str
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Remember:
    """Set a small named value of this gateway (newest directory version, last token time …)."""

    name: str
    value: str


Change = OpenExchange | KeepSealed | Advance | KeepReceipt | Schedule | Finish | Keep | Remember


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One transaction: every change and every leaf, or nothing. A step without a leaf is only allowed to schedule, finish, keep or remember."""

    changes: tuple[Change, ...]
    leaves: tuple[Leaf, ...] = ()

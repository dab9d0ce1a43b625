"""The seams of the journey: what the flow needs from the outside, on one page.

Each promise says whether a return means durable, whether a repeat is harmless, and who tries again. The flow always tries again
itself; no implementation retries on its own.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

from gateway.core.document import Document, LevelId
from gateway.core.exchange import Direction, State
from gateway.core.explain import Reason
from gateway.core.keys import exchange_key
from gateway.core.manifest import PartEntry
from gateway.core.step import Step, StoredContent, Work

# ---- time ------------------------------------------------------------------------------------------------------------------------


class Clock(Protocol):
    """The moment, aware and in UTC, asked once a step; ``monotonic`` in seconds, never set by anybody."""

    def now(self) -> datetime: ...
    def monotonic(self) -> float: ...


class TokenSource(Protocol):
    """A time-stamping authority: an RFC 3161 request in, its response out. One attempt; raises Unreachable."""

    async def respond(self, request: bytes) -> bytes: ...


# ---- the office system -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferedPart:
    """One file of an offer. ``read`` opens it anew each time and is called off the event loop."""

    name: str
    role: Literal["body", "attachment"]
    level: LevelId | None
    media_type: str
    size: int
    read: Callable[[], Iterator[bytes]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """An approved document the office wants to send: a lease, nothing is removed from the office by offering it."""

    source: str  # the office's own stable id of it
    document: Document
    recipients: tuple[tuple[str, Literal["primary", "copy"]], ...]  # organisation codes
    parts: tuple[OfferedPart, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BadOffer:
    """Something in the outgoing tray that is no good offer; it is refused with these reasons and nothing else happens."""

    source: str
    reasons: tuple[Reason, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedPart:
    """One part of an opened document; ``chunks`` may be consumed once, in the order of the parts, off the event loop."""

    entry: PartEntry
    chunks: Iterator[bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """An opened, verified document on its way into the office. ``parts()`` starts over each time it is called."""

    exchange: str  # the office's name of it: its id, or id and sender where the office has the id from another sender
    sender_org: str
    sender_name: str
    level: str
    urgency: str
    received: datetime
    document: Document
    parts: Callable[[], Iterator[OpenedPart]]
    sign_for_by: datetime | None = None  # by when a person should have answered; warns and ends nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipientStatus:
    """Where one recipient's copy stands, for the office's eyes."""

    org: str
    name: str
    state: State
    at: datetime
    events: tuple[tuple[str, str, str], ...] = ()  # (event, by organisation, at) of each receipt
    reasons: tuple[Reason, ...] = ()  # why it is held, refused, stuck or over, where that was decided about this one


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """Where an exchange stands. Later statuses replace earlier ones."""

    exchange: str
    direction: Direction
    title: str
    updated: datetime
    recipients: tuple[RecipientStatus, ...]
    reasons: tuple[Reason, ...] = ()
    deliver_by: datetime | None = None  # what is sent: warns and ends nothing
    sign_for_by: datetime | None = None  # what was delivered and waits for a person
    warnings: tuple[Reason, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """What a person did with a delivered document. ``id`` is stable until acknowledged."""

    id: str
    exchange: str
    kind: Literal["sign-for", "return"]
    actor: str
    reason: str = ""


class OfficeSystem(Protocol):
    """One office system (OA). Every method is idempotent; a return means durable on the office's side."""

    name: str
    certainty: Literal[
        "ask", "unique", "blind"
    ]  # how sure a delivery of unknown fate can be made: ask for it | it refuses a known id | neither

    def offers(self) -> AsyncIterator[Offer | BadOffer]:
        """What is in the outgoing tray now and was not settled or refused; ends when the tray has been walked once."""
        ...

    async def fetch(self, source: str, exchange: str) -> Offer:
        """The offer again, settled under ``exchange`` or not (after a crash before sealing). Raises OfferGone."""
        ...

    async def settle(self, source: str, exchange: str) -> None:
        """The offer was taken under this exchange id: it leaves the tray."""
        ...

    async def refuse(self, source: str, reasons: Sequence[Reason]) -> None:
        """The offer will not be sent; the office shows why."""
        ...

    async def report(self, status: Status) -> None:
        """Show where an exchange stands, in either direction."""
        ...

    async def deliver(self, delivery: Delivery) -> None:
        """Hand over a document, complete or not at all; a repeat with the same exchange id changes nothing. Raises OfficeUnavailable."""
        ...

    def acts(self) -> AsyncIterator[Act]:
        """Human acts not yet acknowledged."""
        ...

    async def acknowledge(self, act: Act, reasons: Sequence[Reason] = ()) -> None:
        """The act took effect, or (with reasons) could not; it is not offered again."""
        ...


# ---- what survives ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """A step is durable: the places of its leaves and the tree size of the checkpoint that covers them."""

    leaves: tuple[int, ...]
    tree_size: int


class Journal(Protocol):
    """The only way to change state. A return means committed and synced; a raise other than JournalStopped means nothing happened."""

    async def record(self, step: Step) -> Recorded:
        """Raises AlreadyOpen, Superseded (this step alone), NoRoom (disk room for another commit is missing: try again later), and
        JournalStopped: nothing more will be recorded, and what became of this step only the next start can tell.
        """
        ...

    def check_room(self) -> None:
        """Raises NoRoom when nothing could be recorded now. A question to the file system alone: may be asked on the event loop."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PassageRow:
    recipient: str
    state: State
    updated: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptRow:
    digest: str
    direction: Direction
    exchange: str  # its key
    recipient: str
    event: str
    issuer_org: str
    at: datetime
    body: bytes
    signature: bytes
    leaf: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeRow:
    """Everything kept about one exchange in one direction. Sealed fields are None before SEALED / for a refused arrival."""

    direction: Direction
    id: str
    created: datetime
    level: str
    urgency: str
    suite: str
    sender_org: str
    sender_gateway: str
    office: str
    source: str
    content_digest: str
    private: bytes
    expires: datetime | None
    transmittal: bytes | None
    transmittal_digest: str | None
    nro: bytes | None
    own_key: bytes | None
    content: StoredContent | None  # inline bytes are not loaded here: see Ledger.content
    passages: tuple[PassageRow, ...]
    name: str = ""  # what the office knows an accepted arrival by

    @property
    def key(self) -> str:
        """What every question and every change calls it."""
        return exchange_key(self.direction, self.id, self.sender_org)


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingRow:
    """One passage that is open, with what tells how long it may be."""

    direction: Direction
    exchange: str
    recipient: str
    state: State
    updated: datetime
    created: datetime
    level: str
    urgency: str
    sender_org: str
    sender_gateway: str
    expires: datetime | None
    sealed: bool
    size: int | None  # bytes of ciphertext kept here


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointRow:
    """A signed head of the audit log. ``token``: RFC 3161 over the note, where one came."""

    place: int  # which one; above the places of all leaves it covers
    size: int  # of the tree it is about
    note: bytes
    token: bytes | None


class Ledger(Protocol):
    """Reading what the journal committed. Asynchronous because it may wait for a disk; never sees half a step.

    An ``exchange`` is a key (core/keys.py), in questions and in answers.
    """

    async def exchange(self, direction: Direction, exchange: str) -> ExchangeRow | None: ...
    async def named(self, name: str) -> ExchangeRow | None:
        """The accepted arrival the office knows by that name."""
        ...

    async def beginning(self, text: str, *, limit: int = 100) -> tuple[ExchangeRow, ...]:
        """Every exchange whose key begins so, ours before arrivals; so many of each."""
        ...

    async def envelopes(self, direction: Direction, exchange: str) -> dict[str, bytes]: ...
    async def content(self, direction: Direction, exchange: str) -> StoredContent | None: ...
    async def taken(self, office: str, source: str) -> tuple[tuple[str, str], ...]:
        """(exchange id, content digest) of every exchange opened from this source, oldest first."""
        ...

    async def exchanges(self, *, limit: int = 100, direction: Direction | None = None) -> tuple[ExchangeRow, ...]:
        """Newest first."""
        ...

    async def receipts(self, direction: Direction, exchange: str) -> tuple[ReceiptRow, ...]:
        """In order of arrival here."""
        ...

    async def receipt(self, digest: str) -> ReceiptRow | None: ...
    async def due(self, *, limit: int = 10_000) -> tuple[Work, ...]:
        """All work, soonest first, whether due yet or not: read at start-up."""
        ...

    async def expired(
        self, direction: Direction, before: datetime, states: frozenset[State], *, limit: int = 1000
    ) -> tuple[tuple[str, str], ...]:
        """(exchange, recipient) whose exchange's ``expires`` lies before that moment and whose passage is in one of the states."""
        ...

    async def unsigned(
        self, since: datetime | None, before: datetime, *, but: frozenset[str] = frozenset(), limit: int = 1000
    ) -> tuple[str, ...]:
        """Arrivals the office has that ran out from ``since`` on, at no level of ``but``. Costs what ran out between the two moments."""
        ...

    async def waiting(
        self, direction: Direction, states: frozenset[State], *, after: tuple[str, str] = ("", ""), limit: int = 1000
    ) -> tuple[WaitingRow, ...]:
        """Passages in one of the states, in the order of exchange and recipient, from behind ``after`` on."""
        ...

    async def work(self, key: str) -> Work | None:
        """What is due under that key, or set aside."""
        ...

    async def unnamed_blobs(self, names: Sequence[str]) -> tuple[str, ...]:
        """Those of these blobs that belong to no exchange."""
        ...

    async def wanted_blobs(self) -> tuple[str, ...]:
        """The blobs that works still due will read."""
        ...

    async def kept(self, shelf: str, name: str) -> bytes | None: ...
    async def remembered(self, name: str) -> str | None: ...
    async def leaves(self, exchange: str) -> tuple[tuple[int, bytes], ...]:
        """Place and exact bytes of every leaf about the exchange, in order."""
        ...

    async def leaf(self, place: int) -> bytes | None: ...
    async def latest_checkpoint(self) -> CheckpointRow | None: ...
    async def checkpoint_over(self, place: int) -> CheckpointRow | None:
        """The first checkpoint of its log with a token above that leaf, else the first one above it."""
        ...

    async def proof(self, place: int, checkpoint: CheckpointRow) -> bytes:
        """A C2SP tlog-proof that the leaf stands below that checkpoint of its log."""
        ...


class BlobWriter(Protocol):
    """A ciphertext growing on disk; nothing has its name yet."""

    size: int

    def write(self, data: bytes) -> None: ...
    def finish(self) -> str:
        """fsync, rename, fsync the folder; the blob's name. Durable on return."""
        ...

    def discard(self) -> None: ...


class Blobs(Protocol):
    """Large ciphertext, one file a blob. Blocking: called off the event loop."""

    def create(self, size: int) -> BlobWriter:
        """Raises NoRoom when ``size`` more bytes would leave less than the configured head-room."""
        ...

    def read(self, name: str, offset: int = 0) -> Iterator[bytes]: ...
    def has(self, name: str) -> bool: ...
    def remove(self, name: str) -> None: ...
    def older_than(self, seconds: float) -> Iterator[str]:
        """Names of blobs that have had their name for longer than that, by the file system's own clock."""
        ...

    def check_room(self) -> None:
        """Raises NoRoom when no new content may come. A question to the file system alone: may be asked on the event loop."""
        ...

    def free(self) -> int:
        """Bytes free on the disk and promised to nobody. Asked as ``check_room`` is."""
        ...


class Upload(Protocol):
    """A resumable arrival of one ciphertext; survives a restart at its last synced offset. Blocking: called off the event loop."""

    key: str
    cover: bytes
    offset: int  # bytes on disk and synced or about to be
    size: int

    def idle(self) -> float:
        """Seconds since the last byte came, by the file system's own clock."""
        ...

    def write(self, data: bytes) -> None: ...
    def sync(self) -> int:
        """fsync; the durable offset."""
        ...

    def reset(self) -> None:
        """Back to offset 0: what came did not have the promised digest."""
        ...

    def read(self) -> Iterator[bytes]: ...
    def finish(self) -> str:
        """Become a blob; its name. Durable on return."""
        ...

    def discard(self) -> None: ...


class Uploads(Protocol):
    """Open uploads by key (TLS peer and transmittal digest). Blocking: called off the event loop."""

    def open(self, key: str) -> Upload | None: ...
    def all(self) -> tuple[Upload, ...]:
        """Every open upload, from memory."""
        ...

    def begin(self, key: str, cover: bytes, size: int) -> Upload:
        """Raises NoRoom, TooManyUploads."""
        ...


class Held(Protocol):
    """One part's plaintext in scratch: in memory when small, else in pieces sealed under a key only this process knows."""

    size: int
    crc: int
    digests: dict[str, str]  # digest name -> digest text

    def chunks(self) -> Iterator[bytes]: ...
    def drop(self) -> None: ...


class Scratch(Protocol):
    """Plaintext on its way, never readable after this process. Blocking: called off the event loop. Emptied at start."""

    def hold(self, chunks: Iterator[bytes], size: int, digests: Sequence[str]) -> Held:
        """Copy a part in, digesting on the way. Raises NoRoom, PartChanged when it is not ``size`` bytes long."""
        ...


# ---- other gateways --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedReceipt:
    """A receipt's exact bytes and its detached signature."""

    body: bytes
    signature: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """One exchange for one next hop. ``read(offset)`` yields the ciphertext from there and is called off the event loop."""

    exchange: str
    transmittal_digest: str
    cover: bytes
    size: int
    inline: bytes | None
    read: Callable[[int], Iterator[bytes]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipted:
    """200: the exchange is durable and good over there; one receipt a recipient."""

    receipts: tuple[SignedReceipt, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """202: bytes are missing (``upload``: continue at ``offset``), or the answer follows (``verifying``, ``held``)."""

    state: Literal["upload", "verifying", "held"]
    offset: int


Answer = Receipted | Pending


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptAnswer:
    """What became of one receipt sent: ``ok``, or a problem code; only a retryable one is sent again."""

    digest: str
    code: str
    retryable: bool


class Link(Protocol):
    """The way to other gateways. One attempt each; raises Unreachable or PeerProblem."""

    async def send(self, gateway: str, parcel: Parcel) -> Answer: ...
    async def send_receipts(self, gateway: str, receipts: Sequence[SignedReceipt]) -> tuple[ReceiptAnswer, ...]: ...


class Arrivals(Protocol):
    """What the peer server calls. ``peer`` is the gateway id the TLS certificate proved. Raises ProblemError for everything not answered."""

    async def offer(self, peer: str, cover: bytes, content: bytes | None) -> Answer:
        """A cover, with the whole ciphertext when it came in the same request."""
        ...

    async def repeated(self, peer: str, cover: bytes) -> None:
        """A cover was answered once more with the bytes it was answered with before."""
        ...

    async def offset(self, peer: str, exchange: str, transmittal_digest: str) -> int: ...
    async def append(self, peer: str, exchange: str, transmittal_digest: str, offset: int, chunks: AsyncIterator[bytes]) -> Answer:
        """Bytes from ``offset`` on; Pending("upload") with the durable offset while some are missing."""
        ...

    async def receipts(self, peer: str, receipts: Sequence[SignedReceipt]) -> tuple[ReceiptAnswer, ...]: ...


# ---- what people watch -----------------------------------------------------------------------------------------------------------


class Gauges(Protocol):
    """Counting for operators; must never raise."""

    def outcome(self, direction: Direction, state: State, level: str, peer: str) -> None: ...
    def latency(self, stage: str, seconds: float) -> None: ...
    def bytes_moved(self, direction: Direction, peer: str, count: int) -> None: ...
    def refused(self, code: str, peer: str) -> None: ...
    def reminded(self, direction: Direction, code: str) -> None:
        """A step of a deadline was told."""
        ...


class DirectorySource(Protocol):
    """Where newer directories come from. One attempt; raises Unreachable."""

    async def head(self) -> tuple[bytes, bytes]:
        """Head bytes and signature."""
        ...

    async def entry(self, digest: str) -> bytes: ...

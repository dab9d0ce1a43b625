"""A small office for the store's tests: real transmittals, receipts, signatures and leaves (only keys and ciphertext are made up), as
the steps a sender and a recipient record on a document's way."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

from crypto.digests import digest
from crypto.notes import LogKey
from crypto.signed_data import sign_detached
from crypto.suites import INTL_1
from gateway.core.canonical import format_time
from gateway.core.exchange import Direction, State
from gateway.core.ids import uuid7
from gateway.core.keys import arrival_key, exchange_key
from gateway.core.leaf import Actor, Leaf, LeafKind
from gateway.core.receipt import Issuer, Receipt
from gateway.core.step import Advance, Finish, KeepReceipt, KeepSealed, OpenExchange, Schedule, Step, StoredContent, Work
from gateway.core.transmittal import ContentRef, DirectoryRef, PolicyRef, Recipient, Sender, Transmittal
from gateway.store.blobs import FolderBlobs
from gateway.store.files import Headroom
from gateway.store.journal import Journal
from gateway.store.ledger import Ledger
from tests.crypto.pki import pki_for

ORIGIN = "gw-office/a/2026.1"
OFFICE = "11310000MB0001234B"
FINANCE = "11310000MB0005678F"
HEALTH = "11310000MB000910XR"
NOW = datetime(2026, 3, 2, 8, tzinfo=UTC)


def log_key() -> LogKey:
    return LogKey._from_seed(ORIGIN, b"\x07" * 32)


@dataclass
class Store:
    """The files of one home and how they are opened."""

    folder: Path
    key: LogKey = field(default_factory=log_key)

    @property
    def database(self) -> Path:
        return self.folder / "yizhan.db"

    @property
    def mark(self) -> Path:
        return self.folder / "mark"

    @property
    def blob_folder(self) -> Path:
        return self.folder / "blobs"

    def journal(self, **options: Any) -> Journal:
        return Journal.open(self.database, **{"log_key": self.key, "origin": ORIGIN, "mark": self.mark, "min_free": 0, **options})

    def ledger(self) -> Ledger:
        return Ledger(self.database)

    def blobs(self, min_free: int = 0) -> FolderBlobs:
        return FolderBlobs(self.blob_folder, Headroom(self.folder, min_free))


@lru_cache(maxsize=1024)  # a signature differs each time it is made, and a test compares what it recorded with what it reads
def signed(body: bytes) -> bytes:
    """By one and the same organisation: whose signature counts is not the store's business."""
    return sign_detached(body, pki_for(INTL_1).office.signing.signer, at=NOW).der


def new_id(at: datetime = NOW) -> str:
    return uuid7(at, os.urandom(10))


def leaf(
    kind: LeafKind,
    exchange: str | None = None,
    *,
    at: datetime = NOW,
    recipient: str | None = None,
    about: str | None = None,
    sender: str | None = None,
) -> Leaf:
    actor = Actor(id="gw-office", role="gateway", auth="self")
    return Leaf(
        actor=actor, at=format_time(at), kind=kind, outcome=kind.value, exchange=exchange, recipient=recipient, object=about, sender=sender
    )


def work(kind: str, exchange: str, *, direction: Direction = "out", due: datetime = NOW, detail: bytes = b"", **fields: Any) -> Work:
    return Work(key=f"{kind}:{direction}:{exchange}", kind=kind, direction=direction, exchange=exchange, due=due, detail=detail, **fields)


@dataclass
class Paper:
    """One document and everything that is recorded about it."""

    id: str = field(default_factory=new_id)
    at: datetime = NOW
    to: tuple[str, ...] = (FINANCE,)
    source: str = ""
    content: bytes = field(default_factory=lambda: os.urandom(300))
    blob: str | None = None

    @property
    def arrival(self) -> str:
        """Its key at the recipient."""
        return arrival_key(self.id, OFFICE)

    def key(self, direction: Direction) -> str:
        return exchange_key(direction, self.id, OFFICE)

    @property
    def envelopes(self) -> tuple[tuple[str, bytes], ...]:
        return tuple((org, f"envelope of {self.id} for {org}".encode()) for org in self.to)

    @property
    def transmittal(self) -> Transmittal:
        recipients = tuple(Recipient(org=org, role="primary", envelope=digest("sha256", body)) for org, body in self.envelopes)
        return Transmittal(
            id=self.id,
            kind="document",
            sender=Sender(org=OFFICE, gateway="gw-office"),
            recipients=recipients,
            level="internal",
            urgency="routine",
            suite="intl-1",
            content=ContentRef(manifest=digest("sha256", b"m"), sealed=digest("sha256", self.content), size=len(self.content)),
            created=format_time(self.at),
            expires=format_time(self.at + timedelta(days=30)),
            policy=PolicyRef(id="pilot", version=1, digest=digest("sha256", b"policy")),
            directory=DirectoryRef(version=1, digest=digest("sha256", b"directory")),
            refs=(),
        )

    def opening(self, direction: Direction, state: State) -> OpenExchange:
        return OpenExchange(
            direction=direction,
            id=self.id,
            at=self.at,
            state=state,
            recipients=self.to,
            level="internal",
            urgency="routine",
            suite="intl-1",
            sender_org=OFFICE,
            sender_gateway="gw-office",
            office="folder" if direction == "out" else "",
            source=(self.source or f"tray/{self.id}") if direction == "out" else "",
            content_digest=digest("sha256", self.content) if direction == "out" else "",
            private=b"sealed title",
            name=self.id if direction == "in" else "",
        )

    def sealed(self, direction: Direction) -> KeepSealed:
        body = self.transmittal.to_bytes()
        place = StoredContent(size=len(self.content), blob=self.blob, inline=None if self.blob else self.content)
        return KeepSealed(
            direction=direction,
            exchange=self.key(direction),
            transmittal=body,
            transmittal_digest=digest("sha256", body),
            nro=signed(body),
            envelopes=self.envelopes,
            content=place,
            own_key=b"wrapped",
            expires=self.at + timedelta(days=30),
        )

    def receipt(self, direction: Direction, event: str, org: str) -> KeepReceipt:
        body = Receipt(
            id=uuid7(self.at, digest("sha256", f"{self.id}{event}{org}".encode()).encode()[-10:]),
            exchange=self.id,
            recipient=org,
            transmittal=digest("sha256", self.transmittal.to_bytes()),
            sealed=digest("sha256", self.content),
            event=event,
            by=Issuer(org=org, gateway="gw-finance"),
            at=format_time(self.at),
            prev=None,
            reason=None,
            refs=(),
        ).to_bytes()
        return KeepReceipt(
            digest=digest("sha256", body),
            direction=direction,
            exchange=self.key(direction),
            recipient=org,
            event=event,
            issuer_org=org,
            at=self.at,
            body=body,
            signature=signed(body),
        )

    # ---- the steps

    def take(self) -> Step:
        changes = (self.opening("out", State.TAKEN), Schedule(work=work("seal", self.id)))
        return Step(changes=changes, leaves=(leaf(LeafKind.TAKEN, self.id),))

    def seal(self) -> Step:
        moves = tuple(self.move("out", org, {State.TAKEN}, State.SEALED) for org in self.to)
        kept = self.sealed("out")
        changes = (kept, *moves, Finish(key=f"seal:out:{self.id}"), Schedule(work=work("deliver", self.id)))
        return Step(changes=changes, leaves=(leaf(LeafKind.SEALED, self.id, about=kept.transmittal_digest),))

    def receive(self, event: str, expect: Iterable[State], to: State, org: str = FINANCE) -> Step:
        kept = self.receipt("out", event, org)
        changes = (kept, self.move("out", org, expect, to), Finish(key=f"deliver:out:{self.id}"), Schedule(work=work("report", self.id)))
        return Step(changes=changes, leaves=(leaf(LeafKind.RECEIPT, self.id, recipient=org, about=kept.digest),))

    def accept(self) -> Step:
        kept = self.receipt("in", "ContentConsignment", self.to[0])
        changes = (
            self.opening("in", State.ACCEPTED),
            self.sealed("in"),
            kept,
            Schedule(work=work("hand-over", self.arrival, direction="in")),
        )
        leaves = (leaf(LeafKind.ACCEPTED, self.id, sender=OFFICE), leaf(LeafKind.RECEIPT, self.id, about=kept.digest, sender=OFFICE))
        return Step(changes=changes, leaves=leaves)

    def deliver(self) -> Step:
        kept = self.receipt("in", "ContentHandover", self.to[0])
        move = self.move("in", self.to[0], {State.ACCEPTED}, State.DELIVERED)
        changes = (kept, move, Finish(key=f"hand-over:in:{self.arrival}"))
        return Step(changes=changes, leaves=(leaf(LeafKind.DELIVERED, self.id, recipient=self.to[0], about=kept.digest, sender=OFFICE),))

    def move(self, direction: Direction, org: str, expect: Iterable[State], to: State) -> Advance:
        return Advance(direction=direction, exchange=self.key(direction), recipient=org, expect=frozenset(expect), to=to, at=self.at)

    def outbound(self) -> list[Step]:
        """The whole way of the sender, to FINANCE alone."""
        return [
            self.take(),
            self.seal(),
            self.receive("ContentConsignment", {State.SEALED}, State.CONSIGNED),
            self.receive("ContentHandover", {State.SEALED, State.CONSIGNED}, State.DELIVERED),
            Step(changes=(Finish(key=f"report:out:{self.id}"),)),
        ]

    def inbound(self) -> list[Step]:
        """The whole way of the recipient, without people."""
        return [self.accept(), self.deliver()]

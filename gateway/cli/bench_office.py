"""The office of the benchmark: it costs next to nothing, so that what is measured is the gateway.

As a sender it keeps a chosen number of documents in flight, each counted as done when the recipient's ContentHandover was recorded here;
as a recipient it takes every byte, keeps none, and remembers what it was given, so that "each exactly once" can be asserted. Measuring is
all it is for: nothing survives the process, and no agency's documents belong in it.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

import msgspec

from gateway.core.document import Addressee, Document
from gateway.core.errors import OfferGone
from gateway.core.exchange import Direction, State
from gateway.core.explain import Reason
from gateway.flow.ports import Act, BadOffer, Delivery, Offer, OfferedPart, OpenedPart, Status
from gateway.net.metrics import Metrics

PIECE: Final = 1024 * 1024  # what one read of a large part yields
POOL: Final = 4 * PIECE  # incompressible bytes, drawn once
STRIDE: Final = 7919  # a prime: consecutive documents begin at other places of the pool, so no two are alike
HEAD: Final = b"%PDF-1.7\n"

DOCUMENT: Final = Document(
    document_type="通知",
    level="internal",
    urgency="routine",
    issuing_authority_mark="测试市人民政府办公室文件",
    document_number="测府办〔2025〕1号",
    title="性能测试",
    signature=("测试市人民政府办公室",),
    printing_authority="测试市人民政府办公室",
)


@dataclass(slots=True)
class Batch:
    """Some documents of one size to one organisation, so many at a time."""

    to: str
    documents: int
    size: int
    in_flight: int
    offered: int = 0
    delivered: int = 0
    begun: float = 0.0
    ended: float = 0.0
    failure: str = ""
    offered_at: list[float] = field(default_factory=list)
    delivered_at: list[float] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def over(self) -> bool:
        return bool(self.failure) or self.delivered >= self.documents

    async def room(self) -> None:
        """Wait until another document may be offered."""
        while self.offered - self.delivered >= self.in_flight and not self.over:
            self.news.clear()
            await self.news.wait()

    def latencies(self) -> list[float]:
        """Seconds from offer to delivery of each document; only meaningful one at a time."""
        return [end - start for start, end in zip(self.offered_at, self.delivered_at, strict=False)]


class Counting(Metrics):
    """The gateway's own counters, which also tell the bench when a document has arrived or will not."""

    def __init__(self, office: BenchOffice) -> None:
        super().__init__()
        self._office = office

    def outcome(self, direction: Direction, state: State, level: str, peer: str) -> None:
        """Count, and tell the office."""
        super().outcome(direction, state, level, peer)
        if direction == "out":
            self._office.came_to(state)


class BenchOffice:
    """``ports.OfficeSystem`` without an office behind it."""

    name = "bench"
    certainty: Literal["ask", "unique", "blind"] = "unique"

    def __init__(self) -> None:
        self._pool = os.urandom(POOL)
        self._batch: Batch | None = None
        self._numbers = 0
        self._seen: dict[str, str] = {}  # exchange -> title
        self._bytes = 0
        self._repeats = 0

    # ---- what the benchmark asks

    async def send(self, batch: Batch) -> None:
        """Send a batch; returns when every document was delivered or one failed."""
        self._batch = batch
        while not batch.over:
            batch.news.clear()
            await batch.news.wait()
        self._batch = None

    def expect(self, documents: int) -> Batch:
        """Count the outcomes of documents that somebody else puts into the office."""
        self._batch = Batch(to="", documents=documents, size=0, in_flight=documents, offered=documents)
        return self._batch

    def came_to(self, state: State) -> None:
        """An exchange of ours reached a state."""
        batch = self._batch
        if batch is None:
            return
        if state is State.DELIVERED:
            batch.delivered += 1
            batch.ended = time.perf_counter()
            if batch.in_flight == 1:
                batch.delivered_at.append(batch.ended)
        elif state not in (State.TAKEN, State.SEALED, State.CONSIGNED, State.RELAYED):
            batch.failure = f"a document came to {state}"
        batch.news.set()

    def tally(self) -> dict[str, int]:
        """What was handed over since the last tally: deliveries, different documents among them, bytes, repeats."""
        counted = {
            "deliveries": len(self._seen),
            "different": len(set(self._seen.values())),
            "bytes": self._bytes,
            "repeats": self._repeats,
        }
        self._seen, self._bytes, self._repeats = {}, 0, 0
        return counted

    # ---- ports.OfficeSystem

    async def offers(self) -> AsyncIterator[Offer | BadOffer]:
        """One offer after the other as the earlier ones arrive, until the batch is offered."""
        batch = self._batch
        while batch is not None and batch.offered < batch.documents:
            await batch.room()
            if batch.over:
                return
            now = time.perf_counter()
            batch.begun = batch.begun or now
            batch.offered += 1
            if batch.in_flight == 1:
                batch.offered_at.append(now)
            yield self._offer(batch)

    def _offer(self, batch: Batch) -> Offer:
        self._numbers += 1
        number = self._numbers
        part = OfferedPart(
            name="正文.pdf",
            role="body",
            level=None,
            media_type="application/pdf",
            size=batch.size,
            read=lambda: self._content(number, batch.size),
        )
        document = msgspec.structs.replace(DOCUMENT, title=f"性能测试 {number}", primary_recipients=(Addressee(org=batch.to),))
        return Offer(source=f"bench-{number}", document=document, recipients=((batch.to, "primary"),), parts=(part,))

    def _content(self, number: int, size: int) -> Iterator[bytes]:
        start = number * STRIDE % (POOL - PIECE)
        first = min(size, PIECE)
        yield (HEAD + self._pool[start : start + first - len(HEAD)])[:first]
        piece = self._pool[start : start + PIECE]
        for left in range(size - first, 0, -PIECE):
            yield piece if left >= PIECE else piece[:left]

    async def fetch(self, source: str, exchange: str) -> Offer:  # noqa: ARG002  # the port's signature
        """Raises OfferGone: a benchmark is never resumed."""
        raise OfferGone(f"{source} was offered once", source=source)

    async def settle(self, source: str, exchange: str) -> None:
        """Nothing lies in any tray."""

    async def refuse(self, source: str, reasons: Sequence[Reason]) -> None:
        """No document of a benchmark may be refused."""
        if self._batch is not None:
            self._batch.failure = f"{source} was refused: " + "; ".join(reason.en for reason in reasons)
            self._batch.news.set()

    async def report(self, status: Status) -> None:
        """Nobody looks."""

    async def deliver(self, delivery: Delivery) -> None:
        """Take every byte, keep none. Large parts are decrypted while they are read: off the event loop."""
        if delivery.exchange in self._seen:
            self._repeats += 1
            return
        parts = delivery.parts()
        first = next(parts)
        if first.entry.size <= PIECE:
            size = _consume(first, parts)
        else:
            size = await asyncio.to_thread(_consume, first, parts)
        self._seen[delivery.exchange] = delivery.document.title
        self._bytes += size

    async def acts(self) -> AsyncIterator[Act]:
        """Nobody signs."""
        none: tuple[Act, ...] = ()
        for act in none:
            yield act

    async def acknowledge(self, act: Act, reasons: Sequence[Reason] = ()) -> None:
        """Nobody asked."""


def _consume(first: OpenedPart, others: Iterator[OpenedPart]) -> int:
    return sum(len(chunk) for part in itertools.chain((first,), others) for chunk in part.chunks)

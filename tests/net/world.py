"""A whole receiving side in memory: covers are five fields in JSON, everything else behaves as the real flow does towards the wire."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

from crypto.digests import digest
from gateway.core.errors import ProblemError, TooManyUploads
from gateway.flow.ports import Answer, Parcel, Pending, ReceiptAnswer, Receipted, SignedReceipt

MAX_OPEN = 4


async def eventually(condition: Callable[[], bool], seconds: float = 3.0) -> None:
    """Wait until the condition holds; fail when it does not."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110  # what is waited for happens on the other side of a socket
            await asyncio.sleep(0.005)


def exchange_id(number: int) -> str:
    return f"01900000-0000-7000-8000-{number:012x}"


def cover_of(exchange: str, content: bytes, **fields: object) -> bytes:
    body = json.dumps({"id": exchange, "size": len(content), "digest": digest("sha256", content), **fields}).encode()
    return len(body).to_bytes(4, "big") + body


def parcel_of(number: int, content: bytes, *, inline: bool | None = None, chunk: int = 64 * 1024, **fields: object) -> Parcel:
    cover = cover_of(exchange_id(number), content, **fields)
    in_post = len(content) <= 1024 * 1024 if inline is None else inline

    def read(offset: int):
        for start in range(offset, len(content), chunk):
            yield content[start : start + chunk]

    return Parcel(
        exchange=exchange_id(number),
        transmittal_digest=digest("sha256", cover),
        cover=cover,
        size=len(content),
        inline=content if in_post else None,
        read=read,
    )


@dataclass
class Growing:
    exchange: str
    facts: dict
    data: bytearray = field(default_factory=bytearray)
    pieces: int = 0


class MemoryArrivals:
    """``ports.Arrivals``."""

    def __init__(self) -> None:
        self.accepted: dict[str, bytes] = {}
        self.answers: dict[str, Receipted] = {}
        self.uploads: dict[tuple[str, str], Growing] = {}
        self.given: list[SignedReceipt] = []
        self.offers = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.waiting = 0
        self.largest_piece = 0
        self.raise_next: Exception | None = None
        self.after_append: Answer | None = None

    async def offer(self, peer: str, cover: bytes, content: bytes | None) -> Answer:
        self.offers += 1
        self.waiting += 1
        try:
            await self.gate.wait()
        finally:
            self.waiting -= 1
        if self.raise_next:
            error, self.raise_next = self.raise_next, None
            raise error
        length, body = cover[:4], cover[4:]
        assert int.from_bytes(length, "big") == len(body)
        facts = json.loads(body)
        key = digest("sha256", cover)
        if key in self.answers:
            return self.answers[key]
        if content is not None:
            return self._accept(key, facts, content)
        if (peer, key) not in self.uploads:
            if sum(owner == peer for owner, _ in self.uploads) >= MAX_OPEN:
                raise TooManyUploads("four are enough")
            self.uploads[peer, key] = Growing(facts["id"], facts)
        return Pending(state="upload", offset=len(self.uploads[peer, key].data))

    def _accept(self, key: str, facts: dict, content: bytes) -> Receipted:
        if len(content) != facts["size"] or digest("sha256", content) != facts["digest"]:
            raise ProblemError("ciphertext-mismatch", "other bytes than promised", retryable=True)
        self.accepted[facts["id"]] = content
        receipts = tuple(
            SignedReceipt(body=f"receipt {facts['id']} {number}".encode(), signature=b"s" * 1500)
            for number in range(facts.get("recipients", 1))
        )
        self.answers[key] = Receipted(receipts=receipts)
        return self.answers[key]

    def _upload(self, peer: str, exchange: str, transmittal: str) -> Growing:
        growing = self.uploads.get((peer, transmittal))
        if growing is None or growing.exchange != exchange:
            raise ProblemError("not-found", "no such upload of this peer", retryable=False)
        return growing

    async def repeated(self, peer: str, cover: bytes) -> None:
        pass

    async def offset(self, peer: str, exchange: str, transmittal_digest: str) -> int:
        return len(self._upload(peer, exchange, transmittal_digest).data)

    async def append(self, peer: str, exchange: str, transmittal_digest: str, offset: int, chunks: AsyncIterator[bytes]) -> Answer:
        growing = self._upload(peer, exchange, transmittal_digest)
        if offset != len(growing.data):
            raise ProblemError("offset-mismatch", "elsewhere", retryable=True, offset=len(growing.data))
        async for chunk in chunks:
            growing.data += chunk
            growing.pieces += 1
            self.largest_piece = max(self.largest_piece, len(chunk))
        if len(growing.data) < growing.facts["size"]:
            return Pending(state="upload", offset=len(growing.data))
        if self.after_append:
            return self.after_append
        del self.uploads[peer, transmittal_digest]
        try:
            return self._accept(transmittal_digest, growing.facts, bytes(growing.data))
        except ProblemError:
            self.uploads[peer, transmittal_digest] = Growing(exchange, growing.facts)
            raise

    async def receipts(self, peer: str, receipts: Sequence[SignedReceipt]) -> tuple[ReceiptAnswer, ...]:
        answers = []
        for receipt in receipts:
            self.given.append(receipt)
            known = receipt.body.startswith(b"receipt")
            answers.append(ReceiptAnswer(digest=digest("sha256", receipt.body), code="ok" if known else "not-found", retryable=not known))
        return tuple(answers)


class CountingGauges:
    """What the peer port counts."""

    def __init__(self) -> None:
        self.refusals: list[tuple[str, str]] = []
        self.limited: list[tuple[str, str]] = []
        self.stages: list[str] = []

    def latency(self, stage, seconds) -> None:
        assert seconds >= 0
        self.stages.append(stage)

    def problem_answered(self, code, peer) -> None:
        self.refusals.append((code, peer))

    def held_back(self, limit, peer) -> None:
        self.limited.append((limit, peer))

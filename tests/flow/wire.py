"""What of a world is simulated: its clocks, its time authority, and the wires that lose, cut, double and alter what they carry."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal

from gateway.core.errors import PeerProblem, ProblemError, Unreachable
from gateway.flow.ports import (
    Answer,
    Arrivals,
    Parcel,
    Pending,
    ReceiptAnswer,
    SignedReceipt,
)
from gateway.net.problems import is_defect, problem_of
from tests.crypto.pki import Pki

if TYPE_CHECKING:
    from tests.flow.world import Node, World

# ---- time ------------------------------------------------------------------------------------------------------------------------


class WorldTime:
    """What time it is, for everybody. ``pass_`` lets time go by at once."""

    def __init__(self, begin: datetime) -> None:
        self._begin = begin
        self._started = time.monotonic()
        self._passed = timedelta(0)

    def pass_(self, span: timedelta) -> None:
        self._passed += span

    def now(self) -> datetime:
        return self._begin + timedelta(seconds=self.monotonic())

    def monotonic(self) -> float:
        return time.monotonic() - self._started + self._passed.total_seconds()


class WorldClock:
    """One gateway's clock: the truth and its own ``skew``."""

    def __init__(self, truth: WorldTime) -> None:
        self._truth = truth
        self.skew = timedelta(0)

    def now(self) -> datetime:
        return self._truth.now() + self.skew

    def monotonic(self) -> float:
        return self._truth.monotonic()


class LocalAuthority:
    """A time-stamping authority in this process (ports.TokenSource). Requests it answered are counted."""

    def __init__(self, pki: Pki, truth: WorldTime) -> None:
        self._authority = pki.authority
        self._truth = truth
        self.silent = False
        self.skew = timedelta(0)
        self.asked = 0
        self.edit: Callable[[bytes], bytes] = lambda response: response

    async def respond(self, request: bytes) -> bytes:
        if self.silent:
            raise Unreachable("the time authority is silent", place="tsa")
        self.asked += 1
        return self.edit(self._authority.respond(request, at=self._truth.now() + self.skew, serial=self.asked))


# ---- the wire --------------------------------------------------------------------------------------------------------------------

Kind = Literal["unsent", "reply-lost", "twice", "cut", "flip", "edit"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What happens to one offer on the wire. ``cut``: the upload breaks after so many bytes, ``flip``: the byte there arrives changed;
    ``edit``: what arrives instead.
    """

    kind: Kind
    after: int = 0
    edit: Callable[[bytes, bytes | None], tuple[bytes, bytes | None]] = lambda cover, content: (cover, content)


class Line:
    """The way of one gateway to the others (ports.Link): carries bytes straight into their Arrivals, as well as its faults let it."""

    def __init__(self, world: World, me: str) -> None:
        self._world = world
        self._me = me
        self.down: set[str] = set()  # gateways that cannot be reached
        self.faults: deque[Fault] = deque()
        self.receipt_faults: deque[Kind] = deque()
        self.offered: list[tuple[str, Parcel]] = []  # every attempt, whatever became of it
        self.carried: list[tuple[str, bytes, bytes | None]] = []  # (to, cover, inline content) of every offer that arrived
        self.answers: list[Answer | ProblemError] = []
        self.receipts: list[tuple[str, SignedReceipt]] = []  # (to, receipt) that arrived
        self.uploaded: list[tuple[int, int]] = []  # (offset, bytes) of every piece of an upload

    async def send(self, gateway: str, parcel: Parcel) -> Answer:
        self.offered.append((gateway, parcel))
        fault = self.faults.popleft() if self.faults else None
        arrivals = self._reach(gateway)
        if fault and fault.kind == "unsent":
            raise Unreachable("lost on the way", place=gateway)
        cover, content = parcel.cover, parcel.inline
        if fault and fault.kind == "edit":
            cover, content = fault.edit(cover, content)
        once = self._deliver(arrivals, gateway, parcel, cover, content, fault)
        if fault and fault.kind == "twice":
            again = self._deliver(arrivals, gateway, parcel, cover, content, None)
            answer, _ = await asyncio.gather(once, again, return_exceptions=True)
            if isinstance(answer, BaseException):
                raise answer
        else:
            answer = await once
        if fault and fault.kind == "reply-lost":
            raise Unreachable("the answer was lost", place=gateway)
        return answer

    async def send_receipts(self, gateway: str, receipts: Sequence[SignedReceipt]) -> tuple[ReceiptAnswer, ...]:
        fault = self.receipt_faults.popleft() if self.receipt_faults else None
        arrivals = self._reach(gateway)
        if fault == "unsent":
            raise Unreachable("lost on the way", place=gateway)
        self.receipts += [(gateway, receipt) for receipt in receipts]
        answers = await arrivals.receipts(self._me, receipts)
        if fault == "twice":
            answers = await arrivals.receipts(self._me, receipts)
        if fault == "reply-lost":
            raise Unreachable("the answer was lost", place=gateway)
        return answers

    def _reach(self, gateway: str) -> Arrivals:
        node = self._world.by_gateway.get(gateway)
        if node is None or not node.alive or gateway in self.down:
            raise Unreachable(f"{gateway} does not answer", place=gateway)
        return node.journey.inbound

    async def _deliver(
        self, arrivals: Arrivals, gateway: str, parcel: Parcel, cover: bytes, content: bytes | None, fault: Fault | None
    ) -> Answer:
        with self._answering(gateway):
            answer = await arrivals.offer(self._me, cover, content)
            self.carried.append((gateway, cover, content))
            while isinstance(answer, Pending) and answer.state == "upload" and content is None:
                pieces = self._pieces(parcel.read(answer.offset), answer.offset, fault)
                try:
                    answer = await arrivals.append(self._me, parcel.exchange, parcel.transmittal_digest, answer.offset, pieces)
                except ConnectionError as error:
                    reached = await arrivals.offset(self._me, parcel.exchange, parcel.transmittal_digest)
                    raise Unreachable("the upload broke", place=gateway, offset=reached) from error
            self.answers.append(answer)
            return answer

    async def _pieces(self, chunks: Iterator[bytes], offset: int, fault: Fault | None) -> AsyncIterator[bytes]:
        cut = fault.after if fault and fault.kind == "cut" else None
        sent = 0
        for chunk in chunks:
            piece = chunk if cut is None else chunk[: max(0, cut - sent)]
            if fault and fault.kind == "flip" and sent <= fault.after < sent + len(piece):
                piece = flipped(piece, (fault.after - sent) * 8)
            sent += len(piece)
            self.uploaded.append((offset + sent - len(piece), len(piece)))
            yield piece
            if cut is not None and sent >= cut:
                raise ConnectionResetError("cut")

    def _answering(self, gateway: str) -> _Answering:
        return _Answering(self._world, self._world.by_gateway[gateway], self.answers)


class _Answering:
    """What the peer server does with whatever an arrival raises: the same table, and defects are remembered."""

    def __init__(self, world: World, node: Node, answers: list[Answer | ProblemError]) -> None:
        self._world = world
        self._node = node
        self._life = node.lives
        self._answers = answers

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if not isinstance(error, Exception) or isinstance(error, Unreachable):
            return
        gateway = self._node.gateway
        if not self._node.alive or self._node.lives != self._life or self._node.crashing:
            raise Unreachable(f"{gateway} died over it", place=gateway) from error
        if is_defect(error):
            self._world.defects.append(error)
        stated = problem_of(error)
        if isinstance(error, ProblemError):
            self._answers.append(error)
        message = f"{gateway} answers {stated.word}"
        raise PeerProblem(message, problem=stated.word, retryable=stated.retryable, peer=gateway) from error


def flipped(data: bytes, bit: int) -> bytes:
    """The same with one bit turned round."""
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)

"""Receipts that hold by themselves and not beside what their issuer said before: kept as proof, once, and without effect.

Two with one ``prev`` prove that their issuer contradicts itself; so does a NotSignedFor after the delivery that was the outcome, because
policy asks nobody to sign. What was said is remembered while an exchange is hot; otherwise one question reads it back.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass

from gateway.core.exchange import Event
from gateway.core.leaf import LeafKind
from gateway.core.policy import load_policy
from gateway.core.receipt import Forked, Receipt, SignForNotAsked
from gateway.core.step import Step
from gateway.core.transmittal import Transmittal
from gateway.flow.alone import Alone
from gateway.flow.complaints import Complaints
from gateway.flow.leaves import Leaves
from gateway.flow.progress import Said, link_of
from gateway.flow.rooms import Rooms
from gateway.flow.witness import Judged, kept

log = logging.getLogger("yizhan.receipts")

MAX_PROOFS = 2  # receipts kept of one ``prev``: two prove it, and more would let a liar fill the disk


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """Why a receipt has no effect, and whether it has to be kept as the proof of that."""

    error: Forked | SignForNotAsked
    keep: bool


class Doubts:
    """Holds receipts against what their issuers said before."""

    def __init__(self, rooms: Rooms, complaints: Complaints) -> None:
        self._rooms = rooms
        self._complaints = complaints
        self._leaves = Leaves(rooms.standing)
        self._recording = Alone()

    @contextlib.asynccontextmanager
    async def alone(self, judged: Sequence[Judged]) -> AsyncIterator[None]:
        """From looking to recording, one at a time for an issuer and an exchange: two that came at the same moment see each other."""
        async with contextlib.AsyncExitStack() as locks:
            for name in sorted({f"{one.receipt.exchange}/{one.receipt.by.org}" for one in judged}):  # in one order: nobody waits in a ring
                await locks.enter_async_context(self._recording.under(name))
            yield

    async def look(self, judged: Sequence[Judged]) -> dict[str, Doubt]:
        """By digest, those that may not count."""
        said: dict[str, Said] = {}
        doubts: dict[str, Doubt] = {}
        for one in judged:
            exchange = one.receipt.exchange
            if exchange not in said:
                said[exchange] = await self._said(exchange)
            doubt = await self._doubt(one, said[exchange])
            if doubt is not None:
                doubts[one.digest] = doubt
        return doubts

    async def record(self, peer: str, judged: Sequence[Judged], doubts: Mapping[str, Doubt]) -> dict[str, Exception]:
        """Moves nothing: the proof is kept, each with its leaf, and people are told. Why, by digest."""
        for one in judged:
            doubt, at = doubts[one.digest], self._rooms.clock.now()
            code = str(doubt.error.code)
            log.warning("receipt %s of %s contradicts: %s", one.digest, one.receipt.by.org, doubt.error)
            leaf = self._leaves.receipt(LeafKind.CONTRADICTION, at, one.receipt, one.digest, "contradiction", code)
            if doubt.keep:
                self._rooms.hot_out.drop(one.receipt.exchange)  # it remembers the first of them alone
                await self._rooms.record(Step(changes=(kept(one, "out", at),), leaves=(leaf,)))
            else:
                await self._complaints.record(peer, leaf)
            self._rooms.gauges.refused(code, peer)
        return {one.digest: doubts[one.digest].error for one in judged}

    async def _said(self, exchange: str) -> Said:
        ready = self._rooms.hot_out.get(exchange)
        if ready is not None:
            return ready.progress.said.copy()
        said = Said()
        for row in await self._rooms.ledger.receipts("out", exchange):
            said.add(Receipt.from_bytes(row.body), row.digest)
        return said

    async def _doubt(self, one: Judged, said: Said) -> Doubt | None:
        receipt, before = one.receipt, said.digests.get(link_of(one.receipt), ())
        if before and before[0] != one.digest:
            proofs = [known for known in before if known != one.digest]
            error = Forked(f"{receipt.by.org} made two receipts with one prev", digests=(before[0], one.digest))
            said.add(receipt, one.digest)
            return Doubt(error=error, keep=one.digest not in before and len(proofs) < MAX_PROOFS)
        if receipt.event == Event.NOT_SIGNED_FOR and said.handed_over(receipt) and not await self._asked(receipt.exchange):
            return Doubt(
                error=SignForNotAsked("nobody had to sign: the delivery was the outcome", exchange=receipt.exchange), keep=not before
            )
        said.add(receipt, one.digest)
        return None

    async def _asked(self, exchange: str) -> bool:
        """Whether the policy the exchange was sent under asks for a sign-for; one that cannot be found does."""
        rooms = self._rooms
        row = await rooms.ledger.exchange("out", exchange)
        assert row is not None
        assert row.transmittal is not None
        transmittal = Transmittal.from_bytes(row.transmittal)
        policy = rooms.standing.policy
        if policy.digest != transmittal.policy.digest:
            body = await rooms.ledger.kept("policy", transmittal.policy.digest)
            if body is None:
                return True
            policy = load_policy(body)
        handling = policy.handling(transmittal.level)
        return handling is None or handling.sign_for_required

"""Taking receipts in: what other gateways state about our exchanges moves their passages, in whatever order it comes."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from crypto.digests import digest
from crypto.errors import LocalError, RemoteError, Unverified
from gateway.core.errors import ProblemError, Superseded
from gateway.core.exchange import TRANSITIONS, Event, Impossible, State, apply_receipt
from gateway.core.leaf import LeafKind
from gateway.core.receipt import Receipt
from gateway.core.step import Advance, Change, Finish, KeepReceipt, Schedule, Step
from gateway.core.transmittal import Transmittal
from gateway.flow.leaves import Leaves
from gateway.flow.office import Desk
from gateway.flow.ports import ReceiptAnswer, SignedReceipt
from gateway.flow.rooms import Rooms
from gateway.flow.witness import Judged, judge, kept, parse

log = logging.getLogger("yizhan.receipts")


@dataclass(frozen=True, slots=True)
class _Move:
    """What one receipt event does to a passage of ours: from any of these states to that one."""

    sources: frozenset[State]
    target: State


def _moves() -> dict[str, _Move]:
    moves: dict[str, _Move] = {}
    for event in Event:
        edges = [edge for edge in TRANSITIONS if edge.direction == "out" and edge.event is event and edge.source is not None]
        if event.value[0].isupper() and edges:
            targets = {edge.target for edge in edges}
            assert len(targets) == 1, f"internal: {event} leads to {targets}"
            moves[event.value] = _Move(frozenset(edge.source for edge in edges if edge.source), targets.pop())
    return moves


MOVES = _moves()


class Taking:
    """Judges receipts about our outgoing exchanges and records what they move."""

    def __init__(self, rooms: Rooms, desk: Desk) -> None:
        self._rooms = rooms
        self._desk = desk
        self._leaves = Leaves(rooms.standing)

    async def take_all(self, peer: str, receipts: Sequence[SignedReceipt]) -> tuple[ReceiptAnswer, ...]:
        """Receipts a peer sent, answered one by one."""
        return tuple([await self._take_one(peer, signed) for signed in receipts])

    async def take_answer(
        self, transmittal: Transmittal, transmittal_digest: str, recipients: Collection[str], receipts: Sequence[SignedReceipt], done: str
    ) -> None:
        """The receipts a peer answered our delivery to ``recipients`` with; ``done`` is the key of its work. Raises RemoteError."""
        at = self._rooms.clock.now()
        judged = await self._rooms.stage_out.run(self._judge_all, receipts, transmittal, transmittal_digest, at)
        if {one.receipt.recipient for one in judged} != set(recipients):
            raise Unverified("the receipts are not about those it was delivered to", check="recipients")
        await self._record(judged, at, finish=done)

    def _judge_all(
        self, receipts: Sequence[SignedReceipt], transmittal: Transmittal, transmittal_digest: str, at: datetime
    ) -> list[Judged]:
        return [judge(signed, parse(signed), transmittal, transmittal_digest, self._rooms.standing, at) for signed in receipts]

    async def _take_one(self, peer: str, signed: SignedReceipt) -> ReceiptAnswer:
        name = digest("sha256", signed.body)
        try:
            receipt = parse(signed)
        except RemoteError as error:
            return await self._turn_away(peer, name, error)
        found = await self._find(receipt.exchange)
        if found is None:
            return ReceiptAnswer(digest=name, code="not-found", retryable=False)
        transmittal, transmittal_digest = found
        at = self._rooms.clock.now()
        try:
            judged = await self._rooms.stage_out.run(judge, signed, receipt, transmittal, transmittal_digest, self._rooms.standing, at)
            await self._record([judged], at)
        except RemoteError as error:
            return await self._turn_away(peer, name, error)
        except LocalError as error:
            log.warning("receipt %s waits: %s", name, error)
            return ReceiptAnswer(digest=name, code="busy", retryable=True)
        return ReceiptAnswer(digest=name, code="ok", retryable=False)

    async def _turn_away(self, peer: str, name: str, error: RemoteError) -> ReceiptAnswer:
        """A receipt that states nothing: a leaf and an alarm, never a state."""
        log.warning("receipt %s from %s refused: %s", name, peer, error)
        code = error.problem if isinstance(error, ProblemError) else str(error.code)
        leaf = self._leaves.leaf(LeafKind.NOT_ENTITLED, self._rooms.clock.now(), "refused", object=name, reason=code, src=peer)
        await self._rooms.record(Step(changes=(), leaves=(leaf,)))
        self._rooms.gauges.refused(code, peer)
        return ReceiptAnswer(digest=name, code=code, retryable=isinstance(error, ProblemError) and error.retryable)

    async def _find(self, exchange: str) -> tuple[Transmittal, str] | None:
        ready = self._rooms.hot_out.get(exchange)
        if ready is not None:
            return ready.stamped.sealed.transmittal, ready.stamped.sealed.transmittal_digest
        row = await self._rooms.ledger.exchange("out", exchange)
        if row is None or row.transmittal is None or row.transmittal_digest is None:
            return None
        return Transmittal.from_bytes(row.transmittal), row.transmittal_digest

    async def _record(self, judged: Sequence[Judged], at: datetime, finish: str | None = None) -> None:
        """One transaction: receipts kept, passages moved, a report due. A receipt that came late moves nothing and is kept all the same."""
        if not judged:
            return
        exchange = judged[0].receipt.exchange
        report = self._desk.report("out", exchange, at)
        closing: tuple[Change, ...] = (*((Finish(key=finish),) if finish else ()), Schedule(work=report))
        leaves = tuple(self._leaves.receipt(LeafKind.RECEIPT, at, one.receipt, one.digest, "taken-in") for one in judged)
        keeps: tuple[KeepReceipt, ...] = tuple(kept(one, "out", at) for one in judged)
        try:
            await self._rooms.record(Step(changes=(*(self._move(one.receipt, at) for one in judged), *keeps, *closing), leaves=leaves))
            for one in judged:
                self._rooms.gauges.outcome("out", MOVES[one.receipt.event].target, "", one.receipt.by.gateway)
        except Superseded:
            await self._record_late(judged, at, closing)
        self._rooms.agenda.add(report)

    def _move(self, receipt: Receipt, at: datetime) -> Advance:
        move = MOVES[receipt.event]
        assert receipt.recipient is not None
        return Advance(direction="out", exchange=receipt.exchange, recipient=receipt.recipient, expect=move.sources, to=move.target, at=at)

    async def _record_late(self, judged: Sequence[Judged], at: datetime, closing: tuple[Change, ...]) -> None:
        """At least one passage was elsewhere: look at each against the state it is in."""
        row = await self._rooms.ledger.exchange("out", judged[0].receipt.exchange)
        assert row is not None
        states = {passage.recipient: passage.state for passage in row.passages}
        changes: list[Change] = []
        leaves = []
        for one in judged:
            state = states[one.receipt.recipient or ""]
            kind, outcome = LeafKind.RECEIPT, "taken-in"
            try:
                after = apply_receipt(state, one.receipt.event)
                if after is not state:
                    changes.append(self._move(one.receipt, at))
                    states[one.receipt.recipient or ""] = after
                else:
                    outcome = "implied"
            except Impossible:
                kind, outcome = LeafKind.CONTRADICTION, "contradiction"
                log.warning("receipt %s contradicts: %s of an exchange in state %s", one.digest, one.receipt.event, state)
            changes.append(kept(one, "out", at))
            leaves.append(self._leaves.receipt(kind, at, one.receipt, one.digest, outcome))
        await self._rooms.record(Step(changes=(*changes, *closing), leaves=tuple(leaves)))

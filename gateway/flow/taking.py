"""Taking receipts in: what other gateways state about our exchanges moves their passages, in whatever order it comes."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from crypto.digests import digest
from crypto.errors import RemoteError, Unverified
from gateway.core.errors import ProblemError, Superseded
from gateway.core.exchange import TRANSITIONS, Event, Impossible, State, apply_receipt
from gateway.core.leaf import LeafKind
from gateway.core.receipt import Forked, Receipt, SignForNotAsked
from gateway.core.step import Advance, Change, Finish, Schedule, Step, Work
from gateway.core.transmittal import Transmittal
from gateway.flow.complaints import Complaints
from gateway.flow.doubts import Doubts
from gateway.flow.leaves import Leaves
from gateway.flow.office import WAITED_FOR, Desk
from gateway.flow.ports import ReceiptAnswer, SignedReceipt
from gateway.flow.queue_poison import Poison, SetAside
from gateway.flow.rooms import Rooms
from gateway.flow.trouble import is_defect
from gateway.flow.witness import Judged, judge, kept, parse

log = logging.getLogger("yizhan.receipts")


@dataclass(frozen=True, slots=True)
class _Move:
    """What one receipt event does to a passage of ours: from any of these states to that one."""

    sources: frozenset[State]
    target: State


@dataclass(frozen=True, slots=True)
class _Found:
    """A receipt that came in, with the exchange of ours it speaks of."""

    signed: SignedReceipt
    receipt: Receipt
    transmittal: Transmittal
    transmittal_digest: str


@dataclass(frozen=True, slots=True)
class _Recording:
    """One transaction about the receipts of one exchange."""

    exchange: str
    at: datetime
    judged: Sequence[Judged]
    report: Work
    closing: tuple[Change, ...]
    step: Step


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

    def __init__(self, rooms: Rooms, desk: Desk, poison: Poison) -> None:
        self._rooms = rooms
        self._desk = desk
        self._poison = poison
        self._leaves = Leaves(rooms.standing)
        self.complaints = Complaints(rooms)
        self._doubts = Doubts(rooms, self.complaints)

    async def take_all(self, peer: str, receipts: Sequence[SignedReceipt]) -> tuple[ReceiptAnswer, ...]:
        """Receipts a peer sent, judged in one hop and kept in one transaction, answered one by one."""
        at = self._rooms.clock.now()
        read: dict[str, tuple[Transmittal, str]] = {}  # many receipts of a batch may be about one exchange, and its cover a long one
        found = [await self._find_one(signed, read) for signed in receipts]
        judged = await self._rooms.stage_out.run(self._judge_each, found, at)
        held = [one for one in judged if isinstance(one, Judged)]
        async with self._doubts.alone(held):
            doubts = await self._doubts.look(held)
            failures = await self._record_all([one for one in held if one.digest not in doubts])
            failures |= await self._doubts.record(peer, [one for one in held if one.digest in doubts], doubts)
        return tuple(
            [
                await self._answer(
                    peer, signed, digest("sha256", signed.body), failures.get(one.digest) if isinstance(one, Judged) else one
                )
                for signed, one in zip(receipts, judged, strict=True)
            ]
        )

    async def take_answer(
        self,
        peer: str,
        transmittal: Transmittal,
        transmittal_digest: str,
        recipients: Collection[str],
        receipts: Sequence[SignedReceipt],
        done: str,
    ) -> None:
        """The receipts ``peer`` answered our delivery to ``recipients`` with; ``done`` is the key of its work. Raises RemoteError.

        One that contradicts what its issuer said before ends no delivery: those beside it count, and it is asked again.
        """
        at = self._rooms.clock.now()
        judged = await self._rooms.stage_out.run(self._judge_all, receipts, transmittal, transmittal_digest, at)
        if {one.receipt.recipient for one in judged} != set(recipients):
            raise Unverified("the receipts are not about those it was delivered to", check="recipients")
        async with self._doubts.alone(judged):
            doubts = await self._doubts.look(judged)
            if not doubts:
                await self._record(judged, finish=done)
                return
            if sound := [one for one in judged if one.digest not in doubts]:
                await self._record(sound)
            await self._doubts.record(peer, [one for one in judged if one.digest in doubts], doubts)
        raise next(iter(doubts.values())).error

    def _judge_all(
        self, receipts: Sequence[SignedReceipt], transmittal: Transmittal, transmittal_digest: str, at: datetime
    ) -> list[Judged]:
        return [judge(signed, parse(signed), transmittal, transmittal_digest, self._rooms.standing, at) for signed in receipts]

    async def _find_one(self, signed: SignedReceipt, read: dict[str, tuple[Transmittal, str]]) -> _Found | Exception:
        """As ``_find``; what our own code fails at is this receipt's failure, not that of those that came with it."""
        try:
            self._poison.check_receipt(signed.body)
            return await self._find(signed, read)
        except Exception as error:  # noqa: BLE001  # answered one by one
            return error

    async def _find(self, signed: SignedReceipt, read: dict[str, tuple[Transmittal, str]]) -> _Found | RemoteError:
        """The receipt those bytes spell and the exchange of ours it speaks of."""
        try:
            receipt = parse(signed)
        except RemoteError as error:
            return error
        ready = self._rooms.hot_out.get(receipt.exchange)
        if ready is not None:
            sealed = ready.stamped.sealed
            return _Found(signed, receipt, sealed.transmittal, sealed.transmittal_digest)
        if receipt.exchange not in read:
            row = await self._rooms.ledger.exchange("out", receipt.exchange)
            if row is None or row.transmittal is None or row.transmittal_digest is None:
                return ProblemError("not-found", f"no exchange {receipt.exchange} was sent from here", retryable=False)
            read[receipt.exchange] = Transmittal.from_bytes(row.transmittal), row.transmittal_digest
        return _Found(signed, receipt, *read[receipt.exchange])

    def _judge_each(self, found: Sequence[_Found | Exception], at: datetime) -> list[Judged | Exception]:
        return [self._judge_one(one, at) if isinstance(one, _Found) else one for one in found]

    def _judge_one(self, found: _Found, at: datetime) -> Judged | Exception:
        try:
            return judge(found.signed, found.receipt, found.transmittal, found.transmittal_digest, self._rooms.standing, at)
        except Exception as error:  # noqa: BLE001  # answered one by one
            return error

    async def _record_all(self, judged: Sequence[Judged]) -> dict[str, Exception]:
        """Keep them all in one transaction; when one of them is in the way, each exchange by itself. What failed, by receipt digest."""
        groups: dict[str, list[Judged]] = {}
        for one in judged:
            groups.setdefault(one.receipt.exchange, []).append(one)
        failures: dict[str, Exception] = {}
        recordings = self._recordings(groups, failures) if len(groups) > 1 else []
        if len(recordings) > 1:
            whole = Step(
                changes=tuple(change for recording in recordings for change in recording.step.changes),
                leaves=tuple(leaf for recording in recordings for leaf in recording.step.leaves),
            )
            try:
                await self._rooms.record(whole)
            except Exception as error:  # below, one by one: each gets what it is due
                if is_defect(error):
                    log.exception("receipts that came together could not be recorded together")
            else:
                for recording in recordings:
                    self._recorded(recording)
                return failures
        for group in groups.values():
            if group[0].digest in failures:
                continue
            try:
                await self._record(group)
            except Exception as error:  # noqa: BLE001  # answered one by one
                failures |= {one.digest: error for one in group}
        return failures

    def _recordings(self, groups: dict[str, list[Judged]], failures: dict[str, Exception]) -> list[_Recording]:
        """One for each exchange; what our own code fails at goes into ``failures`` and is in nobody's way."""
        recordings = []
        for group in groups.values():
            try:
                recordings.append(self._recording(group))
            except Exception as error:  # noqa: BLE001  # answered one by one
                failures |= {one.digest: error for one in group}
        return recordings

    async def _answer(self, peer: str, signed: SignedReceipt, name: str, failure: Exception | None) -> ReceiptAnswer:
        if failure is None:
            if self._poison:
                self._poison.receipt_passed(signed.body)
            return ReceiptAnswer(digest=name, code="ok", retryable=False)
        if isinstance(failure, SetAside):
            return ReceiptAnswer(digest=name, code="internal", retryable=True)
        if is_defect(failure):
            log.error("receipt %s failed unexpectedly", name, exc_info=failure)
            await self._poison.receipt_failed(peer, signed.body, failure)
            return ReceiptAnswer(digest=name, code="internal", retryable=True)
        if isinstance(failure, ProblemError) and failure.problem == "not-found":
            return ReceiptAnswer(digest=name, code="not-found", retryable=False)
        if isinstance(failure, Forked | SignForNotAsked):
            return ReceiptAnswer(digest=name, code=str(failure.code), retryable=False)
        if isinstance(failure, RemoteError):
            return await self._turn_away(peer, name, failure)
        log.warning("receipt %s waits: %s", name, failure)
        return ReceiptAnswer(digest=name, code="busy", retryable=True)

    async def _turn_away(self, peer: str, name: str, error: RemoteError) -> ReceiptAnswer:
        """A receipt that states nothing: a leaf and an alarm, never a state."""
        log.warning("receipt %s from %s refused: %s", name, peer, error)
        code = error.problem if isinstance(error, ProblemError) else str(error.code)
        leaf = self._leaves.leaf(LeafKind.NOT_ENTITLED, self._rooms.clock.now(), "refused", object=name, reason=code, src=peer)
        await self.complaints.record(peer, leaf)
        self._rooms.gauges.refused(code, peer)
        return ReceiptAnswer(digest=name, code=code, retryable=isinstance(error, ProblemError) and error.retryable)

    async def _record(self, judged: Sequence[Judged], finish: str | None = None) -> None:
        """One transaction: receipts kept, passages moved, a report due. A receipt that came late moves nothing and is kept all the same."""
        recording = self._recording(judged, finish)
        try:
            await self._rooms.record(recording.step)
        except Superseded:
            await self._record_late(judged, recording.closing)
            self._rooms.hot_out.drop(recording.exchange)
            self._rooms.agenda.add(recording.report)
        else:
            self._recorded(recording)

    def _recording(self, judged: Sequence[Judged], finish: str | None = None) -> _Recording:
        """What one exchange's receipts change when its passages are where they are expected to be.

        Dated now and handed to the journal before anything else runs: an answer and a receipt that cross are recorded in the order of
        their moments, or the office would take the later status for the older one.
        """
        exchange, at = judged[0].receipt.exchange, self._rooms.clock.now()
        passing = all(MOVES[one.receipt.event].target in WAITED_FOR for one in judged)
        report = self._desk.report("out", exchange, at, passing=passing)
        closing: tuple[Change, ...] = (*((Finish(key=finish),) if finish else ()), Schedule(work=report))
        moves = (self._move(one.receipt, at) for one in judged)
        keeps = (kept(one, "out", at) for one in judged)
        leaves = tuple(self._leaves.receipt(LeafKind.RECEIPT, at, one.receipt, one.digest, "taken-in") for one in judged)
        return _Recording(exchange, at, judged, report, closing, Step(changes=(*moves, *keeps, *closing), leaves=leaves))

    def _recorded(self, recording: _Recording) -> None:
        """A recording is durable: show it, count it."""
        ready = self._rooms.hot_out.get(recording.exchange)
        for one in recording.judged:
            target = MOVES[one.receipt.event].target
            self._rooms.gauges.outcome("out", target, one.level, one.receipt.by.gateway)
            if ready is not None:
                ready.progress.stated(one.receipt, one.digest, target, recording.at)
        self._rooms.agenda.add(recording.report)

    def _move(self, receipt: Receipt, at: datetime) -> Advance:
        move = MOVES[receipt.event]
        assert receipt.recipient is not None
        return Advance(direction="out", exchange=receipt.exchange, recipient=receipt.recipient, expect=move.sources, to=move.target, at=at)

    async def _record_late(self, judged: Sequence[Judged], closing: tuple[Change, ...]) -> None:
        """At least one passage was elsewhere: look at each against the state it is in."""
        row = await self._rooms.ledger.exchange("out", judged[0].receipt.exchange)
        assert row is not None
        at = self._rooms.clock.now()
        states = {passage.recipient: passage.state for passage in row.passages}
        changes: list[Change] = []
        leaves, moved = [], []
        for one in judged:
            state = states[one.receipt.recipient or ""]
            kind, outcome = LeafKind.RECEIPT, "taken-in"
            try:
                after = apply_receipt(state, one.receipt.event)
                if after is not state:
                    changes.append(self._move(one.receipt, at))
                    states[one.receipt.recipient or ""] = after
                    moved.append((after, one))
                else:
                    outcome = "implied"
            except Impossible:
                kind, outcome = LeafKind.CONTRADICTION, "contradiction"
                self._rooms.gauges.refused("contradiction", one.receipt.by.gateway)
                log.warning("receipt %s contradicts: %s of an exchange in state %s", one.digest, one.receipt.event, state)
            changes.append(kept(one, "out", at))
            leaves.append(self._leaves.receipt(kind, at, one.receipt, one.digest, outcome))
        await self._rooms.record(Step(changes=(*changes, *closing), leaves=tuple(leaves)))
        for after, one in moved:
            self._rooms.gauges.outcome("out", after, one.level, one.receipt.by.gateway)

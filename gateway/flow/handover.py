"""The recipient's office: handing accepted documents over, and turning what people do there into signed receipts on their way back."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from crypto.suites import suite_named
from gateway.core.content import PartData, PartEnded, PartStarted
from gateway.core.errors import PeerProblem, Superseded
from gateway.core.exchange import TRANSITIONS, Event, State
from gateway.core.explain import explain
from gateway.core.keys import arrival_key, id_of, sender_of
from gateway.core.leaf import Actor, LeafKind
from gateway.core.step import Advance, Change, Finish, Schedule, Step, StoredContent, Work
from gateway.core.transmittal import Transmittal
from gateway.flow.accounts import Accounts
from gateway.flow.alone import Alone
from gateway.flow.clockguard import ClockUntrusted
from gateway.flow.leaves import Leaves
from gateway.flow.office import Desk
from gateway.flow.opening import Warm, reopen
from gateway.flow.ports import Act, Delivery, ExchangeRow, OpenedPart, SignedReceipt
from gateway.flow.private import open_private
from gateway.flow.queue_pace import signing_deadline
from gateway.flow.rooms import Rooms
from gateway.flow.sealing import kept_key
from gateway.flow.trouble import is_defect
from gateway.flow.witness import issue, kept, sending

log = logging.getLogger("yizhan.handover")

RECEIPTS_A_REQUEST = 64  # a larger batch only delays the first
ACT_REST = timedelta(seconds=30)  # an act our own code failed at is looked at again after this
ACT_EVENTS = {"sign-for": Event.SIGNED_FOR, "return": Event.RETURNED}
ACT_LEAVES = {Event.SIGNED_FOR: LeafKind.SIGNED_FOR, Event.RETURNED: LeafKind.RETURNED, Event.NOT_SIGNED_FOR: LeafKind.EXPIRED}


class HandOver:
    """Delivers into the office, takes people's acts, sends our receipts to the sender's gateway."""

    def __init__(self, rooms: Rooms, desk: Desk) -> None:
        self._rooms = rooms
        self._desk = desk
        self._leaves = Leaves(rooms.standing)
        self._accounts = Accounts(rooms)
        self._resting: dict[str, datetime] = {}  # acts that failed, until when
        self._stating = Alone()  # two statements that name the same predecessor would prove that we contradict ourselves

    # ---- ACCEPTED -> DELIVERED

    async def hand_over(self, work: Work) -> None:
        """Work "hand-over"."""
        rooms, begun = self._rooms, self._rooms.clock.monotonic()
        rooms.guard.check_dates(rooms.clock.now(), begun)  # what could not be stated is not done
        warm = rooms.hot_in.get(work.exchange) or await self._warm_again(work.exchange)
        if warm is None:
            await rooms.record(Step(changes=(Finish(key=work.key),)))
            return
        row_content = None if warm.parts is not None else await rooms.ledger.content("in", work.exchange)
        await rooms.office.deliver(self._delivery(warm, row_content))
        async with self._stating.under(work.exchange):
            at = rooms.clock.now()
            await self._state(warm.transmittal, warm.transmittal_digest, Event.HANDOVER, at, prev=warm.last_receipt, finish=work.key)
        rooms.hot_in.drop(work.exchange)
        rooms.gauges.latency("hand-over", rooms.clock.monotonic() - begun)

    def _delivery(self, warm: Warm, content: StoredContent | None) -> Delivery:
        transmittal, rooms = warm.transmittal, self._rooms
        deadline = signing_deadline(rooms.standing.policy, transmittal.level, transmittal.urgency, rooms.clock.now())
        return Delivery(
            exchange=warm.name,
            sender_org=transmittal.sender.org,
            sender_name=self._desk.name_of(transmittal.sender.org),
            level=transmittal.level,
            urgency=transmittal.urgency,
            received=warm.received,
            document=warm.document,
            parts=lambda: self._parts(warm, content),
            sign_for_by=deadline.ends if deadline is not None else None,
        )

    def _parts(self, warm: Warm, content: StoredContent | None) -> Iterator[OpenedPart]:
        if warm.parts is not None:
            return (OpenedPart(entry=entry, chunks=iter((data,))) for entry, data in warm.parts)
        assert content is not None
        assert warm.transmittal.content is not None
        chunks = iter((content.inline,)) if content.inline is not None else self._rooms.blobs.read(content.blob or "")
        events = reopen(warm.key, chunks, warm.transmittal.content.manifest, suite_named(warm.transmittal.suite))
        return _by_part(events)

    async def _warm_again(self, exchange: str) -> Warm | None:
        """After a restart, or when it was too large to keep: everything is still here, sealed."""
        row = await self._rooms.ledger.exchange("in", exchange)
        if row is None or row.transmittal is None or all(passage.state is not State.ACCEPTED for passage in row.passages):
            return None
        transmittal = Transmittal.from_bytes(row.transmittal)
        receipts = await self._rooms.ledger.receipts("in", exchange)
        assert row.own_key is not None
        assert row.transmittal_digest is not None
        return Warm(
            document=open_private(self._rooms.standing.storage_key, "in", exchange, row.private).document,
            key=kept_key(self._rooms.standing, "in", exchange, suite_named(transmittal.suite), row.own_key),
            parts=None,
            transmittal=transmittal,
            transmittal_digest=row.transmittal_digest,
            received=row.created,
            last_receipt=receipts[-1].digest,
            name=row.name,
        )

    # ---- people's acts

    async def take_acts(self) -> int:
        """Walk the office's acts once; how many there were. None is taken while nothing may be dated by our clock: they stay there."""
        count, clock = 0, self._rooms.clock
        try:
            self._rooms.guard.check_dates(clock.now(), clock.monotonic())
        except ClockUntrusted:
            return count
        async for act in self._rooms.office.acts():
            if self._rests(act.id):
                continue
            count += 1
            try:
                await self._take_act(act)
            except Exception as error:  # the outermost loop of one act: it stays and is looked at again
                if is_defect(error):
                    self._resting[act.id] = self._rooms.clock.now() + ACT_REST
                log.exception("act %s waits", act.id)
        return count

    def _rests(self, act: str) -> bool:
        """Whether our own code failed at it a moment ago; looked at with every walk, it would fill the log."""
        until = self._resting.get(act)
        if until is not None and self._rooms.clock.now() >= until:
            del self._resting[act]
            return False
        return until is not None

    async def _take_act(self, act: Act) -> None:
        row = await self._rooms.ledger.named(act.exchange)
        if row is None or row.transmittal is None or row.transmittal_digest is None:
            await self._rooms.office.acknowledge(act, (explain("act/unknown-exchange", exchange=act.exchange),))
            return
        async with self._stating.under(row.key):
            await self._take_act_alone(act, row)

    async def _take_act_alone(self, act: Act, row: ExchangeRow) -> None:
        rooms, at = self._rooms, self._rooms.clock.now()
        assert row.transmittal is not None
        assert row.transmittal_digest is not None
        receipts = await rooms.ledger.receipts("in", row.key)
        actor = Actor(id=await self._accounts.number(act.actor), role="clerk", auth="office")
        try:
            await self._state(
                Transmittal.from_bytes(row.transmittal),
                row.transmittal_digest,
                ACT_EVENTS[act.kind],
                at,
                prev=receipts[-1].digest if receipts else None,
                reason="returned" if act.kind == "return" else None,
                actor=actor,
            )
        except Superseded as error:
            if error.state == (State.SIGNED_FOR if act.kind == "sign-for" else State.RETURNED):
                await rooms.office.acknowledge(act)  # it took effect before a crash; the office was not told
            else:
                await rooms.office.acknowledge(act, (explain("act/too-late", state=str(error.state)),))
            return
        await rooms.office.acknowledge(act)

    async def not_signed_for(self, exchange: str) -> None:
        """The exchange expired in the office without anybody's act: that is its outcome."""
        async with self._stating.under(exchange):
            await self._not_signed_for_alone(exchange)

    async def _not_signed_for_alone(self, exchange: str) -> None:
        row = await self._rooms.ledger.exchange("in", exchange)
        if row is None or row.transmittal is None or row.transmittal_digest is None:
            return
        receipts = await self._rooms.ledger.receipts("in", exchange)
        transmittal = Transmittal.from_bytes(row.transmittal)
        try:
            await self._state(
                transmittal,
                row.transmittal_digest,
                Event.NOT_SIGNED_FOR,
                self._rooms.clock.now(),
                prev=receipts[-1].digest,
                reason="expired",
            )
        except Superseded:
            return
        self._rooms.hot_in.drop(exchange)  # what never reached the office must not reach it now

    async def lapse(self, exchange: str) -> None:
        """The exchange expired while it was held here for a person: nothing was ever stated about it, and nothing is now."""
        rooms, at, us = self._rooms, self._rooms.clock.now(), self._rooms.standing.organisation
        advance = Advance(direction="in", exchange=exchange, recipient=us, expect=frozenset({State.HELD}), to=State.EXPIRED, at=at)
        leaf = self._leaves.leaf(
            LeafKind.EXPIRED, at, "expired", exchange=id_of(exchange), sender=sender_of(exchange), recipient=us, reason="expired"
        )
        with contextlib.suppress(Superseded):
            await rooms.record(Step(changes=(advance,), leaves=(leaf,)))

    # ---- stating

    async def _state(
        self,
        transmittal: Transmittal,
        transmittal_digest: str,
        event: Event,
        at: datetime,
        *,
        prev: str | None,
        reason: str | None = None,
        actor: Actor | None = None,
        finish: str | None = None,
    ) -> None:
        """One transaction: the passage moves, the receipt is kept and due at the sender's gateway. Raises Superseded."""
        rooms, key = self._rooms, arrival_key(transmittal.id, transmittal.sender.org)
        stated = await rooms.stage_in.run(
            issue,
            rooms.standing,
            suite_named(transmittal.suite),
            exchange=transmittal.id,
            recipient=rooms.standing.organisation,
            transmittal=transmittal_digest,
            sealed=transmittal.content.sealed if transmittal.content else None,
            event=event.value,
            at=at,
            prev=prev,
            reason=reason,
        )
        sources, target = _edge(event)
        bringing = sending(key, transmittal.sender.gateway, stated.digest, at)
        changes: list[Change] = [
            Advance(direction="in", exchange=key, recipient=rooms.standing.organisation, expect=sources, to=target, at=at),
            kept(stated, "in", at, sender_org=transmittal.sender.org),
            Schedule(work=bringing),
        ]
        if finish:
            changes.append(Finish(key=finish))
        report = None if event is Event.HANDOVER else self._desk.report("in", key, at)
        if report:
            changes.append(Schedule(work=report))
        kind = LeafKind.DELIVERED if event is Event.HANDOVER else ACT_LEAVES[event]
        fields = {"actor": actor} if actor else {}
        leaf = self._leaves.leaf(
            kind,
            at,
            "issued",
            exchange=transmittal.id,
            sender=transmittal.sender.org,
            recipient=rooms.standing.organisation,
            object=stated.digest,
            reason=reason,
            src=rooms.standing.gateway,
            dst=transmittal.sender.gateway,
            level=transmittal.level,
            **fields,
        )
        try:
            await rooms.record(Step(changes=tuple(changes), leaves=(leaf,)))
        except Superseded:
            if finish:
                await rooms.record(Step(changes=(Finish(key=finish),)))
                return
            raise
        rooms.hot_receipts.put(stated.digest, stated.signed, len(stated.signed.body) + len(stated.signed.signature))
        rooms.gauges.outcome("in", target, transmittal.level, transmittal.sender.gateway)
        rooms.agenda.add_all((bringing, *((report,) if report else ())))

    # ---- receipts on their way back

    async def send_receipts(self, work: Work) -> None:
        """Work "send-receipt": this one and whatever else waits for the same gateway, in one request."""
        rooms = self._rooms
        # a receipt tells nothing of its document: what the lowest level is forgiven is forgiven here
        rooms.standing.check_directory(rooms.clock.now(), rooms.standing.policy.lowest)
        works = [work, *rooms.agenda.take_waiting("send-receipt", work.peer, RECEIPTS_A_REQUEST - 1)]
        try:
            await self._send(work.peer, works)
        finally:
            for other in works[1:]:
                rooms.agenda.done(other)

    async def _send(self, peer: str, works: list[Work]) -> None:
        rooms = self._rooms
        works, signed = await self._readable(works)
        if not works:
            return
        try:
            answers = await rooms.link.send_receipts(peer, signed)
        except Exception as error:  # noqa: BLE001  # each is put off by itself, and what became of one is not the others' affair
            for other in works:
                await rooms.failing.failed(other, error)
            return
        rooms.agenda.is_back(peer)
        finished: list[Finish] = []
        for other, answer in zip(works, answers, strict=True):
            if answer.retryable:
                await rooms.failing.failed(other, PeerProblem(f"{peer} answered {answer.code}", problem=answer.code, retryable=True))
                continue
            if answer.code != "ok":
                log.error("%s turned receipt %s away: %s", peer, other.detail.decode(), answer.code)
            finished.append(Finish(key=other.key))
            rooms.hot_receipts.drop(other.detail.decode())
        rooms.finish(*finished)

    async def _readable(self, works: Sequence[Work]) -> tuple[list[Work], list[SignedReceipt]]:
        """The receipts these works name, and the works; one that cannot be read fails alone."""
        found, signed = [], []
        for work in works:
            try:
                signed.append(await self._signed(work))
            except Exception as error:  # noqa: BLE001  # as above
                await self._rooms.failing.failed(work, error)
            else:
                found.append(work)
        return found, signed

    async def _signed(self, work: Work) -> SignedReceipt:
        digest = work.detail.decode()
        hot = self._rooms.hot_receipts.get(digest)
        if hot is not None:
            return hot
        row = await self._rooms.ledger.receipt(digest)
        assert row is not None, f"internal: work {work.key} names a receipt that is not here"
        return SignedReceipt(body=row.body, signature=row.signature)


def _by_part(events: Iterator[PartStarted | PartData | PartEnded]) -> Iterator[OpenedPart]:
    """Group the flat stream of events by part. A part's chunks must be read to their end before the next part is asked for."""
    for event in events:
        if isinstance(event, PartStarted):
            yield OpenedPart(entry=event.entry, chunks=_data_until_end(events))


def _data_until_end(events: Iterator[PartStarted | PartData | PartEnded]) -> Iterator[bytes]:
    for event in events:
        if isinstance(event, PartEnded):
            return
        assert isinstance(event, PartData)
        yield event.data


def _edge(event: Event) -> tuple[frozenset[State], State]:
    edges = [edge for edge in TRANSITIONS if edge.direction == "in" and edge.event is event and edge.source is not None]
    return frozenset(edge.source for edge in edges if edge.source), edges[0].target

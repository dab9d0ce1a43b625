"""The desk towards the office system: settling, refusing, reporting and acknowledging as due work; each harmless twice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import msgspec

from gateway.core.directory import DirectoryError
from gateway.core.exchange import Direction, State
from gateway.core.explain import Reason
from gateway.core.step import Finish, Work
from gateway.core.transmittal import Transmittal
from gateway.core.urgency import Deadline
from gateway.flow.bulk import size_note
from gateway.flow.ports import ExchangeRow, ReceiptRow, RecipientStatus, Status
from gateway.flow.private import open_private, source_digest
from gateway.flow.queue_pace import WAITING, deadline_of_row, delivery_deadline, urge
from gateway.flow.queue_reasons import later_reasons, together
from gateway.flow.rooms import Rooms
from gateway.flow.sealing import Ready

REPORT_DELAY = timedelta(milliseconds=300)  # several receipts of one exchange make one report
PASSING_DELAY = timedelta(milliseconds=1500)  # what a peer's answer usually ends before anybody has looked is shown only where it lasts


WAITED_FOR = frozenset({State.SEALED, State.DISPATCHED, State.RELAYED, State.CONSIGNED})  # machines will move these in a moment


class _Stated(msgspec.Struct, frozen=True):
    """The moment in a receipt that was verified when it was kept: a thousand recipients have three receipts each."""

    at: str


_STATED = msgspec.json.Decoder(_Stated)


class _Refusal(msgspec.Struct, frozen=True):
    source: str
    exchange: str
    reasons: tuple[Reason, ...]


class Desk:
    """Makes work for the office and does it."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms
        self.leaving: set[str] = set()  # sources still in the tray whose settlement or refusal is due: not to be offered again

    def leave(self, source: str, *works: Work) -> None:
        """These works are durable, and one of them takes the source out of the tray."""
        self.leaving.add(source)
        self._rooms.agenda.add_all(works)

    # ---- works

    def settlement(self, source: str, exchange: str, at: datetime) -> Work:
        """The offer was taken: it leaves the tray. People put titles into the names of their folders, so the name waits sealed."""
        key = f"settle:out:{exchange}"
        detail = self._rooms.standing.storage_key.seal(source.encode(), key.encode())
        return Work(key=key, kind="settle", direction="out", exchange=exchange, due=at, detail=detail)

    def refusal(self, source: str, exchange: str, reasons: Sequence[Reason], at: datetime) -> Work:
        """The offer will not go; the office shows why. Reasons quote metadata, so they wait sealed."""
        key = f"refuse:out:{exchange or source_digest(self._rooms.standing, self._rooms.office.name, source)}"
        detail = msgspec.json.encode(_Refusal(source=source, exchange=exchange, reasons=tuple(reasons)))
        return Work(
            key=key,
            kind="refuse",
            direction="out",
            exchange=exchange,
            due=at,
            detail=self._rooms.standing.storage_key.seal(detail, key.encode()),
        )

    def report(self, direction: Direction, exchange: str, at: datetime, *, passing: bool = False) -> Work:
        """Show where an exchange stands; ``detail`` tells this report from a later one under the same key.

        ``passing``: machines will move it on in a moment, and the report of that takes the place of this one.
        """
        due = at + (PASSING_DELAY if passing else REPORT_DELAY)
        return Work(
            key=f"report:{direction}:{exchange}",
            kind="report",
            direction=direction,
            exchange=exchange,
            due=due,
            detail=due.isoformat().encode(),
        )

    def deliveries(self, transmittal: Transmittal, priority: int, at: datetime, orgs: Sequence[str] | None = None) -> tuple[Work, ...]:
        """One delivery for each next hop, to all recipients or to these: those behind one gateway share it."""
        standing = self._rooms.standing
        chosen = [recipient.org for recipient in transmittal.recipients] if orgs is None else orgs
        gateways = sorted({found.id for org in chosen for found in standing.directory.gateways_of(org)[:1]})
        note = size_note(transmittal.content.size if transmittal.content else 0)
        return tuple(
            Work(
                key=f"deliver:out:{transmittal.id}:{gateway}",
                kind="deliver",
                direction="out",
                exchange=transmittal.id,
                due=at,
                peer=gateway,
                priority=priority,
                detail=note,
            )
            for gateway in gateways
        )

    # ---- handlers

    async def settle(self, work: Work) -> None:
        """Work "settle"."""
        source = self._rooms.standing.storage_key.open(work.detail, work.key.encode()).decode()
        await self._rooms.office.settle(source, work.exchange)
        self.leaving.discard(source)
        self._rooms.finish(Finish(key=work.key))

    async def settle_again(self, source: str, exchange: str) -> None:
        """The same offer once more: the first answer is repeated."""
        row = await self._rooms.ledger.exchange("out", exchange)
        if row is not None and row.transmittal is None and all(passage.state == "REFUSED" for passage in row.passages):
            private = open_private(self._rooms.standing.storage_key, "out", exchange, row.private)
            later = await later_reasons(self._rooms.standing.storage_key, self._rooms.ledger, row)
            await self._rooms.office.refuse(source, together(private.reasons, row, later))
        else:
            await self._rooms.office.settle(source, exchange)

    async def refuse(self, work: Work) -> None:
        """Work "refuse"."""
        detail = self._rooms.standing.storage_key.open(work.detail, work.key.encode())
        refusal = msgspec.json.decode(detail, type=_Refusal)
        await self._rooms.office.refuse(refusal.source, refusal.reasons)
        self.leaving.discard(refusal.source)
        self._rooms.finish(Finish(key=work.key))

    async def show(self, work: Work) -> None:
        """Work "report"."""
        ready = self._rooms.hot_out.get(work.exchange) if work.direction == "out" else None
        if ready is not None:
            await self._rooms.office.report(self._hot_status(ready))
            if all(stand.state not in WAITED_FOR for stand in ready.progress.stands.values()):
                self._rooms.hot_out.drop(work.exchange)  # what comes now is a person's act, and may take days
        elif (row := await self._rooms.ledger.exchange(work.direction, work.exchange)) is not None:
            receipts = await self._rooms.ledger.receipts(work.direction, work.exchange)
            later = await later_reasons(self._rooms.standing.storage_key, self._rooms.ledger, row)
            await self._rooms.office.report(self._status(row, receipts, later))
        self._rooms.finish(Finish(key=work.key, detail=work.detail))

    def _hot_status(self, ready: Ready) -> Status:
        progress, transmittal = ready.progress, ready.stamped.sealed.transmittal
        deadline = delivery_deadline(self._rooms.standing.policy, transmittal.id, transmittal.urgency)
        waits = any(stand.state in WAITING["out"] for stand in progress.stands.values())
        return Status(
            exchange=transmittal.id,
            direction="out",
            title=progress.title,
            updated=max(stand.at for stand in progress.stands.values()),
            recipients=tuple(
                RecipientStatus(
                    org=org,
                    name=self.name_of(org),
                    state=stand.state,
                    at=stand.at,
                    events=tuple(sorted(stand.events, key=lambda event: event[2])),
                )
                for org, stand in progress.stands.items()
            ),
            reasons=progress.reasons,
            deliver_by=deadline.ends,
            warnings=self._warnings("out", deadline if waits else None),
        )

    def _warnings(self, direction: Direction, deadline: Deadline | None) -> tuple[Reason, ...]:
        said = urge(direction, deadline, self._rooms.clock.now()) if deadline is not None else None
        return (said.reason,) if said is not None else ()

    def _status(self, row: ExchangeRow, receipts: Sequence[ReceiptRow], later: Mapping[str, tuple[Reason, ...]]) -> Status:
        private = open_private(self._rooms.standing.storage_key, row.direction, row.key, row.private)
        policy = self._rooms.standing.policy
        deadline = deadline_of_row(policy, row)
        deliver_by = delivery_deadline(policy, row.id, row.urgency).ends if row.direction == "out" else None
        events: dict[str, list[tuple[str, str, str]]] = {}
        for receipt in receipts:
            events.setdefault(receipt.recipient, []).append((receipt.event, receipt.issuer_org, _STATED.decode(receipt.body).at))
        return Status(
            exchange=row.name or row.id,
            direction=row.direction,
            title=private.document.title,
            updated=max((passage.updated for passage in row.passages), default=row.created),
            recipients=tuple(
                RecipientStatus(
                    org=passage.recipient,
                    name=self.name_of(passage.recipient),
                    state=passage.state,
                    at=passage.updated,
                    events=tuple(sorted(events.get(passage.recipient, []), key=lambda event: event[2])),
                    reasons=later.get(passage.recipient, ()),
                )
                for passage in row.passages
            ),
            reasons=together(private.reasons, row, later),
            deliver_by=deliver_by,
            sign_for_by=deadline.ends if row.direction == "in" and deadline is not None else None,
            warnings=self._warnings(row.direction, deadline),
        )

    def name_of(self, org: str) -> str:
        """The directory's Chinese name of an organisation, or its code."""
        try:
            return self._rooms.standing.directory.organisation(org).names.zh
        except DirectoryError:
            return org

"""What waits, as one row a recipient: age, attempts, what it waits for in plain words, until when it should be there, what can be done.

Read from the database of a gateway that serves or rests; nothing here writes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from crypto.errors import Malformed
from gateway.cli.voice import reason_value
from gateway.core.canonical import format_time
from gateway.core.directory import GatewayEntry
from gateway.core.exchange import TERMINAL, Direction, State
from gateway.core.explain import Reason, explain
from gateway.core.policy import Policy
from gateway.core.step import Work
from gateway.core.urgency import Deadline
from gateway.flow.ports import ExchangeRow, WaitingRow
from gateway.flow.queue import label_of, possible_acts
from gateway.flow.queue_pace import deadline_of, urge
from gateway.flow.queue_reasons import EXPLAINED, later_reasons
from gateway.flow.trouble import is_set_aside, trouble_of
from gateway.home import Home
from gateway.reading import Reader
from gateway.store.ledger import Ledger

PIECE = 1000  # passages read at once
ALL_WORK = 10_000_000

# What the list shows unasked: whatever is neither ended nor merely waiting for a person of the office within its time.
OPEN: Mapping[Direction, frozenset[State]] = {
    direction: frozenset({state for state in State if state not in TERMINAL[direction] and state is not State.DELIVERED})
    for direction in ("out", "in")
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One recipient's copy that waits, or one work that belongs to no exchange."""

    id: str
    direction: Direction
    org: str  # the other side; empty where nobody is known
    name: str
    peer: str
    state: str
    level: str
    urgency: str
    since: datetime
    expires: datetime | None
    sealed: bool
    works: tuple[Work, ...]
    deadline: Deadline | None
    reasons: tuple[Reason, ...]
    acts: tuple[str, ...] = ()

    def value(self, now: datetime) -> dict[str, Any]:
        """As programs read it."""
        next_ = self.next_attempt
        return {
            "id": self.id,
            "direction": self.direction,
            "org": self.org,
            "name": self.name,
            "peer": self.peer,
            "state": self.state,
            "level": self.level,
            "urgency": self.urgency,
            "since": format_time(self.since),
            "age_seconds": seconds(now - self.since),
            "attempts": self.attempts,
            "next_attempt": format_time(next_) if next_ else None,
            "set_aside": self.set_aside,
            "deadline": format_time(self.deadline.ends) if self.deadline else None,
            "left_seconds": seconds(self.deadline.ends - now) if self.deadline else None,
            "overdue": self.overdue(now),
            "expires": format_time(self.expires) if self.expires else None,
            "reasons": [reason_value(reason) for reason in self.reasons],
            "acts": list(self.acts),
            "works": [work.kind for work in self.works],
        }

    @property
    def attempts(self) -> int:
        """How often its most tried work failed since it was last counted anew."""
        return max((work.attempts for work in self.works), default=0)

    @property
    def set_aside(self) -> bool:
        """Whether something of it is due never."""
        return any(is_set_aside(work) for work in self.works)

    @property
    def next_attempt(self) -> datetime | None:
        """The soonest moment anything of it is due; None when nothing is."""
        return min((work.due for work in self.works if work.kind != "remind" and not is_set_aside(work)), default=None)

    def overdue(self, now: datetime) -> bool:
        """Whether its deadline is past."""
        return self.deadline is not None and now >= self.deadline.ends


def seconds(span: timedelta) -> int:
    """Whole seconds of a span."""
    return int(span.total_seconds())


class Lister:
    """Turns rows and works into items."""

    def __init__(self, home: Home, ledger: Ledger, now: datetime) -> None:
        self.ledger = ledger
        self.now = now
        self.reader = Reader(home)
        self.storage_key = home.storage_key()
        self.policy: Policy = home.policy()[0]
        self.gateways = dict(_gateways(home))

    async def items(self, states: Mapping[Direction, frozenset[State]]) -> list[Item]:
        """Everything in these states, and every work that failed or is set aside, whatever state it belongs to; longest waiting first."""
        works = await self.ledger.due(limit=ALL_WORK)
        by_exchange: dict[tuple[str, str], list[Work]] = {}
        for work in works:
            by_exchange.setdefault((work.direction, work.exchange), []).append(work)
        rows = [row async for row in self._rows(states)]
        found = [await self.item(row, by_exchange.get((row.direction, row.exchange), ())) for row in rows]
        shown = {key for item in found for key in (work.key for work in item.works)}
        rest = [work for work in works if work.key not in shown and (work.trouble or is_set_aside(work)) and work.kind != "remind"]
        found += [await self.item_of_work(work) for work in rest]
        found += [item async for item in self._late(works, {(item.direction, item.id) for item in found})]
        return sorted(found, key=lambda item: item.since)

    async def _rows(self, states: Mapping[Direction, frozenset[State]]) -> AsyncIterator[WaitingRow]:
        for direction, wanted in states.items():
            after = ("", "")
            while wanted:
                rows = await self.ledger.waiting(direction, wanted, after=after, limit=PIECE)
                for row in rows:
                    yield row
                if len(rows) < PIECE:
                    break
                after = (rows[-1].exchange, rows[-1].recipient)

    async def _late(self, works: Iterable[Work], shown: set[tuple[str, str]]) -> AsyncIterator[Item]:
        """What was delivered here and is late to be signed for: known by its reminder."""
        for work in works:
            if work.kind == "remind" and (work.direction, work.exchange) not in shown:
                row = await self.ledger.exchange(work.direction, work.exchange)
                for each in waiting_rows(row) if row is not None else ():
                    if each.state is State.DELIVERED:
                        yield await self.item(each, (work,))

    async def item(self, row: WaitingRow, works: Sequence[Work]) -> Item:
        """One passage with the works of its exchange."""
        other = row.recipient if row.direction == "out" else row.sender_org
        peer = self.gateways.get(row.recipient, "") if row.direction == "out" else row.sender_gateway
        mine = tuple(work for work in works if work.kind != "deliver" or work.peer == peer)
        deadline = None
        if row.direction == "out" or row.state is State.DELIVERED:
            deadline = deadline_of(self.policy, row.direction, row.exchange, row.level, row.urgency, row.updated)
        acts: tuple[str, ...] = possible_acts(row.state, sealed=row.sealed) if row.direction == "out" else ()
        if "retry" not in acts and any(work.trouble for work in mine):
            acts = ("retry", *acts)
        return Item(
            id=row.exchange,
            direction=row.direction,
            org=other,
            name=self.reader.name(other),
            peer=peer,
            state=row.state.value,
            level=row.level,
            urgency=row.urgency,
            since=row.updated,
            expires=row.expires,
            sealed=row.sealed,
            works=mine,
            deadline=deadline,
            reasons=await self._reasons(row, mine, deadline),
            acts=acts,
        )

    async def item_of_work(self, work: Work) -> Item:
        """A work whose exchange is not in the list, or that has none."""
        row = await self.ledger.exchange(work.direction, work.exchange) if work.exchange else None
        trouble = trouble_of(work, self.storage_key)
        org = "" if row is None else row.sender_org if row.direction == "in" else next((one.recipient for one in row.passages), "")
        state = "SET_ASIDE" if row is None else "、".join(sorted({passage.state.value for passage in row.passages}))
        return Item(
            id=work.exchange or label_of(work),
            direction=work.direction,
            org=org,
            name=self.reader.name(org) if org else "",
            peer=work.peer,
            state=state,
            level=row.level if row else "",
            urgency=row.urgency if row else "",
            since=trouble.at if trouble else work.due,
            expires=row.expires if row else None,
            sealed=row is not None and row.transmittal is not None,
            works=(work,),
            deadline=None,
            reasons=(trouble.reason,) if trouble and trouble.reason else (),
            acts=("retry",),
        )

    async def _reasons(self, row: WaitingRow, works: Sequence[Work], deadline: Deadline | None) -> tuple[Reason, ...]:
        """Why it waits: what was decided, what failed last, what its deadline says, else what its state means."""
        found: list[Reason] = []
        if row.state in EXPLAINED and row.direction == "out":
            exchange = await self.ledger.exchange(row.direction, row.exchange)
            if exchange is not None:
                later = await later_reasons(self.storage_key, self.ledger, exchange)
                private = self.reader.private(exchange)
                found += later.get(row.recipient, private.reasons if private else ())
        for work in works:
            trouble = trouble_of(work, self.storage_key)
            if trouble is not None and trouble.reason is not None:
                found.append(trouble.reason)
        if not found:
            found.append(_meaning(row))
        said = urge(row.direction, deadline, self.now) if deadline is not None else None
        if said is not None:
            found.append(said.reason)
        return tuple(dict.fromkeys(found))


def waiting_rows(row: ExchangeRow) -> Iterator[WaitingRow]:
    """The passages of an exchange as the list sees them."""
    for passage in row.passages:
        yield WaitingRow(
            direction=row.direction,
            exchange=row.key,
            recipient=passage.recipient,
            state=passage.state,
            updated=passage.updated,
            created=row.created,
            level=row.level,
            urgency=row.urgency,
            sender_org=row.sender_org,
            sender_gateway=row.sender_gateway,
            expires=row.expires,
            sealed=row.transmittal is not None,
            size=row.content.size if row.content else None,
        )


def _meaning(row: WaitingRow) -> Reason:
    """What a state by itself waits for."""
    if row.direction == "in":
        codes = {State.HELD: "waits/held-here", State.ACCEPTED: "waits/office", State.DELIVERED: "waits/person-here"}
    else:
        codes = {
            State.TAKEN: "waits/seal",
            State.HELD: "waits/approval",
            State.CONSIGNED: "waits/office-there",
            State.DELIVERED: "waits/person-there",
            State.UNCONFIRMED: "waits/no-way-back",
        }
    return explain(codes.get(row.state, "waits/on-its-way"))


def _gateways(home: Home) -> Iterator[tuple[str, str]]:
    """Which gateway serves whom, by the directory kept here: for display, unverified."""
    bundle = home.directory()
    for body in bundle.entries.values() if bundle else ():
        try:
            entry = GatewayEntry.from_bytes(body)
        except Malformed:
            continue  # an organisation or an authority
        for org in entry.organisations:
            yield org, entry.id


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which items are wanted; what is left empty chooses nothing away."""

    states: frozenset[State] = frozenset()
    peer: str = ""
    direction: str = ""
    older_than: timedelta = timedelta(0)
    urgent: bool = False
    set_aside: bool = False

    def wanted(self, item: Item, now: datetime) -> bool:
        """Whether it is."""
        return (
            (not self.states or item.state in self.states)
            and (not self.peer or self.peer in (item.peer, item.org))
            and (not self.direction or item.direction == self.direction)
            and now - item.since >= self.older_than
            and (not self.urgent or item.urgency not in ("", "routine"))
            and (not self.set_aside or item.set_aside)
        )

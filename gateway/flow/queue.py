"""What an operator may do about an exchange that is stuck: try it again, give it back to the office, end the wait.

Each act is judged by the state table, acts on every recipient it can (or on the one named), says which it left alone and why, and is
written down with the account that did it. A repeat finds nothing left to do and says so. Raises BadInput where nothing can be done.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from gateway.core.directory import DirectoryError
from gateway.core.errors import BadInput, Superseded
from gateway.core.exchange import TRANSITIONS, Event, State
from gateway.core.explain import Reason, explain
from gateway.core.keys import ID_LENGTH, id_of, sender_of
from gateway.core.leaf import Actor, Leaf, LeafKind
from gateway.core.step import Advance, Change, Finish, Schedule, Step, Work
from gateway.core.transmittal import Transmittal
from gateway.core.urgency import urgency_named
from gateway.flow.accounts import OPERATORS, Accounts
from gateway.flow.delivering import IN_FLIGHT, Delivering, Presumption
from gateway.flow.leaves import Leaves
from gateway.flow.office import Desk
from gateway.flow.ports import ExchangeRow, PassageRow
from gateway.flow.queue_reasons import later_reasons, remember
from gateway.flow.rooms import Rooms
from gateway.flow.trouble import is_set_aside, trouble_of

ActName = Literal["retry", "return", "expire"]

ALL_WORK = 10_000_000  # an act is a person's: it may look at everything that is due


def sources_of(event: Event) -> frozenset[State]:
    """The states of the sender's side that event may be taken from."""
    return frozenset(edge.source for edge in TRANSITIONS if edge.direction == "out" and edge.event is event and edge.source is not None)


RESUMABLE = sources_of(Event.RESUME)  # sealed, and waiting for a person
ENDABLE = sources_of(Event.EXPIRE)
REFUSABLE_UNSEALED = frozenset({State.TAKEN, State.HELD})
SPOKEN = frozenset(
    {State.CONSIGNED, State.DELIVERED, State.SIGNED_FOR, State.RETURNED, State.NOT_SIGNED_FOR, State.REFUSED_BY_RECIPIENT}
    | {State.WITHDRAWN, State.VOIDED}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """Who acts: an account of the machine, and how it was proved."""

    account: str
    proof: Literal["local-socket", "home-lock"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One act. ``item`` is an exchange id or the beginning of one, or what the list shows for work without an exchange."""

    act: ActName
    item: str
    to: str = ""  # organisation code: only this recipient


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What became of one recipient, or (without one) of a work."""

    recipient: str
    before: str
    after: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What an act did, and what it left alone with the reason."""

    item: str
    done: tuple[Done, ...]
    left: tuple[Reason, ...]


class Queue:
    """Carries out operators' acts on one gateway's exchanges; the same whether the gateway serves or rests."""

    def __init__(self, rooms: Rooms, desk: Desk, delivering: Delivering, forget: Callable[[str], None]) -> None:
        self._rooms = rooms
        self._desk = desk
        self._delivering = delivering
        self._forget = forget  # the copy of an offer that will not be sealed
        self._leaves = Leaves(rooms.standing)
        self._accounts = Accounts(rooms, of=OPERATORS)

    async def act(self, request: Request, operator: Operator) -> Outcome:
        """Carry it out. Raises BadInput with the reasons where nothing of it can be done."""
        works = await self._rooms.ledger.due(limit=ALL_WORK)
        item = await self._find(request.item, works)
        mine = tuple(work for work in works if item in (work.exchange, label_of(work)))
        row = await self._rooms.ledger.exchange("out", item)
        actor = Actor(id=await self._accounts.number(operator.account), role="operator", auth=operator.proof)
        if request.act == "retry":
            return await self._retry(item, row, mine, request.to, actor)
        if row is None:
            raise _refused(explain("queue/not-sent-here", at=item))
        if request.act == "return":
            return await self._give_back(row, mine, request.to, actor)
        return await self._end(row, mine, request.to, actor)

    async def _find(self, item: str, works: Sequence[Work]) -> str:
        """The key of the one exchange, or the label of the one work, that begins so; of several, the one that waits."""
        alike = await self._rooms.ledger.beginning(item[:ID_LENGTH]) if item else ()
        whole = {row.key: f"{row.id}-{row.sender_org}" for row in alike}
        known = {key for key, name in whole.items() if name.startswith(item)}
        waiting = {name for work in works for name in (work.exchange, label_of(work)) if name and item and name.startswith(item)}
        waiting |= {work.exchange for work in works} & known
        found = waiting or known
        if not found:
            raise _refused(explain("queue/unknown", item=item))
        if len(found) > 1:
            some = ", ".join(sorted(whole.get(key, key) for key in found)[:_NAMED])
            raise _refused(explain("cli/ambiguous-exchange", exchange=item, candidates=some))
        return found.pop()

    # ---- retry

    async def _retry(self, item: str, row: ExchangeRow | None, works: Sequence[Work], to: str, actor: Actor) -> Outcome:
        """Due at once, and counted anew; out of STUCK or HELD back on the way, where policy is asked again before anything leaves."""
        at = self._rooms.clock.now()
        done: list[Done] = []
        left: list[Reason] = []
        changes: list[Change] = []
        dues: dict[str, Work] = {}
        if row is not None:
            moved, due, left = self._resume(row, _chosen(row, to), at)
            changes += moved
            dues |= {work.key: work for work in due}
            done += [Done(recipient=change.recipient, before=self._state(row, change.recipient), after=change.to) for change in moved]
        resumed = {change.recipient for change in changes if isinstance(change, Advance)}
        for work in works:
            if to and row is not None and work.kind == "deliver" and not self._goes(to, work.peer):
                continue
            if work.key not in dues and not self._running(work):
                dues[work.key] = replace(work, due=at, attempts=0, trouble=b"")
                done += self._again(work, row, to, resumed)
        if not dues:
            raise _refused(*(left or [explain("queue/nothing-waits", at=item)]))
        if row is not None:
            dues.setdefault((report := self._desk.report("out", row.id, at)).key, report)
        leaves = tuple(self._retried(item, one, works, actor) for one in done) or (self._retried(item, None, works, actor),)
        try:
            await self._rooms.record(Step(changes=(*changes, *(Schedule(work=work) for work in dues.values())), leaves=leaves))
        except Superseded as error:
            raise _refused(explain("queue/not-from", state=error.state, act="retry", at=item)) from error
        self._rooms.hot_out.drop(item)
        self._rooms.agenda.add_all(dues.values())
        return Outcome(item=item, done=tuple(done), left=tuple(left))

    def _resume(
        self, row: ExchangeRow, passages: Sequence[PassageRow], at: datetime
    ) -> tuple[list[Advance], tuple[Work, ...], list[Reason]]:
        """Passages that wait for a person go on: sealed ones to their delivery, others to their seal."""
        if row.transmittal is None:
            held = [passage for passage in row.passages if passage.state is State.HELD]
            moves = [_move(row.id, passage, State.TAKEN, at) for passage in held]
            seal = Work(key=f"seal:out:{row.id}", kind="seal", direction="out", exchange=row.id, due=at, priority=self._weight(row))
            return moves, (seal,) if held else (), [_why_not(passage, "retry") for passage in passages if passage.state is State.REFUSED]
        stopped = [passage for passage in passages if passage.state in RESUMABLE]
        ways, left = self._ways(row, stopped, at)
        left += [_why_not(passage, "retry") for passage in passages if passage.state not in RESUMABLE | IN_FLIGHT]
        unreachable = {reason.at for reason in left}
        moves = [_move(row.id, passage, State.SEALED, at) for passage in stopped if passage.recipient not in unreachable]
        return moves, ways, left

    def _ways(self, row: ExchangeRow, passages: Sequence[PassageRow], at: datetime) -> tuple[tuple[Work, ...], list[Reason]]:
        """The deliveries to these recipients; whoever is behind no gateway is left, and named."""
        assert row.transmittal is not None
        reachable, left = [], []
        for passage in passages:
            try:
                self._rooms.standing.gateway_of(passage.recipient)
            except DirectoryError as error:
                left.append(explain("queue/no-way", org=passage.recipient, said=error, at=passage.recipient))
            else:
                reachable.append(passage.recipient)
        return self._desk.deliveries(Transmittal.from_bytes(row.transmittal), self._weight(row), at, reachable), left

    def _again(self, work: Work, row: ExchangeRow | None, to: str, resumed: Collection[str]) -> list[Done]:
        """What a person sees of a work that is due at once."""
        before = "set-aside" if is_set_aside(work) else "put-off"
        if work.kind != "deliver" or row is None:
            return [Done(recipient="", before=before, after=work.kind)]
        behind = [passage for passage in _chosen(row, to) if passage.state in IN_FLIGHT and self._goes(passage.recipient, work.peer)]
        return [Done(recipient=one.recipient, before=one.state, after=one.state) for one in behind if one.recipient not in resumed]

    def _retried(self, item: str, done: Done | None, works: Sequence[Work], actor: Actor) -> Leaf:
        key = next((work.exchange for work in works if work.exchange), item if len(item) >= ID_LENGTH else "")
        return self._leaves.leaf(
            LeafKind.RETRIED,
            self._rooms.clock.now(),
            "due",
            actor=actor,
            exchange=id_of(key) or None,
            sender=sender_of(key),
            recipient=(done.recipient or None) if done else None,
            reason=done.after if done and not done.recipient else None,
        )

    def _running(self, work: Work) -> bool:
        """Being done at this moment; to begin it twice would help nobody."""
        return self._rooms.agenda.doing(work.key)

    # ---- return, expire

    async def _give_back(self, row: ExchangeRow, works: Sequence[Work], to: str, actor: Actor) -> Outcome:
        """Not delivered: what never left is refused, what may have left is our presumption and the recipient's word replaces it."""
        reasons = (explain("queue/given-back"), *await self._last_words(row, works))
        if row.transmittal is None:
            return await self._close_unsealed(row, works, to, State.REFUSED, LeafKind.REFUSED, "given-back", reasons, actor)
        return await self._close_sealed(row, to, "return", "given-back", reasons, actor)

    async def _end(self, row: ExchangeRow, works: Sequence[Work], to: str, actor: Actor) -> Outcome:
        """The sender waits no longer."""
        reasons = (explain("queue/ended-early"),)
        if row.transmittal is None:
            return await self._close_unsealed(row, works, to, State.EXPIRED, LeafKind.EXPIRED, "ended-early", reasons, actor)
        return await self._close_sealed(row, to, "expire", "ended-early", reasons, actor)

    async def _close_sealed(self, row: ExchangeRow, to: str, act: ActName, code: str, reasons: tuple[Reason, ...], actor: Actor) -> Outcome:
        done, left = [], []
        chosen = _chosen(row, to)
        for passage in chosen:
            if passage.state not in ENDABLE:
                left.append(_why_not(passage, act))
                continue
            presumption = Presumption(
                to=State.EXPIRED,
                expect=ENDABLE,
                kind=LeafKind.EXPIRED,
                code=code,
                reasons=reasons,
                finish=self._delivery_ended_by(row, passage.recipient, chosen),
                actor=actor,
            )
            if await self._delivering.presume(presumption, row.id, passage.recipient):
                done.append(Done(recipient=passage.recipient, before=passage.state, after=State.EXPIRED))
            else:  # the recipient's word came meanwhile
                left.append(await self._overtaken(row.id, passage.recipient, act))
        if not done:
            raise _refused(*left)
        return Outcome(item=row.id, done=tuple(done), left=tuple(left))

    def _delivery_ended_by(self, row: ExchangeRow, org: str, chosen: Iterable[PassageRow]) -> str:
        """The key of the delivery nobody needs once these are closed; nothing where others behind the same gateway still wait."""
        gateway = next((found.id for found in self._rooms.standing.directory.gateways_of(org)), "")
        closing = {passage.recipient for passage in chosen}
        others = [
            one for one in row.passages if one.recipient not in closing and one.state in IN_FLIGHT and self._goes(one.recipient, gateway)
        ]
        return "" if others else f"deliver:out:{row.id}:{gateway}"

    async def _close_unsealed(
        self,
        row: ExchangeRow,
        works: Sequence[Work],
        to: str,
        target: State,
        kind: LeafKind,
        code: str,
        reasons: tuple[Reason, ...],
        actor: Actor,
    ) -> Outcome:
        if to:
            raise _refused(explain("queue/only-whole", at=to))
        open_ = [passage for passage in row.passages if passage.state in REFUSABLE_UNSEALED]
        if not open_:
            raise _refused(*(_why_not(passage, "return" if target is State.REFUSED else "expire") for passage in row.passages))
        rooms, at = self._rooms, self._rooms.clock.now()
        report = self._desk.report("out", row.id, at)
        changes: tuple[Change, ...] = (
            *(_move(row.id, passage, target, at) for passage in open_),
            *remember(rooms.standing.storage_key, row.id, [passage.recipient for passage in open_], reasons),
            *(Finish(key=work.key) for work in works if work.kind == "seal"),
            Schedule(work=report),
        )
        leaf = self._leaves.leaf(kind, at, kind.value, actor=actor, exchange=row.id, reason=code)
        try:
            await rooms.record(Step(changes=changes, leaves=(leaf,)))
        except Superseded as error:
            raise _refused(explain("queue/not-from", state=error.state, act=code, at=row.id)) from error
        self._forget(row.id)
        rooms.agenda.add(report)
        for _ in open_:
            rooms.gauges.outcome("out", target, row.level, "")
        return Outcome(
            item=row.id,
            done=tuple(Done(recipient=passage.recipient, before=passage.state, after=target) for passage in open_),
            left=(),
        )

    async def _last_words(self, row: ExchangeRow, works: Sequence[Work]) -> tuple[Reason, ...]:
        """Why it could not be delivered, as far as that is known: what was decided, and what failed last."""
        later = await later_reasons(self._rooms.standing.storage_key, self._rooms.ledger, row)
        failed = [trouble_of(work, self._rooms.standing.storage_key) for work in works]
        said = [trouble.reason for trouble in failed if trouble is not None and trouble.reason is not None]
        return tuple(dict.fromkeys([*(reason for reasons in later.values() for reason in reasons), *said]))

    async def _overtaken(self, exchange: str, org: str, act: ActName) -> Reason:
        row = await self._rooms.ledger.exchange("out", exchange)
        assert row is not None
        return _why_not(next(passage for passage in row.passages if passage.recipient == org), act)

    # ---- small questions

    def _goes(self, org: str, gateway: str) -> bool:
        return self._rooms.standing.goes_through(org, gateway)

    def _state(self, row: ExchangeRow, org: str) -> str:
        return next(passage.state for passage in row.passages if passage.recipient == org)

    def _weight(self, row: ExchangeRow) -> int:
        return self._rooms.standing.policy.urgency[urgency_named(row.urgency).id].weight


_NAMED = 3  # candidates named when several begin as asked


def label_of(work: Work) -> str:
    """What a person calls a work that belongs to no exchange."""
    return "" if work.exchange else f"{work.kind}-{work.key.rpartition(':')[2][:12]}"


def possible_acts(state: State, *, sealed: bool) -> tuple[ActName, ...]:
    """What may be done about a recipient of ours in that state."""
    acts: list[ActName] = []
    if state in RESUMABLE | IN_FLIGHT or state is State.TAKEN:
        acts.append("retry")
    if state in (ENDABLE if sealed else REFUSABLE_UNSEALED):
        acts += ["return", "expire"]
    return tuple(acts)


def _chosen(row: ExchangeRow, to: str) -> tuple[PassageRow, ...]:
    if not to:
        return row.passages
    found = tuple(passage for passage in row.passages if passage.recipient == to)
    if not found:
        raise _refused(explain("queue/no-such-recipient", org=to, exchange=row.id, at=to))
    return found


def _why_not(passage: PassageRow, act: str) -> Reason:
    if passage.state in SPOKEN:
        return explain("queue/recipient-spoke", event=passage.state, state=passage.state, at=passage.recipient)
    return explain("queue/not-from", state=passage.state, act=act, at=passage.recipient)


def _move(exchange: str, passage: PassageRow, to: State, at: datetime) -> Advance:
    return Advance(direction="out", exchange=exchange, recipient=passage.recipient, expect=frozenset({passage.state}), to=to, at=at)


def _refused(*reasons: Reason) -> BadInput:
    return BadInput(reasons[0].en, reasons=reasons)

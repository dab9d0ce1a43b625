"""What must hold: at every commit while the simulation runs, and of everything once it has come to rest (DESIGN 3 and 9)."""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from gateway.core.canonical import parse_time
from gateway.core.exchange import TRANSITIONS, Direction, State
from gateway.core.keys import id_of
from gateway.core.leaf import Leaf
from gateway.core.receipt import Receipt
from gateway.core.retry import MAX_ATTEMPTS
from gateway.core.step import Advance, KeepReceipt, KeepSealed, OpenExchange, Schedule, Step, Work
from gateway.flow.ports import ExchangeRow, Receipted, ReceiptRow, Status

if TYPE_CHECKING:
    from tests.faults.sim_loop import Life
    from tests.faults.sim_world import SimNode, SimWorld

S = State
EDGES = frozenset((edge.direction, edge.source, edge.target) for edge in TRANSITIONS)
BEGINNINGS = {"out": frozenset({S.TAKEN, S.SEALED, S.HELD, S.REFUSED}), "in": frozenset({S.ACCEPTED, S.REFUSED, S.HELD})}
OUTCOMES = frozenset({"SignedFor", "Returned", "NotSignedFor", "ContentConsignmentFailure"})
TIMELY = timedelta(seconds=3)  # what a good clock may be off, and a little for the moment between looking at it and recording
NOTICED = 120.0  # virtual seconds: what began before a clock was set may still be recorded so long after

# Where the sender may stand for each end at the recipient (None: nothing is known there).
AGREEING: dict[State | None, frozenset[State]] = {
    S.SIGNED_FOR: frozenset({S.SIGNED_FOR}),
    S.RETURNED: frozenset({S.RETURNED}),
    S.EXPIRED: frozenset({S.NOT_SIGNED_FOR}),
    S.REFUSED: frozenset({S.REFUSED_BY_RECIPIENT, S.EXPIRED}),  # the word was in an answer that never came through
    None: frozenset({S.EXPIRED, S.REFUSED, S.HELD}),
}


def _reachable() -> dict[tuple[Direction, State], frozenset[State]]:
    closure: dict[tuple[Direction, State], frozenset[State]] = {}
    for direction in ("out", "in"):
        for state in State:
            seen, edge = {state}, {state}
            while edge:
                edge = {target for way, source, target in EDGES if way == direction and source in edge} - seen
                seen |= edge
            closure[direction, state] = frozenset(seen)
    return closure


REACHABLE = _reachable()


class Oracle:
    """Looks on. What is wrong is gathered, so that a run shows all of it; ``check`` raises."""

    def __init__(self, world: SimWorld) -> None:
        self._world = world
        self.failures: list[str] = []
        self.steps = 0
        self._states: dict[tuple[str, str, str, str], State] = {}
        self._expires: dict[tuple[str, str, str], datetime | None] = {}
        self._chains: dict[tuple[str, str, str, str], list[Receipt]] = {}
        self._digests: dict[tuple[str, str, str, str], str] = {}
        self._stated: Counter[tuple[str, str, str]] = Counter()
        self._answers: dict[tuple[str, str], tuple[bytes, ...]] = {}
        self._shown: dict[tuple[str, str, str, str], State] = {}
        self._handed: Counter[tuple[str, str]] = Counter()
        self._titles: Counter[tuple[str, str, str]] = Counter()
        self._numbers: dict[str, int] = {}
        self._works: dict[tuple[str, str], dict[str, Work]] = {}  # deliveries, as last written down

    def short(self, exchange: str) -> str:
        """A name for people: exchanges by the order in which they were first seen."""
        return f"#{self._numbers.setdefault(id_of(exchange), len(self._numbers))}"

    def fail(self, what: str) -> None:
        self.failures.append(what)
        self._world.note(None, f"WRONG: {what}")

    def defect(self, where: str, error: BaseException) -> None:
        text = "".join(traceback.format_exception(error))
        self.fail(f"{where}: {text}")

    def check(self) -> None:
        assert not self.failures, "\n".join(self.failures)

    # ---- at every commit

    def watch(self, life: Life, desk: str, step: Any, answer: Any) -> None:
        if desk != "journal" or isinstance(answer, Exception):
            return
        node = self._world[life.name.split("/")[0]]
        self.steps += 1
        for change in step.changes:
            if isinstance(change, Schedule) and change.work.kind == "deliver":
                self._works.setdefault((node.key, change.work.exchange), {})[change.work.key] = change.work
            if isinstance(change, OpenExchange):
                self._opened(node, change)
            elif isinstance(change, KeepSealed):
                self._expires[node.key, change.direction, change.exchange] = change.expires
            elif isinstance(change, Advance):
                self._moved(node, change)
            elif isinstance(change, KeepReceipt) and change.issuer_org == node.code:
                self._issued(node, change)
        self._dated(node, step)

    def _opened(self, node: SimNode, change: OpenExchange) -> None:
        for recipient in change.recipients:
            key = (node.key, change.direction, change.key, recipient)
            if key in self._states:
                self.fail(f"{key} is opened twice")
            if change.state not in BEGINNINGS[change.direction]:
                self.fail(f"{key} begins as {change.state}")
            self._states[key] = change.state
            self._world.note(node, f"{change.direction} {self.short(change.id)} {change.state}")
        if change.direction == "in" and change.state is S.ACCEPTED:
            self._accepted(node, change.id)

    def _accepted(self, node: SimNode, exchange: str) -> None:
        if self._clock_is_wrong(node):
            self.fail(f"{node.key} accepted {self.short(exchange)} with a clock off by {node.clock.skew}")

    def _clock_is_wrong(self, node: SimNode) -> bool:
        return abs(node.clock.skew) > TIMELY and self._world.time.monotonic() - node.stepped_at > NOTICED

    def _moved(self, node: SimNode, change: Advance) -> None:
        key = (node.key, change.direction, change.exchange, change.recipient)
        before = self._states.get(key)
        if before not in change.expect:
            self.fail(f"{key} was moved from {before}, which was not expected")
        if (change.direction, before, change.to) not in EDGES:
            self.fail(f"{key} went from {before} to {change.to}, outside the table")
        self._states[key] = change.to
        self._world.note(node, f"{change.direction} {self.short(change.exchange)} {before} -> {change.to}")
        if change.direction == "out" and change.to is S.STUCK and not self._tried_enough(node, change):
            self.fail(f"{key} is stuck before its attempts were used up: what a hop can do is no last word")
        expires = self._expires.get((node.key, change.direction, change.exchange))
        if change.to is S.EXPIRED and expires is not None and self._world.time.now() < expires - TIMELY:
            self.fail(f"{key} expired {expires - self._world.time.now()} before its end (clock off by {node.clock.skew})")

    def _tried_enough(self, node: SimNode, change: Advance) -> bool:
        works = [work for work in self._works.get((node.key, change.exchange), {}).values() if work.attempts]
        return any(work.attempts + 1 >= MAX_ATTEMPTS for work in works)

    def _issued(self, node: SimNode, change: KeepReceipt) -> None:
        receipt = Receipt.from_bytes(change.body)
        key = (node.key, change.direction, change.exchange, change.recipient)
        chain = self._chains.setdefault(key, [])
        if receipt.prev != self._digests.get(key):
            self.fail(f"{key}: {receipt.event} follows another receipt than the last one")
        if chain and parse_time(receipt.at) < parse_time(chain[-1].at):
            self.fail(f"{key}: {receipt.event} at {receipt.at} is dated before {chain[-1].event} at {chain[-1].at}")
        chain.append(receipt)
        self._digests[key] = change.digest
        if receipt.event in OUTCOMES:
            self._stated[node.key, change.exchange, change.recipient] += 1
            if self._stated[node.key, change.exchange, change.recipient] > 1:
                self.fail(f"{key}: a second outcome, {receipt.event}")

    def _dated(self, node: SimNode, step: Step) -> None:
        for leaf in step.leaves:
            self._dated_leaf(node, leaf)

    def _dated_leaf(self, node: SimNode, leaf: Leaf) -> None:
        ahead = parse_time(leaf.at) - self._world.time.now()
        if ahead > TIMELY and self._clock_is_wrong(node) and str(leaf.kind) not in ("started", "stopped"):
            self.fail(f"{node.key} wrote {leaf.kind} {ahead} ahead of the time")

    # ---- at every answer, report and hand-over

    def answered(self, exchange: str, gateway: str, answer: Receipted) -> None:
        given = tuple(receipt.body + receipt.signature for receipt in answer.receipts)
        first = self._answers.setdefault((exchange, gateway), given)
        if given != first:
            self.fail(f"{gateway} answers {self.short(exchange)} with other receipts than the first time")

    def shown(self, node: SimNode, status: Status) -> None:
        if node.office.statuses.get((status.direction, status.exchange)) is not status:
            return  # the office takes it for an older one
        for recipient in status.recipients:
            key = (node.key, status.direction, status.exchange, recipient.org)
            before = self._shown.get(key)
            if before is not None and recipient.state not in REACHABLE[status.direction, before]:
                self.fail(f"{key} was shown as {before}, and later as {recipient.state}")
            self._shown[key] = recipient.state

    def handed_over(self, node: SimNode, exchange: str) -> None:
        delivery = node.office.inbox[exchange].delivery
        self._handed[node.key, exchange] += 1
        title = (node.key, delivery.sender_org, delivery.document.title)
        self._titles[title] += 1
        if self._handed[node.key, exchange] > 1 or self._titles[title] > 1:
            self.fail(f"{node.key} got {delivery.document.title} twice")

    # ---- at rest

    async def at_rest(self) -> None:
        """Everything is over: nothing is open, nothing is due, both sides agree, and what people see is what the ledger says."""
        rows: dict[tuple[str, str, str], ExchangeRow] = {}
        receipts: dict[tuple[str, str, str], tuple[ReceiptRow, ...]] = {}
        for node in self._world.nodes:
            ledger = node.rooms.ledger
            for row in await ledger.exchanges(limit=10_000):
                rows[node.key, row.direction, row.id] = row
                receipts[node.key, row.direction, row.id] = await ledger.receipts(row.direction, row.key)
            if due := await ledger.due():
                self.fail(f"{node.key} still has work: {[(work.key, work.attempts, str(work.due)) for work in due]}")
            if node.office.tray:
                self.fail(f"{node.key} has offers left: {sorted(node.office.tray)}")
            if uploads := node.rooms.uploads.all():
                self._uploads(node, [upload.key for upload in uploads])
        for (key, direction, exchange), row in rows.items():
            if direction == "out":
                for passage in row.passages:
                    self._pair(self._world[key], exchange, passage.recipient, passage.state, rows, receipts)
            self._seen_by_people(self._world[key], row)

    def _uploads(self, node: SimNode, keys: list[str]) -> None:
        """Uploads may lie about for a week; more than were begun cannot."""
        if len(keys) != len(set(keys)):
            self.fail(f"{node.key} has uploads twice: {keys}")

    def _pair(
        self,
        sender: SimNode,
        exchange: str,
        recipient: str,
        state: State,
        rows: dict[tuple[str, str, str], ExchangeRow],
        receipts: dict[tuple[str, str, str], tuple[ReceiptRow, ...]],
    ) -> None:
        there = self._world.by_code[recipient]
        row = rows.get((there.key, "in", exchange))
        end = row.passages[0].state if row is not None else None
        name = f"{self.short(exchange)} {sender.key} -> {there.key}"
        if end is S.EXPIRED and not receipts[there.key, "in", exchange]:
            end = None  # held there, and lapsed: nothing was ever stated
        if state not in AGREEING.get(end, frozenset()):
            self.fail(f"{name}: the sender shows {state}, the recipient's end is {end}")
        delivered = self._handed[there.key, exchange]
        if end in (S.SIGNED_FOR, S.RETURNED) and delivered != 1:
            self.fail(f"{name}: {end} and handed over {delivered} times")
        if end in (S.REFUSED, None) and delivered:
            self.fail(f"{name}: {end} and handed over all the same")
        mine = {each.body + each.signature for each in receipts[sender.key, "out", exchange] if each.issuer_org == recipient}
        theirs = {each.body + each.signature: each.event for each in receipts.get((there.key, "in", exchange), ())}
        if not mine <= theirs.keys():
            self.fail(f"{name}: the sender holds a receipt the recipient's log does not")
        missing = {event for body, event in theirs.items() if body not in mine}
        if missing - {"ContentConsignment", "ContentConsignmentFailure"}:  # those travel in answers, and are implied by the later ones
            self.fail(f"{name}: the sender never got {missing}")

    def _seen_by_people(self, node: SimNode, row: ExchangeRow) -> None:
        status = node.office.statuses.get((row.direction, row.id))
        if status is None:
            if row.direction == "out" and any(passage.state is not S.REFUSED for passage in row.passages):
                self.fail(f"{node.key} never showed {self.short(row.id)}")
            return
        shown = {recipient.org: recipient.state for recipient in status.recipients}
        kept = {passage.recipient: passage.state for passage in row.passages}
        if shown != kept:
            self.fail(f"{node.key} shows {_named(shown.items())} of {self.short(row.id)}, and it is {_named(kept.items())}")


def _named(states: Iterable[tuple[str, State]]) -> str:
    return ", ".join(f"{org} {state}" for org, state in sorted(states))

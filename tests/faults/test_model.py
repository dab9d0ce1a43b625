"""``model``: the exchange table under any order of events, by Hypothesis; first alone, then carried out by the real journal.

The model of a pair knows what a person knows: what the recipient did, in what order, and which of its receipts have come. From that
follows what each side must show; the table and the journal are compared with it after every step.
"""

from __future__ import annotations

import asyncio
import itertools
import shutil
import tempfile
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from crypto.notes import LogKey
from gateway.core.errors import AlreadyOpen, Superseded
from gateway.core.exchange import IMPLIED, PRESUMED, RECEIPT_EVENTS, TERMINAL, TRANSITIONS, Event, Impossible, State, advance, apply_receipt
from gateway.core.leaf import Actor, Leaf, LeafKind
from gateway.core.step import Advance, Finish, KeepReceipt, OpenExchange, Remember, Schedule, Step, Work
from gateway.flow.taking import MOVES
from gateway.store.audit import verify_log
from gateway.store.journal import Journal
from gateway.store.ledger import Ledger
from tests.faults.torture import rounds

S, E = State, Event
EXAMPLES = rounds(120, 20_000)
NOW = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
ACTOR = Actor(id="gw-model", role="gateway", auth="self")
EDGES = {(edge.direction, edge.source, edge.event): edge.target for edge in TRANSITIONS}

# What the recipient's end means at the sender once every receipt has come.
VERDICT = {
    S.ACCEPTED: S.CONSIGNED,
    S.DELIVERED: S.DELIVERED,
    S.WITHDRAWING: S.WITHDRAW_ASKED,
    S.SIGNED_FOR: S.SIGNED_FOR,
    S.RETURNED: S.RETURNED,
    S.EXPIRED: S.NOT_SIGNED_FOR,
    S.REFUSED: S.REFUSED_BY_RECIPIENT,
    S.WITHDRAWN: S.WITHDRAWN,
    S.VOIDED: S.VOIDED,
}
OWN_WORDS = frozenset({E.DISPATCH, E.GIVE_UP, E.EXPIRE, E.LEAVE_UNCONFIRMED})  # what the sender does while it waits
IN_FLIGHT = (S.SEALED, S.DISPATCHED, S.RELAYED, S.UNCONFIRMED, S.STUCK, S.EXPIRED)


class Pair(RuleBasedStateMachine):
    """One exchange with one recipient: the recipient acts, its receipts come in any order, twice, late or not yet."""

    stated = Bundle("stated")

    def __init__(self) -> None:
        super().__init__()
        self.here: State = S.SEALED  # the sender
        self.there: State | None = None  # the recipient
        self.words: list[Event] = []  # what the recipient stated, in order
        self.heard: set[int] = set()  # which of them came
        self.withdrawing = False

    @rule(target=stated, event=st.sampled_from(sorted(RECEIPT_EVENTS | {E.ASK_WITHDRAWAL})))
    def recipient_acts(self, event: Event) -> int:
        """Whatever the table lets it do; what it lets it do and is a statement becomes a receipt."""
        target = EDGES.get(("in", self.there, event))
        if target is None or (self.there is None and event not in (E.CONSIGNMENT, E.CONSIGNMENT_FAILURE)):
            if self.there is not None and event not in IMPLIED.get(self.there, ()) and not _led_here("in", self.there, event):
                with pytest.raises(Impossible):
                    advance("in", self.there, event)
            return -1
        if event is E.ASK_WITHDRAWAL and self.withdrawing:
            return -1  # one notice; a second would be an exchange of its own
        assert advance("in", self.there, event) is target
        self.there = target
        if event is E.ASK_WITHDRAWAL:
            self.withdrawing = True
            return -1
        self.words.append(event)
        return len(self.words) - 1

    @rule(number=stated)
    def receipt_comes(self, number: int) -> None:
        if number < 0:
            return
        before = self.here
        self.here = apply_receipt(before, self.words[number])
        self.heard.add(number)
        assert apply_receipt(self.here, self.words[number]) is self.here, "a repeat moves something"
        if before in TERMINAL["out"] and before not in PRESUMED and self.here is not before:
            assert self.words[number] is E.VOIDED, f"{before} was the recipient's last word and became {self.here}"

    @rule(event=st.sampled_from(sorted(OWN_WORDS)))
    def sender_presumes(self, event: Event) -> None:
        """Attempts used up, time over: never against a word of the recipient."""
        if ("out", self.here, event) in EDGES:
            assert not self.heard, f"{event} after the recipient had spoken"
            self.here = advance("out", self.here, event)

    @rule(event=st.sampled_from([E.RELAY_ACCEPTANCE, E.RELAY_REJECTION, E.RELAY_FAILURE]))
    def relay_says(self, event: Event) -> None:
        try:
            after = apply_receipt(self.here, event)
        except Impossible:
            return
        if self.heard:
            assert after is self.here, "a relay's word moved what the recipient had said"
        self.here = after

    @invariant()
    def shows_what_it_heard(self) -> None:
        """The verdict is a function of which receipts came, not of their order (confluence); a later one implies the earlier."""
        words = [self.words[number] for number in sorted(self.heard)]
        if not words:
            assert self.here in IN_FLIGHT or self.here is S.REFUSED_BY_RELAY
            return
        assert self.here is _in_order(words)

    @invariant()
    def agrees_when_all_came(self) -> None:
        if self.there is not None and len(self.heard) == len(self.words):
            expected = S.DELIVERED if self.there is S.WITHDRAWING and E.HANDOVER in self.words else VERDICT[self.there]
            if self.there is S.WITHDRAWING and E.HANDOVER not in self.words:
                expected = S.CONSIGNED  # the sender's own asking is not part of this machine
            assert self.here is expected, f"the recipient's end is {self.there}, the sender shows {self.here}"


def _in_order(words: Iterable[Event]) -> State:
    state = S.SEALED
    for word in words:
        state = apply_receipt(state, word)
    return state


def _led_here(direction: str, state: State, event: Event) -> bool:
    return any((edge.direction, edge.target, edge.event) == (direction, state, event) for edge in TRANSITIONS)


TestPair = Pair.TestCase
TestPair.settings = settings(max_examples=EXAMPLES, stateful_step_count=30, deadline=None)


def histories() -> list[tuple[Event, ...]]:
    """Everything a recipient can state about one exchange, by the table."""
    found: list[tuple[Event, ...]] = []

    def walk(state: State | None, words: tuple[Event, ...], asked: bool) -> None:
        if words:
            found.append(words)
        for (direction, source, event), target in EDGES.items():
            if direction != "in" or source is not state or (state is None and event not in (E.CONSIGNMENT, E.CONSIGNMENT_FAILURE)):
                continue
            if event is E.ASK_WITHDRAWAL and not asked:
                walk(target, words, asked=True)
            elif event in RECEIPT_EVENTS and target is not state:
                walk(target, (*words, event), asked=asked)

    walk(None, (), asked=False)
    return sorted(set(found))


@pytest.mark.parametrize("presumption", [S.SEALED, S.DISPATCHED, S.RELAYED, S.STUCK, S.EXPIRED, S.UNCONFIRMED, S.REFUSED_BY_RELAY])
def test_every_order_of_every_history_ends_alike(presumption: State) -> None:
    """All permutations of all that can be stated, whatever the sender had concluded meanwhile."""
    for words in histories():
        ends = set()
        for order in itertools.permutations(words):
            state = presumption
            for word in order:
                state = apply_receipt(state, word)
            ends.add(state)
        assert ends == {_in_order(words)}, words


def test_there_are_histories() -> None:
    found = histories()
    assert (E.CONSIGNMENT, E.HANDOVER, E.SIGNED_FOR) in found
    assert (E.CONSIGNMENT_FAILURE,) in found
    assert len(found) > 15
    assert all(sum(word in (E.SIGNED_FOR, E.RETURNED, E.NOT_SIGNED_FOR, E.CONSIGNMENT_FAILURE) for word in words) <= 1 for words in found)


@given(direction=st.sampled_from(["out", "in"]), state=st.sampled_from(State), event=st.sampled_from(Event))
@settings(max_examples=rounds(300, 5000), deadline=None)
def test_what_is_outside_the_table_is_impossible_or_nothing(direction: Any, state: State, event: Event) -> None:
    try:
        after = advance(direction, state, event)
    except Impossible:
        assert (direction, state, event) not in EDGES
    else:
        assert after is EDGES.get((direction, state, event), state)


# ---- the journal against the same table -----------------------------------------------------------------------------------------------


class Kept(RuleBasedStateMachine):
    """Steps of several exchanges through the real journal, alone and in one commit, with restarts: states are what the table says."""

    known = Bundle("known")

    @initialize()
    def begin(self) -> None:
        memory = Path("/dev/shm")
        self.folder = Path(tempfile.mkdtemp(prefix="yizhan-model-", dir=memory if memory.is_dir() else None))
        self.loop = asyncio.new_event_loop()
        self.key = LogKey.generate("gw-model/1")
        self.states: dict[tuple[str, str], State] = {}
        self.receipts: dict[str, set[str]] = {}
        self.work: dict[str, bytes] = {}
        self.leaves = 0
        self.count = 0
        self._open()

    def _open(self) -> None:
        path = self.folder / "yizhan.db"
        self.journal = Journal.open(path, log_key=self.key, origin="gw-model/1/2026.1", mark=self.folder / "mark", min_free=0)
        self.ledger = Ledger(path)

    def teardown(self) -> None:
        if not hasattr(self, "loop"):
            return
        self._close()
        self.loop.close()
        report = verify_log(self.folder / "yizhan.db", self.folder / "mark", self.key.verifier.vkey, "gw-model/1/2026.1")
        assert report.ok, report.findings
        shutil.rmtree(self.folder)

    def _close(self) -> None:
        self.ledger.close()
        self.journal.close()

    def _record(self, *steps: Step) -> list[Any]:
        async def together() -> list[Any]:
            return await asyncio.gather(*(self.journal.record(step) for step in steps), return_exceptions=True)

        answers = self.loop.run_until_complete(together())
        for step, answer in zip(steps, answers, strict=True):
            if not isinstance(answer, Exception):
                assert answer.leaves == tuple(range(self.leaves, self.leaves + len(step.leaves)))
                self.leaves += len(step.leaves)
        return answers

    @rule(target=known, recipients=st.integers(1, 3))
    def open(self, recipients: int) -> str:
        self.count += 1
        exchange = f"019cad8f-0000-7000-8000-{self.count:012d}"
        orgs = tuple(f"org-{number}" for number in range(recipients))
        (answer,) = self._record(Step(changes=(_opening(exchange, orgs),), leaves=(_leaf(LeafKind.SEALED, exchange),)))
        assert not isinstance(answer, Exception)
        self.states |= {(exchange, org): S.SEALED for org in orgs}
        self.receipts[exchange] = set()
        return exchange

    @rule(exchange=known)
    def open_again(self, exchange: str) -> None:
        (answer,) = self._record(Step(changes=(_opening(exchange, ("org-0",)),), leaves=(_leaf(LeafKind.SEALED, exchange),)))
        assert isinstance(answer, AlreadyOpen)

    @rule(moves=st.lists(st.tuples(known, st.integers(0, 2), st.sampled_from(sorted(MOVES))), min_size=1, max_size=6))
    def receipts_come(self, moves: list[tuple[str, int, str]]) -> None:
        """Asked for at the same time, so that they share a commit: each member stands or falls by itself, in the order of asking."""
        steps, expected = [], []
        for exchange, number, event in moves:
            key = (exchange, f"org-{number}")
            move = MOVES[event]
            self.count += 1
            digest = f"sha256:{self.count:064x}"
            moved = self.states.get(key) in move.sources
            expected.append(move.target if moved else None)
            steps.append(_receipt_step(*key, event, digest, self.count))
            if moved:
                assert self.states[key] in move.sources
                self.states[key] = move.target
                self.receipts[exchange].add(digest)
                self.work[f"report:out:{exchange}"] = str(self.count).encode()
        for answer, target in zip(self._record(*steps), expected, strict=True):
            assert isinstance(answer, Superseded) == (target is None), answer

    @rule(exchange=known, current=st.booleans())
    def report_done(self, exchange: str, current: bool) -> None:
        """Finishing with the detail it was begun with: a report scheduled anew meanwhile stays."""
        key = f"report:out:{exchange}"
        detail = self.work.get(key, b"none") if current else b"older"
        self._record(Step(changes=(Finish(key=key, detail=detail), Remember(name="last", value=exchange))))
        if current:
            self.work.pop(key, None)

    @rule()
    def restart(self) -> None:
        self._close()
        self._open()

    @invariant()
    def is_what_the_model_says(self) -> None:
        if not hasattr(self, "loop"):
            return

        async def look() -> None:
            rows = await self.ledger.exchanges(limit=1000)
            assert {(row.id, passage.recipient): passage.state for row in rows for passage in row.passages} == self.states
            for row in rows:
                assert {receipt.digest for receipt in await self.ledger.receipts("out", row.id)} == self.receipts[row.id]
            assert {work.key: work.detail for work in await self.ledger.due()} == self.work

        self.loop.run_until_complete(look())


def _opening(exchange: str, orgs: tuple[str, ...]) -> OpenExchange:
    return OpenExchange(
        direction="out",
        id=exchange,
        at=NOW,
        state=S.SEALED,
        recipients=orgs,
        level="internal",
        urgency="routine",
        suite="intl-1",
        sender_org="us",
        sender_gateway="gw-model",
    )


def _leaf(kind: LeafKind, exchange: str, digest: str | None = None) -> Leaf:
    fields: dict[str, Any] = {"object": digest} if digest else {}
    return Leaf(actor=ACTOR, at="2026-03-02T08:00:00Z", kind=kind, exchange=exchange, outcome="model", **fields)


def _receipt_step(exchange: str, org: str, event: str, digest: str, number: int) -> Step:
    move, at = MOVES[event], NOW + timedelta(seconds=number)
    report = Work(key=f"report:out:{exchange}", kind="report", direction="out", exchange=exchange, due=at, detail=str(number).encode())
    kept = KeepReceipt(
        digest=digest, direction="out", exchange=exchange, recipient=org, event=event, issuer_org=org, at=at, body=b"b", signature=b"s"
    )
    return Step(
        changes=(
            Advance(direction="out", exchange=exchange, recipient=org, expect=move.sources, to=move.target, at=at),
            kept,
            Schedule(work=report),
        ),
        leaves=(_leaf(LeafKind.RECEIPT, exchange, digest),),
    )


TestKept = Kept.TestCase
TestKept.settings = settings(
    max_examples=rounds(12, 2000),
    stateful_step_count=20,
    deadline=None,
    phases=(Phase.generate,),
    suppress_health_check=[HealthCheck.too_slow],
)

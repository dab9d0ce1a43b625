"""Batches in bulk, member by member, and by a naive model of the same words: always the same outcome and the same rows."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.core.errors import AlreadyOpen, NameTaken, Superseded
from gateway.core.exchange import State
from gateway.core.leaf import LeafKind
from gateway.core.step import Advance, Change, Finish, Keep, KeepReceipt, KeepSealed, OpenExchange, Remember, Schedule, Step
from gateway.flow.ports import Recorded
from gateway.store.journal import Journal
from tests.store.world import FINANCE, HEALTH, NOW, Paper, Store, leaf, work

PAPERS = [
    Paper(id=f"019cadf8-1c00-7abc-8def-00000000000{number}", to=(FINANCE, HEALTH), source=f"tray/{number % 2}", content=b"same")
    for number in range(3)
]
STATES = (State.TAKEN, State.SEALED, State.DELIVERED)

papers = st.sampled_from(PAPERS)
directions = st.sampled_from(("out", "in"))
openings = st.builds(lambda paper, direction: paper.opening(direction, State.TAKEN), papers, directions)
seals = st.builds(lambda paper, direction: paper.sealed(direction), papers, directions)
moves = st.builds(
    lambda paper, direction, org, expect, to: paper.move(direction, org, expect, to),
    papers,
    directions,
    st.sampled_from((FINANCE, HEALTH)),
    st.sets(st.sampled_from(STATES), min_size=1),
    st.sampled_from(STATES),
)
stated = st.builds(lambda paper, event: paper.receipt("out", event, FINANCE), papers, st.sampled_from(("ContentConsignment", "SignedFor")))
details = st.sampled_from((b"", b"1", b"2"))
scheduled = st.builds(lambda paper, detail: Schedule(work=work("deliver", paper.id, detail=detail)), papers, details)
finished = st.builds(lambda paper, detail: Finish(key=f"deliver:out:{paper.id}", detail=detail), papers, st.none() | details)
kept = st.builds(lambda name, body: Keep(shelf="policy", name=name, body=body), st.sampled_from("ab"), details)
remembered = st.builds(lambda name, value: Remember(name=name, value=value), st.sampled_from("ab"), st.sampled_from("xyz"))
changes = st.one_of(openings, openings, moves, moves, seals, stated, scheduled, finished, kept, remembered)


def in_order(changes: Sequence[Change]) -> Step:
    """A step as the flow makes them: one exchange opened, one sealed, then what is attached, then moves and the rest."""
    rank = {OpenExchange: 0, KeepSealed: 1, KeepReceipt: 2}
    once = {type(change): change for change in changes if isinstance(change, (OpenExchange, KeepSealed))}
    several = [change for change in changes if type(change) not in once]
    ordered = tuple(sorted((*once.values(), *several), key=lambda change: rank.get(type(change), 3)))
    about = next((change.digest for change in ordered if isinstance(change, KeepReceipt)), None)
    return Step(changes=ordered, leaves=(leaf(LeafKind.ALARM, about=about),))


steps = st.lists(st.lists(changes, min_size=1, max_size=4).map(in_order), min_size=1, max_size=8)


class Model:
    """What the words of core/step.py say, in dictionaries."""

    def __init__(self) -> None:
        self.exchanges: dict[tuple[str, str], OpenExchange] = {}
        self.passages: dict[tuple[str, str, str], State] = {}
        self.sealed: set[tuple[str, str]] = set()
        self.receipts: dict[tuple[str, str, str], int] = {}
        self.work: dict[str, bytes] = {}
        self.shelves: dict[str, bytes] = {}
        self.remembered: dict[str, str] = {}
        self.leaves = 0

    def record(self, step: Step) -> type:
        before = {name: value.copy() if hasattr(value, "copy") else value for name, value in vars(self).items()}
        try:
            for change in step.changes:
                self.apply(change)
        except (AlreadyOpen, NameTaken, Superseded, AssertionError) as error:
            vars(self).update(before)
            return type(error)
        self.leaves += 1
        return Recorded

    def apply(self, change: Change) -> None:  # noqa: C901  # one case a word
        match change:
            case OpenExchange():
                key = (change.direction, change.key)
                offer = (change.office, change.source, change.content_digest)
                taken = {(one.office, one.source, one.content_digest) for (way, _), one in self.exchanges.items() if way == "out"}
                if key in self.exchanges or (change.direction == "out" and offer in taken):
                    raise AlreadyOpen("", exchange="")
                if change.name and change.name in {one.name for one in self.exchanges.values()}:
                    raise NameTaken("", name=change.name)
                self.exchanges[key] = change
                self.passages.update({(*key, org): change.state for org in change.recipients})
            case KeepSealed():
                self.known(change)
                if (change.direction, change.exchange) in self.sealed:
                    raise Superseded("")
                self.sealed.add((change.direction, change.exchange))
            case Advance():
                key = (change.direction, change.exchange, change.recipient)
                if self.passages.get(key) not in change.expect:
                    raise Superseded("")
                self.passages[key] = change.to
            case KeepReceipt():
                self.known(change)
                self.receipts.setdefault((change.direction, change.exchange, change.digest), self.leaves)
            case Schedule():
                self.work[change.work.key] = change.work.detail
            case Finish():
                if change.detail in (None, self.work.get(change.key)):
                    self.work.pop(change.key, None)
            case Keep():
                self.shelves.setdefault(change.name, change.body)
            case Remember():
                self.remembered[change.name] = change.value

    def known(self, change: KeepSealed | KeepReceipt) -> None:
        if (change.direction, change.exchange) not in self.exchanges:
            raise AssertionError("internal")

    def dump(self) -> dict[str, object]:
        return {
            "exchanges": set(self.exchanges),
            "passages": {key: state.value for key, state in self.passages.items()},
            "sealed": self.sealed,
            "work": self.work,
            "shelves": self.shelves,
            "remembered": self.remembered,
            "leaves": self.leaves,
        }


def dump(database: Path) -> dict[str, object]:
    """The same of a database."""
    connection = sqlite3.connect(database)
    ask = connection.execute
    found: dict[str, object] = {
        "exchanges": set(ask("SELECT direction, key FROM exchanges")),
        "passages": {row[:3]: row[3] for row in ask("SELECT direction, exchange, recipient, state FROM passages")},
        "sealed": set(ask("SELECT direction, exchange FROM sealed")),
        "work": dict(ask("SELECT key, detail FROM work")),
        "shelves": dict(ask("SELECT name, body FROM shelves")),
        "remembered": dict(ask("SELECT * FROM remembered")),
        "leaves": ask("SELECT count(*) FROM leaves").fetchone()[0],
    }
    connection.close()
    return found


def everything(database: Path) -> dict[str, list[tuple[object, ...]]]:
    """Every row of every table but the checkpoints, of which a batch makes fewer."""
    connection = sqlite3.connect(database)
    tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'") if name != "checkpoints"]
    found = {
        table: sorted(
            (row[1:] if table in ("exchanges", "receipts") else row for row in connection.execute(f"SELECT * FROM {table}")), key=repr
        )
        for table in tables
    }
    connection.close()
    return found


def serve(journal: Journal, batches: Sequence[Sequence[Step]]) -> list[type]:
    """Carry out those batches in this thread (the writer's is idle) and give the kind of each answer."""
    return [type(answer) for batch in batches for answer in journal._serve(batch)]


def agreed(expected: Sequence[type], found: Sequence[type]) -> bool:
    """A step that is wrong in several ways may be told any of them, but a conflict is never called a defect."""
    return len(expected) == len(found) and all(
        (one is Recorded) == (other is Recorded) and (other is not AssertionError or one is AssertionError)
        for one, other in zip(expected, found, strict=True)
    )


@pytest.fixture(scope="module")
def empty(tmp_path_factory) -> Store:
    """A database just made, to be copied: making one costs more than all the steps of an example."""
    store = Store(tmp_path_factory.mktemp("empty"))
    store.journal().close()
    return store


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(steps)
def test_in_bulk_or_one_by_one_or_by_the_model_it_is_the_same(empty, steps):
    model = Model()
    expected = [model.record(step) for step in steps]
    with tempfile.TemporaryDirectory() as folder, patch("os.fsync"):
        stores = []
        for name, batches in (("bulk", [steps]), ("single", [[step] for step in steps])):
            place = Path(folder) / name
            shutil.copytree(empty.folder, place)
            store = Store(place)
            journal = store.journal()
            journal._cursor.execute("PRAGMA synchronous = OFF")  # no power will be cut in here
            assert agreed(expected, serve(journal, batches)), name
            journal.close()
            assert dump(store.database) == model.dump(), name
            stores.append(store)
        assert everything(stores[0].database) == everything(stores[1].database)


def test_batches_without_conflict_are_carried_out_in_bulk(store, monkeypatch):
    """The property above would hold just as well if nothing ever went in bulk."""
    alone: list[Step] = []
    real = Journal._alone
    monkeypatch.setattr(Journal, "_alone", lambda self, step, page: alone.append(step) or real(self, step, page))
    journal = store.journal()
    many = [Paper(at=NOW) for _ in range(20)]
    for place in range(5):
        assert serve(journal, [[paper.outbound()[place] for paper in many]]) == [Recorded] * 20
    assert alone == []
    assert serve(journal, [[many[0].take(), Paper().take()]]) == [AlreadyOpen, Recorded]
    assert len(alone) == 2
    journal.close()


def test_the_whole_way_of_one_document_fits_into_one_batch(store):
    journal = store.journal()
    paper = Paper()
    assert serve(journal, [[*paper.outbound(), *paper.inbound()]]) == [Recorded] * 7
    journal.close()
    assert set(dump(store.database)["passages"].values()) == {"DELIVERED"}


def test_speaking_of_an_exchange_before_it_is_opened_is_not_mended_by_the_bulk(store):
    journal = store.journal()
    paper = Paper()
    early = Step(changes=(paper.move("out", FINANCE, {State.TAKEN}, State.SEALED),), leaves=(leaf(LeafKind.ALARM),))
    assert serve(journal, [[early, paper.take()]]) == [Superseded, Recorded]
    journal.close()


def test_an_unknown_change_is_a_defect_and_stops_the_journal(store):
    journal = store.journal()
    odd = replace(Paper().take(), changes=("no change at all",))
    with pytest.raises(KeyError):
        serve(journal, [[odd]])
    assert journal.stopped is not None
    journal.close()

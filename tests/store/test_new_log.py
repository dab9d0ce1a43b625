"""Several logs in one database: what is given up stays provable, what goes on says where it began."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing

import pytest

from gateway.core.errors import JournalStopped, LogBehind
from gateway.core.leaf import Actor, Leaf, LeafKind
from gateway.store.audit import verify_log
from gateway.store.epochs import EPOCH_BITS, epoch_of, first_place, index_of, last_place
from gateway.store.journal import Journal
from gateway.store.ledger import Ledger
from gateway.store.new_log import begin, catch_up, look
from tests.store.world import ORIGIN, Paper, Store

NEXT = ORIGIN.replace(".1", ".2")


def first_leaf(ended, **changes) -> Leaf:
    actor = Actor(id="a-0011223344556677", role="operator", auth="home-lock")
    leaf = Leaf(
        kind=LeafKind.ORIGIN,
        actor=actor,
        at="2026-03-02T09:00:00Z",
        outcome="begun",
        object=ended.checkpoint,
        reason="restored",
        size=ended.signed,
    )
    return replace_leaf(leaf, **changes)


def replace_leaf(leaf: Leaf, **changes) -> Leaf:
    return Leaf(**{**{name: getattr(leaf, name) for name in leaf.__struct_fields__ if name != "v"}, **changes})


def open_journal(store: Store, origin: str) -> Journal:
    return Journal.open(store.database, log_key=store.key, origin=origin, mark=store.mark)


def verify(store: Store, origin: str):
    return verify_log(store.database, store.mark, store.key.verifier.vkey, origin)


@pytest.fixture
async def behind(store):
    """A database put back from a copy of 23 leaves after 40 were signed."""
    journal = store.journal()
    papers = [Paper() for _ in range(40)]
    for number, paper in enumerate(papers):
        if number == 23:
            with closing(sqlite3.connect(store.database)) as source, closing(sqlite3.connect(store.folder / "copy")) as copy:
                source.backup(copy)
        await journal.record(paper.take())
    journal.close()
    for rest in ("", "-wal", "-shm"):
        store.database.with_name(store.database.name + rest).unlink(missing_ok=True)
    shutil.move(store.folder / "copy", store.database)
    return store


async def test_behind_its_mark_it_refuses_and_says_what_to_do(behind):
    with pytest.raises(LogBehind, match=r"23 of 40 leaves") as caught:
        behind.journal()
    assert (caught.value.size, caught.value.mark) == (23, 40)
    ended = look(behind.database, behind.mark)
    assert (ended.epoch, ended.origin, ended.size, ended.signed, ended.lost) == (1, ORIGIN, 23, 40, 17)


async def test_a_new_log_goes_on_and_both_prove(behind):
    ended = look(behind.database, behind.mark)
    begin(behind.database, behind.mark, ended, key=behind.key, origin=NEXT, leaf=first_leaf(ended))
    with pytest.raises(JournalStopped, match="holds the log"):
        behind.journal()  # the old one is never appended to
    for _ in range(2):
        journal = open_journal(behind, NEXT)
        papers = [Paper() for _ in range(50)]
        for paper in papers:
            recorded = await journal.record(paper.take())
        journal.close()
    assert epoch_of(recorded.leaves[0]) == 2
    assert recorded.tree_size == journal.size == 101
    report = verify(behind, NEXT)
    assert report.ok, report.findings
    assert (report.size, report.earlier) == (101, ((ORIGIN, 23),))
    assert [finding.what for finding in report.findings] == [f"says that 17 of 40 leaves signed in {ORIGIN} were lost: restored"]


async def test_leaves_of_either_log_are_proved_under_a_checkpoint_of_their_own(behind):
    ended = look(behind.database, behind.mark)
    begin(behind.database, behind.mark, ended, key=behind.key, origin=NEXT, leaf=first_leaf(ended))
    journal = open_journal(behind, NEXT)
    paper = Paper()
    (place,) = (await journal.record(paper.take())).leaves
    ledger = Ledger(behind.database)
    try:
        latest = await ledger.latest_checkpoint()
        assert latest.size == 2
        assert latest.note.decode().startswith(f"{NEXT}\n2\n")
        for where, origin in ((5, ORIGIN), (22, ORIGIN), (place, NEXT)):
            checkpoint = await ledger.checkpoint_over(where)
            assert checkpoint.note.decode().startswith(f"{origin}\n")
            proof = await ledger.proof(where, checkpoint)
            assert f"index {index_of(where)}\n" in proof.decode()
        with pytest.raises(ValueError, match="two logs"):
            await ledger.proof(5, latest)
    finally:
        ledger.close()
        journal.close()


async def test_cut_off_behind_the_database_it_is_finished_by_another_try(behind):
    ended, mark = look(behind.database, behind.mark), behind.mark.read_bytes()
    begin(behind.database, behind.mark, ended, key=behind.key, origin=NEXT, leaf=first_leaf(ended))
    behind.mark.write_bytes(mark)  # the power went between the transaction and the mark
    assert catch_up(behind.database, behind.mark, ORIGIN)
    assert not catch_up(behind.database, behind.mark, NEXT)
    open_journal(behind, NEXT).close()
    assert verify(behind, NEXT).ok


async def test_a_first_leaf_that_names_another_end_is_found(behind):
    ended = look(behind.database, behind.mark)
    forged = first_leaf(ended, object="sha256:" + "0" * 64)
    begin(behind.database, behind.mark, ended, key=behind.key, origin=NEXT, leaf=forged)
    (finding,) = verify(behind, NEXT).findings
    assert (finding.severity, finding.what) == ("error", f"does not name the last checkpoint of {ORIGIN}")


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM leaves WHERE idx = 7",
        "UPDATE leaves SET body = replace(body, 'taken', 'token') WHERE idx = 7",
        "DELETE FROM checkpoints WHERE size = 23",
        "DELETE FROM nodes WHERE idx = 0",
        "DELETE FROM origins WHERE epoch = 1",
        f"UPDATE leaves SET idx = idx + (1 << {EPOCH_BITS}) WHERE idx >= (1 << {EPOCH_BITS})",
    ],
)
async def test_what_is_done_to_a_log_that_ended_is_found(behind, damage):
    ended = look(behind.database, behind.mark)
    begin(behind.database, behind.mark, ended, key=behind.key, origin=NEXT, leaf=first_leaf(ended))
    with closing(sqlite3.connect(behind.database)) as connection:
        assert connection.execute(damage).rowcount
        connection.commit()
    assert not verify(behind, NEXT).ok


def test_places():
    assert (first_place(1), first_place(2)) == (0, 1 << EPOCH_BITS)
    for place, epoch, index in ((0, 1, 0), (41, 1, 41), ((1 << EPOCH_BITS) - 1, 1, (1 << EPOCH_BITS) - 1), ((3 << EPOCH_BITS) + 9, 4, 9)):
        assert (epoch_of(place), index_of(place)) == (epoch, index)
        assert epoch_of(last_place(place)) == epoch
        assert epoch_of(last_place(place) + 1) == epoch + 1

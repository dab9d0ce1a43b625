from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from crypto.errors import Malformed
from crypto.notes import LogKey, open_checkpoint
from gateway.core.errors import AlreadyOpen, JournalStopped, NameTaken, NoRoom, Superseded
from gateway.core.exchange import State
from gateway.core.leaf import Leaf, LeafKind
from gateway.core.step import Finish, Keep, Remember, Schedule, Step, StoredContent
from gateway.store import schema
from gateway.store.audit import verify_log
from gateway.store.journal import Journal
from gateway.store.mark import WRITE_SECONDS, read_mark
from tests.store.disk import failing_sync
from tests.store.world import FINANCE, HEALTH, NOW, OFFICE, ORIGIN, Paper, Store, leaf, work

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def journal(store: Store):
    journal = store.journal()
    yield journal
    journal.close()


async def all_of(journal: Journal, steps: list[Step]) -> list[object]:
    """Record them at once and give what came of each."""
    return list(await asyncio.gather(*(journal.record(step) for step in steps), return_exceptions=True))


def rows(store: Store, table: str, order: str = "1") -> list[tuple[object, ...]]:
    connection = sqlite3.connect(store.database)
    found = connection.execute(f"SELECT * FROM {table} ORDER BY {order}").fetchall()
    connection.close()
    return found


class Gate:
    """Holds the writer inside a commit, so that what is asked meanwhile makes up the next batch."""

    def __init__(self, journal: Journal) -> None:
        self.batches: list[int] = []
        self._open = threading.Event()
        self._serve = journal._desk._serve
        journal._desk._serve = self._wait  # type: ignore[method-assign]

    def _wait(self, steps):
        self._open.wait(10)
        self.batches.append(len(steps))
        return self._serve(steps)

    async def batch(self, journal: Journal, steps: list[Step]) -> list[object]:
        """Those steps in one transaction."""
        first = asyncio.ensure_future(journal.record(Step(changes=(Remember(name="gate", value="x"),))))
        await asyncio.sleep(0.05)  # the writer has taken the first step and waits
        rest = asyncio.ensure_future(all_of(journal, steps))
        await asyncio.sleep(0.05)
        self._open.set()
        await first
        answers = await rest
        assert self.batches == [1, len(steps)]
        return answers


async def test_a_recorded_step_is_there_with_its_leaf_and_checkpoint(store, journal):
    paper = Paper()
    recorded = await journal.record(paper.take())
    assert (recorded.leaves, recorded.tree_size) == ((0,), 1)
    assert [row[:3] for row in rows(store, "leaves")] == [(0, paper.id, paper.take().leaves[0].to_bytes())]
    (size, note, token) = rows(store, "checkpoints")[0]
    assert (size, token) == (1, None)
    assert open_checkpoint(note, [store.key.verifier], origin=ORIGIN).size == 1
    assert journal.size == 1
    assert journal.last_at == "2026-03-02T08:00:00Z"


async def test_steps_asked_together_share_one_commit(store, journal):
    seen: list[int] = []
    journal._on_commit = lambda steps, seconds: seen.append(steps)
    answers = await Gate(journal).batch(journal, [Paper().take() for _ in range(20)])
    assert seen == [1, 20]
    assert sorted(index for recorded in answers for index in recorded.leaves) == list(range(20))
    assert {recorded.tree_size for recorded in answers} == {20}
    assert len(rows(store, "checkpoints")) == 1


async def test_a_batch_has_a_ceiling(store):
    journal = store.journal()
    sizes: list[int] = []
    journal._on_commit = lambda steps, seconds: sizes.append(steps)
    await all_of(journal, [Step(changes=(Remember(name=str(number), value=""),)) for number in range(600)])
    journal.close()
    assert sum(sizes) == 600
    assert max(sizes) <= 256


async def test_a_conflict_fails_its_member_alone(store, journal):
    first, second, third = Paper(), Paper(), Paper()
    await journal.record(first.take())
    answers = await Gate(journal).batch(journal, [second.take(), first.take(), first.seal(), first.seal(), third.take()])
    again, twice = answers[1], answers[3]
    assert isinstance(again, AlreadyOpen)
    assert (again.exchange, again.sender_org) == (first.id, first.opening("out", State.TAKEN).sender_org)
    assert isinstance(twice, Superseded)
    assert [getattr(answers[place], "leaves", None) for place in (0, 2, 4)] == [(1,), (2,), (3,)]
    assert [row[1] for row in rows(store, "leaves")] == [first.id, second.id, first.id, third.id]
    assert len(rows(store, "sealed")) == 1


async def test_superseded_names_the_state_found(journal):
    paper = Paper()
    await journal.record(paper.take())
    with pytest.raises(Superseded) as caught:
        await journal.record(paper.receive("ContentHandover", {State.SEALED, State.CONSIGNED}, State.DELIVERED))
    assert caught.value.state is State.TAKEN
    with pytest.raises(Superseded) as caught:
        await journal.record(Paper().receive("ContentHandover", {State.SEALED}, State.DELIVERED))
    assert caught.value.state is None


async def test_two_receipts_in_one_step_move_the_passage_twice(store, journal):
    paper = Paper()
    for step in paper.outbound()[:2]:
        await journal.record(step)
    one = paper.receive("ContentConsignment", {State.SEALED}, State.CONSIGNED)
    two = paper.receive("ContentHandover", {State.SEALED, State.CONSIGNED}, State.DELIVERED)
    both = Step(changes=one.changes + two.changes, leaves=one.leaves + two.leaves)
    assert (await journal.record(both)).leaves == (2, 3)
    assert rows(store, "passages")[0][3] == "DELIVERED"
    with pytest.raises(Superseded) as caught:  # the first fits the state, the second does not fit what the first makes of it
        await journal.record(
            Step(
                changes=(
                    paper.move("out", FINANCE, {State.DELIVERED}, State.SIGNED_FOR),
                    paper.move("out", FINANCE, {State.DELIVERED}, State.RETURNED),
                ),
                leaves=one.leaves,
            )
        )
    assert caught.value.state is State.SIGNED_FOR
    assert rows(store, "passages")[0][3] == "DELIVERED"


async def test_an_offer_is_opened_once_and_its_first_exchange_named(journal):
    first = Paper(source="tray/1", content=b"same")
    await journal.record(first.take())
    with pytest.raises(AlreadyOpen) as caught:
        await journal.record(Paper(source="tray/1", content=b"same").take())
    assert caught.value.exchange == first.id
    await journal.record(Paper(source="tray/1", content=b"other").take())
    await journal.record(Paper(source="tray/2", content=b"same").take())


async def test_exchanges_without_a_source_are_no_offers(journal):
    for _ in range(2):
        paper = Paper()
        opening = paper.opening("in", State.ACCEPTED)
        assert opening.source == ""
        await journal.record(Step(changes=(opening,), leaves=(leaf(LeafKind.ACCEPTED, paper.id),)))


async def test_an_exchange_may_run_both_ways_through_one_gateway(journal):
    paper = Paper()
    await journal.record(paper.take())
    await journal.record(paper.accept())
    with pytest.raises(AlreadyOpen):
        await journal.record(paper.accept())


async def test_two_senders_may_use_one_id_and_the_second_gets_a_name_of_its_own(store, journal):
    """Neither stands in the way of the other, together in one commit or one after the other; the office never sees two of one name."""
    first = Paper()
    others = tuple(replace(first.opening("in", State.ACCEPTED), sender_org=org) for org in (FINANCE, HEALTH))
    await journal.record(Step(changes=(first.opening("in", State.ACCEPTED),), leaves=(leaf(LeafKind.ACCEPTED, first.id, sender=OFFICE),)))
    for opening in others:
        about = leaf(LeafKind.ACCEPTED, first.id, sender=opening.sender_org)
        with pytest.raises(NameTaken) as caught:
            await journal.record(Step(changes=(opening,), leaves=(about,)))
        assert caught.value.name == first.id
        await journal.record(Step(changes=(replace(opening, name=opening.key),), leaves=(about,)))
        with pytest.raises(AlreadyOpen):
            await journal.record(Step(changes=(opening,), leaves=(about,)))
    keys = [f"{first.id}-{org}" for org in (OFFICE, FINANCE, HEALTH)]
    assert [(row[2], row[-1]) for row in rows(store, "exchanges")] == [(keys[0], first.id), *((key, key) for key in keys[1:])]
    assert [row[1] for row in rows(store, "leaves")] == keys


async def test_what_is_not_accepted_has_no_name(journal):
    refused = replace(Paper().opening("in", State.REFUSED), name="")
    for _ in range(2):
        paper = Paper()
        await journal.record(Step(changes=(replace(refused, id=paper.id),), leaves=(leaf(LeafKind.REFUSED, paper.id, sender=OFFICE),)))


async def test_the_same_receipt_again_is_no_change(store, journal):
    paper = Paper()
    for step in paper.outbound()[:3]:
        await journal.record(step)
    before = rows(store, "receipts")
    kept = paper.receipt("out", "ContentConsignment", FINANCE)
    await journal.record(Step(changes=(kept,), leaves=(leaf(LeafKind.RECEIPT, paper.id, about=kept.digest),)))
    assert rows(store, "receipts") == before
    assert before[0][-1] == 2, "the index of the leaf that is about it"


async def test_work_is_replaced_and_finished_by_key(store, journal):
    paper = Paper()
    await journal.record(Step(changes=(Schedule(work=work("deliver", paper.id, detail=b"1")),)))
    await journal.record(Step(changes=(Schedule(work=work("deliver", paper.id, detail=b"2", attempts=3)),)))
    key = f"deliver:out:{paper.id}"
    await journal.record(Step(changes=(Finish(key=key, detail=b"1"),)))
    assert [row[7:9] for row in rows(store, "work")] == [(3, b"2")]
    await journal.record(Step(changes=(Finish(key=key, detail=b"2"),)))
    await journal.record(Step(changes=(Finish(key=key),)))
    assert rows(store, "work") == []


async def test_shelves_and_tokens_are_inserted_once(store, journal):
    await journal.record(Step(changes=(), leaves=(leaf(LeafKind.STARTED),)))
    for body in (b"first", b"second"):
        keeps = (Keep(shelf="policy", name="sha256:1", body=body), Keep(shelf="token", name="1", body=body))
        recorded = await journal.record(Step(changes=keeps))
        assert (recorded.leaves, recorded.tree_size) == ((), 1)
    assert rows(store, "shelves") == [("policy", "sha256:1", b"first")]
    assert rows(store, "checkpoints")[0][2] == b"first"
    with pytest.raises(AssertionError, match="internal"):
        await journal.record(Step(changes=(Keep(shelf="token", name="99", body=b"no such checkpoint"),)))


@pytest.mark.parametrize(
    "bad",
    [
        Step(changes=Paper().take().changes),
        Step(changes=Paper().seal().changes),
        Step(changes=(Keep(shelf="token", name="last", body=b""),)),
    ],
)
async def test_a_state_without_a_leaf_and_other_nonsense_is_refused_before_it_is_queued(journal, bad):
    with pytest.raises(AssertionError, match="internal"):
        await journal.record(bad)


@pytest.mark.parametrize(
    "content",
    [
        StoredContent(size=3),
        StoredContent(size=3, inline=b"abc", blob="0" * 32),
        StoredContent(size=4, inline=b"abc"),
        StoredContent(size=schema.INLINE_CEILING + 1, inline=bytes(schema.INLINE_CEILING + 1)),
    ],
)
async def test_content_lies_in_one_place_and_is_as_long_as_it_says(journal, content):
    paper = Paper()
    step = Step(changes=(replace(paper.sealed("out"), content=content),), leaves=(leaf(LeafKind.SEALED, paper.id),))
    with pytest.raises(AssertionError, match="internal"):
        await journal.record(step)


async def test_a_member_no_row_can_hold_fails_alone(journal):
    good, bad = Paper(), Paper()
    broken = Step(changes=(replace(bad.opening("out", State.TAKEN), level=object()),), leaves=bad.take().leaves)
    orphan = Step(changes=(Paper().receipt("out", "SignedFor", FINANCE),), leaves=(leaf(LeafKind.RECEIPT),))
    answers = await Gate(journal).batch(journal, [broken, orphan, good.take()])
    assert isinstance(answers[0], AssertionError)
    assert isinstance(answers[1], AssertionError)
    assert answers[2].leaves == (0,)


@pytest.mark.parametrize("outcome", ["x" * 5000, "no word"])
async def test_a_leaf_no_reader_would_take_fails_its_member_alone(journal, outcome):
    good, bad = Paper(), Paper()
    wrong = msgspec.structs.replace(bad.take().leaves[0], outcome=outcome)
    answers = await Gate(journal).batch(journal, [Step(changes=bad.take().changes, leaves=(wrong,)), good.take()])
    assert isinstance(answers[0], AssertionError)
    assert isinstance(answers[0].__cause__, Malformed)
    assert answers[1].leaves == (0,)


async def test_time_in_the_log_never_goes_back(store, journal):
    moments = [NOW, NOW - timedelta(hours=1), NOW + timedelta(milliseconds=5), NOW + timedelta(seconds=1), NOW]
    await journal.record(Step(changes=(), leaves=tuple(leaf(LeafKind.STARTED, at=at) for at in moments)))
    await journal.record(Step(changes=(), leaves=(leaf(LeafKind.STOPPED, at=NOW - timedelta(days=1)),)))
    journal.close()
    again = store.journal()
    await again.record(Step(changes=(), leaves=(leaf(LeafKind.STARTED, at=NOW - timedelta(days=2)),)))
    again.close()
    spelled = [Leaf.from_bytes(body).at for _, _, body in rows(store, "leaves")]
    assert spelled == [
        "2026-03-02T08:00:00Z",
        "2026-03-02T08:00:00Z",
        "2026-03-02T08:00:00.005Z",
        *["2026-03-02T08:00:01Z"] * 4,
    ]


@pytest.mark.parametrize("count", [0, 1, 15, 16, 17, 32, 33, 100])
async def test_the_tree_is_read_back_and_goes_on(store, count):
    from crypto.merkle import Frontier, leaf_hash

    frontier = Frontier.empty()
    for _ in range(2):
        journal = store.journal()
        leaves = tuple(leaf(LeafKind.STARTED, at=NOW + timedelta(seconds=number)) for number in range(count))
        await journal.record(Step(changes=(), leaves=leaves))
        journal.close()
    for _, _, body in rows(store, "leaves"):
        frontier.append(leaf_hash(body))
    assert frontier.size == 2 * count
    if count:
        note = rows(store, "checkpoints")[-1][1]
        assert open_checkpoint(note, [store.key.verifier]).root == frontier.root()


async def test_cancelling_the_wait_does_not_take_the_step_back(store, journal):
    paper = Paper()
    asker = asyncio.ensure_future(journal.record(paper.take()))
    await asyncio.sleep(0)
    asker.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asker
    await journal.record(Paper().take())
    assert paper.id in {row[2] for row in rows(store, "exchanges")}


async def test_close_records_what_is_queued_and_nothing_after(store):
    journal = store.journal()
    asked = [asyncio.ensure_future(journal.record(Paper().take())) for _ in range(10)]
    await asyncio.sleep(0)
    await asyncio.to_thread(journal.close)
    assert [len((await one).leaves) for one in asked] == [1] * 10
    with pytest.raises(JournalStopped):
        await journal.record(Paper().take())
    journal.close()
    assert len(rows(store, "leaves")) == 10


# ---- what must not go on


async def test_a_commit_of_unknown_fate_fails_everybody_and_stops(store, journal):
    def broken() -> None:
        raise sqlite3.OperationalError("disk I/O error")

    journal._transaction = replace(journal._transaction, commit=broken)
    answers = await all_of(journal, [Paper().take() for _ in range(5)])
    assert all(isinstance(answer, JournalStopped) for answer in answers)
    assert "disk I/O error" in str(answers[0])
    with pytest.raises(JournalStopped):
        await journal.record(Paper().take())
    assert journal.stopped is not None
    journal.close()
    again = store.journal()
    assert again.size == 0
    assert (await again.record(Paper().take())).leaves == (0,)
    again.close()


async def test_a_full_database_refuses_steps_loses_nothing_and_goes_on_when_there_is_room(store):
    journal = store.journal()
    journal._cursor.execute("PRAGMA max_page_count = 200")
    acknowledged: list[Paper] = []
    with pytest.raises(NoRoom, match="full"):
        for _ in range(1000):
            paper = Paper(content=os.urandom(20_000))
            await journal.record(paper.take())
            await journal.record(paper.seal())
            acknowledged.append(paper)
    assert acknowledged
    assert {row[1] for row in rows(store, "sealed")} == {paper.id for paper in acknowledged}
    journal._cursor.execute("PRAGMA max_page_count = 1000000")
    size = journal.size
    assert (await journal.record(Paper().take())).leaves == (size,), "the tree is the one in the database"
    journal.close()
    again = store.journal()
    assert (await again.record(Paper().take())).tree_size == again.size == size + 2
    again.close()
    assert verify_log(store.database, store.mark, store.key.verifier.vkey, ORIGIN).ok


async def test_no_head_room_refuses_steps_and_lets_them_through_again(store, journal, monkeypatch):
    def full(size: int = 0) -> None:
        raise NoRoom("64 MiB must stay free", free=0)

    journal._room_seen = float("-inf")
    with monkeypatch.context() as patch:
        patch.setattr(journal._headroom, "check", full)
        answers = await all_of(journal, [Paper().take() for _ in range(3)])
        assert all(isinstance(answer, NoRoom) and answer.free == 0 for answer in answers)
        assert len({id(answer) for answer in answers}) == 3
    assert rows(store, "leaves") == []
    assert (await journal.record(Paper().take())).leaves == (0,)


async def test_a_database_behind_its_mark_is_never_appended_to(store):
    journal = store.journal()
    await journal.record(Paper().take())
    journal.close()
    copy = store.database.read_bytes()
    journal = store.journal()
    await journal.record(Paper().take())
    journal.close()
    store.database.write_bytes(copy)
    with pytest.raises(JournalStopped, match="an older copy") as caught:
        store.journal()
    assert (caught.value.size, caught.value.mark) == (1, 2)
    assert len(rows(store, "leaves")) == 1


async def test_a_database_of_another_history_is_refused(store, tmp_path):
    """The same number of leaves under a good signature of our own key: only the mark can tell."""
    for folder in ("one", "other"):
        (tmp_path / folder).mkdir()
        journal = Store(tmp_path / folder).journal()
        await journal.record(Paper().take())
        await journal.record(Paper().take())
        journal.close()
    Store(tmp_path / "other").database.rename(Store(tmp_path / "one").database)
    with pytest.raises(JournalStopped, match="another root"):
        Store(tmp_path / "one").journal()


async def test_a_mark_that_is_gone_or_damaged_is_refused(store):
    journal = store.journal()
    await journal.record(Paper().take())
    journal.close()
    mark = store.mark.read_bytes()
    for damaged in (b"", mark[:-1], mark + b"\n", mark.replace(b"1", b"2", 1), b"\xff" + mark):
        store.mark.write_bytes(damaged)
        with pytest.raises(JournalStopped, match="damaged"):
            store.journal()
    store.mark.unlink()
    with pytest.raises(JournalStopped, match="gone"):
        store.journal()
    store.mark.write_bytes(mark)
    store.journal().close()


async def test_a_mark_behind_the_database_is_a_crash_and_moves_on(store):
    journal = store.journal()
    await journal.record(Paper().take())
    mark = store.mark.read_bytes()
    await journal.record(Paper().take())
    journal.close()
    store.mark.write_bytes(mark)
    again = store.journal()
    again.close()
    assert store.mark.read_bytes() != mark


@pytest.mark.parametrize(
    "bend",
    [
        "UPDATE leaves SET body = CAST(replace(CAST(body AS TEXT), 'taken', 'sealed') AS BLOB) WHERE idx = 16",
        "UPDATE nodes SET hash = zeroblob(32) WHERE level = 4",
        "DELETE FROM leaves WHERE idx = 16",
        "DELETE FROM nodes",
        "DELETE FROM checkpoints",
        "DELETE FROM checkpoints WHERE size = 17",
        "UPDATE checkpoints SET note = CAST(replace(CAST(note AS TEXT), '17', '18') AS BLOB) WHERE size = 17",
    ],
)
async def test_a_bent_tree_is_found_at_the_start(store, bend):
    journal = store.journal()
    for _ in range(17):
        await journal.record(Paper().take())
    journal.close()
    connection = sqlite3.connect(store.database)
    connection.execute(bend)
    connection.commit()
    connection.close()
    with pytest.raises(JournalStopped):
        store.journal()


def test_another_origin_or_key_is_refused(store):
    store.journal().close()
    with pytest.raises(JournalStopped, match="gw-office/a/2027.1"):
        store.journal(origin="gw-office/a/2027.1")
    asyncio.run(record_one(store))
    with pytest.raises(JournalStopped, match="not ours"):
        store.journal(log_key=LogKey.generate(ORIGIN))


async def record_one(store: Store) -> None:
    journal = store.journal()
    await journal.record(Paper().take())
    journal.close()


def test_an_old_program_refuses_a_newer_database(store):
    store.journal().close()
    connection = sqlite3.connect(store.database)
    connection.execute("INSERT INTO schema_versions VALUES (4, 3)")
    connection.commit()
    with pytest.raises(schema.NewerDatabase) as caught:
        store.journal()
    assert (caught.value.version, caught.value.compatible_from) == (4, 3)
    connection.execute("UPDATE schema_versions SET compatible_from = 2 WHERE version = 4")
    connection.commit()
    connection.close()
    store.journal().close()


def test_a_database_of_other_tables_is_refused(store):
    store.journal().close()
    connection = sqlite3.connect(store.database)
    connection.execute("UPDATE schema_versions SET version = 1, compatible_from = 1")
    connection.commit()
    connection.close()
    with pytest.raises(schema.OlderDatabase) as caught:
        store.journal()
    assert (caught.value.version, caught.value.oldest) == (1, 2)


def test_what_is_no_database_is_refused(store):
    store.database.write_bytes(b"no database at all" * 100)
    with pytest.raises(JournalStopped, match="cannot be read"):
        store.journal()


def test_the_database_is_for_its_owner_alone_and_survives_a_power_cut(store):
    journal = store.journal()
    assert store.database.stat().st_mode & 0o777 == 0o600
    pragma = {name: journal._cursor.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous", "foreign_keys")}
    assert pragma == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}
    journal.close()


async def test_a_failed_sync_of_the_mark_stops_the_journal(store, journal, monkeypatch):
    await journal.record(Paper().take())
    mark = journal._log._mark
    mark._synced -= 10
    mark._written -= 10
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", failing_sync)
        with pytest.raises(JournalStopped, match="fsync"):
            await journal.record(Paper().take())


async def test_a_failed_sync_of_the_mark_while_nothing_is_asked_stops_the_journal(store, journal, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", failing_sync)
        await journal.record(Paper().take())
        journal._log._mark._synced -= 10
        assert await within(5, lambda: journal.stopped is not None)
    with pytest.raises(JournalStopped, match="fsync"):
        await journal.record(Paper().take())


async def within(seconds: float, holds: Callable[[], bool]) -> bool:
    """Whether it comes to hold in that time."""
    for _ in range(int(seconds * 100)):
        if holds():
            return True
        await asyncio.sleep(0.01)
    return False


async def test_the_mark_follows_a_busy_log_now_and_then_and_never_leads(store, journal, monkeypatch):
    written: list[int] = []
    real = os.pwrite

    def pwrite(descriptor: int, data: bytes, offset: int) -> int:
        size = int(bytes(data).split(b"\n")[2])
        assert size <= len(rows(store, "leaves")), "only what is durable is marked"
        written.append(size)
        return real(descriptor, data, offset)

    monkeypatch.setattr(os, "pwrite", pwrite)
    started = time.monotonic()
    for _ in range(60):
        await journal.record(Paper().take())
    took = time.monotonic() - started
    assert len(written) <= took / WRITE_SECONDS + 1
    assert await within(5, lambda: (mark := read_mark(store.mark)) is not None and mark.size == 60), "an idle journal catches up by itself"
    assert written == sorted(written)


async def test_an_idle_journal_syncs_its_mark_and_then_rests(store, journal, monkeypatch):
    synced: list[int] = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda descriptor: (synced.append(descriptor), real(descriptor))[1])
    await journal.record(Paper().take())
    assert await within(5, lambda: bool(synced))
    assert synced == [journal._log._mark._descriptor]
    assert await within(5, lambda: not journal._desk._uneasy)


async def test_a_closed_journal_leaves_the_mark_at_the_end_of_the_log(store):
    journal = store.journal()
    for _ in range(3):
        await journal.record(Paper().take())
    journal.close()
    mark = read_mark(store.mark)
    assert mark is not None
    assert mark.size == 3

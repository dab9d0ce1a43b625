from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import insert, inspect

from crypto.errors import Malformed
from crypto.notes import LogProof
from gateway.core.exchange import State
from gateway.core.leaf import LeafKind
from gateway.core.step import Keep, Remember, Schedule, Step
from gateway.store.ledger import Ledger, Unreadable
from gateway.store.proofs import TreeDamaged
from gateway.store.schema import connect, exchanges, passages, sealed, to_micros
from tests.store.world import FINANCE, HEALTH, NOW, OFFICE, ORIGIN, Paper, leaf, new_id, work


@pytest.fixture
def both(store):
    journal = store.journal()
    ledger = store.ledger()
    yield journal, ledger
    ledger.close()
    journal.close()


async def record(journal, *steps):
    for step in steps:
        await journal.record(step)


async def test_an_exchange_is_read_as_it_was_recorded(both):
    journal, ledger = both
    paper = Paper(to=(FINANCE, HEALTH))
    assert await ledger.exchange("out", paper.id) is None
    await record(journal, paper.take())
    row = await ledger.exchange("out", paper.id)
    assert (row.transmittal, row.nro, row.own_key, row.content, row.expires) == (None,) * 5
    await record(journal, paper.seal())
    row = await ledger.exchange("out", paper.id)
    opened, sealed = paper.opening("out", State.TAKEN), paper.sealed("out")
    for name in (
        "direction",
        "id",
        "level",
        "urgency",
        "suite",
        "sender_org",
        "sender_gateway",
        "office",
        "source",
        "content_digest",
        "private",
    ):
        assert getattr(row, name) == getattr(opened, name), name
    for name in ("transmittal", "transmittal_digest", "nro", "own_key", "expires"):
        assert getattr(row, name) == getattr(sealed, name), name
    assert row.created == NOW
    assert [(one.recipient, one.state, one.updated) for one in row.passages] == [(FINANCE, State.SEALED, NOW), (HEALTH, State.SEALED, NOW)]
    assert (row.content.size, row.content.inline, row.content.blob) == (len(paper.content), None, None)
    assert await ledger.content("out", paper.id) == sealed.content
    assert await ledger.envelopes("out", paper.id) == dict(paper.envelopes)
    assert await ledger.exchange("in", paper.arrival) is None
    assert await ledger.content("in", paper.arrival) is None


async def test_content_in_a_blob_is_named(both):
    journal, ledger = both
    paper = Paper(blob="ab" * 16)
    await record(journal, paper.take(), paper.seal())
    content = await ledger.content("out", paper.id)
    assert (content.size, content.inline, content.blob) == (len(paper.content), None, "ab" * 16)
    assert (await ledger.exchange("out", paper.id)).content == content


async def test_blobs_no_exchange_names(both):
    journal, ledger = both
    paper = Paper(blob="ab" * 16)
    await record(journal, paper.take(), paper.seal())
    assert await ledger.unnamed_blobs(("cd" * 16, "ab" * 16, "ef" * 16)) == ("cd" * 16, "ef" * 16)
    assert await ledger.unnamed_blobs(()) == ()


async def test_offers_of_one_source_oldest_first(both):
    journal, ledger = both
    papers = [Paper(source="tray/1", content=bytes([number])) for number in range(3)]
    await record(journal, *(paper.take() for paper in papers), Paper(source="tray/2").take())
    assert await ledger.taken("folder", "tray/1") == tuple((one.id, one.opening("out", State.TAKEN).content_digest) for one in papers)
    assert await ledger.taken("elsewhere", "tray/1") == ()


async def test_the_newest_exchanges_first(both):
    journal, ledger = both
    papers = [Paper() for _ in range(5)]
    await record(journal, *(paper.take() for paper in papers), papers[0].accept())
    assert [row.id for row in await ledger.exchanges(limit=3)] == [papers[0].id, papers[4].id, papers[3].id]
    assert [row.id for row in await ledger.exchanges(direction="out", limit=2)] == [papers[4].id, papers[3].id]
    assert [row.direction for row in await ledger.exchanges(direction="in")] == ["in"]


async def test_receipts_in_order_of_arrival_and_by_digest(both):
    journal, ledger = both
    paper = Paper()
    await record(journal, *paper.outbound())
    consigned, handed = paper.receipt("out", "ContentConsignment", FINANCE), paper.receipt("out", "ContentHandover", FINANCE)
    found = await ledger.receipts("out", paper.id)
    assert [(one.digest, one.event, one.body, one.signature, one.leaf) for one in found] == [
        (one.digest, one.event, one.body, one.signature, index) for index, one in ((2, consigned), (3, handed))
    ]
    assert await ledger.receipt(handed.digest) == found[1]
    assert await ledger.receipt("sm3:" + "0" * 64) is None
    with pytest.raises(Malformed):
        await ledger.receipt("no digest")


async def test_all_work_soonest_first(both):
    journal, ledger = both
    works = [
        work("deliver", Paper().id, due=NOW + timedelta(minutes=delay), priority=delay, detail=b"x", peer="gw-b") for delay in (3, 1, 2)
    ]
    await record(journal, Step(changes=tuple(Schedule(work=one) for one in works)))
    assert await ledger.due() == (works[1], works[2], works[0])
    assert await ledger.due(limit=1) == (works[1],)


async def test_who_waits_for_an_exchange_that_has_run_out(both):
    journal, ledger = both
    old, young = Paper(to=(FINANCE, HEALTH)), Paper(at=NOW + timedelta(days=5))
    await record(journal, old.take(), old.seal(), young.take(), young.seal())
    await record(journal, old.receive("ContentConsignment", {State.SEALED}, State.CONSIGNED))
    expires = NOW + timedelta(days=30)
    waiting = frozenset({State.SEALED, State.STUCK})
    assert await ledger.expired("out", expires, waiting) == ()
    later = expires + timedelta(microseconds=1)
    assert await ledger.expired("out", later, waiting) == ((old.id, HEALTH),)
    assert await ledger.expired("out", later, waiting | {State.CONSIGNED}) == ((old.id, FINANCE), (old.id, HEALTH))
    assert await ledger.expired("in", later, waiting) == ()
    assert len(await ledger.expired("out", expires + timedelta(days=10), waiting, limit=1)) == 1
    plan = ledger._cursor.execute("EXPLAIN QUERY PLAN " + ledger._ask.expired(2), ("out", "SEALED", "STUCK", 0, 1)).fetchall()
    assert "passages_state" in plan[0][3], "only open passages are looked at, however many exchanges have run out"


async def test_what_needs_no_signature_costs_nothing_however_much_there_is(store):
    """20,000 documents that stay delivered for ever, and two that ran out just now, one of which somebody has to sign for."""
    many, state = 20_000, State.DELIVERED.value
    store.journal().close()
    engine, ran_out = connect(store.database), to_micros(NOW)
    rows = [(new_id(NOW - timedelta(days=40)), ran_out - 1_000_000 * (number + 7200)) for number in range(many)]
    rows += [("last-unasked", ran_out - 2), ("last-asked", ran_out - 1), ("next", ran_out)]
    with engine.begin() as connection:
        level = {"last-asked": "sensitive", "next": "sensitive"}
        connection.execute(
            insert(exchanges),
            [
                dict.fromkeys(("urgency", "suite", "sender_org", "sender_gateway", "office", "source", "content_digest", "name"), "")
                | {"direction": "in", "key": key, "created": 0, "level": level.get(key, "internal"), "private": b"", "expires": None}
                for key, _ in rows
            ],
        )
        connection.execute(
            insert(passages),
            [{"direction": "in", "exchange": key, "recipient": FINANCE, "state": state, "updated": 0} for key, _ in rows],
        )
        connection.execute(
            insert(sealed),
            [
                dict.fromkeys(("transmittal", "nro", "own_key"), b"")
                | {"direction": "in", "exchange": key, "transmittal_digest": "", "content_size": None, "blob": None, "expires": expires}
                for key, expires in rows
            ],
        )
    engine.dispose()
    ledger, steps = store.ledger(), 0

    def step() -> int:
        nonlocal steps
        steps += 100
        return 0

    try:
        ledger._connection.connection.driver_connection.set_progress_handler(step, 100)
        asked = {"but": frozenset({"internal"})}
        assert await ledger.unsigned(NOW - timedelta(hours=1), NOW, **asked) == ("last-asked",)
        assert steps < 2_000, "what ran out within the hour was looked at, and nothing else"
        assert await ledger.unsigned(None, NOW, **asked) == ("last-asked",), "a start looks at all of it, once"
        assert steps > 10 * many
        assert len(await ledger.unsigned(None, NOW, limit=50)) == 50
        plan = ledger._cursor.execute("EXPLAIN QUERY PLAN " + ledger._ask.unsigned(1), (0, 1, state, "internal", 9)).fetchall()
        assert "sealed_expiring" in plan[0][3], plan
    finally:
        ledger.close()


async def test_a_database_that_began_without_it_gets_the_index(store):
    store.journal().close()
    engine = connect(store.database)
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP INDEX sealed_expiring")
    engine.dispose()
    store.journal().close()
    engine = connect(store.database)
    assert "sealed_expiring" in {index["name"] for index in inspect(engine).get_indexes("sealed")}
    engine.dispose()


async def test_shelves_tokens_and_what_is_remembered(both):
    journal, ledger = both
    await record(journal, Paper().take())
    keeps = (Keep(shelf="crl", name="sha256:1", body=b"list"), Keep(shelf="token", name="1", body=b"token"), Remember(name="a", value="b"))
    await record(journal, Step(changes=keeps))
    assert await ledger.kept("crl", "sha256:1") == b"list"
    assert await ledger.kept("entry", "sha256:1") is None
    assert await ledger.kept("token", "1") == b"token"
    assert await ledger.kept("token", "2") is None
    assert await ledger.remembered("a") == "b"
    assert await ledger.remembered("b") is None


async def test_an_arrival_is_found_by_its_name_and_by_how_its_key_begins(both):
    journal, ledger = both
    paper, other = Paper(), Paper()
    stranger = replace(paper.opening("in", State.ACCEPTED), sender_org=HEALTH, name=f"{paper.id}-{HEALTH}")
    await record(
        journal, paper.take(), paper.accept(), Step(changes=(stranger,), leaves=(leaf(LeafKind.ACCEPTED, paper.id, sender=HEALTH),))
    )
    await record(journal, other.take())
    assert (await ledger.named(paper.id)).key == paper.arrival
    assert (await ledger.named(stranger.name)).sender_org == HEALTH
    assert await ledger.named("") is None
    assert await ledger.named(other.id) is None, "what we sent has no name in the inbox"
    assert [row.key for row in await ledger.beginning(paper.id)] == [paper.id, paper.arrival, stranger.key]
    assert [row.id for row in await ledger.beginning(paper.id)] == [paper.id] * 3
    assert [row.key for row in await ledger.beginning(stranger.key[:-1])] == [stranger.key]
    assert len(await ledger.beginning("0", limit=1)) == 2
    assert await ledger.beginning("z") == ()
    assert {body for _, body in await ledger.leaves(stranger.key)} == {leaf(LeafKind.ACCEPTED, paper.id, sender=HEALTH).to_bytes()}
    for question in (ledger._ask.named, ledger._ask.beginning):
        plan = ledger._cursor.execute("EXPLAIN QUERY PLAN " + question, ("out", "0", "1", 1)[-question.count("?") :]).fetchall()
        assert "SEARCH exchanges USING INDEX" in plan[0][3], plan


async def test_leaves_of_an_exchange_in_order(both):
    journal, ledger = both
    one, other = Paper(), Paper()
    await record(journal, one.take(), other.take(), one.seal())
    leaves = await ledger.leaves(one.id)
    assert [index for index, _ in leaves] == [0, 2]
    assert leaves[1][1] == one.seal().leaves[0].to_bytes() == await ledger.leaf(2)
    assert await ledger.leaf(3) is None


async def test_the_checkpoint_over_a_leaf_prefers_one_with_a_token(both):
    journal, ledger = both
    assert await ledger.latest_checkpoint() is None
    assert await ledger.checkpoint_over(0) is None
    for _ in range(4):
        await record(journal, Paper().take())
    assert [(await ledger.checkpoint_over(index)).size for index in range(4)] == [1, 2, 3, 4]
    await record(journal, Step(changes=(Keep(shelf="token", name="3", body=b"t"),)))
    found = [await ledger.checkpoint_over(index) for index in range(4)]
    assert [(one.size, one.token) for one in found] == [(3, b"t"), (3, b"t"), (3, b"t"), (4, None)]
    assert (await ledger.latest_checkpoint()).size == 4
    assert await ledger.checkpoint_over(4) is None


@pytest.mark.parametrize("count", [1, 15, 16, 17, 40, 129])
async def test_every_leaf_is_proven_under_every_checkpoint(store, both, count):
    journal, ledger = both
    for size in range(0, count, 8):
        leaves = tuple(leaf(LeafKind.STARTED, at=NOW + timedelta(seconds=index)) for index in range(size, min(size + 8, count)))
        await record(journal, Step(changes=(), leaves=leaves))
    checkpoint = await ledger.latest_checkpoint()
    for index in range(0, count, 5):
        early = await ledger.checkpoint_over(index)
        for over in {early, checkpoint}:
            proof = LogProof.from_bytes(await ledger.proof(index, over))
            assert proof.verify(await ledger.leaf(index), [store.key.verifier], origin=ORIGIN).size == over.size
    with pytest.raises(ValueError, match="no leaf"):
        await ledger.proof(count, checkpoint)


async def test_a_proof_needs_few_rows_whatever_the_size(store, both):
    journal, ledger = both
    for _ in range(8):
        await record(journal, Step(changes=(), leaves=tuple(leaf(LeafKind.STARTED) for _ in range(128))))
    asked: list[str] = []
    real = ledger._cursor

    class Counting:
        def execute(self, text, values):
            asked.append(text)
            return real.execute(text, values)

    latest = await ledger.latest_checkpoint()
    ledger._cursor = Counting()
    await ledger.proof(5, latest)
    ledger._cursor = real
    assert len(asked) <= 11


async def test_a_missing_subtree_is_named(store, both):
    journal, ledger = both
    await record(journal, Step(changes=(), leaves=tuple(leaf(LeafKind.STARTED) for _ in range(40))))
    journal._cursor.execute("DELETE FROM nodes WHERE level = 4 AND idx = 1")
    checkpoint = await ledger.latest_checkpoint()
    with pytest.raises(TreeDamaged) as subtree:
        await ledger.proof(2, checkpoint)
    assert (subtree.value.level, subtree.value.index) == (4, 1)
    journal._cursor.execute("DELETE FROM leaves WHERE idx = 38")
    with pytest.raises(TreeDamaged) as lost:
        await ledger.proof(39, checkpoint)
    assert (lost.value.first, lost.value.end) == (38, 39)


async def test_a_question_sees_what_was_recorded_before_it_and_questions_share_a_batch(both):
    journal, ledger = both
    for _ in range(10):
        paper = Paper()
        await journal.record(paper.accept())
        rows = await asyncio.gather(*(ledger.exchange("in", paper.arrival) for _ in range(20)))
        assert all(row.sender_org == OFFICE for row in rows)


async def test_half_a_step_is_never_seen(both):
    journal, ledger = both

    async def write():
        for _ in range(30):
            paper = Paper()
            await journal.record(paper.accept())

    async def read():
        while not writer.done():
            rows = await ledger.exchanges(limit=3)
            assert all(row.passages and row.content for row in rows)

    writer = asyncio.ensure_future(write())
    await asyncio.gather(writer, read())


async def test_an_unreadable_database_fails_the_question(both):
    _, ledger = both
    with pytest.raises(Unreadable):
        await ledger._rows("SELECT nothing FROM nowhere")
    assert await ledger.due() == ()


async def test_the_reader_cannot_write(both):
    _, ledger = both
    with pytest.raises(Unreadable, match="readonly"):
        await ledger._rows("DELETE FROM work")


async def test_closed_is_closed(store):
    store.journal().close()
    ledger = Ledger(store.database)
    ledger.close()
    ledger.close()
    with pytest.raises(RuntimeError):
        await ledger.due()

from __future__ import annotations

import asyncio
import sqlite3

import pytest

from crypto.notes import Checkpoint, LogKey, make_checkpoint, open_checkpoint
from gateway.core.leaf import LeafKind
from gateway.core.step import Step
from gateway.store.audit import AuditReport, verify_log
from tests.store.world import NOW, ORIGIN, Paper, Store, leaf


@pytest.fixture
def full(store: Store) -> Store:
    """A log of 40 leaves in ten commits of four."""

    async def fill():
        journal = store.journal()
        for _ in range(10):
            paper = Paper()
            both = paper.accept(), paper.deliver()
            await journal.record(Step(changes=both[0].changes, leaves=(*both[0].leaves, *both[0].leaves)))
        journal.close()

    asyncio.run(fill())
    return store


def audit(store: Store, **changes: str) -> AuditReport:
    return verify_log(store.database, store.mark, **{"vkey": store.key.verifier.vkey, "origin": ORIGIN, **changes})


def bend(store: Store, *statements: str) -> None:
    connection = sqlite3.connect(store.database)
    for statement in statements:
        assert connection.execute(statement).rowcount, statement
    connection.commit()
    connection.close()


def found(store: Store) -> list[str]:
    report = audit(store)
    assert not report.ok
    return [f"{one.where} {one.what}" for one in report.findings]


def test_a_good_log_is_ok_and_its_root_is_the_signed_one(full):
    report = audit(full)
    assert (report.ok, report.size, report.findings) == (True, 40, ())
    connection = sqlite3.connect(full.database)
    (note,) = connection.execute("SELECT note FROM checkpoints WHERE size = 40").fetchone()
    connection.close()
    from base64 import b64encode

    assert report.root == b64encode(open_checkpoint(note, [full.key.verifier]).root).decode()


def test_an_empty_log_is_ok(store):
    store.journal().close()
    report = audit(store)
    assert (report.ok, report.size) == (True, 0)


def test_a_log_being_written_is_read_in_peace(store):
    async def run():
        journal = store.journal()
        for _ in range(20):
            await journal.record(Paper().take())
            report = await asyncio.to_thread(audit, store)
            assert report.ok, report.findings
        journal.close()

    asyncio.run(run())


@pytest.mark.parametrize("index", [0, 13, 15, 16, 38, 39])
def test_a_changed_leaf_is_found_and_placed(full, index):
    bend(full, f"UPDATE leaves SET body = CAST(replace(CAST(body AS TEXT), '2026-03-02T08', '2026-03-02T09') AS BLOB) WHERE idx = {index}")
    lines = found(full)
    commit = index // 4 * 4
    assert any(line.startswith(f"leaves {commit} to {commit + 3} are not what the checkpoint of {commit + 4}") for line in lines), lines
    assert any(line.startswith(f"leaves {index // 16 * 16} to {index // 16 * 16 + 15} are not what was hashed") for line in lines) == (
        index < 32
    )


@pytest.mark.parametrize("index", [0, 7, 20, 38])
def test_a_deleted_leaf_is_found(full, index):
    bend(full, f"DELETE FROM leaves WHERE idx = {index}")
    assert f"leaf {index} is missing: the next one there is leaf {index + 1}" in found(full)


def test_a_deleted_last_leaf_is_found(full):
    bend(full, "DELETE FROM leaves WHERE idx = 39")
    lines = found(full)
    assert "checkpoints the last one covers 40 leaves and 39 are there" in lines
    assert any(line.startswith("mark says 40 leaves were signed and 39 are there") for line in lines)


def test_the_last_commit_removed_with_its_checkpoint_is_found_by_the_mark(full):
    bend(full, "DELETE FROM leaves WHERE idx >= 36", "DELETE FROM checkpoints WHERE size = 40")
    lines = found(full)
    assert lines == ["mark says 40 leaves were signed and 36 are there: the database was put back from an older copy"]


def test_an_inserted_leaf_is_found(full):
    bend(full, "INSERT INTO leaves SELECT 40, exchange, body FROM leaves WHERE idx = 39")
    assert "checkpoints the last one covers 40 leaves and 41 are there" in found(full)


def test_two_leaves_in_each_others_place_are_found(full):
    bend(
        full,
        "UPDATE leaves SET idx = 99 WHERE idx = 20",
        "UPDATE leaves SET idx = 20 WHERE idx = 26",
        "UPDATE leaves SET idx = 26 WHERE idx = 99",
    )
    assert any(line.startswith("leaves 20 to 23 are not what the checkpoint of 24") for line in found(full))


def test_a_leaf_filed_under_another_exchange_is_found(full):
    bend(full, "UPDATE leaves SET exchange = NULL WHERE idx = 6")
    assert any(line.startswith("leaf 6 is filed under exchange None") for line in found(full))


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"{}", "is no leaf: 'at'"),
        (b"[]", "is no leaf"),
        (b"\xff", "is no leaf"),
        (b'{"at":"2026-03-02T08:00:00Z", "v":"yizhan-leaf/1"}', "is not the canonical form"),
        (b'{"at":"2026-03-02T08:00:00Z","v":"yizhan-leaf/2"}', "is not the canonical form"),
        (b'{"at":5,"v":"yizhan-leaf/1"}', "has no time: 5"),
        (b'{"at":"2026-03-01T08:00:00Z","v":"yizhan-leaf/1"}', "is dated 2026-03-01T08:00:00Z, before the leaf ahead of it"),
    ],
)
def test_a_leaf_that_is_none_is_found_even_when_it_was_signed_for(store, body, said):
    """Our own key put it there: only reading the leaf itself can tell."""

    async def fill():
        journal = store.journal()
        await journal.record(Step(changes=(), leaves=(leaf(LeafKind.STARTED, at=NOW),)))
        page = journal._log.page()
        page.rows.append((1, None, body))
        journal._transaction.begin()
        _, checkpoint = journal._log.bind(page)
        journal._bulk(journal._statements.leaf, page.rows)
        journal._bulk(journal._statements.checkpoint, [checkpoint])
        journal._transaction.commit()
        journal._log.committed()
        journal.close()

    asyncio.run(fill())
    lines = found(store)
    assert len(lines) == 1
    assert lines[0].startswith(f"leaf 1 {said}")


def test_a_changed_removed_or_invented_subtree_is_found(full):
    bend(full, "UPDATE nodes SET hash = zeroblob(32) WHERE level = 4 AND idx = 1", "INSERT INTO nodes VALUES (4, 9, zeroblob(32))")
    lines = found(full)
    assert "leaves 16 to 31 are not what was hashed when they were written (subtree 4/1)" in lines
    assert "subtree 4/9 is stored and has no leaves" in lines
    bend(full, "DELETE FROM nodes WHERE level = 4 AND idx = 1")
    assert "leaves 16 to 31 are not what was hashed when they were written (subtree 4/1)" in found(full)


def test_a_changed_checkpoint_is_found(full):
    bend(full, "UPDATE checkpoints SET note = CAST(replace(CAST(note AS TEXT), '/a/2026', '/b/2026') AS BLOB) WHERE size = 8")
    assert any(line.startswith("checkpoint 8 ") for line in found(full))


@pytest.mark.parametrize("note", [b"", b"\xff", b"gw\n8\nAAAA\n\n", b"gw\n8\nAAAA\n\n\xe2\x80\x94 gw-office/a/2026.1 !!\n"])
def test_what_is_no_note_is_found(full, note):
    bend(full, f"UPDATE checkpoints SET note = X'{note.hex()}' WHERE size = 8")
    assert any(line.startswith("checkpoint 8 ") for line in found(full))


def test_a_checkpoint_of_another_key_is_found(full):
    forged = make_checkpoint(Checkpoint(origin=ORIGIN, size=8, root=bytes(32)), LogKey.generate(ORIGIN))
    bend(full, f"UPDATE checkpoints SET note = X'{forged.hex()}' WHERE size = 8")
    assert "checkpoint 8 is not signed by the log key" in found(full)


def test_a_checkpoint_in_anothers_place_is_found(full):
    bend(full, "UPDATE checkpoints SET note = (SELECT note FROM checkpoints WHERE size = 12) WHERE size = 8")
    assert f"checkpoint 8 speaks of 12 leaves of {ORIGIN}" in found(full)


def test_a_rewritten_log_signed_again_is_found_by_the_mark(full, tmp_path):
    """Even our own log key cannot rewrite history past the mark (and, elsewhere, the witnesses)."""
    other = Store(tmp_path / "other")
    other.folder.mkdir()

    async def fill():
        journal = other.journal()
        for _ in range(40):
            await journal.record(Paper().take())
        journal.close()

    asyncio.run(fill())
    other.database.rename(full.database)
    assert found(full) == ["mark says the root at 40 leaves was another"]


def test_another_origin_or_key_is_found(full):
    report = audit(full, origin="gw-office/a/2027.1")
    assert not report.ok
    assert report.findings[0].where == "origins"
    stranger = audit(full, vkey=LogKey.generate(ORIGIN).verifier.vkey)
    assert {finding.what for finding in stranger.findings} == {"is not signed by the log key"}
    assert len(stranger.findings) == 10


def test_a_missing_or_damaged_mark_is_found(full):
    mark = full.mark.read_bytes()
    full.mark.write_bytes(mark.replace(b"gw-office", b"gw-offica"))
    assert found(full) == [f"mark is not the mark of {ORIGIN}"]
    full.mark.write_bytes(b"nonsense")
    assert found(full)[0].startswith("mark cannot be read")
    full.mark.unlink()
    assert found(full)[0].startswith("mark cannot be read")


def test_what_cannot_be_read_is_a_finding(store):
    assert found(store)[0].startswith("yizhan.db cannot be read: there is no database")
    store.database.write_bytes(b"no database" * 1000)
    assert found(store)[0].startswith("yizhan.db cannot be read")


@pytest.mark.parametrize("vkey", ["", "a+b", "gw+00000000+AAAA", "gw+zz+AQ=="])
def test_a_verifier_key_that_is_none_is_refused(full, vkey):
    with pytest.raises(ValueError):
        audit(full, vkey=vkey)

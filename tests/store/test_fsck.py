from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Sequence

import pytest

from crypto.digests import digest
from gateway.core.exchange import State
from gateway.core.leaf import LeafKind
from gateway.core.step import Keep, Schedule, Step
from gateway.store.audit import verify_log
from gateway.store.findings import Finding
from gateway.store.fsck import fsck
from tests.store.world import FINANCE, HEALTH, OFFICE, ORIGIN, Paper, Store, leaf, work

SENT = "019cadf8-1c00-7abc-8def-000000000001"
LARGE = "019cadf8-1c00-7abc-8def-000000000002"
RECEIVED = "019cadf8-1c00-7abc-8def-000000000003"
ARRIVED = f"{RECEIVED}-{OFFICE}"


@pytest.fixture
def full(store: Store) -> Store:
    """One document sent, one sent to two with its content in a blob, one received, and shelves."""

    async def fill():
        journal = store.journal()
        content = os.urandom(200_000)
        writer = store.blobs().create(len(content))
        writer.write(content)
        sent, large = Paper(id=SENT), Paper(id=LARGE, to=(FINANCE, HEALTH), content=content, blob=writer.finish())
        steps = [*sent.outbound(), large.take(), large.seal(), *Paper(id=RECEIVED).inbound()]
        shelves = [("policy", digest("sha256", b"policy"), b"policy"), ("entry", digest("sha256", b"entry"), b"entry")]
        shelves += [("directory", "3", b'{"version":3}'), ("certificate", digest("sha256", b"der"), b"der")]
        steps.append(Step(changes=tuple(Keep(shelf=shelf, name=name, body=body) for shelf, name, body in shelves)))
        for step in steps:
            await journal.record(step)
        journal.close()

    asyncio.run(fill())
    assert run(store) == []
    return store


def run(store: Store) -> list[str]:
    return [f"{one.where}: {one.what}" for one in findings(store)]


def findings(store: Store) -> Sequence[Finding]:
    return fsck(store.database, store.blob_folder)


def bend(store: Store, *statements: str) -> None:
    connection = sqlite3.connect(store.database)  # foreign keys are off here: the hand of a stranger
    for statement in statements:
        assert connection.execute(statement).rowcount, statement
    connection.commit()
    connection.close()


def blob_of(store: Store):
    return next(path for path in store.blob_folder.glob("[0-9a-f][0-9a-f]/*"))


def flip(table: str, column: str, where: str) -> str:
    """Another byte in the middle of a value."""
    half = f"length({column}) / 2"
    byte = f"CASE substr({column}, {half}, 1) WHEN X'58' THEN X'59' ELSE X'58' END"
    parts = f"substr({column}, 1, {half} - 1) || {byte} || substr({column}, {half} + 1)"
    return f"UPDATE {table} SET {column} = CAST({parts} AS BLOB) WHERE {where}"


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        (flip("sealed", "transmittal", f"exchange = '{SENT}'"), f"sealed out {SENT}: the transmittal is not what was kept"),
        (flip("envelopes", "body", f"exchange = '{SENT}'"), f"envelopes out {SENT} {FINANCE}: the envelope is not what was kept"),
        (flip("contents", "body", f"exchange = '{SENT}'"), f"contents out {SENT}: the ciphertext is not what was kept"),
        (flip("receipts", "body", "direction = 'in' AND event = 'ContentHandover'"), "(in): the receipt is not what was kept"),
        (flip("shelves", "body", "shelf = 'policy'"), "shelf policy sha256:"),
        (flip("shelves", "body", "shelf = 'entry'"), "shelf entry sha256:"),
        (flip("shelves", "body", "shelf = 'certificate'"), "shelf certificate sha256:"),
        ("UPDATE shelves SET name = '4' WHERE shelf = 'directory'", "shelf directory 4: is another version"),
        ("UPDATE sealed SET nro = X''", f"sealed out {SENT}: the signature does not hold"),
        (flip("sealed", "nro", f"exchange = '{SENT}'"), f"sealed out {SENT}: the signature does not hold"),
        (flip("receipts", "signature", "direction = 'in' AND event = 'ContentHandover'"), "(in): the signature does not hold"),
        (f"UPDATE exchanges SET level = 'public' WHERE key = '{SENT}'", f"exchanges out {SENT}: level is 'public', the transmittal says"),
        (f"UPDATE exchanges SET sender_org = '{HEALTH}' WHERE key = '{SENT}'", f"exchanges out {SENT}: sender_org is"),
        (f"UPDATE sealed SET expires = expires + 1 WHERE exchange = '{SENT}'", f"sealed out {SENT}: does not expire at"),
        ("UPDATE sealed SET transmittal = X'5B5D'", f"sealed out {SENT}: the transmittal is no JSON object"),
        (
            f"UPDATE sealed SET exchange = '{ARRIVED}' WHERE exchange = '{SENT}'",
            f"sealed out {ARRIVED}: the transmittal is that of {SENT}",
        ),
        (f"UPDATE sealed SET content_size = 7 WHERE exchange = '{SENT}'", f"sealed out {SENT}: has content of 7 bytes"),
        (f"UPDATE sealed SET content_size = NULL WHERE exchange = '{SENT}'", f"sealed out {SENT}: content and the row that speaks of it"),
        (f"DELETE FROM contents WHERE exchange = '{SENT}'", f"sealed out {SENT}: content lies in a row or in a blob"),
        (f"UPDATE envelopes SET org = '{HEALTH}' WHERE exchange = '{SENT}'", "is for somebody the transmittal gives no envelope"),
        (f"DELETE FROM passages WHERE exchange = '{LARGE}' AND recipient = '{HEALTH}'", f"passages out {LARGE}: go to ['{FINANCE}']"),
        (f"DELETE FROM passages WHERE exchange = '{SENT}'", f"exchanges out {SENT}: goes to nobody"),
        (f"DELETE FROM sealed WHERE exchange = '{ARRIVED}'", f"contents in {ARRIVED}: belongs to an exchange that was never sealed"),
        (f"DELETE FROM exchanges WHERE key = '{SENT}'", "refers to a row of exchanges that is not there"),
        ("UPDATE receipts SET event = 'SignedFor' WHERE event = 'ContentHandover'", "its row something else"),
        ("UPDATE receipts SET digest_key = 1", "cannot be found by its digest"),
        ("UPDATE receipts SET digest = 'sm3:zz' WHERE seq = 1", "cannot be understood"),
        ("UPDATE receipts SET signature = X''", "the signature does not hold"),
        ("UPDATE receipts SET leaf = NULL", "has no leaf"),
        ("UPDATE receipts SET leaf = 0", "leaf 0 is not about it"),
        ("DELETE FROM leaves WHERE idx = 2", "leaf 2 is not about it"),
        (f"UPDATE passages SET state = 'SIGNED_FOR' WHERE exchange = '{SENT}'", f"{FINANCE}: is SIGNED_FOR, which no leaf explains"),
        (f"UPDATE passages SET state = 'SEALED' WHERE exchange = '{SENT}'", f"{FINANCE}: is SEALED, behind leaf 3 which says DELIVERED"),
        (f"UPDATE passages SET state = 'ACCEPTED' WHERE exchange = '{ARRIVED}'", "is ACCEPTED, behind leaf"),
        (f"UPDATE passages SET state = 'NONSENSE' WHERE exchange = '{LARGE}'", "is NONSENSE, which no leaf explains"),
        ("UPDATE work SET exchange = 'nowhere'", "is about an exchange that is not there"),
    ],
)
def test_what_was_bent_is_found_and_named(full, statement, named):
    bend(full, statement)
    assert any(named in line for line in run(full)), run(full)


def test_a_flipped_byte_in_a_blob_is_found(full):
    path = blob_of(full)
    data = bytearray(path.read_bytes())
    data[123_456] ^= 1
    path.write_bytes(data)
    (line,) = run(full)
    assert line.startswith(f"blob {path.name}: is not the ciphertext that was signed for")


def test_a_short_or_missing_blob_is_found(full):
    path = blob_of(full)
    path.write_bytes(path.read_bytes()[:-1])
    assert run(full) == [f"blob {path.name}: has 199999 bytes, not 200000"]
    path.unlink()
    assert run(full) == [f"blob {path.name}: is not there"]


def test_what_nobody_names_is_noted_and_harmless(full):
    stray = full.blob_folder / "ab" / ("ab" * 16)
    stray.write_bytes(b"its transaction never came")
    (full.blob_folder / "growing" / "x").write_bytes(b"half")
    assert [(one.severity, one.where) for one in findings(full)] == [("note", f"blob {stray.name}"), ("note", "blobs/growing/x")]


def test_a_flipped_byte_of_the_file_itself_is_found_or_harmless(full):
    """Anywhere in the file: fsck or audit says so, or the byte was in free space; neither ever falls over."""
    data = full.database.read_bytes()
    found = 0
    for place in range(50, len(data), len(data) // 100):
        bent = bytearray(data)
        bent[place] ^= 0xFF
        full.database.write_bytes(bent)
        report = verify_log(full.database, full.mark, full.key.verifier.vkey, ORIGIN)
        found += not report.ok or any(one.severity == "error" for one in findings(full))
    full.database.write_bytes(data)
    assert found > 15, "most of a young database is free space"
    assert run(full) == []


def test_a_database_that_is_not_there_is_a_finding(store):
    assert "there is no database" in run(store)[0]


async def test_states_the_flow_reaches_are_explained(store):
    """Every way a passage ends, as the flow records it: late and implied receipts, presumptions, refusals."""
    journal = store.journal()
    early = Paper()
    late = (
        early.receive("SignedFor", {State.SEALED}, State.SIGNED_FOR),
        early.receive("ContentConsignment", {State.SIGNED_FOR}, State.SIGNED_FOR),
    )
    stuck, expired, refused, held = Paper(), Paper(), Paper(), Paper()
    failure = stuck.receipt("out", "RelayFailure", FINANCE)
    relay = expired.receipt("out", "RelayFailure", FINANCE)
    rejection = refused.receipt("in", "ContentConsignmentFailure", FINANCE)
    steps = [
        *(early.take(), early.seal(), *late),
        *(stuck.take(), stuck.seal()),
        Step(
            changes=(failure, stuck.move("out", FINANCE, {State.SEALED}, State.STUCK)),
            leaves=(leaf(LeafKind.STUCK, stuck.id, recipient=FINANCE, about=failure.digest),),
        ),
        stuck.receive("ContentConsignment", {State.STUCK}, State.CONSIGNED),
        *(expired.take(), expired.seal()),
        Step(
            changes=(relay, expired.move("out", FINANCE, {State.SEALED}, State.EXPIRED)),
            leaves=(leaf(LeafKind.EXPIRED, expired.id, recipient=FINANCE, about=relay.digest),),
        ),
        Step(
            changes=(refused.opening("in", State.REFUSED), rejection),
            leaves=(
                leaf(LeafKind.QUARANTINED, refused.id, sender=OFFICE),
                leaf(LeafKind.RECEIPT, refused.id, about=rejection.digest, sender=OFFICE),
            ),
        ),
        Step(changes=(held.opening("out", State.HELD),), leaves=(leaf(LeafKind.HELD, held.id),)),
        Step(changes=(held.move("out", FINANCE, {State.HELD}, State.TAKEN),), leaves=(leaf(LeafKind.RELEASED, held.id),)),
    ]
    both = Paper()
    steps += [*both.outbound(), *both.inbound()]
    for step in steps:
        await journal.record(step)
    await journal.record(Step(changes=(Schedule(work=work("report", held.id)),)))
    journal.close()
    store.blobs()
    assert run(store) == []

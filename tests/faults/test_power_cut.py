"""power_cut: after a cut behind any act of two real gateways, recovery finds everything that was promised, and nothing half.

The acts are those of a recorded run, SQLite's own writes among them. For each state a cut may leave (``disk_states``) the real code
recovers, and must do so twice with one result; then the independent readers prove log and store, every receipt and exchange a peer was
told of is there, every document of the office is in exactly one place and whole, and so is every document in an inbox.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from adapters.folder import FolderOffice
from crypto.errors import YizhanError
from crypto.notes import LogKey
from gateway.core.keys import id_of
from gateway.home import Home
from gateway.store.audit import verify_log
from gateway.store.blobs import FolderBlobs
from gateway.store.files import Headroom
from gateway.store.fsck import fsck
from gateway.store.journal import Journal
from gateway.store.lock import HomeLock
from gateway.store.uploads import FolderUploads
from tests.faults.disk_promises import Promise, promises
from tests.faults.disk_states import FATES, Disk, cut_points, lay_out
from tests.faults.disk_town import Recorded, the_run
from tests.faults.torture import rounds

CUTS = rounds(8, 100_000)  # behind so many acts; a run has about 1,100 a gateway
TEARINGS = rounds(1, 4)  # ways to tear what was not synced, for each cut
BODY = "正文.pdf"
LOOKED_AT = {
    "office": ("exchange sent", "receipts taken", "document of the office"),
    "finance": ("receipts in an answer", "receipts brought", "document stated as delivered"),
}
INSIDE = {"DELIVERED", "SIGNED_FOR", "RETURNED"}


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder in memory where there is one: recovery syncs a lot, and this disk's own speed is not the question."""
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="yizhan-cut-", dir=memory if memory.is_dir() else None))
    yield folder
    shutil.rmtree(folder)


def recover(place: Path, log_key: LogKey) -> tuple[int, str]:
    """What a start does with a disk: every part of the store opened by its own code; size of the log and its newest moment."""
    home = Home.open(place)
    assert home.directory() is not None
    home.data.mkdir(exist_ok=True)
    origin = (home.data / "origin").read_text().strip() if (home.data / "origin").exists() else "none.yet/node-1/2026.1"
    with HomeLock(home.data / "lock"):
        uploads = FolderUploads(home.data / "uploads", FolderBlobs(home.data / "blobs", Headroom(home.data, 0)))
        uploads.close()
        FolderOffice(home.office)
        journal = Journal.open(home.database, log_key=log_key, origin=origin, mark=home.mark, min_free=0)
        try:
            return journal.size, journal.last_at
        finally:
            journal.close()


def prove(place: Path, log_key: LogKey) -> None:
    """The independent readers are content."""
    home = Home.open(place)
    origin = home.log_origin()
    if origin is None:
        return
    report = verify_log(home.database, home.mark, log_key.verifier.vkey, origin)
    assert report.ok, report.findings
    findings = [finding for finding in fsck(home.database, home.data / "blobs") if finding.severity != "note"]
    assert not findings, findings


class Oracle:
    """What must be there, by what peers and people were told up to a moment."""

    def __init__(self, recorded: Recorded, sent: Mapping[str, bytes]) -> None:
        self._told = sorted(promises(recorded.acts, recorded.plain, recorded.desk.home.path), key=lambda promise: promise.at)
        self._sent = sent
        self._laid_out = [path.name for path in (recorded.before / "office" / "outbox").iterdir()]
        self.checked: Counter[str] = Counter()

    def judge(self, place: Path, moment: int) -> None:
        database = place / "data" / "yizhan.db"
        exchanges, states, receipts = _known(database) if database.exists() else ({}, {}, set())
        for promise in self._told:
            if promise.at <= moment:
                self._kept(promise, exchanges, receipts)
        self._outgoing(place / "office", exchanges)
        self._incoming(place / "office" / "inbox", exchanges, states)

    def _kept(self, promise: Promise, exchanges: Mapping[str, str], receipts: set[str]) -> None:
        known = exchanges.keys() | exchanges.values() | receipts
        missing = [text for text in promise.rests_on if text not in known]
        assert not missing, f"lost: {promise.what}: {missing}"
        self.checked[promise.what] += 1

    def _outgoing(self, office: Path, exchanges: Mapping[str, str]) -> None:
        """Every document lies whole in the outbox or in sent, and in one of them."""
        found: Counter[bytes] = Counter()
        for folder in (office / "outbox").iterdir():
            found[(folder / BODY).read_bytes()] += 1
        for folder in (office / "sent").iterdir():
            _readable(folder)
            if (folder / BODY).exists():
                assert folder.name in exchanges, "moved to sent and not taken"
                found[(folder / BODY).read_bytes()] += 1
        wanted = Counter(self._sent[name] for name in self._laid_out)
        assert found == wanted, f"{(found - wanted).total()} documents twice, {(wanted - found).total()} gone"
        self.checked["document of the office"] += len(self._laid_out)

    def _incoming(self, inbox: Path, exchanges: Mapping[str, str], states: Mapping[str, str]) -> None:
        """What can be seen is whole, and what was stated as delivered can be seen."""
        seen = {folder.name for folder in inbox.iterdir() if not folder.name.startswith(".")}
        for name in seen:
            assert (inbox / name / BODY).read_bytes() in self._sent.values(), "half a document"
            assert name in exchanges, "delivered and not accepted"
            _readable(inbox / name)
            assert json.loads((inbox / name / "document.json").read_bytes())["exchange"] == name
        stated = {exchange for exchange, state in states.items() if state in INSIDE}
        assert stated <= seen, f"stated as delivered and not there: {stated - seen}"
        self.checked["document stated as delivered"] += len(stated)


def _readable(folder: Path) -> None:
    status = folder / "status.json"
    if status.exists():
        json.loads(status.read_bytes())


def _known(database: Path) -> tuple[dict[str, str], dict[str, str], set[str]]:
    """Exchanges with their transmittal digests, states of what came in, receipts."""
    connection = sqlite3.connect(database)
    try:
        told = connection.execute(
            "SELECT key, transmittal_digest FROM exchanges LEFT JOIN sealed ON exchange = key AND sealed.direction = exchanges.direction"
        )
        exchanges = {id_of(key): digest or "" for key, digest in told}
        states = {id_of(key): state for key, state in connection.execute("SELECT exchange, state FROM passages WHERE direction = 'in'")}
        receipts = {digest for (digest,) in connection.execute("SELECT digest FROM receipts")}
    finally:
        connection.close()
    return exchanges, states, receipts


@pytest.mark.parametrize("key", ["office", "finance"])
def test_any_cut_leaves_a_disk_that_recovers(key: str, place: Path):
    run = the_run()
    recorded = run.gateways[key]
    root, log_key = recorded.desk.home.path, recorded.desk.home.log_key()  # opening the key takes longer than a recovery
    disk, oracle, states, begun = Disk(recorded.before, root), Oracle(recorded, run.sent), 0, time.monotonic()
    cuts = set(cut_points(recorded.acts, root, CUTS))
    for index, act in enumerate(recorded.acts):
        disk.do(act)
        if index not in cuts:
            continue
        for fate in FATES:
            for seed in range(TEARINGS if fate == "torn" else 1):
                home = place / "home"
                lay_out(disk.after_a_cut(fate, seed), root, home)
                try:
                    _look(home, log_key, twice=fate == "torn")
                    oracle.judge(home, act.ended)
                except (AssertionError, OSError, ValueError, YizhanError, sqlite3.Error) as error:
                    raise AssertionError(f"cut behind act {index} ({act.kind} {act.path}): {fate} {seed}: {error!r}") from error
                shutil.rmtree(home)
                states += 1
    print(f"{key}: {len(cuts)} cuts, {states} states in {time.monotonic() - begun:.0f} s; {dict(oracle.checked)}")  # noqa: T201
    assert all(oracle.checked[what] for what in LOOKED_AT[key]), oracle.checked


def _look(home: Path, log_key: LogKey, *, twice: bool) -> None:
    found = recover(home, log_key)
    if twice:
        assert recover(home, log_key) == found, "recovering twice is recovering once"
    prove(home, log_key)

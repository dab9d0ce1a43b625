"""restore_old_backup: a disk is lost and an older copy put back. Nobody goes on as if nothing had happened, and nothing comes twice.

1. The gateway sees by its mark that it has signed more than it holds, and refuses. 2. A person begins a new log, which says what is lost.
3. What the copy calls under way is sent again; peers answer with the bytes they gave the first time and bring the later ones again; the
office, whose folders were not lost, gets no document twice.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from gateway.home import Home
from tests.system.town import FINANCE, OFFICE, Town

pytestmark = pytest.mark.system


def copy_of(home: Home, to: Path) -> None:
    """A backup as docs/operations.md has it made, while the gateway runs; the mark stays where it is, on another disk."""
    to.mkdir()
    with closing(sqlite3.connect(home.database)) as source, closing(sqlite3.connect(to / "yizhan.db")) as copy:
        source.backup(copy)
    shutil.copytree(home.data / "blobs", to / "blobs")


def put_back(home: Home, copy: Path) -> None:
    """The disk is new; what was backed up is on it."""
    for rest in ("", "-wal", "-shm"):
        (home.data / f"yizhan.db{rest}").unlink(missing_ok=True)
    shutil.rmtree(home.data / "blobs")
    shutil.copy(copy / "yizhan.db", home.database)
    home.database.chmod(0o600)
    shutil.copytree(copy / "blobs", home.data / "blobs")


def yizhan(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gateway.cli.main", "--lang", "en", *arguments], check=False, capture_output=True, text=True, timeout=60
    )


def send(town: Town, names: range) -> None:
    for number in names:
        town.office.send(f"doc-{number}", [FINANCE.code], {"正文.pdf": b"%03d" % number * (100_000 if number % 4 == 0 else 100)})


def delivered(town: Town, count: int) -> bool:
    states = [town.office.states(name) for name in town.office.statuses()]
    return len(town.finance.inbox()) == count and states == [["DELIVERED"]] * count


@pytest.mark.parametrize("loser", [OFFICE.key, FINANCE.key], ids=["of the sender", "of the recipient"])
def test_an_older_copy_is_put_back(tmp_path, loser):
    with Town(tmp_path) as town:
        home, copy = town.city.homes[loser], tmp_path / "copy"
        send(town, range(4))
        town.wait(lambda: delivered(town, 4), "the first documents")
        # The copy is made while documents are under way: the recipient is away.
        town.kill(FINANCE.key)
        send(town, range(4, 8))
        town.wait(lambda: all(town.office.states(f"doc-{number}") == ["SEALED"] for number in range(4, 8)), "sealed")
        copy_of(home, copy)
        town.start(FINANCE.key)
        town.wait(lambda: delivered(town, 8), "what was under way", 90)
        send(town, range(8, 12))
        town.wait(lambda: delivered(town, 12), "what came after the copy")
        assert town.end(loser) == 0
        put_back(home, copy)

        refused = yizhan("serve", "--home", str(home.path))
        assert refused.returncode == 1
        assert "log-behind" in refused.stderr
        assert "new-log" in refused.stderr
        told = json.loads(yizhan("audit", "new-log", "--home", str(home.path), "--reason", "restored", "--json").stdout)
        assert told["lost"] > 0
        again = yizhan("audit", "new-log", "--home", str(home.path), "--reason", "restored")
        assert again.returncode == 2, "a log that is whole is not given up"

        town.start(loser)
        send(town, range(12, 14))
        # A recipient that forgot documents has them in its office all the same; a sender that forgot them keeps their last status shown.
        town.wait(lambda: delivered(town, 14), "everything, once, and every status", 90)
        assert town.end(OFFICE.key) == 0
        assert town.end(FINANCE.key) == 0
        for desk in (town.office, town.finance):
            desk.prove()
        audit = json.loads(yizhan("audit", "verify", "--home", str(home.path), "--json").stdout)
        assert audit["ok"]
        assert [earlier["origin"] for earlier in audit["earlier"]] == [told["before"]]
        assert f"{told['lost']} of" in json.dumps(audit["findings"])
        _evidence_of_both_logs(home, tmp_path / "evidence")


def _evidence_of_both_logs(home: Home, folder: Path) -> None:
    """An exchange that was open when the old log ended is proved in both."""
    with closing(sqlite3.connect(f"file:{home.database}?mode=ro", uri=True)) as connection:
        query = "SELECT exchange FROM leaves WHERE exchange IS NOT NULL GROUP BY exchange HAVING min(idx) < 1 << 40 AND max(idx) >= 1 << 40"
        both = [key for (key,) in connection.execute(query)]
    if not both:  # the recipient's copy was made before it knew of them
        return
    exported = yizhan("evidence", "export", "--home", str(home.path), both[0], "-o", str(folder))
    assert exported.returncode == 0, exported.stderr
    assert list(folder.glob("log/leaf-*.json"))
    assert list(folder.glob("log-1/leaf-*.json"))
    assert (folder / "log-1" / "checkpoint").read_text().splitlines()[0].endswith(".1")

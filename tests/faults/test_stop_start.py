"""stop_start: what happens when a gateway is told to stop, cut off, started twice, or started on what a newer program wrote."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import time

import pytest

from gateway.app import GRACE_SECONDS
from gateway.core.leaf import Leaf, LeafKind
from gateway.home import Home
from gateway.store.schema import SCHEMA_VERSION
from tests.system.town import FINANCE, OFFICE, Town

pytestmark = pytest.mark.system

DOCUMENTS = 30
SLACK = 10.0  # seconds two busy cores may add to a grace period


def newest_leaf(home: Home) -> Leaf:
    with sqlite3.connect(f"file:{home.database}?mode=ro", uri=True) as connection:
        (body,) = connection.execute("SELECT body FROM leaves ORDER BY idx DESC LIMIT 1").fetchone()
    connection.close()
    return Leaf.from_bytes(body)


def yizhan(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gateway.cli.main", "--lang", "en", *arguments], check=False, capture_output=True, text=True, timeout=60
    )


def test_told_to_stop_under_load_it_drains_and_the_next_start_goes_on(tmp_path):
    with Town(tmp_path) as town:
        large = b"\x5a" * 24_000_000
        town.office.send("large", [FINANCE.code], {"正文.pdf": large})
        for number in range(DOCUMENTS):
            town.office.send(f"doc-{number:02d}", [FINANCE.code], {"正文.pdf": b"%04d" % number * 500})
        for turn in range(2):
            town.wait(lambda turn=turn: len(town.finance.inbox()) > turn * 3, "some of it arrived")
            for key in (FINANCE.key, OFFICE.key):
                begun = time.monotonic()
                assert town.end(key) == 0, town.log(key)[-2000:]
                assert time.monotonic() - begun < 2 * GRACE_SECONDS + SLACK
                assert newest_leaf(town.city.homes[key]).kind is LeafKind.STOPPED
            for key in (FINANCE.key, OFFICE.key):
                town.start(key)
        town.wait(lambda: len(town.finance.inbox()) == DOCUMENTS + 1, "every document in the inbox")
        town.wait(lambda: all(town.office.states(name) == ["DELIVERED"] for name in town.office.statuses()), "every status")
        assert max((place / "正文.pdf").stat().st_size for place in town.finance.inbox().values()) == len(large)
        assert "recovered" not in town.log(OFFICE.key), "no run was cut off"
        for key in (OFFICE.key, FINANCE.key):
            assert town.end(key) == 0
        for desk in (town.office, town.finance):
            desk.prove()


def test_a_start_says_in_one_line_what_it_found(tmp_path):
    with Town(tmp_path) as town:
        assert "first start" in found(town, FINANCE.key)
        town.kill(FINANCE.key)
        town.office.send("waits", [FINANCE.code], {"正文.pdf": b"x" * 300})
        town.wait(lambda: town.office.states("waits") == ["SEALED"], "sealed")
        town.kill(OFFICE.key)
        town.start(OFFICE.key)
        line = found(town, OFFICE.key)
        assert "the last run was cut off" in line
        assert "1 deliver" in line
        town.start(FINANCE.key)
        town.wait(lambda: town.office.states("waits") == ["DELIVERED"], "delivered", 90)
        assert town.end(OFFICE.key) == 0
        town.start(OFFICE.key)
        line = found(town, OFFICE.key)
        assert "ended in order" in line
        assert "works due: none" in line


def test_content_that_is_gone_from_the_disk_is_named_at_the_start(tmp_path):
    with Town(tmp_path) as town:
        town.kill(FINANCE.key)
        town.office.send("large", [FINANCE.code], {"正文.pdf": b"y" * 3_000_000})
        town.wait(lambda: town.office.states("large") == ["SEALED"], "sealed")
        town.kill(OFFICE.key)
        (blob,) = [place for place in (town.city.homes[OFFICE.key].data / "blobs").glob("*/*") if place.is_file()]
        blob.unlink()
        town.start(OFFICE.key)
        assert "1 contents MISSING" in found(town, OFFICE.key)
        assert blob.name in found(town, OFFICE.key)


def found(town: Town, key: str) -> str:
    """The newest line of its log that says what it found."""
    return [line for line in town.log(key).splitlines() if "works due:" in line][-1]


def test_two_processes_on_one_home_refuse_each_other(tmp_path):
    with Town(tmp_path) as town:
        home = town.city.homes[FINANCE.key]
        second = yizhan("serve", "--home", str(home.path))
        assert second.returncode == 1
        assert str(town.process(FINANCE.key).pid) in second.stderr, second.stderr
        assert "in use" in second.stderr
        town.office.send("doc", [FINANCE.code], {"正文.pdf": b"z" * 300})
        town.wait(lambda: town.office.states("doc") == ["DELIVERED"], "the first one goes on")


def test_a_database_of_a_newer_program_is_not_touched(tmp_path):
    with Town(tmp_path) as town:
        home = town.city.homes[FINANCE.key]
        assert town.end(FINANCE.key) == 0
        newer = SCHEMA_VERSION + 1
        with sqlite3.connect(home.database) as connection:
            connection.execute("INSERT INTO schema_versions (version, compatible_from) VALUES (?, ?)", (newer, newer))
        connection.close()
        before = home.database.read_bytes()
        refused = yizhan("serve", "--home", str(home.path))
        assert refused.returncode == 1
        assert f"schema {newer}" in refused.stderr, refused.stderr
        assert home.database.read_bytes() == before
        with sqlite3.connect(home.database) as connection:
            connection.execute("UPDATE schema_versions SET compatible_from = ? WHERE version = ?", (SCHEMA_VERSION, newer))
        connection.close()
        town.start(FINANCE.key)  # a newer program may say that this one may go on


def test_an_impatient_second_signal_still_ends_in_order(tmp_path):
    with Town(tmp_path) as town:
        process = town.process(FINANCE.key)
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
        assert newest_leaf(town.city.homes[FINANCE.key]).kind is LeafKind.STOPPED

"""disk_full: offers wait in the tray, peers are told ``no-room``, nothing is lost, and it all goes on by itself once there is room.

Real gateways, each with its data on a small disk of its own that is filled to below the head-room and emptied again; and the store alone
on a disk filled to its last byte, where SQLite itself runs out in the middle of a commit.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from collections.abc import Awaitable
from contextlib import closing

import pytest

from gateway.core.errors import NoRoom
from gateway.store.audit import verify_log
from gateway.store.files import Headroom
from gateway.store.fsck import fsck
from gateway.store.uploads import FolderUploads
from tests.faults.disk_faults import MIB, Letters, configure, filled, not_ready, small_disk
from tests.faults.disk_town import states
from tests.faults.torture import rounds
from tests.store.world import ORIGIN, Paper, Store
from tests.system.town import Town

HEAD_ROOM = "head_room_mib = 512"


@pytest.mark.system
def test_offers_wait_peers_hear_no_room_and_all_goes_on(tmp_path):
    town = Town(tmp_path)
    for key in ("office", "finance"):
        configure(town, key, HEAD_ROOM, "head_room_mib = 80")
    data = {key: town.city.homes[key].data for key in ("office", "finance")}
    letters = Letters(town)
    with small_disk(data["office"], 400 * MIB), small_disk(data["finance"], 400 * MIB), town:
        processes = {key: town.process(key).pid for key in ("office", "finance")}
        for _ in range(rounds(1, 20)):
            letters.send(3)
            town.wait(letters.arrived, "letters while there is room", 90)
            with filled(data["finance"], 20 * MIB):
                before = len(town.finance.inbox())
                town.wait(lambda: "no-room" in not_ready(town, "finance"), "finance saying that it has no room")
                said = len(town.log("office"))
                letters.send(3)
                town.wait(lambda: "no-room" in town.log("office")[said:], "the office hearing of it")  # noqa: B023
                town.wait(lambda: "SEALED" in states(town.office), "the office showing that it waits")
                assert len(town.finance.inbox()) == before, "nothing was taken in"
            town.wait(letters.arrived, "what waited for room over there", 90)
            with filled(data["office"], 20 * MIB):
                town.wait(lambda: "no-room" in not_ready(town, "office"), "the office saying that it has no room")
                letters.send(3)
                time.sleep(1)
                assert len(list((town.office.root / "outbox").iterdir())) == 3, "offers wait in the tray"
            town.wait(letters.arrived, "what waited for room here", 90)
        assert {key: town.process(key).pid for key in processes} == processes, "by themselves"
        assert (town.end("finance"), town.end("office")) == (0, 0)
        letters.prove()


@pytest.mark.system
def test_a_start_without_room_waits_for_it(tmp_path):
    """Killed and started again on a disk that is full by now: it is alive, says why it takes nothing, and goes on by itself."""
    town = Town(tmp_path)
    configure(town, "finance", HEAD_ROOM, "head_room_mib = 80")
    data, letters = town.city.homes["finance"].data, Letters(town)
    with small_disk(data, 400 * MIB), town:
        town.kill("finance")
        letters.send(3)
        with filled(data, 20 * MIB):
            town.start("finance", ready=False)
            town.wait(lambda: "no-room" in not_ready(town, "finance"), "finance saying that it has no room")
            town.wait(lambda: "not started yet" in town.log("finance"), "its word for the operator")
            assert not town.finance.inbox()
        town.wait(letters.arrived, "every letter", 90)
        assert (town.end("finance"), town.end("office")) == (0, 0)
        letters.prove()


async def test_a_disk_filled_to_the_last_byte_costs_nothing(tmp_path):
    """Over and over: the batch that found no room never was, and the next one with room is numbered as if nothing had been."""
    (tmp_path / "disk").mkdir()
    turns = rounds(6, 200)
    with small_disk(tmp_path / "disk", (3 + turns // 2) * MIB):  # what is kept stays, and grows
        store = Store(folder=tmp_path / "disk" / "home")
        store.folder.mkdir(exist_ok=True)
        journal = store.journal(min_free=0)
        kept: list[str] = []
        refused = 0
        for turn in range(turns):
            with filled(tmp_path / "disk", (turn * 37 % 400 + 20) * 1024):
                while True:
                    papers = [Paper(content=os.urandom(6_000)) for _ in range(turn % 3 + 1)]
                    opened = await _recorded(papers, [journal.record(paper.take()) for paper in papers])
                    sealed = await _recorded(opened, [journal.record(paper.seal()) for paper in opened])
                    kept += [paper.id for paper in sealed]
                    if len(sealed) < len(papers):
                        refused += len(papers) - len(sealed)
                        break
            size = journal.size
            recorded = await journal.record(Paper().take())
            assert recorded.leaves == (size,)
        journal.close()
        assert refused
        with closing(sqlite3.connect(store.database)) as connection:
            there = [key for (key,) in connection.execute("SELECT exchange FROM sealed")]
        assert sorted(there) == sorted(kept), "what was acknowledged, and nothing else"
        report = verify_log(store.database, store.mark, store.key.verifier.vkey, ORIGIN)
        assert report.ok, report.findings
        assert not [finding for finding in fsck(store.database, store.blob_folder) if finding.severity == "error"]
    print(f"{len(kept)} kept, {refused} refused, {report.size} leaves")  # noqa: T201


async def _recorded(papers: list[Paper], steps: list[Awaitable[object]]) -> list[Paper]:
    """Those whose step was recorded; the others found no room, and nothing worse."""
    answers = await asyncio.gather(*steps, return_exceptions=True)
    assert all(isinstance(answer, NoRoom) for answer in answers if isinstance(answer, BaseException)), answers
    return [paper for paper, answer in zip(papers, answers, strict=True) if not isinstance(answer, BaseException)]


def test_content_that_finds_no_room_leaves_none_behind(tmp_path):
    """No head-room to warn: the write itself fails, the promise is given back, and a repeat with room succeeds."""
    (tmp_path / "disk").mkdir()
    with small_disk(tmp_path / "disk", 4 * MIB):
        headroom = Headroom(tmp_path / "disk", -(1 << 40))
        blobs = Store(folder=tmp_path / "disk").blobs()
        blobs.headroom = headroom
        uploads = FolderUploads(tmp_path / "disk" / "uploads", blobs)
        content = os.urandom(2 * MIB)
        upload = uploads.begin("peer/x", b"cover", len(content))
        with filled(tmp_path / "disk", MIB):
            blob = blobs.create(len(content))
            with pytest.raises(NoRoom):
                blob.write(content)
            blob.discard()
            with pytest.raises(NoRoom):
                upload.write(content)
            assert upload.sync() == 0
        upload.write(content)
        name = upload.finish()
        assert b"".join(blobs.read(name)) == content
        assert not list(blobs.growing.iterdir())
        assert headroom._promised == 0, "what was set aside was given back"

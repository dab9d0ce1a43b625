"""kill -9 while sixteen writers commit: whatever was acknowledged is there, and the independent readers find nothing wrong."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

from gateway.core.keys import id_of
from gateway.store.audit import verify_log
from gateway.store.fsck import fsck
from tests.store.world import ORIGIN

ROOT = Path(__file__).resolve().parents[2]

CRASHING = """
import asyncio, sys
from pathlib import Path
from tests.store.world import Paper, Store

async def main(folder):
    journal = Store(Path(folder)).journal()
    blobs = Store(Path(folder)).blobs()
    async def papers():
        while True:
            paper = Paper()
            if hash(paper.id) % 4 == 0:
                writer = blobs.create(len(paper.content))
                writer.write(paper.content)
                paper.blob = writer.finish()
            for step in (*paper.outbound(), *paper.inbound()):
                recorded = await journal.record(step)
            print(paper.id, recorded.tree_size, flush=True)
    await asyncio.gather(*(papers() for _ in range(16)))

asyncio.run(main(sys.argv[1]))
"""


def test_kill_9_during_commits_loses_nothing_acknowledged(store):
    acknowledged: set[str] = set()
    for round_ in range(10):
        process = subprocess.Popen(
            [sys.executable, "-c", CRASHING, str(store.folder)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
        )
        assert process.stdout is not None
        first = process.stdout.readline()  # it is in the middle of things
        threading.Timer(0.013 * round_, process.kill).start()
        out, err = process.communicate(timeout=30)
        out = first + out
        assert process.returncode == -9, err
        acknowledged |= {line.split()[0] for line in out[: out.rfind("\n") + 1].splitlines()}  # the last may be cut
        report = verify_log(store.database, store.mark, store.key.verifier.vkey, ORIGIN)
        assert report.findings == ()
        assert [finding for finding in fsck(store.database, store.blob_folder) if finding.severity != "note"] == []
    assert len(acknowledged) > 10
    with closing(sqlite3.connect(store.database)) as database:
        delivered = {
            (direction, id_of(key))
            for direction, key in database.execute("SELECT direction, exchange FROM passages WHERE state = 'DELIVERED'")
        }
    assert {(direction, one) for one in acknowledged for direction in ("in", "out")} <= delivered
    store.journal().close()

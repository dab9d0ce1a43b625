"""eio_on_fsync: a sync that fails ends the process with exit code 1; started again it recovers, and nothing acknowledged is lost.

The kernel answers EIO to the n-th sync of each thread and to all behind it, in a real gateway under way, on either side.
"""

from __future__ import annotations

import os
import time

import pytest

from gateway.core.errors import JournalStopped
from gateway.store.blobs import FolderBlobs
from gateway.store.files import Headroom
from gateway.store.uploads import FolderUploads
from tests.faults.disk_faults import Letters, start_injected
from tests.faults.disk_trace import needs_strace
from tests.faults.torture import FACTOR
from tests.store.disk import failing_sync
from tests.system.town import Town

# (who, the first sync of a thread that fails): while starting, in the first commits, under way
SHORT = (("finance", 3), ("office", 6))
LONG = tuple((key, number) for number in range(1, max(2, round(40 * FACTOR))) for key in ("finance", "office"))
ENDS_WITHIN = 30.0


@pytest.mark.system
def test_a_failing_sync_ends_the_process_and_loses_nothing(tmp_path):
    needs_strace()
    ended = 0
    with Town(tmp_path) as town:
        letters = Letters(town)
        for key, number in LONG if FACTOR else SHORT:
            town.end(key)
            said = len(town.log(key))
            start_injected(town, key, f"error=EIO:when={number}+")
            letters.send(4)
            deadline = time.monotonic() + ENDS_WITHIN
            while town.process(key).poll() is None and time.monotonic() < deadline:
                letters.send(1, sizes=(300,))  # something to sync
                time.sleep(1.0)
            code = town.process(key).poll()
            assert code == 1, f"{key}, sync {number}: {code}: {town.log(key)[said:][-2000:]}"
            assert "fsync failed" in town.log(key)[said:] or "journal" in town.log(key)[said:], town.log(key)[said:]
            assert "Traceback" not in town.log(key)[said:], town.log(key)[said:][-3000:]
            ended += 1
            town.start(key)
        town.wait(letters.arrived, "every letter", 90)
        assert (town.end("finance"), town.end("office")) == (0, 0)
        letters.prove()
    print(f"{ended} failing syncs, {len(letters.sent)} letters, none lost, none twice")  # noqa: T201


def test_the_disk_of_an_upload_or_a_blob_counts_as_well(tmp_path, monkeypatch):
    """The journal finds out by itself; what an upload or a blob cannot sync must end the process all the same."""
    told: list[JournalStopped] = []
    blobs = FolderBlobs(tmp_path / "blobs", Headroom(tmp_path, 0), told.append)
    upload = FolderUploads(tmp_path / "uploads", blobs).begin("peer/x", b"cover", 100)
    upload.write(b"x" * 100)
    blob = blobs.create(3)
    blob.write(b"abc")
    monkeypatch.setattr(os, "fsync", failing_sync)
    for promise in (upload.sync, blob.finish):
        with pytest.raises(JournalStopped):
            promise()
    assert len(told) == 2
    monkeypatch.undo()
    blob.discard()
    upload.discard()

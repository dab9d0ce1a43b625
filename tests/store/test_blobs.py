from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.core.errors import JournalStopped, NoRoom
from gateway.store.blobs import READ_PIECE, BlobMissing, FolderBlobs
from gateway.store.files import Headroom
from tests.store.disk import failing_sync, watch

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def blobs(tmp_path: Path) -> FolderBlobs:
    return FolderBlobs(tmp_path, Headroom(tmp_path, 0))


def test_a_blob_is_synced_renamed_and_its_folder_synced(tmp_path, blobs, monkeypatch):
    writer = blobs.create(6)
    writer.write(b"abc")
    writer.write(b"def")
    assert not list(tmp_path.glob("[0-9a-f][0-9a-f]/*"))
    calls = watch(monkeypatch, tmp_path)
    name = writer.finish()
    assert calls == [f"sync growing/{name}", f"rename growing/{name} {name[:2]}/{name}", f"sync {name[:2]}"]
    assert b"".join(blobs.read(name)) == b"abcdef"
    assert b"".join(blobs.read(name, 4)) == b"ef"
    assert blobs.path(name).stat().st_mode & 0o777 == 0o600


def test_a_large_blob_is_read_in_pieces_from_any_offset(blobs):
    data = os.urandom(3 * READ_PIECE + 17)
    writer = blobs.create(len(data))
    writer.write(data)
    name = writer.finish()
    pieces = list(blobs.read(name, 5))
    assert b"".join(pieces) == data[5:]
    assert max(map(len, pieces)) == READ_PIECE


def test_what_was_growing_when_the_process_died_is_gone_at_the_next_start(tmp_path, blobs):
    writer = blobs.create(10)
    writer.write(b"abc")
    FolderBlobs(tmp_path, Headroom(tmp_path, 0))
    assert list((tmp_path / "growing").iterdir()) == []


def test_a_discarded_blob_leaves_no_trace_and_gives_its_room_back(tmp_path):
    free = os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize
    room = Headroom(tmp_path, free // 2)
    blobs = FolderBlobs(tmp_path, room)
    writer = blobs.create(free // 3)
    with pytest.raises(NoRoom):
        blobs.create(free // 3)
    writer.discard()
    writer.discard()
    assert list((tmp_path / "growing").iterdir()) == []
    blobs.create(free // 3).discard()


def test_a_blob_grows_no_larger_than_promised(blobs):
    writer = blobs.create(3)
    with pytest.raises(AssertionError, match="internal"):
        writer.write(b"abcd")
    writer.discard()


def test_a_missing_blob_is_named(blobs):
    with pytest.raises(BlobMissing) as caught:
        blobs.read("0" * 32)
    assert caught.value.blob == "0" * 32


@pytest.mark.parametrize("name", ["", "../" + "a" * 29, "A" * 32, "a" * 31, "a" * 32 + "\n"])
def test_a_name_never_leads_elsewhere(blobs, name):
    with pytest.raises(AssertionError, match="internal"):
        blobs.read(name)


def test_remove_is_harmless_twice(blobs):
    writer = blobs.create(1)
    writer.write(b"a")
    name = writer.finish()
    blobs.remove(name)
    blobs.remove(name)
    with pytest.raises(BlobMissing):
        blobs.read(name)


def test_a_failed_sync_stops_everything(blobs, monkeypatch):
    writer = blobs.create(1)
    writer.write(b"a")
    monkeypatch.setattr(os, "fsync", failing_sync)
    with pytest.raises(JournalStopped):
        writer.finish()
    writer.discard()


def test_a_full_disk_is_no_room(tmp_path):
    code = """
import resource, signal, sys
from pathlib import Path
from gateway.core.errors import NoRoom
from gateway.store.blobs import FolderBlobs
from gateway.store.files import Headroom
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
blobs = FolderBlobs(Path(sys.argv[1]), Headroom(Path(sys.argv[1]), 0))
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
writer = blobs.create(200_000)
try:
    writer.write(bytes(200_000))
except NoRoom as error:
    writer.discard()
    print("no room", len(list(blobs.growing.iterdir())))
"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout == "no room 0\n"
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 100_000


def test_the_age_of_a_blob_counts_from_its_name(tmp_path, blobs):
    """An upload may have taken days; adopted now, it is new."""
    first = blobs.create(3)
    first.write(b"abc")
    name = first.finish()
    upload = tmp_path / "upload"
    upload.write_bytes(b"xyz")
    os.utime(upload, (1, 1))
    adopted = blobs.adopt(upload, "ab" * 16)
    assert set(blobs.older_than(-60)) == {name, adopted}
    assert list(blobs.older_than(3600)) == []
    os.utime(blobs.path(name), (1, 1))
    assert list(blobs.older_than(3600)) == [name]
    (blobs.path(name).parent / "stray").write_bytes(b"")
    os.utime(blobs.path(name).parent / "stray", (1, 1))
    assert list(blobs.older_than(3600)) == [name], "what has no name of ours is fsck's to tell"

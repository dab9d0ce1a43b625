from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from crypto.errors import Malformed
from gateway.core.errors import NoRoom, TooManyUploads
from gateway.store.blobs import READ_PIECE, FolderBlobs
from gateway.store.files import Headroom
from gateway.store.uploads import SYNC_EVERY, FolderUploads
from tests.store.disk import watch

KEY = "gw-finance/sm3:" + "0" * 64


def uploads(folder: Path, min_free: int = 0, **limits: int) -> FolderUploads:
    return FolderUploads(folder / "uploads", FolderBlobs(folder / "blobs", Headroom(folder, min_free)), **limits)


def test_an_upload_goes_on_after_a_restart_at_its_synced_offset(tmp_path):
    upload = uploads(tmp_path).begin(KEY, b"the cover", 10)
    upload.write(b"abcd")
    assert upload.sync() == 4
    upload.write(b"efg")  # the process dies before the next sync
    again = uploads(tmp_path).open(KEY)
    assert again is not None
    assert (again.key, again.cover, again.size, again.offset) == (KEY, b"the cover", 10, 4)
    again.write(b"EFGHIJ")
    assert b"".join(again.read()) == b"abcdEFGHIJ"
    name = again.finish()
    home = uploads(tmp_path)
    assert b"".join(home.blobs.read(name)) == b"abcdEFGHIJ"
    assert home.open(KEY) is None
    assert list(home.folder.iterdir()) == []


def test_a_long_upload_is_synced_on_the_way(tmp_path):
    """A kill costs the sender no more than this, however long one request was."""
    piece = bytes(1024 * 1024)
    upload = uploads(tmp_path).begin(KEY, b"", 4 * SYNC_EVERY)
    for _ in range(0, SYNC_EVERY + SYNC_EVERY // 2, len(piece)):
        upload.write(piece)
    again = uploads(tmp_path).open(KEY)  # the process dies
    assert again is not None
    assert again.offset == SYNC_EVERY


def test_finishing_syncs_the_bytes_before_they_get_a_name(tmp_path, monkeypatch):
    upload = uploads(tmp_path).begin(KEY, b"", 1)
    upload.write(b"a")
    calls = watch(monkeypatch, tmp_path)
    name = upload.finish()
    part = calls[0].removeprefix("sync ")
    assert calls == [f"sync {part}", f"rename {part} blobs/{name[:2]}/{name}", f"sync blobs/{name[:2]}"]


def test_the_same_key_is_one_upload_and_another_key_none(tmp_path):
    home = uploads(tmp_path)
    upload = home.begin(KEY, b"", 1)
    assert home.open(KEY) is upload
    assert home.open("gw-health/sm3:" + "0" * 64) is None


def test_begin_starts_over(tmp_path):
    home = uploads(tmp_path)
    home.begin(KEY, b"old", 5).write(b"abc")
    fresh = home.begin(KEY, b"new", 6)
    assert (fresh.offset, fresh.cover, b"".join(fresh.read())) == (0, b"new", b"")


def test_reset_goes_back_to_nothing_also_over_a_restart(tmp_path):
    upload = uploads(tmp_path).begin(KEY, b"", 6)
    upload.write(b"abcdef")
    upload.sync()
    upload.reset()
    again = uploads(tmp_path).open(KEY)
    assert again is not None
    assert again.offset == 0
    again.write(b"ABCDEF")
    assert b"".join(again.read()) == b"ABCDEF"


def test_more_than_announced_is_refused_and_changes_nothing(tmp_path):
    upload = uploads(tmp_path).begin(KEY, b"", 3)
    with pytest.raises(Malformed):
        upload.write(b"abcd")
    assert upload.offset == 0
    with pytest.raises(AssertionError, match="internal"):
        upload.finish()


def test_a_large_upload_is_read_in_pieces(tmp_path):
    data = os.urandom(2 * READ_PIECE + 3)
    upload = uploads(tmp_path).begin(KEY, b"", len(data))
    upload.write(data)
    assert [len(piece) for piece in upload.read()] == [READ_PIECE, READ_PIECE, 3]
    assert b"".join(upload.read()) == data


def test_a_peer_holds_only_so_many(tmp_path):
    home = uploads(tmp_path, max_open=3, max_open_a_peer=2)
    first = home.begin("gw-a/1", b"", 1)
    home.begin("gw-a/2", b"", 1)
    with pytest.raises(TooManyUploads) as caught:
        home.begin("gw-a/3", b"", 1)
    assert caught.value.peer == "gw-a"
    home.begin("gw-b/1", b"", 1)
    with pytest.raises(TooManyUploads):
        home.begin("gw-c/1", b"", 1)
    first.discard()
    first.discard()
    home.begin("gw-c/1", b"", 1)


def test_room_is_set_aside_before_the_first_byte_and_again_after_a_restart(tmp_path):
    free = os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize
    size = free // 3
    home = uploads(tmp_path, free // 2)
    home.begin(KEY, b"", size)
    with pytest.raises(NoRoom):
        home.begin("gw-b/1", b"", size)
    assert home.open("gw-b/1") is None
    restarted = uploads(tmp_path, free // 2)
    with pytest.raises(NoRoom):
        restarted.begin("gw-b/1", b"", size)
    again = restarted.open(KEY)
    assert again is not None
    again.discard()
    restarted.begin("gw-b/1", b"", size).discard()


def test_who_only_announces_leaves_room_for_the_others(tmp_path):
    """Sixteen uploads as large as may be, not a byte of them sent: another peer's document still goes, also after a restart."""
    free = os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize
    home = uploads(tmp_path)
    for number in range(16):
        home.begin(f"gw-liar/{number}", b"", free // 4)
    for again in (home, uploads(tmp_path)):
        held = sum(upload.promised for upload in again.all())
        assert free * 0.4 < held < free * 0.6, "a share of the room, and not sixteen documents"
        for size in (free // 3, 1):
            again.begin("gw-honest/1", b"", size).discard()
    assert again.blobs.headroom.room() < free * 0.6
    for upload in again.all():
        upload.discard()
    assert again.blobs.headroom.room() > free * 0.8, "and all of it is given back"


def small_disk(monkeypatch: pytest.MonkeyPatch, folder: Path, size: int) -> None:
    """A disk of so many bytes below that folder."""

    def statvfs(_path: object) -> SimpleNamespace:
        used = sum(path.stat().st_size for path in folder.rglob("*.part"))
        return SimpleNamespace(f_bavail=size - used, f_frsize=1)

    monkeypatch.setattr(os, "statvfs", statvfs)


def test_a_document_beyond_the_share_arrives_while_there_is_room(tmp_path, monkeypatch):
    """The whole fits when it begins; what is beyond the share is set aside as it comes, and waits where it is when there is none."""
    unit = 4096
    monkeypatch.setattr("gateway.store.uploads.STEP", unit)
    small_disk(monkeypatch, tmp_path, 100 * unit)
    home, piece = uploads(tmp_path), bytes(unit)
    first = home.begin("gw-a/1", b"", 70 * unit)
    assert first.promised == 50 * unit
    with pytest.raises(NoRoom):
        home.begin("gw-b/0", b"", 51 * unit)
    assert home.begin("gw-b/1", b"", 20 * unit).promised == 20 * unit
    for _ in range(70):
        first.write(piece)
    third, fourth = home.begin("gw-c/1", b"", 10 * unit), home.begin("gw-d/1", b"", 4 * unit)
    assert (third.promised, fourth.promised) == (5 * unit, int(2.5 * unit))
    with pytest.raises(NoRoom):
        for _ in range(10):
            third.write(piece)
    assert third.offset == 7 * unit, "what had room is kept"
    fourth.discard()
    for _ in range(3):
        third.write(piece)
    assert (third.offset, third.promised) == (third.size, 0)
    first.reset()
    assert first.promised == 70 * unit
    for upload in home.all():
        upload.discard()
    assert home.blobs.headroom.room() == 100 * unit


@pytest.mark.parametrize("suffix", [".part", ".cover", ".offset"])
def test_what_a_crash_left_incomplete_is_never_trusted(tmp_path, suffix):
    home = uploads(tmp_path)
    upload = home.begin(KEY, b"", 4)
    upload.write(b"abcd")
    upload.sync()
    home.close()
    next(home.folder.glob(f"*{suffix}")).unlink()
    again = uploads(tmp_path)
    found = again.open(KEY)
    if suffix == ".offset":
        assert found is not None
        assert found.offset == 0
    else:
        assert found is None
        assert list(again.folder.iterdir()) == []


def test_a_damaged_offset_means_the_start(tmp_path):
    home = uploads(tmp_path)
    upload = home.begin(KEY, b"", 4)
    upload.write(b"ab")
    upload.sync()
    home.close()
    next(home.folder.glob("*.offset")).write_bytes(b"000zz")
    again = uploads(tmp_path).open(KEY)
    assert again is not None
    assert again.offset == 0


def test_an_offset_beyond_the_bytes_is_cut_down(tmp_path):
    home = uploads(tmp_path)
    upload = home.begin(KEY, b"", 4)
    upload.write(b"ab")
    upload.sync()
    home.close()
    next(home.folder.glob("*.part")).write_bytes(b"a")
    again = uploads(tmp_path).open(KEY)
    assert again is not None
    assert again.offset == 1


def test_an_upload_says_how_long_nothing_came_also_after_a_restart(tmp_path):
    home = uploads(tmp_path)
    upload = home.begin(KEY, b"", 4)
    upload.write(b"ab")
    upload.sync()
    assert home.all() == (upload,)
    assert 0 <= upload.idle() < 60
    file = next(home.folder.glob("*.part"))
    long_ago = file.stat().st_mtime - 1000
    os.utime(file, (long_ago, long_ago))
    assert 1000 <= upload.idle() < 1060
    home.close()
    (again,) = uploads(tmp_path).all()
    assert again.idle() >= 1000, "a restart is no byte"
    again.write(b"c")
    assert again.idle() < 60
    again.discard()
    assert again.idle() == 0.0
    assert list(home.folder.iterdir()) == []

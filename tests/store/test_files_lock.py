from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.core.errors import JournalStopped, NoRoom
from gateway.store.files import Headroom, write_durably
from gateway.store.lock import HomeInUse, HomeLock
from tests.store.disk import failing_sync, watch

ROOT = Path(__file__).resolve().parents[2]


def test_a_durable_write_syncs_the_file_before_the_rename_and_the_folder_after_it(tmp_path, monkeypatch):
    calls = watch(monkeypatch, tmp_path)
    write_durably(tmp_path / "a", b"one")
    assert calls == ["sync a.new", "rename a.new a", "sync ."]
    assert (tmp_path / "a").read_bytes() == b"one"
    assert list(tmp_path.iterdir()) == [tmp_path / "a"]


def test_a_failed_sync_is_fatal_and_leaves_the_old_content(tmp_path, monkeypatch):
    write_durably(tmp_path / "a", b"one")
    monkeypatch.setattr(os, "fsync", failing_sync)
    with pytest.raises(JournalStopped, match="fsync failed"):
        write_durably(tmp_path / "a", b"two")
    assert (tmp_path / "a").read_bytes() == b"one"


def test_headroom_counts_what_open_writers_were_promised(tmp_path):
    free = os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize
    room = Headroom(tmp_path, free // 2)
    room.promise(free // 3)
    with pytest.raises(NoRoom) as caught:
        room.check(free // 3)
    assert caught.value.wanted == free // 3
    room.settle(free // 3)
    room.check(free // 3)


def test_a_home_has_one_process(tmp_path):
    with HomeLock(tmp_path / "lock"):
        with pytest.raises(HomeInUse) as caught:
            HomeLock(tmp_path / "lock")
        assert caught.value.pid == str(os.getpid())
        other = subprocess.run(
            [sys.executable, "-c", OTHER_PROCESS, str(tmp_path / "lock")], capture_output=True, text=True, cwd=ROOT, check=False
        )
        assert "HomeInUse" in other.stderr
    HomeLock(tmp_path / "lock").close()


def test_a_killed_process_leaves_no_lock(tmp_path):
    code = OTHER_PROCESS + "; os.kill(os.getpid(), 9)"
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path / "lock")], cwd=ROOT, check=False).returncode == -9
    HomeLock(tmp_path / "lock").close()


OTHER_PROCESS = "import os, sys; from pathlib import Path; from gateway.store.lock import HomeLock; lock = HomeLock(Path(sys.argv[1]))"

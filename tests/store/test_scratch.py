from __future__ import annotations

import os
import zlib
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidTag

from crypto.digests import digest
from gateway.core.errors import NoRoom, PartChanged
from gateway.store.files import Headroom
from gateway.store.scratch import PIECE, SealedScratch

MARKER = "机密标记 nobody may find this".encode()


def scratch(folder: Path, ceiling: int = 64 * PIECE, **options: int) -> SealedScratch:
    return SealedScratch(folder / "scratch", ceiling, Headroom(folder, 0), **options)


def in_pieces(data: bytes, step: int):
    return (data[start : start + step] for start in range(0, len(data), step))


@pytest.mark.parametrize("size", [0, 1, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, 2 * PIECE + 7])
@pytest.mark.parametrize("step", [1_000_000, PIECE, 3 * PIECE])
def test_a_part_comes_back_with_its_size_crc_and_digests(tmp_path, size, step):
    data = os.urandom(size)
    held = scratch(tmp_path).hold(in_pieces(data, step), size, ("sm3", "sha256"))
    assert (held.size, held.crc) == (size, zlib.crc32(data))
    assert held.digests == {"sm3": digest("sm3", data), "sha256": digest("sha256", data)}
    assert b"".join(held.chunks()) == data
    assert b"".join(held.chunks()) == data, "and again from the start"
    assert bool(list((tmp_path / "scratch").iterdir())) == (size > PIECE)
    held.drop()
    held.drop()
    assert list((tmp_path / "scratch").iterdir()) == []


def test_plaintext_is_never_on_the_disk(tmp_path):
    data = MARKER * (3 * PIECE // len(MARKER))
    place = scratch(tmp_path)
    held = place.hold(in_pieces(data, 10_000), len(data), ())
    stored = b"".join(path.read_bytes() for path in (tmp_path / "scratch").iterdir())
    assert len(stored) > len(data)
    assert MARKER not in stored
    assert not any(MARKER[start : start + 8] in stored for start in range(len(MARKER) - 8))
    assert b"".join(held.chunks()) == data


def test_another_process_cannot_read_it_and_the_next_start_removes_it(tmp_path):
    data = os.urandom(2 * PIECE)
    scratch(tmp_path).hold(iter([data]), len(data), ())
    left = next((tmp_path / "scratch").iterdir()).read_bytes()
    fresh = scratch(tmp_path)
    assert list((tmp_path / "scratch").iterdir()) == []
    fresh.path(1).write_bytes(left)
    with pytest.raises(InvalidTag):
        b"".join(fresh.unseal(1, len(data)))


def test_pieces_cannot_be_swapped_or_moved(tmp_path):
    place = scratch(tmp_path)
    held = place.hold(iter([os.urandom(2 * PIECE)]), 2 * PIECE, ())
    path = next((tmp_path / "scratch").iterdir())
    sealed = path.read_bytes()
    half = len(sealed) // 2
    path.write_bytes(sealed[half:] + sealed[:half])
    with pytest.raises(InvalidTag):
        b"".join(held.chunks())


@pytest.mark.parametrize("size", [10, 2 * PIECE])
@pytest.mark.parametrize("off_by", [-1, 1])
def test_a_part_of_another_size_is_refused_and_leaves_nothing(tmp_path, size, off_by):
    place = scratch(tmp_path, ceiling=2 * PIECE)
    with pytest.raises(PartChanged):
        place.hold(iter([bytes(size + off_by)]), size, ("sm3",))
    assert list((tmp_path / "scratch").iterdir()) == []
    place.hold(iter([bytes(2 * PIECE)]), 2 * PIECE, ())  # the whole ceiling is free again


def test_a_source_that_fails_leaves_nothing(tmp_path):
    def source():
        yield bytes(PIECE)
        raise OSError("the office went away")

    place = scratch(tmp_path, ceiling=2 * PIECE)
    with pytest.raises(OSError, match="went away"):
        place.hold(source(), 2 * PIECE, ())
    assert list((tmp_path / "scratch").iterdir()) == []
    place.hold(iter([bytes(2 * PIECE)]), 2 * PIECE, ())


def test_the_ceiling_holds_and_dropping_gives_back(tmp_path):
    place = scratch(tmp_path, ceiling=3 * PIECE)
    first = place.hold(iter([bytes(2 * PIECE)]), 2 * PIECE, ())
    with pytest.raises(NoRoom):
        place.hold(iter([bytes(2 * PIECE)]), 2 * PIECE, ())
    first.drop()
    place.hold(iter([bytes(2 * PIECE)]), 2 * PIECE, ())


def test_small_parts_beyond_the_memory_ceiling_go_to_disk_sealed(tmp_path):
    place = scratch(tmp_path, memory_ceiling=len(MARKER))
    place.hold(iter([MARKER]), len(MARKER), ())
    assert list((tmp_path / "scratch").iterdir()) == []
    second = place.hold(iter([MARKER]), len(MARKER), ())
    assert [MARKER in path.read_bytes() for path in (tmp_path / "scratch").iterdir()] == [False]
    assert b"".join(second.chunks()) == MARKER


def test_no_room_on_the_disk_is_known_before_the_first_byte(tmp_path):
    free = os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize
    place = SealedScratch(tmp_path / "scratch", 2 * free, Headroom(tmp_path, free // 2))

    def source():
        raise AssertionError("read although there is no room")
        yield b""

    with pytest.raises(NoRoom):
        place.hold(source(), free, ())


def test_copies_made_at_one_time_share_the_room_there_is(tmp_path):
    """What one copy was promised and has not written yet is nobody else's, and is given back when it is written or fails."""
    free = os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize
    headroom = Headroom(tmp_path, free - 64 * PIECE)
    place = SealedScratch(tmp_path / "scratch", 2 * free, headroom)
    refused = []

    def source():
        yield bytes(PIECE)
        with pytest.raises(NoRoom) as error:
            place.hold(iter(()), 40 * PIECE, ())
        refused.append(error)
        raise OSError("the office went away")

    with pytest.raises(OSError, match="went away"):
        place.hold(source(), 40 * PIECE, ())
    assert refused
    assert headroom._promised == 0
    assert place.hold(iter([bytes(2 * PIECE), bytes(2 * PIECE + 5)]), 4 * PIECE + 5, ()).size == 4 * PIECE + 5
    assert headroom._promised == 0

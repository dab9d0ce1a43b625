"""Exchange and receipt ids: UUIDv7 (RFC 9562 5.7), so that keys of one day lie together in every index."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)

RANDOM_BYTES = 10


def uuid7(at: datetime, random10: bytes) -> str:
    """The id of that millisecond with 74 of those 80 random bits. Raises ValueError for a moment or length it cannot hold."""
    milliseconds = (at - _EPOCH) // _MILLISECOND
    if not 0 <= milliseconds < 1 << 48 or len(random10) != RANDOM_BYTES:
        raise ValueError("a UUIDv7 holds 48 bits of milliseconds and ten random bytes")
    random = int.from_bytes(random10, "big")
    high = milliseconds << 16 | 0x7000 | random >> 68  # rand_a: 12 bits
    low = 1 << 63 | random & (1 << 62) - 1  # variant 0b10, rand_b: 62 bits
    text = f"{high << 64 | low:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def moment_of(uuid: str) -> datetime:
    """The millisecond an id was made at, by its maker's clock."""
    return _EPOCH + _MILLISECOND * int(uuid[:8] + uuid[9:13], 16)

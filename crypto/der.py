"""DER elements by hand, for the few closed structures whose bytes are joined instead of encoded from objects (X.690)."""

from __future__ import annotations

from typing import Final

INTEGER, BIT_STRING, OCTET_STRING, SEQUENCE, SET = b"\x02", b"\x03", b"\x04", b"\x30", b"\x31"
CONTEXT_0, CONTEXT_1 = b"\xa0", b"\xa1"  # constructed: EXPLICIT, or IMPLICIT on a SEQUENCE or SET

_LONG_FORM: Final = 0x80


def element(tag: bytes, *contents: bytes) -> bytes:
    """One element with the shortest length there is (X.690 10.1)."""
    content = b"".join(contents)
    length = len(content)
    if length < _LONG_FORM:
        return tag + bytes((length,)) + content
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return tag + bytes((_LONG_FORM | len(octets),)) + octets + content


def inside(der: bytes, start: int, tag: bytes) -> tuple[int, int]:
    """Where the content of the element at ``start`` begins and ends. Raises ValueError for another tag or a length beyond the bytes.

    For finding values that are then put together again and compared with the whole: it does not see to the shortest form of a length.
    """
    if der[start : start + 1] != tag or len(der) < start + 2:
        raise ValueError("another element than expected")
    first = der[start + 1]
    begin = start + 2
    if first >= _LONG_FORM:
        octets = first - _LONG_FORM
        begin += octets
        first = int.from_bytes(der[start + 2 : begin], "big")
    if begin + first > len(der):
        raise ValueError("an element longer than what holds it")
    return begin, begin + first

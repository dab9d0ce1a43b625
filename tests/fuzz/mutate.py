"""Bending good values: what knows nothing of a format (flip, cut, insert, duplicate, splice), numbers at their edges, and what knows the
structure of DER and JSON and so reaches behind the first check.

One function a way, each from a source of choices and bytes to bytes. The source is a ``random.Random``: Hypothesis gives one it can
shrink, the coverage-guided run one seeded by its fuzzer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from tests.fuzz.target import Shape

Mutation = Callable[[Random, bytes, Sequence[bytes]], bytes]

INTERESTING = (0, 1, 2, 16, 127, 128, 255, 256, 1023, 32767, 32768, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1, 2**53, 2**63, 2**64 - 1)
LONG = 300  # bytes inserted at once: more than every short ceiling, cheap to try

# ---- knowing nothing ---------------------------------------------------------------------------------------------------------------


def _place(random: Random, data: bytes) -> int:
    return random.randint(0, len(data))


def _range(random: Random, data: bytes) -> tuple[int, int]:
    start = _place(random, data)
    return start, min(len(data), start + random.choice((1, 1, 2, 4, 8, 32, LONG)))


def flip(random: Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    """One bit of one byte."""
    if not data:
        return b"\0"
    place = random.randrange(len(data))
    return data[:place] + bytes((data[place] ^ 1 << random.randrange(8),)) + data[place + 1 :]


def overwrite(random: Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    """One byte with any other."""
    start, _ = _range(random, data)
    return data[:start] + bytes((random.randrange(256),)) + data[start + 1 :]


def cut(random: Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    """A run is gone."""
    start, end = _range(random, data)
    return data[:start] + data[end:]


def truncate(random: Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    """The end is missing."""
    return data[: _place(random, data)]


def insert(random: Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    """Bytes that were not there, random or one many times."""
    place = _place(random, data)
    size = random.choice((1, 1, 2, 4, LONG))
    more = bytes((random.randrange(256),)) * size if random.random() < 0.5 else random.randbytes(size)
    return data[:place] + more + data[place:]


def duplicate(random: Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    """A run twice."""
    start, end = _range(random, data)
    return data[:end] + data[start:end] + data[end:]


def splice(random: Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    """The beginning of this and the end of another good value."""
    other = random.choice(seeds) if seeds else data
    return data[: _place(random, data)] + other[_place(random, other) :]


def binary_number(random: Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    """A field of 1, 2, 4 or 8 bytes at an edge, in either order."""
    width = random.choice((1, 2, 4, 8))
    if len(data) < width:
        return data
    place = random.randint(0, len(data) - width)
    value = random.choice(INTERESTING) % (1 << 8 * width)
    return data[:place] + value.to_bytes(width, random.choice(("big", "little"))) + data[place + width :]


_DIGITS = re.compile(rb"-?\d+")
_NUMBERS = (
    b"-1",
    b"-0",
    b"0",
    b"00",
    b"1.0",
    b"1e5",
    b"1e400",
    b"9007199254740991",
    b"9007199254740992",
    b"18446744073709551616",
    b"9" * 400,
    b"9" * 5000,
    b"0x" + b"f" * 5000,
    b"inf",
    b"nan",
    b"1_0",
    "\u0661\u0662".encode(),
)


def written_number(random: Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    """A number written in digits at an edge."""
    found = list(_DIGITS.finditer(data))
    if not found:
        return data
    one = random.choice(found)
    return data[: one.start()] + random.choice(_NUMBERS) + data[one.end() :]


_WORDS = (
    b"\xef\xbb\xbf",
    b"\xed\xa0\x80",
    b"\xff",
    b"\0",
    b"\r\n",
    b"\\u0000",
    b"\\ud800",
    "\u202e".encode(),
    "e\u0301".encode(),
    "\u2028".encode(),
    "İ".encode(),
    "ß".encode(),
)


def odd_text(random: Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    """A sequence that readers of text stumble over."""
    place = _place(random, data)
    return data[:place] + random.choice(_WORDS) + data[place:]


BLIND: tuple[Mutation, ...] = (flip, overwrite, cut, truncate, insert, duplicate, splice, binary_number)

# ---- DER -----------------------------------------------------------------------------------------------------------------------------


def _length(size: int) -> bytes:
    if size < 0x80:
        return bytes((size,))
    octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((0x80 | len(octets),)) + octets


class _Node:
    """One element: its tag, and the elements or bytes inside. ``head`` stands for tag and length where they are bent."""

    def __init__(self, tag: int, children: list[_Node] | None, content: bytes) -> None:
        self.tag, self.children, self.content = tag, children, content
        self.head: Callable[[int], bytes] | None = None

    def encode(self) -> bytes:
        body = self.content if self.children is None else b"".join(child.encode() for child in self.children)
        return (self.head(len(body)) if self.head else bytes((self.tag,)) + _length(len(body))) + body


def _elements(data: bytes, depth: int = 0) -> list[_Node] | None:
    """The elements these bytes are, or None; octet and bit strings that hold elements are walked as well."""
    found, place = [], 0
    while place < len(data):
        if place + 2 > len(data):
            return None
        tag, size, begin = data[place], data[place + 1], place + 2
        if size & 0x80:
            octets = size & 0x7F
            if not 1 <= octets <= 4 or begin + octets > len(data):
                return None
            size, begin = int.from_bytes(data[begin : begin + octets], "big"), begin + octets
        if begin + size > len(data):
            return None
        content = data[begin : begin + size]
        inside = _elements(content, depth + 1) if content and depth < 16 and (tag & 0x20 or tag == 0x04) else None
        found.append(_Node(tag, inside, content))
        place = begin + size
    return found


def _walk(nodes: list[_Node]) -> list[tuple[list[_Node], int]]:
    places = []
    for index, node in enumerate(nodes):
        places.append((nodes, index))
        if node.children is not None:
            places += _walk(node.children)
    return places


_LENGTHS: tuple[Callable[[int], bytes], ...] = (
    lambda size: b"\x80",  # indefinite
    lambda size: b"\x81" + bytes((size & 0xFF,)),  # a longer spelling than needed
    lambda size: b"\x82" + (size & 0xFFFF).to_bytes(2, "big"),
    lambda size: b"\x84\xff\xff\xff\xff",
    lambda size: b"\x88" + b"\xff" * 8,
    lambda size: b"\xff",
    lambda size: _length(size + 1),
    lambda size: _length(max(0, size - 1)),
)
_INTEGERS = (
    b"",
    b"\0",
    b"\0\0",
    b"\x80",
    b"\xff",
    b"\xff\xff",
    b"\x7f" + b"\xff" * 20,
    b"\0" + b"\xff" * 32,
    b"\1" + b"\0" * 64,
    b"\x7f" * 200,
)
_TAGS = (
    0x01,
    0x02,
    0x03,
    0x04,
    0x05,
    0x06,
    0x0A,
    0x0C,
    0x13,
    0x14,
    0x16,
    0x17,
    0x18,
    0x1E,
    0x1F,
    0x30,
    0x31,
    0x80,
    0xA0,
    0xA1,
    0xA3,
    0xBF,
    0xFF,
)
_TIMES = (
    b"20260302080000Z",
    b"260302080000Z",
    b"000000000000Z",
    b"99991231235959Z",
    b"00010101000000Z",
    b"20260302080000.1Z",
    b"20260302080000+0800",
    b"500101000000Z",
)


def der(random: Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    """One element of the tree bent, and the lengths around it right again; a frame's four bytes before the tree are kept right too."""
    framed = len(data) > 4 and int.from_bytes(data[:4], "big") == len(data) - 4
    nodes = _elements(data[4:] if framed else data)
    if not nodes:
        return overwrite(random, data, seeds)
    siblings, index = random.choice(_walk(nodes))
    _bend(random, siblings, index, nodes)
    whole = b"".join(node.encode() for node in nodes)
    return len(whole).to_bytes(4, "big") + whole if framed else whole


def _bend(random: Random, siblings: list[_Node], index: int, nodes: list[_Node]) -> None:
    node = siblings[index]
    way = random.randrange(9)
    if way == 0:
        tag, length = node.tag, random.choice(_LENGTHS)
        node.head = lambda size: bytes((tag,)) + length(size)
    elif way == 1:
        node.tag = random.choice(_TAGS)
    elif way == 2:
        del siblings[index]
    elif way == 3:
        siblings.insert(index, node)
    elif way == 4:
        other = random.randrange(len(siblings))
        siblings[index], siblings[other] = siblings[other], siblings[index]
    elif way == 5:
        parent, place = random.choice(_walk(nodes))
        siblings[index] = _Node(parent[place].tag, None, parent[place].encode()[2:][:LONG])
    elif way == 6:
        node.children, node.content = None, b""
    elif node.children is None:
        edges = _INTEGERS if node.tag == 0x02 else _TIMES if node.tag in (0x17, 0x18) else ()
        node.content = (
            random.choice(edges) if edges and way == 7 else random.choice((flip, insert, truncate, overwrite))(random, node.content, ())
        )
    else:
        depth = random.choice((1, 8, 64, LONG))
        for _ in range(depth):
            node = _Node(0x30, [node], b"")
        siblings[index] = node


# ---- JSON ----------------------------------------------------------------------------------------------------------------------------

_VALUES: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    2**53,
    2**64,
    1.5,
    "",
    " ",
    "\u202e",
    "e\u0301",
    "\0",
    "\ud800",
    "x" * LONG,
    [],
    {},
    [[]],
    [None] * 20,
)


def _json_places(value: Any) -> list[tuple[Any, Any]]:
    places: list[tuple[Any, Any]] = []
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in pairs:
        places.append((value, key))
        places += _json_places(inner)
    return places


def as_json(random: Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    """One value, key or row of the tree bent, written in canonical form again more often than not."""
    try:
        value = json.loads(data)
        places = _json_places(value)
    except (ValueError, RecursionError):
        return odd_text(random, data, seeds)
    if not places:
        return odd_text(random, data, seeds)
    holder, key = random.choice(places)
    way = random.randrange(6)
    if way == 0:
        holder[key] = random.choice(_VALUES)
    elif way == 1:
        del holder[key]
    elif way == 2 and isinstance(holder, dict):
        holder[random.choice(("v", "", "zz", key + " ", key.upper(), "__proto__", "é"))] = holder[key]
    elif way == 3 and isinstance(holder, list):
        holder.insert(key, holder[key])
    elif way == 4:
        other, place = random.choice(places)
        moved = other.get(place) if isinstance(other, dict) else other[place]  # the place may be gone
        if not isinstance(moved, dict | list):
            holder[key] = moved
    elif isinstance(holder[key], str):
        text = holder[key]
        holder[key] = random.choice((text + "\n", text.upper(), text[:-1], text * 3, "\u00a0" + text, text.swapcase()))
    else:
        holder[key] = [holder[key]]
    compact = random.random() < 0.8
    try:
        text = json.dumps(value, ensure_ascii=False, sort_keys=compact, separators=(",", ":") if compact else None)
    except (ValueError, RecursionError):
        return data
    return text.encode("utf-8", "surrogatepass")


def deep(random: Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    """Brackets in brackets."""
    opening, closing = random.choice(((b"[", b"]"), (b'{"v":', b"}"), (b"a.", b"")))
    depth = random.choice((17, 200, 2_000))
    return data[: _place(random, data)] + opening * depth + closing * random.choice((0, depth))


# ---- lines ---------------------------------------------------------------------------------------------------------------------------


def lines(random: Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    """A line gone, twice, elsewhere, or with another value behind its equals sign."""
    rows = data.split(b"\n")
    index, other = random.randrange(len(rows)), random.randrange(len(rows))
    way = random.randrange(4)
    if way == 0:
        del rows[index]
    elif way == 1:
        rows.insert(other, rows[index])
    elif way == 2:
        rows[index], rows[other] = rows[other], rows[index]
    else:
        key, equals, _ = rows[index].partition(b"=")
        value = random.choice(
            (
                b'""',
                b"true",
                b"-1",
                b"[]",
                b"{}",
                b"nan",
                b"inf",
                b"2026-01-01",
                b"0x" + b"f" * 5000,
                b"1e400",
                b'["a","a"]',
                b"'''",
                b"9" * 4000,
                b'"http://["',
                b'"x"',
            )
        )
        rows[index] = key + equals + value
    return b"\n".join(rows)


WAYS: dict[Shape, tuple[Mutation, ...]] = {
    "bytes": BLIND,
    "der": (*BLIND, der, der, der, der, der, der),
    "json": (*BLIND, as_json, as_json, as_json, as_json, as_json, written_number, odd_text, deep),
    "text": (*BLIND, lines, lines, lines, written_number, odd_text, deep),
}


def mutated(random: Random, shape: Shape, data: bytes, seeds: Sequence[bytes]) -> bytes:
    """A good value bent in one to four ways."""
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        data = random.choice(WAYS[shape])(random, data, seeds)
    return data

"""A leaf's bytes, spelled once.

``Leaf.to_bytes`` reads again what it wrote, so that no program of ours ever writes what a reader would refuse; a leaf like that at the end of
the log would keep the gateway from starting. Reading again is most of the cost of a leaf, though. Here the bytes are held against one
regular expression instead, made from the fields of ``Leaf`` and closed: whatever it matches is plain ASCII, in canonical order, every
value inside its pattern. It is narrower than the format in one point (integers end at fifteen digits), and what it does not match goes
the long way, which decides. A moment that is well spelled but does not exist was refused when the leaf was made.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec
from msgspec import inspect

from gateway.core.leaf import MAX_LEAF_BYTES, Leaf

_ENCODE = msgspec.json.Encoder(order="sorted").encode
_TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{3})?Z"
_INTEGER = r"(?:0|[1-9]\d{0,14})"  # all below Natural's ceiling
_ALWAYS = frozenset({"v"})  # has a default and is never left out


def spell(leaf: Leaf) -> bytes:
    """``leaf.to_bytes()``, the quick way. Raises Malformed."""
    try:
        data = _ENCODE(leaf)
    except UnicodeEncodeError:
        return leaf.to_bytes()
    return data if _SPELLING(data) is not None and len(data) <= MAX_LEAF_BYTES else leaf.to_bytes()


def _grammar(kind: Any) -> str:
    """The expression for one type of a field."""
    match kind:
        case inspect.StructType(fields=fields):
            first, *others = sorted(fields, key=lambda field: field.encode_name)
            if not first.required:
                raise AssertionError("internal: a comma is told by the field before it, so the first one must be there")
            return r"\{" + _field(first) + "".join(_later_field(field) for field in others) + r"\}"
        case inspect.UnionType(types=(inspect.NoneType(), one) | (one, inspect.NoneType())):
            return _grammar(one)  # a field without value is left out
        case inspect.EnumType(cls=enum):
            return _words(member.value for member in enum)
        case inspect.LiteralType(values=values):
            return _words(values)
        case inspect.IntType():
            return _INTEGER
        case inspect.StrType(pattern=str(pattern)):
            return '"' + pattern.removeprefix("^").removesuffix(r"\Z") + '"'
        case inspect.StrType(max_length=24):
            return f'"{_TIME}"'
    raise AssertionError(f"internal: no grammar for a {kind}")


def _field(field: inspect.Field) -> str:
    return f'"{field.encode_name}":{_grammar(field.type)}'


def _later_field(field: inspect.Field) -> str:
    one = "," + _field(field)
    return one if field.required or field.name in _ALWAYS else f"(?:{one})?"


def _words(values: Any) -> str:
    return '"(?:' + "|".join(re.escape(value) for value in values) + ')"'


_SPELLING = re.compile(_grammar(inspect.type_info(Leaf)).encode("ascii")).fullmatch

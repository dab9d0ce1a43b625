"""Any bytes give a value that spells itself back, or Malformed; nothing else."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta, timezone
from typing import Annotated, Any, ClassVar, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto.errors import Malformed
from gateway.core import canonical, directory, leaf, manifest, receipt, transmittal
from gateway.core.canonical import MAX_INTEGER, MAX_NESTING, Natural, Wire, check_text, format_time, parse_time, version

ROOMS = (canonical, directory, leaf, manifest, receipt, transmittal)  # imported so that every Wire type is known below


class Note(Wire, frozen=True, kw_only=True):
    """A small format with one field of each sort."""

    MAX_BYTES: ClassVar[int] = 400

    flag: bool = False
    number: Natural
    text: Annotated[str, msgspec.Meta(max_length=80)]
    v: Literal["note/1"] = version("note/1")


GOOD = '{"number":7,"text":"公文","v":"note/1"}'.encode()


def test_a_value_has_one_spelling() -> None:
    assert Note.from_bytes(GOOD) == Note(number=7, text="公文")
    assert Note.from_bytes(GOOD).to_bytes() == GOOD


def test_an_optional_field_is_left_out_and_read_back() -> None:
    assert b"flag" not in Note(number=0, text="").to_bytes()
    assert Note.from_bytes(Note(number=0, text="", flag=True).to_bytes()).flag is True


BAD = {
    "float-1.0": b'{"number":1.0,"text":"","v":"note/1"}',
    "exponent-1e2": b'{"number":1e2,"text":"","v":"note/1"}',
    "minus-zero": b'{"number":-0,"text":"","v":"note/1"}',
    "negative": b'{"number":-1,"text":"","v":"note/1"}',
    "two-to-53": b'{"number":9007199254740992,"text":"","v":"note/1"}',
    "beyond-64-bits": b'{"number":99999999999999999999999,"text":"","v":"note/1"}',
    "true-as-integer": b'{"number":true,"text":"","v":"note/1"}',
    "text-as-integer": b'{"number":"1","text":"","v":"note/1"}',
    "leading-zero": b'{"number":01,"text":"","v":"note/1"}',
    "nan": b'{"number":NaN,"text":"","v":"note/1"}',
    "integer-as-boolean": b'{"flag":1,"number":1,"text":"","v":"note/1"}',
    "default-spelt-out": b'{"flag":false,"number":1,"text":"","v":"note/1"}',
    "null-for-text": b'{"number":1,"text":null,"v":"note/1"}',
    "duplicate-key": b'{"number":1,"number":1,"text":"","v":"note/1"}',
    "duplicate-key-last-good": b'{"number":2,"number":1,"text":"","v":"note/1"}',
    "unsorted": b'{"text":"","number":1,"v":"note/1"}',
    "space": b'{"number":1, "text":"","v":"note/1"}',
    "newline-before": b'\n{"number":1,"text":"","v":"note/1"}',
    "trailing-newline": b'{"number":1,"text":"","v":"note/1"}\n',
    "trailing-byte": b'{"number":1,"text":"","v":"note/1"}x',
    "trailing-nul": b'{"number":1,"text":"","v":"note/1"}\0',
    "two-values": b'{"number":1,"text":"","v":"note/1"}{}',
    "escaped-letter": b'{"number":1,"text":"\\u0041","v":"note/1"}',
    "escaped-slash": b'{"number":1,"text":"\\/","v":"note/1"}',
    "escaped-newline": b'{"number":1,"text":"\\n","v":"note/1"}',
    "escaped-key": b'{"n\\u0075mber":1,"text":"","v":"note/1"}',
    "escaped-nul": b'{"number":1,"text":"\\u0000","v":"note/1"}',
    "raw-newline": b'{"number":1,"text":"\n","v":"note/1"}',
    "raw-delete": b'{"number":1,"text":"\x7f","v":"note/1"}',
    "lone-surrogate-escape": b'{"number":1,"text":"\\ud800","v":"note/1"}',
    "lone-surrogate-bytes": b'{"number":1,"text":"\xed\xa0\x80","v":"note/1"}',
    "overlong": b'{"number":1,"text":"\xc0\xaf","v":"note/1"}',
    "not-utf8": b'{"number":1,"text":"\xff","v":"note/1"}',
    "byte-order-mark": b'\xef\xbb\xbf{"number":1,"text":"","v":"note/1"}',
    "byte-order-mark-inside": '{"number":1,"text":"a\ufeffb","v":"note/1"}'.encode(),
    "utf16": '{"number":1,"text":"","v":"note/1"}'.encode("utf-16"),
    "decomposed": '{"number":1,"text":"e\u0301","v":"note/1"}'.encode(),
    "compatibility-singleton": '{"number":1,"text":"\u212b","v":"note/1"}'.encode(),
    "bidi-override": '{"number":1,"text":"a\u202eb","v":"note/1"}'.encode(),
    "bidi-isolate": '{"number":1,"text":"a\u2066b","v":"note/1"}'.encode(),
    "bidi-mark": '{"number":1,"text":"a\u200fb","v":"note/1"}'.encode(),
    "next-line": '{"number":1,"text":"a\u0085b","v":"note/1"}'.encode(),
    "line-separator": '{"number":1,"text":"a\u2028b","v":"note/1"}'.encode(),
    "unknown-field": b'{"number":1,"text":"","v":"note/1","x":1}',
    "missing-field": b'{"number":1,"v":"note/1"}',
    "missing-version": b'{"number":1,"text":""}',
    "other-version": b'{"number":1,"text":"","v":"note/2"}',
    "array": b"[]",
    "scalar": b"1",
    "null": b"null",
    "empty": b"",
    "cut": b'{"number":1,"text":"',
    "too-long-a-text": b'{"number":1,"text":"' + b"a" * 81 + b'","v":"note/1"}',
    "too-many-bytes": b'{"number":1,"text":"' + b"a" * 400 + b'","v":"note/1"}',
    "deep": b'{"number":' + b"[" * 150,
    "deep-unknown": b'{"a":' + b"[" * 150 + b"]" * 150 + b"}",
}


@pytest.mark.parametrize("data", BAD.values(), ids=BAD.keys())
def test_every_other_spelling_is_malformed(data: bytes) -> None:
    with pytest.raises(Malformed):
        Note.from_bytes(data)


def test_quotes_and_backslashes_are_the_only_escapes() -> None:
    note = Note(number=1, text='say "a\\u0041b" \\\\')
    assert Note.from_bytes(note.to_bytes()) == note


def test_nesting_beyond_every_ceiling_is_malformed_not_a_crash() -> None:
    class Wide(Note, frozen=True, kw_only=True):
        MAX_BYTES: ClassVar[int] = 1 << 20

    for opening in (b"[", b'{"number":'):
        with pytest.raises(Malformed):
            Wide.from_bytes(b'{"number":' + opening * 50_000)


def test_we_never_write_what_we_would_refuse() -> None:
    for value in (
        Note(number=MAX_INTEGER + 1, text=""),
        Note(number=True, text=""),
        Note(number=1, text="a\u202eb"),
        Note(number=1, text="e\u0301"),
        Note(number=1, text="a\nb"),
        Note(number=1, text="\ud800"),
        Note(number=1, text="x" * 81),
    ):
        with pytest.raises(Malformed):
            value.to_bytes()


@given(st.binary(max_size=300))
def test_any_bytes_give_a_value_or_malformed(data: bytes) -> None:
    try:
        value = Note.from_bytes(data)
    except Malformed:
        return
    assert value.to_bytes() == data


@given(st.integers(0, MAX_INTEGER), st.text(max_size=80), st.booleans())
def test_what_we_write_reads_back(number: int, text: str, flag: bool) -> None:
    note = Note(number=number, text=text, flag=flag)
    try:
        data = note.to_bytes()
    except Malformed:
        with pytest.raises((Malformed, UnicodeEncodeError)):  # only for a text that may not be
            check_text(text.encode().decode())
        return
    assert Note.from_bytes(data) == note


@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255))
def test_a_changed_byte_is_malformed_or_another_value(at: int, flip: int) -> None:
    data = bytearray(GOOD)
    data[at] ^= flip
    with contextlib.suppress(Malformed):
        assert Note.from_bytes(bytes(data)) != Note.from_bytes(GOOD)


# ---- times -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (datetime(2026, 3, 2, 8, 0, tzinfo=UTC), "2026-03-02T08:00:00Z"),
        (datetime(2026, 3, 2, 8, 0, 1, 250_000, tzinfo=UTC), "2026-03-02T08:00:01.250Z"),
        (datetime(2026, 3, 2, 16, 0, tzinfo=timezone(timedelta(hours=8))), "2026-03-02T08:00:00Z"),
        (datetime(1900, 1, 1, tzinfo=UTC), "1900-01-01T00:00:00Z"),
    ],
)
def test_times_are_spelt_one_way(moment: datetime, text: str) -> None:
    assert format_time(moment) == text
    assert parse_time(text) == moment
    assert parse_time(text).tzinfo == UTC


def test_microseconds_are_cut_off() -> None:
    assert format_time(datetime(2026, 3, 2, 8, 0, 0, 999, tzinfo=UTC)) == "2026-03-02T08:00:00Z"
    assert format_time(datetime(2026, 3, 2, 8, 0, 0, 1999, tzinfo=UTC)) == "2026-03-02T08:00:00.001Z"


def test_a_moment_without_zone_is_a_defect() -> None:
    with pytest.raises(ValueError, match="time zone"):
        format_time(datetime(2026, 3, 2))  # noqa: DTZ001 - the point


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-03-02",
        "2026-03-02T08:00:00",
        "2026-03-02T08:00:00+00:00",
        "2026-03-02 08:00:00Z",
        "2026-03-02t08:00:00z",
        "2026-03-02T08:00:00.000Z",
        "2026-03-02T08:00:00.1Z",
        "2026-03-02T08:00:00.1234Z",
        "2026-03-02T08:00:60Z",
        "2026-03-02T24:00:00Z",
        "2026-02-29T00:00:00Z",
        "0000-01-01T00:00:00Z",
        "2026-W10-1T00:00:00Z",
        "２026-03-02T08:00:00Z",
        "2026-03-02T08:00:00Z\n",
        "2026-03-02T08:00Z",
    ],
)
def test_other_spellings_of_time_are_malformed(text: str) -> None:
    with pytest.raises(Malformed):
        parse_time(text)


@given(st.datetimes(min_value=datetime(1900, 1, 1), max_value=datetime(8999, 12, 31), timezones=st.just(UTC)))  # noqa: DTZ001
def test_times_read_back_to_the_millisecond(moment: datetime) -> None:
    assert parse_time(format_time(moment)) == moment.replace(microsecond=moment.microsecond // 1000 * 1000)


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00Z", "1899-12-31T23:59:59Z", "9000-01-01T00:00:00Z", "9999-12-31T23:59:59Z"])
def test_a_moment_no_tolerance_can_be_added_to_is_refused(text: str) -> None:
    with pytest.raises(Malformed):
        parse_time(text)


# ---- the shape of every format -----------------------------------------------------------------------------------------------------


def _wires(base: type[Wire] = Wire) -> list[type[Wire]]:
    return [wire for sub in base.__subclasses__() for wire in (sub, *_wires(sub))]


def _depth(kind: msgspec.inspect.Type, above: tuple[type, ...] = ()) -> int:
    match kind:
        case msgspec.inspect.StructType(cls=cls, fields=fields):
            assert cls not in above, f"{cls} holds itself"
            assert kind.forbid_unknown_fields, f"{cls} takes unknown fields"
            return 1 + max(_depth(field.type, (*above, cls)) for field in fields)
        case msgspec.inspect.VarTupleType(item_type=item) | msgspec.inspect.ListType(item_type=item):
            assert kind.max_length is not None, f"a list without ceiling in {above[-1]}"
            return 1 + _depth(item, above)
        case msgspec.inspect.DictType(value_type=value):
            assert kind.max_length is not None, f"a mapping without ceiling in {above[-1]}"
            return 1 + _depth(value, above)
        case msgspec.inspect.UnionType(types=types):
            return max(_depth(one, above) for one in types)
        case msgspec.inspect.StrType():
            assert kind.max_length is not None or kind.pattern is not None, f"a text without ceiling in {above[-1]}"
            return 0
        case msgspec.inspect.IntType():
            assert kind.ge is not None, f"an integer without floor in {above[-1]}"
            assert kind.le is not None, f"an integer without ceiling in {above[-1]}"
            return 0
        case msgspec.inspect.LiteralType() | msgspec.inspect.EnumType() | msgspec.inspect.NoneType() | msgspec.inspect.BoolType():
            return 0
        case _:
            raise AssertionError(f"{kind} in {above}: open types have no one spelling")


@pytest.mark.parametrize(
    "wire", [wire for wire in _wires() if wire.__module__.startswith("gateway.core")], ids=lambda wire: wire.__qualname__
)
def test_every_format_is_closed_and_bounded(wire: type[Wire]) -> None:
    assert 1 <= _depth(msgspec.inspect.type_info(wire)) <= MAX_NESTING
    assert 0 < wire.MAX_BYTES <= 4 * 1024 * 1024


def test_the_shape_test_can_fail() -> None:
    class Open(Wire, frozen=True, kw_only=True):
        anything: Any

    class Unbounded(Wire, frozen=True, kw_only=True):
        text: str

    for wire in (Open, Unbounded):
        with pytest.raises(AssertionError):
            _depth(msgspec.inspect.type_info(wire))

"""Canonical JSON and the values it carries (docs/format.md, Canonical JSON).

Every object of the exchange that is signed, digested or stored is one spelling of one value: what parses re-serialises byte for byte.
Here is the base of those objects, the spelling of times, and the field types several of them share. Formats themselves live in their
own files.

    class Note(Wire, frozen=True, kw_only=True):
        v: Literal["note/1"] = version("note/1")
        text: Annotated[str, msgspec.Meta(max_length=80)]

    Note.from_bytes(b'{"text":"hello","v":"note/1"}').text
"""

from __future__ import annotations

import re
import unicodedata
from datetime import UTC, datetime
from functools import cache, lru_cache
from typing import Annotated, Any, ClassVar, Self, TypeVar

import msgspec

from crypto.errors import Malformed

MAX_WIRE_BYTES = (
    256 * 1024
)  # the largest object that travels is a transmittal for 1,000 recipients; formats set lower ceilings of their own
MAX_INTEGER = 2**53 - 1  # beyond it JSON readers built on doubles disagree about the value (RFC 8785 3.2.2.3)
MAX_NESTING = 16  # no format comes near; a test walks every Wire type, none of which is open or recursive

# Controls (C0 cannot stand raw in JSON, so their escapes are looked for below), line separators, the byte order mark, and everything
# that turns the direction of the text around it (Unicode TR 36 2.5): a title must read as it is stored.
BARRED_CHARACTERS = "\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff"
_BARRED = re.compile(f"[{BARRED_CHARACTERS}]")
_BARRED_ASCII = re.compile(rb"[\x7f\\]")
_ESCAPED_PAIR = re.compile(rb"\\[\"\\]")

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{3})?Z", re.ASCII)
YEARS = range(1900, 9000)  # a tolerance before it or a term behind it is still in the calendar, so that no sum of ours can fail
_W = TypeVar("_W", bound="Wire")
_ENCODER = msgspec.json.Encoder(order="sorted")

ORG_PATTERN = r"^[0-9A-HJ-NPQRTUWXY]{18}\Z"  # GB 32100; its check digit is verified where an organisation enters the directory
DIGEST_PATTERN = r"^(sm3|sha256):[0-9a-f]{64}\Z"
GATEWAY_PATTERN = r"^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?\Z"  # also a host label, a log origin and the end of a SAN URI
UUID7_PATTERN = r"^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\Z"

Natural = Annotated[int, msgspec.Meta(ge=0, le=MAX_INTEGER)]
OrgCode = Annotated[str, msgspec.Meta(pattern=ORG_PATTERN)]
GatewayId = Annotated[str, msgspec.Meta(pattern=GATEWAY_PATTERN)]
ExchangeId = Annotated[str, msgspec.Meta(pattern=UUID7_PATTERN)]
DigestText = Annotated[str, msgspec.Meta(pattern=DIGEST_PATTERN)]
TimeText = Annotated[str, msgspec.Meta(max_length=24)]  # its spelling is checked by parse_time in the object that holds it


class Wire(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The base of every object that travels as canonical JSON.

    A field with a default is optional and left out when it has that value. Rules across fields stand in ``__post_init__`` and raise
    Malformed, so they hold for values we build as well.
    """

    MAX_BYTES: ClassVar[int] = MAX_WIRE_BYTES

    def to_bytes(self) -> bytes:
        """The one spelling of this value. Raises Malformed where we built what a reader would refuse."""
        try:
            data = _ENCODER.encode(self)
        except UnicodeEncodeError as error:
            raise Malformed("a text with half a surrogate pair") from error
        _check_text(data, self.MAX_BYTES)
        _decode(type(self), data)
        return data

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """The value those bytes spell. Raises Malformed for everything that is not its one spelling."""
        _check_text(data, cls.MAX_BYTES)
        value = _decode(cls, data)
        if _ENCODER.encode(value) != data:  # order, space, escapes, -0, duplicate keys: all end here
            raise Malformed(f"not the canonical spelling of a {cls.__name__}")
        return value


def version(name: str) -> Any:
    """The ``v`` field of a format: filled in when we build one, never left out when it is written, never optional when it is read."""
    return msgspec.field(default_factory=lambda: name)


@cache  # one entry a Wire type
def _decoder(wire: type[Wire]) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(wire)


def _decode(wire: type[_W], data: bytes) -> _W:
    try:
        value: _W = _decoder(wire).decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(f"not a {wire.__name__}: {error}") from error
    return value


def _check_text(data: bytes, ceiling: int) -> None:
    """The rules that need no knowledge of the fields; quick for plain ASCII, which most objects are."""
    if len(data) > ceiling:
        raise Malformed(f"{len(data)} bytes where {ceiling} are the most", size=len(data), ceiling=ceiling)
    barred = _BARRED_ASCII.search(_ESCAPED_PAIR.sub(b"", data) if b"\\" in data else data)
    if barred is not None:
        raise Malformed(f"control character or needless escape {barred[0]!r}")
    if not data.isascii():
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise Malformed(f"not UTF-8: {error}") from error
        check_text(text)


def check_text(text: str) -> None:
    """Refuse what no string of ours may hold. Raises Malformed.

    Normal form can be judged over a whole JSON text at once: no ASCII punctuation of JSON composes with what follows it.
    """
    barred = _BARRED.search(text)
    if barred is not None:
        raise Malformed(f"character U+{ord(barred[0]):04X} is not allowed")
    if not unicodedata.is_normalized("NFC", text):
        raise Malformed("text is not in Unicode normal form C")


def format_time(moment: datetime) -> str:
    """``YYYY-MM-DDTHH:MM:SSZ``, with ``.mmm`` before the Z unless it is zero; finer parts are cut off.

    Raises ValueError for a moment without a time zone: that is a defect of the caller.
    """
    if moment.tzinfo is None:
        raise ValueError("a moment without a time zone")
    utc = (moment if moment.tzinfo is UTC else moment.astimezone(UTC)).replace(tzinfo=None)
    return utc.isoformat(timespec="milliseconds" if utc.microsecond >= 1000 else "seconds") + "Z"


@lru_cache(maxsize=1024)  # each check of a transmittal asks again for the same few moments
def parse_time(text: str) -> datetime:
    """The moment that text names, in UTC. Raises Malformed for every other spelling, ``.000`` included, and for years nobody needs."""
    if _TIME.fullmatch(text) is None or text.endswith(".000Z"):
        raise Malformed(f"not a time: {text[:40]!r}")
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise Malformed(f"no such moment: {text!r}") from error
    if moment.year not in YEARS:
        raise Malformed(f"a moment outside the years {YEARS.start} to {YEARS.stop - 1}: {text!r}")
    return moment

"""The manifest 清单: what is inside the sealed content (docs/format.md, Manifest).

It travels encrypted as the first member of the content; its digest in the signed transmittal is what commits to the plaintext.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Annotated, ClassVar, Literal

import msgspec

from crypto.errors import Malformed, Unverified
from crypto.suites import suite_named
from gateway.core.canonical import DigestText, ExchangeId, OrgCode, Wire, check_text, version
from gateway.core.document import Document, LevelId, UrgencyId
from gateway.core.levels import LEVELS
from gateway.core.transmittal import Transmittal

MAX_MANIFEST_BYTES = 1024 * 1024  # read into memory whole before anything of it is believed: 1,000 parts and the longest metadata fit
MAX_PARTS = 1_000  # beyond it the central directory would need ZIP64 counts; no document comes near
MAX_PART_BYTES = 68_719_476_704  # a part cannot be larger than the content
MAX_NAME_CHARACTERS = 120  # what a list of files shows in one line
MAX_NAME_BYTES = 255  # what common file systems take for one name
MANIFEST_NAME = "manifest.json"

# What separates the components of a path somewhere, and what is drawn like it or turned into it by a system that narrows characters.
SEPARATORS = frozenset('/\\:*?"<>|') | frozenset("\u2044\u2215\u2216\u29f5\u29f8\u29f9\ufe68\uff0f\uff3c")
# Default-ignorable characters (Unicode 5.21): names that differ in them alone look the same.
INVISIBLE = re.compile(
    "[\u00ad\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200d\u2060-\u206f\u3164\ufe00-\ufe0f\uffa0\ufff0-\ufffb\U000e0000-\U000e0fff]"
)
# Names of devices on Windows, with whatever ending: such a file can be neither written nor removed there.
_DEVICE = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|clock\$|(com|lpt)[0-9\u00b9\u00b2\u00b3]) *(\..*)?", re.IGNORECASE | re.DOTALL)

PartRole = Literal["body", "attachment"]
MediaType = Annotated[str, msgspec.Meta(max_length=127, pattern=r"^[a-z0-9][a-z0-9!#$&^_.+-]*/[a-z0-9][a-z0-9!#$&^_.+-]*\Z")]
Nonce = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9+/]{21}[AQgw]==\Z")]  # base64 of exactly 16 bytes, unused bits zero


class PartEntry(Wire, frozen=True, kw_only=True):
    """One part of the document: its file name, what it is, its own level, and what commits to its bytes."""

    digest: DigestText
    level: LevelId
    media_type: MediaType
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_NAME_CHARACTERS)]
    role: PartRole
    size: Annotated[int, msgspec.Meta(ge=0, le=MAX_PART_BYTES)]

    def __post_init__(self) -> None:
        check_part_name(self.name)


class ManifestSender(Wire, frozen=True, kw_only=True):
    """The sending organisation, repeated inside the seal."""

    org: OrgCode


class Manifest(Wire, frozen=True, kw_only=True):
    """What is inside: the document's metadata and its parts in order, the body first."""

    MAX_BYTES: ClassVar[int] = MAX_MANIFEST_BYTES

    document: Document
    exchange: ExchangeId
    level: LevelId
    nonce: Nonce
    parts: Annotated[tuple[PartEntry, ...], msgspec.Meta(min_length=1, max_length=MAX_PARTS)]
    sender: ManifestSender
    urgency: UrgencyId
    v: Literal["yizhan-manifest/1"] = version("yizhan-manifest/1")

    def __post_init__(self) -> None:
        if [part.role for part in self.parts].count("body") != 1:
            raise Malformed("a document has exactly one body")
        names = {folded_name(part.name) for part in self.parts}
        if len(names) != len(self.parts):
            raise Malformed("two parts share a name but for case", check="name-twice")
        if any(LEVELS[part.level].rank > LEVELS[self.level].rank for part in self.parts):
            raise Malformed("a part is above the level of its document")

    def check_against(self, transmittal: Transmittal) -> None:
        """Whether what this says of the exchange is what its transmittal says. Raises Unverified naming the equality that fails.

        That it is the very manifest signed for, its digest, is checked where its bytes are read (content.ContentReader).
        """
        prefix = suite_named(transmittal.suite).digest + ":"
        equalities = (
            ("manifest-exchange", self.exchange == (transmittal.refs[0] if transmittal.kind == "supplement" else transmittal.id)),
            ("manifest-sender", self.sender.org == transmittal.sender.org),
            ("manifest-level", self.level == transmittal.level),
            ("manifest-urgency", self.urgency == transmittal.urgency),
            ("part-digest-suite", all(part.digest.startswith(prefix) for part in self.parts)),
        )
        for check, holds in equalities:
            if not holds:
                raise Unverified(f"the manifest does not belong to its transmittal: {check}", check=check, exchange=transmittal.id)


def folded_name(name: str) -> str:
    """What two names must not share: a file system that ignores case, or keeps another normal form, would let one take the other's place."""
    return unicodedata.normalize("NFC", name.casefold())


def is_device_name(name: str) -> bool:
    """Whether Windows takes that name for a device."""
    return _DEVICE.fullmatch(name) is not None


def has_plain_ends(name: str) -> bool:
    """Whether it neither begins nor ends with a dot or a space of any kind (Windows drops the trailing ones, so two names would meet)."""
    return not (name[0] == "." or name[0].isspace() or name[-1] == "." or name[-1].isspace())


def check_part_name(name: str) -> str:
    """The name itself when a part may have it. Raises Malformed, with a ``check`` that says why.

    A name is one component on every file system: no separators of any platform or what looks like one, no character nobody sees, no
    leading or trailing dot or space, no device, not what the content's first member is called.
    """
    try:
        check_text(name)
    except Malformed as error:
        raise Malformed(f"a part name with characters it may not have: {error}", check="name-characters") from error
    if not 1 <= len(name) <= MAX_NAME_CHARACTERS or len(name.encode()) > MAX_NAME_BYTES:
        raise Malformed(
            f"a part name has 1 to {MAX_NAME_CHARACTERS} characters and at most {MAX_NAME_BYTES} bytes", check="name-length", name=name[:40]
        )
    if SEPARATORS & set(name) or not has_plain_ends(name):
        raise Malformed(f"not a plain file name: {name!r}", check="name-path", name=name)
    if INVISIBLE.search(name):
        raise Malformed(f"a part name with invisible characters: {name!a}", check="name-characters", name=name)
    if is_device_name(name):
        raise Malformed(f"a device has that name: {name!r}", check="name-reserved", name=name)
    if name.casefold() == MANIFEST_NAME:
        raise Malformed(f"{MANIFEST_NAME} is not a part", check="name-reserved", name=name)
    return name

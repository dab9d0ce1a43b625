"""Names of parts as people may give them: what the format allows (``manifest.check_part_name``), and not a name with a meaning in an office.

A part called SIGNED would lie in the recipient's folder as the very file that says a person signed for the document.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from crypto.errors import Malformed
from gateway.core.canonical import check_text
from gateway.core.errors import BadInput
from gateway.core.explain import Reason, explain
from gateway.core.manifest import (
    INVISIBLE,
    MAX_NAME_BYTES,
    MAX_NAME_CHARACTERS,
    SEPARATORS,
    check_part_name,
    folded_name,
    has_plain_ends,
    is_device_name,
)

RESERVED = frozenset({"manifest.json", "document.json", "status.json", "reasons.json", "signed", "returned"})


def part_name_reasons(name: str) -> Iterator[Reason]:
    """Why a part may not have that name: nothing, or the first thing that is wrong with it."""
    shown = name[:MAX_NAME_CHARACTERS]
    if not name:
        yield explain("part/name-empty", at="files")
    elif len(name) > MAX_NAME_CHARACTERS or len(name.encode("utf-8", "surrogatepass")) > MAX_NAME_BYTES:
        yield explain("part/name-long", name=shown, characters=MAX_NAME_CHARACTERS, bytes=MAX_NAME_BYTES, at=shown)
    elif SEPARATORS & set(name) or not has_plain_ends(name):
        yield explain("part/name-path", name=name, at=name)
    elif name.casefold() in RESERVED or is_device_name(name):
        yield explain("part/name-reserved", name=name, at=name)
    elif not _is_text(name):
        yield explain("part/name-characters", name=name, at=name)


def part_names_reasons(names: Sequence[str]) -> Iterator[Reason]:
    """Why parts may not have these names together."""
    seen: dict[str, str] = {}
    for name in names:
        yield from part_name_reasons(name)
        folded = folded_name(name)
        if folded in seen:
            yield explain("part/name-twice", name=name, other=seen[folded], at=name)
        seen.setdefault(folded, name)


def checked_part_name(name: str) -> str:
    """The name itself when a person may give it to a part. Raises BadInput."""
    reasons = tuple(part_name_reasons(name))
    if reasons:
        raise BadInput(reasons[0].en, reasons=reasons)
    return check_part_name(name)


def _is_text(name: str) -> bool:
    try:
        check_text(name)
    except Malformed:
        return False
    return not (INVISIBLE.search(name) or any("\ud800" <= character <= "\udfff" for character in name))

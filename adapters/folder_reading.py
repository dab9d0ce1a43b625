"""Reading one folder of the outbox: an Offer, or a BadOffer with everything that is wrong with it at once.

Whatever lies there gives one of the two; only the disk itself can fail (OSError).
"""

from __future__ import annotations

import errno
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from adapters.folder_files import Entry, FileTooLarge, read_part, read_small
from adapters.folder_status import REASONS, STATUS
from adapters.media_types import media_type_of
from gateway.core.document_json import MAX_DOCUMENT_JSON, DocumentDraft, DraftFile, read_document_json
from gateway.core.errors import BadInput, PartChanged
from gateway.core.explain import Reason, explain
from gateway.core.manifest import MAX_PARTS, MediaType
from gateway.core.part_names import part_name_reasons
from gateway.flow.ports import BadOffer, Offer, OfferedPart

READY: Final = ".ready"
DOCUMENT: Final = "document.json"

MAX_ENTRIES: Final = MAX_PARTS + 24  # the parts, ours, and what desktop systems leave behind

_OURS: Final = frozenset({DOCUMENT, STATUS, REASONS})
_LITTER: Final = frozenset({"thumbs.db", "desktop.ini"})  # written by file browsers, beside names with a leading dot
_KINDS: Final = {"link": "offer/link", "folder": "offer/nested-folder", "other": "offer/not-a-file"}


def read_offer(place: Path, folder: int, source: str, found: Sequence[Entry], at: datetime) -> Offer | BadOffer:
    """What the folder open as ``folder``, lying at ``place`` and holding ``found``, offers at that moment. Raises OSError."""
    if len(found) > MAX_ENTRIES:
        return BadOffer(source=source, reasons=(explain("offer/too-many-files", most=MAX_PARTS),))
    foreign = [entry for entry in found if not _ignored(entry.name)]
    reasons = [explain(_KINDS[entry.kind], name=entry.name, at=entry.name) for entry in foreign if entry.kind != "file"]
    if any(entry.name == DOCUMENT and entry.kind != "file" for entry in foreign):
        return BadOffer(source=source, reasons=tuple(reasons))
    try:
        draft = _draft(folder, at)
    except BadInput as error:
        return BadOffer(source=source, reasons=(*reasons, *error.reasons))
    files = {unicodedata.normalize("NFC", entry.name): entry for entry in foreign if entry.kind == "file" and entry.name not in _OURS}
    named = draft.files or _only_file(files)
    if not draft.files:  # else the names were judged with document.json
        reasons.extend(reason for part in named for reason in part_name_reasons(part.name))
    reasons.extend(_disagreements(named, files, frozenset(entry.name for entry in foreign)))
    if reasons:
        return BadOffer(source=source, reasons=tuple(reasons))
    return Offer(
        source=source,
        document=draft.document,
        recipients=draft.recipients,
        parts=tuple(
            OfferedPart(
                name=part.name,
                role=part.role,
                level=part.level,
                media_type=part.media_type or media_type_of(part.name),
                size=files[part.name].seen.size,
                read=partial(read_part, place, files[part.name].name, files[part.name].seen),
            )
            for part in named
        ),
    )


def fingerprint(found: Sequence[Entry]) -> tuple[Entry, ...]:
    """What tells one content of a folder from another, without reading it; what we write there ourselves does not count."""
    return tuple(entry for entry in found if not _ignored(entry.name) and entry.name not in {STATUS, REASONS})


def _ignored(name: str) -> bool:
    return name.startswith(".") or name.lower() in _LITTER


def _draft(folder: int, at: datetime) -> DocumentDraft:
    """Raises BadInput, OSError."""
    try:
        return read_document_json(read_small(DOCUMENT, MAX_DOCUMENT_JSON, below=folder), at)
    except FileNotFoundError:
        reason = explain("offer/no-document", at=DOCUMENT)
    except FileTooLarge as error:
        reason = explain("document/too-large", size=error.size, largest=MAX_DOCUMENT_JSON, at=DOCUMENT)
    except PartChanged:
        reason = explain("offer/changed", name=DOCUMENT, at=DOCUMENT)
    except OSError as error:
        if error.errno not in {errno.ELOOP, errno.EACCES, errno.EPERM, errno.ENXIO}:
            raise  # the disk's fault, not the offer's
        reason = explain("offer/unreadable", name=DOCUMENT, why=error.strerror, at=DOCUMENT)
    raise BadInput("document.json cannot be read", reasons=(reason,))


def _only_file(files: Mapping[str, Entry]) -> tuple[DraftFile, ...]:
    """Where document.json names no files: the one file there is the body. Of several nobody guesses."""
    return tuple(DraftFile(name=name, role="body") for name in files) if len(files) == 1 else ()


def _disagreements(named: Sequence[DraftFile], files: Mapping[str, Entry], present: frozenset[str]) -> Iterator[Reason]:
    """Where document.json and the folder do not name the same files."""
    if not named:
        yield explain("offer/which-body" if files else "offer/no-files", at="files")
        return
    for part in named:
        if part.name not in files and part.name not in present:  # present and no file: said already
            yield explain("offer/file-missing", name=part.name, at=part.name)
        if part.media_type is not None and not _is_media_type(part.media_type):
            yield explain("offer/media-type", media_type=part.media_type, at=part.name)
    for name in sorted(files.keys() - {part.name for part in named}):
        yield explain("offer/file-not-listed", name=name, at=name)


def _is_media_type(text: str) -> bool:
    try:
        msgspec.convert(text, MediaType)
    except msgspec.ValidationError:
        return False
    return True

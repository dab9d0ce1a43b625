"""The user's ``document.json``: what an office puts beside the files it wants sent.

A friendly reader: JSON in any order and layout, levels and urgencies by id or in Chinese, short field names; nothing is guessed. All
that is wrong is said at once, each with what mends it. What comes out is a DocumentDraft whose document obeys every rule.

    {"title": "关于……的函", "level": "内部", "to": ["91350100M000100Y43"], "files": [{"name": "函.pdf"}]}
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from gateway.core.document import (
    DIRECTIONS,
    DISCLOSURES,
    MAX_FEW,
    MAX_LISTED,
    MAX_NOTE,
    MAX_TITLE,
    MAX_WORDS,
    RETENTIONS,
    Addressee,
    Document,
    LevelId,
)
from gateway.core.document_fields import FieldReader
from gateway.core.document_rules import SAME_TYPE, lint
from gateway.core.errors import BadInput
from gateway.core.explain import Reason, explain
from gateway.core.levels import UnknownLevel, level_named
from gateway.core.manifest import MAX_PARTS, PartRole
from gateway.core.part_names import part_names_reasons
from gateway.core.urgency import OLD_WORDS, ROUTINE, UnknownUrgency, urgency_named

MAX_DOCUMENT_JSON = 256 * 1024  # metadata and up to a thousand recipients; more is not metadata

Role = Literal["primary", "copy"]

DEFAULT_TYPE = "函"  # between any two agencies, whatever their ranks (条例 art. 8)


@dataclass(frozen=True, slots=True, kw_only=True)
class DraftFile:
    """One file as document.json names it; ``level`` and ``media_type`` None where it says nothing."""

    name: str
    role: PartRole
    level: LevelId | None = None
    media_type: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentDraft:
    """What a document.json says. ``files`` is empty where it names none: the office's folder tells."""

    document: Document
    recipients: tuple[tuple[str, Role], ...]
    files: tuple[DraftFile, ...]
    warnings: tuple[Reason, ...]

    @property
    def level(self) -> str | None:
        """The level's id, or None where none is marked: policy holds such a document."""
        return self.document.level


def read_document_json(data: bytes, at: datetime | None = None) -> DocumentDraft:
    """The draft those bytes describe. Raises BadInput with every reason at once.

    Rules about the moment (no date in the future) are judged where ``at`` is given.
    """
    reader = FieldReader(_parse(data))
    document, warnings = _document(reader)
    files = tuple(sorted(_files(reader), key=lambda file: file.role != "body"))  # the body first, the rest as named
    reader.refuse_unknown()
    errors = list(reader.reasons)
    attachments = sum(file.role == "attachment" for file in files) if files else None
    found, noticed = lint(document, at, attachments=attachments)
    errors += [reason for reason in found if reason.at not in reader.faulty]  # what could not be read is not judged as well
    if errors:
        raise BadInput(f"document.json: {len(errors)} reasons, first: {errors[0].en}", reasons=tuple(errors))
    return DocumentDraft(document=document, recipients=_recipients(document), files=files, warnings=(*warnings, *noticed))


def _recipients(document: Document) -> tuple[tuple[str, Role], ...]:
    primary: list[tuple[str, Role]] = [(addressee.org, "primary") for addressee in document.primary_recipients]
    copies: list[tuple[str, Role]] = [(addressee.org, "copy") for addressee in document.copy_recipients]
    return (*primary, *copies)


# ---- fields ----------------------------------------------------------------------------------------------------------------------


def _document(reader: FieldReader) -> tuple[Document, tuple[Reason, ...]]:
    """The document, short names first, wire names where they differ; and warnings about what was understood but is outdated."""
    level = _level(reader, "level")
    urgency, warnings = _urgency(reader)
    document_type = reader.text("type", MAX_WORDS, "documentType") or DEFAULT_TYPE
    document = Document(
        document_identifier=reader.text("id", MAX_WORDS, "documentIdentifier"),
        document_type=SAME_TYPE.get(document_type, document_type),
        copy_number=_copy_number(reader),
        level=level,
        secrecy_term=reader.text("secrecyTerm", MAX_WORDS),
        secrecy_mark=reader.text("secrecyMark", MAX_WORDS),
        urgency=urgency,
        issuing_authority_mark=reader.text("issuingAuthorityMark", MAX_WORDS),
        document_number=reader.text("number", MAX_WORDS, "documentNumber"),
        signatory=reader.texts("signatory", MAX_FEW, MAX_WORDS),
        title=reader.text("title", MAX_TITLE) or "",
        primary_recipients=_addressees(reader, "to", "primaryRecipients"),
        attachment_note=reader.texts("attachmentNote", MAX_FEW, MAX_NOTE),
        signature=reader.texts("signature", MAX_FEW, MAX_WORDS),
        written_date=reader.day("writtenDate"),
        annotation=reader.text("annotation", MAX_NOTE),
        copy_recipients=_addressees(reader, "copy", "copyRecipients"),
        printing_authority=reader.text("printingAuthority", MAX_WORDS),
        printing_date=reader.day("printingDate"),
        release_level=reader.text("releaseLevel", MAX_WORDS),
        keywords=reader.texts("keywords", MAX_FEW, MAX_WORDS),
        docket_year=reader.number("docketYear", 1900, 9999),
        retention=reader.choice("retention", RETENTIONS),
        direction=reader.choice("direction", DIRECTIONS),
        reply_to=reader.texts("replyTo", MAX_FEW, MAX_WORDS),
        supersedes=reader.texts("supersedes", MAX_FEW, MAX_WORDS),
        deadline=reader.moment("deadline"),
        deadline_basis=reader.text("deadlineBasis", MAX_NOTE),
        print_quota=reader.number("printQuota", 0, 100_000),
        disclosure=reader.choice("disclosure", DISCLOSURES),
        classifier=reader.text("classifier", MAX_WORDS),
        classification_basis=reader.text("classificationBasis", MAX_NOTE),
    )
    return document, warnings


def _level(reader: FieldReader, name: str) -> Any:
    word = reader.text(name, MAX_WORDS)
    if word is None:
        return None
    try:
        return level_named(word).id
    except UnknownLevel:
        reader.complain("document/level", name, level=word)
        return None


def _urgency(reader: FieldReader) -> tuple[Any, tuple[Reason, ...]]:
    word = reader.text("urgency", MAX_WORDS) or ROUTINE.id
    try:
        urgency = urgency_named(word)
    except UnknownUrgency:
        reader.complain("document/urgency", "urgency", urgency=word)
        return ROUTINE.id, ()
    renamed = (explain("document/urgency-renamed", urgency=word, now=urgency.zh, at="urgency"),) if word in OLD_WORDS else ()
    return urgency.id, renamed


def _copy_number(reader: FieldReader) -> str | None:
    """份号 is printed with six digits; offices keep fewer."""
    digits = reader.text("copyNumber", MAX_WORDS)
    if digits is None:
        return None
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 6):
        reader.complain("document/copy-number", "copyNumber", number=digits)
        return None
    return digits.zfill(6)


def _addressees(reader: FieldReader, name: str, wire: str) -> tuple[Addressee, ...]:
    return tuple(Addressee(org=org, name=printed) for org, printed in reader.addressees(name, wire, MAX_LISTED, MAX_WORDS))


def _files(reader: FieldReader) -> Iterator[DraftFile]:
    """The files named, the first being the body unless one says it is."""
    rows = reader.take("files")
    if rows is None:
        return
    if not isinstance(rows, list) or not all(isinstance(row, dict | str) for row in rows):
        reader.complain("document/field-type", "files", field="files", expected="a list of files", expected_zh="文件列表")
        return
    if len(rows) > MAX_PARTS:
        reader.complain("document/list-long", "files", field="files", count=len(rows), most=MAX_PARTS)
        return
    named = [isinstance(row, dict) and row.get("role") == "body" for row in rows]
    files = [_file(reader, row, index, first_is_body=not any(named)) for index, row in enumerate(rows)]
    if named.count(True) > 1:
        reader.complain("document/bodies", "files", count=named.count(True))
    reader.reasons += part_names_reasons([file.name for file in files])
    yield from files


def _file(reader: FieldReader, value: Any, index: int, *, first_is_body: bool) -> DraftFile:
    row = FieldReader(value if isinstance(value, dict) else {"name": value}, where=f"files[{index}].")
    name = row.take("name")
    if not isinstance(name, str):
        row.complain("document/field-type", "name", field=f"files[{index}].name", expected="a file name", expected_zh="文件名")
        name = f"unnamed-{index}"  # stands in until the reasons are raised
    said = row.choice("role", ("body", "attachment"))
    role: PartRole = "body" if said == "body" or (said is None and first_is_body and index == 0) else "attachment"
    file = DraftFile(
        name=unicodedata.normalize("NFC", name), role=role, level=_level(row, "level"), media_type=row.text("mediaType", MAX_WORDS)
    )
    row.refuse_unknown()
    reader.adopt(row, "files")
    return file


# ---- JSON ------------------------------------------------------------------------------------------------------------------------


class _Twice(ValueError):
    """A key stands twice in one object."""


def _parse(data: bytes) -> dict[str, Any]:
    if len(data) > MAX_DOCUMENT_JSON:
        raise _bad(explain("document/too-large", size=len(data), largest=MAX_DOCUMENT_JSON))
    try:
        text = data.decode("utf-8-sig")  # editors on Windows write the mark; it carries nothing
        value = json.loads(text, object_pairs_hook=_object, parse_constant=_no_constant, parse_float=_no_constant)
    except UnicodeDecodeError as error:
        raise _bad(explain("document/not-utf8", offset=error.start)) from error
    except json.JSONDecodeError as error:
        raise _bad(explain("document/not-json", line=error.lineno, column=error.colno, problem=error.msg)) from error
    except _Twice as error:
        raise _bad(explain("document/field-twice", field=error, at=str(error))) from error
    except (ValueError, RecursionError) as error:  # NaN, fractions, integers of thousands of digits, a thousand brackets
        raise _bad(explain("document/not-json", line=1, column=1, problem=error)) from error
    if not isinstance(value, dict):
        raise _bad(explain("document/not-an-object"))
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for key, value in pairs:
        if key in fields:
            raise _Twice(key)
        fields[key] = value
    return fields


def _no_constant(spelling: str) -> Any:
    raise ValueError(f"{spelling[:40]} is no value of a document")


def _bad(reason: Reason) -> BadInput:
    return BadInput(reason.en, reasons=(reason,))

"""The rules of a document 公文, each a small function with an id: what is wrong (errors), and what a careful clerk would notice (warnings).

Only what an exchange truly cannot do without, or what contradicts itself, is an error: format is the business of the people who wrote
the document, and levels are the business of policy, which holds a document without one. DOMAIN facts come from GB/T 9704-2012 and
党政机关公文处理工作条例 (条例).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from difflib import get_close_matches

from crypto.errors import Malformed
from gateway.core.canonical import parse_time
from gateway.core.document import DOCUMENT_TYPES, OTHER_TYPE, Document, is_identifier
from gateway.core.document_number import is_document_number, is_minutes_number, is_order_number, number_year, suggested_number
from gateway.core.explain import Reason, explain
from gateway.core.levels import LEVELS
from gateway.core.organisation import BadOrganisationCode, check_code

SAME_TYPE = {"令": "命令", "命令(令)": "命令", "命令（令）": "命令"}  # how 条例 art. 8 and letterheads spell it
WITHOUT_RECIPIENT = frozenset({"公告", "通告", "决议", "公报"})  # published to everybody
UPWARD = frozenset({"请示", "报告"})
DOWNWARD = frozenset({"批复", "决定", "命令"})
LATEST_DATE = timedelta(days=1)  # a document is dated the day it is signed; a day more covers every time zone
YEAR_WITHOUT_DATE = 2026  # tells the century of a two-digit year when neither date nor moment is known

_TERM = re.compile(r"(?:(?P<years>[1-9][0-9]?)年|[1-9][0-9]?个月|[0-9]{4}年[0-9]{1,2}月[0-9]{1,2}日|长期)")
_MARK = re.compile(r"(?P<level>绝密|机密|秘密)(?:★(?P<term>.+))?")
_PHONE = re.compile(r"[0-9][0-9－—–-]{6,}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What the rules look at. ``attachments`` is None where they are not known yet, ``at`` where no moment is."""

    document: Document
    at: datetime | None
    attachments: int | None


Rule = Callable[[Subject], Iterator[Reason]]


def lint(document: Document, at: datetime | None, *, attachments: int | None = None) -> tuple[tuple[Reason, ...], tuple[Reason, ...]]:
    """Every error and every warning, in the order of the elements."""
    subject = Subject(document=document, at=at, attachments=attachments)
    errors = tuple(reason for rule in ERRORS for reason in rule(subject))
    warnings = tuple(reason for rule in WARNINGS for reason in rule(subject))
    return errors, warnings


# ---- errors ----------------------------------------------------------------------------------------------------------------------


def title_missing(subject: Subject) -> Iterator[Reason]:
    if not subject.document.title.strip():
        yield explain("document/title-missing", at="title")


def identifier(subject: Subject) -> Iterator[Reason]:
    text = subject.document.document_identifier
    if text is not None and not is_identifier(text):
        yield explain("document/identifier", identifier=text, at="id")


def related_identifiers(subject: Subject) -> Iterator[Reason]:
    for field, texts in (("replyTo", subject.document.reply_to), ("supersedes", subject.document.supersedes)):
        for text in texts:
            if not is_identifier(text):
                yield explain("document/identifier", identifier=text, at=field)


def document_type(subject: Subject) -> Iterator[Reason]:
    word = subject.document.document_type
    if word is not None and word not in DOCUMENT_TYPES and word != OTHER_TYPE:
        near = SAME_TYPE.get(word) or next(iter(get_close_matches(word, DOCUMENT_TYPES, 1, 0.4)), OTHER_TYPE)
        yield explain("document/type", type=word, nearest=near, types="、".join(DOCUMENT_TYPES), at="type")


def number(subject: Subject) -> Iterator[Reason]:
    text = subject.document.document_number
    if text is None or is_document_number(text):
        return
    suggestion = suggested_number(text, _year(subject))
    if suggestion:
        yield explain("document/number", number=text, suggestion=suggestion, at="number")
    else:
        yield explain("document/number-form", number=text, at="number")


def _year(subject: Subject) -> int:
    written = _date(subject.document.written_date)
    moment = written or subject.at
    return moment.year if moment else YEAR_WITHOUT_DATE


def secrecy_term(subject: Subject) -> Iterator[Reason]:
    document = subject.document
    if document.secrecy_term is None:
        return
    if _TERM.fullmatch(document.secrecy_term) is None:
        yield explain("document/secrecy-term", term=document.secrecy_term, at="secrecyTerm")
    if not document.state_secret:
        yield explain("document/secrecy-term-without-level", term=document.secrecy_term, at="secrecyTerm")


def secrecy_mark(subject: Subject) -> Iterator[Reason]:
    """The printed mark says what level and term say; a mark that says more than the level would leave as less than it is."""
    document = subject.document
    if document.secrecy_mark is None:
        return
    level = LEVELS[document.level].zh if document.level else ""
    expected = level + (f"★{document.secrecy_term}" if document.secrecy_term else "")
    mark = _MARK.fullmatch(document.secrecy_mark)
    plain = document.secrecy_mark == level and not document.state_secret
    if mark is None and not plain:
        yield explain("document/secrecy-mark", mark=document.secrecy_mark, at="secrecyMark")
    elif document.secrecy_mark != expected:
        yield explain("document/secrecy-mark-differs", mark=document.secrecy_mark, expected=expected or "—", at="secrecyMark")


def signatory(subject: Subject) -> Iterator[Reason]:
    """GB/T 9704-2012 7.2.6: who signed stands on every document that goes up."""
    if subject.document.direction == "上行" and not subject.document.signatory:
        yield explain("document/signatory-missing", at="signatory")


def recipient_codes(subject: Subject) -> Iterator[Reason]:
    document = subject.document
    for field, addressees in (("to", document.primary_recipients), ("copy", document.copy_recipients)):
        for addressee in addressees:
            try:
                check_code(addressee.org)
            except BadOrganisationCode:
                yield explain("document/recipient-code", org=addressee.org, at=field)


def recipients_twice(subject: Subject) -> Iterator[Reason]:
    document, seen = subject.document, set[str]()
    for field, addressees in (("to", document.primary_recipients), ("copy", document.copy_recipients)):
        for addressee in addressees:
            if addressee.org in seen:
                yield explain("document/recipient-twice", org=addressee.org, at=field)
            seen.add(addressee.org)


def recipients_missing(subject: Subject) -> Iterator[Reason]:
    document = subject.document
    if not document.primary_recipients and not document.copy_recipients:
        yield explain("document/recipients-missing", at="to")
    elif not document.primary_recipients and document.document_type not in WITHOUT_RECIPIENT:
        yield explain("document/primary-missing", type=document.document_type or "", at="to")


def one_superior(subject: Subject) -> Iterator[Reason]:
    """条例 art. 15: a request goes to one superior."""
    count = len(subject.document.primary_recipients)
    if subject.document.document_type == "请示" and count > 1:
        yield explain("document/one-superior", count=count, at="to")


def attachment_note(subject: Subject) -> Iterator[Reason]:
    noted = len(subject.document.attachment_note)
    if noted and subject.attachments is not None and noted != subject.attachments:
        yield explain("document/attachment-note", noted=noted, count=subject.attachments, at="attachmentNote")


def dates(subject: Subject) -> Iterator[Reason]:
    document = subject.document
    for field, text in (("writtenDate", document.written_date), ("printingDate", document.printing_date)):
        if text is not None and _date(text) is None:
            yield explain("document/date", date=text, at=field)
    written = _date(document.written_date)
    if written is not None and subject.at is not None and written > (subject.at + LATEST_DATE).date():
        yield explain("document/date-future", date=written.isoformat(), at="writtenDate")


def deadline(subject: Subject) -> Iterator[Reason]:
    text = subject.document.deadline
    if text is not None and _moment(text) is None:
        yield explain("document/deadline", deadline=text, at="deadline")


# ---- warnings --------------------------------------------------------------------------------------------------------------------


def title_type(subject: Subject) -> Iterator[Reason]:
    """GB/T 9704-2012 7.3.1: a title ends in the document's type."""
    word, title = subject.document.document_type, subject.document.title
    names = ("命令", "令") if word == "命令" else (word,)
    if word is not None and word != OTHER_TYPE and not any(title.rstrip("》）) ").endswith(name or "") for name in names):
        yield explain("document/title-type", type=word, at="title")


def number_fits(subject: Subject) -> Iterator[Reason]:
    text, word = subject.document.document_number, subject.document.document_type
    if text is None:
        return
    if (is_order_number(text) and word not in {"命令", "公告", "公报"}) or (is_minutes_number(text) and word != "纪要"):
        yield explain("document/number-fits", number=text, type=word or "", at="number")
    year, written = number_year(text), _date(subject.document.written_date)
    if year is not None and written is not None and year != written.year:
        yield explain("document/number-year", number=text, year=written.year, at="number")


def state_secret_elements(subject: Subject) -> Iterator[Reason]:
    """Elements only documents with state secrets must bear (GB/T 9704-2012 7.2.1, 保密法)."""
    document = subject.document
    if not document.state_secret:
        return
    for field, value in (("copyNumber", document.copy_number), ("classifier", document.classifier), ("secrecyTerm", document.secrecy_term)):
        if value is None:
            yield explain("document/secret-element-missing", field=field, at=field)
    term = _TERM.fullmatch(document.secrecy_term or "")
    longest = LEVELS[document.level].longest_term if document.level else 0
    if term is not None and term["years"] and int(term["years"]) > longest:
        yield explain("document/secrecy-term-long", term=document.secrecy_term, longest=longest, at="secrecyTerm")


def upward(subject: Subject) -> Iterator[Reason]:
    document = subject.document
    if document.document_type in UPWARD and document.direction is None and not document.signatory:
        yield explain("document/signatory-usual", type=document.document_type, at="signatory")
    if document.document_type == "请示" and not _has_contact(document.annotation):
        yield explain("document/contact-missing", at="annotation")


def _has_contact(annotation: str | None) -> bool:
    """A name and a telephone number, as GB/T 9704-2012 7.3.8 asks of a request."""
    if annotation is None:
        return False
    phone = _PHONE.search(annotation)
    return phone is not None and any("\u4e00" <= character <= "\u9fa5" for character in annotation.replace(phone[0], ""))


def direction_fits(subject: Subject) -> Iterator[Reason]:
    document = subject.document
    usual = "上行" if document.document_type in UPWARD else "下行" if document.document_type in DOWNWARD else None
    if document.direction is not None and usual is not None and document.direction != usual:
        yield explain("document/direction", type=document.document_type, direction=document.direction, usual=usual, at="direction")


def printing_date(subject: Subject) -> Iterator[Reason]:
    written, printed = _date(subject.document.written_date), _date(subject.document.printing_date)
    if written is not None and printed is not None and printed < written:
        yield explain("document/printed-before", printed=printed, written=written, at="printingDate")


def deadline_sense(subject: Subject) -> Iterator[Reason]:
    document = subject.document
    moment = _moment(document.deadline) if document.deadline else None
    if moment is not None and subject.at is not None and moment <= subject.at:
        yield explain("document/deadline-past", deadline=document.deadline, at="deadline")
    if document.deadline is None and document.deadline_basis is not None:
        yield explain("document/basis-without-deadline", at="deadlineBasis")


def _date(text: str | None) -> date | None:
    try:
        return date.fromisoformat(text) if text else None
    except ValueError:
        return None


def _moment(text: str) -> datetime | None:
    try:
        return parse_time(text)
    except Malformed:
        return None


ERRORS: tuple[Rule, ...] = (
    identifier,
    document_type,
    number,
    secrecy_term,
    secrecy_mark,
    signatory,
    title_missing,
    recipient_codes,
    recipients_twice,
    recipients_missing,
    one_superior,
    attachment_note,
    dates,
    related_identifiers,
    deadline,
)
WARNINGS: tuple[Rule, ...] = (
    title_type,
    number_fits,
    state_secret_elements,
    upward,
    direction_fits,
    printing_date,
    deadline_sense,
)

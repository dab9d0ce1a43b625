"""Taking fields out of a person's JSON object: every complaint is collected, none stops the reading.

A field may be spelled by its short name or by the name it has on the wire; null and "" are as good as leaving it out. Texts are
trimmed and brought into Unicode normal form C.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from difflib import get_close_matches
from typing import Any

from crypto.errors import Malformed
from gateway.core.canonical import ORG_PATTERN, check_text, format_time
from gateway.core.explain import Reason, explain

_PRINTED_DATE = re.compile(r"([0-9]{4})年([0-9]{1,2})月([0-9]{1,2})日")
_ORG = re.compile(ORG_PATTERN)
EARLIEST_YEAR = 1900


@dataclass(slots=True)
class FieldReader:
    """One object of the file, being emptied field by field."""

    values: dict[str, Any]
    where: str = ""
    reasons: list[Reason] = field(default_factory=list)
    faulty: set[str] = field(default_factory=set)  # short names of fields that could not be read
    known: set[str] = field(default_factory=set)

    def take(self, name: str, wire: str = "") -> Any:
        """The raw value of a field, or None."""
        spellings = [spelling for spelling in (name, wire) if spelling]
        self.known.update(spellings)
        present = [spelling for spelling in spellings if self.values.get(spelling) not in (None, "", [])]
        if len(present) == 2:
            self.complain("document/field-twice", name, field=f"{name}, {wire}")
        return self.values[present[0]] if present else None

    def complain(self, code: str, name: str, **facts: object) -> None:
        """Note a reason against a field."""
        self.faulty.add(name)
        self.reasons.append(explain(code, rule=code, at=self.where + name, **facts))

    def _expected(self, name: str, zh: str, en: str) -> None:
        self.complain("document/field-type", name, field=self.where + name, expected=en, expected_zh=zh)

    def text(self, name: str, most: int, wire: str = "") -> str | None:
        """A text of one line, at most so many characters."""
        value = self.take(name, wire)
        if value is None:
            return None
        if not isinstance(value, str):
            self._expected(name, "文字", "a text")
            return None
        return self._clean(name, value, most)

    def _clean(self, name: str, value: str, most: int) -> str | None:
        text = unicodedata.normalize("NFC", value).strip()
        if len(text) > most:
            self.complain("document/field-long", name, field=self.where + name, length=len(text), most=most)
        elif not _is_plain(text):
            self.complain("document/characters", name, field=self.where + name)
        else:
            return text or None
        return None

    def texts(self, name: str, count: int, most: int) -> tuple[str, ...]:
        """A list of texts; one text alone is a list of one."""
        value = self.take(name)
        values = [value] if isinstance(value, str) else value
        if value is None:
            return ()
        if not isinstance(values, list) or not all(isinstance(item, str) for item in values):
            self._expected(name, "文字或文字列表", "a text or a list of texts")
            return ()
        if len(values) > count:
            self.complain("document/list-long", name, field=self.where + name, count=len(values), most=count)
            return ()
        return tuple(text for item in values if (text := self._clean(name, item, most)))

    def choice(self, name: str, choices: tuple[str, ...]) -> Any:
        """One of a closed list of words."""
        text = self.text(name, 40)
        if text is not None and text not in choices:
            self.complain("document/choice", name, field=name, value=text, choices="、".join(choices))
            return None
        return text

    def number(self, name: str, least: int, most: int) -> int | None:
        """An integer between two bounds."""
        value = self.take(name)
        if value is None:
            return None
        if type(value) is not int or not least <= value <= most:
            self._expected(name, f"{least} 至 {most} 之间的整数", f"a whole number from {least} to {most}")
            return None
        return value

    def day(self, name: str) -> str | None:
        """A date, 2026-03-01 or 2026年3月1日, as the former."""
        text = self.text(name, 40)
        if text is None:
            return None
        printed = _PRINTED_DATE.fullmatch(text)
        try:
            day = date(int(printed[1]), int(printed[2]), int(printed[3])) if printed else date.fromisoformat(text)
        except ValueError:
            self.complain("document/date", name, date=text)
            return None
        if day.year < EARLIEST_YEAR or (not printed and text != day.isoformat()):
            self.complain("document/date", name, date=text)
            return None
        return day.isoformat()

    def moment(self, name: str) -> str | None:
        """A moment with its zone, brought to UTC."""
        text = self.text(name, 40)
        if text is None:
            return None
        try:
            moment = datetime.fromisoformat(text)
            if moment.tzinfo is not None and moment.year >= EARLIEST_YEAR:
                return format_time(moment.astimezone(UTC))
        except (ValueError, OverflowError):
            pass
        self.complain("document/deadline", name, deadline=text)
        return None

    def addressees(self, name: str, wire: str, count: int, most: int) -> tuple[tuple[str, str | None], ...]:
        """Organisations: codes, or objects of ``org`` and the printed ``name``."""
        value = self.take(name, wire)
        values = [value] if isinstance(value, str | dict) else value
        if value is None:
            return ()
        if not isinstance(values, list):
            self._expected(name, "单位代码列表", "a list of organisation codes")
            return ()
        if len(values) > count:
            self.complain("document/list-long", name, field=name, count=len(values), most=count)
            return ()
        found = (self._addressee(name, index, item, most) for index, item in enumerate(values))
        return tuple(addressee for addressee in found if addressee is not None)

    def _addressee(self, name: str, index: int, item: Any, most: int) -> tuple[str, str | None] | None:
        row = FieldReader(item if isinstance(item, dict) else {"org": item}, where=f"{name}[{index}].")
        org, printed = row.text("org", 40), row.text("name", most)
        row.refuse_unknown()
        if org is None and "org" not in row.faulty:
            row.complain("document/recipient-code", "org", org="")
        elif org is not None and not _ORG.match(org):
            row.complain("document/recipient-code", "org", org=org)
            org = None
        self.adopt(row, name)
        return None if org is None else (org, printed)

    def adopt(self, row: FieldReader, name: str) -> None:
        """Take over what was wrong inside a row of this object."""
        self.reasons += row.reasons
        if row.reasons:
            self.faulty.add(name)

    def refuse_unknown(self) -> None:
        """Complain about every field nobody asked for, naming the nearest that exists."""
        for name in self.values:
            if name not in self.known:
                near = get_close_matches(name, sorted(self.known), 1)
                if near:
                    self.complain("document/unknown-field", name, field=self.where + name, nearest=near[0])
                else:
                    self.complain("document/unknown-field-far", name, field=self.where + name, known=", ".join(sorted(self.known)))


def _is_plain(text: str) -> bool:
    try:
        text.encode("utf-8")
        check_text(text)
    except (Malformed, UnicodeEncodeError):
        return False
    return True

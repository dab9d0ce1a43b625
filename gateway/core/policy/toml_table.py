"""Reading a policy file's tables strictly: every key is asked for once, what was never asked for is refused, and each complaint names
file, line, key and what would mend it.

``tomllib`` keeps no positions; the line is found by looking for the key's spelling under its table's header, and is a best effort.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, NoReturn, TypeVar

from gateway.core.canonical import MAX_INTEGER
from gateway.core.errors import BadConfiguration
from gateway.core.levels import LEVELS, Level, UnknownLevel, level_named
from gateway.core.toml_text import NotToml, read_toml

MAX_POLICY_BYTES = 1024 * 1024  # a thousand routes fit; what is larger was made by mistake or malice
MAX_LISTED = 1_000  # rows and patterns are compared with each other at load
MAX_TEXT = 200  # characters of a label or a pattern

_SIZE = re.compile(r"([1-9]\d{0,14})(B|KiB|MiB|GiB)", re.ASCII)
_SIZE_UNITS = {"B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
_DURATION = re.compile(r"([1-9]\d{0,8})(s|min|h|d|y)", re.ASCII)
_DURATION_UNITS = {"s": 1, "min": 60, "h": 3600, "d": 86_400, "y": 365 * 86_400}
LONGEST_DURATION = timedelta(days=100 * 365)  # retention of a century is a policy; more is a slip
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?", re.ASCII)

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A file being read: its name for complaints, and its text for finding lines."""

    name: str
    text: str

    def complain(self, path: str, problem: str, fix: str) -> NoReturn:
        """Raises BadConfiguration about the key at ``path``."""
        line = self._line(path)
        where = f"{self.name}:{line}" if line else self.name
        raise BadConfiguration(f"{where}: {path}: {problem}; {fix}", source=self.name, key=path, line=line, fix=fix)

    def _line(self, path: str) -> int | None:
        """The line of a key such as ``levels.public.suites`` or ``routes[2].from``, or of its table, or None."""
        *tables, key = path.split(".")
        for wanted in ([*tables], tables[:-1]) if tables else ([],):
            line = self._line_under(wanted, key if wanted == tables else tables[-1] if tables else key)
            if line is not None:
                return line
        return self._line_under([], key) or self._header(path)

    def _line_under(self, tables: list[str], key: str) -> int | None:
        start = self._header(".".join(tables)) if tables else 0
        if start is None:
            return None
        spelling = re.compile(rf"\s*[\"']?{re.escape(key)}[\"']?\s*=")
        for number, line in enumerate(self.text.splitlines()[start:], start + 1):
            if line.lstrip().startswith("["):
                break
            if spelling.match(line):
                return number
        return start or None

    def _header(self, path: str) -> int | None:
        """The line of a table's header, ``[a.b]`` or the n-th ``[[a]]``."""
        match = re.fullmatch(r"(.+)\[(\d+)\]", path)
        name, nth = (match[1], int(match[2])) if match else (path, 0)
        header = re.compile(rf"\s*\[\[?\s*{re.escape(name)}\s*\]\]?\s*(#.*)?")
        found = [number for number, line in enumerate(self.text.splitlines(), 1) if header.fullmatch(line)]
        return found[nth] if nth < len(found) else None


@dataclass(slots=True, kw_only=True)
class Table:
    """One table of the file, being emptied key by key."""

    source: Source
    path: str
    values: dict[str, Any]
    asked: set[str] = field(default_factory=set)

    def where(self, key: str) -> str:
        """The full name of a key of this table."""
        return f"{self.path}.{key}" if self.path else key

    def complain(self, key: str, problem: str, fix: str) -> NoReturn:
        """Raises BadConfiguration about one key of this table."""
        self.source.complain(self.where(key), problem, fix)

    def take(self, key: str, kind: type[_T], what: str) -> _T:
        """The value of a mandatory key. Raises BadConfiguration when it is missing or of another kind."""
        self.asked.add(key)
        if key not in self.values:
            self.complain(key, "is missing", f"add {key} = {what}")
        value = self.values[key]
        if type(value) is not kind:  # not isinstance: a TOML boolean is no integer
            self.complain(key, f"is not {what}", f"write {key} = {what}")
        return value

    def text(self, key: str, what: str = '"some text"') -> str:
        """A non-empty text of one line."""
        value = self.take(key, str, what)
        if not value or len(value) > MAX_TEXT or not value.isprintable():
            self.complain(
                key, "is empty, too long or holds characters that cannot be printed", f"write at most {MAX_TEXT} characters on one line"
            )
        return value

    def name(self, key: str) -> str:
        """An id: lower-case letters, digits and hyphens."""
        return check_name(self.source, self.where(key), self.text(key, '"an-id"'))

    def flag(self, key: str) -> bool:
        """A yes or no."""
        return self.take(key, bool, "true or false")

    def number(self, key: str, least: int, most: int) -> int:
        """An integer between two bounds."""
        value = self.take(key, int, f"a number from {least} to {most}")
        if not least <= value <= most:
            shown = value if abs(value) <= MAX_INTEGER else "this"  # Python writes no integer of thousands of digits
            self.complain(key, f"{shown} is out of bounds", f"write a number from {least} to {most}")
        return value

    def choice(self, key: str, choices: tuple[str, ...]) -> str:
        """One word of a closed list."""
        spelled = " or ".join(f'"{choice}"' for choice in choices)
        value = self.take(key, str, spelled)
        if value not in choices:
            near = difflib.get_close_matches(value, choices, 1)
            self.complain(key, f"has no value {value!r}", f"did you mean {near[0]!r}?" if near else f"write {spelled}")
        return value

    def size(self, key: str, most: int) -> int:
        """A number of bytes with its unit."""
        spelling = self.take(key, str, '"200MiB"')
        match = _SIZE.fullmatch(spelling)
        if match is None:
            self.complain(key, f"{spelling!r} is no size", 'write a whole number and B, KiB, MiB or GiB, such as "200MiB"')
        size = int(match[1]) * _SIZE_UNITS[match[2]]
        if size > most:
            self.complain(key, f"{spelling} is more than can be carried", f'write at most "{most // 1024**3}GiB"')
        return size

    def duration(self, key: str) -> timedelta:
        """A length of time with its unit."""
        spelling = self.take(key, str, '"30d"')
        match = _DURATION.fullmatch(spelling)
        if match is None:
            self.complain(key, f"{spelling!r} is no length of time", 'write a whole number and s, min, h, d or y, such as "30d"')
        seconds = int(match[1]) * _DURATION_UNITS[match[2]]
        if seconds > LONGEST_DURATION.total_seconds():
            self.complain(key, f"{spelling} is longer than a century", 'write at most "100y"')
        return timedelta(seconds=seconds)

    def level(self, key: str) -> Level:
        """A level by its id or Chinese name."""
        return self.level_of(key, self.take(key, str, '"internal"'))

    def level_of(self, key: str, word: str) -> Level:
        """The level a word names, complaining about ``key``."""
        try:
            return level_named(word)
        except UnknownLevel:
            self.complain(key, f"there is no level {word!r}", f"write one of {', '.join(LEVELS)}")

    def texts(self, key: str, what: str, *, least: int = 1) -> tuple[str, ...]:
        """A list of different texts."""
        values = self.take(key, list, what)
        if not least <= len(values) <= MAX_LISTED or any(type(value) is not str or not value or len(value) > MAX_TEXT for value in values):
            self.complain(key, f"is not a list of texts like {what}", f"write {key} = {what}")
        if len(set(values)) != len(values):
            self.complain(key, "names something twice", "name each once")
        return tuple(values)

    def texts_or_any(self, key: str, what: str) -> tuple[str, ...] | None:
        """A list of different texts, or None for the word ``"any"``."""
        if self.values.get(key) == "any":
            self.asked.add(key)
            return None
        return self.texts(key, f'{what} or "any"')

    def table(self, key: str) -> Table:
        """A table inside this one."""
        return Table(source=self.source, path=self.where(key), values=self.take(key, dict, f"a table [{self.where(key)}]"))

    def has(self, key: str) -> bool:
        """Whether an optional key is there; asked for either way."""
        self.asked.add(key)
        return key in self.values

    def tables(self, key: str) -> tuple[Table, ...]:
        """An array of tables, or nothing where the file has none."""
        if key not in self.values:
            self.asked.add(key)
            return ()
        rows = self.take(key, list, f"tables [[{self.where(key)}]]")
        if len(rows) > MAX_LISTED or any(type(row) is not dict for row in rows):
            self.complain(key, f"is not an array of at most {MAX_LISTED} tables", f"write [[{self.where(key)}]] before each")
        return tuple(Table(source=self.source, path=f"{self.where(key)}[{index}]", values=row) for index, row in enumerate(rows))

    def read(self, reader: Callable[[Table], _T]) -> _T:
        """What ``reader`` makes of this table, having asked for every key in it. Raises BadConfiguration for a key left over."""
        result = reader(self)
        for key in self.values.keys() - self.asked:
            near = difflib.get_close_matches(key, self.asked, 1)
            fix = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(sorted(self.asked))}"
            self.complain(key, "is no key of this table", fix)
        return result


def check_name(source: Source, path: str, name: str) -> str:
    """The name itself when it may be an id. Raises BadConfiguration."""
    if not _NAME.fullmatch(name):
        source.complain(path, f"{name!r} is no id", "write lower-case letters, digits and hyphens, at most 64")
    return name


def parse(data: bytes, name: str) -> Table:
    """The whole file as a table. Raises BadConfiguration for what is no TOML."""
    if len(data) > MAX_POLICY_BYTES:
        raise BadConfiguration(f"{name}: larger than {MAX_POLICY_BYTES} bytes", source=name, key="", line=None, fix="split the routes")
    try:
        text, values = read_toml(data)
    except NotToml as error:
        raise BadConfiguration(f"{name}: not TOML: {error}", source=name, key="", line=None, fix="correct the spelling") from error
    return Table(source=Source(name=name, text=text), path="", values=values)

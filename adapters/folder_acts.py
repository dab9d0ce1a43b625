"""What people answer: the files ``SIGNED`` and ``RETURNED`` beside a delivered document.

Only documents that await an answer are looked at, two questions to the file system each, so the cost of a look follows the open
documents and not the inbox. Which ones are open is learnt from the disk now and then, and from every delivery.
"""

from __future__ import annotations

import os
import pwd
import re
import time
import unicodedata
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from adapters.folder_files import FileTooLarge, folder_at, kind_of, read_small, saving
from gateway.core.errors import PartChanged
from gateway.core.explain import Reason, explain
from gateway.flow.ports import Act

ActKind = Literal["sign-for", "return"]
MARKERS: Final[dict[str, ActKind]] = {"SIGNED": "sign-for", "RETURNED": "return"}
MARKER_OF: Final = {kind: marker for marker, kind in MARKERS.items()}
DONE: Final = ".done"

MAX_REASON: Final = 4096  # bytes: a thousand Chinese characters and a little
RELEARN_SECONDS: Final = 600.0  # after this, documents moved away or back, and markers put beside an answered one, are noticed
EMPTY_GRACE_SECONDS: Final = 10.0  # an empty RETURNED may still be being written

_EXCHANGE: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}(-[0-9A-Z]{18})?")  # the sender's code where two used one id
_CONTROLS: Final = dict.fromkeys((*range(0x20), *range(0x7F, 0xA0), 0xFEFF), " ")


@dataclass(frozen=True, slots=True, kw_only=True)
class BadAnswer:
    """A marker that is no act; the person is told why."""

    exchange: str
    marker: str
    reason: Reason


def is_exchange(name: str) -> bool:
    """Whether a name in the inbox is one of ours."""
    return _EXCHANGE.fullmatch(name) is not None


class Answers:
    """Looks for markers below ``inbox``. Blocking."""

    def __init__(self, inbox: Path) -> None:
        self._inbox = inbox
        self._open: set[str] = set()
        self._learnt: float | None = None

    def await_answer(self, exchange: str) -> None:
        """A document was delivered."""
        self._open.add(exchange)

    def answered(self, exchange: str) -> None:
        """An answer took effect; nothing more is awaited."""
        self._open.discard(exchange)

    def look(self) -> list[Act | BadAnswer]:
        """Every answer that lies there now. Raises OfficeUnavailable."""
        with saving("the inbox cannot be read"), folder_at(self._inbox) as inbox:
            if self._learnt is None or time.monotonic() - self._learnt >= RELEARN_SECONDS:
                self._open = set(_unanswered(inbox))
                self._learnt = time.monotonic()
            return [answer for exchange in sorted(self._open) if (answer := _answer(inbox, exchange)) is not None]


def _unanswered(inbox: int) -> Iterator[str]:
    with os.scandir(inbox) as listing:
        for entry in listing:
            if is_exchange(entry.name) and entry.is_dir(follow_symlinks=False):
                marked = any(_there(inbox, entry.name, marker) for marker in MARKERS)
                if marked or not any(_there(inbox, entry.name, marker + DONE) for marker in MARKERS):
                    yield entry.name


def _there(inbox: int, exchange: str, name: str) -> bool:
    return os.access(f"{exchange}/{name}", os.F_OK, dir_fd=inbox, follow_symlinks=False)


def _answer(inbox: int, exchange: str) -> Act | BadAnswer | None:
    """The answer beside one document; of two, the one given first. A second is offered once the first is dealt with."""
    given = []
    for marker in MARKERS:
        if _there(inbox, exchange, marker):
            with suppress(FileNotFoundError):
                given.append((os.stat(f"{exchange}/{marker}", dir_fd=inbox, follow_symlinks=False).st_mtime_ns, marker))
    for _, marker in sorted(given):
        with suppress(FileNotFoundError):
            return _read(inbox, exchange, marker)
    return None


def _read(inbox: int, exchange: str, marker: str) -> Act | BadAnswer | None:
    """Raises FileNotFoundError when it was taken away meanwhile."""
    try:
        with folder_at(exchange, below=inbox) as folder:
            status = os.stat(marker, dir_fd=folder, follow_symlinks=False)
            if kind_of(status.st_mode) != "file":
                return _unreadable(exchange, marker, kind_of(status.st_mode))
            content = read_small(marker, MAX_REASON, below=folder)
    except FileNotFoundError:
        raise
    except FileTooLarge:
        return _unreadable(exchange, marker, f"more than {MAX_REASON} bytes")
    except PartChanged:
        return None  # being written: the next look sees it whole
    except OSError as error:
        return _unreadable(exchange, marker, error.strerror or "unreadable")
    text = _text(content)
    if text is None:
        return _unreadable(exchange, marker, "not text")
    if marker == "RETURNED" and not text:
        young = abs(time.time() - status.st_mtime) < EMPTY_GRACE_SECONDS
        return None if young else BadAnswer(exchange=exchange, marker=marker, reason=explain("act/no-reason", at=marker))
    reason = text if marker == "RETURNED" else ""
    return Act(id=f"{exchange}/{marker}", exchange=exchange, kind=MARKERS[marker], actor=_account(status.st_uid), reason=reason)


def _unreadable(exchange: str, marker: str, why: str) -> BadAnswer:
    return BadAnswer(exchange=exchange, marker=marker, reason=explain("act/unreadable", name=marker, why=why, most=MAX_REASON, at=marker))


def _text(content: bytes) -> str | None:
    """The words of a marker on one line; editors on Chinese desktops write UTF-8 with a mark, without one, or GB 18030."""
    for encoding in ("utf-8-sig", "gb18030"):
        with suppress(UnicodeDecodeError):
            return " ".join(unicodedata.normalize("NFC", content.decode(encoding)).translate(_CONTROLS).split())
    return None


def _account(uid: int) -> str:
    """Who put it there, as the file system knows."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid-{uid}"

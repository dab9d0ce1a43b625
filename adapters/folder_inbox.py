"""The incoming side of the folder office: ``inbox/<exchange>/`` appears complete, and people answer by a file in it.

A delivery grows in a hidden folder of the inbox itself (same file system), is synced, and gets its name by one rename. A crash before
the rename leaves a hidden folder that the next start sweeps away; after it the document is there, and a repeat changes nothing.

document.json there (``yizhan-inbox/1``): ``exchange, sender{org, name}, level, urgency, received, document{18 elements and extensions},
files[{name, file, role, level, media_type, size, digest}]``; ``file`` is the name on disk.

A marker that was answered for is renamed: ``.done`` appended when the act took effect, ``.refused`` when it could not (``status.json``
says why, and the marker may be put there again). A hostile sender must not answer for our people: a part whose name is a marker's or
one of ours gets ``_`` before it on disk.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any, Final

import msgspec

from adapters.folder_acts import DONE, MARKER_OF, Answers, BadAnswer, is_exchange
from adapters.folder_files import exists, folder_at, make_folder, move, remove_tree, saving, sync, sync_and_close, write_new
from adapters.folder_status import STATUS, Striped, delivered_status, note_act, pretty, show
from gateway.core.canonical import format_time
from gateway.core.explain import Reason
from gateway.core.manifest import PartEntry
from gateway.flow.ports import Act, Delivery, Status

DOCUMENT: Final = "document.json"
REFUSED: Final = ".refused"

_RESERVED: Final = re.compile(r"(document\.json|status\.json|reasons\.json|(signed|returned)(\..*)?|\..*)", re.IGNORECASE | re.DOTALL)
MAX_FILE_NAME: Final = 255  # bytes, of every file system we may meet; a part's name may fill it
_MAX_ENDING: Final = 16
_GROWING: Final = re.compile(r"\.[0-9a-f-]{36}(-[0-9A-Z]{18})?\.[0-9]+-[0-9]+\.part")
_OPEN_FILES: Final = 32  # written and not yet synced; synced together they cost little more than one


class Inbox:
    """``inbox`` below one root. Blocking; safe to call from several threads."""

    def __init__(self, root: Path) -> None:
        self._inbox = root / "inbox"
        self._answers = Answers(self._inbox)
        self._locks = Striped()
        self._serial = count()

    def sweep(self) -> None:
        """Remove what deliveries cut short have left. Only while none is under way."""
        with folder_at(self._inbox) as inbox, os.scandir(inbox) as listing:
            for name in [entry.name for entry in listing if _GROWING.fullmatch(entry.name)]:
                remove_tree(name, below=inbox)

    # ---- delivering

    def deliver(self, delivery: Delivery) -> None:
        """The document appears complete under its exchange id, or not at all; durable on return. Raises OfficeUnavailable."""
        exchange = delivery.exchange
        if not is_exchange(exchange):
            raise AssertionError(f"internal: {exchange!r} is no exchange id")
        with saving(f"inbox/{exchange} cannot be written"), folder_at(self._inbox) as inbox:
            if not _delivered(inbox, exchange):
                self._grow(inbox, delivery)
            sync(inbox)  # for a repeat too: the rename before may not have been synced
        self._answers.await_answer(exchange)

    def _grow(self, inbox: int, delivery: Delivery) -> None:
        growing = f".{delivery.exchange}.{os.getpid()}-{next(self._serial)}.part"
        try:
            make_folder(growing, below=inbox)
            with folder_at(growing, below=inbox) as folder:
                _fill(folder, delivery)
            move(growing, delivery.exchange, below=inbox, into=inbox)
        except BaseException as error:
            remove_tree(growing, below=inbox)
            twin = isinstance(error, OSError) and error.errno in {errno.EEXIST, errno.ENOTEMPTY} and _delivered(inbox, delivery.exchange)
            if not twin:  # a delivery given up but still running may have been first
                raise

    # ---- showing and answering

    def report(self, status: Status) -> None:
        """Show where a delivered exchange stands; what is not there (any more) shows nothing. Raises OfficeUnavailable."""
        self._beside(status.exchange, lambda folder: show(status, folder))

    def answers(self) -> list[Act]:
        """The acts that lie there; markers that are none are refused on the way. Raises OfficeUnavailable."""
        acts = []
        for answer in self._answers.look():
            if isinstance(answer, BadAnswer):
                self._close(answer.exchange, answer.marker, (answer.reason,))
            else:
                acts.append(answer)
        return acts

    def acknowledge(self, act: Act, reasons: Sequence[Reason]) -> None:
        """Write the outcome into the status, then rename the marker. A crash in between offers the act again. Raises OfficeUnavailable."""
        self._close(act.exchange, MARKER_OF[act.kind], reasons)
        if not reasons:
            self._answers.answered(act.exchange)

    def _close(self, exchange: str, marker: str, reasons: Sequence[Reason]) -> None:
        def close(folder: int) -> None:
            if not exists(marker, below=folder):
                return  # closed before
            note_act(folder, marker, "refused" if reasons else "done", reasons)
            move(marker, marker + (REFUSED if reasons else DONE), below=folder, into=folder)
            sync(folder)

        self._beside(exchange, close)

    def _beside(self, exchange: str, work: Callable[[int], None]) -> None:
        with self._locks.of(exchange), saving(f"inbox/{exchange} cannot be written"):
            try:
                with folder_at(self._inbox / exchange) as folder:
                    work(folder)
            except FileNotFoundError:
                if (self._inbox / exchange).is_dir():
                    raise


def _delivered(inbox: int, exchange: str) -> bool:
    """Whether the document is there: a folder of that name that holds anything."""
    with suppress(FileNotFoundError), folder_at(exchange, below=inbox) as folder, os.scandir(folder) as listing:
        return any(True for _ in listing)
    return False


def _fill(folder: int, delivery: Delivery) -> None:
    """Write everything and sync it, files before the folder. Raises OSError, and whatever the parts raise."""
    written: list[int] = []
    try:
        files: dict[str, PartEntry] = {}
        for part in delivery.parts():
            file = _file_name(part.entry.name, files)
            files[file] = part.entry
            written.append(write_new(file, part.chunks, below=folder))
            if len(written) >= _OPEN_FILES:
                _sync_all(written)
        ours = ((DOCUMENT, pretty(_document_fields(delivery, files))), (STATUS, delivered_status(delivery)))
        for name, data in ours:
            written.append(write_new(name, iter((data,)), below=folder))
        _sync_all(written)
        sync(folder)
    finally:
        for descriptor in written:
            os.close(descriptor)


def _sync_all(written: list[int]) -> None:
    while written:
        sync_and_close(written.pop())


def _file_name(name: str, taken: dict[str, PartEntry]) -> str:
    """The part's name on disk: its own, unless that would pass for something of ours or is taken."""
    names = {each.casefold() for each in taken}
    file, marks = name, ""
    while _RESERVED.fullmatch(file) or file.casefold() in names:
        marks += "_"
        file = marks + _cut(name, MAX_FILE_NAME - len(marks))
    return file


def _cut(name: str, most: int) -> str:
    """A name within so many bytes; what is cut is the end of its stem, so that it still opens with the right program."""
    raw = name.encode()
    if len(raw) <= most:
        return name
    stem, dot, ending = name.rpartition(".")
    tail = (dot + ending).encode() if stem and len(ending.encode()) <= _MAX_ENDING else b""
    return (raw[: len(raw) - len(tail)][: most - len(tail)]).decode(errors="ignore") + tail.decode()


def _document_fields(delivery: Delivery, files: dict[str, PartEntry]) -> dict[str, Any]:
    return {
        "v": "yizhan-inbox/1",
        "exchange": delivery.exchange,
        "sender": {"org": delivery.sender_org, "name": delivery.sender_name},
        "level": delivery.level,
        "urgency": delivery.urgency,
        "received": format_time(delivery.received),
        "document": msgspec.to_builtins(delivery.document),
        "files": [
            {
                "name": entry.name,
                "file": file,
                "role": entry.role,
                "level": entry.level,
                "media_type": entry.media_type,
                "size": entry.size,
                "digest": entry.digest,
            }
            for file, entry in files.items()
        ],
    }

"""The outgoing side of the folder office: ``outbox/<name>/`` is offered, then becomes ``sent/<exchange>/`` or ``refused/<name>/``.

What was seen of a folder is remembered until it leaves (a *lease*). A folder that is no longer what was seen is somebody's new document
under an old name: settling or refusing the old one leaves it alone, and the next walk offers it.

A crash between any two lines of ``settle`` or ``refuse`` leaves the folder where it was, with one file of ours more that is never
offered, or where it goes, complete; the same call again finishes.
"""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any, Final

from adapters.folder_files import Entry, entries, exists, folder_at, make_folder, move, put, remove_file, remove_tree, saving, sync
from adapters.folder_reading import DOCUMENT, MAX_ENTRIES, READY, fingerprint, read_offer
from adapters.folder_status import REASONS, STATUS, Striped, first_status, pretty, read_status, reasons_json, show
from adapters.repeats import same_offer, sent_before
from gateway.core.errors import OfferGone
from gateway.core.explain import Reason, explain
from gateway.flow.ports import BadOffer, Offer, Status

MAX_TRAY: Final = 10_000  # one walk looks at no more; the rest comes when these have left

_RAW_NAME: Final = "bytes:"  # a folder name that is no text is known by its bytes in hexadecimal
_NOT_OURS_TO_READ: Final = frozenset({errno.ELOOP, errno.ENOTDIR, errno.EACCES, errno.EPERM})
_TAKEN_NAME: Final = frozenset({errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR, errno.EISDIR})

log = logging.getLogger("yizhan.office.folder")


@dataclass(frozen=True, slots=True)
class _Lease:
    """What a folder was when it was last looked at, and what came of it."""

    inode: int
    content: tuple[Entry, ...]
    offer: Offer | BadOffer


class Tray:
    """``outbox``, ``sent`` and ``refused`` below one root. Blocking; safe to call from several threads."""

    def __init__(self, root: Path, now: Callable[[], datetime], alias: Callable[[str], str]) -> None:
        self._outbox = root / "outbox"
        self._sent = root / "sent"
        self._refused = root / "refused"
        self._now = now
        self._alias = alias
        self._locks = Striped()
        self._leases: dict[str, _Lease] = {}

    # ---- offering

    def ready(self) -> list[str]:
        """Names that wait in the outbox, the one waiting longest first. Raises OfficeUnavailable."""
        with saving("the outbox cannot be read"), folder_at(self._outbox) as tray:
            waiting = [(since, entry.name) for entry in entries(tray, MAX_TRAY) if (since := _waiting_since(tray, entry)) is not None]
        names = [name for _, name in sorted(waiting)]
        for gone in self._leases.keys() - set(names):
            self._leases.pop(gone, None)
        return names

    def look(self, names: Sequence[str]) -> list[Offer | BadOffer]:
        """What these names offer now; one that left meanwhile offers nothing. Raises OfficeUnavailable."""
        with saving("the outbox cannot be read"), folder_at(self._outbox) as tray:
            return [offer for name in names if (offer := self._look(tray, name)) is not None]

    def _look(self, tray: int, name: str) -> Offer | BadOffer | None:
        try:
            with folder_at(name, below=tray) as folder:
                inode, found = os.fstat(folder).st_ino, entries(folder, MAX_ENTRIES)
                lease = self._leases.get(name)
                if lease is None or (lease.inode, lease.content) != (inode, fingerprint(found)):
                    lease = _Lease(inode, fingerprint(found), read_offer(self._outbox / name, folder, _source(name), found, self._now()))
                    self._leases[name] = lease
                return lease.offer
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno in _NOT_OURS_TO_READ:
                return BadOffer(source=_source(name), reasons=(_unopened(tray, name, error),))
            log.warning("offer %s cannot be read now and is looked at again: %s", self._alias(_source(name)), error.strerror)
            return None

    def fetch(self, source: str, exchange: str) -> Offer:
        """The offer again, from ``sent`` when it was settled. Raises OfferGone, OfficeUnavailable."""
        for place in (self._sent / exchange, self._outbox / _name(source)):
            offer = _offer_at(place, source, self._now())
            if isinstance(offer, Offer):
                return offer
            if offer is not None:
                raise OfferGone(f"what was offered is no good offer now ({offer.reasons[0].rule})", source=source)
        raise OfferGone("neither outbox nor sent holds what was offered any more", source=source)

    # ---- leaving

    def settle(self, source: str, exchange: str) -> None:
        """``outbox/<name>`` becomes ``sent/<exchange>``; without it, ``sent/<exchange>`` holds the status alone. Raises OfficeUnavailable."""
        name = _name(source)
        failing = saving(f"a folder of the outbox cannot be moved to sent/{exchange}")
        with self._locks.of(exchange), failing, folder_at(self._outbox) as tray, folder_at(self._sent) as sent:
            if exists(f"{exchange}/{DOCUMENT}", below=sent):
                self._turn_away_repeat(source, exchange)
            elif self._is_leased(tray, name):
                self._move_to_sent(tray, name, sent, exchange)
            elif not exists(exchange, below=sent):  # the folder vanished or is a new document: the exchange goes on and is shown
                make_folder(exchange, below=sent)
                with folder_at(exchange, below=sent) as folder:
                    put(STATUS, first_status(exchange, source), below=folder)
                sync(sent)

    def _move_to_sent(self, tray: int, name: str, sent: int, exchange: str) -> None:
        early = _early_status(sent, exchange)
        with folder_at(name, below=tray) as folder:
            if early:  # a report came before: its status moves along
                put(STATUS, pretty(early | {"source": _source(name)}), below=folder)
            elif read_status(folder).get("exchange") != exchange:  # else a crash came after these lines
                put(STATUS, first_status(exchange, _source(name)), below=folder)
        if early is not None:
            remove_tree(exchange, below=sent)
        move(name, exchange, below=tray, into=sent)
        sync(sent)
        sync(tray)
        self._leases.pop(name, None)

    def _turn_away_repeat(self, source: str, exchange: str) -> None:
        """The exchange was settled before. What lies under its old name now is left alone, unless it is the same document once more."""
        again = _offer_at(self._outbox / _name(source), source, self._now())
        if same_offer(again, _offer_at(self._sent / exchange, source, self._now())):
            self.refuse(source, (sent_before(exchange),))

    def refuse(self, source: str, reasons: Sequence[Reason]) -> None:
        """``outbox/<name>`` becomes ``refused/<name>`` (``<name>~2`` when that is taken) with ``reasons.json``. Raises OfficeUnavailable."""
        name = _name(source)
        with (
            saving("a folder of the outbox cannot be moved to refused"),
            folder_at(self._outbox) as tray,
            folder_at(self._refused) as refused,
        ):
            if not self._is_leased(tray, name):
                return
            try:
                with folder_at(name, below=tray) as folder:
                    put(REASONS, reasons_json(reasons), below=folder)
            except OSError as error:
                if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO}:
                    raise
                _wrap(tray, name, refused, reasons)  # no folder, or one that cannot hold the reasons
            else:
                placed = _rename_free(tray, name, refused)
                with suppress(OSError):  # moved back to the outbox it must not go before it is put right
                    remove_file(f"{placed}/{READY}", below=refused)
            sync(refused)
            sync(tray)
            self._leases.pop(name, None)

    def report(self, status: Status) -> None:
        """Show where a sent exchange stands. Raises OfficeUnavailable."""
        exchange = status.exchange
        with self._locks.of(exchange), saving(f"the status of sent/{exchange} cannot be written"), folder_at(self._sent) as sent:
            if not exists(exchange, below=sent):  # not settled yet, or put away by somebody: it is shown all the same
                make_folder(exchange, below=sent)
                sync(sent)
            with folder_at(exchange, below=sent) as folder:
                show(status, folder)

    def _is_leased(self, tray: int, name: str) -> bool:
        """Whether the name is there, and still what was looked at. After a restart there is nothing to compare with."""
        if not exists(name, below=tray):
            return False
        lease = self._leases.get(name)
        if lease is None:
            return True
        try:
            with folder_at(name, below=tray) as folder:
                return (lease.inode, lease.content) == (os.fstat(folder).st_ino, fingerprint(entries(folder, MAX_ENTRIES)))
        except OSError as error:
            if error.errno in _NOT_OURS_TO_READ:
                return False
            raise


# ---- one folder ------------------------------------------------------------------------------------------------------------------


def _source(name: str) -> str:
    """The offer's id: the folder's name, spelled by its bytes where it is no text (a database and a log take text)."""
    raw = os.fsencode(name)
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        return _RAW_NAME + raw.hex()
    return _RAW_NAME + raw.hex() if text.startswith(_RAW_NAME) else text


def _name(source: str) -> str:
    return os.fsdecode(bytes.fromhex(source.removeprefix(_RAW_NAME))) if source.startswith(_RAW_NAME) else source


def _waiting_since(tray: int, entry: Entry) -> int | None:
    """When ``.ready`` was put there, or None when there is nothing to offer. What is no folder is offered to be refused; stray files rest."""
    if entry.name.startswith(".") or entry.kind == "file":
        return None
    if entry.kind != "folder":
        return entry.seen.mtime_ns
    with suppress(OSError):
        return os.stat(f"{entry.name}/{READY}", dir_fd=tray, follow_symlinks=False).st_mtime_ns
    return None


def _unopened(tray: int, name: str, error: OSError) -> Reason:
    kind = next((entry.kind for entry in entries(tray, MAX_TRAY) if entry.name == name), "folder")
    if kind != "folder":
        return explain("offer/not-a-folder", name=name, kind=kind, at=name)
    return explain("offer/unreadable", name=name, why=error.strerror, at=name)


def _offer_at(place: Path, source: str, at: datetime) -> Offer | BadOffer | None:
    """What lies at a place, or None where there is no document. Raises OfficeUnavailable."""
    with saving("a folder of the outbox, or of sent, cannot be read"):
        try:
            with folder_at(place) as folder:
                return read_offer(place, folder, source, entries(folder, MAX_ENTRIES), at) if exists(DOCUMENT, below=folder) else None
        except FileNotFoundError:
            return None


def _early_status(sent: int, exchange: str) -> dict[str, Any] | None:
    """The status that was reported before the folder came, ``{}`` where only its folder is there, None where nothing is."""
    try:
        with folder_at(exchange, below=sent) as folder:
            return read_status(folder)
    except FileNotFoundError:
        return None


def _rename_free(tray: int, name: str, refused: int) -> str:
    """Move the folder under its own name or the first free ``<name>~<n>``; the name it got. Raises OSError."""
    for candidate in _candidates(name):
        try:
            move(name, candidate, below=tray, into=refused)
        except OSError as error:
            if error.errno not in _TAKEN_NAME:
                raise
        else:
            return candidate
    raise AssertionError("internal: names do not end")


def _candidates(name: str) -> Iterator[str]:
    yield name
    stem = os.fsdecode(os.fsencode(name)[:240])  # room for the number within 255 bytes
    yield from (f"{stem}~{number}" for number in count(2))


def _wrap(tray: int, name: str, refused: int, reasons: Sequence[Reason]) -> None:
    """Put what cannot hold its own reasons beside them. A crash before the last line leaves reasons alone, and the next call makes both."""
    for candidate in _candidates(name):
        with suppress(FileExistsError):
            make_folder(candidate, below=refused)
            break
    with folder_at(candidate, below=refused) as folder:
        put(REASONS, reasons_json(reasons), below=folder)
        move(name, "offered", below=tray, into=folder)
        sync(folder)

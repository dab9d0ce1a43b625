"""What comes from outside and makes our own code fail: an offer, an arrival, a receipt. Counted by name, and set aside when it goes on.

Nothing of it was taken, so its content stays where it is: in the office's tray, at the sender, at whoever issued the receipt. Set aside
means that it is not looked at again, costs nothing and blocks nobody, and stands in the list with its error until a person has it tried
once more. A restart keeps that; it forgets only how often something not yet set aside had failed.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Final

from crypto.digests import digest
from crypto.errors import LocalError
from gateway.core.cover import Cover
from gateway.core.errors import ProblemError
from gateway.core.keys import arrival_key
from gateway.core.leaf import Leaf
from gateway.core.step import SET_ASIDE, Finish, Schedule, Step, Work, WorkKind
from gateway.core.transmittal import Transmittal
from gateway.flow.rooms import Rooms
from gateway.flow.trouble import MAX_DEFECTS, defects_of, is_defect, is_set_aside, with_trouble

log = logging.getLogger("yizhan.flow")

MAX_COUNTED = 4096  # names counted at once; whoever sends more that fails is counted from the beginning
MAX_ASIDE = 1000  # rows; a peer that finds a defect of ours must not fill the disk through it. Beyond, refused from memory alone

ASK_AGAIN = 900  # seconds until whoever sent it should ask again: a person has to look into it first
KINDS: Final[tuple[WorkKind, ...]] = ("take", "arrive", "take-receipt")


class SetAside(LocalError):
    """Our own code failed at it too often: not looked at again until a person says so."""

    code = "set-aside"


class Poison:
    """Remembers what not to look at."""

    def __init__(self, rooms: Rooms, alarm: Callable[[Work], Leaf]) -> None:
        self._rooms = rooms
        self._alarm = alarm
        self._tried: OrderedDict[str, Work] = OrderedDict()
        self._aside: dict[str, Work] = {}

    def begin(self, works: Iterable[Work]) -> None:
        """What was set aside before this start."""
        self._aside |= {work.key: work for work in works if work.kind in KINDS and is_set_aside(work)}

    def __bool__(self) -> bool:
        """Whether anything ever failed; while nothing did, nobody need ask about a name."""
        return bool(self._aside or self._tried)

    def aside(self, kind: str) -> tuple[Work, ...]:
        """What of a kind is set aside."""
        return tuple(work for work in self._aside.values() if work.kind == kind)

    def is_aside(self, key: str) -> bool:
        """Whether this is not to be looked at."""
        return key in self._aside

    # ---- arrivals and receipts, known by their bytes

    def check_arrival(self, cover: bytes) -> None:
        """Whether this cover may be looked at. Raises ProblemError: the sender keeps it and asks again."""
        if self._aside and self.is_aside(_key("arrive:in", cover)):
            raise ProblemError("internal", "set aside: our own code fails at it", retryable=True, retry_after=ASK_AGAIN)

    async def arrival_failed(self, peer: str, cover: bytes, error: Exception) -> None:
        """Our own code failed at an arrival; what its bytes claim to be is a name for people and nothing more."""
        if is_defect(error):
            work = Work(key=_key("arrive:in", cover), kind="arrive", direction="in", exchange=_claimed(cover), due=SET_ASIDE, peer=peer)
            await self._failed_outside(work, error)

    def arrival_passed(self, cover: bytes) -> None:
        """It went well after all."""
        if self._tried:
            self.passed(_key("arrive:in", cover))

    def check_receipt(self, body: bytes) -> None:
        """Whether this receipt may be looked at. Raises SetAside."""
        if self._aside and self.is_aside(_key("take-receipt:out", body)):
            raise SetAside("our own code fails at this receipt")

    async def receipt_failed(self, peer: str, body: bytes, error: Exception) -> None:
        """Our own code failed at a receipt."""
        work = Work(key=_key("take-receipt:out", body), kind="take-receipt", direction="out", exchange="", due=SET_ASIDE, peer=peer)
        await self._failed_outside(work, error)

    def receipt_passed(self, body: bytes) -> None:
        """It went well after all."""
        self.passed(_key("take-receipt:out", body))

    async def _failed_outside(self, work: Work, error: Exception) -> None:
        try:
            await self.failed(work, error)
        except LocalError as trouble:  # a full disk: set aside in memory, and again after a restart
            log.warning("%s could not be set aside: %s", work.key, trouble)

    # ---- all

    async def failed(self, work: Work, error: Exception) -> bool:
        """Our own code failed at it once more; whether it is set aside now. ``work`` names it: its key, kind, peer and what a person needs."""
        rooms = self._rooms
        before = self._tried.pop(work.key, work)
        tried = with_trouble(before, error, rooms.standing.storage_key, rooms.clock.now())
        if defects_of(tried) < MAX_DEFECTS:
            self._tried[work.key] = tried
            while len(self._tried) > MAX_COUNTED:
                self._tried.popitem(last=False)
            return False
        log.error("%s: set aside after %d tries our own code failed at; `yizhan queue` shows it", work.key, MAX_DEFECTS)
        aside = replace(tried, due=SET_ASIDE, attempts=MAX_DEFECTS)
        self._aside[work.key] = aside
        if len(self._aside) <= MAX_ASIDE:
            await rooms.record(Step(changes=(Schedule(work=aside),), leaves=(self._alarm(aside),)))
        return True

    def passed(self, key: str) -> None:
        """It went well after all."""
        self._tried.pop(key, None)

    async def forgive(self, work: Work) -> None:
        """Works "take", "arrive", "take-receipt": a person has it looked at once more, or what it was about is gone."""
        self._aside.pop(work.key, None)
        self._tried.pop(work.key, None)
        await self._rooms.record(Step(changes=(Finish(key=work.key),)))


def _key(kind: str, body: bytes) -> str:
    return f"{kind}:{digest('sha256', body).partition(':')[2]}"


def _claimed(cover: bytes) -> str:
    """The key an arrival would have, by what it says itself; nothing where our own code cannot even read that."""
    try:
        transmittal = Transmittal.from_bytes(Cover.from_bytes(cover).transmittal)
    except Exception:  # noqa: BLE001  # it may be the very thing that fails
        return ""
    return arrival_key(transmittal.id, transmittal.sender.org)

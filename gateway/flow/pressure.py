"""Back-pressure towards the office: an offer waits in its tray while too much is under way already; nothing is ever dropped for it.

What counts is open: taken and not yet answered for by the gateway it goes to. So a peer that is away for a week, a slow line or a slow
disk fill the office's own tray and not our memory, and whoever is not behind that peer notices nothing.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Final, Literal

from gateway.flow.agenda import Agenda
from gateway.flow.bulk import Grade, grade

COUNT_EVERY: Final = 0.25  # seconds; counting ten thousand works takes two milliseconds, and what was begun since is added
LARGE_OFFERS_AT_ONCE: Final = (
    3  # being copied, or next: one more than there are threads for, so that the tray's 64 slots stay for small ones
)
HUGE_OFFERS_AT_ONCE: Final = 2  # the same
_AT_ONCE: Final = {Grade.LARGE: LARGE_OFFERS_AT_ONCE, Grade.HUGE: HUGE_OFFERS_AT_ONCE}

Full = Literal["peer-documents", "peer-bytes", "documents", "copies"]


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenLimits:
    """How much may be open; gateway.toml [limits]."""

    documents_per_peer: int = 4_000  # a day of a busy agency; at 1 KiB each in memory
    documents: int = 8_000  # below what is loaded of due work at a start (10,000), so that all of it is in one order
    bytes_per_peer: int = 256 * 1024**3  # four of the largest; the disk's head-room bounds all peers together


class Pressure:
    """Says whether an offer may be taken now."""

    def __init__(self, agenda: Agenda, limits: OpenLimits) -> None:
        self._agenda = agenda
        self._limits = limits
        self._loads: dict[str, tuple[int, int]] = {}
        self._counted = float("-inf")
        self._beginning: dict[str, tuple[frozenset[str], int]] = {}  # by the office's name of the offer
        self._copied: Counter[Grade] = Counter()
        self._counting: Counter[str] = Counter()
        self.waiting: Counter[str] = Counter()  # offers that waited in the last whole walk of the tray, by what was full

    def look(self) -> None:
        """A walk of the tray begins."""
        self.waiting, self._counting = self._counting, Counter()

    def full(self, gateways: frozenset[str], size: int, moment: float) -> Full | None:
        """What an offer of so many bytes to those gateways has to wait for; counted as waiting."""
        self._count(moment)
        found = self._full(gateways, size)
        if found is not None:
            self._counting[found] += 1
        return found

    def _full(self, gateways: frozenset[str], size: int) -> Full | None:
        limits, kind = self._limits, grade(size)
        if kind is not Grade.SMALL and self._copied[kind] >= _AT_ONCE[kind]:
            return "copies"
        total = sum(count for count, _ in self._loads.values())
        if total and total + len(gateways) > limits.documents:
            return "documents"
        for gateway in gateways:
            count, open_bytes = self._loads.get(gateway, (0, 0))
            if count >= limits.documents_per_peer:
                return "peer-documents"
            if count and open_bytes + size > limits.bytes_per_peer:  # one alone always goes: it would wait for ever
                return "peer-bytes"
        return None

    def begin(self, source: str, gateways: frozenset[str], size: int) -> None:
        """The offer of that name is being taken; it is open from now on."""
        self._beginning[source] = gateways, size
        if grade(size) is not Grade.SMALL:
            self._copied[grade(size)] += 1
        self._add(gateways, size)

    def begun(self, source: str) -> None:
        """It was taken, or was not: what is open of it is on the agenda."""
        _, size = self._beginning.pop(source)
        if grade(size) is not Grade.SMALL:
            self._copied[grade(size)] -= 1

    def _count(self, moment: float) -> None:
        if 0 <= moment - self._counted < COUNT_EVERY:
            return
        self._counted = moment
        self._loads = self._agenda.under_way()
        for gateways, size in self._beginning.values():
            self._add(gateways, size)

    def _add(self, gateways: frozenset[str], size: int) -> None:
        noted = 0 if grade(size) is Grade.SMALL else size
        for gateway in gateways:
            count, open_bytes = self._loads.get(gateway, (0, 0))
            self._loads[gateway] = (count + 1, open_bytes + noted)

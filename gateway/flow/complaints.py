"""Leaves that others cause by what they send: each is written, but a peer that sends bad requests for ever does not fill the log.

At most so many a minute a peer; what goes beyond is counted and summed up in one leaf when the minute ends, so that nothing is silent.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from crypto.errors import LocalError
from gateway.core.leaf import Leaf, LeafKind
from gateway.core.step import Step
from gateway.flow.leaves import Leaves
from gateway.flow.rooms import Rooms

log = logging.getLogger("yizhan.inbound")

MINUTE = 60.0
LEAVES_A_MINUTE = 60  # an honest peer causes a few a day; a broken one is seen well enough by these and their sum


@dataclass(slots=True)
class _Minute:
    begun: float
    written: int = 0
    withheld: int = 0


class Complaints:
    """Writes down what peers did wrong."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms
        self._leaves = Leaves(rooms.standing)
        self._minutes: dict[str, _Minute] = {}

    async def record(self, peer: str, *leaves: Leaf) -> None:
        """One thing this peer did: its leaves, or one more in the count of this minute."""
        minute = self._minutes.get(peer)
        if minute is None or self._over(minute):
            await self._end(peer)
            minute = self._minutes.setdefault(peer, _Minute(self._rooms.clock.monotonic()))
        if minute.written + len(leaves) > LEAVES_A_MINUTE:
            minute.withheld += len(leaves)
            return
        minute.written += len(leaves)
        await self._rooms.record(Step(changes=(), leaves=leaves))

    async def sum_up(self, *, now: bool = False) -> None:
        """End the minutes that are over, or (``now``, on the way down) all of them."""
        for peer in [peer for peer, minute in self._minutes.items() if now or self._over(minute)]:
            await self._end(peer)

    def _over(self, minute: _Minute) -> bool:
        return self._rooms.clock.monotonic() - minute.begun >= MINUTE

    async def _end(self, peer: str) -> None:
        minute = self._minutes.pop(peer, None)
        if minute is None or not minute.withheld:
            return
        log.error("%s caused %d more leaves within a minute than are written", peer, minute.withheld)
        at = self._rooms.clock.now()
        leaf = self._leaves.leaf(LeafKind.REFUSED, at, "summed-up", reason="too-many", size=minute.withheld, src=peer)
        try:
            await self._rooms.record(Step(changes=(), leaves=(leaf,)))
        except LocalError:
            again = self._minutes.setdefault(peer, _Minute(self._rooms.clock.monotonic()))
            again.withheld += minute.withheld  # a full disk: said when there is room
            raise

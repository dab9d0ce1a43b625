"""Deadlines: by when a document should be delivered or signed for, who is told when that draws near or passes, and nothing more.

A deadline warns and escalates; only ``expires`` ends an exchange. Documents that arrive in time cost nothing here: every pass looks at a
slice of what is still open, and only what has reached its first step gets due work of its own, which tells each step once, across
restarts, until nobody waits any more.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import replace

from gateway.core.exchange import Direction
from gateway.core.keys import sender_of
from gateway.core.leaf import LeafKind
from gateway.core.step import Finish, Schedule, Step, Work
from gateway.flow.leaves import Leaves
from gateway.flow.office import Desk
from gateway.flow.ports import WaitingRow
from gateway.flow.queue_pace import WAITING, WANTED, deadline_of, deadline_of_row, urge
from gateway.flow.rooms import Rooms

log = logging.getLogger("yizhan.deadlines")

SLICE = 2000  # passages looked at in one pass and direction; a backlog of more is gone round in several


class Deadlines:
    """Looks for what has reached a step, and tells each step once."""

    def __init__(self, rooms: Rooms, desk: Desk) -> None:
        self._rooms = rooms
        self._desk = desk
        self._leaves = Leaves(rooms.standing)
        self._looked: dict[Direction, tuple[str, str]] = {}

    async def look(self) -> None:
        """One slice of what is open, in each direction: what has reached its first step gets a reminder."""
        for direction in WANTED:
            after = self._looked.get(direction, ("", ""))
            rows = await self._rooms.ledger.waiting(direction, WAITING[direction], after=after, limit=SLICE)
            self._looked[direction] = (rows[-1].exchange, rows[-1].recipient) if len(rows) == SLICE else ("", "")
            await self._remind_of(direction, rows)

    async def _remind_of(self, direction: Direction, rows: Iterable[WaitingRow]) -> None:
        rooms, at = self._rooms, self._rooms.clock.now()
        policy, begun = rooms.standing.policy, {}
        for row in rows:
            key = f"remind:{direction}:{row.exchange}"
            if key in begun or rooms.agenda.knows(key):
                continue
            deadline = deadline_of(policy, direction, row.exchange, row.level, row.urgency, row.updated)
            if deadline is not None and deadline.reached(at) and await rooms.ledger.work(key) is None:
                begun[key] = Work(key=key, kind="remind", direction=direction, exchange=row.exchange, due=at)
        if begun:
            await rooms.record(Step(changes=tuple(Schedule(work=work) for work in begun.values())))
            rooms.agenda.add_all(begun.values())

    async def remind(self, work: Work) -> None:
        """Work "remind": tell the step reached, unless it was told, and be due at the next. ``detail`` is how many were told."""
        rooms, at = self._rooms, self._rooms.clock.now()
        row = await rooms.ledger.exchange(work.direction, work.exchange)
        deadline = deadline_of_row(rooms.standing.policy, row) if row is not None else None
        following = deadline.moment(deadline.reached(at)) if deadline is not None else None
        if row is None or deadline is None or following is None:
            await rooms.record(Step(changes=(Finish(key=work.key),)))
            return
        reached = deadline.reached(at)
        later = replace(work, due=following, detail=str(reached).encode(), attempts=0, trouble=b"")
        said = urge(row.direction, deadline, at) if reached > int(work.detail or b"0") else None
        if said is None:
            await rooms.record(Step(changes=(Schedule(work=later),)))
            rooms.agenda.add(later)
            return
        waiting = [passage.recipient for passage in row.passages if passage.state in WAITING[row.direction]]
        report = self._desk.report(row.direction, row.key, at)
        leaf = self._leaves.leaf(
            LeafKind.REMINDED,
            at,
            "overdue" if said.overdue else "due-soon",
            exchange=row.id,
            sender=sender_of(row.key),
            recipient=waiting[0] if len(waiting) == 1 else None,
            size=len(waiting),
            reason=said.wanted,
        )
        await rooms.record(Step(changes=(Schedule(work=later), Schedule(work=report)), leaves=(leaf,)))
        log.warning("exchange %s: %s", row.id, said.reason.en)
        rooms.gauges.reminded(row.direction, said.reason.rule)
        rooms.hot_out.drop(row.key)
        rooms.agenda.add_all((later, report))

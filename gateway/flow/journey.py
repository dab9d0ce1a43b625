"""The whole journey assembled: handlers on the agenda, the walks of the office, what runs by the clock, starting and stopping."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from functools import partial

from gateway.core.keys import id_of, sender_of
from gateway.core.leaf import Leaf, LeafKind
from gateway.core.step import Work
from gateway.flow import recovery
from gateway.flow.degraded_log import DegradedLog
from gateway.flow.delivering import Delivering
from gateway.flow.handover import HandOver
from gateway.flow.inbound import Inbound
from gateway.flow.leaves import Leaves
from gateway.flow.leftovers import SWEEP_EVERY, Leftovers
from gateway.flow.office import Desk
from gateway.flow.outbound import Outbound
from gateway.flow.queue import Queue
from gateway.flow.queue_deadlines import Deadlines
from gateway.flow.queue_poison import KINDS, Poison
from gateway.flow.rooms import Rooms
from gateway.flow.taking import Taking
from gateway.flow.watching import CLOCK_RETRY, EXPIRE_EVERY, STAMP_EVERY, Watching

log = logging.getLogger("yizhan.journey")

COMPLAINTS_EVERY = 5.0  # seconds; a minute of a peer's complaints is summed up no later after its end
LOOK_EVERY = 1.0  # seconds; what is away is written down no later after it was noticed
LOOK_AGAIN = 30.0  # and after this where it could not be written: a full disk says so in its own words
MAX_LOADED = 10_000  # works taken into memory at once; a backlog of more is looked at again with every watch of expiry


class Journey:
    """One gateway's flow. ``run`` ends when ``stop`` is set; what is then in flight may end within the grace period."""

    def __init__(self, rooms: Rooms, *, poll_seconds: float, in_flight: int) -> None:
        self._rooms = rooms
        self._poll = poll_seconds
        self._more_due = False
        self._leaves = Leaves(rooms.standing)
        self.desk = Desk(rooms)
        self.poison = Poison(rooms, self._set_aside)
        self.taking = Taking(rooms, self.desk, self.poison)
        self.inbound = Inbound(rooms, self.taking, self.poison)
        self.outbound = Outbound(rooms, self.desk, in_flight, self.poison)
        self.delivering = Delivering(rooms, self.desk, self.taking)
        self.handover = HandOver(rooms, self.desk)
        self.queue = Queue(rooms, self.desk, self.delivering, self.outbound.forget)
        self.deadlines = Deadlines(rooms, self.desk)
        self.watching = Watching(rooms, self.delivering, self.handover)
        self.leftovers = Leftovers(rooms, self.inbound)
        self.degraded = DegradedLog(rooms)
        self._enrol()

    def _enrol(self) -> None:
        agenda, failing = self._rooms.agenda, self._rooms.failing
        agenda.handle("settle", self.desk.settle)
        agenda.handle("refuse", self.desk.refuse)
        agenda.handle("report", self.desk.show)
        agenda.handle("seal", self.outbound.seal)
        agenda.handle("deliver", self.delivering.deliver)
        agenda.handle("hand-over", self.handover.hand_over)
        agenda.handle("send-receipt", self.handover.send_receipts)
        agenda.handle("remind", self.deadlines.remind)
        for kind in KINDS:
            agenda.handle(kind, self.poison.forgive)
        failing.bind(agenda, self._rooms.record, key=self._rooms.standing.storage_key, alarm=self._set_aside)
        failing.on_give_up("deliver", self.delivering.give_up)
        failing.on_give_up("seal", self.outbound.give_up)

    def _set_aside(self, work: Work) -> Leaf:
        """The leaf of work our own code failed at too often."""
        self._rooms.gauges.refused("set-aside", work.peer)
        about = {"exchange": id_of(work.exchange), "sender": sender_of(work.exchange)} if work.exchange else {}
        return self._leaves.leaf(LeafKind.ALARM, self._rooms.clock.now(), "set-aside", reason=work.kind, src=work.peer or None, **about)

    async def start(self, group: asyncio.TaskGroup) -> None:
        """Begin: what the database says is due is due; nothing is accepted before the clock is confirmed."""
        rooms = self._rooms
        rooms.agenda.start(group)
        found = await recovery.look(rooms)
        await self.degraded.load()
        await self.watching.attempt(
            "time authority", self.watching.stamp_checkpoint
        )  # first: nothing is dated before the clock is confirmed
        await self.watching.started()
        rooms.standing.accepts_work = True
        due = await self._fill()
        log.log(logging.ERROR if found.missing else logging.INFO, "started: %s", found.line(due, more=self._more_due))

    async def _fill(self) -> Sequence[Work]:
        """Take in what is due by the database and not on the agenda yet."""
        due = await self._rooms.ledger.due(limit=MAX_LOADED)
        self._rooms.agenda.add_missing(due)
        self.poison.begin(due)
        self._more_due = len(due) == MAX_LOADED
        return due

    async def run(self, group: asyncio.TaskGroup, stop: asyncio.Event) -> None:
        """Walk and watch until ``stop``."""
        tasks = (
            group.create_task(self._walk_tray(group, stop), name="tray"),
            group.create_task(self._walk_acts(stop), name="acts"),
            group.create_task(self._watch_clock(stop), name="clock"),
            group.create_task(self._watch_expiry(stop), name="expiry"),
            group.create_task(self._watch_degraded(stop), name="degraded"),
            group.create_task(self._watch_complaints(stop), name="complaints"),
            group.create_task(self._watch_leftovers(stop), name="leftovers"),
        )
        await asyncio.wait(tasks)

    def running(self) -> set[asyncio.Task[None]]:
        """Works and offers being done now; what is left of them after the grace period is due at the next start."""
        return self._rooms.agenda.running | self.outbound.running

    async def _walk_tray(self, group: asyncio.TaskGroup, stop: asyncio.Event) -> None:
        while not stop.is_set():
            begun = 0
            try:
                begun = await self.outbound.walk(group)
            except Exception:  # the outermost loop of the tray: an office that stumbles is asked again
                log.exception("walking the tray")
            await rest(stop, 0.02 if begun else self._poll)

    async def _walk_acts(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            try:
                await self.handover.take_acts()
            except Exception:  # the outermost loop of acts
                log.exception("walking the acts")
            await rest(stop, self._poll)

    async def _watch_clock(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            held = await self.watching.attempt("time authority", self.watching.stamp_checkpoint)
            await self.watching.attempt("signing keys", self.watching.call_keys)
            silent = self._rooms.degraded.silent_authorities
            await rest(stop, STAMP_EVERY if held and not silent else CLOCK_RETRY)

    async def _watch_expiry(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            await self.watching.attempt("expiry", self.watching.expire)
            await self.watching.attempt("deadlines", self.deadlines.look)
            if self._more_due:
                await self._fill()
            await rest(stop, EXPIRE_EVERY)

    async def _watch_degraded(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            written = await self.watching.attempt("degraded", self.degraded.look)
            await rest(stop, LOOK_EVERY if written else LOOK_AGAIN)

    async def _watch_complaints(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            await self.watching.attempt("complaints", self.taking.complaints.sum_up)
            await rest(stop, COMPLAINTS_EVERY)

    async def _watch_leftovers(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            try:
                await self.watching.attempt("leftovers", self.leftovers.sweep)
            except OSError:  # a folder of the store that cannot be read stops nothing that matters
                log.exception("sweeping leftovers")
            await rest(stop, SWEEP_EVERY)

    async def stopped(self) -> None:
        """The last words of this run: what peers were not written down for, then the leaf that says it stopped."""
        await self.watching.attempt("complaints", partial(self.taking.complaints.sum_up, now=True))
        await self.watching.stopped()


async def rest(stop: asyncio.Event, seconds: float) -> None:
    """Sleep that ``stop`` ends."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)

"""The agenda: everything due outside the database, in lanes.

One lane a peer and purpose, each with its own width, in the order of ``core.turn``: urgent first, and nothing for ever last. What moves
bulk (content too large for one request) has lanes of its own, so that a transfer of an hour never stands before a document of a page. The
database is the truth (``Work`` rows); the agenda only remembers which of them to do next. A restart fills it from the same rows, so the
normal day and the day after a crash run the same code.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import replace
from datetime import datetime

from gateway.core.errors import Unreachable
from gateway.core.retry import LONGEST_REST
from gateway.core.step import SET_ASIDE, Work, WorkKind
from gateway.core.turn import turn
from gateway.flow.bulk import Grade, grade, size_of

WAKE_EVERY = 1.0  # seconds
PROBE_EVERY = 120.0  # seconds; a peer that is away is called once in so long, whatever waits for it, and found within it when it is back
BACK_EVERY = 60.0  # seconds; a peer that answers small things and breaks off large ones is not asked for the large ones all the time
Handler = Callable[[Work], Awaitable[None]]
WIDTH: dict[WorkKind, int] = {
    "settle": 4,
    "refuse": 2,
    "seal": 16,
    "deliver": 16,  # requests in flight a peer
    "hand-over": 8,
    "report": 4,
    "send-receipt": 1,  # one request carries many
    "acknowledge": 2,
    "remind": 2,
    "take": 1,
    "arrive": 1,
    "take-receipt": 1,
}
# The same for what moves bulk, large and huge: uploads share the line to a peer, the others each keep a thread and a disk busy.
BULK_WIDTH: dict[WorkKind, tuple[int, int]] = {"seal": (2, 1), "deliver": (4, 2), "hand-over": (2, 1)}


class StillAway(Unreachable):
    """A peer that has not answered for long was not called again yet."""


class _Lane:
    """Work of one kind for one peer: a heap by turn, drained by at most ``width`` workers that end when nothing waits."""

    def __init__(self, width: int) -> None:
        self.width = width
        self.busy = 0
        self.waiting: list[tuple[float, int, Work]] = []


class Agenda:
    """Runs due work through its handlers; whatever a handler raises goes to ``failed``, which puts the work off or gives it up."""

    def __init__(
        self,
        clock_now: Callable[[], datetime],
        failed: Callable[[Work, Exception], Awaitable[None]],
        *,
        width: Mapping[WorkKind, int] | None = None,
    ) -> None:
        """``width`` replaces that of the kinds it names."""
        self._width = WIDTH | dict(width or {})
        self._now = clock_now
        self._failed = failed
        self._handlers: dict[WorkKind, Handler] = {}
        self._lanes: dict[tuple[WorkKind, str, Grade], _Lane] = {}
        self._later: dict[str, tuple[asyncio.TimerHandle, Work]] = {}
        self._present: dict[str, Work] = {}
        self._doing: set[str] = set()
        self._failing: dict[str, Work] = {}  # being put off or given up
        self._woken: dict[str, float] = {}
        self._awaited: dict[str, set[str]] = {}  # what failed works wait for, and their keys
        self._awaits: dict[str, str] = {}  # the same by key
        self._back: dict[str, float] = {}
        self._probes: dict[str, asyncio.TimerHandle] = {}  # by peer
        self._probing: set[str] = set()  # works done before they are due, to see whether their peer is back
        self._silent: dict[str, tuple[float, float]] = {}  # since when a peer has not answered, and when it was last called
        self._order = itertools.count()
        self._group: asyncio.TaskGroup | None = None
        self._stopping = False
        self.running: set[asyncio.Task[None]] = set()

    def handle(self, kind: WorkKind, handler: Handler) -> None:
        """Name the handler of a kind. It settles the work itself: finishing or postponing it in the journal."""
        self._handlers[kind] = handler

    def start(self, group: asyncio.TaskGroup) -> None:
        """Workers are tasks of this group."""
        self._group = group

    def stop(self) -> None:
        """Start nothing more; what runs may end."""
        self._stopping = True
        for timer, _ in self._later.values():
            timer.cancel()
        self._later.clear()
        for probe in self._probes.values():
            probe.cancel()
        self._probes.clear()

    def add(self, work: Work) -> None:
        """Do this when it is due; the same key replaces what waited under it."""
        if self._stopping:
            return
        planned = self._later.pop(work.key, None)
        if planned:
            planned[0].cancel()
        self._expect_no_more(work.key)
        if work.due >= SET_ASIDE:
            return
        now = self._now()
        if work.due <= now:
            self._enqueue(work, now)
        else:
            delay = min(work.due - now, LONGEST_REST).total_seconds()
            loop = asyncio.get_running_loop()
            self._later[work.key] = (loop.call_later(delay, self._come_due, work.key), work)

    def put_off(self, work: Work, awaited: str) -> None:
        """``add`` what failed because somebody was away: a peer, or an authority. ``is_back`` makes it due at once; of what waits for a
        peer, one work looks now and then whether it is.
        """
        self.add(work)
        if work.key in self._later:
            self._awaited.setdefault(awaited, set()).add(work.key)
            self._awaits[work.key] = awaited
            if awaited == work.peer and awaited not in self._probes:
                self._probe_later(awaited)

    def is_back(self, awaited: str) -> None:
        """Whoever that is answered: what waits for it alone is due now."""
        self.heard(awaited)
        if awaited not in self._awaited:
            return
        moment = asyncio.get_running_loop().time()
        if moment - self._back.get(awaited, float("-inf")) < BACK_EVERY:
            return
        self._back[awaited] = moment
        for key in self._awaited.pop(awaited):
            del self._awaits[key]
            planned = self._later.get(key)
            if planned is not None:
                planned[0].cancel()
                self._come_due(key)

    def heard(self, peer: str) -> None:
        """It said something, be it a refusal: its silence is over."""
        self._silent.pop(peer, None)

    def silent(self, peer: str) -> None:
        """It was called and did not answer."""
        moment = asyncio.get_running_loop().time()
        self._silent[peer] = self._silent.get(peer, (moment, moment))[0], moment

    def looked_only(self, work: Work) -> bool:
        """Whether it was done before it was due, to see whether its peer is back: then it stands as it stood, and no attempt was made."""
        return work.key in self._probing and work.due > self._now()

    def _probe_later(self, peer: str) -> None:
        self._probes[peer] = asyncio.get_running_loop().call_later(PROBE_EVERY, self._probe, peer)

    def _probe(self, peer: str) -> None:
        """Do one of the works that wait for that peer: the smallest, and of those the one due first."""
        del self._probes[peer]
        waiting = [self._later[key][1] for key in self._awaited.get(peer, ()) if key in self._later]
        if not waiting:
            return
        self._probe_later(peer)
        chosen = min(waiting, key=lambda work: (grade(size_of(work)), work.due))
        self._later[chosen.key][0].cancel()
        self._probing.add(chosen.key)
        self._come_due(chosen.key)

    def _expect_no_more(self, key: str) -> None:
        awaited = self._awaits.pop(key, None)
        if awaited is not None:
            keys = self._awaited[awaited]
            keys.discard(key)
            if not keys:
                del self._awaited[awaited]

    def add_all(self, works: Iterable[Work]) -> None:
        """``add`` each."""
        for work in works:
            self.add(work)

    def add_missing(self, works: Iterable[Work]) -> None:
        """``add`` each that is not here yet. What failed before this process began is taken to wait for its peer."""
        for work in works:
            if self.knows(work.key):
                continue
            if work.attempts and work.peer:
                self.put_off(work, work.peer)
            else:
                self.add(work)

    def knows(self, key: str) -> bool:
        """Whether work of that key waits or is being done."""
        return key in self._present or key in self._later

    def doing(self, key: str) -> bool:
        """Whether work of that key is in somebody's hands at this moment."""
        return key in self._doing

    def wake(self, peer: str) -> None:
        """The peer called us, so it is there: what failed and was put off for it is due now, and the count of its silence begins anew.

        At most once in ``WAKE_EVERY``: a peer that calls often and cannot be called back must not be called for each of its calls.
        """
        moment = asyncio.get_running_loop().time()
        if moment - self._woken.get(peer, float("-inf")) < WAKE_EVERY:
            return
        self._woken[peer] = moment
        self.heard(peer)
        for key, (timer, work) in list(self._later.items()):
            if work.peer == peer and work.attempts and work.kind in ("deliver", "send-receipt"):
                timer.cancel()
                del self._later[key]
                self._expect_no_more(key)
                self._enqueue(replace(work, attempts=0))

    def depth(self) -> dict[tuple[str, str], tuple[int, datetime | None]]:
        """Waiting works and the oldest due moment, by (kind, peer)."""
        depths: dict[tuple[str, str], tuple[int, datetime | None]] = {}
        works = list(self._present.values()) + [work for _, work in self._later.values()]
        for work in works:
            count, oldest = depths.get((work.kind, work.peer), (0, None))
            depths[work.kind, work.peer] = (count + 1, work.due if oldest is None else min(oldest, work.due))
        return depths

    def __len__(self) -> int:
        """Works that wait or are being done."""
        return len(self._present) + len(self._later)

    def under_way(self) -> dict[str, tuple[int, int]]:
        """Documents on their way to each peer that it has not answered for: how many, and the bytes of the large ones; "" is not sealed yet."""
        loads: dict[str, tuple[int, int]] = {}
        for work in itertools.chain(self._present.values(), (work for _, work in self._later.values()), self._failing.values()):
            if work.kind in ("seal", "deliver"):
                count, size = loads.get(work.peer, (0, 0))
                loads[work.peer] = (count + 1, size + size_of(work))
        return loads

    def take_waiting(self, kind: WorkKind, peer: str, limit: int) -> list[Work]:
        """More work of the same lane for a handler that carries many at once."""
        lane = self._lanes.get((kind, peer, Grade.SMALL))
        taken: list[Work] = []
        while lane and lane.waiting and len(taken) < limit:
            work = heapq.heappop(lane.waiting)[2]
            if self._present.get(work.key) is work:
                taken.append(work)
        return taken

    def done(self, work: Work) -> None:
        """Forget a work taken by ``take_waiting``."""
        if self._present.get(work.key) is work:
            del self._present[work.key]

    def _come_due(self, key: str) -> None:
        found = self._later.pop(key, None)
        if found:
            self._expect_no_more(key)
            self._enqueue(found[1])

    def _enqueue(self, work: Work, now: datetime | None = None) -> None:
        if self._stopping or self._group is None:
            return
        due = min(work.due, now or self._now())  # woken before it was due: not behind what came meanwhile
        self._present[work.key] = work
        lane = self._lane(work)
        heapq.heappush(lane.waiting, (turn(work.priority, due), next(self._order), work))
        if lane.busy < lane.width:
            lane.busy += 1
            task = self._group.create_task(self._drain(lane), name=f"{work.kind} {work.peer}")
            self.running.add(task)
            task.add_done_callback(self.running.discard)

    def _lane(self, work: Work) -> _Lane:
        size = grade(size_of(work)) if work.detail else Grade.SMALL
        key = (work.kind, work.peer, size)
        lane = self._lanes.get(key)
        if lane is None:
            width = self._width[work.kind] if size is Grade.SMALL else BULK_WIDTH[work.kind][size - Grade.LARGE]
            lane = self._lanes[key] = _Lane(width)
        return lane

    async def _drain(self, lane: _Lane) -> None:
        try:
            while lane.waiting and not self._stopping:
                work = heapq.heappop(lane.waiting)[2]
                if self._present.get(work.key) is not work:
                    continue  # replaced meanwhile
                await self._do(work)
        finally:
            lane.busy -= 1

    async def _do(self, work: Work) -> None:
        failure: Exception | None = None
        self._doing.add(work.key)
        try:
            self._check_silence(work)
            await self._handlers[work.kind](work)
        except Exception as error:  # noqa: BLE001  # the outermost loop of a worker: one poisoned work must not stop its lane
            failure = error
        finally:
            self._doing.discard(work.key)
        self.done(work)
        if failure is not None:
            self._failing[work.key] = work
            try:
                await self._failed(work, failure)
            finally:
                self._failing.pop(work.key, None)
        self._probing.discard(work.key)

    def _check_silence(self, work: Work) -> None:
        """A peer that was called a moment ago and has been away for long is not called for each work: the attempt fails here, and counts.

        What was never tried is, and so is everything in the first minutes of a silence, when it may have been a line that broke. Raises
        StillAway.
        """
        if work.key in self._probing or not work.attempts or work.peer not in self._silent:
            return
        moment = asyncio.get_running_loop().time()
        since, called = self._silent[work.peer]
        if moment - since >= PROBE_EVERY and moment - called < PROBE_EVERY:
            raise StillAway(f"{work.peer} did not answer {moment - called:.0f} s ago", place=work.peer)

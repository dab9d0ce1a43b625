"""The rooms the journey works in: every port, the stages and what is hot, built once by ``app`` and handed to each part of the flow."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from crypto.errors import LocalError
from gateway.core.errors import JournalStopped, NoRoom
from gateway.core.leaf import LeafKind
from gateway.core.step import Finish, Step
from gateway.flow.agenda import Agenda
from gateway.flow.clockguard import ClockGuard
from gateway.flow.degraded import Degraded, HeardAuthority, HeardLink, Obstacle
from gateway.flow.failing import Failing
from gateway.flow.hot import Hot
from gateway.flow.opening import Warm
from gateway.flow.ports import (
    Blobs,
    Clock,
    Gauges,
    Journal,
    Ledger,
    Link,
    OfficeSystem,
    Recorded,
    Scratch,
    SignedReceipt,
    TokenSource,
    Uploads,
)
from gateway.flow.pressure import OpenLimits, Pressure
from gateway.flow.sealing import Ready
from gateway.flow.stage import Stage
from gateway.flow.standing import Standing

UNDATED = frozenset({LeafKind.STARTED, LeafKind.STOPPED})  # a process may begin and end whatever its clock says
FINISH_DELAY = 0.25  # seconds of done work deleted together


__all__ = ["Obstacle", "Rooms"]


@dataclass(slots=True, kw_only=True)
class Rooms:
    """All that the parts of the journey share."""

    standing: Standing
    clock: Clock
    guard: ClockGuard
    journal: Journal
    ledger: Ledger
    blobs: Blobs
    uploads: Uploads
    scratch: Scratch
    office: OfficeSystem
    link: Link
    tokens: Mapping[str, TokenSource]  # by suite id
    gauges: Gauges
    agenda: Agenda
    stage_out: Stage
    stage_in: Stage
    hot_out: Hot[Ready]
    hot_in: Hot[Warm]
    hot_receipts: Hot[SignedReceipt]
    failing: Failing
    open_limits: OpenLimits = field(default_factory=OpenLimits)
    degraded: Degraded = field(init=False)
    pressure: Pressure = field(init=False)
    _finished: list[Finish] = field(default_factory=list)
    _finish_timer: asyncio.TimerHandle | None = None
    _finishing: asyncio.Task[None] | None = None
    journal_stopped: asyncio.Event = field(default_factory=asyncio.Event)  # set: the process must end so that a restart recovers

    def __post_init__(self) -> None:
        """Whoever does not answer is noted where it is asked."""
        self.pressure = Pressure(self.agenda, self.open_limits)
        self.degraded = degraded = Degraded(
            standing=self.standing, clock=self.clock, guard=self.guard, blobs=self.blobs, suites=tuple(self.tokens)
        )
        self.link = HeardLink(self.link, degraded)
        self.tokens = {suite: HeardAuthority(source, suite, degraded) for suite, source in self.tokens.items()}

    async def record(self, step: Step) -> Recorded:
        """The one way to change state. Raises ClockUntrusted for what would be dated by a clock nobody confirmed, and what the journal raises."""
        if any(leaf.kind not in UNDATED for leaf in step.leaves):
            self.guard.check_dates(self.clock.now(), self.clock.monotonic())
        try:
            return await self.journal.record(step)
        except JournalStopped:
            self.journal_stopped.set()
            raise

    def finish(self, *changes: Finish) -> None:
        """Delete done work soon, many at a time: a crash before it only repeats what is harmless twice."""
        if not self._finished:
            self._finish_timer = asyncio.get_running_loop().call_later(FINISH_DELAY, self._begin_finishing)
        self._finished += changes

    def _begin_finishing(self) -> None:
        self._finishing = asyncio.create_task(self.finish_now(), name="finish work")

    def let_go(self) -> None:
        """The process ends, or is cut off: nothing is deleted any more, and the next start does that work once more."""
        if self._finish_timer is not None:
            self._finish_timer.cancel()
        if self._finishing is not None:
            self._finishing.cancel()

    async def finish_now(self) -> None:
        """Delete what is done by now; on return it is deleted, also what an earlier call had begun with."""
        done, self._finished = tuple(self._finished), []
        if done:
            with suppress(LocalError):  # the rows stay, and the next start does their work once more
                await self.record(Step(changes=done))
        earlier = self._finishing
        if earlier is not None and earlier is not asyncio.current_task():
            await asyncio.wait([earlier])

    def obstacles(self, level: str | None = None) -> Iterator[Obstacle]:
        """Everything that forbids taking and accepting at that level now, worst first (DESIGN 9: fail closed); for none, at every level.

        The one place that says so: the office's tray, arrivals and readiness all ask here. A higher level is never handled more freely, so
        what forbids the lowest forbids all.
        """
        if not self.standing.accepts_work:
            yield Obstacle(code="not-serving", problem="busy", zh="正在启动或停止", en="starting or stopping")
        yield from self.obstacles_at(level if level is not None else self.standing.policy.lowest)
        try:
            self.blobs.check_room()
            self.journal.check_room()
        except NoRoom as error:
            yield Obstacle(code="no-room", problem="no-room", zh="磁盘空间不足", en=str(error))

    def obstacles_at(self, level: str) -> Iterator[Obstacle]:
        """Of those, the ones that depend on the level: for whoever was told already that nothing stops them all."""
        clock = self.degraded.clock_obstacle(level)
        if clock is not None:
            yield clock
        yield from self.degraded.obstacles(level)

    def stopped(self) -> Obstacle | None:
        """The worst of ``obstacles``; None, which is nearly always, without a step more than it takes."""
        try:
            self.blobs.check_room()
            self.journal.check_room()
        except NoRoom:
            return next(self.obstacles(), None)
        return None if self.standing.accepts_work and self._is_well(self.standing.policy.lowest) else next(self.obstacles(), None)

    def stopped_at(self, level: str) -> Obstacle | None:
        """The worst of ``obstacles_at``."""
        return None if self._is_well(level) else next(self.obstacles_at(level), None)

    def _is_well(self, level: str) -> bool:
        now, mono = self.clock.now(), self.clock.monotonic()
        age = self.standing.policy.allowance(level).clock_confirmation
        return self.guard.good(now, mono, age) and not self.degraded.believed(level, now, mono)

    def check_clock(self, level: str) -> None:
        """Raises ClockUntrusted where our clock may not date anything of that level now."""
        self.guard.check(self.clock.now(), self.clock.monotonic(), self.standing.policy.allowance(level).clock_confirmation)

    def ready(self) -> bool:
        """Whether anything may be taken or accepted now, at whatever level."""
        return self.stopped() is None

"""The rooms the journey works in: every port, the stages and what is hot, built once by ``app`` and handed to each part of the flow."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime

from crypto.certificates import CrlStale
from crypto.errors import KeyUnusable, LocalError
from crypto.suites import suite_named
from gateway.core.errors import JournalStopped, NoRoom
from gateway.core.step import Finish, Step
from gateway.flow.agenda import Agenda
from gateway.flow.clockguard import ClockGuard, ClockUntrusted
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
from gateway.flow.sealing import Ready
from gateway.flow.stage import Stage
from gateway.flow.standing import NotInForce, Standing

FINISH_DELAY = 0.25  # seconds of done work deleted together


@dataclass(frozen=True, slots=True, kw_only=True)
class Obstacle:
    """One thing that forbids taking and accepting: a word for operators, the problem word a peer hears, and text for people."""

    code: str
    problem: str
    zh: str
    en: str


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
    _finished: list[Finish] = field(default_factory=list)
    _finishing: asyncio.Task[None] | None = None
    journal_stopped: asyncio.Event = field(default_factory=asyncio.Event)  # set: the process must end so that a restart recovers

    async def record(self, step: Step) -> Recorded:
        """The one way to change state."""
        try:
            return await self.journal.record(step)
        except JournalStopped:
            self.journal_stopped.set()
            raise

    def finish(self, *changes: Finish) -> None:
        """Delete done work soon, many at a time: a crash before it only repeats what is harmless twice."""
        if not self._finished:
            asyncio.get_running_loop().call_later(FINISH_DELAY, self._begin_finishing)
        self._finished += changes

    def _begin_finishing(self) -> None:
        self._finishing = asyncio.create_task(self.finish_now(), name="finish work")

    async def finish_now(self) -> None:
        """Delete what is done by now; on return it is deleted, also what an earlier call had begun with."""
        done, self._finished = tuple(self._finished), []
        if done:
            with suppress(LocalError):  # the rows stay, and the next start does their work once more
                await self.record(Step(changes=done))
        earlier = self._finishing
        if earlier is not None and earlier is not asyncio.current_task():
            await asyncio.wait([earlier])

    def obstacles(self) -> Iterator[Obstacle]:
        """Everything that forbids taking and accepting now, worst first (DESIGN 9: fail closed).

        The one place that says so: the office's tray, arrivals and readiness all ask here.
        """
        now, standing = self.clock.now(), self.standing
        if not standing.accepts_work:
            yield Obstacle(code="not-serving", problem="busy", zh="正在启动或停止", en="starting or stopping")
        try:
            self.guard.check(now, self.clock.monotonic())
        except ClockUntrusted as error:
            yield Obstacle(code="clock", problem="clock", zh="时钟未经时间戳机构确认", en=str(error))
        yield from self._disbeliefs(now)
        try:
            self.blobs.check_room()
            self.journal.check_room()
        except NoRoom as error:
            yield Obstacle(code="no-room", problem="no-room", zh="磁盘空间不足", en=str(error))

    def _disbeliefs(self, now: datetime) -> Iterator[Obstacle]:
        """What keeps us from judging others, or others from believing us."""
        try:
            self.standing.check_directory(now)
            unusable = [error for suite in self.standing.signers if (error := self._signer_trouble(suite, now)) is not None]
        except CrlStale as error:
            yield Obstacle(code="crl-stale", problem="crl-stale", zh="吊销列表已过期", en=str(error))
        except NotInForce as error:
            yield Obstacle(code="directory-expired", problem="directory-expired", zh="交换目录未生效", en=str(error))
        else:
            if unusable and len(unusable) == len(self.standing.signers):  # else only its own suite stops: where it would sign
                yield Obstacle(code="signer", problem="internal", zh="本单位签名证书不可用", en=str(unusable[0]))

    def _signer_trouble(self, suite: str, now: datetime) -> KeyUnusable | None:
        try:
            self.standing.check_signer(suite_named(suite), now)
        except KeyUnusable as error:
            return error
        return None

    def ready(self) -> bool:
        """Whether anything may be taken or accepted now."""
        return next(self.obstacles(), None) is None

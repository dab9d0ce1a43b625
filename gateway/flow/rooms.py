"""The rooms the journey works in: every port, the stages and what is hot, built once by ``app`` and handed to each part of the flow."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from crypto.errors import LocalError
from gateway.core.errors import JournalStopped
from gateway.core.step import Finish, Step
from gateway.flow.agenda import Agenda
from gateway.flow.clockguard import ClockGuard
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
from gateway.flow.standing import Standing

FINISH_DELAY = 0.25  # seconds of done work deleted together


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
        """Delete what is done by now."""
        done, self._finished = tuple(self._finished), []
        if done:
            with suppress(LocalError):  # the rows stay, and the next start does their work once more
                await self.record(Step(changes=done))

    def ready(self) -> bool:
        """Whether anything may be accepted now (fail closed: clock, policy, directory, room, not stopping)."""
        return self.standing.accepts_work and self.guard.good(self.clock.now(), self.clock.monotonic())

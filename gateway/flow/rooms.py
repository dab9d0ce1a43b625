"""The rooms the journey works in: every port, the stages and what is hot, built once by ``app`` and handed to each part of the flow."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway.core.errors import JournalStopped
from gateway.core.step import Step
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
    journal_stopped: asyncio.Event = field(default_factory=asyncio.Event)  # set: the process must end so that a restart recovers

    async def record(self, step: Step) -> Recorded:
        """The one way to change state."""
        try:
            return await self.journal.record(step)
        except JournalStopped:
            self.journal_stopped.set()
            raise

    def ready(self) -> bool:
        """Whether anything may be accepted now (fail closed: clock, policy, directory, room, not stopping)."""
        return self.standing.accepts_work and self.guard.good(self.clock.now(), self.clock.monotonic())

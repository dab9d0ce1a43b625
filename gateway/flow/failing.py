"""What becomes of work that failed: put off with back-off, or given up as stuck. Nothing is ever just dropped."""

from __future__ import annotations

import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta

from gateway.core.errors import JournalStopped, OfferGone, OfficeUnavailable, PeerProblem, ProblemError, Superseded, Unreachable
from gateway.core.retry import next_attempt
from gateway.core.step import Schedule, Step, Work
from gateway.flow.agenda import Agenda
from gateway.flow.ports import Clock, Journal

log = logging.getLogger("yizhan.flow")

EXPECTED = (Unreachable, PeerProblem, ProblemError, OfficeUnavailable, OfferGone, Superseded)
GiveUp = Callable[[Work, Exception], Awaitable[None]]


class Failing:
    """Puts failed work off until its next moment; what has no next moment is given up through the hook of its kind."""

    def __init__(self, journal: Journal, clock: Clock) -> None:
        self._journal = journal
        self._clock = clock
        self._agenda: Agenda | None = None
        self._give_up: dict[str, GiveUp] = {}

    def bind(self, agenda: Agenda) -> None:
        """Put-off work goes back here."""
        self._agenda = agenda

    def on_give_up(self, kind: str, hook: GiveUp) -> None:
        """Called when work of this kind has used up its attempts, or failed finally."""
        self._give_up[kind] = hook

    async def failed(self, work: Work, error: Exception) -> None:
        """One attempt failed."""
        if isinstance(error, JournalStopped):
            return  # the process is going down; the row is still there
        if isinstance(error, EXPECTED):
            log.warning("%s: attempt %d failed: %s", work.key, work.attempts + 1, error)
        else:
            log.error("%s: attempt %d failed unexpectedly", work.key, work.attempts + 1, exc_info=error)
        at = self._clock.now()
        moment = next_attempt(work.attempts + 1, at, random.random())  # noqa: S311  # jitter, not a secret
        final = isinstance(error, PeerProblem) and not error.facts.get("retryable", True)
        hook = self._give_up.get(work.kind)
        if hook is not None and (moment is None or final):
            await hook(work, error)
            return
        later = replace(work, attempts=work.attempts + 1, due=moment or at + timedelta(hours=1))
        await self._journal.record(Step(changes=(Schedule(work=later),)))
        if self._agenda is not None:
            self._agenda.add(later)

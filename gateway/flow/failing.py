"""What becomes of work that failed: put off with back-off, or given up as stuck. Nothing is ever just dropped."""

from __future__ import annotations

import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta

from crypto.errors import YizhanError
from gateway.core.errors import JournalStopped, PeerProblem
from gateway.core.retry import next_attempt
from gateway.core.step import Schedule, Step, Work
from gateway.flow.agenda import Agenda
from gateway.flow.ports import Clock, Recorded

log = logging.getLogger("yizhan.flow")

UNRECORDED_REST = timedelta(minutes=1)  # what could not even be put off (a full disk) is tried again after this
Record = Callable[[Step], Awaitable[Recorded]]
GiveUp = Callable[[Work, Exception], Awaitable[None]]


class Failing:
    """Puts failed work off until its next moment; what has no next moment is given up through the hook of its kind."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._agenda: Agenda | None = None
        self._record: Record | None = None
        self._give_up: dict[str, GiveUp] = {}

    def bind(self, agenda: Agenda, record: Record) -> None:
        """Put-off work is recorded here and goes back there."""
        self._agenda, self._record = agenda, record

    def on_give_up(self, kind: str, hook: GiveUp) -> None:
        """Called when work of this kind has used up its attempts, or failed finally."""
        self._give_up[kind] = hook

    async def failed(self, work: Work, error: Exception) -> None:
        """One attempt failed. Never raises: a full disk must not end the process, and the row in the database is still due."""
        if isinstance(error, YizhanError):
            log.warning("%s: attempt %d failed: %s", work.key, work.attempts + 1, error)
        else:
            log.error("%s: attempt %d failed unexpectedly", work.key, work.attempts + 1, exc_info=error)
        try:
            await self._put_off_or_give_up(work, error)
        except JournalStopped:
            return  # the process is going down; the row is still there
        except Exception as trouble:
            log.exception("%s: could not be put off", work.key, exc_info=None if isinstance(trouble, YizhanError) else trouble)
            assert self._agenda is not None
            self._agenda.add(replace(work, due=self._clock.now() + UNRECORDED_REST))

    async def _put_off_or_give_up(self, work: Work, error: Exception) -> None:
        if isinstance(error, JournalStopped):
            return
        assert self._agenda is not None
        assert self._record is not None
        at = self._clock.now()
        moment = next_attempt(work.attempts + 1, at, random.random())  # noqa: S311  # jitter, not a secret
        final = isinstance(error, PeerProblem) and not error.facts.get("retryable", True)
        hook = self._give_up.get(work.kind)
        if hook is not None and (moment is None or final):
            await hook(work, error)
            return
        due = max(moment or at + timedelta(hours=1), at + _asked_for(error))
        later = replace(work, attempts=work.attempts + 1, due=due)
        await self._record(Step(changes=(Schedule(work=later),)))
        self._agenda.add(later)


def _asked_for(error: Exception) -> timedelta:
    """How long a peer asked us to wait (Retry-After)."""
    seconds = error.facts.get("retry_after") if isinstance(error, PeerProblem) else None
    return timedelta(seconds=seconds or 0)

"""What becomes of work that failed: put off with back-off, given up as stuck, or set aside. Nothing is ever just dropped.

Set aside is what our own code failed at too often: its row stays with the reason, due never, until a person has it done again. So one
poisoned document neither blocks its lane nor spins, and nobody has to look for it.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta

from crypto.content_cipher import StorageKey
from crypto.errors import YizhanError
from gateway.core.errors import JournalStopped, PeerProblem, Unreachable
from gateway.core.leaf import Leaf
from gateway.core.retry import LONGEST_REST, next_attempt
from gateway.core.step import SET_ASIDE, Schedule, Step, Work
from gateway.flow.agenda import Agenda, StillAway
from gateway.flow.clockguard import AUTHORITY, ClockUntrusted
from gateway.flow.ports import Clock, Recorded
from gateway.flow.trouble import MAX_DEFECTS, defects_of, is_defect, with_trouble

log = logging.getLogger("yizhan.flow")

UNRECORDED_REST = timedelta(minutes=1)  # what could not even be put off (a full disk) is tried again after this
# Whose giving up only presumes: the recipient's word still replaces it. Any other hook would end an exchange for a defect of ours.
STUCK_BY_DEFECT = frozenset({"deliver"})
Record = Callable[[Step], Awaitable[Recorded]]
GiveUp = Callable[[Work, Exception], Awaitable[None]]
Alarm = Callable[[Work], Leaf]


class Failing:
    """Puts failed work off until its next moment; what has no next moment is given up through the hook of its kind."""

    def __init__(self, clock: Clock, jitter: Callable[[], float] = random.random) -> None:
        self._clock = clock
        self._jitter = jitter  # no secret: it keeps many from trying at the same moment
        self._agenda: Agenda | None = None
        self._record: Record | None = None
        self._give_up: dict[str, GiveUp] = {}
        self._key: StorageKey | None = None
        self._alarm: Alarm | None = None

    def bind(self, agenda: Agenda, record: Record, *, key: StorageKey | None = None, alarm: Alarm | None = None) -> None:
        """Put-off work is recorded here and goes back there; why it failed is kept under ``key``, and ``alarm`` makes the leaf of what is
        set aside.
        """
        self._agenda, self._record, self._key, self._alarm = agenda, record, key, alarm

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
        if isinstance(error, PeerProblem):
            self._agenda.heard(work.peer)
        if isinstance(error, Unreachable) and work.peer:
            if not isinstance(error, StillAway):
                self._agenda.silent(work.peer)
            if self._agenda.looked_only(work):
                self._agenda.put_off(work, work.peer)
                return
        if self._key is not None:
            work = with_trouble(work, error, self._key, at)
        moment = next_attempt(work.attempts + 1, at, self._jitter())
        final = isinstance(error, PeerProblem) and not error.facts.get("retryable", True)
        poisoned = is_defect(error) and defects_of(work) >= MAX_DEFECTS
        hook = self._give_up.get(work.kind)
        if hook is not None and (moment is None or final or (poisoned and work.kind in STUCK_BY_DEFECT)):
            await self._give_up_by(hook, work, error)
        elif poisoned:
            await self._set_aside(work)
        else:
            due = max(moment or at + LONGEST_REST, at + _asked_for(error))
            later = replace(work, attempts=work.attempts + 1, due=due)
            await self._record(Step(changes=(Schedule(work=later),)))
            awaited = _awaited(work, error)
            if awaited:
                self._agenda.put_off(later, awaited)
            else:
                self._agenda.add(later)

    async def _give_up_by(self, hook: GiveUp, work: Work, error: Exception) -> None:
        """Through the hook of its kind; a hook our own code fails in leaves the work set aside."""
        try:
            await hook(work, error)
        except Exception as trouble:
            if not is_defect(trouble):
                raise
            log.exception("%s: could not be given up", work.key)
            await self._set_aside(work)

    async def _set_aside(self, work: Work) -> None:
        """Durable, with its leaf; the agenda knows nothing of it any more."""
        assert self._record is not None
        log.error("%s: set aside after %d tries our own code failed at; `yizhan queue` shows it", work.key, defects_of(work))
        aside = replace(work, attempts=work.attempts + 1, due=SET_ASIDE)
        leaves = (self._alarm(work),) if self._alarm is not None else ()
        await self._record(Step(changes=(Schedule(work=aside),), leaves=leaves))


def _asked_for(error: Exception) -> timedelta:
    """How long a peer asked us to wait (Retry-After); it may not talk us into waiting longer than anything of ours does."""
    seconds = error.facts.get("retry_after") if isinstance(error, PeerProblem) else None
    return min(timedelta(seconds=seconds or 0), LONGEST_REST)


def _awaited(work: Work, error: Exception) -> str:
    """Whose being away was the cause, where somebody's was: once it answers, there is no reason to wait any longer."""
    if isinstance(error, ClockUntrusted):
        return AUTHORITY
    if isinstance(error, Unreachable):
        return work.peer or AUTHORITY
    return ""

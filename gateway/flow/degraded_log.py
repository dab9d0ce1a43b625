"""Writing down what is away: a leaf when it begins, when its time is over and when it ends, and what a restart must not forget.

``look`` is called by the clock, each second. It writes only when something changed, once a minute while anything is away (so that a
restart knows how late it was), and says the same in the log, once a change.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec

from gateway.core.canonical import format_time, parse_time
from gateway.core.leaf import Leaf, LeafKind
from gateway.core.policy import Mode
from gateway.core.step import Remember, Step
from gateway.flow.degraded import Absence, Stand
from gateway.flow.leaves import Leaves
from gateway.flow.rooms import Rooms

log = logging.getLogger("yizhan.degraded")

KEPT_AS = "degraded"  # the name of the remembered value
SEEN_EVERY = timedelta(minutes=1)
AGAIN_AFTER = timedelta(minutes=1)  # what comes and goes is written down once in this time, or it would fill the log

_Key = tuple[Mode, str, str]  # mode, subject, level ("" where no level is concerned)


class KeptStand(msgspec.Struct, frozen=True, omit_defaults=True):
    """One level while something is away, as a restart and the doctor read it."""

    level: str
    until: str | None = None
    stopped: bool = False


class KeptAbsence(msgspec.Struct, frozen=True):
    """What was away when this gateway last looked."""

    mode: Mode
    subject: str
    since: str
    levels: tuple[KeptStand, ...]


class Kept(msgspec.Struct, frozen=True):
    """The remembered value: everything that was away, and when that was seen."""

    seen: str
    absences: tuple[KeptAbsence, ...]


def kept_from(text: str) -> Kept:
    """The remembered value. Raises msgspec.MsgspecError for what we did not write."""
    return msgspec.json.decode(text, type=Kept)


@dataclass(frozen=True, slots=True)
class _Note:
    """What was written down about one level."""

    since: datetime
    stopped: bool


class DegradedLog:
    """Keeps what is away, across restarts, and tells it."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms
        self._leaves = Leaves(rooms.standing)
        self._noted: dict[_Key, _Note] = {}
        self._written: dict[_Key, datetime] = {}
        self._seen: datetime | None = None

    async def load(self) -> None:
        """What was away when the last run ended, before anything is taken."""
        text = await self._rooms.ledger.remembered(KEPT_AS)
        if text is None:
            return
        try:
            kept = kept_from(text)
        except msgspec.MsgspecError:
            log.exception("what was away before the restart cannot be read; its time begins anew")
            return
        since: dict[tuple[Mode, str], datetime] = {}
        for absence in kept.absences:
            since[absence.mode, absence.subject] = moment = parse_time(absence.since)
            for stand in absence.levels or (KeptStand(level=""),):
                self._noted[absence.mode, absence.subject, stand.level] = _Note(moment, stand.stopped)
        self._seen = parse_time(kept.seen)
        self._rooms.degraded.restore(since, self._seen)

    async def look(self) -> None:
        """Compare with what was written down, and write what changed. Raises what the journal raises."""
        degraded = self._rooms.degraded
        absences, moment = degraded.absences(), degraded.moment()
        now = _standing_of(absences)
        leaves, noted = self._changes(now, moment)
        overdue = bool(noted) and (self._seen is None or moment - self._seen >= SEEN_EVERY)
        if not leaves and not overdue:
            return
        kept = Kept(seen=format_time(moment), absences=tuple(_kept(each) for each in absences if _is_noted(each, noted)))
        value = msgspec.json.encode(kept).decode()
        await self._rooms.record(Step(changes=(Remember(name=KEPT_AS, value=value),), leaves=tuple(leaves)))
        self._tell(noted, absences)
        self._noted, self._seen = noted, moment

    def _changes(self, now: dict[_Key, tuple[Absence, Stand | None]], moment: datetime) -> tuple[list[Leaf], dict[_Key, _Note]]:
        at, leaves, noted = self._rooms.clock.now(), list[Leaf](), dict[_Key, _Note]()
        for key, (absence, stand) in now.items():
            before, stopped = self._noted.get(key), stand is not None and stand.stopped
            if before is None:
                last = self._written.get(key)
                if last is not None and moment - last < AGAIN_AFTER:
                    continue  # written down when it has lasted
                self._written[key] = moment
                leaves.append(self._leaf(at, "began", key, absence.since, stand))
            elif stopped and not before.stopped:
                leaves.append(self._leaf(at, "over", key, absence.since, stand))
            noted[key] = _Note(before.since if before else absence.since, stopped)
        leaves += [self._leaf(at, "ended", key, note.since, None) for key, note in self._noted.items() if key not in now]
        self._written = {key: written for key, written in self._written.items() if key in noted or moment - written < AGAIN_AFTER}
        return leaves, noted

    def _leaf(self, at: datetime, outcome: str, key: _Key, since: datetime, stand: Stand | None) -> Leaf:
        mode, subject, level = key
        until = stand.until if stand is not None else None
        return self._leaves.leaf(
            LeafKind.DEGRADED,
            at,
            outcome,
            reason=mode,
            level=level or None,
            dst=subject if mode == "peer-away" else None,
            since=format_time(since),
            until=format_time(until) if until is not None else None,
        )

    def _tell(self, noted: dict[_Key, _Note], absences: Sequence[Absence]) -> None:
        """One line a thing that came, went, or whose time is over."""
        for absence in absences:
            keys = [key for key in noted if key[:2] == (absence.mode, absence.subject)]
            if any(self._noted.get(key) is None or self._noted[key].stopped != noted[key].stopped for key in keys):
                log.warning("degraded: %s", described(absence))
        for mode, subject in {key[:2] for key in self._noted} - {key[:2] for key in noted}:
            log.warning("degraded no more: %s", f"{mode} {subject}".rstrip())


def described(absence: Absence) -> str:
    """What is away, since when, and how each level stands, in one line."""
    stands = (
        f"{stand.level} {'stopped' if stand.stopped else f'until {stand.until:%F %T}Z' if stand.until else 'careful'}"
        for stand in absence.stands
    )
    return f"{f'{absence.mode} {absence.subject}'.rstrip()} since {absence.since:%F %T}Z: {', '.join(stands) or 'no level concerned'}"


def _standing_of(absences: Sequence[Absence]) -> dict[_Key, tuple[Absence, Stand | None]]:
    """One entry a level; a peer and what concerns no level have a single one."""
    found: dict[_Key, tuple[Absence, Stand | None]] = {}
    for absence in absences:
        stands: Sequence[Stand | None] = absence.stands or (None,)
        if absence.mode == "peer-away":  # no level differs from another but in its patience: the least patient one tells
            stands = (_first_over(absence.stands),)
        for stand in stands:
            level = "" if stand is None or absence.mode == "peer-away" else stand.level
            found[absence.mode, absence.subject, level] = (absence, stand)
    return found


def _first_over(stands: Sequence[Stand]) -> Stand:
    first = min(stands, key=lambda stand: stand.left or 0.0)
    return Stand(level=first.level, until=first.until, left=first.left, stopped=first.left == 0.0)


def _is_noted(absence: Absence, noted: dict[_Key, _Note]) -> bool:
    return any(key[:2] == (absence.mode, absence.subject) for key in noted)


def _kept(absence: Absence) -> KeptAbsence:
    stands = (_first_over(absence.stands),) if absence.mode == "peer-away" else absence.stands
    return KeptAbsence(
        mode=absence.mode,
        subject=absence.subject,
        since=format_time(absence.since),
        levels=tuple(
            KeptStand(
                level="" if absence.mode == "peer-away" else stand.level,
                until=format_time(stand.until) if stand.until is not None else None,
                stopped=stand.stopped,
            )
            for stand in stands
        ),
    )

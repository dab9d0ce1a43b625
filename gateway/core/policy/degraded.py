"""What may go on while something is away, and until when: the ``[degraded]`` tables of a policy as values (docs/policy.md).

A lapse is a fact: what is away, and since when. An allowance is the policy's word about one level. Together they give a moment, and
nothing is permitted after it. Without a table the answer is the strict one. No file reaches beyond the ceilings below.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Literal, get_args

Mode = Literal["time-authority", "crl-stale", "directory-expired", "key-away", "disk-low", "clock", "peer-away"]
MODES: Final[tuple[Mode, ...]] = get_args(Mode)

NONE: Final = timedelta(0)
# A certificate stolen today is dead everywhere tomorrow: lists are issued daily, and one missed issue is what a grace is for.
LONGEST_CRL_GRACE: Final = timedelta(hours=24)
# A directory says who exists and with which keys; three days is a weekend in which nobody could mend its publication.
LONGEST_DIRECTORY_GRACE: Final = timedelta(hours=72)
# The clock is good while a token is younger than this (DESIGN 5). Who waits for a token waits with a clock nobody confirms.
LONGEST_CONFIRMATION: Final = timedelta(hours=1)
LONGEST_WAIT: Final = LONGEST_CONFIRMATION
# Attempts to reach a peer are used up after about ten days; who is told later is told too late.
LONGEST_SILENCE: Final = timedelta(days=10)

_END_OF_TIME: Final = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lapse:
    """Something a decision would rest on is away, since that moment."""

    mode: Mode
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskLimits:
    """Free bytes below which documents of a level wait first, long before the head-room stops everything; 0: they do not."""

    large: int = 0  # bytes from which a document is large
    large_waits: int = 0
    routine_waits: int = 0  # 平件 and 加急

    def waits(self, *, free: int, size: int, routine: bool) -> bool:
        """Whether a document of that size has to wait for room."""
        return (size >= self.large and free < self.large_waits) or (routine and free < self.routine_waits)


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """What one level may do while something is away. Every default is the strict one."""

    strict: bool = False  # nothing at all is forgiven, and offers do not even wait taken
    without_time_authority: bool = False  # go on unstamped; only where the level needs no timestamp
    time_authority_wait: timedelta = LONGEST_WAIT  # offers are taken for so long, and wait for their token
    crl_grace: timedelta = NONE  # a revocation list counts for so long past its next update
    directory_grace: timedelta = NONE  # a directory for so long past its end
    clock_confirmation: timedelta = LONGEST_CONFIRMATION  # a token confirms our clock for so long
    disk: DiskLimits = DiskLimits()
    peer_warn_after: timedelta = timedelta(minutes=15)
    peer_escalate_after: timedelta = timedelta(hours=4)

    def until(self, lapse: Lapse, *, timestamp_required: bool) -> datetime:
        """The last moment at which a document may be decided in spite of the lapse; its begin where nothing is forgiven."""
        match lapse.mode:
            case "time-authority" if self.without_time_authority and not timestamp_required:
                return _END_OF_TIME
            case "time-authority" if timestamp_required:
                return later(lapse.since, self.time_authority_wait)
            case "crl-stale":
                return later(lapse.since, self.crl_grace)
            case "directory-expired":
                return later(lapse.since, self.directory_grace)
            case "peer-away":
                return _END_OF_TIME
            case _:
                return lapse.since

    def permits(self, lapse: Lapse, at: datetime, *, timestamp_required: bool) -> bool:
        """Whether a document may be decided at that moment in spite of the lapse."""
        return at <= self.until(lapse, timestamp_required=timestamp_required)

    def graces(self) -> Iterator[tuple[str, timedelta]]:
        """Every length of time in which something is forgiven, by its key in the file: the longer, the freer."""
        yield "time_authority_wait", self.time_authority_wait
        yield "crl_grace", self.crl_grace
        yield "directory_grace", self.directory_grace
        yield "clock_confirmation", self.clock_confirmation


DEFAULT: Final = Allowance()
STRICT: Final = Allowance(strict=True, time_authority_wait=NONE)


def later(moment: datetime, span: timedelta) -> datetime:
    """The moment so much later; a calendar that ends is no reason to fail."""
    try:
        return moment + span
    except OverflowError:
        return _END_OF_TIME

"""The four urgencies 紧急程度, fixed: policy files give each its deadline and weight; and what a deadline asks for as it draws near.

Documents are marked 特急 or 加急, telegrams 特提, 特急, 加急 or 平急 (GB/T 9704-2012 7.2.3); one scale serves both.

A deadline warns and never ends anything: its steps are moments at which somebody is told, each once. First the percentages policy names,
then, while nothing happened, once a day.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from crypto.errors import RemoteError


class UnknownUrgency(RemoteError):
    """No urgency has that id or Chinese name. Fact: ``urgency``."""

    code = "unknown-urgency"


@dataclass(frozen=True, slots=True, kw_only=True)
class Urgency:
    """One row of the table; a larger rank is more urgent."""

    id: str
    rank: int
    zh: str


ROUTINE = Urgency(id="routine", rank=0, zh="平件")
URGENT = Urgency(id="urgent", rank=1, zh="加急")
IMMEDIATE = Urgency(id="immediate", rank=2, zh="特急")
FLASH = Urgency(id="flash", rank=3, zh="特提")

URGENCIES: dict[str, Urgency] = {urgency.id: urgency for urgency in (ROUTINE, URGENT, IMMEDIATE, FLASH)}
OLD_WORDS: dict[str, Urgency] = {"急件": URGENT}  # abolished in 2012; understood, with a warning
_WORDS: dict[str, Urgency] = {
    **URGENCIES,
    **{urgency.zh: urgency for urgency in URGENCIES.values()},
    **OLD_WORDS,
    "平急": ROUTINE,
    "无": ROUTINE,
}


def urgency_named(word: str) -> Urgency:
    """The urgency of that id or Chinese name. Raises UnknownUrgency."""
    try:
        return _WORDS[word]
    except KeyError:
        raise UnknownUrgency(f"no urgency {word[:40]!r}", urgency=word[:40]) from None


NAG_EVERY = timedelta(days=1)  # beyond the last percentage; more often is noise, more seldom is forgotten


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadline:
    """By when something is wanted, counted from a beginning, and the steps at which that is said: percentages of the time, rising."""

    begun: datetime
    within: timedelta
    remind_at: tuple[int, ...]

    @property
    def ends(self) -> datetime:
        """The deadline itself."""
        return self.begun + self.within

    def moment(self, step: int) -> datetime | None:
        """When that step is reached, counted from 0; None for all of them where policy names no percentage."""
        named = len(self.remind_at)
        if not named:
            return None
        if step < named:
            return self.begun + self.within * self.remind_at[step] / 100
        last = max(self.ends, self.begun + self.within * self.remind_at[-1] / 100)
        return last + NAG_EVERY * (step - named + 1)

    def reached(self, at: datetime) -> int:
        """How many steps lie behind."""
        steps = 0
        while (moment := self.moment(steps)) is not None and moment <= at:
            steps += 1
        return steps

    def percent(self, at: datetime) -> int:
        """How much of the time has gone by; beyond 100 the deadline is past."""
        return int((at - self.begun) / self.within * 100)

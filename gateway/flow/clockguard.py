"""Whether our clock may be believed: a time-stamping authority's word, carried forward by the monotonic clock.

Good while |now - last token's time - monotonic elapsed| stays within the tolerance and a token is younger than an hour; a gateway whose
clock is not good accepts nothing (fail closed), because every deadline and signature would be dated by it.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from crypto.errors import LocalError

TOLERANCE = timedelta(seconds=2)
AUTHORITY = (
    "time authority"  # what work waits for that failed for want of a token or of a confirmed clock; no gateway has a name with a space
)
_SURELY = 1.9  # seconds; as good as TOLERANCE, computed in floats, and the exact rule is asked about what is nearer to it
TOKEN_AGE = timedelta(hours=1)  # an unstamped gateway asks for a token of its own long before
_TOKEN_SECONDS = TOKEN_AGE.total_seconds()


class ClockUntrusted(LocalError):
    """Our clock and the time authority's disagree, or no authority spoke for too long. Fact: ``drift`` in seconds or None."""

    code = "clock-untrusted"


class ClockGuard:
    """Remembers the last verified token and compares."""

    def __init__(self) -> None:
        self._stamped: datetime | None = None
        self._mono = 0.0
        self._offset = 0.0  # between the authority's time and the clock nobody sets, in seconds
        self._newest_leaf: datetime | None = None

    def saw_token(self, stamped: datetime, mono: float) -> None:
        """A verified token gave this time, just now."""
        self._stamped, self._mono, self._offset = stamped, mono, stamped.timestamp() - mono

    def saw_leaf(self, at: datetime) -> None:
        """The newest leaf's time: the clock must never go back behind it."""
        self._newest_leaf = at

    def drift(self, now: datetime, mono: float) -> timedelta | None:
        """How far we are from the authority's time carried forward; None before the first token."""
        if self._stamped is None:
            return None
        return now - self._stamped - timedelta(seconds=mono - self._mono)

    @property
    def confirmed(self) -> datetime | None:
        """What time the last token gave."""
        return self._stamped

    def left(self, mono: float, age: timedelta = TOKEN_AGE) -> timedelta:
        """How long the last token still confirms our clock; nothing where none came."""
        return timedelta(0) if self._stamped is None else max(timedelta(0), age - timedelta(seconds=mono - self._mono))

    def check_dates(self, now: datetime, mono: float) -> None:
        """Whether anything may be dated by our clock: an authority confirmed it since this process began, and nobody set it since.

        Raises ClockUntrusted. A leaf, a receipt, an end dated by a wrong clock cannot be taken back; the log's time never goes back.
        """
        if self._stamped is not None and abs(now.timestamp() - mono - self._offset) <= _SURELY:
            return  # asked for every record
        drift = self.drift(now, mono)
        if drift is None:
            raise ClockUntrusted("no time authority has answered yet", drift=None)
        if abs(drift) > TOLERANCE:
            raise ClockUntrusted(f"our clock is {drift.total_seconds():.1f} s off the time authority", drift=drift.total_seconds())

    def believed(self, now: datetime, mono: float) -> datetime:
        """What time it is: by our clock, or by the authority's word carried forward where our clock is known to be wrong."""
        drift = self.drift(now, mono)
        return now if drift is None or abs(drift) <= TOLERANCE else now - drift

    def check(self, now: datetime, mono: float, age: timedelta = TOKEN_AGE) -> None:
        """Whether anything may be taken or accepted. Raises ClockUntrusted.

        ``age``: policy may let a token confirm our clock for less than the hour.
        """
        self.check_dates(now, mono)
        silent = mono - self._mono
        if silent > min(age.total_seconds(), _TOKEN_SECONDS):
            raise ClockUntrusted(f"no time authority has answered for {_spelled(min(age, TOKEN_AGE))}", drift=self._seconds(now, mono))
        if self._newest_leaf is not None and now + TOLERANCE < self._newest_leaf:
            raise ClockUntrusted("our clock is behind our own audit log", drift=self._seconds(now, mono))

    def _seconds(self, now: datetime, mono: float) -> float:
        drift = self.drift(now, mono)
        assert drift is not None
        return drift.total_seconds()

    def good(self, now: datetime, mono: float, age: timedelta = TOKEN_AGE) -> bool:
        """For those who only wait for better times; whoever acts calls ``check``."""
        try:
            self.check(now, mono, age)
        except ClockUntrusted:
            return False
        return True


def _spelled(age: timedelta) -> str:
    return "an hour" if age == TOKEN_AGE else f"{age.total_seconds():.0f} s"

"""When to try again: exponential back-off with full jitter, and when to stop trying.

The moment and the jitter are arguments; where the attempts are counted is the database's business. A peer that calls us resets the
count, so the ceiling below only meets a peer that was silent all the time.
"""

from __future__ import annotations

from datetime import datetime, timedelta

FIRST_WAIT = timedelta(seconds=1)
LONGEST_WAIT = timedelta(minutes=15)  # of one document; a peer that is back is found by whichever of them looks (flow/agenda.py)
SHORTEST_WAIT = timedelta(milliseconds=100)  # full jitter may draw zero; a busy loop must not come of it
LONGEST_REST = timedelta(hours=1)  # whatever asked for it; a moment further away was written down by a clock that was wrong
MAX_ATTEMPTS = 2_000  # at 7.5 minutes on average about ten days: longer than any holiday, shorter than a document's life
_DOUBLINGS = 10  # 1 s doubled ten times is beyond the longest wait; a larger exponent would only make large numbers


def next_attempt(attempts: int, at: datetime, jitter: float) -> datetime | None:
    """The moment of the next attempt after ``attempts`` failed ones, or None when they are used up (STUCK).

    ``jitter`` is drawn uniformly from [0, 1] by the caller.
    """
    if attempts < 1 or not 0.0 <= jitter <= 1.0:
        raise AssertionError(f"internal: attempts {attempts}, jitter {jitter}")
    if attempts >= MAX_ATTEMPTS:
        return None
    ceiling = min(LONGEST_WAIT, FIRST_WAIT * (1 << min(attempts - 1, _DOUBLINGS)))
    return at + max(SHORTEST_WAIT, ceiling * jitter)

"""Whose turn it is: what is due is done in the order of its turn, the smallest first.

The turn is the moment a work became due, less what its weight is worth. A weight ten times as large goes before everything that became
due up to an hour earlier, and before nothing older: however many urgent documents keep coming, one without urgency waits for none of
those that come more than ``LONGEST_LEAD`` after it.
"""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from functools import lru_cache

A_FACTOR_OF_TEN = timedelta(hours=1)  # a routine backlog of some hours steps aside for flash, immediate and urgent, in this order
LONGEST_LEAD = timedelta(hours=6)  # weights of a million and more; the usual largest weight, 1,000, leads by three hours


def lead(weight: int) -> timedelta:
    """How much older a work without weight must be to go before one of this weight."""
    return min(LONGEST_LEAD, A_FACTOR_OF_TEN * math.log10(max(weight, 1)))


@lru_cache(maxsize=1024)
def _lead_seconds(weight: int) -> float:
    return lead(weight).total_seconds()


def turn(weight: int, due: datetime) -> float:
    """The place of a work in its lane; a smaller one goes first."""
    return due.timestamp() - _lead_seconds(weight)

"""Several logs in one database, one after the other: how their leaves share one table.

A log that was put back from an older copy is never appended to, for it has signed more than it holds; a new one with an origin of its own
goes on beside it, and the old one stays as it is, to be proved for ever. Row numbers (``place``) carry both: the epoch above EPOCH_BITS,
the index within its log below. In the first epoch the two are the same number. Because a log begins at a multiple of 2^EPOCH_BITS, a
subtree has one number in the table too: the place of any of its leaves, shifted by its level.

Everything outside the store speaks of places where it means a row, and of index and size only together with an origin.
"""

from __future__ import annotations

from typing import Final

EPOCH_BITS: Final = 40  # 10^12 leaves a log; 2^23 logs in the 63 bits a row number has
_INDEX: Final = (1 << EPOCH_BITS) - 1


def first_place(epoch: int) -> int:
    """The place of the first leaf of an epoch; epochs count from 1."""
    return (epoch - 1) << EPOCH_BITS


def epoch_of(place: int) -> int:
    """The epoch a leaf at that place belongs to."""
    return (place >> EPOCH_BITS) + 1


def index_of(place: int) -> int:
    """The index of a leaf within its own log."""
    return place & _INDEX


def last_place(place: int) -> int:
    """The largest place of the log that holds this one: where its checkpoints end."""
    return place | _INDEX

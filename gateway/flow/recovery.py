"""What a start found: how the run before ended, what it left to do, and whether what it promised is still there. Said in one line.

Recovering is not an act of its own here: the journal has compared tree, checkpoint and mark before anything else was opened, and what is
due is due again by the rows that say so. This looks once more at what only a disk can lose behind the database's back, the content of
exchanges that are still open, and tells the operator what there is.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from gateway.core.leaf import Leaf, LeafKind
from gateway.core.step import Work
from gateway.flow.rooms import Rooms


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The state a start found, before it wrote anything."""

    leaves: int
    orderly: bool  # the run before wrote its last leaf; a first start is orderly too
    uploads: int
    missing: tuple[str, ...]  # blobs that due works want and that are not there

    def line(self, due: Sequence[Work], *, more: bool) -> str:
        """One line for the log; ``more``: not all that is due is held in memory."""
        before = "the last run ended in order" if self.orderly else "recovered: the last run was cut off"
        kinds = Counter(work.kind for work in due)
        works = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items())) or "none"
        lost = f"; {len(self.missing)} contents MISSING ({', '.join(self.missing[:3])}): run fsck" if self.missing else ""
        return (
            f"{before if self.leaves else 'first start'}; {self.leaves} leaves, proved to their checkpoint; "
            f"works due: {works}{' and more' if more else ''}; uploads going on: {self.uploads}{lost}"
        )


async def look(rooms: Rooms) -> Found:
    """What there is."""
    checkpoint = await rooms.ledger.latest_checkpoint()
    size = checkpoint.size if checkpoint is not None else 0
    newest = await rooms.ledger.leaf(checkpoint.place - 1) if checkpoint is not None else None
    return Found(
        leaves=size,
        orderly=newest is None or Leaf.from_bytes(newest).kind is LeafKind.STOPPED,
        uploads=len(rooms.uploads.all()),
        missing=await _missing(rooms),
    )


async def _missing(rooms: Rooms) -> tuple[str, ...]:
    """Blobs that due works will want to read and that are not on the disk."""
    wanted = await rooms.ledger.wanted_blobs()
    return await asyncio.to_thread(lambda: tuple(name for name in wanted if not rooms.blobs.has(name)))

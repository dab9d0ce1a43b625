"""What nobody will ever ask for again: uploads whose sender gave up or whose exchange is decided, blobs no transaction came to name.

Nothing stated hangs on either, so a line of the log and no leaf says what went.
"""

from __future__ import annotations

import asyncio
import logging
from itertools import islice

from gateway.flow.inbound import Inbound
from gateway.flow.rooms import Rooms

log = logging.getLogger("yizhan.journey")

SWEEP_EVERY = 24 * 3600.0
UPLOAD_IDLE = 7 * 24 * 3600.0  # seconds without a byte; a sender that lives tries at least every 15 minutes
BLOB_AGE = 3600.0  # seconds; between a blob's rename and the transaction that names it lie moments
_AT_ONCE = 256  # names asked about in one question


class Leftovers:
    """Sweeps at start and daily."""

    def __init__(self, rooms: Rooms, inbound: Inbound) -> None:
        self._rooms = rooms
        self._inbound = inbound

    async def sweep(self) -> None:
        """Discard dead uploads and blobs nobody names."""
        for exchange in await self._inbound.sweep_uploads(UPLOAD_IDLE):
            log.info("the upload of exchange %s was given up or decided; what had come of it is discarded", exchange)
        await self._sweep_blobs()

    async def _sweep_blobs(self) -> None:
        rooms = self._rooms
        old = rooms.blobs.older_than(BLOB_AGE)
        while names := await asyncio.to_thread(lambda: tuple(islice(old, _AT_ONCE))):
            for name in await rooms.ledger.unnamed_blobs(names):
                await asyncio.to_thread(rooms.blobs.remove, name)
                log.info("blob %s belongs to no exchange and is removed", name)

"""Running a pilot authority: its ports, and new lists and directory before the old ones grow stale."""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from datetime import UTC, datetime

from crypto.suites import SUITES
from crypto.tsa import TimeAuthority
from gateway.config import split_address
from gateway.net.authority_server import AuthorityServer
from gateway.pilot import TSA_POLICY, PilotAuthority
from gateway.pilot_records import SerialNumbers

ACCURACY_MS = 1000  # what a machine whose clock is set over the network may promise
REFRESH_SECONDS = 600.0

log = logging.getLogger(__name__)


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()


def serve_authority(authority: PilotAuthority) -> int:
    """Serve until SIGTERM or Ctrl-C; 0. Raises OSError when a port is taken."""
    asyncio.run(_serve(authority))
    return 0


async def _serve(authority: PilotAuthority) -> None:
    clock = SystemClock()
    serials = SerialNumbers(authority.folder)
    stamping = {
        suite: TimeAuthority(signer=authority.signer(f"tsa-{suite}"), policy=TSA_POLICY, accuracy_ms=ACCURACY_MS) for suite in SUITES
    }
    server = AuthorityServer(authority.public, stamping, serials.next, clock)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        if authority.stream is not None:
            await server.start_stream(*split_address(authority.stream))
        await server.start(*split_address(authority.listen))
        log.info("pilot authority listens on %s, for lasting connections on %s", authority.listen, authority.stream or "none")
        async with asyncio.TaskGroup() as tasks:
            refreshing = tasks.create_task(_refresh(authority, clock), name="authority refresh")
            await stop.wait()
            refreshing.cancel()
    finally:
        await server.stop()


async def _refresh(authority: PilotAuthority, clock: SystemClock) -> None:
    while True:
        if await asyncio.to_thread(lambda: authority.refresh(at=clock.now())):
            log.info("revocation lists and directory published anew")
        await asyncio.sleep(REFRESH_SECONDS)

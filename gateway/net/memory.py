"""Memory a crowd left behind goes back to the system.

The C library keeps freed memory that lies between pieces still in use, and a crowd of connections scatters much of it: what had its peak stays
resident for good although nothing holds it. Nothing here changes what is in use.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
from collections.abc import Callable

REST_SECONDS = 10.0  # from the first connection that ended until memory is given back: once for all that end meanwhile


def _found() -> Callable[[int], int] | None:
    try:
        return ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # not glibc: others give back by themselves
        return None


_trim = _found()


class GivingBack:
    """Called whenever a connection ended; works a while later in a thread, and never while nothing happens. ``close`` once."""

    def __init__(self, rest_seconds: float = REST_SECONDS) -> None:
        self._rest = rest_seconds
        self._waiting: asyncio.TimerHandle | None = None

    def soon(self) -> None:
        """Give back in a while, unless that is going to happen anyway."""
        if self._waiting is None and _trim is not None:
            self._waiting = asyncio.get_running_loop().call_later(self._rest, self._now)

    def close(self) -> None:
        """No more. Harmless twice."""
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def _now(self) -> None:
        self._waiting = None
        gc.collect(1)  # ended connections stand in circles with their buffers; the oldest generation would take 60 ms
        assert _trim is not None
        asyncio.get_running_loop().run_in_executor(None, _trim, 0)  # a thread: ctypes lets the others run meanwhile

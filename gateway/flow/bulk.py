"""Bulk: content too large for one request. It takes its time, and is kept out of the way of everything that does not.

Three grades: small (one request), large, huge (minutes and more). A work that moves bulk says so in its ``detail``, by the size in decimal
digits; the agenda gives each grade lanes of its own, and its blocking acts run here instead of on a stage, in threads of their own. So a
page never waits for a volume, and a volume never for an archive.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from enum import IntEnum
from functools import partial
from typing import Final, ParamSpec, TypeVar

from crypto.errors import LocalError
from gateway.core.step import Work, WorkKind

P = ParamSpec("P")
R = TypeVar("R")

LARGE: Final = 1024 * 1024  # above it: more than one request carries beside its cover (docs/protocol.md)
HUGE: Final = 256 * 1024 * 1024  # above it: seconds of a processor for each act, and minutes on a slow line
_KINDS: Final[frozenset[WorkKind]] = frozenset({"seal", "deliver", "hand-over"})
_MAX_DIGITS: Final = 20
LARGE_AT_ONCE: Final = 2  # acts of each grade in one direction; each keeps half a processor and the disk busy
HUGE_AT_ONCE: Final = 1  # two would halve each other's disk and gain nothing


class Stopping(LocalError):
    """The gateway is going down; what was under way is due at the next start."""

    code = "stopping"


class Grade(IntEnum):
    """How much is moved."""

    SMALL = 0
    LARGE = 1
    HUGE = 2


def grade(size: int) -> Grade:
    """The grade of so many bytes."""
    return Grade.SMALL if size <= LARGE else Grade.LARGE if size <= HUGE else Grade.HUGE


def size_note(size: int) -> bytes:
    """The ``detail`` of a work about so many bytes; empty where they are few."""
    return b"" if grade(size) is Grade.SMALL else b"%d" % size


def size_of(work: Work) -> int:
    """The bytes a work moves, or 0 where they are few."""
    noted = work.detail if work.kind in _KINDS else b""
    return int(noted) if noted.isdigit() and len(noted) <= _MAX_DIGITS else 0


class Heavy:
    """Runs long blocking acts in threads of their own, a few of each grade at a time; whoever comes next waits in order."""

    def __init__(self, name: str) -> None:
        self._slots = {Grade.LARGE: asyncio.Semaphore(LARGE_AT_ONCE), Grade.HUGE: asyncio.Semaphore(HUGE_AT_ONCE)}
        self._threads = ThreadPoolExecutor(LARGE_AT_ONCE + HUGE_AT_ONCE, thread_name_prefix=f"heavy-{name}")

    async def run(self, size: int, act: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """The result of ``act``, which moves about so many bytes; raises what it raises."""
        async with self._slots[max(grade(size), Grade.LARGE)]:
            return await asyncio.get_running_loop().run_in_executor(self._threads, partial(act, *args, **kwargs))

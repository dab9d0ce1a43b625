"""Bulk: content too large for one request. It takes its time, and is kept out of the way of everything that does not.

A work that moves bulk says so in its ``detail``, by the size in decimal digits; the agenda gives it a lane of its own, and its blocking
acts run here instead of on a stage, a few at a time and in threads of their own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, ParamSpec, TypeVar

from gateway.core.step import Work, WorkKind

P = ParamSpec("P")
R = TypeVar("R")

BULK: Final = 1024 * 1024  # as much as one request carries beside its cover (docs/protocol.md)
_KINDS: Final[frozenset[WorkKind]] = frozenset({"seal", "deliver", "hand-over"})
_MAX_DIGITS: Final = 20


def size_note(size: int) -> bytes:
    """The ``detail`` of a work about so many bytes; empty where they are few."""
    return b"%d" % size if size > BULK else b""


def size_of(work: Work) -> int:
    """The bytes a work moves, or 0 where they are few."""
    noted = work.detail if work.kind in _KINDS else b""
    return int(noted) if noted.isdigit() and len(noted) <= _MAX_DIGITS else 0


def is_bulk(work: Work) -> bool:
    """Whether a work goes into the lanes of bulk."""
    return size_of(work) > BULK


class Heavy:
    """At most ``width`` long blocking acts at a time, off the event loop; whoever comes next waits in order."""

    def __init__(self, width: int) -> None:
        self._slots = asyncio.Semaphore(width)

    async def run(self, act: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """The result of ``act``; raises what it raises."""
        async with self._slots:
            return await asyncio.to_thread(act, *args, **kwargs)

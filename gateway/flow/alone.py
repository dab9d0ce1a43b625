"""One at a time under a name: who writes an upload, who states something about an exchange.

A name takes room only while somebody holds it or waits for it, so that strangers who invent names cost nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator


class Alone:
    """Locks by name."""

    def __init__(self) -> None:
        self._held: dict[str, tuple[asyncio.Lock, int]] = {}

    @contextlib.asynccontextmanager
    async def under(self, name: str) -> AsyncIterator[None]:
        """Wait for whoever is there, then be alone under that name."""
        lock, users = self._held.get(name, (asyncio.Lock(), 0))
        self._held[name] = (lock, users + 1)
        try:
            async with lock:
                yield
        finally:
            lock, users = self._held[name]
            if users == 1:
                del self._held[name]
            else:
                self._held[name] = (lock, users - 1)

    def taken(self, name: str) -> bool:
        """Whether somebody is there or waits."""
        return name in self._held

    def __len__(self) -> int:
        return len(self._held)

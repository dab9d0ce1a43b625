"""What was just made or opened and will be needed in a moment, kept in memory within a ceiling in bytes.

Only a shortcut: everything in here can be read again from what survives. A miss costs a read, never a document.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

V = TypeVar("V")


class Hot(Generic[V]):
    """A bounded map; the oldest goes first. Values larger than the whole ceiling are not kept."""

    def __init__(self, ceiling: int) -> None:
        self._ceiling = ceiling
        self._used = 0
        self._values: OrderedDict[str, tuple[V, int]] = OrderedDict()

    def put(self, key: str, value: V, size: int) -> None:
        """Keep ``value``, counted as ``size`` bytes."""
        self.drop(key)
        if size > self._ceiling:
            return
        self._values[key] = (value, size)
        self._used += size
        while self._used > self._ceiling:
            _, (_, freed) = self._values.popitem(last=False)
            self._used -= freed

    def get(self, key: str) -> V | None:
        """The value, if it is still here."""
        found = self._values.get(key)
        return found[0] if found else None

    def drop(self, key: str) -> None:
        """Forget ``key``."""
        found = self._values.pop(key, None)
        if found:
            self._used -= found[1]

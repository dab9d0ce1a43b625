"""An office system made of folders: what every OA can be brought to write and read.

``outbox/<name>/``   document.json, the files it names, and ``.ready`` last: an approved document on its way out
``sent/<exchange>/`` the same folder once it was taken, with ``status.json`` that follows the receipts
``refused/<name>/``  the same folder when it may not go, with ``reasons.json``
``inbox/<exchange>/`` a document that came: document.json, its files, ``status.json``; ``SIGNED`` or ``RETURNED`` put there is the answer

Here every verb is one hop to a worker thread; what happens there stands in ``folder_tray`` (out) and ``folder_inbox`` (in). Whoever
asks decides how often: one walk of the tray costs a look at the names, and reading again only what changed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal

from adapters.folder_files import make_root
from adapters.folder_inbox import Inbox
from adapters.folder_tray import Tray
from gateway.core.explain import Reason
from gateway.flow.ports import Act, BadOffer, Delivery, Offer, Status

FOLDERS: Final = ("outbox", "sent", "refused", "inbox")
BATCH: Final = 16  # offers read in one hop: few hops, and the first is on its way before the last is read


class FolderOffice:
    """The office at ``root``. One process at a time works on it. Raises OSError when the folders cannot be made.

    ``alias`` gives what stands for the name of an offer in the log: people put titles into the names of their folders.
    """

    certainty: Literal["ask", "unique", "blind"] = "ask"  # a document that is there can be seen

    def __init__(
        self,
        root: Path,
        *,
        name: str = "folder",
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        alias: Callable[[str], str] = lambda _: "…",
    ) -> None:
        self.name = name
        make_root(root, FOLDERS)
        self._tray = Tray(root, now, alias)
        self._inbox = Inbox(root)
        self._inbox.sweep()

    async def offers(self) -> AsyncIterator[Offer | BadOffer]:
        """What waits in the outbox, longest waiting first; ends when it was walked once. Raises OfficeUnavailable."""
        names = await asyncio.to_thread(self._tray.ready)
        for start in range(0, len(names), BATCH):
            for offer in await asyncio.to_thread(self._tray.look, names[start : start + BATCH]):
                yield offer

    async def fetch(self, source: str, exchange: str) -> Offer:
        """The offer again. Raises OfferGone, OfficeUnavailable."""
        return await asyncio.to_thread(self._tray.fetch, source, exchange)

    async def settle(self, source: str, exchange: str) -> None:
        """To ``sent``. Raises OfficeUnavailable."""
        await asyncio.to_thread(self._tray.settle, source, exchange)

    async def refuse(self, source: str, reasons: Sequence[Reason]) -> None:
        """To ``refused``. Raises OfficeUnavailable."""
        await asyncio.to_thread(self._tray.refuse, source, reasons)

    async def report(self, status: Status) -> None:
        """Into ``status.json``. Raises OfficeUnavailable."""
        await asyncio.to_thread((self._tray if status.direction == "out" else self._inbox).report, status)

    async def deliver(self, delivery: Delivery) -> None:
        """Into ``inbox``. Raises OfficeUnavailable, and whatever the parts raise."""
        await asyncio.to_thread(self._inbox.deliver, delivery)

    async def acts(self) -> AsyncIterator[Act]:
        """Markers people put beside documents. Raises OfficeUnavailable."""
        for act in await asyncio.to_thread(self._inbox.answers):
            yield act

    async def acknowledge(self, act: Act, reasons: Sequence[Reason] = ()) -> None:
        """The marker is renamed, the outcome shown. Raises OfficeUnavailable."""
        await asyncio.to_thread(self._inbox.acknowledge, act, tuple(reasons))

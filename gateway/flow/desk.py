"""One thread that serves what is queued, in batches: how blocking work is asked for from the event loop.

The writer and the reader of the database, and each stage of cryptographic work, sit at one desk. What came in while a batch was being
served makes up the next one, so a busy desk does more at a time and an idle one answers at once. All answers of a batch cross into the
event loop in one call.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")

IDLE = 0.1  # seconds without an item after which a desk is asked for what it left for later
BUSY = 1.2  # items a batch usually holds from which on lingering pays; a lone asker is answered at once

_LOG = logging.getLogger(__name__)


class Desk(Generic[Item, Answer]):
    """``serve`` gets the items of a batch and returns as many answers; an exception among them is raised to that asker alone.

    A busy desk waits ``linger`` seconds for more before it serves, where serving a batch costs far more than serving one item more.
    ``idle`` is called in the same thread when nothing has come for a moment after a batch, and again as long as it says so; it must not raise.
    """

    def __init__(
        self,
        name: str,
        serve: Callable[[Sequence[Item]], Sequence[Answer | Exception]],
        *,
        ceiling: int,
        linger: float = 0.0,
        idle: Callable[[], bool] | None = None,
    ) -> None:
        self._serve = serve
        self._ceiling = ceiling
        self._linger = linger
        self._idle = idle
        self._uneasy = False  # whether ``idle`` may have something to do
        self._usual = 1.0  # moving average of what a batch held
        self._queue: queue.SimpleQueue[tuple[Item, asyncio.Future[Answer]] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    async def ask(self, item: Item) -> Answer:
        """Queue the item and wait. Cancelling the wait does not take the item back. Raises RuntimeError after close()."""
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        with self._lock:
            if self._closed:
                raise RuntimeError(f"{self._thread.name} is closed")
            self._queue.put((item, future))
        return await future

    def close(self) -> None:
        """Serve what is queued, then end the thread. Harmless twice."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        going_on = True
        while going_on:
            batch, going_on = self._drain()
            if not batch:
                continue
            self._usual += (len(batch) - self._usual) / 8
            self._uneasy = True
            try:
                answers: Sequence[Answer | Exception] = self._serve([item for item, _ in batch])
            except Exception as error:  # noqa: BLE001  # the thread's outermost loop: nobody may wait for ever
                _LOG.exception("%s failed", self._thread.name)
                answers = [error] * len(batch)
            self._hand_back([(future, answer) for (_, future), answer in zip(batch, answers, strict=True)])

    def _drain(self) -> tuple[list[tuple[Item, asyncio.Future[Answer]]], bool]:
        """Wait for one item and take along what else is there; False behind the last one."""
        batch: list[tuple[Item, asyncio.Future[Answer]]] = []
        try:
            entry = self._next()
            if self._usual > BUSY and self._linger:
                time.sleep(self._linger)  # others are about to come: let them share this batch
            while entry is not None:
                batch.append(entry)
                if len(batch) == self._ceiling:
                    return batch, True
                entry = self._queue.get_nowait()
        except queue.Empty:
            return batch, True
        return batch, False

    def _next(self) -> tuple[Item, asyncio.Future[Answer]] | None:
        while self._uneasy and self._idle is not None:
            try:
                return self._queue.get(timeout=IDLE)
            except queue.Empty:
                self._uneasy = self._idle()
        return self._queue.get()

    def _hand_back(self, answered: list[tuple[asyncio.Future[Answer], Answer | Exception]]) -> None:
        by_loop: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Answer], Answer | Exception]]] = {}
        for pair in answered:
            by_loop.setdefault(pair[0].get_loop(), []).append(pair)
        for loop, pairs in by_loop.items():
            if not loop.is_closed():  # else everybody who asked is gone
                loop.call_soon_threadsafe(_resolve, pairs)


def _resolve(answered: list[tuple[asyncio.Future[Answer], Answer | Exception]]) -> None:
    for future, answer in answered:
        if future.done():  # the asker was cancelled meanwhile
            continue
        if isinstance(answer, Exception):
            future.set_exception(answer)
        else:
            future.set_result(answer)

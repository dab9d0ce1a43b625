"""A stage: one thread a direction that does whole cryptographic acts off the event loop.

One hop for a whole ``seal`` or ``open`` instead of one an operation, and up to ``BATCH`` waiting acts a wake-up: a hop costs more than a
digest, and SM2 on the event loop starves the journal's group commit.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

BATCH = 16  # acts finished before their waiters are told together; more only adds latency
_Job = tuple[asyncio.Future[Any], Callable[[], Any]]


class Stage:
    """Runs blocking functions in order of arrival on its own thread. Must be closed; what waits then is still done."""

    def __init__(self, name: str) -> None:
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=f"stage-{name}", daemon=True)
        self._thread.start()

    async def run(self, act: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """The result of ``act`` on the stage thread; raises what it raises."""
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._jobs.put((future, lambda: act(*args, **kwargs)))
        return await future

    def close(self) -> None:
        """Finish what is queued and end the thread."""
        self._jobs.put(None)
        self._thread.join()

    def _work(self) -> None:
        open_for_work = True
        while open_for_work:
            jobs, open_for_work = self._drain()
            done = [(future, *_attempt(act)) for future, act in jobs]
            if done:
                _tell(done)

    def _drain(self) -> tuple[list[_Job], bool]:
        jobs: list[_Job] = []
        job = self._jobs.get()
        while job is not None:
            jobs.append(job)
            if len(jobs) == BATCH:
                return jobs, True
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                return jobs, True
        return jobs, False


def _attempt(act: Callable[[], Any]) -> tuple[Any, BaseException | None]:
    try:
        return act(), None
    except BaseException as error:  # noqa: BLE001  # handed to the waiter, who raises it
        return None, error


def _tell(done: list[tuple[asyncio.Future[Any], Any, BaseException | None]]) -> None:
    loop = done[0][0].get_loop()
    if not loop.is_closed():
        loop.call_soon_threadsafe(_settle, done)


def _settle(done: list[tuple[asyncio.Future[Any], Any, BaseException | None]]) -> None:
    for future, result, error in done:
        if future.cancelled():
            continue
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)

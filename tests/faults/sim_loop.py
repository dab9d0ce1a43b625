"""Virtual time: an event loop whose clock jumps to the next timer when nothing can run, and desks without threads.

Everything blocking (journal, ledger, stages, ``to_thread``) is served on the loop itself, after a pause that the simulation draws, so
that nothing real is ever waited for and one seed gives one run. Which gateway asked is known from the context its tasks run in: a
``Life``. A life that is killed is served nothing more, whatever its tasks still try on their way out.
"""

from __future__ import annotations

import asyncio
import contextvars
import selectors
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any

SLACK = 1e-6  # seconds; sums of floats must not keep a timer from being due


class DeadLock(AssertionError):
    """Nothing can run, no timer is set, and the simulation has not ended."""


class _Jump(selectors.SelectSelector):
    """Waits for nobody: the time it should have waited has passed."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise DeadLock("everybody waits and nothing is due")
        self.now += max(0.0, timeout)
        return []


class Life:
    """One run of one gateway, from its start to its end or its kill. ``pause`` says how long the next blocking act takes."""

    def __init__(self, name: str, pause: Callable[[], float], killed: Callable[[], None]) -> None:
        self.name = name
        self.pause = pause
        self.dead = False
        self.doom = -1  # blocking acts until it is killed; negative: it lives
        self.tasks: set[asyncio.Task[Any]] = set()
        self._killed = killed

    def tick(self) -> bool:
        """A point at which a process may die. Whether it is still alive behind it."""
        if not self.dead and self.doom >= 0:
            self.doom -= 1
            if self.doom < 0:
                self._killed()
        return not self.dead

    async def breathe(self) -> None:
        """Such a point for a coroutine."""
        await asyncio.sleep(self.pause())
        if not self.tick():
            raise asyncio.CancelledError


LIFE: contextvars.ContextVar[Life] = contextvars.ContextVar("life")


class VirtualLoop(asyncio.SelectorEventLoop):
    """Knows the tasks of every life and runs blocking functions itself."""

    def __init__(self) -> None:
        self._jump = _Jump()
        super().__init__(self._jump)
        self._clock_resolution = SLACK
        self.set_task_factory(_adopt)  # type: ignore[arg-type]

    def time(self) -> float:
        return self._jump.now

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        future = self.create_future()
        life = LIFE.get(None)
        if life is None:
            raise AssertionError("a blocking act that belongs to no gateway")

        def act() -> None:
            if not life.tick():
                future.cancel()
                return
            try:
                outcome: Callable[[], None] = partial(future.set_result, func(*args))
            except Exception as error:  # noqa: BLE001  # handed to whoever asked
                outcome = partial(future.set_exception, error)
            life.tick()
            self.call_later(0 if life.dead else life.pause(), _settle, future, life, outcome)

        self.call_later(life.pause(), act)
        return future


def _settle(future: asyncio.Future[Any], life: Life, outcome: Callable[[], None]) -> None:
    if future.done():
        return
    if life.dead:
        future.cancel()
    else:
        outcome()


def _adopt(loop: asyncio.AbstractEventLoop, coro: Coroutine[Any, Any, Any], **options: Any) -> asyncio.Task[Any]:
    task = asyncio.Task(coro, loop=loop, **options)
    context = options.get("context")
    life = context.get(LIFE) if context is not None else LIFE.get(None)
    if life is not None:
        life.tasks.add(task)
        task.add_done_callback(life.tasks.discard)
        if life.dead:
            task.cancel()
    return task


class InlineDesk:
    """``gateway.flow.desk.Desk`` without its thread: the same batches, the same answers, served by the loop."""

    watch: Callable[[Life, str, Any, Any], None] = staticmethod(lambda life, name, item, answer: None)  # called for each answer

    def __init__(self, name: str, serve: Callable[[Sequence[Any]], Sequence[Any]], *, ceiling: int, linger: float = 0.0, idle: Any = None):
        self._life = LIFE.get()
        self._name = name
        self._serve = serve
        self._ceiling = ceiling
        self._queue: list[tuple[Any, asyncio.Future[Any]]] = []
        self._planned = False
        self._told = 0.0  # answers are given in the order they were made
        self._closed = False

    async def ask(self, item: Any) -> Any:
        if self._life.dead:
            raise asyncio.CancelledError
        if self._closed:
            raise RuntimeError(f"{self._name} is closed")
        future = asyncio.get_running_loop().create_future()
        self._queue.append((item, future))
        self._plan()
        return await future

    def close(self) -> None:
        self._closed = True
        while self._queue and not self._life.dead:
            self._serve_some()

    def _plan(self) -> None:
        if not self._planned:
            self._planned = True
            asyncio.get_running_loop().call_later(self._life.pause(), self._act)

    def _act(self) -> None:
        self._planned = False
        if self._queue and self._life.tick():
            self._serve_some()
        if self._queue and not self._life.dead:
            self._plan()

    def _serve_some(self) -> None:
        batch, self._queue = self._queue[: self._ceiling], self._queue[self._ceiling :]
        answers = self._serve([item for item, _ in batch])
        for (item, _), answer in zip(batch, answers, strict=True):
            self.watch(self._life, self._name, item, answer)
        self._life.tick()
        loop = asyncio.get_running_loop()
        self._told = max(self._told, loop.time() + self._life.pause())
        loop.call_at(self._told, self._tell, [(future, answer) for (_, future), answer in zip(batch, answers, strict=True)])

    def _tell(self, answered: list[tuple[asyncio.Future[Any], Any]]) -> None:
        for future, answer in answered:
            if future.done():
                continue
            if self._life.dead:
                future.cancel()
            elif isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(answer)

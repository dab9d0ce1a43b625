"""A stage: one thread a direction that does whole cryptographic acts off the event loop.

One hop for a whole ``seal`` or ``open`` instead of one an operation, and up to ``BATCH`` waiting acts a wake-up: a hop costs more than a
digest, and SM2 on the event loop starves the journal's group commit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ParamSpec, TypeVar, cast

from gateway.flow.desk import Desk

P = ParamSpec("P")
R = TypeVar("R")

BATCH = 16  # acts finished before their waiters are told together; more only adds latency
LINGER = 0.002  # seconds a busy stage waits for more: a wake-up of both threads costs more than most acts
_Act = Callable[[], Any]


class Stage:
    """Runs blocking functions in order of arrival on its own thread. Must be closed; what waits then is still done."""

    def __init__(self, name: str) -> None:
        self._desk: Desk[_Act, Any] = Desk(f"stage-{name}", _perform, ceiling=BATCH, linger=LINGER)

    async def run(self, act: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """The result of ``act`` on the stage thread; raises what it raises."""
        return cast("R", await self._desk.ask(lambda: act(*args, **kwargs)))

    def close(self) -> None:
        """Finish what is queued and end the thread. Harmless twice."""
        self._desk.close()


def _perform(acts: Sequence[_Act]) -> Sequence[Any]:
    return [_attempt(act) for act in acts]


def _attempt(act: _Act) -> Any:
    try:
        return act()
    except Exception as error:  # noqa: BLE001  # handed to the asker, who raises it
        return error

"""One run: a seed decides the world, its traffic and its faults; then calm, rest, and the oracle.

python -m tests.faults.sim_run 4711          # the story of one seed
python -m tests.faults.sim_run 0 1000        # these seeds, and what failed
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

from sqlalchemy import Dialect

import crypto.randomness
from gateway.core.document import Addressee
from gateway.store.questions import Questions
from gateway.store.statements import Statements
from tests.faults.sim_loop import InlineDesk, VirtualLoop
from tests.faults.sim_world import KEYS, STAMP_EVERY, SimNode, SimWorld, rest
from tests.flow.world import policy_of

MEMORY = Path("/dev/shm")
LEVELS = ("public", "internal", "internal", "internal", "work-secret", "secret")
URGENCIES = ("flash", "immediate", "urgent", "routine")
REST = timedelta(minutes=90)  # beyond every back-off, watch and grace


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a run was: for comparing two of the same seed, and for figures."""

    seed: int
    notes: tuple[str, ...]
    failures: tuple[str, ...]
    commits: int
    kills: int
    exchanges: int
    hours: float
    seconds: float


class Script:
    """What happens when."""

    def __init__(self, world: SimWorld) -> None:
        self._world = world
        self._chance = world.chance
        self._sent = 0
        self.life = self._chance.choices((2, 4, 12, 48), (6, 6, 3, 1))[0]  # hours an exchange lives
        self.span = self._chance.choice((0.05, 0.5, 2.0)) * 3600.0  # seconds in which documents are offered
        self.trouble = self.span + self._chance.choice((0.1, 0.5, 1.2)) * self.life * 3600.0  # seconds in which faults happen

    @property
    def nodes(self) -> tuple[SimNode, ...]:
        return self._world.nodes  # type: ignore[return-value]

    def begin(self) -> None:
        shorter = (('deliver_within = "4h"', 'deliver_within = "1h"'), ('deliver_within = "1d"', 'deliver_within = "1h"'))
        policy = policy_of(('longest_life = "30d"', f'longest_life = "{self.life}h"'), *shorter)
        for node in self.nodes:
            node.policy = policy

    def plan(self) -> None:
        chance, later = self._chance, self._world.later
        for _ in range(chance.randint(3, 12)):
            later(chance.random() * self.span, self._offer)
        faults: list[tuple[Any, tuple[int, int]]] = [
            (self._weather, (0, 3)),
            (self._part, (0, 4)),
            (self._kill, (0, 5)),
            (self._kill_busy, (0, 6)),
            (self._step_clock, (0, 2)),
            (self._silence, (0, 1)),
            (self._close_office, (0, 2)),
            (self._publish, (0, 1)),
        ]
        for act, (fewest, most) in faults:
            for _ in range(chance.randint(fewest, most)):
                later(chance.random() * (self.trouble if chance.random() < 0.5 else self.span), act)

    # ---- traffic

    def _offer(self) -> None:
        chance, world = self._chance, self._world
        sender = chance.choice(self.nodes)
        others = [node for node in self.nodes if node is not sender]
        to = sorted(node.code for node in chance.sample(others, chance.randint(1, len(others))))
        size = chance.choices((200, 9_000, 150_000, 1_300_000), (6, 8, 3, 1))[0] + chance.randrange(100)
        self._sent += 1
        source, title, content = f"s{self._sent}", f"关于第{self._sent}项工作的通知", chance.randbytes(size)
        fields: dict[str, Any] = {"level": chance.choice(LEVELS), "urgency": chance.choice(URGENCIES)}
        fields["primary_recipients"] = tuple(Addressee(org=org) for org in to)

        def put(title: str = title) -> None:
            world.note(sender, f"offers {source} of {size} bytes, {fields['level']}, to {len(to)}")
            sender.approve(source, title, *to, parts=[("正文.pdf", content)], **fields)

        put()
        draw = chance.random()
        if draw < 0.2:  # the same once more, while it is under way or long after
            self._in_storm(chance.expovariate(1 / 1800), put)
        elif draw < 0.3:  # other content under the same name
            self._in_storm(chance.expovariate(1 / 3600), put, f"{title}（修订）")

    def _in_storm(self, seconds: float, act: Any, *values: Any) -> None:
        """Some time, but before the calm."""
        left = self.trouble - asyncio.get_running_loop().time()
        self._world.later(max(0.0, min(seconds, left - 1.0)), act, *values)

    # ---- faults

    def _while(self, seconds: float, end: Any, *values: Any) -> None:
        self._world.later(seconds, end, *values)

    def _some_time(self) -> float:
        """Minutes to days, short ones more often."""
        return 60.0 * float(10 ** self._chance.uniform(0, 2.0 if self.life < 12 else 3.3))

    def _weather(self) -> None:
        odds, chance = self._world.odds, self._chance
        for name, most in (("lost", 0.4), ("damage", 0.15), ("cut", 0.6), ("twice", 0.3), ("slow", 0.1)):
            odds[name] = chance.random() * most if chance.random() < 0.6 else 0.0
        self._world.note(None, f"weather { {name: round(value, 2) for name, value in odds.items()} }")
        self._while(self._some_time(), odds.update, dict.fromkeys(odds, 0.0))

    def _part(self) -> None:
        pair = frozenset(node.key for node in self._chance.sample(self.nodes, 2))
        self._world.parts.add(pair)
        self._world.note(None, f"{sorted(pair)} part")
        self._while(self._some_time(), self._world.parts.discard, pair)

    def _kill(self) -> None:
        self._chance.choice(self.nodes).kill()

    def _kill_busy(self) -> None:
        """At one of its next awaits, whenever that is."""
        self._chance.choice(self.nodes).life.doom = self._chance.randint(1, 60)

    def _step_clock(self) -> None:
        chance, node = self._chance, self._chance.choice(self.nodes)
        seconds = chance.choice((-1, 1)) * float(10 ** chance.uniform(0, 5.3))
        node.step_clock(timedelta(seconds=seconds))
        self._while(self._some_time(), node.step_clock, timedelta(0))

    def _silence(self) -> None:
        self._world.authority.silent = True
        self._world.note(None, "the time authority is silent")
        self._while(self._some_time(), setattr, self._world.authority, "silent", False)

    def _close_office(self) -> None:
        node = self._chance.choice(self.nodes)
        verbs = self._chance.sample(("settle", "refuse", "report", "deliver", "acknowledge"), self._chance.randint(1, 5))
        node.office.closed |= set(verbs)
        self._while(self._some_time(), node.office.closed.difference_update, verbs)

    def _publish(self) -> None:
        """A newer directory; each gateway learns of it at a moment of its own."""
        self._world.publish()
        self._world.note(None, f"directory {self._world.version}")
        for node in self.nodes:
            self._while(self._chance.expovariate(1 / 1200), node._adopt_newest)

    # ---- calm

    def calm(self) -> None:
        world = self._world
        world.calm = True
        world.odds.update(dict.fromkeys(world.odds, 0.0))
        world.parts.clear()
        world.authority.silent = False
        world.note(None, "calm")
        for node in self.nodes:
            node.life.doom = -1
            node.office.closed.clear()
            node.step_clock(timedelta(0))


async def _run(world: SimWorld, script: Script) -> None:
    async with world:
        script.plan()
        await asyncio.sleep(script.trouble)
        script.calm()
        await asyncio.sleep((timedelta(hours=script.life) + REST).total_seconds())
        for node in world.nodes:
            if node.serving is None or node._running is None or node._running.done():
                raise AssertionError(f"{node.key} is down") from (node._running.exception() if node._running else None)
        await asyncio.get_running_loop().create_task(world.oracle.at_rest(), context=world.nodes[0].serving)
    for node in world.nodes:
        node.examine()


def run(seed: int, folder: Path) -> Told:
    """Run one seed. What it found is in the answer; only the simulation's own failures are raised."""
    began = time.perf_counter()
    chance = random.Random(seed)
    loop = VirtualLoop()
    asyncio.set_event_loop(None)
    with _decided(chance), contextlib.closing(loop):

        async def build() -> tuple[SimWorld, Script]:
            world = SimWorld(folder, chance.randrange(1 << 62), KEYS[: chance.choice((2, 2, 3, 3, 4, 5))])
            InlineDesk.watch = staticmethod(world.oracle.watch)  # type: ignore[assignment]
            return world, Script(world)

        world, script = loop.run_until_complete(build())
        script.begin()
        try:
            loop.run_until_complete(_run(world, script))
        except Exception as error:  # noqa: BLE001  # a failure like any other, told with its seed
            world.oracle.fail(f"the run failed: {''.join(traceback.format_exception(error))}")
        finally:
            told = Told(
                seed=seed,
                notes=tuple(world.notes),
                failures=tuple(world.oracle.failures),
                commits=world.oracle.steps,
                kills=sum(node.kills for node in world.nodes),
                exchanges=len(world.oracle._numbers),
                hours=loop.time() / 3600.0,
                seconds=time.perf_counter() - began,
            )
    return told


@contextlib.contextmanager
def _decided(chance: random.Random) -> Iterator[None]:
    """Desks on the loop, watches at the simulation's pace, and every random byte and jitter of the product from the seed."""
    with contextlib.ExitStack() as stack:
        for module in ("gateway.store.journal", "gateway.store.ledger", "gateway.flow.stage"):
            stack.enter_context(mock.patch(f"{module}.Desk", InlineDesk))
        stack.enter_context(mock.patch("gateway.flow.journey.rest", rest))
        stack.enter_context(mock.patch("gateway.store.journal.Statements", STATEMENTS))
        stack.enter_context(mock.patch("gateway.store.ledger.Questions", QUESTIONS))
        stack.enter_context(mock.patch("gateway.flow.journey.STAMP_EVERY", STAMP_EVERY))
        stack.enter_context(mock.patch.object(crypto.randomness, "os", SimpleNamespace(urandom=random.Random(chance.random()).randbytes)))
        yield


def _compiled_once(texts: type[Any]) -> Callable[[Dialect], Any]:
    """The texts of statements do not change; compiling them anew at every start would be half of what a seed costs."""
    made: list[Any] = []

    def make(dialect: Dialect) -> Any:
        made[:] = made or [texts(dialect)]
        return made[0]

    return make


STATEMENTS, QUESTIONS = _compiled_once(Statements), _compiled_once(Questions)


def run_in_memory(seed: int) -> Told:
    """Run one seed with its homes where syncing costs nothing: what a sync means is tested elsewhere."""
    where = MEMORY if MEMORY.is_dir() and os.access(MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=where, prefix="yizhan-sim-") as folder:
        return run(seed, Path(folder))


def main() -> int:
    seeds = [int(value) for value in sys.argv[1:]]
    if len(seeds) == 1:
        told = run_in_memory(seeds[0])
        _say("\n".join((*told.notes, *told.failures)))
        _say(told.commits, "commits", told.kills, "kills", f"{told.hours:.1f} h in {told.seconds:.2f} s")
        return bool(told.failures)
    bad = 0
    commits = kills = exchanges = 0
    hours = 0.0
    began = time.perf_counter()
    for seed in range(*seeds):
        told = run_in_memory(seed)
        commits, kills, exchanges, hours = commits + told.commits, kills + told.kills, exchanges + told.exchanges, hours + told.hours
        if told.failures:
            bad += 1
            _say("seed", seed, told.failures[0][:600])
    spent = time.perf_counter() - began
    _say(f"{bad} of {seeds[1] - seeds[0]} failed; {exchanges} exchanges, {commits} commits, {kills} kills, {hours:.0f} h in {spent:.0f} s")
    return bool(bad)


def _say(*words: object) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main())

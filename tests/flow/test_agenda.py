"""The agenda: lanes, priorities, moments, waking."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from gateway.core.errors import Unreachable
from gateway.core.retry import LONGEST_WAIT, MAX_ATTEMPTS
from gateway.core.step import Work
from gateway.flow import agenda as agenda_module
from gateway.flow.agenda import PROBE_EVERY, WIDTH, Agenda
from gateway.flow.failing import Failing
from tests.faults.sim_loop import VirtualLoop

NOW = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)


def work(name, kind="deliver", *, peer="north", priority=0, after=0.0, attempts=0):
    due = NOW + timedelta(seconds=after)
    return Work(key=name, kind=kind, direction="out", exchange=name, due=due, peer=peer, priority=priority, attempts=attempts)


class World:
    """An agenda whose handlers note what they did, and wait where they are told to."""

    def __init__(self, group):
        self.done, self.failed, self.running, self.most = [], [], 0, 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.agenda = Agenda(lambda: NOW, self.fail)
        for kind in ("deliver", "send-receipt", "hand-over"):
            self.agenda.handle(kind, self.handle)
        self.agenda.start(group)

    async def handle(self, work):
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await self.gate.wait()
            if work.key.startswith("bad"):
                raise ValueError(work.key)
            self.done.append(work.key)
        finally:
            self.running -= 1

    async def fail(self, work, error):
        self.failed.append((work.key, str(error)))

    async def quiet(self):
        async with asyncio.timeout(5):
            while self.agenda.running:
                await asyncio.wait(self.agenda.running)


@pytest.fixture
async def world():
    async with asyncio.TaskGroup() as group:
        world = World(group)
        yield world
        world.gate.set()
        await world.quiet()
        world.agenda.stop()


async def test_due_work_is_done(world):
    world.agenda.add_all([work("a"), work("b", "hand-over", peer="")])
    await world.quiet()
    assert sorted(world.done) == ["a", "b"]
    assert world.agenda.depth() == {}
    assert not world.agenda.knows("a")


async def test_a_lane_is_as_wide_as_its_kind_and_lanes_do_not_wait_for_each_other(world):
    world.gate.clear()
    world.agenda.add_all(work(f"{number}") for number in range(50))
    await asyncio.sleep(0)
    assert world.running == WIDTH["deliver"]
    world.agenda.add_all(work(f"s{number}", peer="south") for number in range(50))
    await asyncio.sleep(0)
    assert world.running == 2 * WIDTH["deliver"]
    world.gate.set()
    await world.quiet()
    assert len(world.done) == 100
    assert world.most == 2 * WIDTH["deliver"]


async def test_the_most_urgent_goes_first_and_equals_in_order(world):
    world.gate.clear()
    world.agenda.add_all(work(f"first{number}", "send-receipt") for number in range(WIDTH["send-receipt"]))
    await asyncio.sleep(0)
    for name, priority in (("low1", 1), ("high", 1000), ("low2", 1), ("middle", 10)):
        world.agenda.add(work(name, "send-receipt", priority=priority))
    world.gate.set()
    await world.quiet()
    assert world.done[1:] == ["high", "middle", "low1", "low2"]


async def test_the_same_key_replaces_what_waits(world):
    world.gate.clear()
    world.agenda.add_all(work(f"{number}") for number in range(WIDTH["deliver"]))
    await asyncio.sleep(0)
    world.agenda.add(work("again", after=1000.0))
    world.agenda.add(work("again"))
    world.agenda.add(work("again"))
    assert world.agenda.depth()["deliver", "north"][0] == WIDTH["deliver"] + 1
    world.gate.set()
    await world.quiet()
    assert world.done.count("again") == 1


async def test_later_work_is_done_later(world):
    world.agenda.add(work("soon", after=0.02))
    await asyncio.sleep(0)
    assert world.done == []
    assert world.agenda.knows("soon")
    await asyncio.sleep(0.06)
    assert world.done == ["soon"]


async def test_a_handler_that_fails_does_not_stop_its_lane(world):
    world.agenda.add_all([work("bad1"), work("good"), work("bad2")])
    await world.quiet()
    assert world.done == ["good"]
    assert world.failed == [("bad1", "bad1"), ("bad2", "bad2")]


async def test_failed_work_may_come_back_at_once(world):
    async def again(failed, error):
        world.failed.append(failed.key)
        if len(world.failed) < 3:
            world.agenda.add(work("bad"))

    world.agenda._failed = again
    world.agenda.add(work("bad"))
    await world.quiet()
    assert world.failed == ["bad"] * 3
    assert not world.agenda.knows("bad")


async def test_a_call_of_the_peer_wakes_what_failed_and_begins_its_count_anew(world):
    seen = []

    async def look(work):
        seen.append((work.key, work.attempts))

    world.agenda.handle("deliver", look)
    world.agenda.handle("send-receipt", look)
    world.agenda.add_all(
        [
            work("failed", after=900, attempts=7),
            work("receipt", "send-receipt", after=900, attempts=1),
            work("rests", after=600),  # the peer answered and asked for patience: no failure
            work("elsewhere", peer="south", after=900, attempts=7),
            work("inside", "hand-over", after=900, attempts=7),
        ]
    )
    world.agenda.wake("north")
    await world.quiet()
    assert sorted(seen) == [("failed", 0), ("receipt", 0)]
    assert all(world.agenda.knows(key) for key in ("rests", "elsewhere", "inside"))


async def test_a_peer_that_calls_all_the_time_is_not_called_all_the_time(world, monkeypatch):
    monkeypatch.setattr(agenda_module, "WAKE_EVERY", 0.05)
    for _ in range(100):
        world.agenda.add(work("a", after=900, attempts=1))
        world.agenda.wake("north")
        await world.quiet()
    assert len(world.done) <= 3
    await asyncio.sleep(0.06)
    world.agenda.wake("north")
    await world.quiet()
    assert not world.agenda.knows("a")


async def test_work_taken_along_by_another(world):
    """One request carries many receipts: what one handler takes is not done again by the next."""
    carried = []

    async def carry(work):
        also = world.agenda.take_waiting("send-receipt", "north", 3)
        carried.append([work.key, *(other.key for other in also)])
        for other in also:
            world.agenda.done(other)

    world.agenda.handle("send-receipt", carry)
    world.agenda.add_all(work(f"{number}", "send-receipt") for number in range(6))
    await world.quiet()
    assert carried == [["0", "1", "2", "3"], ["4", "5"]]
    assert world.agenda.depth() == {}
    assert world.agenda.take_waiting("send-receipt", "nowhere", 3) == []


async def test_missing_work_is_added_and_known_work_left_alone(world):
    world.agenda.add(work("known", after=900, attempts=5))
    world.agenda.add_missing([work("known"), work("missing")])
    await world.quiet()
    assert world.done == ["missing"]
    assert world.agenda.knows("known")


async def test_depth_and_the_oldest(world):
    world.gate.clear()
    world.agenda.add_all([work("a", after=-5), work("b", after=-50), work("c", after=100), work("d", "hand-over", peer="")])
    depth = world.agenda.depth()
    assert depth["deliver", "north"] == (3, NOW - timedelta(seconds=50))
    assert depth["hand-over", ""][0] == 1


async def test_after_stop_nothing_begins(world):
    world.agenda.add(work("later", after=0.01))
    world.gate.clear()
    world.agenda.add_all(work(f"{number}", "send-receipt") for number in range(3))
    await asyncio.sleep(0)
    world.agenda.stop()
    world.agenda.add(work("new"))
    world.gate.set()
    await world.quiet()
    await asyncio.sleep(0.03)
    assert world.done == [f"{number}" for number in range(WIDTH["send-receipt"])]


async def test_what_is_under_way_counts_also_while_it_is_being_put_off(world):
    """Offers wait for it: nothing may slip in while a work is on neither list."""
    gate = asyncio.Event()

    async def fail(failed, error):
        world.failed.append(failed.key)
        await gate.wait()

    world.agenda._failed = fail
    world.agenda.add_all(
        [work("bad"), work("later", after=900), work("elsewhere", peer="south", after=900), work("in", "hand-over", after=900)]
    )
    world.agenda.add(replace(work("large", after=900), detail=b"5000000"))
    async with asyncio.timeout(5):
        while not world.failed:  # noqa: ASYNC110  # the handler runs in a task of the agenda
            await asyncio.sleep(0)
    assert not world.agenda.knows("bad")
    assert world.agenda.under_way() == {"north": (3, 5_000_000), "south": (1, 0)}
    gate.set()


# ---- a peer that is away -----------------------------------------------------------------------------------------------------------


class Away(World):
    """A peer that does not answer, in an agenda whose clock is the loop's; failing is the real one."""

    def __init__(self, group):
        super().__init__(group)
        loop = asyncio.get_running_loop()
        begun = loop.time()
        self.now = lambda: NOW + timedelta(seconds=loop.time() - begun)
        self.calls, self.rows, self.given_up, self.away = [], {}, [], True
        failing = Failing(SimpleNamespace(now=self.now, monotonic=loop.time), jitter=lambda: 1.0)
        self.agenda = Agenda(self.now, failing.failed)
        self.agenda.handle("deliver", self.deliver)
        self.agenda.start(group)
        failing.bind(self.agenda, self.record)
        failing.on_give_up("deliver", self.give_up)

    async def record(self, step):
        self.rows |= {change.work.key: change.work for change in step.changes}

    async def give_up(self, work, error):
        self.given_up.append(work.key)

    async def deliver(self, work):
        self.calls.append(self.now())
        if self.away:
            raise Unreachable("nobody", place="north")
        self.agenda.is_back(work.peer)
        self.done.append(work.key)


@pytest.fixture
def away():
    """Runs a story in virtual time: an hour of it takes no time at all."""

    def run(story):
        loop = VirtualLoop()
        asyncio.set_event_loop(None)

        async def tell():
            async with asyncio.TaskGroup() as group:
                world = Away(group)
                await story(world)
                world.agenda.stop()

        with contextlib.closing(loop):
            loop.run_until_complete(tell())

    return run


def test_a_peer_that_is_back_is_found_within_two_minutes(away):
    """However long the pause its documents have come to, and though nobody calls."""

    async def story(world):
        world.agenda.add_all(work(f"{number}") for number in range(200))
        await asyncio.sleep(3 * 3600)
        world.away = False
        await asyncio.sleep(PROBE_EVERY + 1)
        assert len(world.done) == 200

    away(story)


def test_a_peer_that_is_away_is_called_once_in_two_minutes_whatever_waits_for_it(away):
    async def story(world):
        world.agenda.add_all(work(f"{number}") for number in range(200))
        await asyncio.sleep(3600)
        world.calls.clear()
        await asyncio.sleep(6 * 3600)
        assert 6 * 3600 / PROBE_EVERY - 5 <= len(world.calls) <= 6 * 3600 / PROBE_EVERY + 5

    away(story)


def test_looking_neither_shortens_nor_lengthens_the_time_until_stuck(away):
    """Attempts are counted at the moments of each document's own pauses, whether its peer is called for it or not."""

    async def story(world):
        world.agenda.add_all(work(f"{number}", attempts=MAX_ATTEMPTS - 41) for number in range(3))
        await asyncio.sleep(40 * LONGEST_WAIT.total_seconds() - 60)
        assert world.given_up == []
        await asyncio.sleep(120)
        assert len(world.given_up) == 3

    away(story)


def test_a_line_that_breaks_is_tried_again_at_once(away):
    """In the first minutes of a silence the pauses are those of before, and one answer, a refusal too, ends it."""

    async def story(world):
        world.agenda.add(work("a"))
        await asyncio.sleep(100)
        assert len(world.calls) == 7, "after 0, 1, 3, 7, 15, 31 and 63 seconds"
        await asyncio.sleep(3600)
        world.agenda.heard("north")
        world.calls.clear()
        world.agenda.add_all(work(f"{number}", attempts=1) for number in range(20))
        await asyncio.sleep(1)
        assert len(world.calls) == 20

    away(story)

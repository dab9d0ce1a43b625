"""What becomes of work that failed: nothing is dropped, nothing escapes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from crypto.errors import LocalError
from gateway.core.errors import JournalStopped, NoRoom, PeerProblem, Unreachable
from gateway.core.retry import MAX_ATTEMPTS
from gateway.core.step import Schedule, Work
from gateway.flow.failing import UNRECORDED_REST, Failing
from gateway.flow.ports import Recorded

NOW = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)


class Agenda:
    def __init__(self):
        self.added, self.awaited = [], []

    def add(self, work):
        self.added.append(work)

    def heard(self, peer): ...

    def silent(self, peer): ...

    def looked_only(self, work):
        return False

    def put_off(self, work, awaited):
        self.added.append(work)
        self.awaited.append(awaited)


class Clock:
    def now(self):
        return NOW

    def monotonic(self):
        return 0.0


class World:
    def __init__(self):
        self.agenda, self.recorded, self.given_up, self.trouble = Agenda(), [], [], None
        self.failing = Failing(Clock())
        self.failing.bind(self.agenda, self.record)
        self.failing.on_give_up("deliver", self.give_up)

    async def record(self, step):
        if self.trouble:
            raise self.trouble
        self.recorded += [change.work for change in step.changes if isinstance(change, Schedule)]
        return Recorded(leaves=(), tree_size=0)

    async def give_up(self, work, error):
        if self.trouble:
            raise self.trouble
        self.given_up.append((work, error))


@pytest.fixture
def world():
    return World()


def work(kind="deliver", attempts=0):
    return Work(key=f"{kind}:x", kind=kind, direction="out", exchange="x", due=NOW, attempts=attempts)


async def test_the_next_attempt_is_recorded_and_due(world):
    await world.failing.failed(work(), Unreachable("nobody", place="x"))
    (later,) = world.recorded
    assert world.agenda.added == [later]
    assert later.attempts == 1
    assert timedelta(0) < later.due - NOW <= timedelta(seconds=1)


async def test_attempts_used_up_are_given_up(world):
    error = Unreachable("nobody", place="x")
    await world.failing.failed(work(attempts=MAX_ATTEMPTS - 2), error)
    assert len(world.recorded) == 1
    await world.failing.failed(work(attempts=MAX_ATTEMPTS - 1), error)
    assert [given for _, given in world.given_up] == [error]
    assert len(world.recorded) == 1


async def test_work_without_a_way_to_give_up_goes_on_hourly(world):
    await world.failing.failed(work("hand-over", attempts=MAX_ATTEMPTS + 5), Unreachable("nobody", place="x"))
    (later,) = world.recorded
    assert later.due - NOW == timedelta(hours=1)
    assert world.given_up == []


@pytest.mark.parametrize(("retryable", "given_up"), [(True, 0), (False, 1)])
async def test_only_a_final_problem_is_given_up_at_once(world, retryable, given_up):
    await world.failing.failed(work(), PeerProblem("no", problem="revoked", retryable=retryable))
    assert len(world.given_up) == given_up
    assert len(world.recorded) == 1 - given_up


async def test_a_peer_may_ask_for_more_time(world):
    await world.failing.failed(work(), PeerProblem("busy", problem="busy", retryable=True, retry_after=90))
    (later,) = world.recorded
    assert later.due - NOW == timedelta(seconds=90)


@pytest.mark.parametrize("error", [ValueError("a defect"), LocalError("ours"), Unreachable("theirs", place="x")])
async def test_a_full_disk_ends_nothing(world, error):
    """The row in the database is still due; here it is tried again soon, with the attempts it had."""
    world.trouble = NoRoom("full")
    await world.failing.failed(work(attempts=4), error)
    (later,) = world.agenda.added
    assert (later.attempts, later.due - NOW) == (4, UNRECORDED_REST)


async def test_giving_up_that_fails_is_tried_again(world):
    world.trouble = NoRoom("full")
    await world.failing.failed(work(attempts=MAX_ATTEMPTS), Unreachable("nobody", place="x"))
    assert [later.attempts for later in world.agenda.added] == [MAX_ATTEMPTS]


async def test_a_stopped_journal_is_the_end_of_it(world):
    await world.failing.failed(work(), JournalStopped("over"))
    world.trouble = JournalStopped("over")
    await world.failing.failed(work(), Unreachable("nobody", place="x"))
    assert world.agenda.added == world.recorded == []

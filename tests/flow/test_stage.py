"""The stage: one thread that does whole acts in order and hands back results and errors."""

from __future__ import annotations

import asyncio
import threading

import pytest

from gateway.flow.stage import Stage


@pytest.fixture
def stage():
    stage = Stage("test")
    yield stage
    stage.close()


async def test_acts_run_on_one_thread_that_is_not_ours(stage):
    threads = {await stage.run(threading.get_ident) for _ in range(3)}
    assert len(threads) == 1
    assert threading.get_ident() not in threads


async def test_arguments_and_results(stage):
    assert await stage.run(divmod, 7, 2) == (3, 1)
    assert await stage.run(sorted, [2, 1], reverse=True) == [2, 1]
    assert await stage.run(lambda: None) is None


async def test_an_error_reaches_its_own_waiter_alone(stage):
    def fail():
        raise ValueError("mine")

    before, failing, after = (asyncio.create_task(stage.run(act)) for act in (lambda: 1, fail, lambda: 3))
    assert (await before, await after) == (1, 3)
    with pytest.raises(ValueError, match="mine"):
        await failing


async def test_order_of_arrival(stage):
    seen = []
    await asyncio.gather(*(stage.run(seen.append, number) for number in range(100)))
    assert seen == list(range(100))


async def test_the_loop_stays_free_meanwhile(stage):
    release = threading.Event()
    waiting = asyncio.create_task(stage.run(release.wait, 5))
    await asyncio.sleep(0.01)
    assert not waiting.done()
    release.set()
    assert await waiting is True


async def test_a_waiter_that_left_does_not_disturb_the_others(stage):
    release, done = threading.Event(), []
    first = asyncio.create_task(stage.run(release.wait, 5))
    gone = asyncio.create_task(stage.run(done.append, "gone"))
    last = asyncio.create_task(stage.run(done.append, "last"))
    await asyncio.sleep(0.01)
    gone.cancel()
    release.set()
    await asyncio.gather(first, last)
    assert done == ["gone", "last"], "cancelling the wait does not take the act back"
    with pytest.raises(asyncio.CancelledError):
        await gone


async def test_close_does_what_is_queued_and_takes_nothing_more():
    stage = Stage("closing")
    done = []
    waiters = [asyncio.create_task(stage.run(done.append, number)) for number in range(5)]
    await asyncio.sleep(0)
    await asyncio.to_thread(stage.close)
    assert done == list(range(5))
    await asyncio.gather(*waiters)
    stage.close()
    with pytest.raises(RuntimeError):
        await stage.run(len, ())

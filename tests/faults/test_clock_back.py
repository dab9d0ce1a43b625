"""``clock_back``: a gateway's clock is set, forward and back, by seconds to weeks, while it runs and across a restart.

It fails closed until a time authority confirms it again: nothing is taken, accepted, stated or ended, and nothing is dated by it. What
waited goes on by itself when the clock is right, as if it had never been wrong: no leaf or receipt is out of order, nobody's time is over.
"""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from gateway.core.canonical import parse_time
from gateway.core.errors import NoRoom
from gateway.core.leaf import Leaf
from gateway.core.retry import LONGEST_REST
from tests.faults.torture import rounds
from tests.flow.world import Node, World

PAIR = ("office", "finance")
STEPS = [
    timedelta(seconds=3),
    timedelta(minutes=-20),
    timedelta(days=40),  # beyond the life of an exchange
    timedelta(seconds=-3),
    timedelta(minutes=20),
    timedelta(days=2),
    timedelta(days=-2),
    timedelta(days=-30),
]
STEPS = STEPS[: rounds(3, len(STEPS))]
SOON = timedelta(seconds=30)


async def moments(node: Node) -> list[datetime]:
    """Of every leaf."""
    found, index = [], 0
    while (leaf := await node.rooms.ledger.leaf(index)) is not None:
        found.append(parse_time(Leaf.from_bytes(leaf).at))
        index += 1
    return found


async def in_order(world: World, *exchanges: str) -> None:
    """Leaves never go back, none is dated ahead of the time, and what a gateway stated about an exchange is in the order of its acts."""
    for node in world.nodes:
        leaves = await moments(node)
        assert all(before <= after for before, after in pairwise(leaves))
        assert leaves[-1] <= world.time.now() + SOON
    for exchange in exchanges:
        for node, direction in ((world["office"], "out"), (world["finance"], "in")):
            stated = [receipt.at for receipt in await node.receipts(direction, exchange)]
            assert all(before <= after for before, after in pairwise(stated))


async def turn(world: World) -> None:
    """Everything that happens by itself: the tray, acts, expiry, and what was put off."""
    await world.retry()
    for node in world.nodes:
        await node.journey.watching.attempt("expiry", node.journey.watching.expire)
    await world.settle()


@pytest.mark.parametrize("step", STEPS, ids=str)
async def test_the_recipients_clock_is_set_while_it_runs(tmp_path: Path, step: timedelta) -> None:
    async with World(tmp_path, keys=PAIR) as world:
        office, finance = world["office"], world["finance"]
        before = await world.send("before")
        finance.clock.skew = step
        leaves = await finance.log()
        office.approve("during", "关于时间的通知", finance.code)
        finance.office.sign_for(before)
        await turn(world)
        await finance.stamp()  # the authority says that the clock is wrong, and it stays closed
        await turn(world)
        during = office.exchange_of("during")
        assert await finance.log() == leaves
        assert await office.state("out", during) == "SEALED"
        assert await finance.state("in", before) == "DELIVERED"
        finance.clock.skew = timedelta(0)
        assert await finance.stamp()
        await turn(world)
        assert await office.state("out", during) == "DELIVERED"
        assert await office.state("out", before) == "SIGNED_FOR"
        await in_order(world, before, during)


@pytest.mark.parametrize("step", STEPS, ids=str)
async def test_the_senders_clock_is_set_while_it_runs(tmp_path: Path, step: timedelta) -> None:
    """Also what others state waits: a receipt moves a passage and is dated where it is taken in."""
    async with World(tmp_path, keys=PAIR) as world:
        office, finance = world["office"], world["finance"]
        finance.line.down.add(office.gateway)
        consigned = await world.send("consigned")
        office.line.down.add(finance.gateway)
        unreached = await world.send("unreached")
        leaves = await office.log()
        office.line.down.clear()
        finance.line.down.clear()
        office.clock.skew = step
        office.approve("waits", "关于时间的另一通知", finance.code)
        await turn(world)
        assert await office.log() == leaves
        assert "waits" in office.office.tray
        assert await office.state("out", consigned) == "CONSIGNED"
        assert await office.state("out", unreached) == "SEALED"
        office.clock.skew = timedelta(0)
        assert await office.stamp()
        await turn(world)
        for exchange in (unreached, consigned, office.exchange_of("waits")):
            assert await office.state("out", exchange) == "DELIVERED"
        await in_order(world, unreached, consigned)


async def test_nobodys_time_is_over_because_a_clock_was_set(tmp_path: Path) -> None:
    """Both sides 40 days ahead, one after the other: without looking at the authority, everything would have expired."""
    async with World(tmp_path, keys=PAIR) as world:
        office, finance = world["office"], world["finance"]
        delivered = await world.send("delivered")
        office.line.down.add(finance.gateway)
        sealed = await world.send("sealed")
        for node in world.nodes:
            node.clock.skew = timedelta(days=40)
        for node in world.nodes:
            await node.journey.watching.attempt("expiry", node.journey.watching.expire)
        assert await office.state("out", sealed) == "SEALED"
        assert await finance.state("in", delivered) == "DELIVERED"
        for node in world.nodes:
            node.clock.skew = timedelta(0)


@pytest.mark.parametrize("silent", [False, True], ids=["confirmed wrong", "authority away"])
@pytest.mark.parametrize("step", [timedelta(hours=5), timedelta(days=-5)], ids=str)
async def test_a_clock_set_while_the_gateway_was_down(tmp_path: Path, step: timedelta, *, silent: bool) -> None:
    async with World(tmp_path, keys=PAIR) as world:
        office, finance = world["office"], world["finance"]
        finance.office.closed.add("deliver")
        exchange = await world.send("accepted")
        await finance.crash()
        finance.clock.skew = step
        world.authority.silent = silent
        finance.office.closed.clear()
        leaves = len(await leaves_of_the_dead(finance))
        await finance.start()
        await turn(world)
        written = (await finance.log())[leaves:]
        assert set(written) <= {"started"}, written  # no hand-over is stated, no act, no end
        assert await finance.state("in", exchange) == "ACCEPTED"
        assert not finance.rooms.ready()
        finance.clock.skew = timedelta(0)
        world.authority.silent = False
        assert await finance.stamp()
        if not silent or step < timedelta(0):  # else its own start is dated ahead, and it waits until the time is there
            await world.settle()
            assert finance.rooms.ready()
            assert await office.state("out", exchange) == "DELIVERED"
            await in_order(world, exchange)


async def leaves_of_the_dead(node: Node) -> list[bytes]:
    """The leaves of a gateway that is down."""
    with closing(sqlite3.connect(node.home / "yizhan.db")) as connection:
        return [row[0] for row in connection.execute("SELECT body FROM leaves ORDER BY idx")]


async def test_what_waited_for_the_authority_goes_on_when_it_answers(tmp_path: Path) -> None:
    """By itself: nobody calls, and the wait that was written down is not over."""
    async with World(tmp_path, keys=PAIR) as world:
        office, finance = world["office"], world["finance"]
        finance.office.closed.add("deliver")
        exchange = await world.send("accepted")
        await finance.crash()
        world.authority.silent = True
        finance.office.closed.clear()
        await finance.start()
        await world.settle()
        for _ in range(12):  # until its rest is drawn from minutes
            finance.hurry("hand-over")
            await world.settle()
        assert await finance.state("in", exchange) == "ACCEPTED"
        world.authority.silent = False
        assert await finance.stamp()
        async with asyncio.timeout(5):
            while await office.state("out", exchange) != "DELIVERED":  # noqa: ASYNC110  # nobody sets an event for a state
                await asyncio.sleep(0.02)


async def test_a_moment_written_down_by_a_wrong_clock_puts_nothing_off_for_long(tmp_path: Path) -> None:
    """Put off while the clock was a week ahead: after a restart with the right clock it is due within the longest rest there is."""
    async with World(tmp_path, keys=PAIR) as world:
        office, finance = world["office"], world["finance"]
        office.line.down.add(finance.gateway)
        exchange = await world.send("late")
        office.clock.skew = timedelta(days=7)
        office.hurry("deliver")
        await world.settle()
        (written,) = [work for work in await office.rooms.ledger.due() if work.kind == "deliver"]
        assert written.due - world.time.now() > timedelta(days=6)
        await office.crash()
        office.clock.skew = timedelta(0)
        await office.start()
        (timer,) = [timer for timer, work in office.rooms.agenda._later.values() if work.kind == "deliver"]
        assert timer.when() - asyncio.get_running_loop().time() <= LONGEST_REST.total_seconds()
        office.line.down.clear()
        await world.retry()
        assert await office.state("out", exchange) == "DELIVERED"


async def test_countdowns_run_by_the_clock_nobody_sets(tmp_path: Path) -> None:
    """How long the last token still counts, and how long an offer rests, are not moved by setting the clock."""
    async with World(tmp_path, keys=PAIR) as world:
        office = world["office"]
        left = office.rooms.guard.left(office.clock.monotonic())
        await office.journey.outbound._look_again_later("offer", NoRoom("full"))
        office.clock.skew = timedelta(days=-300)
        world.time.pass_(timedelta(minutes=10))
        assert abs(left - timedelta(minutes=10) - office.rooms.guard.left(office.clock.monotonic())) < SOON
        assert not office.journey.outbound._rests("offer")
        office.clock.skew = timedelta(0)

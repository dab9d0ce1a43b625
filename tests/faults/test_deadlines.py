"""Deadlines warn and escalate, once a step, across restarts, and end nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gateway.core.leaf import Leaf
from gateway.core.urgency import Deadline
from tests.flow.world import Node, World

BEGUN = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)


def test_the_steps_of_a_deadline():
    deadline = Deadline(begun=BEGUN, within=timedelta(hours=4), remind_at=(50, 100))
    moments = [deadline.moment(step) for step in range(4)]
    assert [(moment - BEGUN) / timedelta(hours=1) for moment in moments if moment] == [2, 4, 28, 52]
    assert [deadline.reached(BEGUN + timedelta(hours=hours)) for hours in (0, 1.9, 2, 3.9, 4, 27, 28, 76)] == [0, 0, 1, 1, 2, 2, 3, 5]
    early = Deadline(begun=BEGUN, within=timedelta(hours=4), remind_at=(50,))
    assert early.moment(1) == BEGUN + timedelta(hours=28)  # daily begins behind the deadline, never before it
    late = Deadline(begun=BEGUN, within=timedelta(hours=4), remind_at=(100, 200))
    assert late.moment(2) == BEGUN + timedelta(hours=32)
    assert Deadline(begun=BEGUN, within=timedelta(hours=4), remind_at=()).reached(BEGUN + timedelta(days=9)) == 0


async def look(world: World) -> None:
    for node in world.nodes:
        if node.alive:
            await node.journey.deadlines.look()
            node.hurry("remind")
    await world.settle()


async def reminded(node: Node, exchange: str) -> list[tuple[str, str | None, int | None]]:
    leaves = [Leaf.from_bytes(body) for _, body in await node.rooms.ledger.leaves(exchange)]
    return [(leaf.outcome, leaf.reason, leaf.size) for leaf in leaves if leaf.kind == "reminded"]


@pytest.mark.parametrize("restart", [False, True])
async def test_a_delivery_that_is_late_is_told_once_a_step(tmp_path: Path, restart: bool):
    async with World(tmp_path) as world:
        office = world["office"]
        for key in ("finance", "health"):
            office.line.down.add(world[key].gateway)
        exchange = await world.send(to=("finance", "health"), urgency="urgent")  # 4 h; 50, 80, 100
        prompt = await world.send("prompt", sender="finance", to=("health",), urgency="flash")
        status = office.office.statuses["out", exchange]
        assert status.deliver_by is not None
        assert not status.warnings
        seen = []
        for hours in (1, 1.5, 0.2, 1, 0.4, 24, 24):
            await world.pass_(timedelta(hours=hours))
            if restart:
                await office.restart()
            for _ in range(3):
                await look(world)
            seen.append(len(await reminded(office, exchange)))
        assert seen == [0, 1, 1, 2, 3, 4, 5]
        told = await reminded(office, exchange)
        assert [outcome for outcome, _, _ in told] == ["due-soon", "due-soon", "overdue", "overdue", "overdue"]
        assert {(reason, size) for _, reason, size in told} == {("deliver", 2)}
        status = office.office.statuses["out", exchange]
        assert [reason.rule for reason in status.warnings] == ["deadline/deliver-overdue"]
        assert await reminded(world["finance"], prompt) == []
        if not restart:
            assert office.gauges.reminders == {"deadline/deliver-soon": 2, "deadline/deliver-overdue": 3}
        # It ends nothing, and nobody is told any more once it is there.
        office.line.down.clear()
        await world.retry()
        assert await office.state("out", exchange, world["finance"].code) == "DELIVERED"
        await world.pass_(timedelta(days=1))
        await look(world)
        assert len(await reminded(office, exchange)) == 5
        assert [kind for kind in await office.works() if kind == "remind"] == []
        await office.office.report(office.office.statuses["out", exchange])


async def test_what_waits_to_be_signed_for(tmp_path: Path):
    async with World(tmp_path) as world:
        finance = world["finance"]
        exchange = await world.send(urgency="urgent")  # internal: 3 days
        delivery = finance.office.inbox[exchange].delivery
        assert delivery.sign_for_by is not None
        assert abs(delivery.sign_for_by - world.time.now() - timedelta(days=3)) < timedelta(minutes=1)
        key = (await finance.rooms.ledger.exchanges())[0].key
        for days, leaves in ((1, 0), (0.6, 1), (1, 2), (0.5, 3), (1, 4)):
            await world.pass_(timedelta(days=days))
            await look(world)
            await look(world)
            assert len(await reminded(finance, key)) == leaves, days
        status = finance.office.statuses["in", exchange]
        assert [reason.rule for reason in status.warnings] == ["deadline/sign-for-overdue"]
        assert status.sign_for_by is not None
        assert finance.gauges.reminders["deadline/sign-for-overdue"] == 2
        finance.office.sign_for(exchange)
        await world.settle()
        status = finance.office.statuses["in", exchange]
        assert (status.sign_for_by, status.warnings) == (None, ())
        assert await world["office"].state("out", exchange) == "SIGNED_FOR"
        await world.pass_(timedelta(days=1))
        await look(world)
        assert len(await reminded(finance, key)) == 4


async def test_after_a_long_stop_only_the_last_step_is_told(tmp_path: Path):
    async with World(tmp_path) as world:
        office = world["office"]
        office.line.down.add(world["finance"].gateway)
        exchange = await world.send(urgency="flash")
        await office.stop()
        await world.pass_(timedelta(days=2, hours=1))
        await office.start()
        await look(world)
        await look(world)
        assert [outcome for outcome, _, _ in await reminded(office, exchange)] == ["overdue"]


async def test_a_backlog_is_gone_round_in_slices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("gateway.flow.queue_deadlines.SLICE", 2)
    async with World(tmp_path) as world:
        office = world["office"]
        office.line.down.add(world["finance"].gateway)
        exchanges = [await world.send(f"late-{number}", urgency="flash") for number in range(5)]
        await world.pass_(timedelta(minutes=10))
        for _ in range(3):
            await look(world)
        assert [len(await reminded(office, exchange)) for exchange in exchanges] == [1] * 5

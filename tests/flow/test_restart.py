"""Restarts: a gateway that dies at any moment goes on from its disk, loses nothing it gave a receipt for and does nothing twice."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace

import pytest

from gateway.core.retry import MAX_ATTEMPTS
from gateway.core.step import Schedule, Step, Work
from tests.flow.wire import Fault
from tests.flow.world import World

PAIR = ("office", "finance")


async def test_taken_and_not_sealed(tmp_path):
    async with World(tmp_path, keys=PAIR) as world:
        office = world["office"]
        world.authority.silent = True
        exchange = await world.send()
        assert await office.state("out", exchange) == "TAKEN"
        await office.crash()
        world.authority.silent = False
        await office.start()
        await world.retry()
        assert await office.state("out", exchange) == "DELIVERED"
        assert office.scratch_bytes() == 0


async def test_taken_and_not_even_settled(tmp_path):
    """The crash comes right after TAKEN: the office still shows the offer, and it must not become a second exchange."""
    async with World(tmp_path, keys=PAIR) as world:
        office = world["office"]
        office.office.closed.add("settle")
        world.authority.silent = True
        office.approve("notice", "关于试点的通知", world["finance"].code)
        await world.settle()
        assert "notice" in office.office.tray
        (row,) = await office.rooms.ledger.exchanges()
        office.office.closed.clear()
        world.authority.silent = False
        await office.restart()
        await world.retry()
        assert office.exchange_of("notice") == row.id
        assert len(await office.rooms.ledger.exchanges()) == 1
        assert await office.state("out", row.id) == "DELIVERED"


async def test_sealed_and_not_sent(tmp_path):
    async with World(tmp_path, keys=PAIR) as world:
        office, finance = world["office"], world["finance"]
        office.line.down.add(finance.gateway)
        exchange = await world.send()
        before = await office.row("out", exchange)
        assert await office.state("out", exchange) == "SEALED"
        await office.restart()
        office.line.down.clear()
        await world.retry()
        after = await office.row("out", exchange)
        assert (after.transmittal, after.nro) == (before.transmittal, before.nro), "sealed once for all"
        assert await office.state("out", exchange) == "DELIVERED"


async def test_sealed_large_and_not_sent(tmp_path):
    async with World(tmp_path, keys=PAIR) as world:
        office, finance = world["office"], world["finance"]
        content = random.Random(1).randbytes(3_000_000)
        office.line.down.add(finance.gateway)
        exchange = await world.send(parts=[("正文.pdf", content)])
        await office.restart()
        office.line.down.clear()
        await world.retry()
        assert finance.delivered(exchange) == (content,)


async def test_sent_and_the_answer_not_heard(tmp_path):
    async with World(tmp_path, keys=PAIR) as world:
        office, finance = world["office"], world["finance"]
        office.line.faults.append(Fault(kind="reply-lost"))
        finance.line.down.add(office.gateway)
        exchange = await world.send()
        await office.restart()
        finance.line.down.clear()
        await world.retry()
        await world.retry()
        assert await office.state("out", exchange) == "DELIVERED"
        assert list(finance.office.inbox) == [exchange]


@pytest.mark.parametrize("size", [100, 200_000, 3_000_000])
async def test_accepted_and_not_handed_over(tmp_path, size):
    """Inline, in a blob and kept in memory, in a blob and decrypted again: all are here, sealed, after a restart."""
    async with World(tmp_path, keys=PAIR) as world:
        office, finance = world["office"], world["finance"]
        content = random.Random(size).randbytes(size)
        finance.office.closed.add("deliver")
        exchange = await world.send(parts=[("正文.pdf", content), ("附件.xml", content[:50])])
        assert await finance.state("in", exchange) == "ACCEPTED"
        assert await office.state("out", exchange) == "CONSIGNED"
        finance.office.closed.clear()
        await finance.restart()
        await world.retry()
        assert finance.delivered(exchange) == (content, content[:50])
        assert await office.state("out", exchange) == "DELIVERED"


async def test_handed_over_and_not_recorded(tmp_path):
    """The office has the document, the crash came before the transaction: it is delivered again and shown once."""
    async with World(tmp_path, keys=PAIR) as world:
        office, finance = world["office"], world["finance"]
        deliver, given, there = finance.office.deliver, [], asyncio.Event()

        async def deliver_and_hang(delivery):
            await deliver(delivery)
            given.append(delivery.exchange)
            there.set()
            if len(given) == 1:
                await asyncio.Event().wait()

        finance.office.deliver = deliver_and_hang
        office.approve("notice", "关于试点的通知", finance.code)
        walking = asyncio.create_task(world.settle())
        await there.wait()
        walking.cancel()
        await finance.restart()
        await world.retry()
        (exchange,) = finance.office.inbox
        assert given == [exchange, exchange]
        assert await office.state("out", exchange) == "DELIVERED"
        assert (await finance.leaves(exchange)).count("delivered") == 1


async def test_delivered_and_the_receipt_not_sent(tmp_path):
    async with World(tmp_path, keys=PAIR) as world:
        office, finance = world["office"], world["finance"]
        finance.line.down.add(office.gateway)
        exchange = await world.send()
        finance.office.sign_for(exchange)
        await world.settle()
        assert (await finance.works()).count("send-receipt") == 2
        await finance.restart()
        finance.line.down.clear()
        await world.retry()
        assert await office.state("out", exchange) == "SIGNED_FOR"
        assert await finance.works() == []


async def test_a_hand_over_that_is_done_already_is_no_second_one(tmp_path):
    async with World(tmp_path, keys=PAIR) as world:
        finance = world["finance"]
        exchange = await world.send()
        await finance.restart()
        del finance.office.inbox[exchange]  # the office put it away
        work = Work(key=f"hand-over:in:{exchange}", kind="hand-over", direction="in", exchange=exchange, due=world.time.now())
        await finance.rooms.record(Step(changes=(Schedule(work=work),)))
        finance.rooms.agenda.add(work)
        await world.settle()
        assert finance.office.inbox == {}
        assert await finance.works() == []
        assert (await finance.leaves(exchange)).count("delivered") == 1


async def test_signed_for_and_the_office_not_told(tmp_path):
    """The act took effect, the crash came before its acknowledgement: taken again it is no second act."""
    async with World(tmp_path, keys=PAIR) as world:
        finance = world["finance"]
        exchange = await world.send()

        finance.office.closed.add("acknowledge")
        finance.office.sign_for(exchange)
        assert await finance.journey.handover.take_acts() == 1
        finance.office.closed.clear()
        await finance.restart()
        await world.settle()
        assert finance.office.answered == {f"{exchange}/sign-for": ()}
        assert (await finance.events("in", exchange)).count("SignedFor") == 1
        assert await world["office"].state("out", exchange) == "SIGNED_FOR"


async def test_held_stays_held_and_refused_is_shown(tmp_path):
    async with World(tmp_path, keys=PAIR) as world:
        office = world["office"]
        held = await world.send("held", level=None)
        office.office.closed.add("refuse")
        office.approve("secret", "关于机要事项的通知", world["finance"].code, level="secret")
        await world.settle()
        assert "secret" not in office.office.refused
        office.office.closed.clear()
        await office.restart()
        await world.retry()
        assert await office.state("out", held) == "HELD"
        assert "builtin/state-secret-commercial" in [reason.rule for reason in office.office.refused["secret"]]
        assert await office.works() == []


async def test_an_offer_whose_content_changed_meanwhile_is_given_up_at_last(tmp_path):
    async with World(tmp_path, keys=PAIR) as world:
        office = world["office"]
        world.authority.silent = True
        exchange = await world.send()
        offer = office.office.sent[exchange]
        part = replace(offer.parts[0], read=lambda: iter((b"x" * offer.parts[0].size,)))
        office.office.sent[exchange] = replace(offer, parts=(part,))
        world.authority.silent = False
        await office.restart()
        await world.retry()
        assert await office.state("out", exchange) == "TAKEN", "never sealed with other content than was decided on"
        assert office.scratch_bytes() == 0
        (work,) = office.put_off.values()
        office.rooms.agenda.add(replace(work, attempts=MAX_ATTEMPTS - 1))
        await world.retry()
        assert await office.state("out", exchange) == "REFUSED"
        assert (await office.leaves(exchange))[-1] == "refused:offer-gone"
        assert await office.works() == []


async def test_policy_changed_while_it_was_down(tmp_path):
    async with World(tmp_path, keys=PAIR) as world:
        office = world["office"]
        world.authority.silent = True
        exchange = await world.send()
        await office.crash()
        world.authority.silent = False
        await office.start()
        office.enact(('from = ["11*", "12*", "13*"]', 'from = ["99*"]'), ('from = ["*"]', 'from = ["99*"]'))
        await world.retry()
        assert await office.state("out", exchange) == "REFUSED"
        assert office.scratch_bytes() == 0
        assert await office.works() == []
        assert office.office.statuses["out", exchange].recipients[0].state == "REFUSED"


async def test_a_failed_stamp_leaves_no_blob_behind(tmp_path):
    """A silent authority and a large document: every attempt seals anew, none may stay on the disk."""
    async with World(tmp_path, keys=PAIR) as world:
        office = world["office"]
        world.authority.silent = True
        exchange = await world.send(parts=[("正文.pdf", random.Random(2).randbytes(500_000))])
        for _ in range(3):
            await world.retry()
        assert not office.orphans()
        world.authority.silent = False
        await world.retry()
        assert await office.state("out", exchange) == "DELIVERED"
        assert not office.orphans()


async def test_a_backlog_larger_than_is_loaded_at_once_is_worked_off(tmp_path, monkeypatch):
    monkeypatch.setattr("gateway.flow.journey.MAX_LOADED", 3)
    async with World(tmp_path, keys=PAIR) as world:
        office, finance = world["office"], world["finance"]
        office.line.down.add(finance.gateway)
        for number in range(10):
            office.approve(str(number), f"第{number}号通知", finance.code)
        await world.settle()
        await office.restart()
        office.line.down.clear()
        for _ in range(5):
            await world.retry()
            await office.journey._fill()
        await world.settle()
        assert len(finance.office.inbox) == 10


@pytest.mark.parametrize("seed", range(3))
async def test_crashes_at_any_moment(tmp_path, seed):
    """Thirty documents, both gateways crash again and again wherever they are: each arrives exactly once."""
    chance = random.Random(seed)
    async with World(tmp_path, keys=PAIR) as world:
        office, finance = world["office"], world["finance"]
        sent = {}
        for number in range(30):
            size = chance.choice([100, 5_000, 100_000])
            sent[f"{number}"] = chance.randbytes(size)
            office.approve(f"{number}", f"第{number}号通知", finance.code, parts=[("正文.pdf", sent[f"{number}"])])
        for _ in range(8):
            settling = asyncio.create_task(world.settle())
            await asyncio.sleep(chance.random() * 0.25)
            settling.cancel()
            await asyncio.gather(settling, return_exceptions=True)
            for node in world.nodes:
                if chance.random() < 0.6:
                    await node.restart()
        for _ in range(6):
            await world.retry()
        arrived = sorted(content for delivered in finance.office.inbox.values() for content in delivered.content)
        assert arrived == sorted(sent.values())
        states = {str(passage.state) for row in await office.rooms.ledger.exchanges() for passage in row.passages}
        assert states == {"DELIVERED"}
        assert office.scratch_bytes() == 0
        for exchange in finance.office.inbox:
            assert (await finance.leaves(exchange)).count("accepted") == 1
            assert "ContentHandover" in await office.events("out", exchange)  # it implies the consignment, whose answer may be lost

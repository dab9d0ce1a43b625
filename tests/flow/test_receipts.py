"""Receipts in whatever order, number and company they come: what counts moves a passage, everything else leaves a trace and no more."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import msgspec
import pytest

from crypto.signed_data import sign_detached
from gateway.core.canonical import format_time
from gateway.core.receipt import OtherExchange, Receipt
from gateway.core.transmittal import Transmittal
from gateway.flow.ports import Receipted, SignedReceipt
from gateway.flow.witness import issue
from tests.flow.wire import Fault
from tests.flow.world import World


def signed(row):
    return SignedReceipt(body=row.body, signature=row.signature)


async def silent(world, source="notice"):
    """An exchange finance took, delivered and signed for, of which office heard nothing: its receipts, oldest first."""
    office, finance = world["office"], world["finance"]
    finance.line.down.add(office.gateway)
    office.line.faults.append(Fault(kind="reply-lost"))
    exchange = await world.send(source)
    office.line.down.add(finance.gateway)
    finance.office.sign_for(exchange)
    await world.settle()
    assert await office.state("out", exchange) == "SEALED"
    rows = await finance.receipts("in", exchange)
    assert [row.event for row in rows] == ["ContentConsignment", "ContentHandover", "SignedFor"]
    return exchange, [signed(row) for row in rows]


async def hand(world, *receipts, peer="finance", to="office"):
    answers = await world[to].journey.inbound.receipts(world[peer].gateway, receipts)
    return [(answer.code, answer.retryable) for answer in answers]


async def forge(world, about, event, *, by="finance", recipient="finance", signer=None, **changes):
    """A receipt made by hand: stated by one, signed by another, with any field changed."""
    row = await world["office"].row("out", about)
    transmittal = Transmittal.from_bytes(row.transmittal)
    stated = issue(
        world[by].rooms.standing,
        world.suite,
        exchange=about,
        recipient=world[recipient].code,
        transmittal=row.transmittal_digest,
        sealed=transmittal.content.sealed,
        event=event,
        at=world.time.now(),
    )
    receipt = msgspec.structs.replace(Receipt.from_bytes(stated.signed.body), **changes)
    body = receipt.to_bytes()
    return SignedReceipt(body=body, signature=sign_detached(body, world[signer or by].signing.signer, at=world.time.now()).der)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0), (2, 0, 1)], ids=str)
async def test_any_order_ends_at_the_same_state(tmp_path, order):
    async with World(tmp_path, keys=("office", "finance")) as world:
        exchange, receipts = await silent(world)
        for index in order:
            assert await hand(world, receipts[index]) == [("ok", False)]
        assert await world["office"].state("out", exchange) == "SIGNED_FOR"
        assert sorted(await world["office"].events("out", exchange)) == ["ContentConsignment", "ContentHandover", "SignedFor"]
        assert "contradiction" not in await world["office"].leaves(exchange)


async def test_all_at_once_and_again_and_again(tmp_path):
    async with World(tmp_path, keys=("office", "finance")) as world:
        exchange, receipts = await silent(world)
        for _ in range(3):
            assert await hand(world, *reversed(receipts)) == [("ok", False)] * 3
        assert len(await world["office"].receipts("out", exchange)) == 3
        assert await world["office"].state("out", exchange) == "SIGNED_FOR"


async def test_the_same_receipt_twice_in_one_moment(tmp_path):
    async with World(tmp_path, keys=("office", "finance")) as world:
        exchange, receipts = await silent(world)
        answers = await asyncio.gather(*(hand(world, receipts[2]) for _ in range(4)))
        assert answers == [[("ok", False)]] * 4
        assert await world["office"].events("out", exchange) == ["SignedFor"]


async def test_a_receipt_by_the_wrong_organisation_moves_nothing(tmp_path):
    async with World(tmp_path) as world:
        exchange, _ = await silent(world)
        forged = await forge(world, exchange, "SignedFor", by="health")
        assert await hand(world, forged, peer="health") == [("not-entitled", False)]
        assert await world["office"].state("out", exchange) == "SEALED"
        assert await world["office"].receipts("out", exchange) == ()
        assert (await world["office"].log())[-1] == "not-entitled:not-entitled"
        assert world["office"].gauges.refusals["not-entitled"] == 1


async def test_a_receipt_signed_by_another_key_is_asked_for_again(tmp_path):
    """A certificate we do not know may be newer than our directory: nothing moves, nothing is lost."""
    async with World(tmp_path) as world:
        asked = []
        world["office"].journey.inbound.on_unknown_directory = lambda: asked.append(1)
        exchange, _ = await silent(world)
        forged = await forge(world, exchange, "SignedFor", signer="health")
        assert await hand(world, forged) == [("signer-not-listed", True)]
        assert asked
        assert await world["office"].state("out", exchange) == "SEALED"
        assert (await world["office"].log())[-1] == "not-entitled:signer-not-listed"


async def test_a_recipient_with_a_new_certificate_is_heard_once_the_directory_says_so(tmp_path):
    from crypto.ca import Profile, Subject
    from gateway.core.directory import certificate_text

    async with World(tmp_path, keys=("office", "finance")) as world:
        office, finance = world["office"], world["finance"]
        exchange = await world.send()
        subject = Subject(
            common_name=finance.organisation.name, organisation_name=finance.organisation.name, organisation_code=finance.code
        )
        finance.signing = world.pki.issue(Profile.SIGN, subject)
        world.edit_organisation(finance.code, signing=(certificate_text(finance.signing.certificate),))
        await finance.restart()
        finance.office.sign_for(exchange)
        await world.settle()
        assert await office.state("out", exchange) == "DELIVERED"
        await office.adopt()
        await world.retry()
        assert await office.state("out", exchange) == "SIGNED_FOR"


async def test_a_receipt_put_onto_another_exchange_does_not_hold(tmp_path):
    async with World(tmp_path, keys=("office", "finance")) as world:
        office = world["office"]
        first, receipts = await silent(world, "first")
        office.line.down.clear()
        world["finance"].line.down.clear()
        office.line.down.add(world["finance"].gateway)
        second = await world.send("second")
        moved = Receipt.from_bytes(receipts[2].body)
        body = msgspec.structs.replace(moved, exchange=second).to_bytes()
        assert await hand(world, SignedReceipt(body=body, signature=receipts[2].signature)) == [("other-exchange", False)]
        row = await office.row("out", second)
        body = msgspec.structs.replace(moved, exchange=second, transmittal=row.transmittal_digest).to_bytes()
        assert (await hand(world, SignedReceipt(body=body, signature=receipts[2].signature)))[0][0] in ("unverified", "other-exchange")
        assert await office.state("out", second) == "SEALED"
        assert await office.receipts("out", second) == ()
        assert first != second


async def test_an_answer_with_receipts_of_another_exchange_is_no_answer(tmp_path):
    async with World(tmp_path, keys=("office", "finance")) as world:
        office = world["office"]
        _, receipts = await silent(world, "first")
        second = await world.send("second")
        row = await office.row("out", second)
        transmittal = Transmittal.from_bytes(row.transmittal)
        with pytest.raises(OtherExchange):
            await office.journey.taking.take_answer(
                "gw-finance", transmittal, row.transmittal_digest, (world["finance"].code,), receipts[:1], f"deliver:out:{second}:x"
            )
        assert await office.state("out", second) == "SEALED"


class Stingy:
    """A peer that answers 200 and gives other receipts than it should."""

    def __init__(self, line, receipts):
        self.line, self.receipts = line, receipts

    async def send(self, gateway, parcel):
        await self.line.send(gateway, parcel)
        return Receipted(receipts=self.receipts)

    async def send_receipts(self, gateway, receipts):
        return await self.line.send_receipts(gateway, receipts)


async def test_an_answer_without_receipts_is_tried_again(tmp_path):
    async with World(tmp_path, keys=("office", "finance")) as world:
        office, finance = world["office"], world["finance"]
        finance.line.down.add(office.gateway)
        office.rooms.link = Stingy(office.line, ())
        exchange = await world.send()
        assert await office.state("out", exchange) == "SEALED"
        (work,) = [work for work in office.put_off.values() if work.kind == "deliver"]
        assert work.attempts == 1
        office.rooms.link = office.line
        await world.retry()
        assert await office.state("out", exchange) == "CONSIGNED"


async def test_an_answer_about_somebody_else_does_not_settle_the_delivery(tmp_path):
    """A good receipt of another recipient of the same exchange says nothing about this one."""
    async with World(tmp_path) as world:
        office, finance, health = world["office"], world["finance"], world["health"]
        for node in (finance, health):
            node.line.down.add(office.gateway)
        office.line.down.add(finance.gateway)
        exchange = await world.send(to=("finance", "health"))
        others = tuple(signed(row) for row in await health.receipts("in", exchange))[:1]
        office.line.down.clear()
        office.rooms.link = Stingy(office.line, others)
        await world.retry()
        assert await office.state("out", exchange, finance.code) == "SEALED"
        assert [work.peer for work in office.put_off.values() if work.kind == "deliver"] == [finance.gateway]
        office.rooms.link = office.line
        await world.retry()
        assert await office.state("out", exchange, finance.code) == "CONSIGNED"


async def test_two_receipts_about_one_recipient_in_the_wrong_order_in_one_answer(tmp_path):
    async with World(tmp_path, keys=("office", "finance")) as world:
        office = world["office"]
        exchange, receipts = await silent(world)
        office.line.down.clear()
        office.rooms.link = Stingy(office.line, (receipts[1], receipts[0]))
        await world.retry()
        assert await office.state("out", exchange) in ("DELIVERED", "SIGNED_FOR")
        assert not [work for work in office.put_off.values() if work.kind == "deliver"]


async def test_a_recipient_that_contradicts_itself_is_noted_and_the_first_word_stands(tmp_path):
    async with World(tmp_path, keys=("office", "finance")) as world:
        office = world["office"]
        exchange, receipts = await silent(world)
        assert await hand(world, *receipts) == [("ok", False)] * 3
        returned = await forge(world, exchange, "Returned", prev=(await office.receipts("out", exchange))[-1].digest)
        assert await hand(world, returned) == [("ok", False)]
        assert await office.state("out", exchange) == "SIGNED_FOR"
        assert (await office.leaves(exchange))[-1] == "contradiction"
        assert (await office.events("out", exchange))[-1] == "Returned", "both words are kept: they prove the contradiction"


async def test_a_damaged_receipt_and_one_about_nothing(tmp_path):
    async with World(tmp_path, keys=("office", "finance")) as world:
        exchange, receipts = await silent(world)
        good = receipts[2]
        signature = bytearray(good.signature)
        signature[-1] ^= 1
        assert await hand(world, replace(good, signature=bytes(signature))) == [("unverified", False)]
        assert await hand(world, replace(good, signature=b"\x30\x00")) == [("malformed", False)]
        assert await hand(world, replace(good, body=good.body + b" ")) == [("malformed", False)]
        unknown = await forge(world, exchange, "SignedFor", exchange="019cadf8-1c00-7abc-8def-0123456789ab")
        assert await hand(world, unknown) == [("not-found", False)]
        assert await world["office"].state("out", exchange) == "SEALED"


async def test_good_receipts_among_bad_ones_count(tmp_path):
    async with World(tmp_path) as world:
        exchange, receipts = await silent(world)
        bad = await forge(world, exchange, "Returned", by="health")
        answers = await hand(world, bad, receipts[0], replace(receipts[1], signature=b"\x30\x00"), receipts[2])
        assert [code for code, _ in answers] == ["not-entitled", "ok", "malformed", "ok"]
        assert await world["office"].state("out", exchange) == "SIGNED_FOR"


async def test_a_consignment_dated_after_the_end_is_not_entitled(tmp_path):
    async with World(tmp_path, keys=("office", "finance")) as world:
        exchange, _ = await silent(world)
        late = await forge(world, exchange, "ContentConsignment", at=format_time(world.time.now() + timedelta(days=31)))
        assert await hand(world, late) == [("not-entitled", False)]


async def test_a_receipt_waits_while_our_revocation_lists_are_stale(tmp_path):
    async with World(tmp_path, keys=("office", "finance")) as world:
        office = world["office"]
        exchange, receipts = await silent(world)
        good = office.trust
        office.believe(replace(good, crls=world.pki.crls_after(now=world.time.now() - timedelta(days=8), days=7)))
        assert await hand(world, receipts[0]) == [("busy", True)]
        office.believe(good)
        assert await hand(world, receipts[0]) == [("ok", False)]
        assert await office.state("out", exchange) == "CONSIGNED"


async def test_many_receipts_go_in_one_request(tmp_path):
    async with World(tmp_path, keys=("office", "finance")) as world:
        office, finance = world["office"], world["finance"]
        finance.line.down.add(office.gateway)
        for number in range(12):
            office.approve(str(number), f"第{number}号通知", finance.code)
        await world.settle()
        assert (await finance.works()).count("send-receipt") == 12
        finance.line.down.clear()
        calls = []
        carry = finance.line.send_receipts

        async def counting(gateway, receipts):
            calls.append(len(receipts))
            return await carry(gateway, receipts)

        finance.line.send_receipts = counting
        await world.retry()
        await world.retry()  # one may have been under way, and failing, when the wire came back
        assert sum(calls) == 12
        assert len(calls) <= 3
        assert await finance.works() == []
        assert {str(passage.state) for row in await office.rooms.ledger.exchanges() for passage in row.passages} == {"DELIVERED"}


async def test_a_receipt_turned_away_for_good_is_not_sent_for_ever(tmp_path):
    async with World(tmp_path, keys=("office", "finance")) as world:
        office, finance = world["office"], world["finance"]
        finance.line.down.add(office.gateway)
        exchange = await world.send()
        world.publish(lambda entries: entries.pop(f"gateway/{finance.gateway}"))
        await office.adopt()
        finance.line.down.clear()
        await world.retry()
        assert await finance.works() == []
        assert await office.state("out", exchange) == "CONSIGNED"

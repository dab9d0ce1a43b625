"""The journey from tray to receipt, on days when everybody plays by the rules: real gateways, real keys, one process."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import timedelta

import pytest

from adapters.memory import MemoryOffice
from crypto.suites import GM_1, INTL_1
from gateway.core.explain import explain
from gateway.core.receipt import Receipt
from gateway.core.step import KeepReceipt
from gateway.core.transmittal import Transmittal
from gateway.flow.ports import BadOffer
from tests.flow.wire import Fault
from tests.flow.world import World, receipted

MIB = 1024 * 1024


@pytest.mark.parametrize("suite", [GM_1, INTL_1], ids=str)
async def test_a_document_crosses_and_is_signed_for(tmp_path, suite):
    async with World(tmp_path, suite=suite, keys=("office", "finance")) as world:
        office, finance = world["office"], world["finance"]
        exchange = await world.send()
        assert await office.state("out", exchange) == "DELIVERED"
        assert await finance.state("in", exchange) == "DELIVERED"
        finance.office.sign_for(exchange)
        await world.settle()
        assert await office.state("out", exchange) == "SIGNED_FOR"
        assert await finance.state("in", exchange) == "SIGNED_FOR"
        assert await office.events("out", exchange) == ["ContentConsignment", "ContentHandover", "SignedFor"]
        assert finance.delivered(exchange) == tuple(b"".join(part.read()) for part in office.office.sent[exchange].parts)
        assert await office.works() == await finance.works() == []
        assert office.scratch_bytes() == finance.scratch_bytes() == 0


async def test_every_step_is_in_both_logs(tmp_path):
    async with World(tmp_path, keys=("office", "finance")) as world:
        exchange = await world.send()
        world["finance"].office.sign_for(exchange)
        await world.settle()
        assert await world["office"].leaves(exchange) == ["taken", "sealed", "receipt", "receipt", "receipt"]
        assert await world["finance"].leaves(exchange) == ["accepted", "receipt", "delivered", "signed-for"]


async def test_receipts_of_one_recipient_form_a_chain(tmp_path):
    """Two receipts with one ``prev`` would prove that the recipient contradicts itself."""
    async with World(tmp_path, keys=("office", "finance")) as world:
        exchange = await world.send()
        world["finance"].office.sign_for(exchange)
        await world.settle()
        rows = await world["office"].receipts("out", exchange)
        assert [Receipt.from_bytes(row.body).prev for row in rows] == [None, rows[0].digest, rows[1].digest]


async def test_a_hasty_signature_does_not_fork_the_chain(tmp_path):
    """A person (or a robot) signs the moment the document appears, and both statements are about to be recorded at once."""

    class Hasty(MemoryOffice):
        async def deliver(self, delivery):
            await super().deliver(delivery)
            self.sign_for(delivery.exchange)
            finance.group.create_task(finance.journey.handover.take_acts())

    class Crossing:
        """Lets the hand-over be recorded first, and only once the signature is ready too (or does not come)."""

        def __init__(self, journal):
            self.journal, self.signed, self.handed_over = journal, asyncio.Event(), asyncio.Event()

        def __getattr__(self, name):
            return getattr(self.journal, name)

        async def record(self, step):
            events = {change.event for change in step.changes if isinstance(change, KeepReceipt)}
            if "SignedFor" in events:
                self.signed.set()
                await asyncio.wait_for(self.handed_over.wait(), 5)
            if "ContentHandover" in events:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self.signed.wait(), 0.3)
            recorded = await self.journal.record(step)
            if "ContentHandover" in events:
                self.handed_over.set()
            return recorded

    async with World(tmp_path, keys=("office", "finance")) as world:
        finance = world["finance"]
        finance.rooms.office, finance.rooms.journal = Hasty(), Crossing(finance.rooms.journal)
        exchange = await world.send()
        await world.retry()
        assert await world["office"].events("out", exchange) == ["ContentConsignment", "ContentHandover", "SignedFor"]
        prevs = [Receipt.from_bytes(row.body).prev for row in await world["office"].receipts("out", exchange)]
        assert len(set(prevs)) == len(prevs), prevs


async def test_several_recipients_each_behind_a_gateway_of_its_own(tmp_path):
    async with World(tmp_path) as world:
        office = world["office"]
        exchange = await world.send(to=("finance", "health"))
        world["finance"].office.sign_for(exchange)
        world["health"].office.send_back(exchange, "不归我委办理")
        await world.settle()
        assert await office.state("out", exchange, world["finance"].code) == "SIGNED_FOR"
        assert await office.state("out", exchange, world["health"].code) == "RETURNED"
        assert await world["health"].state("in", exchange) == "RETURNED"
        # one content, an envelope for each alone
        (_, cover_a, content_a), (_, cover_b, content_b) = office.line.carried
        assert content_a == content_b
        assert cover_a != cover_b


async def test_one_recipient_out_of_reach_does_not_keep_the_others_waiting(tmp_path):
    async with World(tmp_path) as world:
        office = world["office"]
        office.line.down.add(world["health"].gateway)
        exchange = await world.send(to=("finance", "health"))
        assert await office.state("out", exchange, world["finance"].code) == "DELIVERED"
        assert await office.state("out", exchange, world["health"].code) == "SEALED"
        office.line.down.clear()
        await world.retry()
        assert await office.state("out", exchange, world["health"].code) == "DELIVERED"


async def test_words_of_a_return_stay_home(tmp_path):
    """Free text never stands in a receipt or leaf: it would cross every border in clear."""
    async with World(tmp_path, keys=("office", "finance")) as world:
        exchange = await world.send()
        world["finance"].office.send_back(exchange, "内容有误请重发")
        await world.settle()
        assert await world["office"].state("out", exchange) == "RETURNED"
        receipt = (await world["office"].receipts("out", exchange))[-1]
        assert Receipt.from_bytes(receipt.body).reason.code == "returned"
        for node in world.nodes:
            (row,) = await node.rooms.ledger.beginning(exchange)
            leaves = [leaf for _, leaf in await node.rooms.ledger.leaves(row.key)]
            assert not any("内容有误".encode() in body for body in (*leaves, receipt.body))


async def test_statuses_follow_the_receipts_on_both_sides(tmp_path):
    async with World(tmp_path, keys=("office", "finance")) as world:
        office, finance = world["office"], world["finance"]
        exchange = await world.send()
        finance.office.sign_for(exchange)
        await world.settle()
        (passage,) = office.office.statuses["out", exchange].recipients
        assert (passage.org, passage.name, passage.state) == (finance.code, "市财政局", "SIGNED_FOR")
        assert [event for event, _, _ in passage.events] == ["ContentConsignment", "ContentHandover", "SignedFor"]
        assert finance.office.statuses["in", exchange].recipients[0].state == "SIGNED_FOR"


async def test_it_walks_by_itself(tmp_path):
    """The loops of a gateway that runs: tray, acts, clock, expiry; and they end when told to."""
    async with World(tmp_path, keys=("office", "finance")) as world:
        office, finance = world["office"], world["finance"]
        stop = asyncio.Event()
        runs = [asyncio.create_task(node.journey.run(node.group, stop)) for node in world.nodes]
        office.approve("notice", "关于试点的通知", finance.code)
        async with asyncio.timeout(20):
            while not finance.office.inbox:  # noqa: ASYNC110  # nobody sets an event for a memory office
                await asyncio.sleep(0.02)
            (exchange,) = finance.office.inbox
            finance.office.sign_for(exchange)
            while await office.state("out", exchange) != "SIGNED_FOR":  # noqa: ASYNC110
                await asyncio.sleep(0.02)
            world.time.pass_(timedelta(minutes=61))
            stop.set()
            await asyncio.gather(*runs)
        assert not office.journey.running()


async def test_an_office_that_stumbles_is_asked_again(tmp_path):
    async with World(tmp_path, keys=("office", "finance")) as world:
        office, finance = world["office"], world["finance"]
        stumbles = []

        async def stumbling():
            stumbles.append(1)
            if len(stumbles) < 3:
                raise OSError("the share is away")
            for offer in tuple(office.office.tray.values()):
                yield offer

        office.office.offers = stumbling
        stop = asyncio.Event()
        run = asyncio.create_task(office.journey.run(office.group, stop))
        office.approve("notice", "关于试点的通知", finance.code)
        async with asyncio.timeout(20):
            while not finance.office.inbox:  # noqa: ASYNC110  # nobody sets an event for a memory office
                await asyncio.sleep(0.02)
            stop.set()
            await run
        assert len(stumbles) >= 3


# ---- what may not go -------------------------------------------------------------------------------------------------------------


def rules(node, source="notice"):
    return [reason.rule for reason in node.office.refused[source]]


async def test_a_state_secret_is_refused(tmp_path):
    async with World(tmp_path, keys=("office", "finance")) as world:
        office = world["office"]
        office.approve("notice", "关于机要事项的通知", world["finance"].code, level="secret")
        await world.settle()
        assert "builtin/state-secret-commercial" in rules(office)
        assert not office.line.carried
        assert office.scratch_bytes() == 0
        assert await office.works() == []
        exchanges = await office.rooms.ledger.exchanges()
        assert [str(passage.state) for row in exchanges for passage in row.passages] == ["REFUSED"]


async def test_a_document_without_a_level_is_held(tmp_path):
    async with World(tmp_path, keys=("office", "finance")) as world:
        office = world["office"]
        exchange = await world.send(level=None)
        assert await office.state("out", exchange) == "HELD"
        assert office.office.statuses["out", exchange].recipients[0].state == "HELD"
        assert [reason.rule for reason in office.office.statuses["out", exchange].reasons] == ["builtin/level-missing"]
        assert not office.line.carried
        assert office.scratch_bytes() == 0


async def test_one_recipient_that_may_not_receive_refuses_the_whole_offer_and_is_named(tmp_path):
    async with World(tmp_path) as world:
        office = world["office"]
        world.edit_organisation(world["health"].code, highest_level="public")
        await office.adopt()
        office.approve("notice", "关于试点的通知", world["finance"].code, world["health"].code)
        await world.settle()
        assert [(reason.rule, reason.at) for reason in office.office.refused["notice"]] == [
            ("directory/highest-level", world["health"].code)
        ]
        assert not office.line.carried


async def test_an_unknown_recipient_is_refused_by_name(tmp_path):
    async with World(tmp_path, keys=("office", "finance")) as world:
        office = world["office"]
        office.approve("notice", "关于试点的通知", world["finance"].code, world.pki.health.code)
        await world.settle()
        assert [(reason.rule, reason.at) for reason in office.office.refused["notice"]] == [("not-listed", world.pki.health.code)]
        assert await office.rooms.ledger.exchanges() == ()
        assert office.scratch_bytes() == 0
        assert await office.works() == []


async def test_a_recipient_without_encryption_certificate_is_refused_by_name(tmp_path):
    async with World(tmp_path, keys=("office", "finance")) as world:
        office, finance = world["office"], world["finance"]
        world.edit_organisation(finance.code, encryption=())
        await office.adopt()
        office.approve("notice", "关于试点的通知", finance.code)
        await world.settle()
        (reason,) = office.office.refused["notice"]
        assert reason.rule == "levels/internal/suites"
        assert finance.code in reason.en
        assert not office.line.carried
        assert office.scratch_bytes() == 0


async def test_a_recipient_behind_no_gateway_is_refused_by_name(tmp_path):
    async with World(tmp_path, keys=("office", "finance")) as world:
        office, finance = world["office"], world["finance"]
        world.publish(lambda entries: entries.pop(f"gateway/{finance.gateway}"))
        await office.adopt()
        office.approve("notice", "关于试点的通知", finance.code)
        await world.settle()
        assert [(reason.rule, reason.at) for reason in office.office.refused["notice"]] == [("not-listed", finance.code)]


async def test_a_letter_to_oneself_is_refused(tmp_path):
    async with World(tmp_path, keys=("office", "finance")) as world:
        office = world["office"]
        office.approve("notice", "关于试点的通知", office.code)
        await world.settle()
        assert rules(office) == ["offer/to-self"]
        assert await office.rooms.ledger.exchanges() == ()


async def test_a_bad_offer_is_refused_with_its_reasons(tmp_path):
    async with World(tmp_path, keys=("office", "finance")) as world:
        office = world["office"]
        reasons = (explain("offer/no-files", at="notice"),)
        office.office.tray["notice"] = BadOffer(source="notice", reasons=reasons)
        await world.settle()
        assert office.office.refused["notice"] == reasons
        assert await office.rooms.ledger.exchanges() == ()
        assert (await office.log())[-1] == "refused:offer.no-files"
        assert await office.works() == []


async def test_a_part_that_changed_since_it_was_offered_is_refused(tmp_path):
    async with World(tmp_path, keys=("office", "finance")) as world:
        office = world["office"]
        office.approve("notice", "关于试点的通知", world["finance"].code, parts=[("a.pdf", b"a" * 100), ("b.pdf", b"b" * 100)])
        offer = office.office.tray["notice"]
        shorter = type(offer.parts[1])(
            **{name: getattr(offer.parts[1], name) for name in ("name", "role", "level", "media_type")}, size=101, read=offer.parts[1].read
        )
        office.office.tray["notice"] = type(offer)(
            source="notice", document=offer.document, recipients=offer.recipients, parts=(offer.parts[0], shorter)
        )
        await world.settle()
        assert rules(office) == ["part-changed"]
        assert office.scratch_bytes() == 0


# ---- the same again --------------------------------------------------------------------------------------------------------------


async def test_the_same_offer_again_is_the_same_exchange(tmp_path):
    async with World(tmp_path, keys=("office", "finance")) as world:
        office = world["office"]
        exchange = await world.send()
        offer = office.office.sent[exchange]
        assert await office.journey.outbound.take(offer) == exchange
        assert len(await office.rooms.ledger.exchanges()) == 1
        assert office.scratch_bytes() == 0


@pytest.mark.parametrize("size", [100, 600_000])
async def test_the_same_offer_twice_in_one_moment_is_one_exchange(tmp_path, size):
    async with World(tmp_path, keys=("office", "finance")) as world:
        office, finance = world["office"], world["finance"]
        office.approve("notice", "关于试点的通知", finance.code, parts=[("正文.pdf", b"z" * size)])
        offer = office.office.tray["notice"]
        first, second = await asyncio.gather(*(office.journey.outbound.take(offer) for _ in range(2)))
        await world.settle()
        assert first == second
        assert [row.id for row in await office.rooms.ledger.exchanges()] == [first]
        assert await office.state("out", first) == "DELIVERED"
        assert office.scratch_bytes() == 0
        assert not office.orphans()


@pytest.mark.parametrize("size", [100, 600_000])
async def test_a_level_without_time_stamps_needs_no_authority(tmp_path, size):
    async with World(tmp_path, keys=("office", "finance")) as world:
        for node in world.nodes:
            node.enact(("timestamp = true", "timestamp = false"))
        asked = world.authority.asked
        exchange = await world.send(parts=[("正文.pdf", b"z" * size)])
        assert await world["office"].state("out", exchange) == "DELIVERED"
        assert world.authority.asked == asked


async def test_a_suite_without_a_time_authority_waits_and_says_why(tmp_path, caplog):
    async with World(tmp_path, keys=("office", "finance")) as world:
        office = world["office"]
        tokens, office.rooms.tokens = office.rooms.tokens, {}
        exchange = await world.send()
        assert await office.state("out", exchange) == "TAKEN"
        assert "time.authorities: none for suite intl-1" in caplog.text
        assert "Traceback" not in caplog.text
        office.rooms.tokens = tokens
        await world.retry()
        assert await office.state("out", exchange) == "DELIVERED"


async def test_a_refused_offer_again_is_refused_again(tmp_path):
    async with World(tmp_path, keys=("office", "finance")) as world:
        office = world["office"]
        office.approve("notice", "关于机要事项的通知", world["finance"].code, level="secret")
        offer = office.office.tray["notice"]
        await world.settle()
        first = office.office.refused.pop("notice")
        office.office.tray["notice"] = offer
        await world.settle()
        assert office.office.refused["notice"] == first
        assert len(await office.rooms.ledger.exchanges()) == 1
        assert office.scratch_bytes() == 0


async def test_other_content_under_a_source_still_open_is_refused(tmp_path):
    async with World(tmp_path, keys=("office", "finance")) as world:
        office = world["office"]
        exchange = await world.send()
        office.approve("notice", "关于notice的通知", world["finance"].code, parts=[("正文.pdf", b"something else")])
        await world.settle()
        assert [reason.rule for reason in office.office.refused["notice"]] == ["offer/source-open"]
        assert exchange in office.office.refused["notice"][0].en
        assert len(await office.rooms.ledger.exchanges()) == 1
        assert office.scratch_bytes() == 0


async def test_other_content_after_the_first_ended_is_a_new_exchange_that_names_it(tmp_path):
    async with World(tmp_path, keys=("office", "finance")) as world:
        office, finance = world["office"], world["finance"]
        first = await world.send()
        finance.office.sign_for(first)
        await world.settle()
        office.approve("notice", "关于notice的通知", finance.code, parts=[("正文.pdf", b"something else")])
        await world.settle()
        (second,) = set(office.office.sent) - {first}
        assert Transmittal.from_bytes((await office.row("out", second)).transmittal).refs == (first,)
        assert await office.state("out", second) == "DELIVERED"


async def test_the_thread_of_a_second_exchange_survives_a_restart_before_the_seal(tmp_path):
    async with World(tmp_path, keys=("office", "finance")) as world:
        office, finance = world["office"], world["finance"]
        first = await world.send()
        finance.office.sign_for(first)
        await world.settle()
        world.authority.silent = True
        office.approve("notice", "关于notice的通知", finance.code, parts=[("正文.pdf", b"something else")])
        await world.settle()
        world.authority.silent = False
        await office.restart()
        await world.retry()
        (second,) = set(office.office.sent) - {first}
        assert Transmittal.from_bytes((await office.row("out", second)).transmittal).refs == (first,)


# ---- the wire --------------------------------------------------------------------------------------------------------------------


async def test_a_lost_answer_brings_the_same_receipt_bytes_again(tmp_path):
    async with World(tmp_path, keys=("office", "finance")) as world:
        office, finance = world["office"], world["finance"]
        office.line.faults.append(Fault(kind="reply-lost"))
        exchange = await world.send()
        assert await finance.state("in", exchange) == "DELIVERED"
        assert await office.state("out", exchange) == "DELIVERED", "the hand-over implies the consignment that was not heard"
        finance.rooms.agenda.stop()
        (_, parcel), *_ = office.line.offered
        await office.line.send(finance.gateway, parcel)
        first, *again = map(receipted, office.line.answers)
        assert again
        assert all(answer == first for answer in again)
        assert await office.state("out", exchange) == "DELIVERED"
        assert list(finance.office.inbox) == [exchange]
        assert (await finance.leaves(exchange)).count("accepted") == 1


async def test_two_offers_at_once_are_one_document(tmp_path):
    async with World(tmp_path, keys=("office", "finance")) as world:
        office, finance = world["office"], world["finance"]
        office.line.faults.append(Fault(kind="twice"))
        exchange = await world.send()
        first, second = map(receipted, office.line.answers)
        assert first == second
        assert list(finance.office.inbox) == [exchange]
        assert (await finance.leaves(exchange)).count("accepted") == 1


async def test_two_large_offers_at_once_are_one_document(tmp_path):
    async with World(tmp_path, keys=("office", "finance")) as world:
        office, finance = world["office"], world["finance"]
        office.line.faults.append(Fault(kind="twice"))
        exchange = await world.send(parts=[("正文.pdf", bytes(range(256)) * 12_000)])
        await world.retry()
        assert await office.state("out", exchange) == "DELIVERED"
        assert list(finance.office.inbox) == [exchange]
        assert not finance.orphans()


async def test_a_message_lost_before_it_arrived_is_sent_again(tmp_path):
    async with World(tmp_path, keys=("office", "finance")) as world:
        office = world["office"]
        office.line.faults += [Fault(kind="unsent")] * 3
        exchange = await world.send()
        assert await office.state("out", exchange) == "SEALED"
        for _ in range(3):
            await world.retry()
        assert await office.state("out", exchange) == "DELIVERED"


@pytest.mark.parametrize("kind", ["unsent", "reply-lost", "twice"])
async def test_receipts_survive_a_bad_wire(tmp_path, kind):
    async with World(tmp_path, keys=("office", "finance")) as world:
        world["finance"].line.receipt_faults.append(kind)
        exchange = await world.send()
        await world.retry()
        assert await world["office"].state("out", exchange) == "DELIVERED"
        assert sorted(await world["office"].events("out", exchange)) == ["ContentConsignment", "ContentHandover"]
        assert await world["finance"].works() == []


async def test_a_tray_of_many_is_emptied_in_order_of_urgency(tmp_path):
    async with World(tmp_path, keys=("office", "finance")) as world:
        office, finance = world["office"], world["finance"]
        office.line.down.add(finance.gateway)
        for number in range(20):
            office.approve(f"{number}", f"第{number}号通知", finance.code, urgency="flash" if number == 19 else "routine")
        await world.settle()
        assert await office.works() == ["deliver"] * 20
        office.line.down.clear()
        await world.retry()
        assert len(finance.office.inbox) == 20
        assert {str(passage.state) for row in await office.rooms.ledger.exchanges() for passage in row.passages} == {"DELIVERED"}
        urgent = office.exchange_of("19")
        arrived = [Transmittal.from_bytes(_transmittal(cover)).id for _, cover, _ in office.line.carried]
        assert arrived.index(urgent) < 16, "the most urgent is in the first handful"


def _transmittal(cover):
    from gateway.core.cover import Cover

    return Cover.from_bytes(cover).transmittal


# ---- after a while ---------------------------------------------------------------------------------------------------------------


async def test_a_repeat_of_a_document_signed_for_long_ago_gets_the_first_receipt(tmp_path):
    async with World(tmp_path, keys=("office", "finance")) as world:
        office, finance = world["office"], world["finance"]
        exchange = await world.send()
        finance.office.sign_for(exchange)
        await world.settle()
        ((_, cover, content),) = office.line.carried
        again = await finance.journey.inbound.offer(office.gateway, cover, content)
        assert receipted(again) == receipted(office.line.answers[0])
        assert await finance.state("in", exchange) == "SIGNED_FOR"


async def test_an_act_about_nothing_and_an_act_too_late_are_answered(tmp_path):
    async with World(tmp_path, keys=("office", "finance")) as world:
        finance = world["finance"]
        exchange = await world.send()
        finance.office.sign_for("019cadf8-1c00-7abc-8def-0123456789ab")
        finance.office.sign_for(exchange)
        await world.settle()
        finance.office.send_back(exchange, "太迟")
        await world.settle()
        answered = {act: [reason.rule for reason in reasons] for act, reasons in finance.office.answered.items()}
        assert answered == {
            "019cadf8-1c00-7abc-8def-0123456789ab/sign-for": ["act/unknown-exchange"],
            f"{exchange}/sign-for": [],
            f"{exchange}/return": ["act/too-late"],
        }
        assert await world["office"].state("out", exchange) == "SIGNED_FOR"


async def test_proofs_are_for_the_two_ends_alone(tmp_path):
    from gateway.core.errors import ProblemError

    async with World(tmp_path) as world:
        office, finance = world["office"], world["finance"]
        exchange = await world.send()
        receipt = (await finance.receipts("in", exchange))[0]
        leaf, proof = await finance.journey.inbound.proof(office.gateway, receipt.digest)
        assert receipt.digest.encode() in leaf
        assert proof.startswith(b"c2sp.org/tlog-proof")
        with pytest.raises(ProblemError, match="no receipt") as refused:
            await finance.journey.inbound.proof(world["health"].gateway, receipt.digest)
        assert refused.value.problem == "not-found"
        with pytest.raises(ProblemError):
            await finance.journey.inbound.proof(office.gateway, "sha256:" + "0" * 64)


def test_receipted_wants_a_200():
    with pytest.raises(AssertionError):
        receipted(None)

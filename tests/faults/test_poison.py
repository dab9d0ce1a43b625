"""One poisoned document at every stage of its way: set aside after a bounded number of tries, seen with its error, kept, and the others flow.

The poison is a defect of ours put in on purpose: an error that is none of ours and that nothing expects.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway.core.keys import id_of
from gateway.core.leaf import Leaf
from gateway.core.step import SET_ASIDE, Work
from gateway.flow import inbound as inbound_module
from gateway.flow import outbound as outbound_module
from gateway.flow import taking as taking_module
from gateway.flow.queue import Operator, Request, label_of
from gateway.flow.trouble import MAX_DEFECTS, trouble_of
from tests.flow.world import MIB, Node, World

WANG = Operator(account="wang", proof="local-socket")
POISON = "poison"


class Venom(Exception):
    """What nobody expects."""


class Dose:
    """Makes an act fail for the one document, as long as it works; how often it did."""

    def __init__(self, act: Callable[..., Any], poisoned: Callable[..., bool]) -> None:
        self._act = act
        self._poisoned = poisoned
        self.cured = False
        self.taken = 0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not self.cured and self._poisoned(*args, **kwargs):
            self.taken += 1
            raise Venom("a defect")
        return self._act(*args, **kwargs)


async def again_and_again(world: World, times: int = MAX_DEFECTS + 2) -> None:
    for _ in range(times):
        for node in world.nodes:
            node.journey.outbound._resting.clear()
        await world.retry()


async def set_aside(node: Node, kind: str) -> list[Work]:
    return [work for work in await node.rooms.ledger.due() if work.due == SET_ASIDE and work.kind == kind]


async def alarms(node: Node) -> list[str | None]:
    leaves, index = [], 0
    while (body := await node.rooms.ledger.leaf(index)) is not None:
        leaves.append(Leaf.from_bytes(body))
        index += 1
    return [leaf.reason for leaf in leaves if leaf.kind == "alarm" and leaf.outcome == "set-aside"]


async def retry(node: Node, item: str) -> None:
    await node.journey.queue.act(Request(act="retry", item=item), WANG)


async def one_is_set_aside(node: Node, kind: str, dose: Dose) -> Work:
    """Exactly the poisoned one, after exactly so many tries, with its error, its leaf, and a count."""
    (work,) = await set_aside(node, kind)
    assert dose.taken == MAX_DEFECTS
    trouble = trouble_of(work, node.rooms.standing.storage_key)
    assert trouble is not None
    assert (trouble.code, trouble.defects) == ("queue/defect", MAX_DEFECTS)
    assert trouble.reason is not None
    assert "Venom" in trouble.reason.en
    assert b"a defect" not in work.trouble  # the words are sealed: they may quote the document
    assert await alarms(node) == [kind]
    assert node.gauges.refusals["set-aside"] == 1
    return work


@pytest.mark.parametrize("restart", [False, True])
async def test_an_offer_that_cannot_be_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, restart: bool):
    dose = Dose(outbound_module.seal, lambda draft, *rest: POISON in draft.document.title)
    monkeypatch.setattr(outbound_module, "seal", dose)
    async with World(tmp_path) as world:
        office, finance = world["office"], world["finance"]
        office.approve("bad", "关于poison的通知", finance.code)
        await again_and_again(world)
        work = await one_is_set_aside(office, "take", dose)
        assert "bad" in office.office.tray
        exchange = await world.send("good")
        assert await office.state("out", exchange) == "DELIVERED"
        if restart:
            await office.restart()
            await again_and_again(world, 2)
            assert dose.taken == MAX_DEFECTS
        dose.cured = True
        await retry(office, label_of(work))
        await world.settle()
        assert await set_aside(office, "take") == []
        assert await office.state("out", office.exchange_of("bad")) == "DELIVERED"


async def test_an_offer_set_aside_and_then_removed_is_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(outbound_module, "seal", Dose(outbound_module.seal, lambda *rest: True))
    async with World(tmp_path) as world:
        office = world["office"]
        office.approve("bad", "关于poison的通知", world["finance"].code)
        await again_and_again(world)
        assert await set_aside(office, "take")
        del office.office.tray["bad"]
        await world.settle()
        assert await set_aside(office, "take") == []


async def test_a_taken_document_that_cannot_be_sealed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    async with World(tmp_path) as world:
        office, finance = world["office"], world["finance"]
        world.authority.silent = True
        office.approve("bad", "关于poison的通知", finance.code)
        await world.settle()
        dose = Dose(outbound_module.seal, lambda draft, *rest: POISON in draft.document.title)
        monkeypatch.setattr(outbound_module, "seal", dose)
        world.authority.silent = False
        await again_and_again(world)
        exchange = office.exchange_of("bad")
        await one_is_set_aside(office, "seal", dose)
        assert await office.state("out", exchange) == "TAKEN"
        await office.restart()  # which tries nothing of it
        await again_and_again(world, 2)
        assert dose.taken == MAX_DEFECTS
        assert await office.state("out", await world.send("good")) == "DELIVERED"
        dose.cured = True
        await retry(office, exchange)
        await world.settle()
        assert await office.state("out", exchange) == "DELIVERED"


async def test_a_sealed_document_that_cannot_be_delivered_is_stuck(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    async with World(tmp_path) as world:
        office, finance = world["office"], world["finance"]
        office.line.down.add(finance.gateway)
        exchange = await world.send("bad")
        office.line.down.clear()
        dose = Dose(office.journey.delivering._parcel, lambda due, there: due.transmittal.id == exchange)
        monkeypatch.setattr(office.journey.delivering, "_parcel", dose)
        good = await world.send("good")
        await again_and_again(world)
        assert await office.state("out", good) == "DELIVERED"
        assert await office.state("out", exchange) == "STUCK"
        assert dose.taken == MAX_DEFECTS
        (shown,) = office.office.statuses["out", exchange].recipients
        assert [reason.rule for reason in shown.reasons] == ["queue/defect"]
        dose.cured = True
        await retry(office, exchange)
        await world.settle()
        assert await office.state("out", exchange) == "DELIVERED"


@pytest.mark.parametrize(
    ("side", "verb", "kind"), [("office", "settle", "settle"), ("office", "report", "report"), ("finance", "deliver", "hand-over")]
)
async def test_what_the_office_side_fails_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, side: str, verb: str, kind: str):
    async with World(tmp_path) as world:
        node, exchange = world[side], ""

        def poisoned(subject: Any, *rest: Any) -> bool:
            if isinstance(subject, str):
                return POISON in subject
            return POISON in getattr(subject, "document", subject).title

        dose = Dose(getattr(node.office, verb), poisoned)
        monkeypatch.setattr(type(node.office), verb, _as_method(dose, node.office, getattr(type(node.office), verb)), raising=True)
        world["office"].approve("poison", "关于poison的通知", world["finance"].code)
        await again_and_again(world)
        exchange = (await node.rooms.ledger.exchanges())[0].key
        work = await one_is_set_aside(node, kind, dose)
        assert work.exchange == exchange
        good = await world.send("good")
        assert await world["office"].state("out", good) == "DELIVERED"
        dose.cured = True
        await retry(node, exchange)
        await world.settle()
        assert await set_aside(node, kind) == []
        assert await world["office"].state("out", id_of(exchange)) == "DELIVERED"
        assert "poison" not in world["office"].office.tray


def _as_method(dose: Dose, owner: Any, plain: Callable[..., Awaitable[Any]]) -> Callable[..., Any]:
    """The dose for one office; every other goes on as before (slots allow no attribute on the instance)."""
    return lambda self, *args: dose(*args) if self is owner else plain(self, *args)


async def test_an_arrival_our_code_fails_at_stays_with_its_sender(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    async with World(tmp_path) as world:
        office, finance = world["office"], world["finance"]
        office.approve("bad", "关于poison的通知", finance.code)
        title = "关于poison的通知"
        dose = Dose(inbound_module.open_content, lambda *rest: False)
        dose._poisoned = lambda examined, *rest: (
            examined.transmittal.id in {exchange for exchange, offer in office.office.sent.items() if offer.document.title == title}
        )
        monkeypatch.setattr(inbound_module, "open_content", dose)
        office.line.down.add(finance.gateway)
        await world.settle()
        office.line.down.clear()
        await again_and_again(world, MAX_DEFECTS + 4)
        exchange = office.exchange_of("bad")
        work = await one_is_set_aside(finance, "arrive", dose)  # after that it is answered without being looked at
        assert id_of(work.exchange) == exchange
        assert await office.state("out", exchange) == "SEALED"
        assert await office.state("out", await world.send("good")) == "DELIVERED"
        dose.cured = True
        await retry(finance, exchange)
        await again_and_again(world, 1)
        assert await office.state("out", exchange) == "DELIVERED"
        assert {str(defect) for defect in world.defects} == {"a defect"}
        world.defects.clear()


async def test_a_large_arrival_our_code_fails_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    dose = Dose(inbound_module.open_content, lambda examined, *rest: examined.transmittal.content.size > MIB)
    monkeypatch.setattr(inbound_module, "open_content", dose)
    async with World(tmp_path) as world:
        office, finance = world["office"], world["finance"]
        exchange = await world.send("bad", parts=[("a.pdf", bytes(2 * MIB))])
        await again_and_again(world, MAX_DEFECTS + 4)
        await one_is_set_aside(finance, "arrive", dose)
        assert await office.state("out", await world.send("good")) == "DELIVERED"
        dose.cured = True
        await retry(finance, exchange)
        await again_and_again(world, 2)
        assert await office.state("out", exchange) == "DELIVERED"
        world.defects.clear()


async def test_a_receipt_our_code_fails_at_holds_none_of_those_that_come_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    async with World(tmp_path) as world:
        office, finance = world["office"], world["finance"]
        finance.line.down.add(office.gateway)
        bad = await world.send("bad")
        good = [await world.send(f"good-{number}") for number in range(3)]
        assert {await office.state("out", exchange) for exchange in (bad, *good)} == {"CONSIGNED"}
        dose = Dose(taking_module.judge, lambda signed, receipt, *rest: receipt.exchange == bad)
        monkeypatch.setattr(taking_module, "judge", dose)
        finance.line.down.clear()
        await again_and_again(world, MAX_DEFECTS + 4)
        assert {await office.state("out", exchange) for exchange in good} == {"DELIVERED"}
        assert await office.state("out", bad) == "CONSIGNED"
        work = await one_is_set_aside(office, "take-receipt", dose)
        assert (await finance.works()) == ["send-receipt"]  # whoever issued it still has it
        dose.cured = True
        await retry(office, label_of(work))
        await again_and_again(world, 1)
        assert await office.state("out", bad) == "DELIVERED"


async def test_a_receipt_that_cannot_be_read_here_holds_none_of_those_that_leave_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    async with World(tmp_path) as world:
        office, finance = world["office"], world["finance"]
        finance.line.down.add(office.gateway)
        bad = await world.send("bad")
        good = [await world.send(f"good-{number}") for number in range(3)]
        dose = Dose(finance.journey.handover._signed, lambda work: id_of(work.exchange) == bad)
        monkeypatch.setattr(finance.journey.handover, "_signed", dose)
        finance.line.down.clear()
        await again_and_again(world, MAX_DEFECTS + 2)
        assert {await office.state("out", exchange) for exchange in good} == {"DELIVERED"}
        await one_is_set_aside(finance, "send-receipt", dose)
        dose.cured = True
        await retry(finance, bad)
        await world.settle()
        assert await office.state("out", bad) == "DELIVERED"


async def test_an_exchange_whose_expiry_fails_ends_nobody_s_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    async with World(tmp_path) as world:
        office = world["office"]
        office.line.down.add(world["finance"].gateway)
        bad, good = await world.send("bad"), await world.send("good")
        plain = office.journey.delivering.expire
        monkeypatch.setattr(office.journey.delivering, "expire", Dose(plain, lambda exchange, org: exchange == bad))
        await world.pass_(timedelta(days=31))
        await office.journey.watching.attempt("expiry", office.journey.watching.expire)
        assert await office.state("out", good) == "EXPIRED"
        assert await office.state("out", bad) == "SEALED"

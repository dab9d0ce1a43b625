"""``lost_reply``: an answer is lost after any one request of the protocol has done its work, and the same is asked again.

The sender cannot know whether it was heard. So every repeat must be harmless: one exchange, one delivery, the same receipt bytes; and what
was put off meanwhile goes on as soon as the other side answers anything at all.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway.core.errors import Unreachable
from gateway.flow.ports import Answer, Parcel, Pending, ReceiptAnswer, Receipted, SignedReceipt
from tests.faults.torture import rounds
from tests.flow.wire import Fault, Line
from tests.flow.world import MIB, Node, World

PAIR = ("office", "finance")
SIZES = {"row": 9_000, "blob": 300_000, "upload": 3 * MIB + 17}
PIECE = MIB  # one PATCH carries so much here


class Forgetful(Line):
    """Every request arrives and is answered; the answers to these numbers are lost. An upload goes on in PATCH requests of one piece."""

    def __init__(self, world: World, me: str, lost: Sequence[int] = ()) -> None:
        super().__init__(world, me)
        self.lost = set(lost)
        self.requests: list[str] = []
        self.receipted: list[tuple[SignedReceipt, ...]] = []

    def _heard(self, what: str) -> None:
        self.requests.append(what)
        if len(self.requests) - 1 in self.lost:
            raise Unreachable("the answer was lost", place="")

    async def send(self, gateway: str, parcel: Parcel) -> Answer:
        arrivals = self._reach(gateway)
        with self._answering(gateway):
            answer = await arrivals.offer(self._me, parcel.cover, parcel.inline)
        self._note(answer)
        self._heard("offer")
        while isinstance(answer, Pending) and answer.state == "upload":
            offset = answer.offset
            with self._answering(gateway):
                answer = await arrivals.append(self._me, parcel.exchange, parcel.transmittal_digest, offset, _piece(parcel, offset))
            self._note(answer)
            self._heard("patch")
            with self._answering(gateway):
                if isinstance(answer, Pending):
                    await arrivals.offset(self._me, parcel.exchange, parcel.transmittal_digest)
                    self._heard("head")
        return answer

    async def send_receipts(self, gateway: str, receipts: Sequence[SignedReceipt]) -> tuple[ReceiptAnswer, ...]:
        answers = await super().send_receipts(gateway, receipts)
        self._heard("receipts")
        return answers

    def _note(self, answer: Answer) -> None:
        if isinstance(answer, Receipted):
            self.receipted.append(answer.receipts)


async def _piece(parcel: Parcel, offset: int) -> AsyncIterator[bytes]:
    yield b"".join(parcel.read(offset))[:PIECE]


def forget(node: Node, lost: Sequence[int]) -> Forgetful:
    """From now on this gateway's line loses these answers."""
    line = Forgetful(node.world, node.gateway, lost)
    node.line = line
    node.rooms.link = line
    return line


async def one_journey(folder: Path, size: int, lost: dict[str, Sequence[int]]) -> dict[str, Forgetful]:
    """A document there, a signature back, with these answers lost; what must hold of it."""
    async with World(folder, keys=PAIR) as world:
        office, finance = world["office"], world["finance"]
        lines = {node.key: forget(node, lost.get(node.key, ())) for node in world.nodes}
        content = random.Random(size).randbytes(size)
        office.approve("one", "关于回执的通知", finance.code, parts=[("正文.pdf", content)])
        await _until(world, lambda: bool(finance.office.inbox))
        (exchange,) = finance.office.inbox
        finance.office.sign_for(exchange)
        await _until(world, lambda: office.office.statuses["out", exchange].recipients[0].state == "SIGNED_FOR")
        for _ in range(12):  # the last answer that is lost may be the one about the last receipt
            await world.retry()
            if not await office.works() + await finance.works():
                break
        assert finance.delivered(exchange) == (content,)
        assert Counter(await finance.leaves(exchange))["accepted"] == 1
        assert await office.works() == await finance.works() == []
        theirs = {receipt.digest: (receipt.body, receipt.signature) for receipt in await finance.receipts("in", exchange)}
        mine = {receipt.digest: (receipt.body, receipt.signature) for receipt in await office.receipts("out", exchange)}
        assert mine.items() <= theirs.items()
        assert [receipt.event for receipt in await finance.receipts("in", exchange)] == [
            "ContentConsignment",
            "ContentHandover",
            "SignedFor",
        ]
        given = lines["office"].receipted
        assert given
        assert all(each == given[0] for each in given), "a repeat was answered with other bytes"
        assert finance.rooms.uploads.all() == ()
        assert not finance.orphans()
        return lines


async def _until(world: World, holds: Any) -> None:
    for _ in range(12):
        await world.retry()
        if holds():
            return
    raise AssertionError("it does not come to its end")


@pytest.mark.parametrize("kind", SIZES)
async def test_each_answer_is_lost_once(tmp_path: Path, kind: str) -> None:
    """First without a loss, to learn how many answers there are; then each of them is lost in a world of its own."""
    whole = await one_journey(tmp_path / "whole", SIZES[kind], {})
    for key, line in whole.items():
        for number, what in enumerate(line.requests):
            lines = await one_journey(tmp_path / f"{key}{number}", SIZES[kind], {key: (number,)})
            assert lines[key].requests[number] == what


@pytest.mark.parametrize("seed", range(rounds(2, 60)))
async def test_many_answers_are_lost(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    lost = {key: [number for number in range(12) if chance.random() < 0.5] for key in PAIR}
    await one_journey(tmp_path, SIZES[chance.choice(list(SIZES))], lost)


async def test_a_proof_is_asked_for_as_often_as_one_likes(tmp_path: Path) -> None:
    """The answer to a question that changes nothing may be lost as well: the leaf is the same, and so is what it proves."""
    async with World(tmp_path, keys=PAIR) as world:
        office, finance = world["office"], world["finance"]
        exchange = await world.send()
        receipt = (await finance.receipts("in", exchange))[0]
        before = await finance.log()
        answers = {await finance.journey.inbound.proof(office.gateway, receipt.digest) for _ in range(3)}
        assert len(answers) == 1
        assert await finance.log() == before


async def test_what_was_put_off_goes_on_when_the_peer_answers_anything(tmp_path: Path) -> None:
    """Twelve documents and their receipts rest for minutes after an outage; one more that goes through brings all the others with it."""
    async with World(tmp_path, keys=PAIR) as world:
        office, finance = world["office"], world["finance"]
        first = [await world.send(f"before {number}") for number in range(3)]
        office.line.down.add(finance.gateway)
        finance.line.down.add(office.gateway)
        for exchange in first:
            finance.office.sign_for(exchange)
        for number in range(6):
            office.approve(f"during {number}", f"第{number}号通知", finance.code)
        await world.settle()
        for _ in range(14):  # until every rest is drawn from minutes
            for node in world.nodes:
                node.hurry("deliver", "send-receipt")
            await world.settle()
        office.line.down.clear()
        resting = [work.due - world.time.now() for node in world.nodes for work in node.put_off.values() if work.attempts]
        assert max(resting) > timedelta(minutes=1)
        office.approve("after", "关于恢复的通知", finance.code)
        async with asyncio.timeout(20):
            while len(finance.office.inbox) < 10:  # and finance calls nobody: its calls would wake them as well
                await world.settle()
        finance.line.down.clear()
        finance.office.sign_for(office.exchange_of("after"))  # and now the office calls nobody
        async with asyncio.timeout(20):
            while any([await office.state("out", each) != "SIGNED_FOR" for each in first]):
                await world.settle()
        assert not [work for node in world.nodes for work in node.put_off.values() if work.attempts]


async def test_a_peer_that_breaks_off_large_ones_is_not_asked_for_them_all_the_time(tmp_path: Path) -> None:
    """Small documents go through and large ones never do: each small one must not be a reason to try the large one again."""
    async with World(tmp_path, keys=PAIR) as world:
        office, finance = world["office"], world["finance"]
        office.line.faults.extend([Fault(kind="unsent")] * 8)
        office.approve("large", "关于大件的通知", finance.code, parts=[("正文.pdf", bytes(SIZES["upload"]))])
        await world.settle()
        for _ in range(7):
            office.hurry("deliver")
            await world.settle()
        large = office.exchange_of("large")
        tried: list[str] = []

        class Choosy(Line):
            async def send(self, gateway: str, parcel: Parcel) -> Answer:
                if parcel.exchange == large:
                    tried.append(large)
                    raise Unreachable("broken off", place=gateway)
                return await super().send(gateway, parcel)

        office.rooms.link = Choosy(world, office.gateway)
        finance.line.down.add(office.gateway)  # its calls would wake what failed, as they should
        for number in range(5):
            await world.send(f"small {number}")
        assert len(tried) <= 1

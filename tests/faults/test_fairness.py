"""Several transfers share a gateway and a line: what is small passes what is large, and what is not urgent is not forgotten."""

from __future__ import annotations

import asyncio
import random
import threading
from datetime import timedelta

import pytest

from adapters.media_types import media_type_of
from gateway.core.document import Addressee, Document
from gateway.core.step import Work
from gateway.core.turn import lead
from gateway.flow.agenda import BULK_WIDTH, Agenda
from gateway.flow.bulk import HUGE
from gateway.flow.ports import Offer, OfferedPart
from tests.faults.torture import rounds
from tests.flow.world import QUIET_SECONDS, World

MIB = 1024 * 1024
LETTERS = rounds(20, 500)


async def until(world, condition):
    """Walk the trays until that is so."""
    async with asyncio.timeout(QUIET_SECONDS):
        while not condition():
            for node in world.nodes:
                await node.journey.outbound.walk(node.group)
            await asyncio.sleep(0.01)


def write(office, to, count):
    for number in range(count):
        office.approve(f"letter-{number}", f"第{number}号函", to.code)


async def test_large_documents_on_a_slow_line_hold_nobody_up(tmp_path):
    """More large documents than there are lanes, none of which gets on: letters to the same peer and to others pass all the same."""
    async with World(tmp_path) as world:
        office, finance, health = world["office"], world["finance"], world["health"]
        open_line, send, stuck = asyncio.Event(), office.line.send, []

        async def slow(gateway, parcel):
            if parcel.inline is None:
                stuck.append(parcel.exchange)
                await open_line.wait()
            return await send(gateway, parcel)

        office.line.send = slow
        volumes = 2 * sum(BULK_WIDTH["deliver"]) + 16
        for number in range(volumes):
            content = random.Random(number).randbytes(MIB + 1 + number)
            office.approve(f"volume-{number}", f"第{number}卷", finance.code, parts=[("正文.pdf", content)])
        try:
            await until(world, lambda: len(stuck) == BULK_WIDTH["deliver"][0])
            write(office, finance, LETTERS)
            await until(world, lambda: len(finance.office.inbox) == LETTERS)
            office.approve("elsewhere", "另一份", health.code, parts=[("正文.pdf", b"x" * 100)])
            await until(world, lambda: len(health.office.inbox) == 1)
            assert len(stuck) == BULK_WIDTH["deliver"][0]
        finally:
            open_line.set()
        await until(world, lambda: len(finance.office.inbox) == LETTERS + volumes)
        await world.settle()


@pytest.mark.parametrize("size", [2 * MIB, HUGE + 1], ids=["large", "huge"])
async def test_an_office_slow_at_a_large_document_holds_no_letter_up(tmp_path, size):
    """It is copied in a thread of its own: the stage goes on."""
    async with World(tmp_path, keys=("office", "finance")) as world:
        office, finance = world["office"], world["finance"]
        reading, go_on = threading.Event(), threading.Event()

        def read():
            yield b"x" * 100
            reading.set()
            assert go_on.wait(QUIET_SECONDS)
            raise OSError("the office's disk is gone")

        part = OfferedPart(name="正文.pdf", role="body", level=None, media_type=media_type_of("a.pdf"), size=size, read=read)
        for number in range(5):  # more than are copied at one time
            document = Document(
                title=f"第{number}卷", level="internal", urgency="routine", primary_recipients=(Addressee(org=finance.code),)
            )
            source = f"volume-{number}"
            office.office.tray[source] = Offer(source=source, document=document, recipients=((finance.code, "primary"),), parts=(part,))
        try:
            await until(world, reading.is_set)
            write(office, finance, LETTERS)
            await until(world, lambda: len(finance.office.inbox) == LETTERS)
            assert office.rooms.pressure.waiting["copies"] >= 2
        finally:
            go_on.set()
        await world.settle()
        assert len(office.office.tray) == 5


class _Days:
    """An agenda in virtual time whose every act takes a minute, while something new keeps coming."""

    def __init__(self, group, begin):
        self.now = begin
        self.done = []
        self.agenda = Agenda(lambda: self.now, self._failed, width={"deliver": 1})
        self.agenda.handle("deliver", self._act)
        self.agenda.start(group)
        self.coming = lambda: None

    async def _act(self, work):
        self.now += timedelta(minutes=1)
        self.done.append((work.key, self.now - work.due))
        self.coming()
        await asyncio.sleep(0)

    async def _failed(self, work, error):
        raise AssertionError(f"{work.key}: {error}")

    def write(self, name, weight):
        self.agenda.add(Work(key=name, kind="deliver", direction="out", exchange=name, due=self.now, peer="south", priority=weight))


@pytest.mark.parametrize(("weight", "others"), [(1, 1000), (1, 10), (10, 1000), (0, 10**9)])
async def test_whatever_keeps_coming_a_document_waits_no_longer_than_the_lead(weight, others):
    """An urgent document comes with every one that is done, for days: the lane is never empty."""
    from gateway.core.turn import LONGEST_LEAD
    from tests.crypto.pki import NOW

    async with asyncio.TaskGroup() as group:
        days = _Days(group, NOW)
        numbers = iter(range(rounds(1000, 20_000)))

        def come():
            number = next(numbers, None)
            if number is not None:
                days.write(f"urgent-{number}", others)

        days.coming = come
        for _ in range(5):
            come()
        days.write("waits", weight)
        async with asyncio.timeout(QUIET_SECONDS):
            while days.agenda.running:
                await asyncio.wait(days.agenda.running)
        days.agenda.stop()
    waited = dict(days.done)["waits"]
    ahead = lead(others) - lead(weight)
    assert ahead <= waited <= ahead + timedelta(minutes=10) <= LONGEST_LEAD + timedelta(minutes=10)


async def test_an_urgent_document_passes_a_backlog():
    from tests.crypto.pki import NOW

    async with asyncio.TaskGroup() as group:
        days = _Days(group, NOW)
        for number in range(150):
            days.write(f"routine-{number}", 1)
        days.coming = lambda: days.write("flash", 1000) if len(days.done) == 100 else None
        async with asyncio.timeout(QUIET_SECONDS):
            while days.agenda.running:
                await asyncio.wait(days.agenda.running)
        days.agenda.stop()
    assert [key for key, _ in days.done][100] == "flash"

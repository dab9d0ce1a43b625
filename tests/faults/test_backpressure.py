"""Nothing is dropped for want of room: an offer waits in the office while a peer, a line or a disk is slow, and goes when it is not."""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

from gateway.flow.pressure import OpenLimits
from tests.faults.torture import rounds
from tests.flow.world import World

MIB = 1024 * 1024
DOCUMENTS = rounds(30, 1500)


async def rest(world):
    """Settle, until nothing more leaves any tray."""
    before = None
    while before != (before := [len(node.office.tray) for node in world.nodes]):
        await world.settle()


async def test_a_peer_that_is_away_fills_the_tray_and_not_the_gateway(tmp_path):
    async with World(tmp_path) as world:
        office, finance, health = world["office"], world["finance"], world["health"]
        office.open_limits = OpenLimits(documents_per_peer=7, documents=1000)
        await office.restart()
        office.line.down.add(finance.gateway)
        for number in range(DOCUMENTS):
            office.approve(f"f{number}", f"第{number}号", finance.code)
        for number in range(5):
            office.approve(f"h{number}", f"另{number}号", health.code)
        office.approve("both", "抄送两家", finance.code, health.code)
        await rest(world)
        assert len(health.office.inbox) == 5, "whoever is there notices nothing"
        assert len(office.office.tray) == DOCUMENTS - 7 + 1
        assert office.rooms.pressure.waiting == {"peer-documents": DOCUMENTS - 7 + 1}
        assert len(await office.rooms.ledger.exchanges(limit=10_000)) == 7 + 5
        await office.restart()
        await rest(world)
        assert len(office.office.tray) == DOCUMENTS - 7 + 1, "nor after a restart"
        office.line.down.clear()
        while office.office.tray:
            await world.retry()
        await world.retry()
        titles = Counter(delivered.delivery.document.title for delivered in finance.office.inbox.values())
        assert titles == Counter([*(f"第{number}号" for number in range(DOCUMENTS)), "抄送两家"])
        assert len(health.office.inbox) == 6


async def test_the_whole_gateway_has_a_ceiling(tmp_path):
    async with World(tmp_path) as world:
        office = world["office"]
        office.open_limits = OpenLimits(documents=6)
        await office.restart()
        for key in ("finance", "health"):
            office.line.down.add(world[key].gateway)
        for number in range(DOCUMENTS):
            office.approve(f"{number}", f"第{number}号", world[("finance", "health")[number % 2]].code)
        await rest(world)
        assert len(office.office.tray) == DOCUMENTS - 6
        office.line.down.clear()
        while office.office.tray:
            await world.retry()
        await world.retry()
        assert len(world["finance"].office.inbox) + len(world["health"].office.inbox) == DOCUMENTS


async def test_bytes_have_a_ceiling_and_one_alone_always_goes(tmp_path):
    async with World(tmp_path, keys=("office", "finance")) as world:
        office, finance = world["office"], world["finance"]
        office.open_limits = OpenLimits(bytes_per_peer=5 * MIB)
        await office.restart()
        office.line.down.add(finance.gateway)
        for number in range(4):
            office.approve(f"{number}", f"第{number}卷", finance.code, parts=[("正文.pdf", random.Random(number).randbytes(2 * MIB))])
        await rest(world)
        assert len(office.office.tray) == 2
        office.approve("letter", "一页的函", finance.code)
        await rest(world)
        assert len(office.office.tray) == 2, "a letter is no load"
        office.line.down.clear()
        while office.office.tray:
            await world.retry()
        office.approve("volume", "大卷", finance.code, parts=[("正文.pdf", bytes(7 * MIB))])
        while office.office.tray:  # what is under way is counted anew only now and then
            await world.retry()
        await world.settle()
        assert len(finance.office.inbox) == 6


async def test_uploads_at_one_time_are_not_promised_the_same_room(tmp_path, monkeypatch):
    """Room for one of two that come together: the other waits at its sender until there is more."""
    async with World(tmp_path) as world:
        office, finance, health = world["office"], world["finance"], world["health"]
        disk = SmallDisk(finance.home, 10 * MIB)
        monkeypatch.setattr(os, "statvfs", disk.statvfs)
        begin, promised = finance.rooms.uploads.begin, []

        def note(*arguments):
            upload = begin(*arguments)
            promised.append(upload.size)
            return upload

        finance.rooms.uploads.begin = note
        content = bytes(6 * MIB)
        for sender in (office, health):
            sender.approve("volume", f"{sender.key}的卷", finance.code, parts=[("正文.pdf", content)])
        go_on = asyncio.Event()
        _hold_uploads(finance, go_on)
        settling = asyncio.create_task(world.settle())
        try:
            async with asyncio.timeout(20):
                while not (promised and office.line.offered and health.line.offered):  # noqa: ASYNC110  # no event tells of an offer
                    await asyncio.sleep(0.01)
                await asyncio.sleep(0.2)
            assert len(promised) == 1, "the other was told that there is no room"
        finally:
            go_on.set()
            await settling
        assert len(finance.office.inbox) == 1
        disk.size = 100 * MIB
        await world.retry()
        assert len(finance.office.inbox) == 2
        assert finance.rooms.blobs.headroom._promised == 0


class SmallDisk:
    """What the operating system says of the disk one home is on: so large, less what its uploads and blobs hold."""

    def __init__(self, home, size):
        self.size = size
        self._home = home
        self._real = os.statvfs

    def statvfs(self, folder):
        if not Path(folder).is_relative_to(self._home):
            return self._real(folder)
        used = sum(file.stat().st_size for place in ("uploads", "blobs") for file in (self._home / place).rglob("*") if file.is_file())
        return SimpleNamespace(f_bavail=self.size - used, f_frsize=1)


def _hold_uploads(node, go_on):
    append = node.journey.inbound.append

    async def slowly(*arguments):
        await go_on.wait()
        return await append(*arguments)

    node.journey.inbound.append = slowly

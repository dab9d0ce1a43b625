"""What nobody will ever ask for again goes, and nothing else: uploads given up or decided, blobs no exchange names."""

from __future__ import annotations

import asyncio
import os

from tests.flow.test_time import PAIR
from tests.flow.test_uploads import LARGE, MIB, send_large
from tests.flow.wire import Fault
from tests.flow.world import World

EIGHT_DAYS = 8 * 24 * 3600


def grow_old(folder, seconds, suffix=""):
    for file in folder.rglob(f"*{suffix}"):
        if file.is_file():
            then = file.stat().st_mtime - seconds
            os.utime(file, (then, then))


def unfinished(node) -> int:
    return len(list((node.home / "uploads").glob("*.part")))


async def test_an_upload_is_given_up_after_a_week_without_a_byte(tmp_path, caplog):
    caplog.set_level("INFO")
    async with World(tmp_path, keys=PAIR) as world:
        office, finance = world["office"], world["finance"]
        exchange = await send_large(world, Fault(kind="cut", after=MIB))
        await finance.journey.leftovers.sweep()
        assert unfinished(finance) == 1
        grow_old(finance.home / "uploads", EIGHT_DAYS - 2 * 24 * 3600, ".part")
        await finance.restart()
        await finance.journey.leftovers.sweep()
        assert unfinished(finance) == 1, "six days, and a restart"
        before = await finance.log()
        grow_old(finance.home / "uploads", 2 * 24 * 3600, ".part")
        await finance.journey.leftovers.sweep()
        assert unfinished(finance) == 0
        assert finance.rooms.blobs.headroom._promised == 0
        assert await finance.log() == before, "nothing was stated about it, so no leaf"
        assert f"the upload of exchange {exchange} was given up" in caplog.text
        await world.retry()
        assert await office.state("out", exchange) == "DELIVERED", "the sender begins anew"
        assert finance.delivered(exchange) == (LARGE,)


async def test_an_upload_of_a_decided_exchange_goes_at_once(tmp_path):
    """The same exchange came by another way, or was refused, while its upload lay here."""
    async with World(tmp_path, keys=PAIR) as world:
        office, finance = world["office"], world["finance"]
        exchange = await send_large(world, Fault(kind="cut", after=MIB))
        (upload,) = finance.rooms.uploads.all()
        cover, size, key = upload.cover, upload.size, upload.key
        await world.retry()
        assert await office.state("out", exchange) == "DELIVERED"
        finance.rooms.uploads.begin(key, cover, size)
        await finance.journey.leftovers.sweep()
        assert unfinished(finance) == 0


async def test_an_upload_somebody_writes_is_left_alone(tmp_path):
    async with World(tmp_path, keys=PAIR) as world:
        finance = world["finance"]
        await send_large(world, Fault(kind="cut", after=MIB))
        grow_old(finance.home / "uploads", EIGHT_DAYS, ".part")
        (upload,) = finance.rooms.uploads.all()
        async with finance.journey.inbound._writing.under(upload.key):
            await finance.journey.leftovers.sweep()
        assert unfinished(finance) == 1


async def test_blobs_no_exchange_names_go_after_an_hour(tmp_path):
    async with World(tmp_path, keys=PAIR) as world:
        office, finance = world["office"], world["finance"]
        exchange = await send_large(world)
        blob = finance.rooms.blobs.create(3)
        blob.write(b"abc")
        nobodys = blob.finish()
        await finance.journey.leftovers.sweep()
        assert finance.orphans(), "it may be about to be named"
        for node in (office, finance):
            grow_old(node.home / "blobs", 2 * 3600)
            await node.journey.leftovers.sweep()
        assert not finance.orphans()
        assert not finance.rooms.blobs.path(nobodys).exists()
        for node, direction in ((office, "out"), (finance, "in")):
            row = await node.row(direction, exchange)
            assert b"".join(node.rooms.blobs.read(row.content.blob))


async def test_it_is_swept_at_start(tmp_path):
    """Through the loops ``app`` runs."""
    async with World(tmp_path, keys=PAIR) as world:
        finance = world["finance"]
        blob = finance.rooms.blobs.create(3)
        blob.finish()
        grow_old(finance.home / "blobs", 2 * 3600)
        stop = asyncio.Event()
        running = asyncio.create_task(finance.journey.run(finance.group, stop))
        async with asyncio.timeout(10):
            while finance.orphans():  # noqa: ASYNC110  # a folder tells nobody
                await asyncio.sleep(0.01)
        stop.set()
        await running

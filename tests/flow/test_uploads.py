"""Large content: uploads that break, go on, are damaged, are finished too late; and disks without room on either side."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from datetime import timedelta

import pytest

from gateway.core.errors import NoRoom, ProblemError, TooManyUploads
from tests.flow.test_time import LIFE, PAIR
from tests.flow.wire import Fault
from tests.flow.world import World

MIB = 1024 * 1024
LARGE = random.Random(11).randbytes(3 * MIB + 4321)


async def send_large(world, *faults, **fields):
    world["office"].line.faults += faults
    return await world.send(parts=[("正文.pdf", LARGE)], **fields)


async def test_an_upload_goes_on_where_it_broke(tmp_path):
    async with World(tmp_path, keys=PAIR) as world:
        office, finance = world["office"], world["finance"]
        exchange = await send_large(world, Fault(kind="cut", after=2 * MIB + 77))
        assert await office.state("out", exchange) == "SEALED"
        await world.retry()
        assert await office.state("out", exchange) == "DELIVERED"
        assert finance.delivered(exchange) == (LARGE,)
        assert 2 * MIB + 77 in [offset for offset, _ in office.line.uploaded], "it went on at the very byte"
        moved = sum(size for _, size in office.line.uploaded)
        assert moved < len(LARGE) + MIB


async def test_an_upload_goes_on_after_a_restart_on_both_sides(tmp_path):
    async with World(tmp_path, keys=PAIR) as world:
        office, finance = world["office"], world["finance"]
        exchange = await send_large(world, Fault(kind="cut", after=MIB + 5))
        await finance.restart()
        await office.restart()
        await world.retry()
        assert await office.state("out", exchange) == "DELIVERED"
        assert finance.delivered(exchange) == (LARGE,)
        assert MIB + 5 in [offset for offset, _ in office.line.uploaded]
        assert not finance.orphans()


async def test_an_upload_that_breaks_again_and_again_arrives(tmp_path):
    """Each time it got further, so no attempt counts as failed; one that got nowhere does."""
    async with World(tmp_path, keys=PAIR) as world:
        office = world["office"]
        exchange = await send_large(
            world, *[Fault(kind="cut", after=700_000)] * 3, Fault(kind="cut"), Fault(kind="cut"), Fault(kind="cut", after=9)
        )
        attempts = []
        for _ in range(7):
            attempts += [work.attempts for work in office.put_off.values() if work.kind == "deliver"]
            await world.retry()
        assert attempts == [0, 0, 0, 1, 2, 0]
        assert world["finance"].delivered(exchange) == (LARGE,)


@pytest.mark.parametrize("place", [0, MIB, len(LARGE) - 1])
async def test_a_damaged_upload_begins_anew(tmp_path, place):
    async with World(tmp_path, keys=PAIR) as world:
        office, finance = world["office"], world["finance"]
        exchange = await send_large(world, Fault(kind="flip", after=place))
        assert [answer.problem for answer in office.line.answers] == ["ciphertext-mismatch"]
        upload = finance.rooms.uploads.open(_key(office, await office.row("out", exchange)))
        assert upload.offset == 0
        await world.retry()
        assert await office.state("out", exchange) == "DELIVERED"
        assert finance.delivered(exchange) == (LARGE,)
        assert not finance.orphans()


def _key(office, row):
    return f"{office.gateway}/{row.transmittal_digest}"


async def broken(world):
    """An upload that broke in the middle: exchange, its row, and what finance holds of it."""
    exchange = await send_large(world, Fault(kind="cut", after=MIB))
    world["office"].line.down.add(world["finance"].gateway)
    return exchange, await world["office"].row("out", exchange)


async def one_piece(data):
    yield data


async def test_an_upload_is_its_peers_alone(tmp_path):
    async with World(tmp_path) as world:
        exchange, row = await broken(world)
        inbound = world["finance"].journey.inbound
        assert await inbound.offset(world["office"].gateway, exchange, row.transmittal_digest) == MIB
        stranger = world["health"].gateway
        for ask in (
            inbound.offset(stranger, exchange, row.transmittal_digest),
            inbound.append(stranger, exchange, row.transmittal_digest, MIB, one_piece(b"x")),
            inbound.offset(world["office"].gateway, exchange, "sha256:" + "0" * 64),
            inbound.offset(world["office"].gateway, "019cadf8-1c00-7abc-8def-0123456789ab", row.transmittal_digest),
        ):
            with pytest.raises(ProblemError) as refused:
                await ask
            assert refused.value.problem == "not-found"


async def test_an_offset_that_is_not_ours_tells_the_right_one(tmp_path):
    async with World(tmp_path, keys=PAIR) as world:
        exchange, row = await broken(world)
        for offset in (0, MIB - 1, MIB + 1, 10**12):
            with pytest.raises(ProblemError) as refused:
                await world["finance"].journey.inbound.append(
                    world["office"].gateway, exchange, row.transmittal_digest, offset, one_piece(b"")
                )
            assert (refused.value.problem, refused.value.offset) == ("offset-mismatch", MIB)


async def test_two_writers_of_one_upload(tmp_path):
    async with World(tmp_path, keys=PAIR) as world:
        exchange, row = await broken(world)
        inbound, peer = world["finance"].journey.inbound, world["office"].gateway
        begun, go_on = asyncio.Event(), asyncio.Event()

        async def slow():
            begun.set()
            await go_on.wait()
            yield b""

        first = asyncio.create_task(inbound.append(peer, exchange, row.transmittal_digest, MIB, slow()))
        await begun.wait()
        with pytest.raises(ProblemError) as refused:
            await inbound.append(peer, exchange, row.transmittal_digest, MIB, one_piece(b"x"))
        assert (refused.value.problem, refused.value.retryable) == ("busy", True)
        go_on.set()
        assert (await first).offset == MIB


async def test_uploads_that_do_not_exist_leave_no_trace(tmp_path):
    """A peer may name what it likes: nothing of it stays in memory."""
    async with World(tmp_path, keys=PAIR) as world:
        inbound, peer = world["finance"].journey.inbound, world["office"].gateway
        for number in range(50):
            with pytest.raises(ProblemError) as refused:
                await inbound.append(peer, "01990000-0000-7000-8000-000000000000", f"sha256:{number:064x}", 0, one_piece(b"x"))
            assert refused.value.problem == "not-found"
        assert len(inbound._writing) == 0
        assert inbound._verifying == {}


async def test_more_bytes_than_were_announced(tmp_path):
    from crypto.errors import Malformed

    async with World(tmp_path, keys=PAIR) as world:
        exchange, row = await broken(world)
        with pytest.raises(Malformed):
            await world["finance"].journey.inbound.append(
                world["office"].gateway, exchange, row.transmittal_digest, MIB, one_piece(b"x" * (3 * MIB))
            )
        world["office"].line.down.clear()
        for _ in range(3):
            await world.retry()
        assert world["finance"].delivered(exchange) == (LARGE,)


async def test_an_answer_that_takes_its_time_is_fetched_later(tmp_path, monkeypatch):
    monkeypatch.setattr("gateway.flow.inbound.VERIFY_WITHIN", 0.0)
    async with World(tmp_path, keys=PAIR) as world:
        office, finance = world["office"], world["finance"]
        exchange = await send_large(world)
        assert office.line.answers[-1].state == "verifying"
        await finance.delivered_one(exchange)
        await world.retry()
        assert await office.state("out", exchange) == "DELIVERED"


async def test_asking_while_it_is_verified(tmp_path, monkeypatch):
    monkeypatch.setattr("gateway.flow.inbound.VERIFY_WITHIN", 0.0)
    async with World(tmp_path, keys=PAIR) as world:
        office, finance = world["office"], world["finance"]
        release = asyncio.Event()
        complete = finance.journey.inbound._complete

        async def slowly(*arguments):
            await release.wait()
            return await complete(*arguments)

        finance.journey.inbound._complete = slowly
        exchange = await send_large(world)
        row = await office.row("out", exchange)
        (_, parcel), *_ = office.line.offered
        assert (await finance.journey.inbound.offer(office.gateway, parcel.cover, None)).state == "verifying"
        answer = await finance.journey.inbound.append(office.gateway, exchange, row.transmittal_digest, 0, one_piece(b""))
        assert answer.state == "verifying"
        release.set()
        await finance.delivered_one(exchange)
        await world.retry()
        assert await office.state("out", exchange) == "DELIVERED"


async def test_an_upload_finished_after_the_end_is_refused_with_a_signature(tmp_path):
    async with World(tmp_path, keys=PAIR) as world:
        office, finance = world["office"], world["finance"]
        exchange, row = await broken(world)
        await world.pass_(LIFE + timedelta(minutes=1))
        (_, parcel), *_ = office.line.offered
        rest = b"".join(parcel.read(MIB))
        answer = await finance.journey.inbound.append(office.gateway, exchange, row.transmittal_digest, MIB, one_piece(rest))
        (receipt,) = answer.receipts
        assert b"ContentConsignmentFailure" in receipt.body
        assert finance.office.inbox == {}
        assert await finance.state("in", exchange) == "REFUSED"
        assert finance.rooms.uploads.open(_key(office, row)) is None


async def test_an_upload_whose_signer_was_revoked_meanwhile_is_held(tmp_path):
    async with World(tmp_path, keys=PAIR) as world:
        office, finance = world["office"], world["finance"]
        exchange, row = await broken(world)
        later = world.time.now() + timedelta(seconds=5)
        world.time.pass_(timedelta(seconds=20))
        finance.believe(world.pki.trust_after([(office.signing.certificate, later, None)], now=world.time.now()))
        (_, parcel), *_ = office.line.offered
        rest = b"".join(parcel.read(MIB))
        answer = await finance.journey.inbound.append(office.gateway, exchange, row.transmittal_digest, MIB, one_piece(rest))
        assert answer.state == "held"
        assert await finance.state("in", exchange) == "HELD"


async def test_an_upload_revoked_meanwhile_leaves_nothing(tmp_path):
    async with World(tmp_path, keys=PAIR) as world:
        office, finance = world["office"], world["finance"]
        exchange, row = await broken(world)
        finance.believe(world.pki.trust_after([(office.signing.certificate, world.time.now() - timedelta(days=1), None)]))
        (_, parcel), *_ = office.line.offered
        rest = b"".join(parcel.read(MIB))
        with pytest.raises(ProblemError) as refused:
            await finance.journey.inbound.append(office.gateway, exchange, row.transmittal_digest, MIB, one_piece(rest))
        assert refused.value.problem == "revoked"
        assert finance.rooms.uploads.open(_key(office, row)) is None
        assert await finance.rooms.ledger.exchanges() == ()


async def test_too_many_uploads_of_one_peer(tmp_path):
    async with World(tmp_path, keys=PAIR) as world:
        office, finance = world["office"], world["finance"]
        begin = finance.rooms.uploads.begin

        def full(*arguments):
            raise TooManyUploads("enough", peer=office.gateway)

        finance.rooms.uploads.begin = full
        exchange = await send_large(world)
        assert office.line.answers[-1].problem == "too-many"
        finance.rooms.uploads.begin = begin
        await world.retry()
        assert await office.state("out", exchange) == "DELIVERED"


async def test_between_inline_and_upload(tmp_path):
    """More than a row may hold and less than an upload: one request, and a blob over there."""
    async with World(tmp_path, keys=PAIR) as world:
        office, finance = world["office"], world["finance"]
        content = random.Random(4).randbytes(200_000)
        finance.line.down.add(office.gateway)
        office.line.down.add(finance.gateway)
        exchange = await world.send(parts=[("正文.pdf", content)])
        (_, parcel), *_ = office.line.offered
        answer = await finance.journey.inbound.offer(office.gateway, parcel.cover, b"".join(parcel.read(0)))
        assert b"ContentConsignment" in answer.receipts[0].body
        await world.settle()
        assert finance.delivered(exchange) == (content,)
        assert (await finance.row("in", exchange)).content.blob


# ---- no room ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"x" * 100, LARGE], ids=["small", "large"])
async def test_a_recipient_without_room_accepts_nothing_and_lives(tmp_path, content):
    async with World(tmp_path, keys=PAIR) as world:
        office, finance = world["office"], world["finance"]
        finance.fill_disk()
        exchange = await world.send(parts=[("正文.pdf", content)])
        assert await office.state("out", exchange) == "SEALED"
        assert office.gauges.refusals == {}
        (work,) = [work for work in office.put_off.values() if work.kind == "deliver"]
        assert work.attempts == 1
        assert await finance.rooms.ledger.exchanges() == ()
        assert finance.alive
        finance.free_disk()
        await world.retry()
        assert await office.state("out", exchange) == "DELIVERED"
        assert not finance.orphans()


async def test_a_recipient_whose_disk_fills_during_an_upload(tmp_path):
    async with World(tmp_path, keys=PAIR) as world:
        office, finance = world["office"], world["finance"]
        exchange, row = await broken(world)
        upload = finance.rooms.uploads.open(_key(office, row))
        write = type(upload).write

        def full(self, data):
            raise NoRoom("no room")

        type(upload).write = full
        try:
            office.line.down.clear()
            await world.retry()
            assert await office.state("out", exchange) == "SEALED"
        finally:
            type(upload).write = write
        await world.retry()
        assert finance.delivered(exchange) == (LARGE,)


async def test_a_sender_without_room_takes_nothing_and_lives(tmp_path):
    async with World(tmp_path, keys=PAIR) as world:
        office = world["office"]
        office.fill_disk()
        office.approve("notice", "关于试点的通知", world["finance"].code)
        office.approve("secret", "关于机要事项的通知", world["finance"].code, level="secret")
        await world.settle()
        assert set(office.office.tray) == {"notice", "secret"}
        assert office.scratch_bytes() == 0
        office.free_disk()
        world.time.pass_(timedelta(seconds=31))
        await world.settle()
        assert await office.state("out", office.exchange_of("notice")) == "DELIVERED"
        assert "secret" in office.office.refused


async def test_scratch_that_is_full_lets_the_offer_wait(tmp_path):
    async with World(tmp_path, keys=PAIR) as world:
        office = world["office"]
        office.rooms.scratch._ceiling = 1000
        office.approve("notice", "关于试点的通知", world["finance"].code, parts=[("a.pdf", b"a" * 600), ("b.pdf", b"b" * 600)])
        await world.settle()
        assert "notice" in office.office.tray
        assert office.scratch_bytes() == 0
        office.rooms.scratch._ceiling = 2000
        world.time.pass_(timedelta(seconds=31))
        await world.settle()
        assert await office.state("out", office.exchange_of("notice")) == "DELIVERED"


@pytest.mark.parametrize("where", ["sender", "recipient"])
async def test_a_disk_that_fills_at_any_time_ends_no_process_and_loses_nothing(tmp_path, where):
    """Between any two steps, on either side: everything that cannot be recorded is done again later."""
    chance = random.Random(where)
    async with World(tmp_path, keys=PAIR) as world:
        office, finance = world["office"], world["finance"]
        node = office if where == "sender" else finance
        for number in range(12):
            office.approve(
                str(number), f"第{number}号通知", finance.code, parts=[("正文.pdf", chance.randbytes(chance.choice([50, 90_000])))]
            )
        for _ in range(6):
            settling = asyncio.create_task(world.settle())
            await asyncio.sleep(chance.random() * 0.05)
            node.fill_disk()
            await asyncio.sleep(0.05)
            await settling
            assert node.alive
            assert not node.group._aborting
            node.free_disk()
            world.time.pass_(timedelta(seconds=61))
        for exchange in list(finance.office.inbox):
            finance.office.sign_for(exchange)
        for _ in range(4):
            await world.retry()
        assert len(finance.office.inbox) == 12
        states = {str(passage.state) for row in await office.rooms.ledger.exchanges() for passage in row.passages}
        assert states <= {"DELIVERED", "SIGNED_FOR"}
        assert office.scratch_bytes() == 0
        assert not office.orphans()
        assert not finance.orphans()


async def test_the_journal_stopped_is_the_end(tmp_path):
    """Nothing more is recorded, and the process is told to end so that a restart recovers."""
    from gateway.core.errors import JournalStopped

    async with World(tmp_path, keys=PAIR) as world:
        office, finance = world["office"], world["finance"]
        finance.rooms.journal._stopped = "a disk failed"
        exchange = await world.send()
        assert finance.rooms.journal_stopped.is_set()
        assert await office.state("out", exchange) == "SEALED"
        assert isinstance(world.defects, list)
        with pytest.raises(JournalStopped):
            await finance.journey.watching.stopped()
        finance.rooms.journal._stopped = None
        await finance.restart()
        await world.retry()
        assert await office.state("out", exchange) == "DELIVERED"


async def test_encrypting_may_take_longer_than_a_token_may_follow(tmp_path, monkeypatch):
    """64 GiB take SM4 a quarter of an hour; the transmittal says it was created when that was done."""
    from gateway.flow import outbound

    encrypt = outbound.encrypt
    async with World(tmp_path, keys=PAIR) as world:
        office, finance = world["office"], world["finance"]

        def slow(*arguments, **options):
            encrypted = encrypt(*arguments, **options)
            world.time.pass_(timedelta(minutes=20))
            return encrypted

        monkeypatch.setattr(outbound, "encrypt", slow)
        exchange = await send_large(world)
        assert await office.state("out", exchange) == "DELIVERED"
        assert finance.delivered(exchange) == (LARGE,)


async def test_copying_stops_when_the_gateway_goes_down(tmp_path):
    """What takes minutes does not hold up the way down; the offer stays and is copied anew at the next start."""
    import threading

    async with World(tmp_path, keys=PAIR) as world:
        office = world["office"]
        begun, go_on, read = threading.Event(), threading.Event(), []
        office.approve("volume", "大卷", world["finance"].code, parts=[("正文.pdf", LARGE)])
        offer = office.office.tray["volume"]
        (part,) = offer.parts

        def slowly():
            for start in range(0, len(LARGE), 1000):
                read.append(start)
                yield LARGE[start : start + 1000]
                begun.set()
                go_on.wait(20)

        office.office.tray["volume"] = replace(offer, parts=(replace(part, read=slowly),))
        await office.journey.outbound.walk(office.group)
        await asyncio.to_thread(begun.wait, 20)
        office.rooms.standing.accepts_work = False
        go_on.set()
        async with asyncio.timeout(20):
            while office.journey.outbound.running:  # noqa: ASYNC110  # tasks that end by themselves
                await asyncio.sleep(0.01)
        assert len(read) < 10
        assert office.scratch_bytes() == 0
        office.office.tray["volume"] = offer
        await office.restart()
        await world.settle()
        assert world["finance"].delivered(office.exchange_of("volume")) == (LARGE,)


async def test_an_offer_above_what_one_key_may_encrypt_is_refused_before_it_is_copied(tmp_path):
    """Policy counts GiB; the cipher allows 32 bytes less, and the manifest wants room: such an offer would never be sealed."""
    from gateway.core.content import content_size
    from gateway.core.manifest import MAX_PARTS
    from gateway.flow.offered import MAX_OFFER_BYTES
    from tests.core.samples import part

    def untouched():
        raise AssertionError("read")

    async with World(tmp_path, keys=PAIR) as world:
        office = world["office"]
        office.approve("archive", "档案", world["finance"].code)
        offer = office.office.tray["archive"]
        (body,) = offer.parts
        office.office.tray["archive"] = replace(offer, parts=(replace(body, size=MAX_OFFER_BYTES + 1, read=untouched),))
        await world.settle()
        assert [reason.rule for reason in office.office.refused["archive"]] == ["offer/too-large"]
    many = [(part(b"", name=f"{number:04d}" + "长" * 80, size=0), 0) for number in range(MAX_PARTS - 1)]
    largest = part(b"", name="长" * 80, size=MAX_OFFER_BYTES)
    assert content_size(b"x" * (1024 * 1024), [(largest, 0), *many]) <= 68_719_476_704

"""Rates, turns and room of one peer: as values first, then on a port in action."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace

import aiohttp
import pytest

from gateway.core.errors import PeerProblem, ProblemError
from gateway.flow.ports import ReceiptAnswer, Receipted, SignedReceipt
from gateway.net.frames import EXCHANGE_TYPE
from gateway.net.limits import (
    MAX_VISITORS,
    Allowance,
    BodyRoom,
    Bucket,
    Doorkeeper,
    DoorLimits,
    Notices,
    PeerRates,
    Rate,
    Turns,
    neighbourhood,
    peer_rates,
)
from gateway.net.problems import FAILURES, PROBLEMS, is_failure
from gateway.net.repeats import Repeats
from tests.net.conftest import plain_context
from tests.net.world import cover_of, eventually, exchange_id, parcel_of

# ---- values ----------------------------------------------------------------------------------------------------------------------


def test_a_bucket_gives_a_burst_and_then_its_rate():
    bucket = Bucket(Rate(per_second=10, burst=5), 0.0)
    assert [bucket.take(1, 0.0) for _ in range(6)] == [True] * 5 + [False]
    assert not bucket.take(1, 0.09)
    assert bucket.take(1, 0.2)
    assert sum(bucket.take(1, 1000.0) for _ in range(100)) == 5, "it never holds more than a burst"


def test_what_is_owed_is_waited_for_and_beyond_patience_forgiven():
    bucket = Bucket(Rate(per_second=10, burst=5), 0.0)
    assert [bucket.owe(1, 0.0, 60) for _ in range(5)] == [0.0] * 5
    assert bucket.owe(1, 0.0, 60) == pytest.approx(0.1)
    assert bucket.owe(10, 0.0, 60) == pytest.approx(1.1)
    assert bucket.owe(1e9, 0.0, 60) == pytest.approx(60)


def test_failures_bar_a_peer_for_a_while_and_never_longer_than_a_minute():
    allowance = Allowance(PeerRates(), 0.0)
    for _ in range(128):
        assert not allowance.barred(0.0)
        allowance.failed(1, 0.0)
    assert allowance.barred(0.0) == 1
    allowance.failed(1e6, 0.0)
    assert 60 <= allowance.barred(0.0) <= 61
    assert not allowance.barred(61.0)


def test_a_peer_in_doubt_gets_fewer_turns():
    rates = PeerRates()
    allowance = Allowance(rates, 0.0)
    allowance.failed(15, 0.0)
    assert (allowance.at_once(0.0), allowance.rest(0.0)) == (rates.at_once_at_first, 0.0)
    for _ in range(20):
        allowance.held()
    assert allowance.at_once(0.0) == rates.at_once
    allowance.failed(1, 0.0)
    assert (allowance.at_once(0.0), allowance.rest(0.0)) == (rates.at_once_in_doubt, rates.rest_in_doubt_seconds)
    assert (allowance.at_once(1.0), allowance.rest(1.0)) == (rates.at_once_at_first, 0.0), "and begins anew"


def test_refusals_are_given_late_and_one_after_another():
    allowance = Allowance(PeerRates(), 0.0)
    assert [round(allowance.penalty(0.0), 3) for _ in range(4)] == [1.0, 1.02, 1.04, 1.06]
    assert round(max(allowance.penalty(0.0) for _ in range(60)), 3) == 2.26, "with all 64 in flight"
    assert allowance.penalty(5.0) == 1.0


def test_an_honest_burst_waits_less_than_a_second():
    """64 in flight, all at once, again and again: every rate lets them through, or makes them wait a moment."""
    allowance = Allowance(PeerRates(), 0.0)
    for second in range(10):
        for limit in ("requests", "exchanges"):
            assert max(allowance.pause(limit, 1, float(second)) for _ in range(125)) == 0.0  # as fast as two cores go (docs/performance.md)
    assert max(allowance.pause("exchanges", 1, 20.0) for _ in range(464)) < 0.5
    assert not allowance.barred(20.0)


def test_every_word_is_known_and_ours_are_no_failures():
    assert set(PROBLEMS) >= FAILURES
    for word in ("busy", "no-room", "crl-stale", "directory-unknown", "directory-expired", "stopping", "internal", "too-many"):
        assert not is_failure(ProblemError(word, "", retryable=True))
    assert not is_failure(ProblemError("clock", "not confirmed here", retryable=True))
    assert is_failure(ProblemError("clock", "created tomorrow", retryable=True, created=1, now=2))
    assert is_failure(ProblemError("signature-invalid", "", retryable=True))
    assert is_failure(ProblemError("malformed", "", retryable=False))
    assert not is_failure(ProblemError("malformed", "a line that broke", retryable=True))


def test_settings_become_rates():
    rates = peer_rates(requests=10, exchanges=5, mib=1, failures_a_minute=60)
    assert (rates.requests.per_second, rates.exchanges.per_second, rates.bytes.per_second) == (10, 5, 1024 * 1024)
    assert (rates.failures.per_second, rates.failures.burst) == (1, 128)
    assert peer_rates(requests=500, exchanges=200, mib=256, failures_a_minute=120) == PeerRates()


# ---- turns and room --------------------------------------------------------------------------------------------------------------


async def test_turns_are_counted_for_each_peer_and_go_in_order():
    turns, began, gates = Turns(), [], {}

    async def act(peer: str, number: int, most: int) -> None:
        await turns.begin(peer, most)
        began.append((peer, number))
        await gates.setdefault((peer, number), asyncio.Event()).wait()
        turns.end(peer, most)

    tasks = [asyncio.create_task(act("north", number, 2)) for number in range(5)] + [asyncio.create_task(act("west", 0, 2))]
    await asyncio.sleep(0.01)
    assert began == [("north", 0), ("north", 1), ("west", 0)], "one peer's line is in nobody else's way"
    tasks[3].cancel()
    for number in (1, 0, 2, 4):
        gates.setdefault(("north", number), asyncio.Event()).set()
        await asyncio.sleep(0.01)
    assert began[3:] == [("north", 2), ("north", 4)]
    gates["west", 0].set()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert not turns._busy
    assert not turns._lines


async def test_who_is_cancelled_while_standing_in_line_does_not_break_it():
    """Both cancelled in one moment: the one that has the turn gives it back before the one in line has heard that it is cancelled."""
    turns = Turns()

    async def act(seconds: float) -> None:
        await turns.begin("north", 1)
        try:
            await asyncio.sleep(seconds)
        finally:
            turns.end("north", 1)

    tasks = [asyncio.create_task(act(seconds)) for seconds in (60, 60, 0)]
    await asyncio.sleep(0.01)
    tasks[0].cancel()
    tasks[1].cancel()
    assert [type(one) for one in await asyncio.gather(*tasks, return_exceptions=True)] == [asyncio.CancelledError] * 2 + [type(None)]
    assert not turns._busy
    assert not turns._lines


async def test_bodies_wait_for_room_and_one_that_is_larger_than_all_comes_alone():
    room, inside, most = BodyRoom(100), 0, 0

    async def read(size: int) -> None:
        nonlocal inside, most
        async with room.holding("north", size):
            inside += size
            most = max(most, inside)
            await asyncio.sleep(0.001)
            inside -= size

    await asyncio.gather(*(read(size) for size in (60, 40, 100, 10, 90, 30)))
    assert most <= 100
    await asyncio.gather(read(500), read(1))
    assert most in (500, 501)
    assert not room._used
    assert not room._freed


# ---- the door --------------------------------------------------------------------------------------------------------------------


def test_an_address_is_a_neighbourhood():
    assert neighbourhood("192.0.2.1") == neighbourhood("::ffff:192.0.2.1") == "192.0.2.1"
    assert neighbourhood("2001:db8::1") == neighbourhood("2001:db8::ffff:1")
    assert neighbourhood("2001:db8:0:1::1") != neighbourhood("2001:db8::1")
    assert neighbourhood("fe80::1%eth0") == neighbourhood("fe80::2")
    assert neighbourhood("") == ""


def test_the_door_counts_handshakes_of_an_address_and_of_all_strangers():
    limits = DoorLimits(of_address=Rate(per_second=1, burst=4), of_strangers=Rate(per_second=1, burst=6), half_open_of_address=3)
    keeper = Doorkeeper(limits)
    assert [keeper.enter("192.0.2.1", 0.0) for _ in range(4)] == ["", "", "", "unfinished"]
    keeper.left("192.0.2.1")
    assert [keeper.enter("192.0.2.1", 0.0) for _ in range(2)] == ["", "unfinished"]
    for _ in range(3):
        keeper.left("192.0.2.1")
    assert keeper.enter("192.0.2.1", 0.0) == "handshakes"
    assert [keeper.enter("192.0.2.2", 0.0) for _ in range(3)] == ["", "", "handshakes"], "six strangers a moment"
    keeper.seen("192.0.2.3")
    assert keeper.enter("192.0.2.3", 0.0) == "", "where a gateway was seen nobody waits for strangers"


async def test_handshakes_of_a_stranger_are_computed_four_at_a_time(serve, gateways):
    """All connections of a gateway at once, from an address nobody was seen at: none is refused, and the loop has its breaks."""
    south = await serve()
    context = plain_context(gateways.enrol("north"))
    opened = await asyncio.gather(
        *(asyncio.open_connection("127.0.0.1", south.port, ssl=context, local_addr=("127.0.0.40", 0)) for _ in range(25))
    )
    assert south.server._listener._door._turns._busy.get("127.0.0.40", 0) <= 16
    await eventually(lambda: south.server.connections == 25)
    assert south.gauges.limited == []
    for _, writer in opened:
        writer.transport.abort()
    await eventually(lambda: south.server.connections == 0)
    assert not south.server._listener._door._turns._busy


def test_who_was_seen_has_more_handshakes_computed_at_once():
    keeper = Doorkeeper(DoorLimits())
    assert keeper.computed_at_once("192.0.2.1") == 4
    keeper.seen("192.0.2.1")
    assert keeper.computed_at_once("192.0.2.1") == 16


def test_handshakes_come_one_by_one_and_those_of_strangers_wait_for_each_other():
    keeper = Doorkeeper(DoorLimits())
    assert [round(keeper.pause(f"192.0.2.{number}", 0.0), 2) for number in range(5)] == [0.0, 0.0, 0.01, 0.02, 0.03]
    keeper.seen("198.51.100.1")
    assert [keeper.pause("198.51.100.1", 0.0) for _ in range(16)] == [0.0] * 16, "all a gateway opens, at once"
    assert round(keeper.pause("198.51.100.1", 0.0), 2) == 0.01
    assert max(keeper.pause("192.0.2.9", 0.0) for _ in range(1000)) == 5.0, "never longer than half of what a handshake may take"


def test_half_open_strangers_of_many_addresses_are_counted_together():
    keeper = Doorkeeper(DoorLimits(half_open=5))
    keeper.seen("198.51.100.1")
    assert [keeper.enter(f"192.0.2.{number}", 0.0) for number in range(7)] == [""] * 5 + ["unfinished"] * 2
    assert keeper.enter("198.51.100.1", 0.0) == ""
    for number in range(5):
        keeper.left(f"192.0.2.{number}")
    keeper.left("198.51.100.1")
    assert keeper.enter("192.0.2.9", 0.0) == ""


def test_addresses_without_end_take_no_memory_without_end():
    keeper = Doorkeeper(DoorLimits())
    for number in range(3 * MAX_VISITORS):
        address = f"10.{number >> 16}.{(number >> 8) & 255}.{number & 255}"
        if not keeper.enter(address, float(number)):
            keeper.left(address)
        keeper.seen(address)
    assert len(keeper._visitors) <= MAX_VISITORS
    assert len(keeper._known) <= MAX_VISITORS


def test_one_line_a_minute(caplog):
    notices = Notices()
    with caplog.at_level(logging.INFO, "yizhan.net"):
        for second in range(125):
            for _ in range(100):
                notices.note("north", "failures", float(second))
                notices.may_speak("north", float(second))
    lines = [record.getMessage() for record in caplog.records]
    assert len([line for line in lines if "failures" in line]) == 3
    assert "6000 times" in lines[-1] or any("6000 times" in line for line in lines)
    assert len([line for line in lines if "more problems" in line]) == 2


# ---- repeats ---------------------------------------------------------------------------------------------------------------------


def test_repeats_are_bounded_and_belong_to_one_peer():
    repeats = Repeats()
    assert repeats.name("north", b"cover") != repeats.name("west", b"cover")
    assert repeats.name("north", b"cover") != repeats.name("nort", b"hcover")
    for number in range(2000):
        repeats.keep(repeats.name("north", b"%d" % number), b"x" * 4096)
    assert repeats._used <= Repeats.CEILING
    assert repeats.answered(repeats.name("north", b"0")) is None
    assert repeats.answered(repeats.name("north", b"1999")) == b"x" * 4096
    repeats.keep(repeats.name("north", b"large"), b"x" * (Repeats.LARGEST + 1))
    assert repeats.answered(repeats.name("north", b"large")) is None


@pytest.fixture
async def raw(south, gateways):
    async with aiohttp.ClientSession(south.url, connector=aiohttp.TCPConnector(ssl=plain_context(gateways.enrol("north")))) as session:
        yield session


async def _post(session, body):
    async with session.post("/v1/exchanges", data=body, headers={"Content-Type": EXCHANGE_TYPE}) as response:
        return response.status, await response.read()


def test_what_was_stated_later_is_brought_again_now_and_then():
    repeats = Repeats()
    name = repeats.name("north", b"cover")
    repeats.keep(name, b"frame")
    assert [repeats.bring_again(name, at) for at in (0.0, 0.1, 9.9, 10.0, 10.1)] == [True, False, False, True, False]
    for number in range(2000):
        repeats.keep(repeats.name("north", b"%d" % number), b"x" * 4096)
        repeats.bring_again(repeats.name("north", b"%d" % number), 10.0)
    assert len(repeats._told) == len(repeats._frames), "forgotten together"


async def test_a_storm_of_repeats_reaches_the_flow_once(south, raw):
    body = cover_of(exchange_id(1), b"x") + b"x"
    answers = {await _post(raw, body) for _ in range(200)}
    assert len(answers) == 1, "the same bytes every time"
    assert next(iter(answers))[0] == 200
    assert south.arrivals.offers == 1
    assert (await _post(raw, cover_of(exchange_id(2), b"x") + b"x"))[0] == 200
    assert south.arrivals.offers == 2


async def test_a_cover_another_peer_was_answered_for_is_judged_anew(south, raw, gateways):
    body = cover_of(exchange_id(1), b"x") + b"x"
    await _post(raw, body)
    async with aiohttp.ClientSession(south.url, connector=aiohttp.TCPConnector(ssl=plain_context(gateways.enrol("west")))) as west:
        await _post(west, body)
    assert south.arrivals.offers == 2


async def test_a_problem_is_never_remembered(south, raw):
    south.arrivals.raise_next = ProblemError("no-room", "full", retryable=True)
    body = cover_of(exchange_id(1), b"x") + b"x"
    assert (await _post(raw, body))[0] == 507
    assert (await _post(raw, body))[0] == 200
    assert south.arrivals.offers == 2


async def test_repeats_beyond_their_rate_are_answered_later_and_all_the_same(serve, gateways):
    south = await serve(rates=replace(PeerRates(), repeats=Rate(per_second=20, burst=2)))
    body, loop = cover_of(exchange_id(1), b"x") + b"x", asyncio.get_running_loop()
    async with aiohttp.ClientSession(south.url, connector=aiohttp.TCPConnector(ssl=plain_context(gateways.enrol("north")))) as session:
        begun = loop.time()
        assert {(await _post(session, body))[0] for _ in range(13)} == {200}
    assert loop.time() - begun > 0.4
    assert ("repeats", "north") in south.gauges.limited


# ---- who keeps failing -----------------------------------------------------------------------------------------------------------

STERN = replace(PeerRates(), failures=Rate(per_second=5, burst=4), penalty_seconds=0.05)


async def test_who_keeps_failing_is_refused_before_anything_is_looked_at_and_nobody_else(serve):
    south = await serve(rates=STERN)
    north, west = south.client("north"), south.client("west")
    for number in range(4):
        south.arrivals.raise_next = ProblemError("signature-invalid", "forged", retryable=True)
        with pytest.raises(PeerProblem, match="signature-invalid"):
            await north.send("south", parcel_of(number, b"x"))
    with pytest.raises(PeerProblem) as caught:
        await north.send("south", parcel_of(9, b"x"))
    assert (caught.value.problem, caught.value.retryable, caught.value.retry_after) == ("too-many", True, 1)
    assert south.arrivals.offers == 4, "the fifth was not looked at"
    assert isinstance(await west.send("south", parcel_of(9, b"x")), Receipted)
    assert ("failures", "north") in south.gauges.limited
    await asyncio.sleep(0.3)
    assert isinstance(await north.send("south", parcel_of(9, b"x")), Receipted), "and it may again after a while"
    await north.close()
    await west.close()


async def test_what_is_wrong_with_us_is_not_held_against_a_peer(serve):
    south = await serve(rates=STERN)
    north = south.client("north")
    for number in range(20):
        south.arrivals.raise_next = ProblemError("crl-stale", "ours", retryable=True)
        with pytest.raises(PeerProblem, match="crl-stale"):
            await north.send("south", parcel_of(number, b"x"))
    assert isinstance(await north.send("south", parcel_of(99, b"x")), Receipted)
    assert south.gauges.limited == []
    await north.close()


async def test_an_honest_peer_with_everything_in_flight_is_never_held_back(south):
    """A thousand documents, as many at a time as connections allow, and not one limit is met."""
    from gateway.net.calling import CallLimits

    north = south.client("north", limits=CallLimits(connections=32))
    numbers = iter(range(1000))

    async def sender() -> None:
        for number in numbers:
            assert isinstance(await north.send("south", parcel_of(number, b"x")), Receipted)

    await asyncio.gather(*(sender() for _ in range(64)))
    assert len(south.arrivals.accepted) == 1000
    assert [limit for limit, _ in south.gauges.limited if limit not in ("requests", "exchanges")] == []
    await north.close()


async def test_a_peer_has_sixteen_requests_worked_on_at_once(south):
    from gateway.net.calling import CallLimits

    north, west = south.client("north", limits=CallLimits(connections=30)), south.client("west")
    for number in range(100, 112):  # four at once at first, and one more for each that holds
        await north.send("south", parcel_of(number, b"x"))
    south.arrivals.gate.clear()
    busy = [asyncio.create_task(north.send("south", parcel_of(number, b"x"))) for number in range(30)]
    await eventually(lambda: south.arrivals.waiting == 16)
    await asyncio.sleep(0.1)
    assert south.arrivals.waiting == 16
    other = asyncio.create_task(west.send("south", parcel_of(99, b"x")))
    await eventually(lambda: south.arrivals.waiting == 17)
    south.arrivals.gate.set()
    await asyncio.gather(*busy, other)
    assert not south.server._turns._busy
    await north.close()
    await west.close()


# ---- receipts by the thousand ----------------------------------------------------------------------------------------------------


async def test_a_thousand_receipts_that_do_not_hold_are_given_up_on_after_one_large_slice(south):
    north, slices = south.client("north"), []

    async def receipts(peer, some):
        slices.append(len(some))
        return tuple(ReceiptAnswer(digest="sha256:" + "0" * 64, code="unverified", retryable=False) for _ in some)

    south.arrivals.receipts = receipts
    given = await north.send_receipts("south", [SignedReceipt(body=b"%d" % number, signature=b"s") for number in range(1000)])
    assert slices == [64] + [8] * 8
    assert [one.code for one in given] == ["unverified"] * 128 + ["too-many"] * 872
    assert all(one.retryable for one in given[128:])
    await north.close()


async def test_a_thousand_good_receipts_are_taken_in_slices(south):
    north = south.client("north")
    given = await north.send_receipts("south", [SignedReceipt(body=b"receipt %d" % number, signature=b"s") for number in range(1000)])
    assert {one.code for one in given} == {"ok"}
    assert len(south.arrivals.given) == 1000
    await north.close()

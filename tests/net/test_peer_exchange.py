"""Offers, uploads and receipts over real sockets, client against server."""

from __future__ import annotations

import asyncio
import os

import pytest

from crypto.digests import digest
from gateway.core.errors import PeerProblem, ProblemError, Unreachable
from gateway.flow.ports import Pending, Receipted, SignedReceipt
from gateway.net import peer_client
from tests.net.world import exchange_id, parcel_of


async def test_a_small_exchange_is_one_post(south, north):
    content = os.urandom(12_000)
    given = await north.send("south", parcel_of(1, content))
    assert isinstance(given, Receipted)
    assert given.receipts[0].body == f"receipt {exchange_id(1)} 0".encode()
    assert south.arrivals.accepted[exchange_id(1)] == content
    assert south.gauges.stages == ["peer-request"]


async def test_an_exchange_sent_again_gets_the_same_receipts(south, north):
    parcel = parcel_of(1, b"x" * 500)
    assert await north.send("south", parcel) == await north.send("south", parcel)


async def test_many_recipients_bring_many_receipts(north):
    given = await north.send("south", parcel_of(1, b"x" * 10, recipients=1000))
    assert isinstance(given, Receipted)
    assert len(given.receipts) == 1000


async def test_requests_share_connections(south, north):
    for number in range(20):
        await north.send("south", parcel_of(number, b"x"))
    assert south.server.connections == 1
    await asyncio.gather(*(north.send("south", parcel_of(100 + number, b"x" * 2000)) for number in range(64)))
    assert 1 < south.server.connections <= 16


@pytest.mark.parametrize("size", [1024 * 1024 - 1, 1024 * 1024])
async def test_the_largest_inline_content(south, north, size):
    content = os.urandom(size)
    assert isinstance(await north.send("south", parcel_of(1, content)), Receipted)
    assert south.arrivals.accepted[exchange_id(1)] == content


async def test_a_large_exchange_is_uploaded_in_bounded_pieces(south, north):
    content = os.urandom(5_000_001)
    given = await north.send("south", parcel_of(1, content))
    assert isinstance(given, Receipted)
    assert south.arrivals.accepted[exchange_id(1)] == content
    assert south.arrivals.largest_piece <= 1024 * 1024


async def test_an_upload_goes_on_where_it_was_left(south, north):
    content = os.urandom(3_000_000)
    parcel = parcel_of(1, content)
    south.arrivals.gate.set()
    await south.arrivals.offer("north", parcel.cover, None)
    south.arrivals.uploads["north", parcel.transmittal_digest].data += content[:1_234_567]
    asked = []
    counting = parcel_of(1, content)

    def read(offset):
        asked.append(offset)
        return counting.read(offset)

    from dataclasses import replace

    assert isinstance(await north.send("south", replace(parcel, read=read)), Receipted)
    assert asked == [1_234_567]


async def test_an_upload_cut_in_the_middle_is_resumed_without_sending_twice(south, gateways):
    """A proxy cuts the first long connection after two megabytes; the same attempt asks for the offset and goes on."""
    cuts = []
    carried = []

    async def through(reader, writer):
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", south.port)
        passed = 0

        async def back():
            while data := await up_reader.read(65536):
                writer.write(data)
                await writer.drain()

        task = asyncio.create_task(back())
        try:
            while data := await reader.read(65536):
                passed += len(data)
                if passed > 2_000_000 and not cuts:
                    cuts.append(passed)
                    break
                up_writer.write(data)
                await up_writer.drain()
        except ConnectionError:
            pass
        finally:
            carried.append(passed)
            task.cancel()
            writer.transport.abort()
            up_writer.transport.abort()

    proxy = await asyncio.start_server(through, "127.0.0.1", 0)
    port = proxy.sockets[0].getsockname()[1]
    client = peer_client.PeerClient(gateways.enrol("north"), {"south": f"https://127.0.0.1:{port}"}.get, gateways.listed)
    content = os.urandom(6_000_000)
    try:
        assert isinstance(await client.send("south", parcel_of(1, content)), Receipted)
    finally:
        await client.close()
        proxy.close()
    assert cuts
    assert south.arrivals.accepted[exchange_id(1)] == content
    assert south.arrivals.offers == 1
    await asyncio.sleep(0.05)
    assert sum(carried) < 6_000_000 + 1_500_000  # buffers on the way were lost, not the whole first part


async def test_a_failed_upload_says_how_far_the_other_side_was(south, north):
    content = os.urandom(3_000_000)
    parcel = parcel_of(1, content)
    await south.arrivals.offer("north", parcel.cover, None)
    south.arrivals.uploads["north", parcel.transmittal_digest].data += content[:1_000_000]

    async def refuse(*arguments):
        raise ProblemError("no-room", "no room", retryable=True)

    south.arrivals.append = refuse
    with pytest.raises(PeerProblem) as failed:
        await north.send("south", parcel)
    assert failed.value.offset == 1_000_000


async def test_a_wrong_offset_is_told_the_right_one(south, gateways):
    """The sender believes a stale 202; 409 names the offset and the same attempt goes on there."""
    content = os.urandom(2_000_000)
    parcel = parcel_of(1, content)
    client = south.client()
    original = south.arrivals.offer

    async def stale(peer, cover, data):
        given = await original(peer, cover, data)
        south.arrivals.uploads[peer, parcel.transmittal_digest].data += content[:700_000]
        return given

    south.arrivals.offer = stale
    try:
        assert isinstance(await client.send("south", parcel), Receipted)
    finally:
        await client.close()
    assert ("offset-mismatch", "north") in south.gauges.refusals


async def test_an_upload_of_other_bytes_is_a_retryable_problem_and_starts_over(south, north):
    content = os.urandom(2_000_000)
    parcel = parcel_of(1, content, digest=digest("sha256", b"other"))
    with pytest.raises(PeerProblem) as caught:
        await north.send("south", parcel)
    assert (caught.value.problem, caught.value.retryable) == ("ciphertext-mismatch", True)
    assert len(south.arrivals.uploads["north", parcel.transmittal_digest].data) == 0


async def test_pending_answers_come_through(south, north):
    south.arrivals.after_append = Pending(state="verifying", offset=2_000_000)
    assert await north.send("south", parcel_of(1, os.urandom(2_000_000))) == Pending(state="verifying", offset=2_000_000)


async def test_too_many_uploads_of_one_peer(south, north, gateways):
    for number in range(4):
        await south.arrivals.offer("north", parcel_of(number, b"x" * 2_000_000).cover, None)
    with pytest.raises(PeerProblem) as caught:
        await north.send("south", parcel_of(9, os.urandom(2_000_000)))
    assert (caught.value.problem, caught.value.retryable, caught.value.status) == ("too-many", True, 429)


async def test_problems_keep_their_word_and_whether_to_retry(south, north):
    south.arrivals.raise_next = ProblemError("policy-refused", "only our log reads this", retryable=False, retry_after=90)
    with pytest.raises(PeerProblem) as caught:
        await north.send("south", parcel_of(1, b"x"))
    assert (caught.value.problem, caught.value.retryable, caught.value.retry_after) == ("policy-refused", False, 90)
    assert "log" not in str(caught.value)


async def test_a_defect_is_answered_one_word_and_logged_with_its_trace(south, north, caplog):
    south.arrivals.raise_next = RuntimeError("our own bug")
    with pytest.raises(PeerProblem) as caught:
        await north.send("south", parcel_of(1, b"x"))
    assert caught.value.problem == "internal"
    assert "our own bug" in caplog.text
    assert "Traceback" in caplog.text


async def test_receipts_are_answered_one_by_one(south, north):
    receipts = [SignedReceipt(body=body, signature=b"sig") for body in (b"receipt a", b"unknown", b"receipt c")]
    answers = await north.send_receipts("south", receipts)
    assert [(answer.code, answer.retryable) for answer in answers] == [("ok", False), ("not-found", True), ("ok", False)]
    assert answers[0].digest == digest("sha256", b"receipt a")
    assert south.arrivals.given == receipts


async def test_more_receipts_than_a_frame_holds_go_in_several(south, north):
    receipts = [SignedReceipt(body=b"receipt %d" % number, signature=b"s" * 100) for number in range(2001)]
    answers = await north.send_receipts("south", receipts)
    assert len(answers) == 2001
    assert len(south.gauges.stages) == 3


async def test_proofs_are_given_to_those_who_may_ask(serve):
    async def proofs(peer, wanted):
        if peer != "north":
            raise ProblemError("not-found", "not theirs", retryable=False)
        return f"leaf of {wanted}".encode(), b"c2sp.org/tlog-proof@v1\n"

    south = await serve(proofs=proofs)
    wanted = digest("sha256", b"receipt")
    north, west = south.client("north"), south.client("west")
    try:
        assert await north.proof("south", wanted) == (f"leaf of {wanted}".encode(), b"c2sp.org/tlog-proof@v1\n")
        with pytest.raises(PeerProblem) as caught:
            await west.proof("south", wanted)
        assert caught.value.problem == "not-found"
    finally:
        await north.close()
        await west.close()


async def test_nobody_there_is_unreachable(south, north):
    await south.server.stop(0.1)
    with pytest.raises(Unreachable):
        await north.send("south", parcel_of(1, b"x"))


async def test_a_gateway_the_directory_does_not_know_is_unreachable(north):
    with pytest.raises(Unreachable):
        await north.send("elsewhere", parcel_of(1, b"x"))


async def test_our_own_disk_failing_is_not_blamed_on_the_peer(south, north):
    from dataclasses import replace

    def broken(offset):
        yield b"x" * 1000
        raise OSError("disk")

    with pytest.raises(OSError, match="disk") as caught:
        await north.send("south", replace(parcel_of(1, b"x" * 2_000_000), read=broken))
    assert not isinstance(caught.value, Unreachable)

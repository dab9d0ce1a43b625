"""What a hostile, broken or slow peer meets: the raw port, byte by byte where that matters."""

from __future__ import annotations

import asyncio
import io
import json
import os

import aiohttp
import pytest

from crypto.digests import digest
from gateway.core.cover import MAX_COVER
from gateway.core.errors import PeerProblem, Unreachable
from gateway.flow.ports import Receipted
from gateway.net.frames import EXCHANGE_TYPE, MAX_INLINE, RECEIPTS_TYPE
from gateway.net.listener import ListenLimits
from tests.net.conftest import plain_context
from tests.net.world import cover_of, eventually, exchange_id, parcel_of


@pytest.fixture
async def raw(south, gateways):
    """A session that sends what the test says, as gateway north."""
    async with aiohttp.ClientSession(south.url, connector=aiohttp.TCPConnector(ssl=plain_context(gateways.enrol("north")))) as session:
        yield session


async def ask(session, method, path, data=b"", **headers):
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    if isinstance(data, bytes) and len(data) > 1_000_000:
        data = io.BytesIO(data)  # aiohttp warns of larger ones
    async with session.request(method, path, data=data, headers=fields) as response:
        body = await response.read()
        return response.status, json.loads(body) if response.content_type == "application/problem+json" and body else body, response.headers


async def word(session, method, path, data=b"", **headers):
    status, body, fields = await ask(session, method, path, data, **headers)
    assert fields["Yizhan-Problem"] == body["code"]
    assert body["type"] == "urn:yizhan:problem:" + body["code"]
    assert body["status"] == status
    return status, body["code"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/v1/exchanges"),
        ("POST", "/v1/exchanges/"),
        ("POST", "/v1/exchanges?x=1"),
        ("DELETE", f"/v1/exchanges/{exchange_id(1)}/content"),
        ("PATCH", "/v1/exchanges/not-an-id/content"),
        ("PATCH", f"/v1/exchanges/{exchange_id(1).replace('-7', '-4')}/content"),
        ("GET", f"/v1/receipts/sha256:{'0' * 64}/proof"),  # no proofs here
    ],
)
async def test_other_routes_are_not_found(raw, method, path):
    assert await word(raw, method, path) == (404, "not-found")


BAD_FRAMES = {
    "empty": b"",
    "short prefix": b"\0\0\0",
    "zero": b"\0\0\0\0",
    "longer than the body": b"\0\0\0\x05abcd",
    "above the ceiling": (MAX_COVER + 1).to_bytes(4, "big") + b"x" * 100,
    "all ones": b"\xff" * 64,
}


@pytest.mark.parametrize("frame", BAD_FRAMES.values(), ids=BAD_FRAMES.keys())
async def test_bad_exchange_frames_never_reach_the_flow(south, raw, frame):
    assert await word(raw, "POST", "/v1/exchanges", frame, Content_Type=EXCHANGE_TYPE) == (400, "malformed")
    assert south.arrivals.offers == 0


@pytest.mark.parametrize("frame", [b"", b"\0\0\0\x02\x30\x00", b"\0\0\0\x04\x30\x02\x30\x00", b"\0\0\0\x01\x30\x00", b"\0\0\0\x02xx"])
async def test_bad_receipt_frames_never_reach_the_flow(south, raw, frame):
    assert await word(raw, "POST", "/v1/receipts", frame, Content_Type=RECEIPTS_TYPE) == (400, "malformed")
    assert south.arrivals.given == []


async def test_a_wrong_content_type_is_malformed(raw):
    frame = cover_of(exchange_id(1), b"")
    assert await word(raw, "POST", "/v1/exchanges", frame) == (400, "malformed")
    assert await word(raw, "POST", "/v1/receipts", frame, Content_Type=EXCHANGE_TYPE) == (400, "malformed")


async def test_chunked_and_compressed_bodies_are_malformed(raw):
    async def chunks():
        yield b"x"

    assert await word(raw, "POST", "/v1/exchanges", chunks(), Content_Type=EXCHANGE_TYPE) == (400, "malformed")
    assert await word(raw, "POST", "/v1/exchanges", b"x", Content_Type=EXCHANGE_TYPE, Content_Encoding="gzip") == (400, "malformed")


async def test_content_above_the_inline_ceiling_must_be_uploaded(south, raw):
    content = b"x" * (MAX_INLINE + 1)
    frame = cover_of(exchange_id(1), content) + content
    assert await word(raw, "POST", "/v1/exchanges", frame, Content_Type=EXCHANGE_TYPE) == (413, "too-large")
    assert south.arrivals.offers == 0


async def test_bodies_above_their_route_are_refused_by_their_length_alone(south, gateways):
    """No byte of the body is sent, and the answer is there."""
    for path, kind in (("exchanges", EXCHANGE_TYPE), ("receipts", RECEIPTS_TYPE)):
        reader, writer = await asyncio.open_connection("127.0.0.1", south.port, ssl=plain_context(gateways.enrol("north")))
        writer.write(f"POST /v1/{path} HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\nContent-Length: 99999999\r\n\r\n".encode())
        assert b" 413 " in await reader.readline()
        writer.close()


async def _raw_answer(south, gateways, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", south.port, ssl=plain_context(gateways.enrol("north")))
    writer.write(request)
    try:
        return await asyncio.wait_for(reader.read(), 5)
    finally:
        writer.close()


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GARBAGE\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 5000 + b"\r\n\r\n",
        b"GET /" + b"a" * 5000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"".join(b"X-%d: y\r\n" % number for number in range(60)) + b"\r\n",
        b"POST /v1/exchanges HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"POST /v1/exchanges HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
    ],
    ids=["garbage", "long field", "long line", "many fields", "two lengths", "negative length"],
)
async def test_bad_heads_are_answered_in_our_shape_and_hung_up_on(south, gateways, request_bytes):
    answer = await _raw_answer(south, gateways, request_bytes)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith((b"HTTP/1.1 400", b"HTTP/1.0 400"))
    assert json.loads(body)["code"] == "malformed"
    assert b"Python" not in answer
    assert b"aiohttp" not in answer


# ---- uploads ---------------------------------------------------------------------------------------------------------------------


async def _begin(raw, content, number=1):
    frame = cover_of(exchange_id(number), content)
    status, body, headers = await ask(raw, "POST", "/v1/exchanges", frame, Content_Type=EXCHANGE_TYPE)
    assert status == 202
    assert json.loads(body) == {"v": "yizhan-pending/1", "state": "upload", "offset": int(headers["Upload-Offset"])}
    return f"/v1/exchanges/{exchange_id(number)}/content", digest("sha256", frame)


def _patch_headers(transmittal, offset, kind="application/octet-stream"):
    return {"Content_Type": kind, "Yizhan_Transmittal": transmittal, "Upload_Offset": str(offset)}


async def test_head_and_patch_tell_the_offset(raw):
    content = os.urandom(2_000_000)
    path, transmittal = await _begin(raw, content)
    status, body, headers = await ask(raw, "HEAD", path, Yizhan_Transmittal=transmittal)
    assert (status, body, headers["Upload-Offset"]) == (204, b"", "0")
    status, body, headers = await ask(raw, "PATCH", path, content[:900_000], **_patch_headers(transmittal, 0))
    assert (status, body, headers["Upload-Offset"]) == (204, b"", "900000")
    assert (await ask(raw, "HEAD", path, Yizhan_Transmittal=transmittal))[2]["Upload-Offset"] == "900000"
    status, _, headers = await ask(raw, "PATCH", path, content[900_000:], **_patch_headers(transmittal, 900_000))
    assert (status, headers["Content-Type"]) == (200, RECEIPTS_TYPE)


async def test_a_wrong_offset_is_answered_with_the_right_one(raw):
    path, transmittal = await _begin(raw, b"x" * 2_000_000)
    await ask(raw, "PATCH", path, b"x" * 1000, **_patch_headers(transmittal, 0))
    for offset in (0, 999, 1001, 2_000_000):
        status, body, headers = await ask(raw, "PATCH", path, b"x" * 10, **_patch_headers(transmittal, offset))
        assert (status, body["code"], body["offset"], headers["Upload-Offset"]) == (409, "offset-mismatch", 1000, "1000")
        assert body["retryable"] is True


@pytest.mark.parametrize("offset", ["", "-1", "+1", "01", "1.0", "0x1", "１", "99999999999999"])
async def test_offsets_have_one_spelling(raw, offset):
    path, transmittal = await _begin(raw, b"x" * 2_000_000)
    headers = {**_patch_headers(transmittal, 0), "Upload_Offset": offset}
    assert await word(raw, "PATCH", path, b"x", **headers) == (400, "malformed")


async def test_an_upload_belongs_to_its_peer_and_transmittal(south, raw, gateways):
    path, transmittal = await _begin(raw, b"x" * 2_000_000)
    async with aiohttp.ClientSession(south.url, connector=aiohttp.TCPConnector(ssl=plain_context(gateways.enrol("west")))) as west:
        status, _, headers = await ask(west, "HEAD", path, Yizhan_Transmittal=transmittal)
        assert (status, headers["Yizhan-Problem"]) == (404, "not-found")
        assert await word(west, "PATCH", path, b"y" * 10, **_patch_headers(transmittal, 0)) == (404, "not-found")
    other = digest("sha256", b"another transmittal")
    assert await word(raw, "PATCH", path, b"y" * 10, **_patch_headers(other, 0)) == (404, "not-found")
    assert len(south.arrivals.uploads["north", transmittal].data) == 0


@pytest.mark.parametrize("transmittal", ["", "sha256:xyz", "md5:" + "0" * 32])
async def test_uploads_name_their_transmittal(raw, transmittal):
    path, _ = await _begin(raw, b"x" * 2_000_000)
    assert await word(raw, "PATCH", path, b"x", **_patch_headers(transmittal, 0)) == (400, "malformed")


async def test_what_came_before_a_cut_is_kept(south, raw, gateways):
    content = b"x" * 2_000_000
    path, transmittal = await _begin(raw, content)
    _reader, writer = await asyncio.open_connection("127.0.0.1", south.port, ssl=plain_context(gateways.enrol("north")))
    fields = (
        f"Content-Type: application/octet-stream\r\nUpload-Offset: 0\r\nYizhan-Transmittal: {transmittal}\r\nContent-Length: {len(content)}"
    )
    writer.write(f"PATCH {path} HTTP/1.1\r\nHost: x\r\n{fields}\r\n\r\n".encode() + content[:700_000])
    await writer.drain()
    await asyncio.sleep(0.1)
    writer.transport.abort()
    for _ in range(100):
        offset = int((await ask(raw, "HEAD", path, Yizhan_Transmittal=transmittal))[2]["Upload-Offset"])
        if offset:
            break
        await asyncio.sleep(0.01)
    assert 0 < offset <= 700_000


# ---- slow and many ---------------------------------------------------------------------------------------------------------------

HASTY = ListenLimits(head_seconds=0.3, idle_seconds=0.5, body_grace_seconds=0.3, handshake_seconds=0.5, linger_seconds=0.1)


async def _trickle(south, gateways, first: bytes, then: bytes = b"x", times: int = 40) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", south.port, ssl=plain_context(gateways.enrol("north")))
    writer.write(first)
    answer = asyncio.create_task(reader.read())
    for _ in range(times):
        await asyncio.sleep(0.05)
        if answer.done():
            break
        writer.write(then)
    try:
        return await asyncio.wait_for(answer, 5)
    except ConnectionError:
        return b""
    finally:
        writer.close()


async def test_a_slow_head_is_hung_up_on(serve, gateways):
    south = await serve(HASTY)
    assert await _trickle(south, gateways, b"POST /v1/ex") == b""


async def test_a_silent_connection_is_hung_up_on(serve, gateways):
    south = await serve(HASTY)
    reader, writer = await asyncio.open_connection("127.0.0.1", south.port, ssl=plain_context(gateways.enrol("north")))
    with pytest.raises(ConnectionError):
        assert await asyncio.wait_for(reader.read(), 3) == b""
        raise ConnectionResetError
    writer.close()


async def test_a_tls_handshake_that_never_comes_is_hung_up_on(serve):
    south = await serve(HASTY)
    reader, writer = await asyncio.open_connection("127.0.0.1", south.port)
    assert await asyncio.wait_for(reader.read(), 3) == b""
    writer.close()


async def test_a_slow_second_head_is_hung_up_on(serve, gateways):
    south = await serve(HASTY)
    answer = await _trickle(south, gateways, b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTT")
    assert answer.count(b"HTTP/1.1 404") == 1


async def test_a_slow_body_is_told_so(serve, gateways):
    south = await serve(HASTY)
    answer = await _trickle(
        south, gateways, f"POST /v1/exchanges HTTP/1.1\r\nHost: x\r\nContent-Type: {EXCHANGE_TYPE}\r\nContent-Length: 5000\r\n\r\n".encode()
    )
    assert b" 408 " in answer
    assert b"too-slow" in answer
    assert south.arrivals.offers == 0


async def test_a_slow_upload_keeps_what_came(serve, gateways):
    south = await serve(HASTY)
    content = b"x" * 2_000_000
    frame = cover_of(exchange_id(1), content)
    await south.arrivals.offer("north", frame, None)
    fields = f"Content-Type: application/octet-stream\r\nUpload-Offset: 0\r\nYizhan-Transmittal: {digest('sha256', frame)}"
    head = f"PATCH /v1/exchanges/{exchange_id(1)}/content HTTP/1.1\r\nHost: x\r\n{fields}\r\nContent-Length: {len(content)}\r\n\r\n"
    answer = await _trickle(south, gateways, head.encode() + b"x" * 100)
    assert b" 408 " in answer
    kept = len(south.arrivals.uploads["north", digest("sha256", frame)].data)
    assert kept >= 100
    assert f"Upload-Offset: {kept}".encode() in answer


async def test_an_upload_that_falls_silent_is_let_go_however_much_it_brought(serve, gateways):
    """A line that died without a word: nobody else may go on with its upload before it is let go."""
    from dataclasses import replace

    south = await serve(replace(HASTY, body_bytes_per_second=1, silence_seconds=0.3))
    content = b"x" * 2_000_000
    frame = cover_of(exchange_id(1), content)
    await south.arrivals.offer("north", frame, None)
    fields = f"Content-Type: application/octet-stream\r\nUpload-Offset: 0\r\nYizhan-Transmittal: {digest('sha256', frame)}"
    head = f"PATCH /v1/exchanges/{exchange_id(1)}/content HTTP/1.1\r\nHost: x\r\n{fields}\r\nContent-Length: {len(content)}\r\n\r\n"
    answer = await _trickle(south, gateways, head.encode() + content[:1_000_000], then=b"", times=1)
    assert b" 408 " in answer
    assert b"Upload-Offset: 1000000" in answer


async def test_a_steady_slow_line_passes(serve, gateways):
    """Above the lowest rate a body may take as long as it takes."""
    from dataclasses import replace

    south = await serve(replace(HASTY, body_bytes_per_second=5_000))
    content = b"x" * 12_000
    frame = cover_of(exchange_id(1), content) + content
    head = f"POST /v1/exchanges HTTP/1.1\r\nHost: x\r\nContent-Type: {EXCHANGE_TYPE}\r\nConnection: close\r\nContent-Length: {len(frame)}\r\n\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", south.port, ssl=plain_context(gateways.enrol("north")))
    writer.write(head.encode())
    for start in range(0, len(frame), 1000):
        writer.write(frame[start : start + 1000])
        await asyncio.sleep(0.05)
    assert b" 200 " in await asyncio.wait_for(reader.readline(), 3)
    writer.close()


async def test_requests_in_flight_of_one_peer_are_counted(serve):
    south = await serve(ListenLimits(in_flight_per_peer=2))
    client, west = south.client("north"), south.client("west")
    south.arrivals.gate.clear()
    busy = [asyncio.create_task(client.send("south", parcel_of(number, b"x"))) for number in range(2)]
    await eventually(lambda: south.arrivals.waiting == 2)
    with pytest.raises(PeerProblem) as caught:
        await client.send("south", parcel_of(3, b"x"))
    assert (caught.value.problem, caught.value.retryable, caught.value.retry_after) == ("too-many", True, 1)
    other = asyncio.create_task(west.send("south", parcel_of(4, b"x")))
    await eventually(lambda: south.arrivals.waiting == 3)
    south.arrivals.gate.set()
    assert all(isinstance(given, Receipted) for given in await asyncio.gather(*busy, other))
    assert isinstance(await client.send("south", parcel_of(3, b"x")), Receipted)
    await client.close()
    await west.close()


@pytest.mark.parametrize("limits", [ListenLimits(connections_per_peer=2), ListenLimits(connections=2)], ids=["of a peer", "of all"])
async def test_connections_are_counted(serve, gateways, limits):
    south = await serve(limits)
    context = plain_context(gateways.enrol("north"))
    held = [await asyncio.open_connection("127.0.0.1", south.port, ssl=context) for _ in range(2)]
    await asyncio.sleep(0.05)
    assert south.server.connections == 2
    client = south.client("north")
    with pytest.raises(Unreachable):
        await client.send("south", parcel_of(1, b"x"))
    for _, writer in held:
        writer.close()
    await eventually(lambda: south.server.connections == 0)
    assert isinstance(await client.send("south", parcel_of(1, b"x")), Receipted)
    await client.close()


# ---- stopping --------------------------------------------------------------------------------------------------------------------


async def test_stopping_lets_requests_in_flight_end(south, north):
    await north.send("south", parcel_of(1, b"x"))
    south.arrivals.gate.clear()
    busy = asyncio.create_task(north.send("south", parcel_of(2, b"x")))
    await eventually(lambda: south.arrivals.waiting == 1)
    stopping = asyncio.create_task(south.server.stop(3.0))
    await asyncio.sleep(0.05)
    with pytest.raises(Unreachable):
        await north.send("south", parcel_of(3, b"x"))
    south.arrivals.gate.set()
    assert isinstance(await busy, Receipted)
    await asyncio.wait_for(stopping, 2)


async def test_stopping_cuts_after_the_grace(south, north):
    south.arrivals.gate.clear()
    busy = asyncio.create_task(north.send("south", parcel_of(2, b"x")))
    await eventually(lambda: south.arrivals.waiting == 1)
    await asyncio.wait_for(south.server.stop(0.1), 2)
    with pytest.raises(Unreachable):
        await busy


async def test_stopping_ends_uploads_at_their_next_piece(south, raw, gateways):
    content = b"x" * 4_000_000
    path, transmittal = await _begin(raw, content)
    _reader, writer = await asyncio.open_connection("127.0.0.1", south.port, ssl=plain_context(gateways.enrol("north")))
    fields = (
        f"Content-Type: application/octet-stream\r\nUpload-Offset: 0\r\nYizhan-Transmittal: {transmittal}\r\nContent-Length: {len(content)}"
    )
    writer.write(f"PATCH {path} HTTP/1.1\r\nHost: x\r\n{fields}\r\n\r\n".encode() + content[:700_000])
    await asyncio.sleep(0.1)
    stopping = asyncio.create_task(south.server.stop(5.0))
    await asyncio.sleep(0.02)
    writer.write(content[700_000:1_000_000])
    await asyncio.wait_for(stopping, 3)
    assert 700_000 <= len(south.arrivals.uploads["north", transmittal].data) <= 1_000_000
    writer.close()

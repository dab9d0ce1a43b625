# ruff: noqa: F401, F811  # fixtures are imported and named again
"""Hostile bytes on the peer port: requests with two readings, broken and endless ones, thousands of connections, handshakes that never end.

One answer or none, in our shape, the connection closed, nothing handed to the flow; and whoever behaves is served meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import resource
import socket
import struct
import time
from pathlib import Path

import pytest

from gateway.flow.ports import Receipted
from gateway.net.frames import EXCHANGE_TYPE
from gateway.net.limits import DoorLimits
from gateway.net.listener import ListenLimits
from tests.faults.torture import rounds
from tests.net.conftest import gateways, plain_context, serve, south  # fixtures
from tests.net.world import cover_of, eventually, exchange_id, parcel_of

OPEN = b"POST /v1/exchanges HTTP/1.1\r\nHost: x\r\nContent-Type: " + EXCHANGE_TYPE.encode() + b"\r\n"
GET = b"GET /v1/x HTTP/1.1\r\nHost: x\r\n"
SMUGGLED = b"GET /v1/smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
GOOD = cover_of(exchange_id(1), b"x") + b"x"

# Each is refused with one answer, `malformed`, and hung up on; what follows in the same bytes is never looked at.
MALFORMED = {
    "length and chunked": OPEN + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "chunked and length": OPEN + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "chunked": OPEN + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n" + SMUGGLED,
    "chunk extensions": OPEN + b"Transfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\n\r\n" + SMUGGLED,
    "chunked behind identity": OPEN + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "almost chunked": OPEN + b"Transfer-Encoding: xchunked\r\nContent-Length: 0\r\n\r\n" + SMUGGLED,
    "chunked behind a tab": OPEN + b"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "chunked twice": OPEN + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "chunked on a request without a body": GET + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "two lengths": OPEN + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello" + SMUGGLED,
    "one length twice": OPEN + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello" + SMUGGLED,
    "a list of lengths": OPEN + b"Content-Length: 5, 5\r\n\r\nhello" + SMUGGLED,
    "a negative length": OPEN + b"Content-Length: -5\r\n\r\nhello" + SMUGGLED,
    "a signed length": OPEN + b"Content-Length: +5\r\n\r\nhello" + SMUGGLED,
    "a hexadecimal length": OPEN + b"Content-Length: 0x5\r\n\r\nhello" + SMUGGLED,
    "a length beyond 64 bits": OPEN + b"Content-Length: 99999999999999999999999\r\n\r\nhello" + SMUGGLED,
    "a length with an underscore": OPEN + b"Content-Length: 1_0\r\n\r\nhello" + SMUGGLED,
    "an empty length": OPEN + b"Content-Length: \r\n\r\n" + SMUGGLED,
    "a folded field": OPEN + b"Content-Length: 5\r\nX: a\r\n b\r\n\r\nhello" + SMUGGLED,
    "a space before the colon": OPEN + b"Content-Length : 5\r\n\r\nhello" + SMUGGLED,
    "a field without a colon": OPEN + b"Content-Length 5\r\n\r\nhello" + SMUGGLED,
    "a field without a name": OPEN + b": 5\r\n\r\nhello" + SMUGGLED,
    "bare line feeds": b"GET /v1/x HTTP/1.1\nHost: x\n\n" + SMUGGLED,
    "a bare carriage return in a field": GET + b"X: a\rContent-Length: 5\r\n\r\nhello" + SMUGGLED,
    "a zero byte in a field": GET + b"X: a\0b\r\n\r\n" + SMUGGLED,
    "a zero byte in a name": GET + b"X\0: a\r\n\r\n" + SMUGGLED,
    "HTTP/0.9": b"GET /v1/x\r\n" + SMUGGLED,
    "HTTP/1.0": b"GET /v1/x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" + SMUGGLED,
    "HTTP/1.10": b"GET /v1/x HTTP/1.10\r\nHost: x\r\n\r\n" + SMUGGLED,
    "HTTP/3.0": b"GET /v1/x HTTP/3.0\r\nHost: x\r\n\r\n" + SMUGGLED,
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0" * 50,
    "an upgrade to a web socket": GET + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n" + SMUGGLED,
    "an upgrade with a body": OPEN + b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 5\r\n\r\nhello" + SMUGGLED,
    "lower case": b"get /v1/x HTTP/1.1\r\nHost: x\r\n\r\n" + SMUGGLED,
    "a long line": b"GET /" + b"a" * 5000 + b" HTTP/1.1\r\nHost: x\r\n\r\n" + SMUGGLED,
    "a long field": GET + b"X: " + b"a" * 5000 + b"\r\n\r\n" + SMUGGLED,
    "a field without end": GET + b"X: " + b"a" * 500_000,
    "many fields": GET + b"".join(b"X-%d: y\r\n" % number for number in range(60)) + b"\r\n" + SMUGGLED,
    "many empty fields": GET + b"X:\r\n" * 5000 + b"\r\n" + SMUGGLED,
    "garbage": bytes(range(1, 200)) + b"\r\n\r\n" + SMUGGLED,
    "zeros": b"\0" * 100_000,
}


async def _say(south, gateways, data: bytes, gateway: str = "north", wait: float = 5.0) -> bytes:
    """Everything heard until the other side hung up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", south.port, ssl=plain_context(gateways.enrol(gateway)))
    heard = bytearray()
    try:
        writer.write(data)
        async with asyncio.timeout(wait):
            while chunk := await reader.read(65536):
                heard += chunk
    except ConnectionError:
        pass
    finally:
        writer.transport.abort()
    return bytes(heard)


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED.keys())
async def test_a_request_with_two_readings_has_none(south, gateways, data):
    heard = await _say(south, gateways, data)
    assert heard.count(b"HTTP/1.") == 1, heard
    head, _, body = heard.partition(b"\r\n\r\n")
    assert b" 400 " in head.split(b"\r\n")[0]
    assert json.loads(body)["code"] == "malformed"
    assert south.arrivals.offers == 0
    await eventually(lambda: south.server.connections == 0)


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "identity", "gzip, gzip"])
async def test_no_body_is_ever_unpacked(south, gateways, encoding):
    """A gigabyte of zeros deflates to a megabyte; here its header alone is enough to refuse it."""
    heard = await _say(
        south, gateways, OPEN + f"Content-Encoding: {encoding}\r\nConnection: close\r\nContent-Length: {len(GOOD)}\r\n\r\n".encode() + GOOD
    )
    assert b'"malformed"' in heard
    assert south.arrivals.offers == 0


async def test_who_pipelines_is_answered_once(south, gateways):
    heard = await _say(south, gateways, SMUGGLED * 1000)
    assert heard.count(b"HTTP/1.1 404") == 1
    assert heard.count(b"HTTP/1.1") == 1


async def test_nothing_behind_an_error_is_read(south, gateways):
    good = OPEN + b"Content-Length: %d\r\n\r\n" % len(GOOD) + GOOD
    heard = await _say(south, gateways, b"BAD\r\n\r\n" + good)
    assert heard.count(b"HTTP/1.") == 1
    assert south.arrivals.offers == 0


async def test_hanging_up_at_any_byte_leaves_nothing_behind(south, gateways):
    good = OPEN + b"Content-Length: %d\r\n\r\n" % len(GOOD) + GOOD
    context, client = plain_context(gateways.enrol("north")), south.client("west")
    for cut in random.sample(range(len(good)), min(len(good), rounds(40, 400))):
        _, writer = await asyncio.open_connection("127.0.0.1", south.port, ssl=context)
        writer.write(good[:cut])
        await writer.drain()
        if cut % 3:
            await asyncio.sleep(0.005)
        writer.transport.abort()
    assert isinstance(await client.send("south", parcel_of(2, b"y")), Receipted)
    assert south.arrivals.offers == 1
    await client.close()
    await eventually(lambda: south.server.connections == 0)
    assert not south.server._in_flight
    assert not [limit for limit, _ in south.gauges.limited if limit == "failures"], "a line that breaks is no failure"


HELLOS = {
    "plain HTTP": SMUGGLED,
    "random": bytes(random.Random(1).randbytes(4000)),
    "SSL 2": b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10" + b"\x01" * 40,
    "SSL 3": b"\x16\x03\x00\x00\x2f\x01\x00\x00\x2b\x03\x00" + b"\x01" * 40,
    "a record that says it is long": b"\x16\x03\x01\xff\xff" + b"\x01" * 1000,
    "an alert": b"\x15\x03\x01\x00\x02\x02\x28",
    "zeros": b"\0" * 100_000,
    "a hello cut short": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
}


async def test_bytes_that_are_no_handshake_are_hung_up_on(serve):
    south = await serve(ListenLimits(handshake_seconds=0.5))
    for name, hello in HELLOS.items():
        reader, writer = await asyncio.open_connection("127.0.0.1", south.port)
        writer.write(hello)
        heard = b""
        with contextlib.suppress(ConnectionError):
            heard = await asyncio.wait_for(reader.read(), 3)
        assert b"HTTP" not in heard, name
        writer.close()
    assert south.server.connections == 0


async def _flood(port: int, address: str, count: int) -> list[socket.socket]:
    """Half-open connections from one address."""
    loop, held = asyncio.get_running_loop(), []
    for number in range(count):
        connection = socket.socket()
        connection.setblocking(False)
        connection.bind((address, 0))
        held.append(connection)
        with contextlib.suppress(OSError):
            await loop.sock_connect(connection, ("127.0.0.1", port))
        if number % 50 == 0:
            await asyncio.sleep(0)
    return held


@pytest.fixture
def many_files():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    yield min(hard, 8192)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_thousands_of_half_open_connections_take_no_place(south, many_files):
    """Who says nothing after connecting holds 32 places of his own address; a peer comes in all the while."""
    client, count = south.client("north"), min(rounds(1000, 3000), many_files // 3)
    assert isinstance(await client.send("south", parcel_of(0, b"x")), Receipted)  # its address is known from now on
    before, held = _descriptors(), []
    try:
        for number in range(4):
            held += await _flood(south.port, f"127.0.0.{10 + number}", count // 4)
            fresh = south.client("west")  # a new connection, with a handshake of its own
            begun = time.monotonic()
            assert isinstance(await fresh.send("south", parcel_of(number + 1, b"y")), Receipted)
            assert time.monotonic() - begun < 2.0
            await fresh.close()
        await asyncio.sleep(0.1)
        ours = _descriptors() - before - len(held)
        assert ours <= 4 * DoorLimits().half_open_of_address + 8  # what the server keeps of them
        assert isinstance(await client.send("south", parcel_of(9, b"x")), Receipted)
    finally:
        for connection in held:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()
    assert {limit for limit, peer in south.gauges.limited if peer == "stranger"} >= {"unfinished"}
    await client.close()


async def test_handshakes_of_one_address_are_counted_before_they_cost(serve, gateways):
    """A stranger that shakes hands without end gets twenty a second; others, from another address, as many as they need."""
    south = await serve()
    context, done = plain_context(None), 0

    async def shake() -> None:
        nonlocal done
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", south.port, ssl=context, local_addr=("127.0.0.20", 0))
            done += 1  # TLS 1.3: our side is through before the server has seen that there is no certificate
            writer.transport.abort()
        except OSError:
            pass

    for _ in range(20):
        await asyncio.gather(*(shake() for _ in range(15)))
    assert done < 64 + 20 * 15
    assert done <= 64 + 20 * 10
    assert ("handshakes", "stranger") in south.gauges.limited
    client = south.client("north")
    assert isinstance(await client.send("south", parcel_of(1, b"x")), Receipted)
    await client.close()


async def test_a_certificate_that_names_a_peer_and_is_not_listed_uses_up_none_of_its_connections(serve, gateways):
    south = await serve()
    real = south.client("north")
    chain, key, _ = gateways.authority.issue("urn:yizhan:gateway:north")  # under our root, in no directory
    impostor = plain_context(gateways.identity(chain, key))
    held = []
    for _ in range(40):
        with contextlib.suppress(OSError):
            held.append(await asyncio.open_connection("127.0.0.1", south.port, ssl=impostor, local_addr=("127.0.0.30", 0)))
    await asyncio.sleep(0.1)
    assert south.server.connections <= ListenLimits().connections_of_strangers
    assert isinstance(await real.send("south", parcel_of(1, b"x")), Receipted)
    assert ("connections", "north") not in south.gauges.limited
    for _, writer in held:
        writer.transport.abort()
    await real.close()

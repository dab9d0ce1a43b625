"""Time stamps over lasting connections (RFC 3161 §3.3): our two sides on real sockets, and plain bytes and openssl in their place."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import struct
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from crypto.errors import Malformed
from crypto.pkix import digest_oid
from crypto.suites import GM_1, INTL_1
from crypto.timestamps import TimeStampRefused, make_request, read_token, token_from_response
from gateway.core.errors import Unreachable
from gateway.net.authority_server import AuthorityServer
from gateway.net.calling import CallLimits
from gateway.net.time_client import TimeClient
from gateway.net.time_stream import IN_FLIGHT, MAX_QUERY, MAX_REPLY, Flag, MessageReader, StreamTimeClient, message, split_stream_url
from gateway.net.time_stream_server import StreamLimits, StreamTimeServer
from tests.net.test_authorities import SystemClock, _run, time_authority

LIMITS = CallLimits(connections=2, connect_seconds=1.0, answer_seconds=5.0)
QUICK = CallLimits(connections=2, connect_seconds=1.0, answer_seconds=0.3)
REQUEST = make_request("sha256", b"x", nonce=1)


@pytest.fixture(scope="module")
def authorities():
    return {suite.id: time_authority(suite) for suite in (GM_1, INTL_1)}


class Authority:
    """An authority with both ports that can be killed and started again on the same ones."""

    def __init__(self, folder, authorities) -> None:
        self._folder = folder
        self._authorities = {name: pair[0] for name, pair in authorities.items()}
        self.serials = iter(range(1, 100_000))
        self.port = self.stream_port = 0
        self.server: AuthorityServer | None = None
        self._writers: list[asyncio.StreamWriter] = []

    async def start(self, limits: StreamLimits | None = None) -> None:
        self.server = AuthorityServer(self._folder, self._authorities, lambda: next(self.serials), SystemClock(), stream_limits=limits)
        await self.server.start_stream("127.0.0.1", self.stream_port)
        await self.server.start("127.0.0.1", self.port)
        self.port, self.stream_port = self.server.port, self.server.stream_port

    async def stop(self, grace: float = 2.0) -> None:
        if self.server is not None:
            await self.server.stop(grace)
            self.server = None

    @property
    def stream(self) -> str:
        return f"tsp://127.0.0.1:{self.stream_port}"

    @property
    def http(self) -> str:
        return f"http://127.0.0.1:{self.port}/tsa/intl-1"

    async def connect(self):
        """A connection of ours that speaks plain bytes."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.stream_port)
        self._writers.append(writer)
        return reader, writer

    async def hang_up(self) -> None:
        await _abort(self._writers)


@pytest.fixture
async def authority(tmp_path, authorities):
    authority = Authority(tmp_path, authorities)
    await authority.start()
    yield authority
    await authority.hang_up()
    await authority.stop(0.1)


async def _abort(writers) -> None:
    for writer in writers:
        writer.transport.abort()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def read_message(reader) -> tuple[int, bytes]:
    (length,) = struct.unpack(">I", await asyncio.wait_for(reader.readexactly(4), 5))
    body = await asyncio.wait_for(reader.readexactly(length), 5)
    return body[0], body[1:]


async def ends(reader, within: float = 5.0) -> bool:
    """Whether the other side hangs up, quietly or not."""
    try:
        return await asyncio.wait_for(reader.read(), within) == b""
    except ConnectionError:
        return True


@contextlib.asynccontextmanager
async def pretender(handle):
    """A server that answers as ``handle(reader, writer)`` does; gives its URL and how many connections it had."""
    seen = []

    async def accept(reader, writer):
        seen.append(writer)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await handle(reader, writer)
            writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield f"tsp://127.0.0.1:{server.sockets[0].getsockname()[1]}", seen
    finally:
        server.close()
        await _abort(seen)


def nonce_of(reply: bytes) -> int | None:
    return read_token(token_from_response(reply)).nonce


# ---- messages and addresses --------------------------------------------------------------------------------------------------------


def test_a_message_is_length_flag_value():
    assert message(Flag.FINAL_MSG_REP, b"abc") == bytes.fromhex("00000004 05 616263")  # the length counts flag and value


def test_messages_are_found_however_they_are_cut():
    wire = message(Flag.TSA_MSG, b"one") + message(Flag.POLL_REQ, b"") + message(Flag.TSA_MSG, b"three" * 20)
    for size in (1, 2, 3, 7, 50, len(wire)):
        reader, found = MessageReader(100), []
        for place in range(0, len(wire), size):
            reader.feed(wire[place : place + size])
            while (one := reader.next()) is not None:
                found.append(one)
        assert found == [(0, b"one"), (2, b""), (0, b"three" * 20)]
        assert not reader.unfinished


@pytest.mark.parametrize("length", [0, 102, 1 << 31, (1 << 32) - 1])
def test_a_length_out_of_range_is_malformed_before_its_value_comes(length):
    reader = MessageReader(100)
    reader.feed(length.to_bytes(4))
    with pytest.raises(Malformed):
        reader.next()


def test_stream_addresses():
    assert split_stream_url("tsp://time.example:318") == ("time.example", 318)
    assert split_stream_url("tsp://[::1]:318") == ("::1", 318)
    for url in ("tsp://time.example", "http://time.example:318", "tsp://:318", "tsp://a:0", "tsp://a:99999", "tsp://a:1/x", "tsp://u@a:1"):
        with pytest.raises(ValueError, match=r"tsp|[Pp]ort"):
            split_stream_url(url)


# ---- client and server -------------------------------------------------------------------------------------------------------------


async def test_two_hundred_at_once_each_get_their_own_answer(authority):
    client = TimeClient([authority.stream], limits=LIMITS)
    replies = await asyncio.gather(*(client.respond(make_request("sha256", b"%d" % n, nonce=n + 1)) for n in range(200)))
    await client.close()
    tokens = [read_token(token_from_response(reply)) for reply in replies]
    assert [token.nonce for token in tokens] == list(range(1, 201))
    assert [token.serial for token in tokens] == list(range(1, 201))
    assert [token.at for token in tokens] == sorted(token.at for token in tokens)


async def test_requests_that_come_together_are_signed_in_few_hops_and_over_one_connection(authorities):
    hops = []

    class Counting(ThreadPoolExecutor):
        def submit(self, *args, **kwargs):
            hops.append(args)
            return super().submit(*args, **kwargs)

    stamping = authorities["intl-1"][0]
    server = StreamTimeServer(lambda request: stamping.respond(request, at=datetime.now(UTC), serial=1), Counting(1))
    await server.start("127.0.0.1", 0)
    client = StreamTimeClient(f"tsp://127.0.0.1:{server.port}", LIMITS)
    await asyncio.gather(*(client.respond(REQUEST) for _ in range(IN_FLIGHT)))
    assert len(hops) <= 3
    assert len(server._connections) == 1
    await client.close()
    await server.stop(0.1)


async def test_the_digest_in_the_request_chooses_the_authority(authority, authorities):
    client = TimeClient([authority.stream], limits=LIMITS)
    for suite in (GM_1, INTL_1):
        reply = await client.respond(make_request(suite.digest, b"x", nonce=5))
        token = read_token(token_from_response(reply))
        assert token.imprint_algorithm == digest_oid(suite.digest)
        assert token.authority == authorities[suite.id][0]._signer.certificate
    foreign = make_request("sha256", b"x", nonce=5).replace(bytes.fromhex("608648016503040201"), bytes.fromhex("608648016503040208"))
    for bad, said in ((b"nonsense", "not a time-stamp request"), (b"", "not a time-stamp request"), (foreign, "digest")):
        with pytest.raises(TimeStampRefused, match=said):
            token_from_response(await client.respond(bad))
    await client.close()


async def test_whoever_leaves_does_not_shift_the_answers_of_others(authority):
    client = TimeClient([authority.stream], limits=LIMITS)
    tasks = [asyncio.create_task(client.respond(make_request("sha256", b"x", nonce=n))) for n in range(1, 31)]
    await client.respond(make_request("sha256", b"x", nonce=99))
    await asyncio.gather(*tasks)
    tasks = [asyncio.create_task(client.respond(make_request("sha256", b"x", nonce=n))) for n in range(1, 31)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    replies = await asyncio.gather(*tasks, return_exceptions=True)
    assert [nonce_of(reply) for reply in replies[1::2]] == list(range(2, 31, 2))
    await client.close()


async def test_a_connection_that_idles_is_hung_up_and_made_again(authority):
    client = StreamTimeClient(authority.stream, CallLimits(connect_seconds=1, answer_seconds=5, keep_seconds=0.1))
    await client.respond(REQUEST)
    first = client._line
    await asyncio.sleep(0.3)
    assert not first.open
    await client.respond(REQUEST)
    assert client._line is not first
    await client.close()


# ---- an authority that fails ---------------------------------------------------------------------------------------------------------


async def test_killed_and_started_again(authority):
    client = TimeClient([authority.stream], limits=LIMITS)
    assert nonce_of(await client.respond(REQUEST)) == 1
    await authority.stop(0.1)
    with pytest.raises(Unreachable):
        await client.respond(REQUEST)
    with pytest.raises(Unreachable, match=str(authority.stream_port)):
        await asyncio.gather(*(client.respond(REQUEST) for _ in range(20)))
    await authority.start()
    assert nonce_of(await client.respond(REQUEST)) == 1
    await client.close()


async def test_http_stands_in_while_the_stream_is_away(authority):
    client = TimeClient([authority.stream, authority.http], limits=LIMITS)
    await authority.server._stream.stop(0.1)
    replies = await asyncio.gather(*(client.respond(REQUEST) for _ in range(10)))
    assert all(nonce_of(reply) == 1 for reply in replies)
    assert authority.stream in client._resting
    await authority.stop(0.1)
    await authority.start()
    client._resting.clear()
    before = client._authorities[authority.stream]._line
    assert nonce_of(await client.respond(REQUEST)) == 1
    assert client._authorities[authority.stream]._line is not before
    await client.close()


async def test_http_is_never_opened_while_the_stream_answers(authority):
    client = TimeClient([authority.stream, authority.http], limits=LIMITS)
    await client.respond(REQUEST)
    assert client._authorities[authority.http]._session is None
    await client.close()


async def _silent(reader, writer):
    await reader.read()


def _says(data: bytes):
    async def handle(reader, writer):
        await reader.read(1000)
        writer.write(data)
        await writer.drain()
        await reader.read()

    return handle


FAILING = {
    "silent": (_silent, "no answer within 0.3 s"),
    "half a message": (_says(message(Flag.FINAL_MSG_REP, b"x" * 50)[:30]), "no answer within 0.3 s"),
    "an oversize answer": (_says((MAX_REPLY + 2).to_bytes(4)), "a message of"),
    "no length": (_says(bytes(10)), "a message of 0 bytes"),
    "HTTP": (_says(b"HTTP/1.1 400 Bad Request\r\n\r\n"), "a message of"),
    "an error": (_says(message(Flag.ERROR_MSG_REP, b"not \x1b[31m\xff today")), r"error: 'not \\x1b\[31m"),
    "polling": (_says(message(Flag.POLL_REP, bytes(8))), "flag 1 where finalMsgRep is due"),
    "a receipt": (_says(message(Flag.PARTIAL_MSG_REP, bytes(9))), "flag 4"),
    "an unknown flag": (_says(bytes.fromhex("00000001 77")), "flag 119"),
}


@pytest.mark.parametrize("name", FAILING)
async def test_an_authority_that_fails_is_unreachable_with_its_reason(name):
    handle, reason = FAILING[name]
    async with pretender(handle) as (url, _):
        client = StreamTimeClient(url, QUICK)
        with pytest.raises(Unreachable, match=reason):
            await asyncio.wait_for(client.respond(REQUEST), 2)
        await client.close()


async def test_one_that_hangs_up_in_the_middle():
    async def handle(reader, writer):
        await reader.read(1000)
        writer.write(message(Flag.FINAL_MSG_REP, b"first"))

    async with pretender(handle) as (url, _):
        client = StreamTimeClient(url, LIMITS)
        results = await asyncio.gather(*(client.respond(REQUEST) for _ in range(3)), return_exceptions=True)
        assert results[0] == b"first"
        assert [type(result) for result in results[1:]] == [Unreachable, Unreachable]
        await client.close()


async def test_an_answer_nobody_asked_for_ends_the_connection():
    async with pretender(_says(message(Flag.FINAL_MSG_REP, b"one") * 2)) as (url, seen):
        client = StreamTimeClient(url, LIMITS)
        assert await client.respond(REQUEST) == b"one"
        assert not client._line.open
        assert await client.respond(REQUEST) == b"one"
        assert len(seen) == 2
        await client.close()


async def test_a_late_answer_takes_the_connection_and_everyone_waiting_with_it():
    async with pretender(_silent) as (url, seen):
        client = StreamTimeClient(url, QUICK)
        results = await asyncio.gather(*(client.respond(REQUEST) for _ in range(IN_FLIGHT)), return_exceptions=True)
        assert {type(result) for result in results} == {Unreachable}
        assert len({id(result) for result in results}) == IN_FLIGHT  # an exception of its own for each
        assert len(seen) == 1
        await client.close()


async def test_no_more_than_the_ceiling_are_in_flight():
    asked = 0

    async def handle(reader, writer):
        nonlocal asked
        while data := await reader.read(1 << 16):
            asked += len(data) // len(message(Flag.TSA_MSG, REQUEST))

    async with pretender(handle) as (url, _):
        client = StreamTimeClient(url, LIMITS)
        tasks = [asyncio.create_task(client.respond(REQUEST)) for _ in range(3 * IN_FLIGHT)]
        await asyncio.sleep(0.2)
        assert asked == IN_FLIGHT
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await client.close()


async def test_closing_tells_those_who_wait():
    async with pretender(_silent) as (url, _):
        client = StreamTimeClient(url, LIMITS)
        waiting = asyncio.create_task(client.respond(REQUEST))
        await asyncio.sleep(0.1)
        await client.close()
        with pytest.raises(Unreachable, match="closed"):
            await waiting


# ---- a peer that misbehaves ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wire", [bytes(4), (MAX_QUERY + 2).to_bytes(4), b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 5000])
async def test_a_length_nobody_may_send_is_answered_after_what_came_before_and_ends_it(authority, wire):
    reader, writer = await authority.connect()
    writer.write(message(Flag.TSA_MSG, REQUEST) + wire + b"more" * 100)
    flag, reply = await read_message(reader)
    assert (flag, nonce_of(reply)) == (Flag.FINAL_MSG_REP, 1)
    flag, said = await read_message(reader)
    assert flag == Flag.ERROR_MSG_REP
    assert b"a message of" in said
    assert await ends(reader)


async def test_the_largest_request_is_read_and_rejected_as_a_time_stamp_request(authority):
    reader, writer = await authority.connect()
    writer.write(message(Flag.TSA_MSG, b"0" * MAX_QUERY))
    flag, reply = await read_message(reader)
    assert flag == Flag.FINAL_MSG_REP
    with pytest.raises(TimeStampRefused):
        token_from_response(reply)


async def test_what_is_no_request_gets_an_error_in_its_place_and_the_connection_goes_on(authority):
    reader, writer = await authority.connect()
    for flag in (1, 2, 3, 4, 5, 6, 200):
        writer.write((5).to_bytes(4) + bytes((flag,)) + bytes(4) + message(Flag.TSA_MSG, make_request("sha256", b"x", nonce=100 + flag)))
    for flag in (1, 2, 3, 4, 5, 6, 200):
        kind, said = await read_message(reader)
        assert kind == Flag.ERROR_MSG_REP
        assert (b"nothing to poll" in said) == (flag == Flag.POLL_REQ)
        kind, reply = await read_message(reader)
        assert (kind, nonce_of(reply)) == (Flag.FINAL_MSG_REP, 100 + flag)


async def test_half_a_message_and_silence_is_cut_off(authority):
    await authority.stop(0.1)
    await authority.start(StreamLimits(message_seconds=0.3, idle_seconds=60))
    for half in (b"\x00", message(Flag.TSA_MSG, REQUEST)[:-1]):
        reader, writer = await authority.connect()
        writer.write(half)
        assert await ends(reader, 2)


async def test_a_trickle_is_cut_off_however_steady(authority):
    await authority.stop(0.1)
    await authority.start(StreamLimits(message_seconds=0.4, idle_seconds=60))
    reader, writer = await authority.connect()
    hung_up = asyncio.create_task(ends(reader))
    for byte in message(Flag.TSA_MSG, REQUEST)[:40]:
        writer.write(bytes((byte,)))
        await asyncio.sleep(0.05)
        if hung_up.done():
            break
    assert hung_up.done()


async def test_a_message_in_pieces_is_answered_when_it_is_whole(authority):
    reader, writer = await authority.connect()
    for byte in message(Flag.TSA_MSG, REQUEST):
        writer.write(bytes((byte,)))
        await writer.drain()
        await asyncio.sleep(0)
    assert nonce_of((await read_message(reader))[1]) == 1


async def test_an_idle_connection_is_closed_and_a_busy_one_is_not(authority):
    await authority.stop(0.1)
    await authority.start(StreamLimits(idle_seconds=0.4))
    idle, _ = await authority.connect()
    reader, writer = await authority.connect()
    for _ in range(8):
        writer.write(message(Flag.TSA_MSG, REQUEST))
        assert (await read_message(reader))[0] == Flag.FINAL_MSG_REP
        await asyncio.sleep(0.1)
    assert await ends(idle, 0.1)


async def _until(holds, within: float = 20.0) -> None:
    async with asyncio.timeout(within):
        while not holds():  # noqa: ASYNC110  # what is waited for is state of the server, which sets no event for tests
            await asyncio.sleep(0.02)


async def test_a_peer_that_reads_no_answers_is_paused_then_cut_and_others_are_served(authority):
    await authority.stop(0.1)
    await authority.start(StreamLimits(drain_seconds=1.0, idle_seconds=60))
    deaf = socket.socket()
    deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # what the kernel takes for it fills sooner
    deaf.setblocking(False)
    await asyncio.get_running_loop().sock_connect(deaf, ("127.0.0.1", authority.stream_port))
    flood = memoryview(message(Flag.POLL_REQ, bytes(4)) * 400_000)
    sending = asyncio.create_task(asyncio.get_running_loop().sock_sendall(deaf, flood))
    connections = authority.server._stream._connections
    await _until(lambda: any(connection._stuck for connection in connections))
    (stuck,) = connections
    client = TimeClient([authority.stream], limits=LIMITS)
    assert nonce_of(await client.respond(REQUEST)) == 1
    assert stuck._asked <= authority.server._stream.limits.in_flight
    await _until(lambda: stuck not in connections)
    assert len(connections) == 1
    await client.close()
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)
    deaf.close()


async def test_no_more_than_the_ceiling_are_worked_on_for_one_connection(authorities):
    gate = asyncio.Event()
    loop = asyncio.get_running_loop()

    def stamp(request: bytes) -> bytes:
        asyncio.run_coroutine_threadsafe(gate.wait(), loop).result(5)
        return request

    server = StreamTimeServer(stamp, ThreadPoolExecutor(1), limits=StreamLimits(in_flight=8))
    await server.start("127.0.0.1", 0)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"".join(message(Flag.TSA_MSG, b"%03d" % n) for n in range(500)))
    await asyncio.sleep(0.2)
    (connection,) = server._connections
    most = connection._asked
    gate.set()
    assert most == 8
    assert [await read_message(reader) for _ in range(500)] == [(5, b"%03d" % n) for n in range(500)]
    await _abort([writer])
    await server.stop(0.1)


async def test_connections_above_the_ceiling_are_hung_up_and_places_come_back(authority):
    await authority.stop(0.1)
    await authority.start(StreamLimits(connections=2))
    held = [await authority.connect() for _ in range(2)]
    await asyncio.sleep(0.05)
    reader, _ = await authority.connect()
    assert await ends(reader, 1)
    held[0][1].close()
    await asyncio.sleep(0.05)
    client = TimeClient([authority.stream], limits=LIMITS)
    assert nonce_of(await client.respond(REQUEST)) == 1
    await client.close()


async def test_a_peer_that_closes_its_side_still_hears_its_answers(authority):
    reader, writer = await authority.connect()
    writer.write(message(Flag.TSA_MSG, REQUEST) * 3)
    writer.write_eof()
    reply = await asyncio.wait_for(reader.read(), 5)
    found = MessageReader(MAX_REPLY)
    found.feed(reply)
    assert [found.next()[0] for _ in range(3)] == [5, 5, 5]


async def test_a_stamp_that_fails_inside_is_an_error_for_that_request_alone(caplog):
    def stamp(request: bytes) -> bytes:
        if request == b"bad":
            raise OSError("no serial number")
        return request

    server = StreamTimeServer(stamp, ThreadPoolExecutor(1))
    await server.start("127.0.0.1", 0)
    client = StreamTimeClient(f"tsp://127.0.0.1:{server.port}", LIMITS)
    results = await asyncio.gather(*(client.respond(text) for text in (b"a", b"bad", b"c")), return_exceptions=True)
    assert (results[0], results[2]) == (b"a", b"c")
    assert isinstance(results[1], Unreachable)
    assert "serial" not in str(results[1])  # our log has the reason, the network does not
    assert "no serial number" in caplog.text
    await client.close()
    await server.stop(0.1)


async def test_stopping_answers_what_was_asked():
    def stamp(request: bytes) -> bytes:
        import time

        time.sleep(0.02)
        return request

    server = StreamTimeServer(stamp, ThreadPoolExecutor(1))
    await server.start("127.0.0.1", 0)
    client = StreamTimeClient(f"tsp://127.0.0.1:{server.port}", LIMITS)
    asking = asyncio.gather(*(client.respond(b"%d" % n) for n in range(10)))
    await asyncio.sleep(0.05)
    await server.stop(2.0)
    assert await asyncio.wait_for(asking, 1) == [b"%d" % n for n in range(10)]
    with pytest.raises(Unreachable):
        await client.respond(b"after")
    await client.close()


# ---- others in our place ---------------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not shutil.which("openssl"), reason="needs openssl")
async def test_openssl_asks_over_the_stream_and_accepts_the_answer(authority, authorities, tmp_path):
    (tmp_path / "document").write_bytes(b"what is stamped")
    (tmp_path / "root.pem").write_bytes(authorities["intl-1"][1].pem)
    await _run("openssl", "ts", "-query", "-data", "document", "-sha256", "-cert", "-out", "query", cwd=tmp_path)
    query = (tmp_path / "query").read_bytes()
    reader, writer = await authority.connect()
    writer.write(struct.pack(">IB", len(query) + 1, 0) + query)
    flag, reply = await read_message(reader)
    assert flag == 5
    (tmp_path / "reply").write_bytes(reply)
    said = await _run("openssl", "ts", "-verify", "-in", "reply", "-queryfile", "query", "-CAfile", "root.pem", cwd=tmp_path)
    assert "Verification: OK" in said

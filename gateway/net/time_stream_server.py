"""A time-stamping port for lasting TCP connections (RFC 3161 §3.3), the other side of ``time_stream``.

What arrives together is signed in one hop to the signing thread. Every answer is there at once, so nothing is ever polled for: whatever is
no tsaMsg is answered with errorMsgRep in its place, and a length nobody may send ends the connection after that.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import Final, cast

from crypto.errors import Malformed
from gateway.net.time_stream import MAX_QUERY, Flag, MessageReader, Watch, message

log = logging.getLogger("yizhan.net")

BATCH: Final = 64  # requests signed in one hop: above it the hop is nothing and the wait of the first grows

_NOTHING_TO_POLL: Final = b"there is nothing to poll for: every answer comes at once"
_UNSTAMPED: Final = b"no time stamp now"


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamLimits:
    """What anyone may take of a time-stamping port."""

    connections: int = 256  # a file descriptor and 16 KiB each
    in_flight: int = 64  # requests of one connection being worked on; above it nothing more is read from it
    read_bytes: int = 16 * 1024  # taken from a socket at once
    message_seconds: float = 10.0  # a message, whole, from its first byte
    idle_seconds: float = 75.0  # from an answer to the next request; clients of ours hang up after 30
    drain_seconds: float = 10.0  # how long answers may wait for a peer that does not read them
    linger_seconds: float = 2.0  # how long we wait, after a refusal, for the peer to hear it

    @property
    def shortest(self) -> float:
        """The shortest of the waits."""
        return min(self.message_seconds, self.idle_seconds, self.drain_seconds, self.linger_seconds)


Stamp = Callable[[bytes], bytes]
_Asked = tuple["_Connection", bytes | None, bytes]  # who asked; the request, or None and the message that answers it


class StreamTimeServer:
    """A time-stamping port. ``stamp`` answers one request and runs in ``executor``, many requests in one hop, in the order they came."""

    def __init__(self, stamp: Stamp, executor: Executor, *, limits: StreamLimits | None = None) -> None:
        self.limits = limits or StreamLimits()
        self._connections: set[_Connection] = set()
        self._stopping = False
        self._empty = asyncio.Event()
        self._stamp = stamp
        self._executor = executor
        self._asked: deque[_Asked] = deque()
        self._working = False
        self._listening: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> None:
        """Listen. Raises OSError."""
        loop = asyncio.get_running_loop()
        self._listening = await loop.create_server(lambda: _Connection(self), host, port, backlog=256, reuse_address=True)

    @property
    def port(self) -> int:
        """The port in use, also when 0 was asked for."""
        if self._listening is None:
            raise AssertionError("internal: not started")
        return int(self._listening.sockets[0].getsockname()[1])

    async def stop(self, grace: float = 2.0) -> None:
        """Accept and read no more, answer what was asked within ``grace`` seconds, then cut."""
        self._stopping = True
        if self._listening is None:
            return
        self._listening.close()
        for connection in tuple(self._connections):
            connection.finish()
        if self._connections:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(grace):
                    await self._empty.wait()
        for connection in tuple(self._connections):
            connection.cut()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(2.0):
                await self._listening.wait_closed()

    def admit(self, connection: _Connection) -> bool:
        """Count a connection in, unless there are enough."""
        if self._stopping or len(self._connections) >= self.limits.connections:
            return False
        self._connections.add(connection)
        return True

    def dismiss(self, connection: _Connection) -> None:
        """Count a connection out; what it asked is not signed any more."""
        self._connections.discard(connection)
        if self._stopping and not self._connections:
            self._empty.set()

    def take(self, connection: _Connection, request: bytes | None, answer: bytes = b"") -> None:
        """Queue a request, or a message that is the answer already and must not overtake earlier ones."""
        self._asked.append((connection, request, answer))
        if not self._working:
            self._working = True
            asyncio.get_running_loop().call_soon(self._work)  # what arrives in this turn of the loop goes together

    def _work(self) -> None:
        batch: list[_Asked] = []
        while self._asked and len(batch) < BATCH:
            asked = self._asked.popleft()
            if asked[0] in self._connections:
                batch.append(asked)
        requests = [request for _, request, _ in batch if request is not None]
        if requests:
            work = asyncio.get_running_loop().run_in_executor(self._executor, self._stamp_all, requests)
            work.add_done_callback(partial(self._stamped, batch))
        else:
            self._answer(batch, [])

    def _stamp_all(self, requests: Sequence[bytes]) -> list[bytes]:
        return [self._stamp_one(request) for request in requests]

    def _stamp_one(self, request: bytes) -> bytes:
        try:
            return message(Flag.FINAL_MSG_REP, self._stamp(request))
        except Exception:
            log.exception("authority: a time stamp failed")
            return message(Flag.ERROR_MSG_REP, _UNSTAMPED)

    def _stamped(self, batch: list[_Asked], work: asyncio.Future[list[bytes]]) -> None:
        if not work.cancelled():
            self._answer(batch, work.result())

    def _answer(self, batch: list[_Asked], stamps: list[bytes]) -> None:
        answers: dict[_Connection, list[bytes]] = {}
        stamp = iter(stamps)
        for connection, request, answer in batch:
            answers.setdefault(connection, []).append(answer if request is None else next(stamp))
        for connection, messages in answers.items():
            connection.answer(messages)
        self._working = bool(self._asked)
        if self._working:
            asyncio.get_running_loop().call_soon(self._work)


class _Connection(asyncio.BufferedProtocol):
    """One accepted connection."""

    def __init__(self, server: StreamTimeServer) -> None:
        self._asked = 0  # requests read and not answered
        self._server = server
        self._limits = server.limits
        self._loop = asyncio.get_running_loop()
        self._reader = MessageReader(MAX_QUERY)
        self._buffer = bytearray(self._limits.read_bytes)
        self._watch = Watch(self._limits.shortest, self.cut)
        self._since = 0.0  # when the unfinished message began
        self._ended = False  # no more requests are taken: the peer ended, was refused, or we stop
        self._heard = False  # the peer has closed its side
        self._stuck = False  # the peer does not read its answers
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take it in, or hang up when there are enough."""
        self._transport = cast("asyncio.Transport", transport)
        if not self._server.admit(self):
            self._transport.abort()
            return
        self._watch.until(self._loop.time() + self._limits.idle_seconds)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # why does not matter
        """Give the place back."""
        self._server.dismiss(self)
        self._watch.stop()

    def get_buffer(self, sizehint: int) -> bytearray:  # noqa: ARG002  # asyncio's guess; we have our own
        """Where the next bytes go."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Bytes from the peer; after a refusal they are dropped."""
        if self._ended:
            return
        if not self._reader.unfinished:
            self._since = self._loop.time()
        self._reader.feed(bytes(memoryview(self._buffer)[:nbytes]))
        self._go_on()

    def eof_received(self) -> bool:
        """The peer has no more requests; it still hears its answers."""
        self._heard = True
        self.finish()
        return True

    def pause_writing(self) -> None:
        """The peer does not read."""
        self._stuck = True
        self._watch.until(self._loop.time() + self._limits.drain_seconds)
        self._settle()

    def resume_writing(self) -> None:
        """It does again."""
        self._stuck = False
        self._go_on()

    def answer(self, messages: list[bytes]) -> None:
        """Send the answers to the oldest requests and read on."""
        self._asked -= len(messages)
        self._since = self._loop.time()  # while it waited for us, nothing was late
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(b"".join(messages))
            self._go_on()

    def finish(self) -> None:
        """Take no more requests; close after the last answer."""
        self._ended = True
        self._settle()

    def cut(self) -> None:
        """Hang up now."""
        if self._transport is not None:
            self._transport.abort()

    def _go_on(self) -> None:
        """Take the requests there are, as many as may be in flight."""
        try:
            while not (self._ended or self._stuck) and self._asked < self._limits.in_flight and (found := self._reader.next()) is not None:
                self._since = self._loop.time()
                self._take(*found)
        except Malformed as error:
            self._asked += 1
            self._server.take(self, None, message(Flag.ERROR_MSG_REP, str(error).encode()))
            self._ended = True
        self._settle()

    def _take(self, flag: int, value: bytes) -> None:
        self._asked += 1
        if flag == Flag.TSA_MSG:
            self._server.take(self, value)
        elif flag == Flag.POLL_REQ:
            self._server.take(self, None, message(Flag.ERROR_MSG_REP, _NOTHING_TO_POLL))
        else:
            self._server.take(self, None, message(Flag.ERROR_MSG_REP, f"a message with flag {flag} is no request".encode()))

    def _settle(self) -> None:
        """Read or not, and how long to wait for the peer."""
        transport, limits, now = self._transport, self._limits, self._loop.time()
        if transport is None or transport.is_closing():
            return
        if self._stuck:
            transport.pause_reading()  # its deadline runs since it stopped reading
        elif self._asked:
            self._watch.until(None)  # it waits for us
            if self._ended or self._asked < limits.in_flight:
                transport.resume_reading()
            else:
                transport.pause_reading()
        elif self._ended:
            self._say_goodbye(transport)
        else:
            self._watch.until(self._since + limits.message_seconds if self._reader.unfinished else now + limits.idle_seconds)
            transport.resume_reading()

    def _say_goodbye(self, transport: asyncio.Transport) -> None:
        """Close our side and read until the peer closes its own: closing with bytes unread would take the last answers from it."""
        self._watch.until(self._loop.time() + self._limits.linger_seconds)
        if self._heard:
            transport.close()
        else:
            transport.resume_reading()
            transport.write_eof()

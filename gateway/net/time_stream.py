"""Time stamps over one lasting TCP connection (RFC 3161 §3.3): its messages, and the client. Requests are pipelined, answers come in order.

    length (32 bits, network order, counting flag and value), flag (8 bits), value

A request goes out as tsaMsg and comes back as finalMsgRep. We do not poll: an authority that asks us to counts as one that does not answer.

Measured against HTTP it spares most of what a stamp costs beside its signature (ADR 11). Nothing here believes anything: whoever asked
verifies the token, so the connection needs no TLS.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from enum import IntEnum
from typing import Final, cast
from urllib.parse import urlsplit

from crypto.errors import Malformed
from gateway.core.errors import Unreachable
from gateway.net.calling import CallLimits

SCHEME: Final = "tsp"
MAX_QUERY: Final = 4 * 1024  # a request has about 100 bytes
MAX_REPLY: Final = 64 * 1024  # a token with its certificates has 2 to 8 KiB
IN_FLIGHT: Final = 64  # requests of ours towards one authority; more wait here

_HEAD: Final = 4


class Flag(IntEnum):
    """What a message is (RFC 3161 §3.3)."""

    TSA_MSG = 0
    POLL_REP = 1
    POLL_REQ = 2
    NEG_POLL_REP = 3
    PARTIAL_MSG_REP = 4
    FINAL_MSG_REP = 5
    ERROR_MSG_REP = 6


def split_stream_url(url: str) -> tuple[str, int]:
    """Host and port of ``tsp://HOST:PORT``. Raises ValueError for anything else."""
    parts = urlsplit(url)
    if parts.scheme != SCHEME or not parts.hostname or not parts.port or parts.path or parts.query or parts.fragment or "@" in parts.netloc:
        raise ValueError(f"not {SCHEME}://HOST:PORT: {url!r}")
    return parts.hostname, parts.port


# ---- messages --------------------------------------------------------------------------------------------------------------------


def message(flag: Flag, value: bytes) -> bytes:
    """One message as it goes over the wire."""
    return (1 + len(value)).to_bytes(_HEAD) + bytes((flag,)) + value


class MessageReader:
    """Finds the messages in what arrives; holds no more than what one read brought and one unfinished message."""

    __slots__ = ("_ceiling", "_data", "_place")

    def __init__(self, ceiling: int) -> None:
        self._ceiling = ceiling
        self._data = b""
        self._place = 0

    @property
    def unfinished(self) -> bool:
        """Whether there are bytes that ``next`` has not given out."""
        return self._place < len(self._data)

    def feed(self, data: bytes) -> None:
        """Take in what arrived."""
        self._data = self._data[self._place :] + data if self.unfinished else data
        self._place = 0

    def next(self) -> tuple[int, bytes] | None:
        """Flag and value of the next complete message. Raises Malformed when its length is none we take: there is no way on."""
        begin = self._place + _HEAD
        if begin > len(self._data):
            return None
        length = int.from_bytes(self._data[self._place : begin])
        if not 1 <= length <= 1 + self._ceiling:
            raise Malformed(f"a message of {length} bytes where 1 to {1 + self._ceiling} are allowed")
        end = begin + length
        if end > len(self._data):
            return None
        self._place = end
        return self._data[begin], self._data[begin + 1 : end]


class Watch:
    """A deadline that moves with every message: moving it costs an assignment, not a timer.

    The timer looks at least every ``period``, which is the shortest wait it is used for; so it never has to be set anew to be earlier.
    """

    __slots__ = ("_expired", "_handle", "_loop", "_period", "_when")

    def __init__(self, period: float, expired: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._period = period
        self._expired = expired
        self._when: float | None = None
        self._handle: asyncio.TimerHandle | None = None

    def until(self, when: float | None) -> None:
        """Expire at that time of the loop; None: not at all."""
        self._when = when
        if self._handle is None and when is not None:
            self._set(when)

    def stop(self) -> None:
        """Never expire."""
        self._when = None
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _set(self, when: float) -> None:
        self._handle = self._loop.call_at(min(when, self._loop.time() + self._period), self._look)

    def _look(self) -> None:
        self._handle = None
        if self._when is None:
            return
        if self._loop.time() >= self._when:
            self._expired()
        else:
            self._set(self._when)


# ---- the client ------------------------------------------------------------------------------------------------------------------


class StreamTimeClient:
    """One authority at ``tsp://HOST:PORT``. Connects when first asked, and again when asked after the connection has ended."""

    def __init__(self, url: str, limits: CallLimits) -> None:
        self._host, self._port = split_stream_url(url)
        self._url = url
        self._limits = limits
        self._room = asyncio.Semaphore(IN_FLIGHT)
        self._line: _Line | None = None
        self._connecting: asyncio.Task[_Line] | None = None

    async def respond(self, request: bytes) -> bytes:
        """The answer to this RFC 3161 request. Raises Unreachable; a request without an answer in time takes its connection with it."""
        async with self._room:
            line = self._line
            if line is None or not line.open:
                line = await self._connected()
            return await line.ask(request)

    async def close(self) -> None:
        """Hang up; whoever still waits is told Unreachable."""
        if self._connecting is not None:
            self._connecting.cancel()
            with contextlib.suppress(asyncio.CancelledError, Unreachable):
                await self._connecting
            self._connecting = None
        if self._line is not None:
            self._line.end("closed")
            self._line = None
            await asyncio.sleep(0)  # the socket is closed in the next turn of the loop

    async def _connected(self) -> _Line:
        """A new connection; all who need one wait for the same."""
        if self._connecting is None:
            self._connecting = asyncio.create_task(self._connect(), name=f"connect {self._url}")
            self._connecting.add_done_callback(self._has_connected)
        return await asyncio.shield(self._connecting)

    async def _connect(self) -> _Line:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._limits.connect_seconds):
                _, line = await loop.create_connection(lambda: _Line(self._url, self._limits), self._host, self._port)
        except OSError as error:  # TimeoutError is one
            reason = str(error) or type(error).__name__
            raise Unreachable(f"{self._url}: {reason}", place=self._url, reason=reason) from error
        self._line = line
        return line

    def _has_connected(self, task: asyncio.Task[_Line]) -> None:
        self._connecting = None
        if not task.cancelled():
            task.exception()  # whoever waited has it; when all of them left, nobody has to hear it


class _Line(asyncio.BufferedProtocol):
    """One connection of ours: requests out, answers back in the same order."""

    def __init__(self, url: str, limits: CallLimits) -> None:
        self.open = False
        self._url = url
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self._watch = Watch(min(limits.answer_seconds, limits.keep_seconds), self._late)
        self._reader = MessageReader(MAX_REPLY)
        self._buffer = bytearray(MAX_REPLY)
        self._waiting: deque[tuple[float, asyncio.Future[bytes]]] = deque()  # asked and not answered, with the time we give up
        self._unsent: list[bytes] = []
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ready to ask."""
        self._transport = cast("asyncio.Transport", transport)
        self.open = True
        self._watch.until(self._loop.time() + self._limits.keep_seconds)

    async def ask(self, request: bytes) -> bytes:
        """Send a request with all others of this turn of the loop and wait for its answer. Raises Unreachable."""
        if not self.open:
            raise self._unreachable("the connection has ended")
        if not self._unsent:
            self._loop.call_soon(self._send)
        self._unsent.append(message(Flag.TSA_MSG, request))
        answer: asyncio.Future[bytes] = self._loop.create_future()
        deadline = self._loop.time() + self._limits.answer_seconds
        self._waiting.append((deadline, answer))
        if len(self._waiting) == 1:
            self._watch.until(deadline)
        return await answer

    def end(self, reason: str) -> None:
        """Hang up and tell everyone who waits."""
        self.open = False
        self._watch.stop()
        if self._transport is not None:
            self._transport.abort()
        while self._waiting:
            answer = self._waiting.popleft()[1]
            if not answer.done():
                answer.set_exception(self._unreachable(reason))

    def get_buffer(self, sizehint: int) -> bytearray:  # noqa: ARG002  # asyncio's guess; we have our own
        """Where the next bytes go."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Hand every answer to whoever waits for it."""
        self._reader.feed(bytes(memoryview(self._buffer)[:nbytes]))
        try:
            while self.open and (found := self._reader.next()) is not None:
                self._take(*found)
        except Malformed as error:
            self.end(str(error))
        if self.open:
            self._watch.until(self._waiting[0][0] if self._waiting else self._loop.time() + self._limits.keep_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        """The authority has hung up."""
        self.end(str(exc) if exc else "the connection was closed")

    def _take(self, flag: int, value: bytes) -> None:
        if not self._waiting:
            self.end("an answer nobody asked for")
            return
        answer = self._waiting.popleft()[1]
        if answer.done():  # whoever asked has left
            return
        if flag == Flag.FINAL_MSG_REP:
            answer.set_result(value)
        elif flag == Flag.ERROR_MSG_REP:
            answer.set_exception(self._unreachable(f"error: {value[:200].decode('utf-8', 'replace')!r}"))
        else:
            answer.set_exception(self._unreachable(f"an answer with flag {flag} where finalMsgRep is due"))

    def _send(self) -> None:
        data = b"".join(self._unsent)
        self._unsent.clear()
        if self.open and self._transport is not None:
            self._transport.write(data)

    def _late(self) -> None:
        self.end(f"no answer within {self._limits.answer_seconds:g} s" if self._waiting else "idle")

    def _unreachable(self, reason: str) -> Unreachable:
        return Unreachable(f"{self._url}: {reason}", place=self._url, reason=reason)

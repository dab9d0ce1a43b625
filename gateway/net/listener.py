"""A bounded HTTP/1.1 listener on aiohttp's low-level server, shared by the peer, ops and authority ports.

Knows connections, limits and stopping; knows no route. Every ceiling stands in ``ListenLimits`` with its reason.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from time import monotonic

from aiohttp import web

from crypto.errors import Unverified
from gateway.core.errors import ProblemError
from gateway.net.door import BACKLOG, Door
from gateway.net.limits import STRANGER, Doorkeeper, DoorLimits, Notices
from gateway.net.problems import Problem, is_defect, problem, problem_of
from gateway.net.tls import PeerCertificate, peer_certificate

log = logging.getLogger("yizhan.net")

PIECE = 256 * 1024  # upload bytes handed on together: fewer hops to the disk thread, and still little memory an upload


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenLimits:
    """What strangers and peers may take of us."""

    connections: int = 512  # all together; a file descriptor and about 100 KiB each
    connections_per_peer: int = 32  # twice what one sender of ours opens
    connections_of_strangers: int = 16  # whose certificate stands under a root and in no directory: each hears one word and is hung up on
    in_flight_per_peer: int = 64  # requests being worked on; above it: too-many
    line_bytes: int = 1024  # request line; our longest has 120 characters
    field_bytes: int = 4096  # one header field
    fields: int = 40  # header fields
    handshake_seconds: float = 10.0  # TLS handshake, counted from the accept
    head_seconds: float = 10.0  # from the connection to its first complete request head
    idle_seconds: float = 75.0  # from an answer to the next complete head; senders of ours hang up after 30
    body_grace_seconds: float = 10.0  # a body may be late by this much …
    body_bytes_per_second: int = 16 * 1024  # … and must come at this rate on the whole: a slow line passes, a trickle does not
    silence_seconds: float = (
        60.0  # the longest wait for one more byte of a body: a line that died without a word is let go, however much it brought
    )
    read_ahead: int = 256 * 1024  # bytes of a body buffered before the socket is paused
    linger_seconds: float = 2.0  # how long the rest of a refused body is read so that the answer can be heard
    door: DoorLimits = field(default_factory=DoorLimits)


Handle = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class Connection(web.RequestHandler):
    """One accepted connection: counted, with a deadline for its first head, and with the identity its certificate proved."""

    __slots__ = ("_head_timer", "_listener", "counted", "counted_as", "peer")

    def __init__(self, listener: Listener, server: web.Server, limits: ListenLimits) -> None:
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            keepalive_timeout=limits.idle_seconds,
            logger=log,
            access_log=None,  # type: ignore[arg-type]  # None switches it off
            max_line_size=limits.line_bytes,
            max_field_size=limits.field_bytes,
            max_headers=limits.fields,
            lingering_time=limits.linger_seconds,
            read_bufsize=limits.read_ahead,
            auto_decompress=False,  # no bombs: a body is what came
        )
        self._listener = listener
        self._head_timer: asyncio.TimerHandle | None = None
        self.peer: PeerCertificate | None = None
        self.counted = False
        self.counted_as = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """After the TLS handshake: take the connection in, or hang up when there are enough."""
        socket = transport.get_extra_info("ssl_object")
        if socket is not None:
            with contextlib.suppress(Unverified):  # a stranger: answered one word, request by request
                self.peer = peer_certificate(socket.getpeercert(binary_form=True) or b"")
        address = transport.get_extra_info("peername")
        if not self._listener.admit(self, address[0] if address else ""):
            transport.abort()  # type: ignore[attr-defined]
            return
        super().connection_made(transport)
        self._head_timer = self._loop.call_later(self._listener.limits.head_seconds, self._head_is_late)

    def data_received(self, data: bytes) -> None:
        """Bytes from the peer; the first complete head ends the wait for it. Who pipelines is answered once and hung up on."""
        super().data_received(data)
        if len(self._messages) > 1:
            while len(self._messages) > 1:
                self._messages.pop()
            self.close()
        if self._head_timer is not None and self._request_count:
            self._head_timer.cancel()
            self._head_timer = None

    def connection_lost(self, exc: BaseException | None) -> None:
        """Give the place back."""
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
        self._listener.dismiss(self)
        super().connection_lost(exc)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002  # aiohttp's words about the request may quote it
    ) -> web.StreamResponse:
        """What aiohttp itself found wrong with a request, in our shape. The connection closes."""
        if request.writer.output_size > 0:
            raise ConnectionError("answered already")
        if status == HTTPStatus.INTERNAL_SERVER_ERROR:
            log.error("request failed", exc_info=exc)
        response = answer_problem(problem("internal" if status >= 500 else "malformed"))
        response.force_close()
        return response

    def _head_is_late(self) -> None:
        self._head_timer = None
        if self.transport is not None:
            self.transport.abort()


class Listener:
    """A listening port. ``start``, then ``stop`` once."""

    def __init__(
        self,
        handle: Handle,
        *,
        name: str,
        limits: ListenLimits | None = None,
        tls: ssl.SSLContext | None = None,
        listed: Callable[[PeerCertificate], bool] = lambda _: True,
        held_back: Callable[[str, str], None] = lambda limit, peer: None,  # noqa: ARG005
    ) -> None:
        self.name = name
        self.limits = limits or ListenLimits()
        self.stopping = asyncio.Event()
        self.uploads: set[Body] = set()  # bodies that may be ended early
        self.notices = Notices()
        self._handle = handle
        self._tls = tls
        self._listed = listed
        self._held_back = held_back
        self._web: web.Server | None = None
        self._listening: asyncio.Server | None = None
        self._door: Door | None = None
        self._keeper = Doorkeeper(self.limits.door)
        self._connections = 0
        self._by_peer: Counter[str] = Counter()
        self._empty = asyncio.Event()

    async def start(self, host: str, port: int) -> None:
        """Listen. Raises OSError when the port cannot be had."""
        server = web.Server(self._handle, handler_cancellation=False)  # a peer that hangs up must not split a step of the flow
        self._web = server

        def connection() -> Connection:
            return Connection(self, server, self.limits)

        if self._tls is None:
            self._listening = await asyncio.get_running_loop().create_server(connection, host, port, backlog=BACKLOG, reuse_address=True)
            return
        self._door = Door(
            connection,
            self._tls,
            self._keeper,
            handshake_seconds=self.limits.handshake_seconds,
            turned_away=lambda limit: self.held_back(limit, STRANGER),
        )
        await self._door.open(host, port)

    @property
    def port(self) -> int:
        """The port in use, also when 0 was asked for."""
        if self._door is not None:
            return self._door.port
        if self._listening is None:
            raise AssertionError("internal: not started")
        return int(self._listening.sockets[0].getsockname()[1])

    @property
    def connections(self) -> int:
        """Open connections."""
        return self._connections

    async def stop(self, grace: float) -> None:
        """Accept no more, close what idles, let requests in flight end within ``grace`` seconds, then cut."""
        self.stopping.set()
        if self._web is None:
            return
        for way_in in (self._listening, self._door):
            if way_in is not None:
                way_in.close()
        self._web.pre_shutdown()
        shutting = asyncio.create_task(self._web.shutdown(grace), name=f"stop {self.name}")
        await asyncio.sleep(0.01)  # every connection is marked as closing before uploads end, so none waits for the rest of its body
        for body in tuple(self.uploads):
            body.end()
        await shutting
        if self._connections:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(2.0):  # TLS goodbyes
                    await self._empty.wait()

    def held_back(self, limit: str, peer: str) -> None:
        """A limit met a peer (or a stranger): counted, and told once a minute."""
        self._held_back(limit, peer)
        self.notices.note(peer, limit, monotonic())

    def admit(self, connection: Connection, address: str) -> bool:
        """Count a connection in, unless there are enough of all or of this peer's.

        A certificate the directory does not list counts among the strangers' whatever it says: or it could use up the connections of
        the gateway it names.
        """
        listed = self._tls is None or (connection.peer is not None and self._listed(connection.peer))
        peer = connection.peer.gateway if connection.peer is not None and listed else STRANGER
        most = self.limits.connections if self._tls is None else self.limits.connections_per_peer
        if not listed:
            most = self.limits.connections_of_strangers
        if self.stopping.is_set():
            return False
        if self._connections >= self.limits.connections or self._by_peer[peer] >= most:
            self.held_back("connections", peer)
            return False
        if self._tls is not None and listed:
            self._keeper.seen(address)
        self._connections += 1
        self._empty.clear()
        self._by_peer[peer] += 1
        connection.counted, connection.counted_as = True, peer
        return True

    def dismiss(self, connection: Connection) -> None:
        """Count a connection out."""
        if not connection.counted:
            return
        connection.counted = False
        peer = connection.counted_as
        self._connections -= 1
        self._by_peer[peer] -= 1
        if not self._by_peer[peer]:
            del self._by_peer[peer]
        if not self._connections:
            self._empty.set()


def answer(status: int, body: bytes = b"", content_type: str = "", headers: dict[str, str] | None = None) -> web.Response:
    """An answer that says nothing about our software and may be stored by nobody."""
    fields = {"Server": "yizhan", "Cache-Control": "no-store"}
    if content_type:
        fields["Content-Type"] = content_type
    if headers:
        fields.update(headers)
    return web.Response(status=status, body=body, headers=fields)


def answer_problem(stated: Problem) -> web.Response:
    """A problem document as an answer."""
    return answer(stated.status, stated.to_bytes(), headers=stated.headers())


def problem_from(error: Exception, *, where: str, peer: str, speak: bool = True) -> Problem:
    """What is answered for an error; the reason goes into our log (unless ``speak`` is false), with a traceback when it is our defect."""
    stated = problem_of(error)
    if is_defect(error):
        log.error("%s: %s: %s", where, peer or "stranger", error, exc_info=error)
    elif speak:
        log.info("%s: %s: %s: %s", where, peer or "stranger", stated.word, error)
    return stated


async def read_body(request: web.BaseRequest, ceiling: int, limits: ListenLimits) -> bytes:
    """The whole body, bounded in size and time. Raises ProblemError (malformed, too-large, too-slow)."""
    length = body_length(request, ceiling)
    if not length:
        return b""
    content = request.content
    if content.total_bytes == length:  # it came together with the head: nothing to wait for
        return content.read_nowait(-1)
    body = Body(request, limits)
    collected = bytearray()
    async for piece in body.pieces():
        collected += piece
    if body.late:
        raise ProblemError("too-slow", body.pace(), retryable=True)
    if len(collected) != length:
        raise ProblemError("malformed", "a body shorter than it states", retryable=True)
    return bytes(collected)


def body_length(request: web.BaseRequest, ceiling: int) -> int:
    """The length a body states, which it must. Raises ProblemError (malformed, too-large)."""
    headers = request.headers
    if "Transfer-Encoding" in headers or "Content-Encoding" in headers:
        raise ProblemError("malformed", "a body with a transfer or content encoding", retryable=False)
    length = request.content_length
    if length is None:
        raise ProblemError("malformed", "a body without Content-Length", retryable=False)
    if length > ceiling:
        raise ProblemError("too-large", f"a body of {length} bytes where {ceiling} are allowed", retryable=False)
    return length


class Body:
    """A body coming in, in pieces and at no less than the lowest rate.

    The pieces end early, without an error, when the peer hangs up, falls behind (``late``) or ``end`` is called: what came is worth keeping.
    """

    def __init__(self, request: web.BaseRequest, limits: ListenLimits) -> None:
        self.late = False
        self._content = request.content
        self._limits = limits
        self._received = 0
        self._waited = 0.0  # seconds spent waiting for the peer; time our own disk takes is not held against it

    def pace(self) -> str:
        """How it came, for the log."""
        return f"{self._received} bytes in {self._waited:.1f} s"

    def end(self) -> None:
        """Wake whoever waits for the next piece: there is none."""
        self._content.set_exception(ConnectionAbortedError("stopping"))

    async def pieces(self) -> AsyncIterator[bytes]:
        """Runs of about ``PIECE`` bytes."""
        gathered: list[bytes] = []
        size = 0
        while chunk := await self._chunk():
            gathered.append(chunk)
            size += len(chunk)
            if size >= PIECE:
                yield gathered[0] if len(gathered) == 1 else b"".join(gathered)
                gathered, size = [], 0
        if gathered:
            yield b"".join(gathered)

    async def _chunk(self) -> bytes:
        if self._content.at_eof():
            return b""
        loop = asyncio.get_running_loop()
        started = loop.time()
        allowed = self._limits.body_grace_seconds + self._received / self._limits.body_bytes_per_second - self._waited
        try:
            async with asyncio.timeout(max(min(allowed, self._limits.silence_seconds), 0.0)):
                chunk = await self._content.readany()
        except TimeoutError:
            self.late = True
            return b""
        except (ConnectionError, web.RequestPayloadError):
            return b""
        finally:
            self._waited += loop.time() - started
        self._received += len(chunk)
        return chunk

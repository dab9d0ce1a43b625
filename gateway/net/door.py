"""The door of a TLS port: connections are accepted here, and a handshake begins only when the limits allow it.

asyncio's own server computes a handshake for whoever connects. Here the address is asked first (``limits.Doorkeeper``), so that a stranger
cannot burn the processor: who is turned away costs one accept and one close.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
import ssl
import struct
from collections.abc import Callable
from time import monotonic

from gateway.net.limits import Doorkeeper, Turns, neighbourhood

log = logging.getLogger("yizhan.net")

BACKLOG = 256  # connections the kernel keeps for us while the loop is busy
ACCEPT_AT_ONCE = 4  # then others get their turn of the loop: each accept and close may wait for the interpreter's lock
REST_SECONDS = 0.5  # without descriptors or memory for another connection: accepting rests, what is open goes on
GOODBYE_SECONDS = 2.0  # for the TLS goodbye
_OUT_OF = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_AT_ONCE = struct.pack("ii", 1, 0)  # SO_LINGER: reset, so that those turned away leave nothing behind in the kernel


class Door:
    """Listens, asks the doorkeeper, shakes hands, and hands the connection to ``protocol``. ``open``, then ``close`` once."""

    def __init__(
        self,
        protocol: Callable[[], asyncio.Protocol],
        tls: ssl.SSLContext,
        keeper: Doorkeeper,
        *,
        handshake_seconds: float,
        turned_away: Callable[[str], None],
    ) -> None:
        self._protocol = protocol
        self._tls = tls
        self._keeper = keeper
        self._handshake_seconds = handshake_seconds
        self._turned_away = turned_away
        self._sockets: list[socket.socket] = []
        self._shaking: set[asyncio.Task[None]] = set()
        self._turns = Turns()
        self._closed = False
        self._resting: list[asyncio.TimerHandle] = []

    async def open(self, host: str, port: int) -> None:
        """Listen on every address of ``host``. Raises OSError."""
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        try:
            for family, kind, protocol, _, address in dict.fromkeys(found):
                listening = socket.socket(family, kind, protocol)
                self._sockets.append(listening)
                listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                listening.settimeout(0)
                listening.bind(address)
                listening.listen(BACKLOG)
        except OSError:
            self.close()
            raise
        for listening in self._sockets:
            loop.add_reader(listening, self._accept, listening)

    @property
    def port(self) -> int:
        """The port in use, also when 0 was asked for."""
        return int(self._sockets[0].getsockname()[1])

    def close(self) -> None:
        """Accept no more and leave handshakes in progress. Harmless twice."""
        self._closed = True
        loop = asyncio.get_running_loop()
        for handle in self._resting:
            handle.cancel()
        for listening in self._sockets:
            loop.remove_reader(listening)
            listening.close()
        self._sockets.clear()
        for task in self._shaking:
            loop.call_soon(task.cancel)  # after its first step, with which the socket has an owner that closes it

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(ACCEPT_AT_ONCE):
            try:
                connection, address = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in _OUT_OF:
                    raise
                self._rest(listening, error)
                return
            self._receive(connection, str(address[0]))

    def _receive(self, connection: socket.socket, address: str) -> None:
        forbidden = self._keeper.enter(address, monotonic())
        if forbidden:
            with contextlib.suppress(OSError):
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
            connection.close()
            self._turned_away(forbidden)
            return
        connection.settimeout(0)
        task = asyncio.get_running_loop().create_task(self._shake(connection, address), name="handshake")
        self._shaking.add(task)
        task.add_done_callback(self._shaking.discard)

    async def _shake(self, connection: socket.socket, address: str) -> None:
        place = neighbourhood(address)
        try:
            await self._turns.begin(place, self._keeper.computed_at_once(address))
        except asyncio.CancelledError:
            connection.close()
            self._keeper.left(address)
            raise
        try:
            await self._pause(connection, address)
            if self._closed:  # a handshake cancelled before its transport began would leave the socket to nobody
                connection.close()
                return
            with contextlib.suppress(OSError):  # ssl.SSLError is one: no handshake, no connection, and nobody to tell
                await asyncio.get_running_loop().connect_accepted_socket(
                    self._protocol,
                    connection,
                    ssl=self._tls,
                    ssl_handshake_timeout=self._handshake_seconds,
                    ssl_shutdown_timeout=GOODBYE_SECONDS,
                )
        finally:
            self._turns.end(place, self._keeper.computed_at_once(address))
            self._keeper.left(address)

    async def _pause(self, connection: socket.socket, address: str) -> None:
        """One handshake after another: each holds the loop up."""
        seconds = self._keeper.pause(address, monotonic())
        if seconds > 0:
            try:
                await asyncio.sleep(seconds)
            except asyncio.CancelledError:
                connection.close()
                raise

    def _rest(self, listening: socket.socket, error: OSError) -> None:
        """Out of descriptors: trying again at once would only spin."""
        loop = asyncio.get_running_loop()
        log.error("cannot accept connections for a moment: %s", error.strerror)
        loop.remove_reader(listening)
        self._resting = [handle for handle in self._resting if not handle.cancelled() and handle.when() > loop.time()]
        self._resting.append(loop.call_later(REST_SECONDS, loop.add_reader, listening, self._accept, listening))

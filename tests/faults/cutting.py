"""A line between two gateways that counts what it carries, breaks at chosen bytes, and tells when a byte has passed."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable

PIECE = 64 * 1024  # small, and so are the buffers: what a broken line swallows is lost, as on a real one
_AT_ONCE = struct.pack("ii", 1, 0)  # SO_LINGER: close with a reset, dropping what is under way


class CuttingLine:
    """Listens on ``listen`` and carries every connection to ``to``.

    ``breaks`` maps a count of bytes carried towards ``to`` to what happens there (beside every connection being reset): called in the
    thread that carried that byte, with nothing carried meanwhile.
    """

    def __init__(self, listen: tuple[str, int], to: tuple[str, int], breaks: dict[int, Callable[[], None]]) -> None:
        self.carried = 0
        self._to = to
        self._breaks = sorted(breaks.items())
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._listening = socket.create_server(listen, backlog=64)
        self._start(self._accept)

    @property
    def left(self) -> int:
        """Breaks still to come."""
        return len(self._breaks)

    def close(self) -> None:
        """Cut everything; returns when no thread is left."""
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._reset()
        for thread in self._threads:
            thread.join()

    def _start(self, act: Callable[..., None], *arguments: socket.socket) -> None:
        thread = threading.Thread(target=act, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listening.accept()
            except OSError:
                return
            far = socket.socket()
            for side in (near, far):
                side.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, PIECE)
                side.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, PIECE)
                side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
            try:
                far.connect(self._to)
            except OSError:
                near.close()
                far.close()
                continue
            with self._lock:
                self._open |= {near, far}
            self._start(self._there, near, far)
            self._start(self._back, far, near)

    def _there(self, near: socket.socket, far: socket.socket) -> None:
        buffer = memoryview(bytearray(PIECE))
        with contextlib.suppress(OSError):
            while count := near.recv_into(buffer):
                self._carry(buffer[:count], far)
        self._hang_up(near, far)

    def _back(self, far: socket.socket, near: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := far.recv(PIECE):
                near.sendall(data)
        self._hang_up(near, far)

    def _carry(self, data: memoryview, far: socket.socket) -> None:
        with self._lock:  # one byte after the other, whatever connection it belongs to
            happens = None
            if self._breaks and self.carried + len(data) >= self._breaks[0][0]:
                point, happens = self._breaks.pop(0)
                data = data[: max(0, point - self.carried)]
            far.sendall(data)
            self.carried += len(data)
            if happens is not None:
                happens()
        if happens is not None:
            self._reset()

    def _reset(self) -> None:
        with self._lock:
            torn, self._open = self._open, set()
        for side in torn:
            with contextlib.suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)  # wakes whoever reads; the reset follows when the descriptor closes
            side.close()

    def _hang_up(self, *sides: socket.socket) -> None:
        with self._lock:
            self._open -= set(sides)
        for side in sides:
            with contextlib.suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)
            side.close()

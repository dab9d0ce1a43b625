"""The operator's way into a running gateway: a socket in the home that only its owner and root can open (docs/adr, control socket).

One connection, one request line, one answer line. The kernel says who calls (SO_PEERCRED, and the login account that survives sudo); what
the caller says about itself is not asked. Nothing is kept: an act that was answered is durable, one that was not may be asked again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import pwd
import socket
import stat
import struct
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Literal

import msgspec

from crypto.errors import YizhanError
from gateway.core.errors import BadInput
from gateway.core.explain import Reason, explain, explain_error
from gateway.flow.queue import ActName, Operator, Outcome, Request
from gateway.flow.trouble import reason_of

log = logging.getLogger("yizhan.control")

SOCKET_NAME = "control"
MAX_REQUEST = 4096  # an id, an organisation and a word
MAX_CALLS = 8  # at once; operators are few
READ_SECONDS = 5.0  # a caller that says nothing holds its place no longer
NO_LOGIN = 2**32 - 1  # what the kernel shows where nobody logged in

Act = Callable[[Request, Operator], Awaitable[Outcome]]


class Asked(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The request line."""

    v: Literal["yizhan-control/1"]
    act: ActName
    item: str
    to: str = ""


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """The answer line: an outcome, or the reasons why there is none."""

    v: Literal["yizhan-control/1"] = "yizhan-control/1"
    outcome: Outcome | None = None
    reasons: tuple[Reason, ...] = ()


class ControlServer:
    """Listens in ``folder``. The caller holds the home's lock: a socket found there is a dead process's."""

    def __init__(self, folder: Path, act: Act) -> None:
        self._folder = folder
        self._act = act
        self._server: asyncio.Server | None = None
        self._calls = 0

    async def start(self) -> None:
        """Listen. Raises OSError."""
        with contextlib.suppress(FileNotFoundError):
            (self._folder / SOCKET_NAME).unlink()
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        before = os.umask(0o177)  # the socket is never there with wider rights, not even for a moment
        try:
            with short_name(self._folder) as name:
                listening.bind(name)
        finally:
            os.umask(before)
        self._server = await asyncio.start_unix_server(self._call, sock=listening, limit=MAX_REQUEST)

    async def stop(self) -> None:
        """Hang up; the next start finds no socket."""
        if self._server is not None:
            self._server.close()
            self._server = None
        with contextlib.suppress(FileNotFoundError):
            (self._folder / SOCKET_NAME).unlink()

    async def _call(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._calls += 1
        try:
            if self._calls <= MAX_CALLS:
                writer.write(msgspec.json.encode(await self._answer(reader, writer)) + b"\n")
                await writer.drain()
        except (OSError, TimeoutError, ValueError) as error:  # gone, silent, or longer than a request can be
            log.warning("a call on the control socket came to nothing: %s", error)
        finally:
            self._calls -= 1
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Told:
        account = _caller(writer.get_extra_info("socket"))
        line = await asyncio.wait_for(reader.readline(), READ_SECONDS)  # read in any case: who still writes would not hear the answer
        if account is None:
            return Told(reasons=(explain("queue/not-yours"),))
        try:
            asked = msgspec.json.decode(line, type=Asked)
        except msgspec.MsgspecError as error:
            return Told(reasons=(explain_error(BadInput(str(error))),))
        try:
            operator = Operator(account=account, proof="local-socket")
            return Told(outcome=await self._act(Request(act=asked.act, item=asked.item, to=asked.to), operator))
        except Exception as error:  # noqa: BLE001  # the outermost point of a call
            return Told(reasons=reasons_of(error))


def reasons_of(error: Exception) -> tuple[Reason, ...]:
    """Why an act did not take place; a defect is told as one and logged whole."""
    if isinstance(error, BadInput) and "reasons" in error.facts:
        return tuple(error.facts["reasons"])
    if not isinstance(error, YizhanError):
        log.error("an operator's act failed unexpectedly", exc_info=error)
    return (reason_of(error),)


def _caller(connection: socket.socket) -> str | None:
    """The account at the other end, by the kernel's word; None for one that may not call."""
    pid, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    if uid not in (0, os.geteuid()):
        return None
    return account_of(uid, Path(f"/proc/{pid}/loginuid"))


def account_of(uid: int, login: Path) -> str:
    """The name of whoever logged in, where the kernel kept that (it survives sudo and su), else of the account the process runs under."""
    with contextlib.suppress(OSError, ValueError):
        logged_in = int(login.read_text())
        uid = uid if logged_in == NO_LOGIN else logged_in
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid-{uid}"


@contextlib.contextmanager
def short_name(folder: Path) -> Iterator[str]:
    """A name of the socket that fits: the kernel takes 107 bytes, and a home may lie deeper than that."""
    descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}/{SOCKET_NAME}"
    finally:
        os.close(descriptor)


def is_there(folder: Path) -> bool:
    """Whether somebody listens or did when they died."""
    try:
        return stat.S_ISSOCK((folder / SOCKET_NAME).stat().st_mode)
    except FileNotFoundError:
        return False


def call(folder: Path, request: Request, *, timeout: float) -> Told | None:
    """Ask the gateway that serves this home; None where none listens. Blocking. Raises OSError."""
    if not is_there(folder):
        return None
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout)
        try:
            with short_name(folder) as name:
                connection.connect(name)
        except ConnectionRefusedError:
            return None  # what a killed process left
        asked = Asked(v="yizhan-control/1", act=request.act, item=request.item, to=request.to)
        connection.sendall(msgspec.json.encode(asked) + b"\n")
        answer = b""
        while not answer.endswith(b"\n") and (piece := connection.recv(65536)):
            answer += piece
    if not answer:
        raise ConnectionError("it hung up without an answer")
    return msgspec.json.decode(answer, type=Told)

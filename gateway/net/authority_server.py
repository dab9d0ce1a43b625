"""The pilot authority's two ports: time stamps, the published directory, revocation lists. Registration is no business of the network.

    POST /tsa/<suite>                 RFC 3161 §3.4
    GET  /directory/head.json, /directory/head.p7s, /directory/entries/<digest>
    GET  /crl/<suite>.crl, /roots/<suite>.pem

The second port gives time stamps of every suite over lasting connections (RFC 3161 §3.3); both sign in the same thread.

``public`` is the folder the authority publishes into (``gateway.pilot``); nothing outside these names is ever opened.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from aiohttp import web

from crypto.tsa import TimeAuthorities, TimeAuthority
from gateway.core.errors import ProblemError
from gateway.flow.ports import Clock
from gateway.net.directory_client import MAX_CRL
from gateway.net.listener import Listener, ListenLimits, answer, answer_problem, problem_from, read_body
from gateway.net.time_client import QUERY_TYPE, REPLY_TYPE
from gateway.net.time_stream import MAX_QUERY
from gateway.net.time_stream_server import StreamLimits, StreamTimeServer

AUTHORITY_LIMITS = ListenLimits(connections=256)

_PUBLISHED: tuple[tuple[re.Pattern[str], str, str], ...] = (
    (re.compile(r"/directory/(head\.json)"), r"directory/\1", "application/json"),
    (re.compile(r"/directory/(head\.p7s)"), r"directory/\1", "application/pkcs7-signature"),
    (re.compile(r"/directory/entries/(sm3|sha256):([0-9a-f]{64})"), r"directory/entries/\1-\2.json", "application/json"),
    (re.compile(r"/crl/([a-z0-9][a-z0-9-]{0,31})\.crl"), r"crl/\1.crl", "application/pkix-crl"),
    (re.compile(r"/roots/([a-z0-9][a-z0-9-]{0,31})\.pem"), r"roots/\1.pem", "application/pem-certificate-chain"),
)


class AuthorityServer:
    """Serves one pilot authority. ``next_serial`` gives a serial never given before, durable on return; called in the signing thread."""

    def __init__(
        self,
        public: Path,
        time_authorities: Mapping[str, TimeAuthority],
        next_serial: Callable[[], int],
        clock: Clock,
        *,
        limits: ListenLimits = AUTHORITY_LIMITS,
        stream_limits: StreamLimits | None = None,
    ) -> None:
        self._public = public
        self._authorities = time_authorities
        self._next_serial = next_serial
        self._clock = clock
        self._listener = Listener(self._handle, name="authority", limits=limits)
        self._signing = ThreadPoolExecutor(1, "time-stamps")  # one thread: serials come in the order of their times
        self._disk = ThreadPoolExecutor(2, "published")
        self._of_all_suites = TimeAuthorities(tuple(time_authorities.values()))
        self._stream = StreamTimeServer(self._stamp_any, self._signing, limits=stream_limits)

    async def start(self, host: str, port: int) -> None:
        """Listen for HTTP. Raises OSError."""
        await self._listener.start(host, port)

    async def start_stream(self, host: str, port: int) -> None:
        """Listen for lasting connections as well. Raises OSError."""
        await self._stream.start(host, port)

    async def stop(self, grace: float = 2.0) -> None:
        """Accept no more and let requests in flight end."""
        await asyncio.gather(self._listener.stop(grace), self._stream.stop(grace))
        self._signing.shutdown(wait=False)
        self._disk.shutdown(wait=False)

    @property
    def port(self) -> int:
        """The port in use for HTTP."""
        return self._listener.port

    @property
    def stream_port(self) -> int:
        """The port in use for lasting connections."""
        return self._stream.port

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            if request.method == "POST" and request.raw_path.startswith("/tsa/"):
                return await self._stamp(request, request.raw_path.removeprefix("/tsa/"))
            if request.method in ("GET", "HEAD"):
                return await self._published(request.raw_path)
            raise _nothing_there(request)
        except Exception as error:  # noqa: BLE001  # the outermost point of a request
            return answer_problem(problem_from(error, where="authority", peer=request.remote or ""))

    async def _stamp(self, request: web.BaseRequest, suite: str) -> web.StreamResponse:
        authority = self._authorities.get(suite)
        if authority is None:
            raise _nothing_there(request)
        if request.headers.get("Content-Type") != QUERY_TYPE:
            raise ProblemError("malformed", f"not {QUERY_TYPE}", retryable=False)
        query = await read_body(request, MAX_QUERY, self._listener.limits)
        reply = await asyncio.get_running_loop().run_in_executor(self._signing, self._respond, authority, query)
        return answer(200, reply, REPLY_TYPE)

    def _respond(self, authority: TimeAuthority, query: bytes) -> bytes:
        return authority.respond(query, at=self._clock.now(), serial=self._next_serial())

    def _stamp_any(self, query: bytes) -> bytes:
        return self._of_all_suites.respond(query, at=self._clock.now(), serial=self._next_serial())

    async def _published(self, path: str) -> web.StreamResponse:
        for pattern, place, content_type in _PUBLISHED:
            match = pattern.fullmatch(path)
            if match:
                body = await asyncio.get_running_loop().run_in_executor(self._disk, _read, self._public / match.expand(place))
                return answer(200, body, content_type)
        raise ProblemError("not-found", f"nothing at {path[:200]!r}", retryable=False)


def _read(file: Path) -> bytes:
    try:
        if file.stat().st_size > MAX_CRL:
            raise ProblemError("internal", f"{file.name} is larger than anything we publish", retryable=True)
        return file.read_bytes()
    except FileNotFoundError:
        raise ProblemError("not-found", f"{file.name} is not published", retryable=False) from None


def _nothing_there(request: web.BaseRequest) -> ProblemError:
    return ProblemError("not-found", f"no route {request.method} {request.raw_path[:200]!r}", retryable=False)

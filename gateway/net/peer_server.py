"""The port other gateways call (docs/protocol.md). Parses, calls ``ports.Arrivals``, translates the answer; decides nothing."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Protocol

from aiohttp import web

from crypto.digests import parse_digest
from crypto.errors import Malformed, Unverified
from gateway.core.cover import LENGTH_BYTES, MAX_COVER
from gateway.core.errors import ProblemError
from gateway.core.transmittal import MAX_CONTENT_BYTES
from gateway.flow.ports import Answer, Arrivals, Pending, Receipted
from gateway.net.frames import (
    CONTENT_TYPE,
    EXCHANGE_TYPE,
    JSON_TYPE,
    MAX_INLINE,
    MAX_RECEIPTS_FRAME,
    OFFSET_HEADER,
    RECEIPTS_TYPE,
    TRANSMITTAL_HEADER,
    framed_length,
    pack_answers,
    pack_pending,
    pack_proof,
    pack_receipts,
    parse_offset,
    unpack_receipts,
)
from gateway.net.listener import Body, Connection, Listener, ListenLimits, answer, answer_problem, body_length, problem_from, read_body
from gateway.net.tls import Listed, TlsIdentity, check_listed, server_context

MAX_EXCHANGE_BODY = LENGTH_BYTES + MAX_COVER + MAX_INLINE
MAX_RECEIPTS_BODY = LENGTH_BYTES + MAX_RECEIPTS_FRAME

_UPLOAD = re.compile(r"/v1/exchanges/([0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12})/content")
_PROOF = re.compile(r"/v1/receipts/((?:sm3|sha256):[0-9a-f]{64})/proof")

Proofs = Callable[[str, str], Awaitable[tuple[bytes, bytes]]]
"""(peer, receipt digest) -> leaf bytes and tlog-proof. Raises ProblemError (not-found) unless the receipt is the peer's business."""


class PeerGauges(Protocol):
    """What the port counts itself; what became of exchanges is counted by the flow."""

    def latency(self, stage: str, seconds: float) -> None: ...
    def problem_answered(self, code: str, peer: str) -> None: ...


class PeerServer:
    """The peer port: one for a gateway process."""

    def __init__(
        self,
        identity: TlsIdentity,
        arrivals: Arrivals,
        listed: Listed,
        *,
        limits: ListenLimits | None = None,
        gauges: PeerGauges | None = None,
        proofs: Proofs | None = None,
    ) -> None:
        self._arrivals = arrivals
        self._listed = listed
        self._gauges = gauges
        self._proofs = proofs
        self._in_flight: Counter[str] = Counter()
        self._listener = Listener(self._handle, name="peers", limits=limits, tls=server_context(identity))

    async def start(self, host: str, port: int) -> None:
        """Listen. Raises OSError."""
        await self._listener.start(host, port)

    async def stop(self, grace: float) -> None:
        """Accept no more; let requests in flight end within ``grace`` seconds. Uploads end at their next piece and can be resumed."""
        await self._listener.stop(grace)

    @property
    def port(self) -> int:
        """The port in use."""
        return self._listener.port

    @property
    def connections(self) -> int:
        """Open connections."""
        return self._listener.connections

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        connection = request.protocol
        assert isinstance(connection, Connection)
        peer = ""
        started = perf_counter()
        try:
            peer = self._known(connection)
            return await self._bounded(peer, request)
        except Exception as error:  # noqa: BLE001  # the outermost point of a request: everything becomes an answer and a line in the log
            stated = problem_from(error, where="peer request", peer=peer)
            if self._gauges:
                self._gauges.problem_answered(stated.word, peer or "stranger")
            response = answer_problem(stated)
            if not peer:
                response.force_close()
            return response
        finally:
            if self._gauges:
                self._gauges.latency("peer-request", perf_counter() - started)

    def _known(self, connection: Connection) -> str:
        # Asked for every request, not once a connection: the directory may drop a certificate while its connection lives.
        if connection.peer is None:
            raise ProblemError("unknown-peer", "a certificate that names no gateway", retryable=False)
        try:
            check_listed(connection.peer, self._listed)
        except Unverified as error:
            raise ProblemError("unknown-peer", f"{connection.peer.gateway}: {error}", retryable=True) from error
        return connection.peer.gateway

    async def _bounded(self, peer: str, request: web.BaseRequest) -> web.StreamResponse:
        if self._listener.stopping.is_set():
            raise ProblemError("stopping", "shutting down", retryable=True)
        if self._in_flight[peer] >= self._listener.limits.in_flight_per_peer:
            raise ProblemError("too-many", "too many requests in flight", retryable=True, retry_after=1)
        self._in_flight[peer] += 1
        try:
            return await self._route(peer, request)
        finally:
            self._in_flight[peer] -= 1
            if not self._in_flight[peer]:
                del self._in_flight[peer]

    async def _route(self, peer: str, request: web.BaseRequest) -> web.StreamResponse:
        path = request.raw_path  # compared as it came: no decoding, no query, no dot segments
        method = request.method
        if method == "POST" and path == "/v1/exchanges":
            return await self._offer(peer, request)
        if method == "POST" and path == "/v1/receipts":
            return await self._receipts(peer, request)
        upload = _UPLOAD.fullmatch(path)
        if upload and method == "PATCH":
            return await self._append(peer, upload[1], request)
        if upload and method == "HEAD":
            return await self._offset(peer, upload[1], request)
        proof = _PROOF.fullmatch(path)
        if proof and method == "GET" and self._proofs:
            leaf, path_to_root = await self._proofs(peer, proof[1])
            return answer(200, pack_proof(leaf, path_to_root), JSON_TYPE)
        raise ProblemError("not-found", f"no route {method} {path[:200]!r}", retryable=False)

    async def _offer(self, peer: str, request: web.BaseRequest) -> web.StreamResponse:
        _expect_type(request, EXCHANGE_TYPE)
        body = await read_body(request, MAX_EXCHANGE_BODY, self._listener.limits)
        end = LENGTH_BYTES + framed_length(body, MAX_COVER)
        if len(body) < end:
            raise Malformed("a cover longer than the body")
        if len(body) - end > MAX_INLINE:
            raise ProblemError("too-large", "content that must be uploaded", retryable=False)
        return _answered(await self._arrivals.offer(peer, body[:end], body[end:] or None))

    async def _offset(self, peer: str, exchange: str, request: web.BaseRequest) -> web.StreamResponse:
        offset = await self._arrivals.offset(peer, exchange, _transmittal(request))
        return answer(204, headers={OFFSET_HEADER: str(offset)})

    async def _append(self, peer: str, exchange: str, request: web.BaseRequest) -> web.StreamResponse:
        _expect_type(request, CONTENT_TYPE)
        transmittal = _transmittal(request)
        offset = parse_offset(request.headers.get(OFFSET_HEADER))
        body_length(request, MAX_CONTENT_BYTES - offset)
        body = Body(request, self._listener.limits)
        self._listener.uploads.add(body)
        try:
            given = await self._arrivals.append(peer, exchange, transmittal, offset, body.pieces())
        finally:
            self._listener.uploads.discard(body)
        if isinstance(given, Pending) and given.state == "upload":
            if body.late:
                raise ProblemError("too-slow", body.pace(), retryable=True, offset=given.offset)
            return answer(204, headers={OFFSET_HEADER: str(given.offset)})
        return _answered(given)

    async def _receipts(self, peer: str, request: web.BaseRequest) -> web.StreamResponse:
        _expect_type(request, RECEIPTS_TYPE)
        receipts = unpack_receipts(await read_body(request, MAX_RECEIPTS_BODY, self._listener.limits))
        return answer(200, pack_answers(await self._arrivals.receipts(peer, receipts)), JSON_TYPE)


def _answered(given: Answer) -> web.Response:
    if isinstance(given, Receipted):
        return answer(200, pack_receipts(given.receipts), RECEIPTS_TYPE)
    return answer(202, pack_pending(given), JSON_TYPE, {OFFSET_HEADER: str(given.offset)})


def _transmittal(request: web.BaseRequest) -> str:
    text = request.headers.get(TRANSMITTAL_HEADER, "")
    parse_digest(text)
    return text


def _expect_type(request: web.BaseRequest, content_type: str) -> None:
    if request.headers.get("Content-Type") != content_type:
        raise ProblemError("malformed", f"not {content_type}", retryable=False)

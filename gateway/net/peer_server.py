"""The port other gateways call (docs/protocol.md). Parses, calls ``ports.Arrivals``, translates the answer; decides nothing."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from time import monotonic, perf_counter
from typing import Protocol

from aiohttp import HttpVersion11, web

from crypto.digests import digest, parse_digest
from crypto.errors import Malformed, Unverified
from gateway.core.cover import LENGTH_BYTES, MAX_COVER
from gateway.core.errors import ProblemError
from gateway.core.transmittal import MAX_CONTENT_BYTES
from gateway.flow.ports import Answer, Arrivals, Pending, ReceiptAnswer, Receipted, SignedReceipt
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
from gateway.net.limits import STRANGER, Allowance, BodyRoom, PeerRates, Turns
from gateway.net.listener import Body, Connection, Listener, ListenLimits, answer, answer_problem, body_length, problem_from, read_body
from gateway.net.problems import is_failure
from gateway.net.repeats import Repeats
from gateway.net.tls import Listed, PeerCertificate, TlsIdentity, check_listed, server_context

MAX_EXCHANGE_BODY = LENGTH_BYTES + MAX_COVER + MAX_INLINE  # the largest cover and what may follow it
MAX_RECEIPTS_BODY = LENGTH_BYTES + MAX_RECEIPTS_FRAME  # a frame and its length

RECEIPTS_AT_ONCE = 64  # what a gateway of ours brings in one request: judged in one hop, about 50 ms of SM2
RECEIPTS_IN_DOUBT = 8  # of a peer in doubt
FAILED_REFUSED = 0.5  # of a failure: an exchange refused under signature; honest senders are refused now and then
FAILED_UNKNOWN = 0.125  # of a failure: a receipt about nothing we know costs a query and no signature
REFUSAL = b'"event":"ContentConsignmentFailure"'  # as it stands in our own canonical receipt

_UPLOAD = re.compile(r"/v1/exchanges/([0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12})/content")
_PROOF = re.compile(r"/v1/receipts/((?:sm3|sha256):[0-9a-f]{64})/proof")

Proofs = Callable[[str, str], Awaitable[tuple[bytes, bytes]]]
"""(peer, receipt digest) -> leaf bytes and tlog-proof. Raises ProblemError (not-found) unless the receipt is the peer's business."""


class PeerGauges(Protocol):
    """What the port counts itself; what became of exchanges is counted by the flow."""

    def latency(self, stage: str, seconds: float) -> None: ...
    def problem_answered(self, code: str, peer: str) -> None: ...
    def held_back(self, limit: str, peer: str) -> None: ...


class PeerServer:
    """The peer port: one for a gateway process."""

    def __init__(
        self,
        identity: TlsIdentity,
        arrivals: Arrivals,
        listed: Listed,
        *,
        limits: ListenLimits | None = None,
        rates: PeerRates | None = None,
        gauges: PeerGauges | None = None,
        proofs: Proofs | None = None,
    ) -> None:
        self._arrivals = arrivals
        self._listed = listed
        self._gauges = gauges
        self._proofs = proofs
        self._rates = rates or PeerRates()
        self._in_flight: Counter[str] = Counter()
        self._allowances: dict[str, Allowance] = {}  # one a listed gateway
        self._turns = Turns()
        self._room = BodyRoom(self._rates.body_memory)
        self._repeats = Repeats()
        self._listener = Listener(
            self._handle,
            name="peers",
            limits=limits,
            tls=server_context(identity),
            listed=self._is_listed,
            held_back=gauges.held_back if gauges else lambda limit, peer: None,  # noqa: ARG005
        )

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
            _check_head(request)
            return await self._bounded(peer, request)
        except Exception as error:  # noqa: BLE001  # the outermost point of a request: everything becomes an answer and a line in the log
            return self._answer_error(error, peer, request)
        finally:
            if self._gauges:
                self._gauges.latency("peer-request", perf_counter() - started)

    def _answer_error(self, error: Exception, peer: str, request: web.BaseRequest) -> web.Response:
        speak = self._listener.notices.may_speak(peer or STRANGER, monotonic())
        stated = problem_from(error, where="peer request", peer=peer, speak=speak)
        if self._gauges:
            self._gauges.problem_answered(stated.word, peer or STRANGER)
        if peer and is_failure(error):
            self._allowance(peer).failed(1, monotonic())
        response = answer_problem(stated)
        if not peer or _has_two_readings(request):
            response.force_close()  # what follows on this connection may not be what it looks like
        return response

    def _is_listed(self, peer: PeerCertificate) -> bool:
        try:
            check_listed(peer, self._listed)
        except Unverified:
            return False
        return True

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
            self._listener.held_back("parallel", peer)
            raise ProblemError("too-many", "too many requests in flight", retryable=True, retry_after=1)
        self._in_flight[peer] += 1
        try:
            await self._check_failures(peer)
            await self._pause(peer, "requests", 1)
            return await self._route(peer, request)
        finally:
            self._in_flight[peer] -= 1
            if not self._in_flight[peer]:
                del self._in_flight[peer]

    # ---- fairness: docs/limits.md

    def _allowance(self, peer: str) -> Allowance:
        allowance = self._allowances.get(peer)
        if allowance is None:
            allowance = self._allowances[peer] = Allowance(self._rates, monotonic())
        return allowance

    async def _check_failures(self, peer: str) -> None:
        """Who kept failing is refused before a byte of the body is read, and late: asking again at once brings nothing."""
        seconds = self._allowance(peer).barred(monotonic())
        if seconds:
            self._listener.held_back("failures", peer)
            await asyncio.sleep(self._allowance(peer).penalty(monotonic()))
            raise ProblemError("too-many", "too many requests that did not hold", retryable=True, retry_after=seconds)

    async def _pause(self, peer: str, limit: str, count: float) -> None:
        """Use so much of a rate of the peer's; wait when it used more than it has."""
        seconds = self._allowance(peer).pause(limit, count, monotonic())
        if seconds > 0:
            self._listener.held_back(limit, peer)
            await asyncio.sleep(seconds)

    @asynccontextmanager
    async def _turn(self, peer: str) -> AsyncIterator[None]:
        """One of the peer's places among what is being verified."""
        allowance = self._allowance(peer)
        await self._turns.begin(peer, allowance.at_once(monotonic()))
        try:
            rest = allowance.rest(monotonic())
            if rest:
                self._listener.held_back("doubt", peer)
                await asyncio.sleep(rest)
            yield
        finally:
            self._turns.end(peer, allowance.at_once(monotonic()))

    @asynccontextmanager
    async def _body(self, peer: str, request: web.BaseRequest, ceiling: int) -> AsyncIterator[bytes]:
        """The whole body; its memory is the peer's as long as it is used."""
        length = body_length(request, ceiling)
        if length <= self._room.SMALL:
            yield await read_body(request, ceiling, self._listener.limits)
            return
        async with self._room.holding(peer, length):
            body = await read_body(request, ceiling, self._listener.limits)
            await self._pause(peer, "bytes", length)
            yield body

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
        async with self._body(peer, request, MAX_EXCHANGE_BODY) as body:
            end = LENGTH_BYTES + framed_length(body, MAX_COVER)
            if len(body) < end:
                raise Malformed("a cover longer than the body")
            if len(body) - end > MAX_INLINE:
                raise ProblemError("too-large", "content that must be uploaded", retryable=False)
            cover = body[:end]
            name = self._repeats.name(peer, cover)
            frame = self._repeats.answered(name)
            if frame is not None:
                await self._pause(peer, "repeats", 1)
                await self._bring_again(peer, name, cover)
                return answer(200, frame, RECEIPTS_TYPE)
            await self._pause(peer, "exchanges", 1)
            async with self._turn(peer):
                given = await self._arrivals.offer(peer, cover, body[end:] or None)
        if not isinstance(given, Receipted):
            return _answered(given)
        frame = pack_receipts(given.receipts)
        self._repeats.keep(name, frame)
        if REFUSAL in frame:  # it cost as much as one that holds
            self._allowance(peer).failed(FAILED_REFUSED, monotonic())
        else:
            self._allowance(peer).held()
        return answer(200, frame, RECEIPTS_TYPE)

    async def _bring_again(self, peer: str, name: bytes, cover: bytes) -> None:
        if self._repeats.bring_again(name, monotonic()):
            try:
                await self._arrivals.repeated(peer, cover)
            except BaseException:
                self._repeats.not_brought(name)
                raise

    async def _offset(self, peer: str, exchange: str, request: web.BaseRequest) -> web.StreamResponse:
        async with self._turn(peer):
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
            given = await self._arrivals.append(peer, exchange, transmittal, offset, self._paced(peer, body.pieces()))
        finally:
            self._listener.uploads.discard(body)
        if isinstance(given, Pending) and given.state == "upload":
            if body.late:
                raise ProblemError("too-slow", body.pace(), retryable=True, offset=given.offset)
            return answer(204, headers={OFFSET_HEADER: str(given.offset)})
        return _answered(given)

    async def _paced(self, peer: str, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """No faster than the peer's rate; the socket makes the other side wait."""
        async for piece in pieces:
            yield piece
            await self._pause(peer, "bytes", len(piece))

    async def _receipts(self, peer: str, request: web.BaseRequest) -> web.StreamResponse:
        _expect_type(request, RECEIPTS_TYPE)
        async with self._body(peer, request, MAX_RECEIPTS_BODY) as body:
            receipts = unpack_receipts(body)
            await self._pause(peer, "receipts", len(receipts))
            return answer(200, pack_answers(await self._take(peer, receipts)), JSON_TYPE)

    async def _take(self, peer: str, receipts: Sequence[SignedReceipt]) -> list[ReceiptAnswer]:
        """A slice at a time, so that a thousand do not hold up what others want verified; when too many fail, the rest comes again later."""
        allowance, answers = self._allowance(peer), list[ReceiptAnswer]()
        while len(answers) < len(receipts) and not (answers and allowance.barred(monotonic())):
            async with self._turn(peer):
                upto = len(answers) + (RECEIPTS_IN_DOUBT if allowance.in_doubt(monotonic()) else RECEIPTS_AT_ONCE)
                given = await self._arrivals.receipts(peer, receipts[len(answers) : upto])
            allowance.failed(sum(_weight(one) for one in given), monotonic())
            answers += given
        late = receipts[len(answers) :]
        if late:
            self._listener.held_back("failures", peer)
        return answers + [ReceiptAnswer(digest=digest("sha256", one.body), code="too-many", retryable=True) for one in late]


def _weight(given: ReceiptAnswer) -> float:
    """What a receipt counts against what its bringer may fail: a query where it speaks of nothing we know, else a signature verified."""
    if given.code == "ok" or given.retryable:
        return 0
    return FAILED_UNKNOWN if given.code == "not-found" else 1


def _has_two_readings(request: web.BaseRequest) -> bool:
    return "Transfer-Encoding" in request.headers or "Upgrade" in request.headers or request.version != HttpVersion11


def _check_head(request: web.BaseRequest) -> None:
    """Nothing of HTTP that could give one request two readings. Raises ProblemError (malformed)."""
    if _has_two_readings(request):
        raise ProblemError("malformed", "a transfer encoding, an upgrade, or another version than HTTP/1.1", retryable=False)


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

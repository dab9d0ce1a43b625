"""The way to other gateways: ``ports.Link`` over HTTPS (docs/protocol.md). One attempt a call; the flow decides when there is another.

A peer has one session of persistent connections. Each connection judged its peer inside the handshake (``net.tls``); when the directory
lists other certificates for a gateway than it did, the session is left behind and a new one judges anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

from aiohttp import ClientResponse, ClientSession, ClientTimeout

from crypto.errors import Malformed
from gateway.core.errors import PeerProblem, Unreachable
from gateway.flow.ports import Answer, Parcel, Pending, ReceiptAnswer, Receipted, SignedReceipt
from gateway.net.calling import CallLimits, open_session, reaching, read_answer
from gateway.net.frames import (
    CONTENT_TYPE,
    EXCHANGE_TYPE,
    MAX_ANSWER,
    MAX_RECEIPTS_FRAME,
    OFFSET_HEADER,
    RECEIPTS_TYPE,
    TRANSMITTAL_HEADER,
    batches,
    pack_receipts,
    parse_offset,
    unpack_answers,
    unpack_pending,
    unpack_proof,
    unpack_receipts,
)
from gateway.net.problems import HEADER, MAX_PROBLEM, MAX_RETRY_AFTER, PROBLEMS, is_word, read_problem
from gateway.net.tls import Listed, TlsIdentity, client_context

SEND_PIECE = 256 * 1024  # read from disk in one thread hop; two of these are all an upload keeps in memory
ONE_WRITE = 256 * 1024  # a larger body is given to the socket in pieces, so that encrypting it does not hold up the event loop
MAX_RECEIPTED = MAX_RECEIPTS_FRAME + 4  # a frame and its length

_EXCHANGE_HEADERS = {"Content-Type": EXCHANGE_TYPE}
_RECEIPTS_HEADERS = {"Content-Type": RECEIPTS_TYPE}


@dataclass(slots=True)
class _Lane:
    """What is kept open towards one gateway, and the facts it was opened under."""

    base: str
    listed: frozenset[str]
    session: ClientSession
    busy: int = 0  # calls in progress; a lane left behind is closed by the last
    left: bool = False


class PeerClient:
    """``ports.Link``. ``address`` gives a gateway's https base URL, ``listed`` its certificates, both as the directory in force has them."""

    def __init__(
        self,
        identity: TlsIdentity,
        address: Callable[[str], str | None],
        listed: Listed,
        *,
        limits: CallLimits | None = None,
        disk: Executor | None = None,
    ) -> None:
        self._identity = identity
        self._address = address
        self._listed = listed
        self._limits = limits or CallLimits()
        self._disk = disk
        self._lanes: dict[str, _Lane] = {}

    async def send(self, gateway: str, parcel: Parcel) -> Answer:
        """Offer an exchange; upload its ciphertext when it did not fit the offer. Raises Unreachable, PeerProblem."""
        async with self._lane(gateway) as lane:
            body = parcel.cover if parcel.inline is None else parcel.cover + parcel.inline
            with _understanding(gateway):
                async with lane.session.post(
                    f"{lane.base}/v1/exchanges", data=_body(body), headers=_EXCHANGE_HEADERS, allow_redirects=False
                ) as response:
                    given = await _answer(response, gateway)
            if isinstance(given, Pending) and given.state == "upload" and parcel.inline is None:
                return await self._upload(lane, gateway, parcel, given.offset)
            return given

    async def send_receipts(self, gateway: str, receipts: Sequence[SignedReceipt]) -> tuple[ReceiptAnswer, ...]:
        """Hand receipts over, in as few requests as their sizes allow. Raises Unreachable, PeerProblem."""
        answers: list[ReceiptAnswer] = []
        async with self._lane(gateway) as lane:
            for batch in batches(receipts):
                with _understanding(gateway):
                    async with lane.session.post(
                        f"{lane.base}/v1/receipts", data=_body(pack_receipts(batch)), headers=_RECEIPTS_HEADERS, allow_redirects=False
                    ) as response:
                        if response.status != 200:
                            raise await _problem(response, gateway)
                        given = unpack_answers(await read_answer(response, MAX_ANSWER, gateway))
                if len(given) != len(batch):
                    raise Unreachable(f"{gateway}: {len(given)} answers to {len(batch)} receipts", place=gateway)
                answers += given
        return tuple(answers)

    async def proof(self, gateway: str, digest: str) -> tuple[bytes, bytes]:
        """The leaf and tlog-proof of a receipt in the peer's log. Raises Unreachable, PeerProblem."""
        async with self._lane(gateway) as lane:
            with _understanding(gateway):
                async with lane.session.get(f"{lane.base}/v1/receipts/{digest}/proof", allow_redirects=False) as response:
                    if response.status != 200:
                        raise await _problem(response, gateway)
                    return unpack_proof(await read_answer(response, MAX_ANSWER, gateway))

    async def close(self) -> None:
        """Hang up everywhere; calls in progress fail as Unreachable."""
        lanes, self._lanes = list(self._lanes.values()), {}
        for lane in lanes:
            await lane.session.close()

    # ---- lanes -------------------------------------------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def _lane(self, gateway: str) -> AsyncIterator[_Lane]:
        lane = await self._open_lane(gateway)
        lane.busy += 1
        try:
            yield lane
        finally:
            lane.busy -= 1
            if lane.left and not lane.busy:
                await lane.session.close()

    async def _open_lane(self, gateway: str) -> _Lane:
        base, listed = self._address(gateway), self._listed(gateway)
        if base is None or not listed:
            raise Unreachable(f"{gateway}: the directory gives no way to it", place=gateway)
        lane = self._lanes.get(gateway)
        if lane is not None and lane.base == base and lane.listed == listed:
            return lane
        if not base.startswith("https://"):
            raise Unreachable(f"{gateway}: {base!r} is no https address", place=gateway)
        fresh = _Lane(base=base, listed=listed, session=open_session(self._limits, client_context(self._identity, gateway, self._listed)))
        self._lanes[gateway] = fresh
        if lane is not None:
            lane.left = True
            if not lane.busy:
                await lane.session.close()
        return fresh

    # ---- uploads -----------------------------------------------------------------------------------------------------------------

    async def _upload(self, lane: _Lane, gateway: str, parcel: Parcel, offset: int) -> Answer:
        """Raises Unreachable, PeerProblem; their fact ``offset`` says how far the other side was when last heard of."""
        # Going on after a cut or another offset is the same attempt as long as the other side has more than before; else it is over.
        furthest = -1
        try:
            while furthest < offset <= parcel.size:
                furthest = offset
                given = await self._patch_or_ask(lane, gateway, parcel, offset)
                if not isinstance(given, int):
                    return given
                offset = given
            raise Unreachable(f"{gateway}: the upload stays at {offset} of {parcel.size}", place=gateway)
        except (Unreachable, PeerProblem) as error:
            error.facts["offset"] = min(max(offset, furthest), parcel.size)
            raise

    async def _patch_or_ask(self, lane: _Lane, gateway: str, parcel: Parcel, offset: int) -> Answer | int:
        """One PATCH; where it breaks and the other side has more than before, how much that is."""
        try:
            return await self._patch(lane, gateway, parcel, offset)
        except Unreachable:
            reached = await self._offset(lane, gateway, parcel)
            if reached <= offset:
                raise
            return reached

    async def _patch(self, lane: _Lane, gateway: str, parcel: Parcel, offset: int) -> Answer | int:
        """One PATCH: the answer, or the offset from which bytes are still missing."""
        headers = {
            "Content-Type": CONTENT_TYPE,
            "Content-Length": str(parcel.size - offset),
            OFFSET_HEADER: str(offset),
            TRANSMITTAL_HEADER: parcel.transmittal_digest,
        }
        patience = ClientTimeout(total=None, sock_connect=self._limits.connect_seconds, sock_read=self._limits.silence_seconds)
        supply = _Supply(parcel.read(offset), self._disk)
        url = _upload_url(lane, parcel)
        try:
            with _understanding(gateway):
                async with (
                    contextlib.aclosing(supply),
                    lane.session.patch(url, data=supply, headers=headers, timeout=patience, allow_redirects=False) as response,
                ):
                    if response.status == 204 or _is_elsewhere(response):
                        return parse_offset(response.headers.get(OFFSET_HEADER))
                    return await _answer(response, gateway)
        except Unreachable:
            if supply.failure is not None:
                raise supply.failure from None
            raise

    async def _offset(self, lane: _Lane, gateway: str, parcel: Parcel) -> int:
        headers = {TRANSMITTAL_HEADER: parcel.transmittal_digest}
        with _understanding(gateway):
            async with lane.session.head(_upload_url(lane, parcel), headers=headers, allow_redirects=False) as response:
                if response.status != 204:
                    raise await _problem(response, gateway)
                return parse_offset(response.headers.get(OFFSET_HEADER))


def _body(data: bytes) -> bytes | io.BytesIO:
    return data if len(data) <= ONE_WRITE else io.BytesIO(data)


def _is_elsewhere(response: ClientResponse) -> bool:
    """The other side has another offset than we thought, and says which."""
    return response.status == 409 and response.headers.get(HEADER) == "offset-mismatch"


def _upload_url(lane: _Lane, parcel: Parcel) -> str:
    return f"{lane.base}/v1/exchanges/{parcel.exchange}/content"


class _Supply:
    """A parcel's ciphertext in runs of about ``SEND_PIECE`` bytes, each read in one hop off the event loop. An asynchronous iterable.

    No generator: a request that fails while a run is being read leaves its writer behind, and a running generator cannot be closed.
    """

    def __init__(self, chunks: Iterator[bytes], disk: Executor | None) -> None:
        self.failure: Exception | None = None  # our own disk failed: not the peer's fault, and not to be blamed on it
        self._chunks = chunks
        self._disk = disk
        self._reading: asyncio.Future[bytes] | None = None
        self._closed = False

    def __aiter__(self) -> _Supply:
        return self

    async def __anext__(self) -> bytes:
        if self._closed:
            raise StopAsyncIteration
        try:
            self._reading = asyncio.ensure_future(asyncio.get_running_loop().run_in_executor(self._disk, _run_of, self._chunks))
            run = await asyncio.shield(self._reading)
        except Exception as error:
            self.failure = error
            raise
        if not run:
            raise StopAsyncIteration
        return run

    async def aclose(self) -> None:
        """Let a read in progress end, then close what the chunks hold open."""
        self._closed = True
        if self._reading is not None:
            await asyncio.wait([self._reading])
            if not self._reading.cancelled() and self._reading.exception() is not None:
                return  # an iterator that raised is closed already
        close = getattr(self._chunks, "close", None)  # a generator holding a file open; plain iterators have none
        if close is not None:
            await asyncio.get_running_loop().run_in_executor(self._disk, close)


def _run_of(chunks: Iterator[bytes]) -> bytes:
    gathered: list[bytes] = []
    size = 0
    for chunk in chunks:
        gathered.append(chunk)
        size += len(chunk)
        if size >= SEND_PIECE:
            break
    return gathered[0] if len(gathered) == 1 else b"".join(gathered)


# ---- answers ---------------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _understanding(gateway: str) -> Iterator[None]:
    """Failures of the connection and answers outside the protocol are the same to us: nobody we can talk to answered."""
    try:
        with reaching(gateway):
            yield
    except Malformed as error:
        raise Unreachable(f"{gateway}: answered outside the protocol: {error}", place=gateway) from error


async def _answer(response: ClientResponse, gateway: str) -> Answer:
    if response.status == 200:
        return Receipted(receipts=unpack_receipts(await read_answer(response, MAX_RECEIPTED, gateway)))
    if response.status == 202:
        return unpack_pending(await read_answer(response, MAX_ANSWER, gateway))
    raise await _problem(response, gateway)


async def _problem(response: ClientResponse, gateway: str) -> PeerProblem:
    """The problem an answer states. Raises Malformed when it states none: a proxy in between, or not a gateway at all."""
    retry_after = _retry_after(response.headers.get("Retry-After"))
    if response.method == "HEAD":
        word = response.headers.get(HEADER, "")
        if not is_word(word):
            raise Malformed(f"status {response.status} without a problem")
        retryable = word in PROBLEMS and PROBLEMS[word].retryable
    else:
        stated = read_problem(await read_answer(response, MAX_PROBLEM, gateway))
        word, retryable = stated.code, stated.retryable
    message = f"{gateway} answers {word}"
    return PeerProblem(message, problem=word, retryable=retryable, retry_after=retry_after, status=response.status, peer=gateway)


def _retry_after(text: str | None) -> int | None:
    if text is None or not text.isascii() or not text.isdigit() or len(text) > 9:
        return None  # an HTTP date, or nonsense: our own back-off decides
    return min(int(text), MAX_RETRY_AFTER)

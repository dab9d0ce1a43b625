"""Asking time-stamping authorities, over HTTP (RFC 3161 §3.4) or a lasting connection (§3.3): ``ports.TokenSource``."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from aiohttp import ClientSession

from gateway.core.errors import Unreachable
from gateway.net.calling import CallLimits, open_session, reaching, read_answer
from gateway.net.time_stream import MAX_REPLY, SCHEME, StreamTimeClient

QUERY_TYPE = "application/timestamp-query"
REPLY_TYPE = "application/timestamp-reply"
RESTING_SECONDS = 30.0  # an authority that failed is asked last for so long: not every document pays for its silence
TIME_LIMITS = CallLimits(connections=8, connect_seconds=2.0, answer_seconds=5.0)


class _Authority(Protocol):
    async def respond(self, request: bytes) -> bytes: ...

    async def close(self) -> None: ...


class TimeClient:
    """Several authorities of one suite, ``http(s)://…`` or ``tsp://HOST:PORT``, asked in their order; the first that answers counts.

    Says nothing about the token: whoever asked verifies it. A reply that is no reply counts as silence.
    """

    def __init__(self, urls: Sequence[str], *, limits: CallLimits = TIME_LIMITS) -> None:
        if not urls:
            raise ValueError("no time-stamping authority")
        self._authorities = {url: _authority(url, limits) for url in urls}
        self._resting: dict[str, float] = {}  # url -> loop time until which it is asked last

    async def respond(self, request: bytes) -> bytes:
        """The first answer to this RFC 3161 request. Raises Unreachable when every authority failed, naming each reason."""
        reasons = []
        for url in self._order():
            try:
                reply = await self._authorities[url].respond(request)
            except Unreachable as error:
                self._resting[url] = asyncio.get_running_loop().time() + RESTING_SECONDS
                reasons.append(str(error))
                continue
            self._resting.pop(url, None)
            return reply
        raise Unreachable("; ".join(reasons), place="time authorities", tried=len(reasons))

    async def close(self) -> None:
        """Hang up."""
        for authority in self._authorities.values():
            await authority.close()

    def _order(self) -> list[str]:
        now = asyncio.get_running_loop().time()
        return sorted(self._authorities, key=lambda url: self._resting.get(url, 0.0) > now)  # stable: the configured order among equals


def _authority(url: str, limits: CallLimits) -> _Authority:
    return StreamTimeClient(url, limits) if url.startswith(f"{SCHEME}:") else _HttpTimeClient(url, limits)


class _HttpTimeClient:
    """One authority over HTTP. What HTTP needs is made when first asked: behind an authority that answers it never is."""

    def __init__(self, url: str, limits: CallLimits) -> None:
        self._url = url
        self._limits = limits
        self._session: ClientSession | None = None

    async def respond(self, request: bytes) -> bytes:
        """The answer to this request. Raises Unreachable."""
        if self._session is None:
            self._session = open_session(self._limits)
        url, headers = self._url, {"Content-Type": QUERY_TYPE}
        with reaching(url):
            async with self._session.post(url, data=request, headers=headers, allow_redirects=False) as response:
                kind = response.headers.get("Content-Type", "").partition(";")[0].strip()
                if response.status != 200 or kind != REPLY_TYPE:
                    raise Unreachable(f"{url}: status {response.status}, {kind or 'no content type'}", place=url)
                return await read_answer(response, MAX_REPLY, url)

    async def close(self) -> None:
        """Hang up."""
        if self._session is not None:
            await self._session.close()
            self._session = None

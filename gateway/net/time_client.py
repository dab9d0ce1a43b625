"""Asking time-stamping authorities over HTTP (RFC 3161 §3.4): ``ports.TokenSource``."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from aiohttp import ClientSession

from gateway.core.errors import Unreachable
from gateway.net.calling import CallLimits, open_session, reaching, read_answer

QUERY_TYPE = "application/timestamp-query"
REPLY_TYPE = "application/timestamp-reply"
MAX_REPLY = 64 * 1024  # a token with its certificates has 2 to 8 KiB
RESTING_SECONDS = 30.0  # an authority that failed is asked last for so long: not every document pays for its silence
TIME_LIMITS = CallLimits(connections=8, connect_seconds=2.0, answer_seconds=5.0)


class TimeClient:
    """Several authorities of one suite, asked in their order; the first that answers counts.

    Says nothing about the token: whoever asked verifies it. A reply that is no reply counts as silence.
    """

    def __init__(self, urls: Sequence[str], *, limits: CallLimits = TIME_LIMITS) -> None:
        if not urls:
            raise ValueError("no time-stamping authority")
        self._urls = tuple(urls)
        self._limits = limits
        self._session: ClientSession | None = None
        self._resting: dict[str, float] = {}  # url -> loop time until which it is asked last

    async def respond(self, request: bytes) -> bytes:
        """The first answer to this RFC 3161 request. Raises Unreachable when every authority failed, naming each reason."""
        if self._session is None:
            self._session = open_session(self._limits)
        reasons = []
        for url in self._order():
            try:
                reply = await self._ask(self._session, url, request)
            except Unreachable as error:
                self._resting[url] = asyncio.get_running_loop().time() + RESTING_SECONDS
                reasons.append(str(error))
                continue
            self._resting.pop(url, None)
            return reply
        raise Unreachable("; ".join(reasons), place="time authorities", tried=len(reasons))

    async def close(self) -> None:
        """Hang up."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _order(self) -> list[str]:
        now = asyncio.get_running_loop().time()
        return sorted(self._urls, key=lambda url: self._resting.get(url, 0.0) > now)  # stable: the configured order among equals

    async def _ask(self, session: ClientSession, url: str, request: bytes) -> bytes:
        with reaching(url):
            async with session.post(url, data=request, headers={"Content-Type": QUERY_TYPE}, allow_redirects=False) as response:
                kind = response.headers.get("Content-Type", "").partition(";")[0].strip()
                if response.status != 200 or kind != REPLY_TYPE:
                    raise Unreachable(f"{url}: status {response.status}, {kind or 'no content type'}", place=url)
                return await read_answer(response, MAX_REPLY, url)

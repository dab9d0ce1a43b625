"""What every outgoing call of ours shares: a session without cookies, redirects, proxies or decompression, bounded answers, our errors."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Iterator
from dataclasses import dataclass

import aiohttp
from aiohttp import ClientResponse, ClientSession

from gateway.core.errors import Unreachable

_NO_AUTOMATIC_HEADERS = ("Accept", "Accept-Encoding", "User-Agent")  # a peer needs none of them, and each costs time and says something


@dataclass(frozen=True, slots=True, kw_only=True)
class CallLimits:
    """What we wait for, and how much we keep open towards one place."""

    connections: int = 16  # DESIGN §7: requests in flight to one peer
    connect_seconds: float = 5.0  # TCP and TLS
    answer_seconds: float = 60.0  # one small request, whole; the other side verifies and commits before it answers
    silence_seconds: float = 60.0  # an upload: the longest wait for the answer or for room in the socket
    keep_seconds: float = 30.0  # idle connections are hung up before the other side does (it waits 75), so no request meets a closing one
    line_bytes: int = 1024  # status line of an answer
    field_bytes: int = 4096  # one header field of an answer


def open_session(limits: CallLimits, tls: ssl.SSLContext | None = None) -> ClientSession:
    """A session for one place. Must be called inside the running loop."""
    connector = aiohttp.TCPConnector(
        limit=limits.connections,
        limit_per_host=limits.connections,
        keepalive_timeout=limits.keep_seconds,
        ssl=tls if tls is not None else True,
        ttl_dns_cache=60,
    )
    return ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=limits.answer_seconds, sock_connect=limits.connect_seconds),
        skip_auto_headers=_NO_AUTOMATIC_HEADERS,
        auto_decompress=False,
        trust_env=False,
        max_line_size=limits.line_bytes,
        max_field_size=limits.field_bytes,
    )


@contextlib.contextmanager
def reaching(place: str) -> Iterator[None]:
    """Turn whatever a connection can fail with into Unreachable, saying why."""
    try:
        yield
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        reason = str(error) or type(error).__name__
        raise Unreachable(f"{place}: {reason}", place=place, reason=reason) from error


async def read_answer(response: ClientResponse, ceiling: int, place: str) -> bytes:
    """The body of an answer. Raises Unreachable when it is larger than it may be: whoever sends that is not who we meant."""
    stated = response.content_length
    if stated is not None and stated > ceiling:
        raise Unreachable(f"{place}: an answer of {stated} bytes", place=place)
    if stated is None:
        collected = bytearray()
        async for chunk in response.content.iter_any():
            collected += chunk
            if len(collected) > ceiling:
                raise Unreachable(f"{place}: an answer above {ceiling} bytes", place=place)
        return bytes(collected)
    return await response.read()


async def fetch(session: ClientSession, url: str, ceiling: int) -> bytes:
    """GET one small published file. Raises Unreachable for anything but 200 and a body within ``ceiling``."""
    with reaching(url):
        async with session.get(url, allow_redirects=False) as response:
            if response.status != 200:
                raise Unreachable(f"{url}: status {response.status}", place=url, status=response.status)
            return await read_answer(response, ceiling, url)

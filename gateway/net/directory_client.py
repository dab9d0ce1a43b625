"""Fetching published directories and revocation lists over HTTP. Nothing is believed here: signatures and digests are checked by who asked."""

from __future__ import annotations

from aiohttp import ClientSession

from crypto.digests import parse_digest
from gateway.core.errors import Unreachable
from gateway.net.calling import CallLimits, fetch, open_session

MAX_HEAD = 4 * 1024 * 1024  # 30,000 entries of 130 bytes
MAX_SIGNATURE = 64 * 1024  # CMS with its certificate, and a time-stamp token
MAX_ENTRY = 256 * 1024  # an organisation with a decade of certificates
MAX_CRL = 16 * 1024 * 1024  # a national CA's list is a few MiB
FETCH_LIMITS = CallLimits(connections=4, connect_seconds=5.0, answer_seconds=30.0)


class DirectoryClient:
    """``ports.DirectorySource``: ``<base>/head.json``, ``<base>/head.p7s``, ``<base>/entries/<digest>``."""

    def __init__(self, base: str, *, limits: CallLimits = FETCH_LIMITS) -> None:
        self._base = base.rstrip("/")
        self._limits = limits
        self._session: ClientSession | None = None

    async def head(self) -> tuple[bytes, bytes]:
        """Head and signature, of one version. Raises Unreachable, also when a new version appeared between the two."""
        session = self._open()
        body = await fetch(session, f"{self._base}/head.json", MAX_HEAD)
        signature = await fetch(session, f"{self._base}/head.p7s", MAX_SIGNATURE)
        if await fetch(session, f"{self._base}/head.json", MAX_HEAD) != body:
            raise Unreachable(f"{self._base}: a new version appeared while reading", place=self._base)
        return body, signature

    async def entry(self, digest: str) -> bytes:
        """One entry file. Raises Unreachable, Malformed when ``digest`` is none."""
        parse_digest(digest)
        return await fetch(self._open(), f"{self._base}/entries/{digest}", MAX_ENTRY)

    async def crl(self, url: str) -> bytes:
        """A revocation list from where it is published. Raises Unreachable."""
        return await fetch(self._open(), url, MAX_CRL)

    async def close(self) -> None:
        """Hang up."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _open(self) -> ClientSession:
        if self._session is None:
            self._session = open_session(self._limits)
        return self._session

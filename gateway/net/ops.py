"""The operators' port: is the process alive, does it take documents, and its numbers. Plain HTTP: keep it on loopback or their network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec
from aiohttp import web

from gateway.net.frames import JSON_TYPE
from gateway.net.listener import Listener, ListenLimits, answer, answer_problem, problem_from
from gateway.net.metrics import CONTENT_TYPE, Metrics
from gateway.net.problems import problem

OPS_LIMITS = ListenLimits(connections=32, idle_seconds=120.0)  # a probe, a scraper, a person


@dataclass(frozen=True, slots=True, kw_only=True)
class NotReady:
    """One thing that keeps the gateway from taking documents: a stable word, and text for people."""

    code: str
    text: str


Readiness = Callable[[], Sequence[NotReady]]
"""What stands in the way now; empty when ready. Called on the event loop: answers from memory."""


class OpsServer:
    """``/healthz``, ``/readyz``, ``/metrics``."""

    def __init__(self, readiness: Readiness, metrics: Metrics, *, limits: ListenLimits = OPS_LIMITS) -> None:
        self._readiness = readiness
        self._metrics = metrics
        self._listener = Listener(self._handle, name="ops", limits=limits)

    async def start(self, host: str, port: int) -> None:
        """Listen. Raises OSError."""
        await self._listener.start(host, port)

    async def stop(self, grace: float = 1.0) -> None:
        """Hang up."""
        await self._listener.stop(grace)

    @property
    def port(self) -> int:
        """The port in use."""
        return self._listener.port

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            if request.method not in ("GET", "HEAD"):
                return answer_problem(problem("not-found"))
            if request.raw_path == "/healthz":
                return answer(200, b'{"alive":true}', JSON_TYPE)
            if request.raw_path == "/readyz":
                return self._ready()
            if request.raw_path == "/metrics":
                self._metrics.ready(is_ready=not self._readiness())
                return answer(200, await self._metrics.scrape(), CONTENT_TYPE)
            return answer_problem(problem("not-found"))
        except Exception as error:  # noqa: BLE001  # the outermost point of a request
            return answer_problem(problem_from(error, where="ops", peer="operator"))

    def _ready(self) -> web.Response:
        reasons = self._readiness()
        body = {"ready": not reasons, "reasons": [{"code": reason.code, "text": reason.text} for reason in reasons]}
        return answer(503 if reasons else 200, msgspec.json.encode(body, order="sorted"), JSON_TYPE)

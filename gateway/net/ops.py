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


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelLeft:
    """One level while something is away: until when it goes on, and how many seconds that is; None where no time runs out."""

    level: str
    until: str | None
    seconds_left: float | None
    stopped: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Away:
    """Something that is away: a stable word, whose (a suite, a peer, or empty), since when, and the levels it concerns."""

    mode: str
    subject: str
    since: str
    levels: tuple[LevelLeft, ...]

    @property
    def seconds_left(self) -> float | None:
        """Until the first level stops; None where no time runs out."""
        return min((level.seconds_left for level in self.levels if level.seconds_left is not None), default=None)


Readiness = Callable[[], Sequence[NotReady]]
"""What stands in the way now; empty when ready. Called on the event loop: answers from memory."""


Absences = Callable[[], Sequence[Away]]
"""What is away now, whether it stands in the way or policy lets levels go on. Called as ``Readiness``."""


class OpsServer:
    """``/healthz``, ``/readyz``, ``/metrics``."""

    def __init__(self, readiness: Readiness, metrics: Metrics, *, absences: Absences = tuple, limits: ListenLimits = OPS_LIMITS) -> None:
        self._readiness = readiness
        self._absences = absences
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
        body = {
            "ready": not reasons,
            "reasons": [{"code": reason.code, "text": reason.text} for reason in reasons],
            "degraded": [_shown(away) for away in self._absences()],
        }
        return answer(503 if reasons else 200, msgspec.json.encode(body, order="sorted"), JSON_TYPE)


def _shown(away: Away) -> dict[str, object]:
    levels = [
        {"level": each.level, "until": each.until, "seconds_left": _rounded(each.seconds_left), "stopped": each.stopped}
        for each in away.levels
    ]
    return {
        "mode": away.mode,
        "subject": away.subject,
        "since": away.since,
        "until": min((each.until for each in away.levels if each.until is not None), default=None),
        "seconds_left": _rounded(away.seconds_left),
        "levels": levels,
    }


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 1)

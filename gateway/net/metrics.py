"""Numbers for operators, in Prometheus' text format. Counting never raises and never names a document, a title or a person.

A registry of our own: nothing another library registers appears on our port. Names are law for dashboards: docs/operations.md.
"""

from __future__ import annotations

import logging
from bisect import bisect_left
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector

from gateway.core.exchange import Direction, State

log = logging.getLogger("yizhan.net")

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
MAX_PEERS = 500  # distinct peers with rows of their own; later ones are counted together as "other"
LATENCY_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0)
BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128)  # steps in one transaction of the journal


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """Work waiting for one peer or office."""

    depth: int
    oldest_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Readings:
    """What is looked up only when somebody scrapes."""

    queues: Mapping[str, Queue] = field(default_factory=dict)  # by peer (gateway id or office name)
    log_sizes: Mapping[str, int] = field(default_factory=dict)  # by log origin
    certificate_days: Mapping[str, float] = field(default_factory=dict)  # by use: "tls", "sign-gm-1" …
    directory_days: float | None = None
    open_uploads: int | None = None
    offers_waiting: Mapping[str, int] = field(default_factory=dict)  # by what is full
    disk_free_bytes: int | None = None
    degraded: Mapping[str, int] = field(default_factory=dict)  # by mode: how many are away, 0 where none
    degraded_seconds_left: Mapping[tuple[str, str], float] = field(default_factory=dict)  # by mode and level


Collect = Callable[[], Awaitable[Readings]]


class Metrics:
    """``ports.Gauges`` on a private registry; ``collect`` is asked at each scrape."""

    def __init__(self, collect: Collect | None = None) -> None:
        self.collect = collect
        self._peers: set[str] = set()
        # Rows that every document counts in, found without spelling their labels anew.
        self._outcomes_of: dict[tuple[Direction, State, str, str], Counter] = {}
        self._latency_of: dict[str, Histogram] = {}
        self._registry = registry = CollectorRegistry()
        self._outcomes = Counter(
            "yizhan_exchanges", "Passages that reached a state", ("direction", "state", "level", "peer"), registry=registry
        )
        self._refused = Counter("yizhan_refusals", "Exchanges and receipts refused, by reason", ("code", "peer"), registry=registry)
        self._reminders = Counter(
            "yizhan_reminders", "Steps of deadlines told, by what is wanted", ("direction", "code"), registry=registry
        )
        self._problems = Counter("yizhan_peer_problems", "Requests of peers answered with a problem", ("code", "peer"), registry=registry)
        self._held_back = Counter(
            "yizhan_peer_held_back",
            "Requests and connections of a peer that a limit made wait or refused",
            ("code", "peer"),
            registry=registry,
        )
        self._bytes = Counter("yizhan_content_bytes", "Ciphertext moved", ("direction", "peer"), registry=registry)
        self._latency = Histogram("yizhan_stage_seconds", "Time one stage took", ("stage",), buckets=LATENCY_BUCKETS, registry=registry)
        self._batch = _Tally("yizhan_journal_batch_steps", "Steps in one transaction", BATCH_BUCKETS)
        self._commit = _Tally("yizhan_journal_commit_seconds", "Time one transaction took", LATENCY_BUCKETS)
        for tally in (self._batch, self._commit):
            registry.register(tally)
        self._depth = Gauge("yizhan_queue_depth", "Work waiting", ("peer",), registry=registry)
        self._oldest = Gauge("yizhan_queue_oldest_seconds", "Age of the oldest work waiting", ("peer",), registry=registry)
        self._log_size = Gauge("yizhan_log_size", "Leaves in the audit log", ("origin",), registry=registry)
        self._certificates = Gauge("yizhan_certificate_days_left", "Days until a certificate of ours expires", ("use",), registry=registry)
        self._directory = Gauge("yizhan_directory_days_left", "Days until the directory in force expires", registry=registry)
        self._uploads = Gauge("yizhan_open_uploads", "Resumable uploads begun and not finished", registry=registry)
        self._waiting = Gauge("yizhan_offers_waiting", "Offers left in the tray while too much is under way", ("code",), registry=registry)
        self._disk = Gauge("yizhan_disk_free_bytes", "Free room on the data disk", registry=registry)
        self._degraded = Gauge("yizhan_degraded", "How many things of this kind are away", ("mode",), registry=registry)
        self._left = Gauge(
            "yizhan_degraded_seconds_left", "Until a level stops because something is away", ("mode", "level"), registry=registry
        )
        self._ready = Gauge("yizhan_ready", "1 when the gateway takes and accepts documents", registry=registry)

    # ---- ports.Gauges, and what the peer port counts ---------------------------------------------------------------------------------

    def outcome(self, direction: Direction, state: State, level: str, peer: str) -> None:
        """A passage reached a state."""
        known = self._outcomes_of.get((direction, state, level, peer))
        if known is None:
            name = self._peer(peer)
            known = self._outcomes.labels(direction, str(state), level, name)
            if name == peer:  # else whoever comes as one of too many would be remembered for ever
                self._outcomes_of[direction, state, level, peer] = known
        known.inc()

    def latency(self, stage: str, seconds: float) -> None:
        """A stage took this long."""
        known = self._latency_of.get(stage)
        if known is None:
            known = self._latency_of[stage] = self._latency.labels(stage)
        known.observe(seconds)

    def bytes_moved(self, direction: Direction, peer: str, count: int) -> None:
        """Ciphertext came or went."""
        self._bytes.labels(direction, self._peer(peer)).inc(max(count, 0))  # a counter would raise

    def refused(self, code: str, peer: str) -> None:
        """Something was refused with this word."""
        self._refused.labels(code, self._peer(peer)).inc()

    def reminded(self, direction: Direction, code: str) -> None:
        """A step of a deadline was told."""
        self._reminders.labels(direction, code).inc()

    def problem_answered(self, code: str, peer: str) -> None:
        """A request of a peer was answered with this word."""
        self._problems.labels(code, self._peer(peer)).inc()

    def held_back(self, limit: str, peer: str) -> None:
        """A limit made a peer wait, or refused it."""
        self._held_back.labels(limit, self._peer(peer)).inc()

    # ---- beyond the port -----------------------------------------------------------------------------------------------------------

    def journal_batch(self, steps: int, seconds: float) -> None:
        """One transaction of the journal: how many steps it carried and how long it took."""
        self._batch.observe(steps)
        self._commit.observe(seconds)

    def ready(self, *, is_ready: bool) -> None:
        """Whether the gateway takes and accepts documents."""
        self._ready.set(1 if is_ready else 0)

    async def scrape(self) -> bytes:
        """Everything, as text. A failing ``collect`` costs its readings, never the scrape."""
        if self.collect is not None:
            try:
                self._take(await self.collect())
            except Exception:
                log.exception("readings for metrics failed")
        return generate_latest(self._registry)

    def _take(self, readings: Readings) -> None:
        self._depth.clear()  # a peer without work has no row left
        self._oldest.clear()
        for peer, queue in readings.queues.items():
            self._depth.labels(self._peer(peer)).set(queue.depth)
            self._oldest.labels(self._peer(peer)).set(queue.oldest_seconds)
        self._left.clear()
        for mode, count in readings.degraded.items():
            self._degraded.labels(mode).set(count)
        for (mode, level), seconds in readings.degraded_seconds_left.items():
            self._left.labels(mode, level).set(seconds)
        self._waiting.clear()
        for code, count in readings.offers_waiting.items():
            self._waiting.labels(code).set(count)
        for origin, size in readings.log_sizes.items():
            self._log_size.labels(origin).set(size)
        for use, days in readings.certificate_days.items():
            self._certificates.labels(use).set(days)
        for gauge, value in (
            (self._directory, readings.directory_days),
            (self._uploads, readings.open_uploads),
            (self._disk, readings.disk_free_bytes),
        ):
            if value is not None:
                gauge.set(value)

    def _peer(self, peer: str) -> str:
        if peer not in self._peers:
            if len(self._peers) >= MAX_PEERS:
                return "other"
            self._peers.add(peer)
        return peer


class _Tally(Collector):
    """A histogram without labels that one thread counts in: the writer counts each commit, and a lock for each bucket costs as much as a row."""

    def __init__(self, name: str, documentation: str, bounds: Sequence[float]) -> None:
        self._name = name
        self._documentation = documentation
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def describe(self) -> Iterable[HistogramMetricFamily]:
        """The name alone: the registry refuses a second histogram of it."""
        yield HistogramMetricFamily(self._name, self._documentation)

    def collect(self) -> Iterable[HistogramMetricFamily]:
        """The buckets, each with everything below its bound."""
        buckets: list[tuple[str, float]] = []
        below = 0
        for bound, count in zip((*map(float, self._bounds), "+Inf"), self._counts, strict=True):
            below += count
            buckets.append((str(bound), below))
        yield HistogramMetricFamily(self._name, self._documentation, buckets=buckets, sum_value=self._sum)

"""Health, readiness and numbers, asked over a real socket."""

from __future__ import annotations

import json

import aiohttp
import pytest

from gateway.core.exchange import State
from gateway.flow.ports import Gauges
from gateway.net.metrics import MAX_PEERS, Metrics, Queue, Readings
from gateway.net.ops import Away, LevelLeft, NotReady, OpsServer


@pytest.fixture
async def ops():
    """(get, reasons, metrics): a running server whose readiness the test changes."""
    reasons: list[NotReady] = []
    metrics = Metrics()
    server = OpsServer(lambda: reasons, metrics)
    await server.start("127.0.0.1", 0)
    async with aiohttp.ClientSession(f"http://127.0.0.1:{server.port}") as session:

        async def get(path, method="GET"):
            async with session.request(method, path) as response:
                return response.status, await response.read(), response.headers["Content-Type"]

        yield get, reasons, metrics
    await server.stop()


async def test_alive(ops):
    get, reasons, _ = ops
    reasons.append(NotReady(code="clock", text="off by 12 s"))
    assert (await get("/healthz"))[:2] == (200, b'{"alive":true}')
    assert (await get("/healthz", "HEAD"))[:2] == (200, b"")


async def test_ready_and_why_not(ops):
    get, reasons, _ = ops
    assert await get("/readyz") == (200, b'{"degraded":[],"ready":true,"reasons":[]}', "application/json")
    assert b"yizhan_ready 1.0" in (await get("/metrics"))[1]
    reasons.append(NotReady(code="clock", text="时钟偏差 12 秒"))
    status, body, _ = await get("/readyz")
    assert (status, json.loads(body)) == (503, {"degraded": [], "ready": False, "reasons": [{"code": "clock", "text": "时钟偏差 12 秒"}]})
    assert b"yizhan_ready 0.0" in (await get("/metrics"))[1]


async def test_what_is_away_is_told_with_a_countdown():
    levels = (
        LevelLeft(level="public", until="2026-03-02T14:00:00Z", seconds_left=3599.9712, stopped=False),
        LevelLeft(level="internal", until="2026-03-02T08:00:00Z", seconds_left=0.0, stopped=True),
    )
    away = [Away(mode="crl-stale", subject="", since="2026-03-02T08:00:00Z", levels=levels)]
    away.append(
        Away(
            mode="disk-low",
            subject="",
            since="2026-03-02T08:00:00Z",
            levels=(LevelLeft(level="public", until=None, seconds_left=None, stopped=False),),
        )
    )
    server = OpsServer(tuple, Metrics(), absences=lambda: away)
    await server.start("127.0.0.1", 0)
    try:
        async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{server.port}/readyz") as response:
            crl, disk = (await response.json())["degraded"]
    finally:
        await server.stop()
    assert crl == {
        "mode": "crl-stale",
        "subject": "",
        "since": "2026-03-02T08:00:00Z",
        "until": "2026-03-02T08:00:00Z",
        "seconds_left": 0.0,
        "levels": [
            {"level": "public", "until": "2026-03-02T14:00:00Z", "seconds_left": 3600.0, "stopped": False},
            {"level": "internal", "until": "2026-03-02T08:00:00Z", "seconds_left": 0.0, "stopped": True},
        ],
    }
    assert (disk["until"], disk["seconds_left"]) == (None, None)


async def test_other_paths_and_methods(ops):
    get, _, _ = ops
    for path, method in (("/", "GET"), ("/metrics?x", "GET"), ("/healthz", "POST")):
        assert (await get(path, method))[0] == 404


async def test_a_failing_readiness_is_an_answer_too(ops, caplog):
    get, reasons, _ = ops
    reasons.append("not a reason")
    assert (await get("/readyz"))[0] == 500
    assert "Traceback" in caplog.text


def counted() -> Metrics:
    metrics = Metrics()
    gauges: Gauges = metrics
    gauges.outcome("out", State.RELAYED, "internal", "south")
    gauges.latency("seal", 0.004)
    gauges.bytes_moved("in", "north", 12_000)
    gauges.bytes_moved("in", "north", -5)
    gauges.refused("revoked", "north")
    metrics.problem_answered("malformed", "stranger")
    metrics.journal_batch(7, 0.002)
    return metrics


async def test_names_are_law_for_dashboards():
    metrics = counted()

    async def collect():
        return Readings(
            queues={"south": Queue(depth=3, oldest_seconds=12.5)},
            log_sizes={"south/1/2026.1": 42},
            certificate_days={"tls": 89.5},
            directory_days=20.0,
            open_uploads=2,
            disk_free_bytes=1 << 30,
            offers_waiting={"peer-documents": 12},
            degraded={"crl-stale": 1, "clock": 0},
            degraded_seconds_left={("crl-stale", "internal"): 90.5},
        )

    metrics.collect = collect
    lines = (await metrics.scrape()).decode().splitlines()
    for line in (
        'yizhan_exchanges_total{direction="out",level="internal",peer="south",state="RELAYED"} 1.0',
        'yizhan_stage_seconds_count{stage="seal"} 1.0',
        'yizhan_content_bytes_total{direction="in",peer="north"} 12000.0',
        'yizhan_refusals_total{code="revoked",peer="north"} 1.0',
        'yizhan_peer_problems_total{code="malformed",peer="stranger"} 1.0',
        "yizhan_journal_batch_steps_sum 7.0",
        "yizhan_journal_commit_seconds_count 1.0",
        'yizhan_queue_depth{peer="south"} 3.0',
        'yizhan_queue_oldest_seconds{peer="south"} 12.5',
        'yizhan_log_size{origin="south/1/2026.1"} 42.0',
        'yizhan_certificate_days_left{use="tls"} 89.5',
        "yizhan_directory_days_left 20.0",
        "yizhan_open_uploads 2.0",
        "yizhan_disk_free_bytes 1.073741824e+09",
        'yizhan_offers_waiting{code="peer-documents"} 12.0',
        'yizhan_degraded{mode="crl-stale"} 1.0',
        'yizhan_degraded{mode="clock"} 0.0',
        'yizhan_degraded_seconds_left{level="internal",mode="crl-stale"} 90.5',
    ):
        assert line in lines, line
    assert not [line for line in lines if "python" in line or "process_" in line]


async def test_an_empty_queue_has_no_row_left():
    metrics = Metrics()
    readings = [Readings(queues={"south": Queue(depth=1, oldest_seconds=1)}), Readings()]

    async def collect():
        return readings.pop(0)

    metrics.collect = collect
    assert b'yizhan_queue_depth{peer="south"}' in await metrics.scrape()
    assert b'yizhan_queue_depth{peer="south"}' not in await metrics.scrape()


async def test_a_failing_collect_costs_its_readings_alone(caplog):
    metrics = counted()

    async def collect():
        raise OSError("database is gone")

    metrics.collect = collect
    assert b"yizhan_exchanges_total" in await metrics.scrape()
    assert "database is gone" in caplog.text


async def test_a_flood_of_peer_names_does_not_grow_the_answer():
    metrics = Metrics()
    for number in range(MAX_PEERS + 50):
        metrics.refused("malformed", f"peer{number}")
    text = await metrics.scrape()
    assert b'peer="other"} 50.0' in text
    assert f"peer{MAX_PEERS}".encode() not in text

"""The benchmark: what it counts, what it refuses to count, and the shape of what it writes. Never a timing."""

from __future__ import annotations

import json
import os
import time
from datetime import UTC, datetime

import pytest

from crypto.suites import SUITES
from gateway.cli.bench_cases import SIZES, Case, Round, Row, spread
from gateway.cli.bench_city import PROCESSES, BenchCity, BenchFailed, Cost, cpu_ns, memory_mib
from gateway.cli.bench_floor import Floor, counts
from gateway.cli.bench_office import DOCUMENT, HEAD, PIECE, Batch, BenchOffice, Counting
from gateway.cli.bench_partner import As2
from gateway.cli.bench_table import goals
from gateway.cli.main import main
from gateway.core.exchange import State
from gateway.core.explain import explain
from gateway.core.manifest import PartEntry
from gateway.flow.ports import Delivery, OpenedPart

ORG = "11440100007482002L"


# ---- the floor -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES.values())
def test_the_floor_counts_one_document_with_nothing_batched(size):
    times = {}
    for count in counts(size):
        times[count.primitive] = times.get(count.primitive, 0) + count.times
    assert (times["sign"], times["verify"], times["wrap"], times["unwrap"]) == (4, 5, 1, 1)
    assert (times["encrypt"], times["decrypt"]) == (1, 1)
    digested = sum(count.times * count.size for count in counts(size) if count.primitive == "digest")
    assert 4 * size < digested < 4 * size + 20_000  # twice the part, twice the ciphertext, and small messages


@pytest.mark.parametrize("suite", SUITES)
def test_the_floor_does_every_primitive_it_counts(suite):
    spent = Floor(suite).measure(3 * PIECE + 17, 1)
    assert set(spent) == {count.primitive for count in counts(1)}
    assert all(milliseconds > 0 for milliseconds in spent.values())


# ---- the office ------------------------------------------------------------------------------------------------------------------


async def offered(office, batch):
    office._batch = batch
    return [offer async for offer in office.offers()]


@pytest.mark.parametrize("size", [10, 10_240, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE + 5])
async def test_offers_have_the_bytes_they_promise_and_no_two_are_alike(size):
    first, second = await offered(BenchOffice(), Batch(to=ORG, documents=2, size=size, in_flight=2))
    contents = [b"".join(offer.parts[0].read()) for offer in (first, second)]
    assert [len(content) for content in contents] == [size, size] == [offer.parts[0].size for offer in (first, second)]
    assert contents[0].startswith(HEAD)
    assert first.source != second.source
    assert size <= 10 or contents[0] != contents[1]
    assert b"".join(first.parts[0].read()) == contents[0]  # read anew, the same


async def test_no_more_are_offered_than_may_be_in_flight():
    office = BenchOffice()
    batch = office._batch = Batch(to=ORG, documents=3, size=10, in_flight=2)
    walk = office.offers()
    await anext(walk)
    await anext(walk)
    waiting = anext(walk)
    office.came_to(State.DELIVERED)
    assert (await waiting).source == "bench-3"
    assert (batch.offered, batch.delivered) == (3, 1)


async def test_a_batch_ends_when_the_last_handover_was_recorded():
    office = BenchOffice()
    batch = office.expect(2)
    counting = Counting(office)
    for state in (State.SEALED, State.CONSIGNED, State.DELIVERED, State.CONSIGNED):
        counting.outcome("out", state, "internal", "gw")
    counting.outcome("in", State.DELIVERED, "internal", "gw")  # what comes to us is none of ours
    assert not batch.over
    counting.outcome("out", State.DELIVERED, "internal", "gw")
    assert batch.over and not batch.failure


@pytest.mark.parametrize("state", [State.STUCK, State.REFUSED_BY_RECIPIENT, State.HELD, State.EXPIRED])
async def test_any_other_end_of_a_document_fails_the_batch(state):
    office = BenchOffice()
    batch = office.expect(1)
    office.came_to(state)
    assert batch.over and str(state) in batch.failure


async def test_a_refused_document_fails_the_batch():
    office = BenchOffice()
    batch = office.expect(1)
    await office.refuse("bench-1", (explain("expired", expires="2026-01-01T00:00:00Z"),))
    assert batch.over and "bench-1" in batch.failure


def delivery(exchange, sizes=(10, 20)):
    def parts():
        for size in sizes:
            entry = PartEntry(
                name=f"{size}", role="body", level="internal", media_type="application/pdf", size=size, digest="sm3:" + "0" * 64
            )
            yield OpenedPart(entry=entry, chunks=iter((bytes(size),)))

    return Delivery(
        exchange=exchange,
        sender_org=ORG,
        sender_name="",
        level="internal",
        urgency="routine",
        received=datetime(2026, 1, 1, tzinfo=UTC),
        document=DOCUMENT,
        parts=parts,
    )


async def test_the_office_takes_every_byte_and_counts_repeats_and_twins():
    office = BenchOffice()
    await office.deliver(delivery("a"))
    await office.deliver(delivery("a"))
    await office.deliver(delivery("b", (PIECE + 1,)))
    assert office.tally() == {"deliveries": 2, "different": 1, "bytes": 30 + PIECE + 1, "repeats": 1}
    assert office.tally() == {"deliveries": 0, "different": 0, "bytes": 0, "repeats": 0}


# ---- processes -------------------------------------------------------------------------------------------------------------------


def test_the_cpu_clock_of_a_process_is_that_of_the_kernel():
    before, own = cpu_ns(os.getpid()), time.process_time_ns()
    sum(range(300_000))
    after, own_after = cpu_ns(os.getpid()), time.process_time_ns()
    assert after > before
    assert before <= own <= own_after
    assert after <= own_after
    with pytest.raises(OSError):
        cpu_ns(2**22 + 1)  # beyond the largest process id Linux gives


def test_memory_is_read_from_the_kernel():
    assert 1 < memory_mib(os.getpid(), "VmRSS") <= memory_mib(os.getpid(), "VmHWM")
    with pytest.raises(AssertionError):
        memory_mib(os.getpid(), "VmNothing")


@pytest.mark.system
def test_what_does_not_arrive_is_no_measurement(tmp_path):
    with BenchCity(tmp_path / "city", "intl-1", "bench") as city:
        city.tell("sender", do="send", to="91350100M000100Y43", documents=1, size=10, in_flight=1)  # nobody of that code is listed
        with pytest.raises(BenchFailed, match="sender: "):
            city.hear("sender", 30.0)
        city.tell("receiver", do="tally")
        assert city.hear("receiver", 30.0)["deliveries"] == 0


# ---- rows and goals --------------------------------------------------------------------------------------------------------------


def row(suite="gm-1", size_name="10KB", in_flight=64, total=10.0, floor=5.0, peak=100.0, rounds=1, latency=()):
    case = Case(size_name=size_name, in_flight=in_flight, documents=10, floors=1)
    cost = Cost(
        documents=10,
        seconds=2.0,
        cpu_ms=dict(zip(PROCESSES, (total * 0.5, total * 0.3, total * 0.2), strict=True)),
        peak_mib=dict.fromkeys(PROCESSES, peak),
        latency_ms=list(latency),
    )
    one = Round(floor_ms={"sign": floor * 0.75, "verify": floor * 0.25}, cost=cost)
    return Row(suite=suite, case=case, idle_mib=dict.fromkeys(PROCESSES, 80.0), rounds=[one] * rounds).to_json()


def test_spread_is_median_and_range():
    assert spread([3.0, 1.0, 2.0]) == {"median": 2.0, "min": 1.0, "max": 3.0}


def test_a_row_sums_processes_and_primitives():
    value = row(latency=(20.0, 30.0, 40.0))
    assert value["cpu_ms"]["median"] == 10.0
    assert value["floor_ms"]["median"] == 5.0
    assert value["ratio"]["median"] == 2.0
    assert value["above_floor_ms"]["median"] == 5.0
    assert value["documents_per_second"]["median"] == 5.0
    assert value["latency_ms"] == {"median": 30.0, "min": 20.0, "max": 40.0}


def test_goals_tell_met_from_missed():
    rows = [row(total=10.0), row(suite="intl-1", total=9.0, floor=1.0), row(size_name="1GiB", in_flight=1, peak=128.1)]
    found = {goal["goal"]: goal["met"] for goal in goals(rows, {"cpu_ms": spread([44.0])})}
    assert found == {
        "gm-1 10KB × 64: above the floor, ms": True,
        "gm-1 10KB × 64: times the floor": True,
        "intl-1 10KB × 64: above the floor, ms": False,
        "intl-1: documents a CPU second, times pyas2lib": False,
        "gm-1 1GiB: peak memory of any process, MiB": False,
    }


def test_a_partner_that_is_not_asked_for_measures_nothing():
    partner = As2(None)
    assert partner.measure(10) is None
    assert partner.about


# ---- the whole -------------------------------------------------------------------------------------------------------------------


@pytest.mark.system
def test_quick_bench_writes_what_programs_read(tmp_path, capsys):
    out = tmp_path / "build" / "bench.json"
    assert main(["--lang", "en", "bench", "--quick", "--suite", "intl-1", "--size", "10KB", "--out", str(out)]) == 0
    result = json.loads(out.read_bytes())
    assert result["v"] == "yizhan-bench/1" and result["quick"] is True and result["left_out"] == []
    assert {"python", "cryptography", "libcrypto", "sm2_engine", "cpus"} <= set(result["machine"])
    assert [(each["size"], each["in_flight"], each["office"]) for each in result["rows"]] == [
        ("10KB", 64, "bench"),
        ("10KB", 1, "bench"),
        ("10KB", 64, "folder"),
    ]
    for each in result["rows"]:
        assert each["rounds"] == 1
        assert set(each["cpu_ms_by_process"]) == set(each["peak_mib"]) == set(each["idle_mib"]) == set(PROCESSES)
        assert each["cpu_ms"]["median"] > each["floor_ms"]["median"] > 0  # the journey does all of the floor and more
        assert all(cost["median"] > 0 for cost in each["cpu_ms_by_process"].values())
        assert each["documents_per_second"]["min"] > 0
        assert (each["latency_ms"] is not None) == (each["in_flight"] == 1)
    assert {count["primitive"] for count in result["counts"]["10KB"]} == {
        "sign",
        "verify",
        "wrap",
        "unwrap",
        "digest",
        "encrypt",
        "decrypt",
    }
    assert result["goals"] and "skipped" in result["pyas2lib"]
    assert [place.name for place in out.parent.iterdir()] == ["bench.json"]  # the homes are gone
    said = capsys.readouterr().out
    assert "intl-1" in said and str(out) in said

"""``yizhan bench``: what a document costs beyond its cryptography, measured in real processes on this machine.

For each suite two gateways and an authority run on loopback. Every round measures the floor (``bench_floor``) in this process and then the
journey in theirs, for every case in turn. CPU is that of all three processes, from the first offer to the last report; starting them and
a first batch to warm them are not counted, neither is this process, which makes the load. Each document must arrive exactly once.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

from crypto.suites import SuiteId
from gateway.cli.bench_cases import FOLDER, HUGE, LARGE, SEVERAL, SIZES, SMALL, Case, Round, Row, spread
from gateway.cli.bench_city import BenchCity, Cost, OfficeKind
from gateway.cli.bench_floor import Floor, counts
from gateway.cli.bench_partner import As2
from gateway.cli.bench_table import goals, header, line, machine
from gateway.cli.command import Commands, json_argument
from gateway.cli.voice import OK, Voice
from gateway.files import write_atomic

ROUNDS: Final = 5
BUDGET_SECONDS: Final = 540.0  # of the ten minutes; what would not fit any more is left out and named
WARM_UP: Final = 96
QUICK_DOCUMENTS: Final = 4
LARGEST: Final = frozenset(case.size_name for case in (*LARGE, *HUGE))


def add(parser: argparse.ArgumentParser, commands: Commands) -> None:
    """Say what it takes."""
    pick = commands.pick
    parser.add_argument("--suite", choices=("gm-1", "intl-1"), action="append", help=pick("只测此密码套件", "only this suite"))
    parser.add_argument("--size", choices=tuple(SIZES), action="append", help=pick("只测此大小", "only this size"))
    parser.add_argument("--rounds", type=int, default=ROUNDS, metavar="N", help=pick("轮数", "rounds"))
    parser.add_argument("--quick", action="store_true", help=pick("每种少量公文、一轮", "a few documents of each kind, one round"))
    parser.add_argument(
        "--out", type=Path, default=Path("build/bench.json"), metavar="FILE", help=pick("结果文件", "where the result goes")
    )
    json_argument(parser, commands)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, voice: Voice) -> int:
    """Measure, print, write. Raises BenchFailed when a document does not arrive exactly once."""
    bench = Bench(arguments, voice)
    result = bench.measure()
    out: Path = arguments.out
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(out, json.dumps(result, ensure_ascii=False, indent=1).encode() + b"\n")
    voice.value(result)
    bench.conclude(result, out)
    return OK


class Bench:
    """One run over everything that was asked for."""

    def __init__(self, arguments: argparse.Namespace, voice: Voice) -> None:
        self._voice = voice
        self._quick: bool = arguments.quick
        self._rounds = 1 if self._quick else max(1, arguments.rounds)
        self._suites: tuple[SuiteId, ...] = tuple(arguments.suite or ("gm-1", "intl-1"))
        self._sizes: tuple[str, ...] = tuple(arguments.size or (("10KB", "1MB") if self._quick else SIZES))
        self._floors = {suite: Floor(suite) for suite in self._suites}
        self._begun = time.monotonic()
        self._rows: list[dict[str, Any]] = []
        self._left_out: list[str] = []
        self._as2: list[float] = []
        self._place = arguments.out.parent

    def measure(self) -> dict[str, Any]:
        """Everything, as the value of bench.json."""
        about = machine()
        self._say_machine(about)
        self._place.mkdir(parents=True, exist_ok=True)
        partner = As2(self._place) if not self._quick and "10KB" in self._sizes else As2(None)
        with _folder(self._place) as folder:
            with self._cities(folder / "bench", "bench") as cities:
                self._interleaved(cities, SMALL, partner)
            if "10KB" in self._sizes:
                with self._cities(folder / "folder", "folder") as cities:
                    self._interleaved(cities, FOLDER)
            if LARGEST & set(self._sizes):
                with self._cities(folder / "large", "bench") as cities:
                    self._interleaved(cities, LARGE)
                    self._once(cities, HUGE)
                    self._interleaved(cities, SEVERAL)
        as2 = {"cpu_ms": spread(self._as2), "what": partner.about} if self._as2 else {"skipped": partner.about}
        return {
            "v": "yizhan-bench/1",
            "machine": about,
            "quick": self._quick,
            "seconds": round(time.monotonic() - self._begun, 1),
            "counts": {name: [count.to_json() for count in counts(SIZES[name])] for name in self._sizes},
            "rows": self._rows,
            "pyas2lib": as2,
            "goals": goals(self._rows, as2),
            "left_out": self._left_out,
        }

    # ---- measuring

    @contextmanager
    def _cities(self, folder: Path, office: OfficeKind) -> Iterator[dict[SuiteId, BenchCity]]:
        with ExitStack() as running:
            cities = {suite: running.enter_context(BenchCity(folder / suite, suite, office)) for suite in self._suites}
            for city in cities.values():
                city.idle_mib = city.resident_mib()
                _journey(city, self._sized(Case(size_name="10KB", in_flight=32, documents=WARM_UP, floors=0, office=office)))
            yield cities

    def _interleaved(self, cities: dict[SuiteId, BenchCity], cases: Sequence[Case], partner: As2 | None = None) -> None:
        """Round after round, each with every case of every suite, floor and journey one after the other."""
        wanted = [case for case in cases if case.size_name in self._sizes]
        rows = [Row(suite=suite, case=self._sized(case), idle_mib=city.idle_mib) for case in wanted for suite, city in cities.items()]
        needs = sum(self._expected(row.suite, row.case) for row in rows)
        for number in range(self._rounds if rows else 0):
            if self._left() < needs:
                names = ", ".join(dict.fromkeys(f"{case.size_name} × {case.in_flight}" for case in wanted))
                self._leave_out(f"{names}: {self._rounds - number} of {self._rounds} rounds")
                break
            begun = time.monotonic()
            for row in rows:
                self._round(cities[row.suite], row)
            if partner is not None and (cost := partner.measure(SIZES["10KB"])) is not None:
                self._as2.append(cost)
            needs = time.monotonic() - begun
        self._show([row for row in rows if row.rounds])

    def _once(self, cities: dict[SuiteId, BenchCity], cases: Sequence[Case]) -> None:
        """What is too large for rounds: once, if the time allows."""
        for case in cases:
            for suite, city in cities.items():
                if case.size_name not in self._sizes:
                    continue
                row = Row(suite=suite, case=case, idle_mib=city.idle_mib)
                if self._left() < self._expected(suite, case):
                    self._leave_out(f"{suite} {case.size_name}")
                    continue
                self._round(city, row)
                self._show([row])

    def _round(self, city: BenchCity, row: Row) -> None:
        floor = self._floors[row.suite].measure(row.case.size, row.case.floors)
        row.rounds.append(Round(floor_ms=floor, cost=_journey(city, row.case)))

    def _sized(self, case: Case) -> Case:
        if not self._quick:
            return case
        documents = min(case.documents, QUICK_DOCUMENTS)
        return Case(size_name=case.size_name, in_flight=case.in_flight, documents=documents, floors=1, office=case.office)

    def _left(self) -> float:
        return BUDGET_SECONDS - (time.monotonic() - self._begun)

    def _expected(self, suite: SuiteId, case: Case) -> float:
        """Seconds a round of this case will take, from the largest document measured so far, with room to spare."""
        measured = [row for row in self._rows if row["suite"] == suite and row["in_flight"] == 1 and row["office"] == "bench"]
        if not measured:
            return 0.0
        largest = max(measured, key=lambda row: int(row["bytes"]))
        return float(1.3 * case.documents * case.size / largest["bytes"] / largest["documents_per_second"]["median"])

    # ---- speaking

    def _say_machine(self, about: dict[str, Any]) -> None:
        text = f"{about['python']}, {about['cryptography']} (cryptography), {about['libcrypto']}, SM2: {about['sm2_engine']}, {about['cpus']} × {about['cpu']}"
        self._voice.say(text, text)
        self._voice.say(header(), header())

    def _show(self, rows: Sequence[Row]) -> None:
        for row in rows:
            value = row.to_json()
            self._rows.append(value)
            self._voice.say(line(value), line(value))

    def _leave_out(self, what: str) -> None:
        self._left_out.append(what)
        self._voice.say(f"时间不足，略去：{what}", f"left out for want of time: {what}")

    def conclude(self, result: dict[str, Any], out: Path) -> None:
        """The comparison, the goals and where the numbers lie."""
        as2 = result["pyas2lib"]
        text = f"{as2['cpu_ms']['median']:.2f} ms ({as2['what']})" if "cpu_ms" in as2 else as2["skipped"]
        self._voice.say(f"pyas2lib 打包加拆包，10KB：{text}", f"pyas2lib pack + unpack, 10KB: {text}")
        for goal in result["goals"]:
            bound = f"≤ {goal['at_most']}" if goal["at_most"] is not None else f"≥ {goal['at_least']}"
            mark = "✓" if goal["met"] else "✗"
            self._voice.say(f"{mark} {goal['goal']}：{goal['value']}（{bound}）", f"{mark} {goal['goal']}: {goal['value']} ({bound})")
        self._voice.say(f"用时 {result['seconds']} 秒；结果：{out}", f"{result['seconds']} s; result: {out}")


def _journey(city: BenchCity, case: Case) -> Cost:
    measure = city.measure_folder if case.office == "folder" else city.measure
    return measure(case.documents, case.size, case.in_flight)


@contextmanager
def _folder(place: Path) -> Iterator[Path]:
    """A folder for the homes, on the disk the result goes to; gone afterwards, unless a document failed: its logs are named then."""
    folder = Path(tempfile.mkdtemp(prefix="bench-", dir=place))
    yield folder
    shutil.rmtree(folder)

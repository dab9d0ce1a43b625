"""What is measured, and how the rounds become one row: medians with the smallest and the largest round."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from crypto.suites import SuiteId
from gateway.cli.bench_city import PROCESSES, Cost, OfficeKind

KIB: Final = 1024
SIZES: Final = {"10KB": 10 * KIB, "1MB": 1_000_000, "100MB": 100_000_000, "1GiB": 1024 * KIB * KIB}


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One kind of load; ``documents`` a round, ``floors`` repetitions of the floor beside it."""

    size_name: str
    in_flight: int
    documents: int
    floors: int
    office: OfficeKind = "bench"

    @property
    def size(self) -> int:
        return SIZES[self.size_name]


SMALL: Final = (
    Case(size_name="10KB", in_flight=64, documents=192, floors=10),
    Case(size_name="10KB", in_flight=1, documents=24, floors=10),
    Case(size_name="1MB", in_flight=64, documents=64, floors=4),
    Case(size_name="1MB", in_flight=1, documents=8, floors=4),
)
FOLDER: Final = (Case(size_name="10KB", in_flight=64, documents=128, floors=10, office="folder"),)
LARGE: Final = (Case(size_name="100MB", in_flight=1, documents=1, floors=1),)
HUGE: Final = (Case(size_name="1GiB", in_flight=1, documents=1, floors=1),)
# 64 times 100 MB in flight would take more minutes than we have.
SEVERAL: Final = (Case(size_name="100MB", in_flight=4, documents=4, floors=1),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """Floor and journey of one round, one after the other."""

    floor_ms: dict[str, float]
    cost: Cost

    @property
    def floor(self) -> float:
        return sum(self.floor_ms.values())


@dataclass(slots=True, kw_only=True)
class Row:
    """One case of one suite and its rounds so far."""

    suite: SuiteId
    case: Case
    idle_mib: dict[str, float]
    rounds: list[Round] = field(default_factory=list)

    def spread(self, value: Callable[[Round], float]) -> dict[str, float]:
        """Median, smallest and largest over the rounds."""
        return spread([value(each) for each in self.rounds])

    def to_json(self) -> dict[str, Any]:
        latencies = [latency for each in self.rounds for latency in each.cost.latency_ms]
        return {
            "suite": self.suite,
            "size": self.case.size_name,
            "bytes": self.case.size,
            "in_flight": self.case.in_flight,
            "office": self.case.office,
            "rounds": len(self.rounds),
            "documents_a_round": self.case.documents,
            "documents_per_second": self.spread(lambda each: each.cost.documents / each.cost.seconds),
            "cpu_ms": self.spread(lambda each: each.cost.total_ms),
            "cpu_ms_by_process": {key: self.spread(lambda each, key=key: each.cost.cpu_ms[key]) for key in PROCESSES},  # type: ignore[misc]
            "floor_ms": self.spread(lambda each: each.floor),
            "floor_ms_by_primitive": {
                primitive: self.spread(lambda each, primitive=primitive: each.floor_ms[primitive])  # type: ignore[misc]
                for primitive in self.rounds[0].floor_ms
            },
            "ratio": self.spread(lambda each: each.cost.total_ms / each.floor),
            "above_floor_ms": self.spread(lambda each: each.cost.total_ms - each.floor),
            "latency_ms": spread(latencies) if latencies else None,
            "peak_mib": {key: round(max(each.cost.peak_mib[key] for each in self.rounds), 1) for key in PROCESSES},
            "idle_mib": {key: round(value, 1) for key, value in self.idle_mib.items()},
        }


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, smallest and largest."""
    return {"median": round(statistics.median(values), 3), "min": round(min(values), 3), "max": round(max(values), 3)}

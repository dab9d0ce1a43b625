"""How a benchmark reads: one line a row, what it was measured on, what was aimed at and reached."""

from __future__ import annotations

import ctypes.util
import os
import platform
from pathlib import Path
from typing import Any

from cryptography.hazmat.backends.openssl import backend

from crypto.sm2 import engine

COLUMNS = (
    ("suite", 7), ("size", 7), ("in flight", 10), ("office", 7), ("doc/s", 8), ("CPU ms/doc (min–max)", 26), ("floor ms", 9),
    ("ratio (min–max)", 18), ("above floor", 12), ("latency ms", 11), ("peak MiB s/r/a", 15),
)  # fmt: skip


def machine() -> dict[str, Any]:
    """What the numbers were measured on."""
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "cryptography": backend.openssl_version_text(),
        "libcrypto": _system_libcrypto(),
        "sm2_engine": engine().name,
        "cpus": len(os.sched_getaffinity(0)),
        "cpu": _cpu_name(),
        "load_at_start": round(os.getloadavg()[0], 2),
    }


def header() -> str:
    return "  ".join(name.ljust(width) for name, width in COLUMNS)


def line(row: dict[str, Any]) -> str:
    """One row of the table."""
    latency = row["latency_ms"]
    peak = row["peak_mib"]
    cells = (
        row["suite"],
        row["size"],
        str(row["in_flight"]),
        row["office"],
        f"{row['documents_per_second']['median']:.4g}",
        _with_range(row["cpu_ms"]),
        f"{row['floor_ms']['median']:.2f}",
        _with_range(row["ratio"]),
        f"{row['above_floor_ms']['median']:+.2f}",
        f"{latency['median']:.1f}" if latency else "",
        f"{peak['sender']:.0f}/{peak['receiver']:.0f}/{peak['authority']:.0f}",
    )
    return "  ".join(cell.ljust(width) for cell, (_, width) in zip(cells, COLUMNS, strict=True))


def goals(rows: list[dict[str, Any]], as2: dict[str, Any]) -> list[dict[str, Any]]:
    """What DESIGN 10 and the issue ask for, and what was measured; ``met`` is for this machine, today."""
    found: list[dict[str, Any]] = []
    for row in rows:
        found += _goals_of(row)
        if row["suite"] == "intl-1" and _is(row, "10KB", 64) and "cpu_ms" in as2:
            found.append(
                _goal("intl-1: documents a CPU second, times pyas2lib", as2["cpu_ms"]["median"] / row["cpu_ms"]["median"], at_least=5.0)
            )
    return found


def _goals_of(row: dict[str, Any]) -> list[dict[str, Any]]:
    suite, ratio, peak = row["suite"], row["ratio"]["median"], max(row["peak_mib"].values())
    if _is(row, "10KB", 64):
        above = _goal(f"{suite} 10KB × 64: above the floor, ms", row["above_floor_ms"]["median"], at_most=6.0)
        return [above, _goal("gm-1 10KB × 64: times the floor", ratio, at_most=2.5)] if suite == "gm-1" else [above]
    if _is(row, "10KB", 1) and suite == "gm-1":
        return [
            _goal("gm-1 10KB × 1: times the floor", ratio, at_most=3.5),
            _goal("gm-1 10KB × 1: median end to end, ms", row["latency_ms"]["median"], at_most=30.0),
        ]
    if _is(row, "100MB", 1):
        return [_goal(f"{suite} 100MB × 1: times the floor", ratio, at_most=1.5 if suite == "gm-1" else 2.0)]
    if row["size"] == "1GiB":
        return [_goal(f"{suite} 1GiB: peak memory of any process, MiB", peak, at_most=128.0)]
    return []


def _is(row: dict[str, Any], size: str, in_flight: int) -> bool:
    return (row["size"], row["in_flight"], row["office"]) == (size, in_flight, "bench")


def _goal(what: str, value: float, *, at_most: float | None = None, at_least: float | None = None) -> dict[str, Any]:
    met = (at_most is None or value <= at_most) and (at_least is None or value >= at_least)
    return {"goal": what, "value": round(value, 2), "at_most": at_most, "at_least": at_least, "met": met}


def _with_range(value: dict[str, float]) -> str:
    return f"{value['median']:.2f} ({value['min']:.2f}–{value['max']:.2f})"


def _system_libcrypto() -> str:
    """The version of the libcrypto that the system's loader finds; SM2 runs there when the engine is libcrypto."""
    for name in ("libcrypto.so.3", ctypes.util.find_library("crypto")):
        try:
            library = ctypes.CDLL(name or "")
            library.OpenSSL_version.restype = ctypes.c_char_p
            return str(library.OpenSSL_version(0).decode())
        except (OSError, AttributeError):
            continue
    return "none"


def _cpu_name() -> str:
    for text in Path("/proc/cpuinfo").read_text().splitlines():
        if text.startswith("model name"):
            return text.partition(":")[2].strip()
    return platform.machine()

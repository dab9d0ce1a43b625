"""``make fuzz``: every target in turn under the coverage-guided fuzzer, a process each; how often each was executed, and what broke.

    python -m tests.fuzz.run [--target NAME] [--seconds N] [--total N]

The corpus stays in ``build/fuzz/<target>/corpus`` and is where the next run goes on from; an input that broke something is kept as
``build/fuzz/<target>/crash-…``, ``timeout-…`` or ``oom-…``, and belongs into ``tests/vectors/fuzz/<target>/`` once the product is mended.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.fuzz.targets import TARGETS

ROOT = Path(__file__).resolve().parents[2]
PLACE = ROOT / "build" / "fuzz"
SECONDS = 10  # a target, unless said otherwise
HANG_SECONDS = 30  # one input; the finer ceilings stand with the targets
RSS_MIB = 768  # a whole process, instrumented, with its corpus in memory; it begins with about 200
GRACE = 120.0  # for a process that does not end by itself

_EXECUTED = re.compile(rb"stat::number_of_executed_units: (\d+)")
_PROGRESS = re.compile(rb"(?m)^#(\d+)\s")
_PEAK = re.compile(rb"stat::peak_rss_mb:\s+(\d+)")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run them; 1 when anything broke, 2 when the fuzzer is not here."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.run", description="the coverage-guided fuzzer over every parser")
    parser.add_argument("--target", action="append", choices=sorted(TARGETS), help="only this one; may be given several times")
    parser.add_argument("--seconds", type=int, default=SECONDS, help="for each target")
    parser.add_argument("--total", type=int, default=0, help="go round again until so many executions are counted")
    asked = parser.parse_args(arguments)
    if importlib.util.find_spec("atheris") is None:
        sys.stderr.write(
            "The fuzzer atheris is not installed; it has wheels for Linux on x86-64 alone. The short form runs everywhere: make test\n"
        )
        return 2
    counted: dict[str, int] = {}
    broken: list[str] = []
    while True:
        for name in asked.target or TARGETS:
            executed, peak, whole = _fuzz(name, asked.seconds)
            counted[name] = counted.get(name, 0) + executed
            state = "ok" if whole else "BROKEN"
            _say(f"{name:28} {executed:>12,} executions {executed // max(1, asked.seconds):>8,}/s {peak:>6} MiB  {state}")
            if not whole:
                broken.append(name)
        _keep(counted)
        if broken or sum(counted.values()) >= asked.total:
            break
    _say(f"{'total':28} {sum(counted.values()):>12,} executions of {len(counted)} targets; broken: {', '.join(broken) or 'none'}")
    return 1 if broken else 0


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _fuzz(name: str, seconds: int) -> tuple[int, int, bool]:
    """One target for so long: executions, peak memory in MiB, and whether nothing broke."""
    target, place = TARGETS[name], PLACE / name
    corpus, seeds = place / "corpus", place / "seeds"
    shutil.rmtree(seeds, ignore_errors=True)
    for folder in (corpus, seeds):
        folder.mkdir(parents=True, exist_ok=True)
    for seed in target.seeds():
        (seeds / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)
    flags = {
        "max_total_time": seconds,
        "max_len": target.longest,
        "timeout": HANG_SECONDS,
        "rss_limit_mb": RSS_MIB,
        "artifact_prefix": f"{place}/",
        "print_final_stats": 1,
        "detect_leaks": 0,
    }
    command = [
        sys.executable,
        "-W",
        "error",
        "-m",
        "tests.fuzz.child",
        name,
        str(corpus),
        str(seeds),
        *(f"-{key}={value}" for key, value in flags.items()),
    ]
    with (place / "log").open("wb") as log:
        try:
            code = subprocess.run(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, timeout=seconds + GRACE, check=False).returncode
        except subprocess.TimeoutExpired:
            code = -1
    said = (place / "log").read_bytes()
    if code:
        sys.stdout.write(said[-4000:].decode("utf-8", "replace"))
    executed = _EXECUTED.search(said)
    reached = [int(one) for one in _PROGRESS.findall(said)]
    peak = _PEAK.search(said)
    return int(executed[1]) if executed else max(reached, default=0), int(peak[1]) if peak else 0, code == 0


def _keep(counted: dict[str, int]) -> None:
    """The counts of this run, for whoever reports them."""
    PLACE.mkdir(parents=True, exist_ok=True)
    file = PLACE / time.strftime("run-%Y%m%d.json")
    file.write_text(json.dumps({"total": sum(counted.values()), "targets": counted}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())

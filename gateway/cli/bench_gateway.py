"""A gateway under measurement: the real one, in a process of its own, with the benchmark's office (or the configured one) behind it.

    python -m gateway.cli.bench_gateway HOME bench|folder

It is told what to do in JSON lines on standard input and answers each with one line on standard output:

    {"do": "send", "to": ORG, "documents": N, "size": BYTES, "in_flight": C}   -> {"seconds": …, "latency_ms": […], "failure": ""}
    {"do": "expect", "documents": N}                                           -> {"delivered": n} whenever n grew, until it is N
    {"do": "tally"}                                                            -> {"deliveries": …, "different": …, "bytes": …, "repeats": …}

It ends with its standard input, so that no gateway outlives a benchmark that was killed.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import sys
from pathlib import Path
from typing import Any

from gateway.app import GC_THRESHOLDS, Gateway
from gateway.cli.bench_office import Batch, BenchOffice, Counting
from gateway.home import Home


async def _serve(home: Home, office: BenchOffice, *, folder: bool) -> int:
    gateway = Gateway(home, office=None if folder else office, metrics=Counting(office))
    listening = asyncio.create_task(_listen(gateway, office), name="benchmark's words")
    try:
        return await gateway.run()
    finally:
        listening.cancel()


async def _listen(gateway: Gateway, office: BenchOffice) -> None:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        told: dict[str, Any] = json.loads(line)
        match told.pop("do"):
            case "send":
                await _send(office, Batch(**told))
            case "expect":
                await _watch(office.expect(told["documents"]))
            case "tally":
                _answer(office.tally())
    gateway.stop()


async def _send(office: BenchOffice, batch: Batch) -> None:
    await office.send(batch)
    _answer(
        {
            "seconds": batch.ended - batch.begun,
            "latency_ms": [round(seconds * 1000, 3) for seconds in batch.latencies()],
            "failure": batch.failure,
        }
    )


async def _watch(batch: Batch) -> None:
    told = 0
    while not batch.over:
        batch.news.clear()
        await batch.news.wait()
        if batch.delivered > told:
            told = batch.delivered
            _answer({"delivered": told, "failure": batch.failure})
    if batch.failure:
        _answer({"delivered": told, "failure": batch.failure})


def _answer(value: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def main() -> int:
    """Serve until standard input ends; as ``yizhan serve`` does, with the same log level and the same thresholds of the collector."""
    path, kind = sys.argv[1:]
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    gc.set_threshold(*GC_THRESHOLDS)
    return asyncio.run(_serve(Home.open(Path(path)), BenchOffice(), folder=kind == "folder"))


if __name__ == "__main__":
    sys.exit(main())

"""soak: half an hour at half load. Every document sent is delivered, refused or still under way, and nothing grows but what must.

What must grow is the store, by so many bytes a document; what must not are memory, file descriptors and threads. Each is compared between
the second and the last quarter of the run, so that caches have filled and the interpreter has settled before anything is measured.
"""

from __future__ import annotations

import itertools
import random
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway.app import MIB
from tests.faults.torture import rounds
from tests.system.town import FINANCE, OFFICE, Town

pytestmark = pytest.mark.system

SECONDS = rounds(12, 1800)
RATE = 20.0  # documents a second one way, the folder office's half load on two cores; a tenth as many come back
REFUSED_EVERY = 25  # 秘密 in a commercial zone: refused at the tray
SAMPLE_SECONDS = 2.0
LONG = SECONDS >= 600  # drift is judged only where a quarter of the run is long enough to show one
TERMINAL = {"DELIVERED", "SIGNED_FOR", "RETURNED"}


@dataclass(frozen=True)
class Sample:
    """What one gateway held of the machine at one moment."""

    resident: int
    descriptors: int
    threads: int
    disk: int
    documents: int


def sample(town: Town, key: str, documents: int) -> Sample:
    process = Path(f"/proc/{town.process(key).pid}")
    pages = int((process / "statm").read_text().split()[1])
    return Sample(
        resident=pages * 4096,
        descriptors=len(list((process / "fd").iterdir())),
        threads=len(list((process / "task").iterdir())),
        disk=sum(place.stat().st_size for place in town.city.homes[key].data.rglob("*") if place.is_file() and "-wal" not in place.name),
        documents=documents,
    )


def test_half_load_for_long_loses_nothing_and_grows_nowhere(tmp_path):
    seed = random.randrange(1 << 30)
    chance = random.Random(seed)
    samples: dict[str, list[Sample]] = {OFFICE.key: [], FINANCE.key: []}
    with Town(tmp_path) as town:
        sent = _send_steadily(town, chance, samples)
        town.wait(lambda: sum(_verdicts(town).values()) == sent, "every document has left the tray", 120)
        town.wait(lambda: _verdicts(town)["pending"] == 0, "nothing is under way any more", 180)
        verdicts = _verdicts(town)
        assert verdicts["delivered"] + verdicts["refused"] == sent
        assert verdicts["refused"] == sum(number % REFUSED_EVERY == 0 for number in range(sent))
        delivered = len(town.finance.inbox()) + len(town.office.inbox())
        assert delivered == verdicts["delivered"], "as many lie in inboxes as senders read DELIVERED"
        for key in samples:
            assert town.end(key) == 0
        for desk in (town.office, town.finance):
            desk.prove()
    print(f"soak seed {seed}: {SECONDS} s, {sent} sent = {verdicts['delivered']} delivered + {verdicts['refused']} refused + 0 pending")  # noqa: T201
    for key, taken in samples.items():
        _judge(key, taken)


def _send_steadily(town: Town, chance: random.Random, samples: dict[str, list[Sample]]) -> int:
    """Documents at the rate, whatever the gateways make of them; how many."""
    begun = time.monotonic()
    next_sample = begun + SAMPLE_SECONDS
    for number in itertools.count():
        now = time.monotonic()
        if now - begun >= SECONDS:
            return number
        level = "秘密" if number % REFUSED_EVERY == 0 else "内部"
        desk, other = (town.finance, town.office) if number % 11 == 10 else (town.office, town.finance)
        size = chance.choice([500, 4_000, 10_000, 40_000]) if number % 200 else 2_000_000
        desk.send(f"doc-{number:06d}", [other.code], {"正文.pdf": chance.randbytes(size)}, level=level)
        if now >= next_sample:
            next_sample = now + SAMPLE_SECONDS
            for key, taken in samples.items():
                taken.append(sample(town, key, number))
        time.sleep(max(0.0, begun + (number + 1) / RATE - time.monotonic()))
    raise AssertionError("internal: counts for ever")


def _verdicts(town: Town) -> Counter[str]:
    counted = Counter({"pending": 0})
    for desk in (town.office, town.finance):
        for status in desk.statuses().values():
            state = next((each["state"] for each in status["recipients"]), "TAKEN")
            counted["delivered" if state in TERMINAL else "pending"] += 1
        counted["refused"] += sum(1 for place in (desk.root / "refused").iterdir() if (place / "reasons.json").exists())
    return counted


def _judge(key: str, taken: Sequence[Sample]) -> None:
    """The last quarter of the run against its second."""
    quarter = max(1, len(taken) // 4)
    early, late = taken[quarter : 2 * quarter], taken[-quarter:]
    resident = [statistics.median(one.resident for one in part) / MIB for part in (early, late)]
    descriptors = [statistics.median(one.descriptors for one in part) for part in (early, late)]
    threads = [max(one.threads for one in part) for part in (early, late)]
    growth = [(part[-1].disk - part[0].disk) / max(1, part[-1].documents - part[0].documents) for part in (early, late)]
    print(  # noqa: T201
        f"soak {key}: memory {resident[0]:.1f} → {resident[1]:.1f} MiB, descriptors {descriptors[0]:.0f} → {descriptors[1]:.0f}, "
        f"threads {threads[0]} → {threads[1]}, store a document {growth[0]:.0f} → {growth[1]:.0f} bytes"
    )
    assert threads[1] <= threads[0] + 2
    assert descriptors[1] <= descriptors[0] + 40, "connections come and go; nothing else may stay open"
    assert resident[1] < 256
    if LONG:
        assert resident[1] <= resident[0] * 1.1 + 4, "memory drifts"
        assert growth[1] <= growth[0] * 1.3, "the store grows faster than it did"

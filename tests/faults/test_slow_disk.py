"""slow_disk: every sync of a real gateway takes far longer than it should. The event loop answers all the same, work waits and none is
lost or done twice, and what the peer sends while it waits is no more than its limits allow.
"""

from __future__ import annotations

import threading
import time
import urllib.request
from typing import Self

import pytest

from tests.faults.disk_faults import Letters, start_injected
from tests.faults.disk_trace import needs_strace
from tests.faults.torture import FACTOR, rounds
from tests.system.town import Town

DELAY = 12.0 if FACTOR else 0.3  # seconds a sync; the long form goes beyond what a peer waits for an answer


class Pulse:
    """Asks a gateway again and again whether it is alive; the longest it took to say so."""

    def __init__(self, url: str) -> None:
        self.longest = 0.0
        self.answers = 0
        self._url = url
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _beat(self) -> None:
        while not self._stop.wait(0.05):
            begun = time.monotonic()
            with urllib.request.urlopen(self._url, timeout=60) as answer:
                answer.read()
            self.longest = max(self.longest, time.monotonic() - begun)
            self.answers += 1


@pytest.mark.system
@pytest.mark.parametrize("key", ["finance", "office"] if FACTOR else ["finance"])
def test_a_disk_that_tarries_delays_and_loses_nothing(key: str, tmp_path):
    needs_strace()
    with Town(tmp_path) as town:
        letters = Letters(town)
        town.end(key)
        start_injected(town, key, f"delay_exit={round(DELAY * 1_000_000)}")
        town.city.wait_ready(key)
        syncs = town.city.folder / f"{key}.syncs"
        before = len(syncs.read_text().splitlines())
        with Pulse(f"http://{town.city.homes[key].config.listen.ops}/healthz") as pulse:
            letters.send(rounds(3, 40), sizes=(1_300_000, 300, 9_000, 90_000))
            town.wait(letters.arrived, "every letter, slowly", 60 + 60 * DELAY)
        under_way = syncs.read_text().splitlines()[before:]
        loop = [line for line in under_way if line.startswith(f"{town.process(key).pid} ")]
        town.end(key)
        town.start(key)
        assert (town.end("finance"), town.end("office")) == (0, 0)
        letters.prove()
    print(f"{key}: {len(under_way)} syncs of {DELAY} s: longest silence of the loop {pulse.longest:.3f} s in {pulse.answers} answers")  # noqa: T201
    assert under_way
    assert not loop, "the event loop never syncs"
    assert pulse.answers > DELAY

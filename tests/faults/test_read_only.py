"""read_only: the kernel closes the file system of a gateway at work. It ends with exit code 1 and a word for the operator, refuses to
start until the disk is mended, and then goes on: nothing acknowledged is lost, nothing arrives twice.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.faults.disk_faults import MIB, ClosingDisk, Letters, configure
from tests.faults.disk_town import ROOT
from tests.faults.torture import FACTOR, rounds
from tests.system.town import Town


@pytest.mark.system
@pytest.mark.parametrize("key", ["finance", "office"] if FACTOR else ["finance"])
def test_a_disk_that_may_only_be_read_stops_the_gateway_and_loses_nothing(key: str, tmp_path):
    town = Town(tmp_path)
    configure(town, key, "head_room_mib = 512", "head_room_mib = 80")
    home, letters = town.city.homes[key], Letters(town)
    disk = ClosingDisk(home.data, 400 * MIB)
    try:
        with town:
            for _ in range(rounds(1, 10)):
                said = len(town.log(key))
                letters.send(12)
                town.wait(lambda: len(town.finance.inbox()) >= len(letters.sent) - 9, "some letters under way")
                disk.close()
                assert town.process(key).wait(30) == 1
                words = town.log(key)[said:]
                assert "this process ends so that a restart can recover" in words
                assert "Traceback" not in words, words[-3000:]
                again = subprocess.run(
                    [sys.executable, "-m", "gateway.cli.main", "serve", "--home", str(home.path), "--lang", "en"],
                    capture_output=True, text=True, timeout=60, check=False, cwd=ROOT,
                )  # fmt: skip
                assert again.returncode == 1
                assert "Read-only file system" in again.stderr
                assert "Traceback" not in again.stderr, again.stderr[-3000:]
                disk.mend()
                town.start(key)
                town.wait(letters.arrived, "every letter", 90)
            assert (town.end("finance"), town.end("office")) == (0, 0)
            letters.prove()
    finally:
        disk.remove()

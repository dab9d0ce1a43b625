"""A town whose gateways run under strace: one recorded run of real processes, looked at by several tests."""

from __future__ import annotations

import atexit
import functools
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gateway.cli.city import undisturbed
from tests.faults.disk_trace import Act, acts, finished, needs_strace, recording
from tests.system.town import FINANCE, OFFICE, Desk, Town

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """One gateway's part of the run. ``before`` is a copy of its home as it was when the gateway started."""

    desk: Desk
    before: Path
    plain: Path
    acts: list[Act]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    sent: Mapping[str, bytes]  # by the name of the folder in the outbox
    gateways: Mapping[str, Recorded]


def start_recorded(town: Town, key: str, environment: Mapping[str, str]) -> None:
    """Start a gateway under strace in place of an ordinary one."""
    folder, home = town.city.folder, town.city.homes[key].path
    command = [sys.executable, "-m", "tests.faults.disk_serve", str(home), str(folder / f"{key}.plain")]
    with undisturbed(), (folder / f"{key}.log").open("ab") as log:
        town.city.processes[key] = subprocess.Popen(
            recording(folder / f"{key}.strace", command),
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            cwd=ROOT,
            env={**os.environ, **environment, "PYTHONUNBUFFERED": "1"},
        )


def record_run(folder: Path, *, documents: int, environment: Mapping[str, str]) -> Run:
    """Documents of several sizes from the office to finance and one back, some signed for or returned; both gateways recorded."""
    town = Town(folder)
    chance = random.Random(1)
    sent: dict[str, bytes] = {}
    for number in range(documents):  # laid out before anybody runs: what people write is not in the record
        name = f"doc-{number:03d}"
        sent[name] = chance.randbytes((400, 9_000, 120_000 if number % 8 == 2 else 1_300_000, 2_000)[number % 4])
        town.office.send(name, [FINANCE.code], {"正文.pdf": sent[name]})
    sent["back"] = chance.randbytes(500)
    town.finance.send("back", [OFFICE.code], {"正文.pdf": sent["back"]})
    before = {}
    for key, home in town.city.homes.items():
        before[key] = folder / f"{key}.before"
        shutil.copytree(home.path, before[key], symlinks=True)
    town.city.start_gateway = lambda key: start_recorded(town, key, environment)  # type: ignore[method-assign]
    with town:
        town.wait(lambda: len(town.finance.inbox()) == documents and len(town.office.inbox()) == 1, "every inbox")
        arrived = sorted(town.finance.inbox())
        town.finance.sign_for(arrived[0])
        town.finance.send_back(arrived[1], "退回重办")
        wanted = sorted(["DELIVERED"] * (documents - 2) + ["SIGNED_FOR", "RETURNED"])
        town.wait(lambda: sorted(states(town.office)) == wanted, "every sender's status")
        town.wait(lambda: states(town.finance) == ["DELIVERED"], "finance's status")
        for key in ("office", "finance"):
            assert town.end(key) == 0, town.log(key)[-2000:]
    recorded = {}
    for key, desk in (("office", town.office), ("finance", town.finance)):
        finished(folder / f"{key}.strace")
        plain = folder / f"{key}.plain"
        recorded[key] = Recorded(desk=desk, before=before[key], plain=plain, acts=acts(folder / f"{key}.strace", desk.home.path, plain))
    return Run(sent=sent, gateways=recorded)


@functools.cache
def the_run() -> Run:
    """The run every test of this process looks at; made once."""
    needs_strace()
    folder = Path(tempfile.mkdtemp(prefix="yizhan-recorded-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return record_run(folder, documents=12, environment={})


def states(desk: Desk) -> list[str]:
    """Where each recipient of what was sent stands, as the office sees it."""
    return [each["state"] for status in desk.statuses().values() for each in status["recipients"]]

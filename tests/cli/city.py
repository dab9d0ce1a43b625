"""A small real city for the command line's tests: two gateways and a pilot authority, as processes, for a few seconds.

One document goes from one agency to the other and is signed for; then everything stops and what lies on disk is examined.
"""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from gateway.cli.main import main
from gateway.home import Home

OFFICE, FINANCE = "11440100007482151C", "114401000074822828"
NAMES = {OFFICE: "市政府办公室", FINANCE: "市财政局"}
ROOT = Path(__file__).resolve().parents[2]
READY_SECONDS = 60.0


@dataclass
class Ran:
    """One command's end."""

    code: int
    out: str
    err: str

    @property
    def json(self):
        return json.loads(self.out)


def yizhan(*arguments: object, lang: str = "en", env: dict[str, str] | None = None) -> Ran:
    """Run one command as a person of that locale would; in this process, for starting Python costs more than most commands."""
    out, err, before = io.StringIO(), io.StringIO(), dict(os.environ)
    for name in [name for name in os.environ if name.startswith(("LC_", "LANG", "YIZHAN"))]:
        del os.environ[name]
    os.environ.update({"LC_ALL": "zh_CN.UTF-8" if lang == "zh" else "C.UTF-8"} | (env or {}))
    try:
        with redirect_stdout(out), redirect_stderr(err):
            code = main([str(argument) for argument in arguments])
    except SystemExit as end:  # argparse
        code = int(end.code or 0)
    finally:
        os.environ.clear()
        os.environ.update(before)
    return Ran(code, out.getvalue(), err.getvalue())


@dataclass
class City:
    folder: Path
    suite: str
    exchange: str = ""
    processes: list[subprocess.Popen] = field(default_factory=list)

    @property
    def office(self) -> Path:
        return self.folder / "office"

    @property
    def finance(self) -> Path:
        return self.folder / "finance"

    def found(self) -> None:
        for home, org in ((self.office, OFFICE), (self.finance, FINANCE)):
            ran = yizhan("init", "--home", home, "--org", org, "--name", NAMES[org], "--suite", self.suite, "--json")
            assert ran.code == 0, ran.err

    def start(self) -> None:
        for act, home in (("authority serve", "authority"), ("serve", "office"), ("serve", "finance")):
            log = (self.folder / f"{home}.log").open("wb")
            command = [sys.executable, "-m", "gateway.cli.main", *act.split(), "--home", str(self.folder / home)]
            self.processes.append(subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "PYTHONPATH": str(ROOT)}))
            log.close()
        for home in (self.office, self.finance):
            self._wait_ready(home)

    def _wait_ready(self, home: Path) -> None:
        url = f"http://{Home.open(home).config.listen.ops}/readyz"
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            try:
                with urlopen(url, timeout=2) as answer:
                    if answer.status == 200:
                        return
            except (URLError, OSError):
                pass
            time.sleep(0.1)
        raise AssertionError(f"{home.name} is not ready:\n" + (self.folder / f"{home.name}.log").read_text())

    def stop(self) -> None:
        for process in reversed(self.processes):
            process.send_signal(signal.SIGTERM)
        for process in self.processes:
            process.wait(30)
        self.processes.clear()

"""A small city on this machine: a pilot authority and some gateways, each a process of its own on loopback.

Used by ``yizhan demo`` and ``yizhan bench``. Only processes started here are ever ended, by their own id.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from types import FrameType, TracebackType
from typing import IO, Self

from crypto.errors import LocalError
from crypto.suites import SuiteId
from gateway.core.document import LevelId
from gateway.founding import Plan, found, free_address
from gateway.home import Home
from gateway.pilot import PilotAuthority

START_SECONDS = 60.0  # a loaded machine takes seconds to load the libraries of four processes
STOP_SECONDS = 20.0
ZONE = "pilot"
HIGHEST: LevelId = "work-secret"


class CityFailed(LocalError):
    """A process of the city did not come up or ended by itself. Facts: ``name``, ``log``."""

    code = "city-failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Agency:
    """One agency of the city."""

    key: str  # its folder
    code: str
    name: str


ENDINGS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)


@contextmanager
def undisturbed() -> Iterator[None]:
    """A signal that would end us waits until this is done; between starting a process and noting its id it would leave it behind."""
    waiting: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        waiting.append(number)

    before = {number: signal.signal(number, note) for number in ENDINGS}
    try:
        yield
    finally:
        for ending, handler in before.items():
            signal.signal(ending, handler)
        for number in dict.fromkeys(waiting):
            signal.raise_signal(number)


class City:
    """Founded on construction, running inside ``with``."""

    def __init__(self, folder: Path, agencies: Sequence[Agency], suite: SuiteId, *, poll_seconds: float = 0.2) -> None:
        self.folder = folder
        self.agencies = tuple(agencies)
        self.homes: dict[str, Home] = {}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        listen = free_address()
        stream = free_address([listen])
        self._authority = PilotAuthority.create(folder / "authority", suite=suite, listen=listen, stream=stream, at=datetime.now(UTC))
        policy = resources.files("policies").joinpath("default.toml").read_bytes()
        for agency in agencies:
            plan = Plan(organisation=agency.code, name=agency.name, suites=(suite,), zone=ZONE, highest_level=HIGHEST, policy=policy)
            found(folder / agency.key, plan, self._authority, at=datetime.now(UTC))
        for agency in agencies:
            self.homes[agency.key] = _settle(folder / agency.key, poll_seconds)
        self._logs = ExitStack()

    def __enter__(self) -> Self:
        try:
            self.start("authority", "authority", "serve", "--home", str(self.folder / "authority"))
            self._wait(f"http://{self._authority.listen}/directory/head.json", "authority")
            for key in self.homes:
                self.start_gateway(key)
            for key in self.homes:
                self.wait_ready(key)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def start_gateway(self, key: str) -> None:
        """Start the gateway of one agency; the benchmark starts it with an office of its own."""
        self.start(key, "serve", "--home", str(self.homes[key].path))

    def start(self, name: str, *arguments: str, module: str = "gateway.cli.main", talk: bool = False) -> None:
        """Start a process of the command line; its words go to ``<name>.log``, or (``talk``) it is spoken with through pipes."""
        output: IO[bytes] = self._logs.enter_context((self.folder / f"{name}.log").open("ab"))
        command = [sys.executable, "-m", module, *arguments]
        # A session of its own: Ctrl-C at the terminal is for the demo, which then ends its processes one by one.
        with undisturbed():
            self.processes[name] = subprocess.Popen(  # noqa: S603  # our own interpreter and our own words
                command,
                stdout=subprocess.PIPE if talk else output,
                stderr=output,
                stdin=subprocess.PIPE if talk else subprocess.DEVNULL,
                start_new_session=True,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )

    def wait_ready(self, key: str) -> None:
        """Wait until a gateway takes documents. Raises CityFailed."""
        self._wait(f"http://{self.homes[key].config.listen.ops}/readyz", key)

    def stop(self) -> None:
        """End what was started here, gateways first; a second Ctrl-C does not leave half of it running."""
        with undisturbed():
            self._stop()

    def _stop(self) -> None:
        for process in reversed(list(self.processes.values())):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self.processes.values():
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.processes.clear()
        self._logs.close()

    def _wait(self, url: str, name: str) -> None:
        deadline, seen = time.monotonic() + START_SECONDS, ""
        while time.monotonic() < deadline:
            if self.processes[name].poll() is not None:
                break
            try:
                with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310  # our own loopback address
                    answer.read()
                    return
            except urllib.error.HTTPError as error:
                with error:
                    seen = error.read().decode(errors="replace")
            except OSError as error:
                seen = str(error)
            time.sleep(0.05)
        log = self.folder / f"{name}.log"
        raise CityFailed(f"{name} did not come up: {seen}; its log: {log}", name=name, log=str(log))


def _settle(folder: Path, poll_seconds: float) -> Home:
    """The home with a shorter look at its office: a demonstration should not spend its time waiting."""
    file = folder / "gateway.toml"
    text = file.read_text()
    file.write_text(text.replace("poll_seconds = 1.0", f"poll_seconds = {poll_seconds}"))
    return Home.open(folder)


def read_status(path: Path) -> dict[str, object]:
    """A status.json, or nothing while it is not there yet."""
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}

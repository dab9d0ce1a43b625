"""A town of real processes for system tests: its people put folders into outboxes and look into inboxes, as clerks do.

Everything is seen from outside: folders, exit codes, HTTP, and the independent readers of disk and log.
"""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from crypto.suites import SuiteId
from gateway.cli.city import Agency, City
from gateway.home import Home
from gateway.store.audit import verify_log
from gateway.store.fsck import fsck

OFFICE = Agency(key="office", code="11440100007482151C", name="市政府办公室")
FINANCE = Agency(key="finance", code="114401000074822828", name="市财政局")
PATIENCE = 60.0


class Desk:
    """One agency's office, as folders."""

    def __init__(self, home: Home, agency: Agency) -> None:
        self.home = home
        self.agency = agency
        self.code = agency.code
        self.root = home.office

    def put(self, name: str, document: Mapping[str, Any] | bytes, files: Mapping[str, bytes], *, ready: bool = True) -> Path:
        """Lay an approved document out, ``.ready`` last."""
        folder = self.root / "outbox" / name
        folder.mkdir(parents=True)
        body = document if isinstance(document, bytes) else json.dumps(document, ensure_ascii=False).encode()
        (folder / "document.json").write_bytes(body)
        for file, content in files.items():
            (folder / file).write_bytes(content)
        if ready:
            (folder / ".ready").touch()
        return folder

    def send(self, name: str, to: Sequence[str], files: Mapping[str, bytes], **fields: Any) -> Path:
        """A good document with these files."""
        return self.put(name, letter(name, to, files, **fields), files)

    def statuses(self) -> dict[str, dict[str, Any]]:
        """status.json of every sent exchange, by the name its folder had."""
        found = (read(place) for place in (self.root / "sent").glob("*/status.json"))
        return {status["source"]: status for status in found if "source" in status}

    def states(self, name: str) -> list[str]:
        status = self.statuses().get(name, {})
        return [each["state"] for each in status.get("recipients", ())]

    def refused(self, name: str) -> list[str] | None:
        """Rules of a refused folder; None while it is not refused."""
        reasons = read(self.root / "refused" / name / "reasons.json")
        return [each["rule"] for each in reasons["reasons"]] if reasons else None

    def inbox(self) -> dict[str, Path]:
        """Delivered folders by exchange id."""
        return {place.name: place for place in (self.root / "inbox").iterdir() if not place.name.startswith(".")}

    def sign_for(self, exchange: str) -> None:
        (self.root / "inbox" / exchange / "SIGNED").touch()

    def send_back(self, exchange: str, reason: str) -> None:
        (self.root / "inbox" / exchange / "RETURNED").write_text(reason)

    def prove(self) -> int:
        """Audit and fsck by the independent readers; how many leaves the log has."""
        origin = self.home.log_origin()
        assert origin is not None
        report = verify_log(self.home.database, self.home.mark, self.home.log_key().verifier.vkey, origin)
        assert report.ok, report.findings
        findings = [finding for finding in fsck(self.home.database, self.home.data / "blobs") if finding.severity != "note"]
        assert not findings, findings
        return report.size


class Town:
    """Two agencies and their authority as processes, running inside ``with``."""

    def __init__(self, folder: Path, suite: SuiteId = "intl-1", *, poll_seconds: float = 0.1) -> None:
        self.city = City(folder, (OFFICE, FINANCE), suite, poll_seconds=poll_seconds)
        self.office = Desk(self.city.homes["office"], OFFICE)
        self.finance = Desk(self.city.homes["finance"], FINANCE)

    def __enter__(self) -> Self:
        self.city.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.city.__exit__(*error)

    def process(self, key: str) -> subprocess.Popen[bytes]:
        return self.city.processes[key]

    def log(self, key: str) -> str:
        return (self.city.folder / f"{key}.log").read_text(errors="replace")

    def kill(self, key: str) -> None:
        """SIGKILL, and gone on return."""
        process = self.city.processes.pop(key)
        process.kill()
        process.wait()

    def start(self, key: str, *, ready: bool = True) -> None:
        self.city.start(key, "serve", "--home", str(self.city.homes[key].path))
        if ready:
            self.city.wait_ready(key)

    def end(self, key: str) -> int:
        """SIGTERM; the exit code."""
        self.process(key).send_signal(signal.SIGTERM)
        return self.process(key).wait(30)

    def wait(self, what: Callable[[], object], why: str, seconds: float = PATIENCE) -> None:
        """Until that is so; a process that ended by itself meanwhile fails at once."""
        deadline = time.monotonic() + seconds
        while not what():
            for key, process in self.city.processes.items():
                assert process.poll() is None, f"{key} ended with {process.returncode}: {self.log(key)[-3000:]}"
            assert time.monotonic() < deadline, (
                f"waited {seconds} s for: {why}\n{self.log('office')[-2000:]}\n{self.log('finance')[-2000:]}"
            )
            time.sleep(0.05)


def letter(title: str, to: Sequence[str], files: Mapping[str, bytes], **fields: Any) -> dict[str, Any]:
    """A document.json without a fault."""
    return {"title": f"关于{title}的函", "level": "内部", "to": list(to), "files": [{"name": name} for name in files], **fields}


def read(path: Path) -> dict[str, Any]:
    """A JSON file, or nothing while it is not there."""
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}

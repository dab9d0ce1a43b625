"""Disks that fail under a running gateway: small ones that fill up, ones the kernel closes, ones that answer late or with an error."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from gateway.cli.city import undisturbed
from tests.faults.disk_town import ROOT, states
from tests.system.town import FINANCE, Town

BODY = "正文.pdf"
MIB = 1024 * 1024


# ---- disks of one's own ----------------------------------------------------------------------------------------------------------


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"this needs a disk of its own, and {' '.join(command[:2])} says: {done.stderr.decode(errors='replace').strip()[:200]}")


@contextmanager
def small_disk(place: Path, size: int) -> Iterator[None]:
    """A file system of that size at ``place``, in memory, holding what lay there."""
    kept = place.with_name(place.name + ".kept")
    shutil.copytree(place, kept)
    _run("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place))
    try:
        shutil.copytree(kept, place, dirs_exist_ok=True)
        yield
    finally:
        subprocess.run(["umount", "-l", str(place)], check=False, capture_output=True)


class ClosingDisk:
    """A journalling file system of its own that the kernel closes as it does after an error, and that can be mended."""

    def __init__(self, place: Path, size: int) -> None:
        if shutil.which("mkfs.ext4") is None:
            pytest.skip("this needs a disk of its own, and mkfs.ext4 is not installed")
        self._place, self._image = place, place.with_name(place.name + ".img")
        with self._image.open("wb") as image:
            image.truncate(size)
        _run("mkfs.ext4", "-q", "-E", "root_owner", str(self._image))
        kept = place.with_name(place.name + ".kept")
        shutil.copytree(place, kept)
        self._mount()
        shutil.copytree(kept, place, dirs_exist_ok=True)
        (place / "lost+found").rmdir()

    def _mount(self) -> None:
        _run("mount", "-o", "loop", str(self._image), str(self._place))

    def close(self) -> None:
        """From now on it may only be read; what was not synced is gone."""
        subprocess.run(["mount", "-o", "remount,abort", str(self._place)], check=True, capture_output=True)

    def mend(self) -> None:
        """Take it out, check it, put it back."""
        self.remove()
        checked = subprocess.run(["fsck.ext4", "-y", "-f", str(self._image)], check=False, capture_output=True)
        assert checked.returncode in (0, 1), checked.stdout.decode(errors="replace")
        self._mount()

    def remove(self) -> None:
        subprocess.run(["umount", str(self._place)], check=False, capture_output=True)


@contextmanager
def filled(place: Path, leave: int) -> Iterator[None]:
    """Nothing but ``leave`` bytes are free there."""
    filler = place.parent / "filler" if not place.is_mount() else place / "filler"
    free = os.statvfs(place)
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(1, free.f_bavail * free.f_frsize - leave))
    try:
        yield
    finally:
        filler.unlink()


# ---- gateways whose syncs go wrong -----------------------------------------------------------------------------------------------


def start_injected(town: Town, key: str, injection: str) -> None:
    """Start a gateway whose syncs fail or tarry: ``error=EIO:when=3+``, ``delay_exit=300000``. Counted for each thread by itself.

    Each sync leaves a line in ``<key>.syncs`` that begins with its thread.
    """
    folder, home = town.city.folder, town.city.homes[key].path
    tracer = [
        "strace",
        "-D",
        "-f",
        "-qq",
        "--seccomp-bpf",
        "-e",
        "trace=fsync,fdatasync",
        "-e",
        "signal=none",
        "-o",
        str(folder / f"{key}.syncs"),
    ]
    command = [*tracer, "-e", f"inject=fsync,fdatasync:{injection}", sys.executable, "-m", "gateway.cli.main", "serve", "--home", str(home)]
    with undisturbed(), (folder / f"{key}.log").open("ab") as log:
        town.city.processes[key] = subprocess.Popen(
            command,
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )


# ---- a town under load -----------------------------------------------------------------------------------------------------------


class Letters:
    """What the office sent, and the question whether all of it arrived once."""

    def __init__(self, town: Town) -> None:
        self._town = town
        self.sent: dict[str, bytes] = {}

    def send(self, count: int, sizes: Sequence[int] = (300, 9_000, 90_000)) -> None:
        for _ in range(count):
            name = f"letter-{len(self.sent):04d}"
            self.sent[name] = os.urandom(sizes[len(self.sent) % len(sizes)])
            self._town.office.send(name, [FINANCE.code], {BODY: self.sent[name]})

    def arrived(self) -> bool:
        """All of them are delivered, and the office knows."""
        return len(self._town.finance.inbox()) >= len(self.sent) and states(self._town.office) == ["DELIVERED"] * len(self.sent)

    def prove(self) -> None:
        """Each arrived once and whole, none is left behind, and both logs and disks prove themselves. Both gateways have ended."""
        found = sorted((folder / BODY).read_bytes() for folder in self._town.finance.inbox().values())
        assert found == sorted(self.sent.values())
        assert not list((self._town.office.root / "outbox").iterdir())
        for desk in (self._town.office, self._town.finance):
            assert desk.prove() > 0


def not_ready(town: Town, key: str) -> str:
    """What the readiness of a gateway says, empty when it is ready or not there."""
    try:
        with urllib.request.urlopen(f"http://{town.city.homes[key].config.listen.ops}/readyz", timeout=5):
            return ""
    except urllib.error.HTTPError as error:
        with error:
            return error.read().decode()
    except OSError:
        return ""


def configure(town: Town, key: str, old: str, new: str) -> None:
    """Another line in a gateway's configuration."""
    file = town.city.homes[key].path / "gateway.toml"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))

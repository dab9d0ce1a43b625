"""pyas2lib where it runs: with this interpreter if it is installed here, else in an environment of its own, made once beside the result."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Final

PACKAGE: Final = "pyas2lib==1.4.4"
PAIRS: Final = 20
INSTALL_SECONDS: Final = 90.0
RUN_SECONDS: Final = 60.0
SCRIPT: Final = Path(__file__).with_name("bench_as2.py")


class As2:
    """The other library. It never fails a benchmark: ``about`` says what it is, or why it is not there."""

    def __init__(self, place: Path | None) -> None:
        """Find or install it; with no place it is left out."""
        self.about = PACKAGE
        self._python: Path | None = None
        if place is None:
            self.about = "not asked for"
        elif importlib.util.find_spec("pyas2lib"):
            self._python = Path(sys.executable)
        else:
            self._python = self._install(place / "as2-venv")

    def measure(self, size: int) -> float | None:
        """CPU milliseconds to pack and unpack one document of this size; None where it does not run."""
        if self._python is None:
            return None
        said = _run([str(self._python), str(SCRIPT), str(size), str(PAIRS)], RUN_SECONDS)
        try:
            return float(json.loads(said.stdout)["cpu_ms"])
        except (ValueError, KeyError):
            self._give_up("does not run", said.stderr)
            return None

    def _install(self, folder: Path) -> Path | None:
        python = folder / "bin" / "python"
        if not python.exists():
            made = _run([sys.executable, "-m", "venv", "--without-pip", str(folder)], INSTALL_SECONDS)
            if made.returncode != 0:
                self._give_up("gets no environment", made.stderr)
                return None
        if not (folder / "installed").exists():
            # The pip of this environment installs into that one: Debian's venv may come without pip inside.
            pip = [
                sys.executable,
                "-m",
                "pip",
                "--python",
                str(python),
                "--disable-pip-version-check",
                "install",
                "--quiet",
                "--retries",
                "1",
            ]
            installed = _run([*pip, PACKAGE], INSTALL_SECONDS)
            if installed.returncode != 0:
                self._give_up("does not install", installed.stderr)
                return None
            (folder / "installed").touch()
        return python

    def _give_up(self, what: str, why: str) -> None:
        self._python = None
        lines = why.strip().splitlines() or ["no word why"]
        self.about = f"not measured, for {PACKAGE} {what} here ({lines[-1][:200]})"


def _run(command: list[str], seconds: float) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)  # noqa: S603  # our own words
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(command, 1, "", str(error))

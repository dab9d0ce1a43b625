"""Two gateways and an authority as processes, and what they cost: CPU time and peak memory as the kernel counts them.

A process's CPU time is its CPU clock (clock_getcpuclockid(3)): nanoseconds of all its threads, also of those that have ended. Its peak
memory is VmHWM, which writing 5 to clear_refs sets back to what it holds now (proc(5)). Linux only.
"""

from __future__ import annotations

import json
import queue
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from crypto.suites import SuiteId
from gateway.cli.bench_folders import FolderLoad
from gateway.cli.city import Agency, City, CityFailed

SENDER: Final = Agency(key="sender", code="11440100007482001H", name="测试市人民政府办公室")
RECEIVER: Final = Agency(key="receiver", code="11440100007482002L", name="测试市财政局")
PROCESSES: Final = ("sender", "receiver", "authority")

REPORT_SECONDS: Final = 0.45  # an exchange's report to the office is due 0.3 s after its last receipt: work of the document as well
WINDOW_SECONDS: Final = 0.1
IDLE_SHARE: Final = 0.03  # below this share of one CPU nobody works any more: idle gateways look at their offices now and then
QUIET_WITHIN: Final = 30.0

OfficeKind = Literal["bench", "folder"]


class BenchFailed(CityFailed):
    """A document did not arrive, arrived twice, or took far too long: there is nothing to measure."""

    code = "bench-failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What one batch cost, for each document: CPU by process, wall time, latencies (one at a time), peak memory by process."""

    documents: int
    seconds: float
    cpu_ms: dict[str, float]
    peak_mib: dict[str, float]
    latency_ms: list[float]

    @property
    def total_ms(self) -> float:
        return sum(self.cpu_ms.values())


class BenchCity(City):
    """A sending and a receiving gateway that the benchmark talks with, and their authority."""

    def __init__(self, folder: Path, suite: SuiteId, office: OfficeKind) -> None:
        self.suite = suite
        self.office: OfficeKind = office
        self.idle_mib: dict[str, float] = {}
        self._words: dict[str, queue.SimpleQueue[bytes]] = {}
        self._hearing: list[threading.Thread] = []
        super().__init__(folder, (SENDER, RECEIVER), suite, poll_seconds=0.25)

    def start_gateway(self, key: str) -> None:
        """Start a gateway with the benchmark's pipes."""
        self.start(key, str(self.homes[key].path), self.office, module="gateway.cli.bench_gateway", talk=True)
        self._words[key] = queue.SimpleQueue()
        hearing = threading.Thread(target=_hear, args=(self.processes[key], self._words[key]), name=f"hear {key}", daemon=True)
        hearing.start()
        self._hearing.append(hearing)

    def stop(self) -> None:
        """End the processes and close the pipes to them."""
        talking = list(self.processes.values())
        super().stop()
        for process in talking:
            if process.stdin is not None:
                process.stdin.close()
        for thread in self._hearing:
            thread.join()
        self._hearing.clear()

    def tell(self, key: str, **command: object) -> None:
        """One command to one gateway."""
        pipe = self.processes[key].stdin
        assert pipe is not None
        pipe.write(json.dumps(command).encode() + b"\n")
        pipe.flush()

    def hear(self, key: str, within: float) -> dict[str, Any]:
        """Its next answer. Raises BenchFailed."""
        log = self.folder / f"{key}.log"
        try:
            line = self._words[key].get(timeout=within)
        except queue.Empty:
            line = b""
        if not line:
            raise BenchFailed(f"{key} said nothing for {within:.0f} s or ended; its log: {log}", name=key, log=str(log))
        answer: dict[str, Any] = json.loads(line)
        if answer.get("failure"):
            raise BenchFailed(f"{key}: {answer['failure']}; its log: {log}", name=key, log=str(log))
        return answer

    # ---- measuring

    def measure(self, documents: int, size: int, in_flight: int) -> Cost:
        """Send so many documents and wait until the last work about them is done. Raises BenchFailed."""
        before = self._begin()
        self.tell("sender", do="send", to=RECEIVER.code, documents=documents, size=size, in_flight=in_flight)
        answer = self.hear("sender", _patience(documents * size))
        cpu, peak = self._settle(before)
        tally = self._tally()
        if (tally["deliveries"], tally["different"], tally["repeats"], tally["bytes"]) != (documents, documents, 0, documents * size):
            raise BenchFailed(
                f"{documents} documents of {size} bytes were sent, the receiving office counts {tally}", name="receiver", log=""
            )
        return Cost(
            documents=documents,
            seconds=answer["seconds"],
            cpu_ms={key: spent / 1e6 / documents for key, spent in cpu.items()},
            peak_mib=peak,
            latency_ms=answer["latency_ms"],
        )

    def measure_folder(self, documents: int, size: int, in_flight: int) -> Cost:
        """The same through the outbox and inbox of two folder offices. Raises BenchFailed."""
        load = FolderLoad(self.homes["sender"], self.homes["receiver"], to=RECEIVER.code, documents=documents, size=size)
        self.tell("sender", do="expect", documents=documents)
        before, begun, delivered = self._begin(), time.perf_counter(), 0
        load.release(in_flight)
        while delivered < documents:
            news: int = self.hear("sender", _patience(documents * size))["delivered"]
            load.release(news - delivered)
            delivered = news
        seconds = time.perf_counter() - begun
        cpu, peak = self._settle(before)
        if complaint := load.complaint():
            raise BenchFailed(complaint, name="receiver", log="")
        return Cost(
            documents=documents,
            seconds=seconds,
            cpu_ms={key: spent / 1e6 / documents for key, spent in cpu.items()},
            peak_mib=peak,
            latency_ms=[],
        )

    def _begin(self) -> dict[str, int]:
        for key in PROCESSES:
            Path(f"/proc/{self._pid(key)}/clear_refs").write_text("5")
        return self.cpu()

    def _settle(self, before: dict[str, int]) -> tuple[dict[str, int], dict[str, float]]:
        self._quiet()
        after = self.cpu()
        peak = {key: memory_mib(self._pid(key), "VmHWM") for key in PROCESSES}
        return {key: after[key] - before[key] for key in PROCESSES}, peak

    def _quiet(self) -> None:
        """Wait until reports are shown and nobody works any more."""
        time.sleep(REPORT_SECONDS)
        deadline = time.monotonic() + QUIET_WITHIN
        seen, still = sum(self.cpu().values()), False
        while not still and time.monotonic() < deadline:
            time.sleep(WINDOW_SECONDS)
            now = sum(self.cpu().values())
            seen, still = now, now - seen < WINDOW_SECONDS * IDLE_SHARE * 1e9

    def _tally(self) -> dict[str, int]:
        self.tell("receiver", do="tally")
        return self.hear("receiver", 30.0)

    def cpu(self) -> dict[str, int]:
        """Nanoseconds of CPU every process has used."""
        return {key: cpu_ns(self._pid(key)) for key in PROCESSES}

    def resident_mib(self) -> dict[str, float]:
        """What every process holds now."""
        return {key: memory_mib(self._pid(key), "VmRSS") for key in PROCESSES}

    def _pid(self, key: str) -> int:
        return self.processes[key].pid


def cpu_ns(pid: int) -> int:
    """The CPU clock of a process: user and system time of all its threads. Raises OSError when it is gone."""
    return time.clock_gettime_ns((~pid << 3) | 2)  # MAKE_PROCESS_CPUCLOCK(pid, CPUCLOCK_SCHED) of linux/posix-timers.h


def memory_mib(pid: int, field: str) -> float:
    """A line of /proc/PID/status."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) / 1024
    raise AssertionError(f"internal: no {field} of process {pid}")


def _hear(process: subprocess.Popen[bytes], words: queue.SimpleQueue[bytes]) -> None:
    assert process.stdout is not None
    with process.stdout:
        for line in process.stdout:
            words.put(line)
    words.put(b"")


def _patience(total: int) -> float:
    """Seconds a batch may take before it counts as stuck: a minute, and another for each 100 MB on a very slow machine."""
    return 60.0 + total / 100e6 * 60.0

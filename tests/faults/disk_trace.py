"""What a process did to its disk, read from an strace record: every write, name and sync, in the order the kernel ended them.

Each call keeps two moments, when it began and when it ended: a sync covers what ended before it began, and holds from when it ended.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

CALLS = (
    "openat,creat,open,close,dup,dup2,dup3,fcntl,write,pwrite64,writev,pwritev,pwritev2,lseek,ftruncate,truncate,fallocate,rename,renameat,"
    "renameat2,unlink,unlinkat,mkdir,mkdirat,rmdir,link,linkat,symlink,symlinkat,fsync,fdatasync,sync_file_range,sendfile,copy_file_range"
)
LONGEST = 8 * 1024 * 1024  # bytes of one write kept whole; ours are 1 MiB

Kind = Literal["create", "write", "truncate", "sync", "rename", "unlink", "mkdir", "link", "symlink"]


@dataclass(slots=True, kw_only=True)
class Act:
    """One thing done to the disk. ``file`` numbers what was opened, whatever name it has by then; a folder is known by its path."""

    kind: Kind
    began: int
    ended: int
    path: str = ""  # of the name; of the file when it was opened
    target: str = ""  # of a rename, a link
    file: int = -1
    offset: int = 0
    data: bytes = b""
    good: bool = True  # false: the call failed


@dataclass(slots=True)
class _Open:
    path: str
    file: int  # -1: a folder
    position: int = 0
    appending: bool = False


def needs_strace() -> None:
    """Skip where system calls cannot be recorded, saying why."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    probe = subprocess.run(["strace", "-qq", "-e", "trace=fsync", "true"], capture_output=True, check=False)
    if probe.returncode:
        pytest.skip(f"strace may not trace here: {probe.stderr.decode(errors='replace').strip()[:200]}")


def recording(record: Path, command: Sequence[str]) -> list[str]:
    """The command under strace, itself still the child of whoever starts it: signals and exit code are its own."""
    return ["strace", "-D", "-f", "-qq", "--seccomp-bpf", "-xx", "-s", str(LONGEST), "-e", f"trace={CALLS}", "-o", str(record), *command]


def finished(record: Path, seconds: float = 20.0) -> None:
    """Wait until the tracer has written its last word."""
    deadline, size = time.monotonic() + seconds, -1
    while time.monotonic() < deadline:
        now = record.stat().st_size
        if now == size and now:
            return
        size = now
        time.sleep(0.3)
    raise AssertionError(f"{record} still grows")


# ---- lines -----------------------------------------------------------------------------------------------------------------------

_LINE = re.compile(rb"^(\d+) +(.*)$")
_RESUMED = re.compile(rb"^<\.\.\. \w+ resumed>(.*)$")
_CALL = re.compile(rb"^(\w+)\((.*)\) += (-?\d+|\?)(?: .*)?$")
_CLOSING = re.compile(rb"^close\((\d+)")
_STRING = re.compile(rb'^"((?:\\x[0-9a-f]{2})*)"$')


@dataclass(frozen=True, slots=True)
class _Call:
    name: str
    args: list[bytes]
    answer: int
    began: int
    ended: int


def _calls(record: Path) -> Iterator[_Call]:
    """Whole calls in the order they ended; what never ended was under way when the process did."""
    waiting: dict[bytes, tuple[bytes, int]] = {}
    with record.open("rb") as lines:
        for number, line in enumerate(lines):
            found = _LINE.match(line.rstrip(b"\n"))
            if found is None:
                continue
            thread, text = found.groups()
            began = number
            if text.endswith(b"<unfinished ...>"):
                closing = _CLOSING.match(text)
                if closing is not None:  # from here on another thread may be given the number
                    yield _Call("close", [closing[1]], 0, number, number)
                    continue
                waiting[thread] = (text.removesuffix(b"<unfinished ...>").rstrip(), number)
                continue
            resumed = _RESUMED.match(text)
            if resumed is not None:
                if thread not in waiting:
                    continue
                head, began = waiting.pop(thread)
                text = head + resumed[1].lstrip()
            call = _CALL.match(text)
            if call is not None and call[3] != b"?":
                yield _Call(call[1].decode(), call[2].split(b", "), int(call[3]), began, number)


def _string(argument: bytes) -> bytes:
    found = _STRING.match(argument)
    if found is None:
        raise AssertionError(f"a string cut by strace: {argument[-60:]!r}")
    return bytes.fromhex(found[1].replace(b"\\x", b"").decode())


# ---- acts ------------------------------------------------------------------------------------------------------------------------


@dataclass
class _Reader:
    """Follows descriptors, so that each act names its file. Only what lies below ``roots`` counts."""

    roots: tuple[str, ...]
    open: dict[int, _Open] = field(default_factory=dict)
    names: dict[str, int] = field(default_factory=dict)  # path -> file, as the process sees it now
    files: int = 0

    def known(self, path: str) -> int:
        """The file at that path; one that was there before the record began gets its number now."""
        if path not in self.names:
            self.names[path] = self.files
            self.files += 1
        return self.names[path]

    def ours(self, path: str) -> bool:
        return path.startswith(self.roots) and not path.endswith("-shm")  # shared memory of SQLite: rebuilt, never relied on

    def path(self, folder: bytes, name: bytes) -> str:
        text = os.fsdecode(_string(name))
        if text.startswith("/"):
            return os.path.normpath(text)
        if folder == b"AT_FDCWD" or int(folder) not in self.open:
            return "?/" + text
        return os.path.normpath(f"{self.open[int(folder)].path}/{text}")

    def read(self, call: _Call) -> Act | None:  # noqa: C901  # one branch a system call
        name, args = call.name, call.args
        good = call.answer >= 0

        def act(kind: Kind, **facts: object) -> Act:
            return Act(kind=kind, began=call.began, ended=call.ended, good=good, **facts)  # type: ignore[arg-type]

        if name == "openat":
            return self._opened(call, act)
        if name == "close":
            self.open.pop(int(args[0]), None)
            return None
        if name in ("dup", "dup2", "dup3") or (name == "fcntl" and args[1].startswith(b"F_DUPFD")):
            if good and int(args[0]) in self.open:
                self.open[call.answer] = self.open[int(args[0])]
            return None
        if name in ("write", "pwrite64"):
            held = self.open.get(int(args[0]))
            if held is None or held.file < 0 or not good:
                return None
            data = _string(args[1])[: call.answer]
            offset = int(args[3]) if name == "pwrite64" else held.position
            if name == "write":
                held.position += call.answer
            return act("write", path=held.path, file=held.file, offset=-1 if held.appending else offset, data=data)
        if name == "lseek":
            held = self.open.get(int(args[0]))
            if held is not None and good:
                held.position = call.answer
            return None
        if name == "ftruncate":
            held = self.open.get(int(args[0]))
            return act("truncate", path=held.path, file=held.file, offset=int(args[1])) if held is not None and good else None
        if name in ("fsync", "fdatasync"):
            held = self.open.get(int(args[0]))
            return act("sync", path=held.path, file=held.file) if held is not None else None
        if name in ("fallocate", "writev", "pwritev", "pwritev2", "sendfile", "copy_file_range", "sync_file_range"):
            if args[0].lstrip(b"-").isdigit() and int(args[0]) in self.open and good:
                raise AssertionError(f"{name} on {self.open[int(args[0])].path}: this reader does not know it yet")
            return None
        return self._named(call, act) if good else None

    def _opened(self, call: _Call, act: object) -> Act | None:
        path, flags = self.path(call.args[0], call.args[1]), call.args[2]
        if call.answer < 0:
            return None
        if not self.ours(path):
            self.open.pop(call.answer, None)
            return None
        if b"O_DIRECTORY" in flags:
            self.open[call.answer] = _Open(path, -1)
            return None
        there = path in self.names
        held = _Open(path, self.known(path), appending=b"O_APPEND" in flags)
        self.open[call.answer] = held
        if b"O_CREAT" in flags or b"O_TRUNC" in flags:
            kind: Kind = "create" if b"O_CREAT" in flags else "truncate"
            found: Act = act(kind, path=path, file=held.file, offset=0 if b"O_TRUNC" in flags else -1)  # type: ignore[operator]
            found.data = b"" if there else b"new"
            return found
        return None

    def _named(self, call: _Call, act: object) -> Act | None:
        name, args = call.name, call.args
        at = b"AT_FDCWD"
        make: object = act
        if name in ("rename", "link"):
            source, target = self.path(at, args[0]), self.path(at, args[1])
        elif name in ("renameat", "renameat2", "linkat"):
            source, target = self.path(args[0], args[1]), self.path(args[2], args[3])
        elif name in ("mkdir", "unlink", "rmdir"):
            source = target = self.path(at, args[0])
        elif name in ("mkdirat", "unlinkat"):
            source = target = self.path(args[0], args[1])
        elif name == "symlink":
            source = target = self.path(at, args[1])
        else:
            return None
        if not (self.ours(source) or self.ours(target)):
            return None
        kind: Kind = {
            "rename": "rename",
            "renameat": "rename",
            "renameat2": "rename",
            "link": "link",
            "linkat": "link",
            "mkdir": "mkdir",
        }.get(  # type: ignore[assignment]
            name, {"mkdirat": "mkdir", "symlink": "symlink"}.get(name, "unlink")
        )
        if kind == "rename":
            self._move(source, target)
        elif kind == "link":
            self.names[target] = self.known(source)
        elif kind == "unlink":
            self.names.pop(source, None)
        return make(kind, path=source, target=target, file=self.names.get(target, -1))  # type: ignore[operator,no-any-return]

    def _move(self, source: str, target: str) -> None:
        moved = {path: file for path, file in self.names.items() if path == source or path.startswith(source + "/")}
        for path in moved:
            del self.names[path]
        for path, file in moved.items():
            self.names[target + path.removeprefix(source)] = file
        for held in self.open.values():
            if held.path == source or held.path.startswith(source + "/"):
                held.path = target + held.path.removeprefix(source)


def acts(record: Path, *roots: Path) -> list[Act]:
    """Everything done below these folders (and to these files), in the order it ended."""
    reader = _Reader(tuple(str(root) for root in roots))
    return [act for call in _calls(record) if (act := reader.read(call)) is not None]

"""The states a disk may be in after a power cut, built from what a process did to it until then.

What a sync covered is there. Of the rest anything may be: a write is there, absent, or torn at a sector; a file has grown without its
bytes; a new name is there or not, whether or not its file is. Two things are taken for granted, as every journalling file system gives
them: a rename is one act (the old name goes and the new one comes together, and a sync of either folder makes it durable), and a sector
is old or new. A sync of a file says nothing about its name.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tests.faults.disk_trace import Act

SECTOR = 512

Fate = Literal["lost", "kept", "names", "bytes", "torn"]
FATES: tuple[Fate, ...] = ("lost", "kept", "names", "bytes", "torn")


@dataclass(slots=True)
class _File:
    """Bytes as the process sees them are the synced ones and then what is pending."""

    synced: bytearray = field(default_factory=bytearray)
    pending: list[tuple[int, bytes]] = field(default_factory=list)  # (offset, bytes); offset -1 - n: cut to n bytes
    size: int = 0

    def do(self, offset: int, data: bytes) -> None:
        self.pending.append((offset, data))
        self.size = max(self.size, offset + len(data)) if offset >= 0 else -1 - offset

    def sync(self) -> None:
        for offset, data in self.pending:
            _apply(self.synced, offset, data)
        self.pending.clear()


def _apply(content: bytearray, offset: int, data: bytes) -> None:
    if offset < 0:
        cut = -1 - offset
        del content[cut:]
        content.extend(bytes(cut - len(content)))
        return
    if offset > len(content):
        content.extend(bytes(offset - len(content)))
    content[offset : offset + len(data)] = data


@dataclass(slots=True)
class _NameChange:
    """A name that came, went or moved; pending until one of its folders is synced."""

    kind: Literal["come", "go", "move"]
    name: str
    target: str = ""
    file: int = -1  # what has the name; -1 a folder


class Disk:
    """A folder tree and the acts upon it. ``base`` is how it was before, and durable."""

    def __init__(self, base: Path, root: Path) -> None:
        self._files: dict[int, _File] = {}
        self._names: dict[str, int] = {}  # durable names; -1: a folder
        self._seen: dict[str, int] = {}  # names as the process sees them
        self._pending: list[_NameChange] = []
        self._root = str(root)
        self._strangers = -2
        self._names[self._root] = -1
        for path in base.rglob("*"):
            if not path.is_symlink():
                self._names[str(root / path.relative_to(base))] = -1 if path.is_dir() else self._stranger(path.read_bytes())
        self._seen = dict(self._names)

    def _stranger(self, content: bytes) -> int:
        self._strangers -= 1
        self._files[self._strangers] = _File(synced=bytearray(content), size=len(content))
        return self._strangers

    # ---- what the process did

    def do(self, act: Act) -> None:
        """Carry one act out."""
        if not act.good or not act.path.startswith(self._root + "/"):
            return
        if act.kind == "sync":
            self._sync(act)
        elif act.kind in ("create", "write", "truncate"):
            self._change(act)
        elif act.kind == "mkdir":
            self._come(act.path, -1)
        elif act.kind == "unlink":
            self._seen.pop(act.path, None)
            self._pending.append(_NameChange("go", act.path))
        elif act.kind == "rename":
            self._move(act.path, act.target)
        elif act.kind == "link":
            self._come(act.target, self._seen.get(act.path, -1))

    def _change(self, act: Act) -> None:
        number = self._seen.get(act.path)
        if number is None:
            number = act.file
            self._files.setdefault(number, _File())
            if act.kind != "create":
                return  # an open file whose name is gone
            self._come(act.path, number)
        file = self._files[number]
        if act.kind == "write":
            file.do(file.size if act.offset < 0 else act.offset, act.data)
        elif act.offset >= 0:
            file.do(-1 - act.offset, b"")

    def _sync(self, act: Act) -> None:
        number = self._seen.get(act.path)
        if number == -1:
            self._settle(act.path)
        elif number is not None:
            self._files[number].sync()

    def _come(self, name: str, file: int) -> None:
        self._seen[name] = file
        self._pending.append(_NameChange("come", name, file=file))

    def _move(self, name: str, target: str) -> None:
        if name not in self._seen:  # laid there by people after the process began: theirs to sync
            number = self._stranger(b"")
            self._names[name] = self._seen[name] = number
        self._pending.append(_NameChange("move", name, target, file=self._seen[name]))
        _rename(self._seen, name, target)

    def _settle(self, folder: str) -> None:
        """A folder was synced: its names are durable, and whatever they need to be reached."""
        left = []
        for change in self._pending:
            if folder in (_above(change.name), _above(change.target)):
                _take(self._names, change)
            else:
                left.append(change)
        self._pending = left

    # ---- what may be left of it

    def after_a_cut(self, fate: Fate, seed: int) -> Iterator[tuple[str, bytes | None]]:
        """Names and contents (None: a folder) one cut may leave."""
        chance = random.Random(seed)
        names = dict(self._names)
        for change in self._pending:
            if fate in ("kept", "names") or (fate == "torn" and chance.random() < 0.5):
                _take(names, change)
        for name, number in sorted(names.items()):
            if all(parent in names for parent in _parents(name, self._root)):
                yield name, None if number == -1 else self._content(self._files[number], fate, chance)

    def _content(self, file: _File, fate: Fate, chance: random.Random) -> bytes:
        content = bytearray(file.synced)
        if fate in ("kept", "bytes"):
            for offset, data in file.pending:
                _apply(content, offset, data)
        elif fate == "names" and file.pending:  # the length came, the bytes did not
            _apply(content, -1 - file.size, b"")
        elif fate == "torn":
            for offset, data in file.pending:
                for start, piece in _sectors(offset, data):
                    if chance.random() < 0.5:
                        _apply(content, start, piece)
        return bytes(content)


def _take(names: dict[str, int], change: _NameChange) -> None:
    if change.kind == "come":
        names[change.name] = change.file
    elif change.kind == "go":
        names.pop(change.name, None)
    else:
        _rename(names, change.name, change.target)
        names[change.target] = change.file  # whether or not the old name was durable: it is the file that moved


def _rename(names: dict[str, int], name: str, target: str) -> None:
    for path in [path for path in names if path == name or path.startswith(name + "/")]:
        names[target + path.removeprefix(name)] = names.pop(path)


def _parents(name: str, root: str) -> Iterator[str]:
    while name != root:
        name = _above(name)
        yield name


def _above(name: str) -> str:
    return name.rpartition("/")[0]


def _sectors(offset: int, data: bytes) -> Iterator[tuple[int, bytes]]:
    if offset < 0:
        yield offset, b""
        return
    start = 0
    while start < len(data):
        end = min(len(data), start + SECTOR - (offset + start) % SECTOR)
        yield offset + start, data[start:end]
        start = end


def lay_out(state: Iterator[tuple[str, bytes | None]], root: Path, place: Path) -> None:
    """Write a state of ``root`` down below ``place``."""
    for name, content in state:
        path = place / Path(name).relative_to(root)
        if content is None:
            path.mkdir(exist_ok=True)
        else:
            path.write_bytes(content)


def cut_points(acts: Sequence[Act], root: Path, how_many: int) -> list[int]:
    """Behind which acts to cut: evenly spread over those that changed something, the first and last among them."""
    changing = [index for index, act in enumerate(acts) if act.path.startswith(f"{root}/") and act.good]
    if how_many >= len(changing):
        return changing
    return sorted({changing[round(step * (len(changing) - 1) / (how_many - 1))] for step in range(how_many)})

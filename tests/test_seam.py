"""One door to the disk: nobody but these files writes, renames, removes or syncs, so that what durability rests on stands in few places.

``gateway/store/files.py`` is the door of what must survive; ``adapters/folder_files.py`` that of the folder office, where strangers write;
``gateway/files.py`` that of a home being founded. What the command line shows and measures is no part of a running gateway.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOORS = {"gateway/store/files.py", "gateway/files.py", "adapters/folder_files.py"}

# Not of the running gateway: copies of evidence for others, a pilot's own records, what a person at the keyboard asked for.
ELSEWHERE = ("gateway/cli/", "gateway/evidence.py", "gateway/evidence_guide.py", "gateway/founding.py", "gateway/pilot")
NOT_A_DISK = ("gateway/net/control.py", "gateway/net/tls.py")  # the name of a socket, a file in memory

OF_OS = frozenset(
    {"fsync", "fdatasync", "sync", "rename", "renames", "replace", "unlink", "remove", "rmdir", "link", "symlink", "mkdir", "makedirs",
     "write", "pwrite", "writev", "truncate", "ftruncate", "fdopen", "sendfile", "copy_file_range", "posix_fallocate"}
)  # fmt: skip
OF_A_PATH = frozenset({"rename", "unlink", "rmdir", "mkdir", "touch", "write_bytes", "write_text", "symlink_to", "hardlink_to"})
OF_SHUTIL = frozenset({"rmtree", "move", "copy", "copy2", "copyfile", "copytree"})
WRITING = frozenset("wax+")


def writes(source: str) -> list[str]:
    """Every call in ``source`` that changes the disk, as ``line: what``."""
    calls = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call))
    return [f"{call.lineno}: {what}" for call in calls if (what := _written(call)) is not None]


def _written(call: ast.Call) -> str | None:
    if isinstance(call.func, ast.Name):
        return "open" if call.func.id == "open" and _mode(call, 1) & WRITING else None
    if not isinstance(call.func, ast.Attribute):
        return None
    name, owner = call.func.attr, call.func.value
    module = owner.id if isinstance(owner, ast.Name) else ""
    if module == "os":
        opens = name == "open" and any(flag in ast.unparse(call) for flag in ("O_CREAT", "O_WRONLY", "O_RDWR", "O_TRUNC", "O_APPEND"))
        return f"os.{name}" if name in OF_OS or opens else None
    if module == "shutil":
        return f"shutil.{name}" if name in OF_SHUTIL else None
    if name == "open" and _mode(call, 0) & WRITING:
        return ".open"
    if name == "replace" and len(call.args) == 1 and not call.keywords:
        return ".replace"  # of a path: a text's takes two arguments, a struct's and a moment's take names
    return f".{name}" if name in OF_A_PATH else None


def _mode(call: ast.Call, position: int) -> frozenset[str]:
    given = [keyword.value for keyword in call.keywords if keyword.arg == "mode"] or call.args[position : position + 1]
    text = given[0].value if given and isinstance(given[0], ast.Constant) else ""
    return frozenset(text) if isinstance(text, str) and set(text) <= set("rwaxbt+") else frozenset()


def modules() -> list[Path]:
    found = sorted(path for room in ("gateway", "adapters") for path in (ROOT / room).rglob("*.py"))
    return [
        path for path in found if not (name := path.relative_to(ROOT).as_posix()).startswith(ELSEWHERE + NOT_A_DISK) and name not in DOORS
    ]


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_only_the_doors_change_the_disk(path: Path):
    assert writes(path.read_text(encoding="utf-8")) == []


def test_the_doors_are_there():
    assert all(writes((ROOT / door).read_text(encoding="utf-8")) for door in DOORS)


@pytest.mark.parametrize(
    ("snippet", "what"),
    [
        ("os.fsync(descriptor)", "os.fsync"),
        ("os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)", "os.open"),
        ("path.replace(target)", ".replace"),
        ("path.open('ab')", ".open"),
        ("path.open(mode='w')", ".open"),
        ("open(path, 'r+b')", "open"),
        ("path.write_bytes(data)", ".write_bytes"),
        ("path.unlink()", ".unlink"),
        ("shutil.rmtree(folder)", "shutil.rmtree"),
        ("folder.mkdir(parents=True)", ".mkdir"),
    ],
)
def test_the_checker_sees_it(snippet: str, what: str):
    assert writes(snippet) == [f"1: {what}"]


@pytest.mark.parametrize(
    "snippet", ["text.replace('a', 'b')", "moment.replace(tzinfo=UTC)", "path.open('rb')", "os.open(path, os.O_RDONLY)"]
)
def test_the_checker_lets_reading_pass(snippet: str):
    assert writes(snippet) == []

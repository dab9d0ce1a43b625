"""Rooms 0 and 1 are pure: bytes and values in, bytes and values out (DESIGN.md, Rooms).

The checker reads the syntax tree, so neither a comment nor an alias misleads it; the last tests show that it can fail.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PURE_ROOMS = ("crypto", "gateway/core")

FORBIDDEN_MODULES = frozenset(
    {
        "aiohttp",
        "asyncio",
        "getpass",
        "glob",
        "http",
        "logging",
        "multiprocessing",
        "pathlib",
        "prometheus_client",
        "random",
        "sched",
        "secrets",
        "select",
        "selectors",
        "shutil",
        "signal",
        "socket",
        "socketserver",
        "sqlalchemy",
        "sqlite3",
        "ssl",
        "subprocess",
        "tempfile",
    }
)
FORBIDDEN_CALLS = frozenset({"open", "input", "print", "exec", "eval", "compile", "breakpoint"})
FORBIDDEN_NAMES = frozenset(
    {
        "datetime.datetime.now",
        "datetime.datetime.utcnow",
        "datetime.datetime.today",
        "datetime.date.today",
        "os.urandom",
        "os.environ",
        "os.environb",
        "os.getenv",
        "os.open",
        "os.fdopen",
        "os.system",
        "uuid.uuid1",
        "uuid.uuid4",
    }
)
FORBIDDEN_CLOCKS = frozenset(
    {"time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "sleep", "localtime", "gmtime"}
)

# The doors: what one file alone may do.
DOORS = {
    "crypto/randomness.py": frozenset({"os.urandom"}),
    "crypto/sm2_libcrypto.py": frozenset({"ctypes"}),
}


def breaches(source: str, allowed: frozenset[str] = frozenset()) -> list[str]:
    """Every impure thing in ``source``, as ``line: what``."""
    tree = ast.parse(source)
    aliases = _aliases(tree)
    found = []
    for node in ast.walk(tree):
        what = _impurity(node, aliases)
        if what is not None and what not in allowed:
            found.append(f"{getattr(node, 'lineno', 0)}: {what}")
    return found


def _aliases(tree: ast.AST) -> dict[str, str]:
    """Local name -> the dotted name it was imported as."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                names[alias.asname or alias.name.split(".")[0]] = alias.name if alias.asname else alias.name.split(".")[0]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.update({alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names})
    return names


def _dotted(node: ast.expr, aliases: dict[str, str]) -> str | None:
    if isinstance(node, ast.Name):
        return aliases.get(node.id)
    if isinstance(node, ast.Attribute):
        owner = _dotted(node.value, aliases)
        return f"{owner}.{node.attr}" if owner else None
    return None


def _impurity(node: ast.AST, aliases: dict[str, str]) -> str | None:
    if isinstance(node, ast.Import | ast.ImportFrom):
        modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
        for module in modules:
            top = module.split(".")[0]
            if top in FORBIDDEN_MODULES or top == "ctypes":
                return top
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in FORBIDDEN_CALLS:
        return node.func.id
    if isinstance(node, ast.Attribute | ast.Name) and isinstance(node.ctx, ast.Load):
        name = _dotted(node, aliases)
        if name in FORBIDDEN_NAMES or (name is not None and name.startswith("time.") and name[5:] in FORBIDDEN_CLOCKS):
            return name
    return None


def pure_files() -> list[Path]:
    return sorted(path for room in PURE_ROOMS for path in (ROOT / room).rglob("*.py"))


@pytest.mark.parametrize("path", pure_files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_room_is_pure(path: Path):
    door = DOORS.get(path.relative_to(ROOT).as_posix(), frozenset())
    assert breaches(path.read_text(encoding="utf-8"), door) == []


def test_rooms_are_there():
    assert {"crypto/suites.py", "gateway/core/errors.py"} <= {path.relative_to(ROOT).as_posix() for path in pure_files()}


@pytest.mark.parametrize(
    ("snippet", "what"),
    [
        ("f = open('x')", "open"),
        ("from datetime import datetime\nat = datetime.now()", "datetime.datetime.now"),
        ("from datetime import datetime as d\nat = d.utcnow()", "datetime.datetime.utcnow"),
        ("import datetime\nat = datetime.datetime.now(datetime.UTC)", "datetime.datetime.now"),
        ("import time\nat = time.time()", "time.time"),
        ("import time as t\nat = t.monotonic()", "time.monotonic"),
        ("from time import time\nat = time()", "time.time"),
        ("import random", "random"),
        ("from random import choice", "random"),
        ("import os\nhome = os.environ['HOME']", "os.environ"),
        ("from os import environ\nhome = environ['HOME']", "os.environ"),
        ("import os\nkey = os.urandom(32)", "os.urandom"),
        ("from os import urandom\nkey = urandom(32)", "os.urandom"),
        ("import logging", "logging"),
        ("import asyncio.locks", "asyncio"),
        ("def late():\n    import socket", "socket"),
        ("from sqlalchemy.orm import Session", "sqlalchemy"),
        ("import ctypes", "ctypes"),
    ],
)
def test_checker_finds(snippet: str, what: str):
    assert [breach.split(": ")[1] for breach in breaches(snippet)] == [what]


@pytest.mark.parametrize(
    "snippet",
    [
        "# open( random datetime.now\ntext = 'time.time()'",
        "def take(at): return at.time()",
        "import os\nsep = os.sep",
        "from crypto.randomness import random_bytes\nkey = random_bytes(32)",
        "def f(self): return self.open('x')",
    ],
)
def test_checker_lets_pass(snippet: str):
    assert breaches(snippet) == []


def test_a_door_opens_for_its_own_thing_only():
    source = "import os, time\nkey = os.urandom(32)\nat = time.time()"
    assert breaches(source, DOORS["crypto/randomness.py"]) == ["3: time.time"]

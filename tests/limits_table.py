"""Every ceiling in the code, with its value and the reason that stands beside it: the table of docs/limits.md.

    python -m tests.limits_table        prints the document

A ceiling is a constant with one of the names below, or a field of one of the classes below. Its reason is the comment on its line, or above.
"""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DOCUMENT = ROOT / "docs" / "limits.md"
ROOMS = ("crypto", "gateway/core", "gateway/flow", "gateway/store", "gateway/net", "adapters")
NAME = re.compile(r"MAX_\w+|(\w+_)?CEILING|LARGEST|\w+_AT_ONCE|\w+_A_MINUTE|\w+_IN_FLIGHT|\w+_A_REQUEST|BACKLOG|KEEP_OPENED|HOT_\w+")
CLASSES = frozenset({"ListenLimits", "DoorLimits", "PeerRates", "CallLimits", "StreamLimits", "Repeats", "BodyRoom"})
UNITS = ((1024**3, "GiB"), (1024**2, "MiB"))


@dataclass(frozen=True)
class Ceiling:
    """One ceiling."""

    name: str
    value: str
    reason: str
    where: str


def ceilings() -> Iterator[Ceiling]:
    """All of them, file by file, in their order there."""
    files = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))] + [ROOT / "gateway/app.py"]
    for path in files:
        lines = path.read_text().splitlines()
        where = path.relative_to(ROOT).as_posix()
        for prefix, node in _assignments(ast.parse("\n".join(lines))):
            target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
            if isinstance(target, ast.Name) and node.value is not None and (NAME.fullmatch(target.id) or prefix):
                value = _value(where, prefix, target.id)
                if value is not None:
                    yield Ceiling(f"{prefix}{target.id}", value, _reason(lines, node), where)


def _assignments(tree: ast.Module) -> Iterator[tuple[str, ast.Assign | ast.AnnAssign]]:
    for node in tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign):
            yield "", node
        elif isinstance(node, ast.ClassDef) and node.name in CLASSES:
            yield from ((f"{node.name}.", inner) for inner in node.body if isinstance(inner, ast.Assign | ast.AnnAssign))


def _value(where: str, prefix: str, name: str) -> str | None:
    holder = importlib.import_module(where.removesuffix(".py").removesuffix("/__init__").replace("/", "."))
    if prefix:
        kind = getattr(holder, prefix.rstrip("."))
        holder = kind() if hasattr(kind, "__dataclass_fields__") else kind
    value = getattr(holder, name)
    if isinstance(value, bool) or type(value).__name__ == "DoorLimits":
        return None
    if isinstance(value, int | float):
        return shown(value)
    if type(value).__name__ == "Rate":
        return f"{shown(value.per_second)} a second, {shown(value.burst)} at once"
    return str(value)


def shown(value: float) -> str:
    """A number as people read it."""
    if isinstance(value, float) and not value.is_integer():
        return f"{value:g}"
    number = int(value)
    for unit, name in UNITS:
        if number >= unit and number % unit == 0:
            return f"{number // unit:,} {name}"
    return f"{number:,}"


def _reason(lines: list[str], node: ast.stmt) -> str:
    assert node.end_lineno is not None
    for line in lines[node.lineno - 1 : node.end_lineno]:
        beside = re.search(r"  # (?!type:|noqa)(.*)$", line)
        if beside:
            return beside[1].split("  # noqa")[0].strip()
    above: list[str] = []
    for line in reversed(lines[: node.lineno - 1]):
        if not line.strip().startswith("# ") or line.strip().startswith("# ----"):
            break
        above.insert(0, line.strip()[2:])
    return " ".join(above)


HEAD = """# Limits

Every ceiling there is, with its value, its reason and the place where it stands. Made from the code by `python -m tests.limits_table`; a test
keeps the two equal. What may be set in `gateway.toml` is in [operations.md](operations.md#limits).

## How one peer is kept from the others

In this order, each before the next costs anything:

1. **The door** (`gateway/net/door.py`): an address may begin so many handshakes, and have so many unfinished. Whoever is over it costs one
   accept and one close; no TLS is computed. An address where a listed gateway was seen does not compete with strangers for theirs.
   Handshakes beyond the first few are computed one by one, 10 ms apart; those of all strangers together stand in one line.
2. **Connections**: 32 a listed gateway. A certificate the directory does not list counts among the strangers' 16, whatever it names.
3. **Heads**: bounded in size, number and time; transfer encodings, upgrades and versions other than HTTP/1.1 are refused and hung up on; who
   pipelines is answered once.
4. **Failures**: requests that do not hold are counted. An eighth of them used up: the peer is in doubt and has 1 request worked on at once
   instead of 16, with a rest of 50 ms before each. All of them: `too-many`, a second late, one refusal after another 20 ms apart, and with
   `Retry-After`, before a byte of the body is read. They come back at 2 a second. What says
   something about us (`busy`, `crl-stale`, `no-room` …), and a line that breaks, is no failure. Sound requests cost none: an honest peer is
   never refused.
5. **Rates** (requests, new exchanges, bytes, receipts, repeats): beyond one the request waits; it is not refused.
6. **Bodies** above 64 KiB: so many bytes of one peer in memory; the next is left in its socket until there is room.
7. **Repeats**: the same cover by the same peer gets the bytes it was answered with, from memory, without a signature being verified.
8. **Turns**: 16 requests of one peer are verified at a time, the rest stand in the peer's own line. Receipts are judged 64 at a time; when too
   many fail, the rest of the frame is answered `too-many`, to be brought again.

What that leaves: a peer that sends valid new exchanges without end takes its share of the stage thread (16 acts at a time) and of the disk until its
rate or the disk's head-room stops it; it signs for each, so it is known. Peers behind one address share that address's handshakes. Addresses
without end (a botnet) use up the strangers' handshakes together; listed gateways that were seen before still come in, a new one may have to try again.

## All ceilings

| ceiling | value | reason | where |
|---|---|---|---|
"""


def document() -> str:
    """The whole of docs/limits.md."""
    rows = (f"| `{each.name}` | {each.value} | {each.reason.replace('|', '¦')} | `{each.where}` |" for each in ceilings())
    return HEAD + "\n".join(rows) + "\n"


if __name__ == "__main__":
    DOCUMENT.write_text(document())

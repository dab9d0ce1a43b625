"""``audit verify``: proves the log of one home with none of the code that writes it.

Everything is computed again from the leaf bytes: RFC 6962 hashes, C2SP checkpoint notes, Ed25519 signatures, the mark. In this order:

1. The database holds the log of the expected origin, last of those it ever went on with.
2. Leaves are numbered 0, 1, 2 … without a gap.
3. Every leaf is canonical JSON of the leaf format, within its size, about the exchange its row says, and not earlier than the one before.
4. Every stored subtree hash is the hash of its leaves, and none is missing.
5. Every stored checkpoint carries a good signature of the log key, and its root is the root of that many leaves.
6. The last checkpoint covers the last leaf.
7. The mark outside the database is not ahead, and names a root the log went through.
8. Where an earlier log was given up (put back from an older copy), all of this but the mark holds for it too, and the first leaf of the next
   one names its last checkpoint; what the next one says was lost is told.

    report = verify_log(home / "yizhan.db", home / "mark", vkey, origin)
"""

from __future__ import annotations

import base64
import itertools
import json
import re
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from gateway.store.findings import Finding, Severity, reading

_MAX_LEAF = 4096
_LEAF_FORMAT = "yizhan-leaf/1"
_AT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?Z", re.ASCII)
_LOWEST_STORED = 4  # docs/format.md: subtrees of at least 16 leaves are stored
_EPOCH_BITS = 40  # docs/format.md: the place of a leaf is its epoch above these bits, its index below
_ALGORITHM = b"\x01"  # C2SP signed-note: Ed25519


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditReport:
    """What the log is, and whether all of it holds. ``root`` is the base64 of the root over every leaf there; ``earlier`` logs by origin."""

    size: int
    root: str
    findings: tuple[Finding, ...]
    earlier: tuple[tuple[str, int], ...] = ()  # origin and size of each log before it

    @property
    def ok(self) -> bool:
        return not any(finding.severity == "error" for finding in self.findings)


def verify_log(database: Path, mark: Path, vkey: str, origin: str) -> AuditReport:
    """Go through the whole log; never raises for what it finds. Raises ValueError for a verifier key that is none."""
    current, earlier = _Audit(vkey, origin, 1), list[_Audit]()
    try:
        with reading(database) as connection:
            current, earlier = _logs(connection, vkey, origin)
            for audit in (*earlier, current):
                audit.go_through(connection)
            for before, after in itertools.pairwise((*earlier, current)):
                after.follow(before)
    except (sqlite3.Error, FileNotFoundError) as error:
        current.error(database.name, f"cannot be read: {error}")
    except (TypeError, ValueError, AttributeError) as error:  # columns of another type than any program of ours writes
        current.error(database.name, f"cannot be understood: {error!r}")
    current.compare_mark(mark)
    return AuditReport(
        size=current.tree.size,
        root=base64.b64encode(current.tree.root()).decode(),
        findings=tuple(finding for audit in (*earlier, current) for finding in audit.findings),
        earlier=tuple((audit.origin, audit.tree.size) for audit in earlier),
    )


def _logs(connection: sqlite3.Connection, vkey: str, origin: str) -> tuple[_Audit, list[_Audit]]:
    """The log the database goes on with, and those before it, none of them looked at yet. Raises ValueError for a key that is none."""
    there = connection.execute("SELECT epoch, origin FROM origins ORDER BY epoch").fetchall()
    current = _Audit(vkey, origin, max(1, len(there)))
    if [epoch for epoch, _ in there] != list(range(1, len(there) + 1)) or not there or there[-1][1] != origin:
        held = ", ".join(repr(name) for _, name in there) or "of nobody"
        current.error("origins", f"holds the log {held}, not {origin!r}")
    earlier = [_Audit(vkey, name, epoch) for epoch, name in there[:-1]]
    for audit in (*earlier, current):
        audit.label = f"{audit.origin}: " if earlier else ""
    stray = connection.execute("SELECT count(*) FROM leaves WHERE idx < 0 OR idx >= ?", (max(1, len(there)) << _EPOCH_BITS,)).fetchone()[0]
    if stray:
        current.error("leaves", f"{stray} stand outside of every log")
    return current, earlier


class _Tree:
    """The hashes of the complete subtrees so far, largest first, with their levels."""

    def __init__(self) -> None:
        self.size = 0
        self._peaks: list[tuple[int, bytes]] = []

    def grow(self, leaf: bytes) -> Iterator[tuple[int, int, bytes]]:
        """Every subtree this leaf completes, from the leaf itself up."""
        level, digest = 0, sha256(b"\x00" + leaf).digest()
        yield level, self.size, digest
        while self._peaks and self._peaks[-1][0] == level:
            digest = sha256(b"\x01" + self._peaks.pop()[1] + digest).digest()
            level += 1
            yield level, self.size >> level, digest
        self._peaks.append((level, digest))
        self.size += 1

    def root(self) -> bytes:
        if not self._peaks:
            return sha256(b"").digest()
        digest = self._peaks[-1][1]
        for _, left in reversed(self._peaks[:-1]):
            digest = sha256(b"\x01" + left + digest).digest()
        return digest


class _Audit:
    """One pass over one log."""

    def __init__(self, vkey: str, origin: str, epoch: int) -> None:
        self.tree = _Tree()
        self.origin = origin
        self._first = (epoch - 1) << _EPOCH_BITS
        self._end = epoch << _EPOCH_BITS
        self.label = ""  # where there are several logs, which one
        self._opening: dict[str, object] = {}  # the first leaf
        self._last_note = b""
        self.findings: list[Finding] = []
        self._name, self._key_id, self._key = _read_vkey(vkey)
        self._roots: dict[int, bytes] = {}  # at every size somebody asks about
        self._last_at = ""
        self._last_good = 0  # the largest size whose checkpoint held
        self._first_bad = 0  # the smallest size whose root did not

    def error(self, where: str, what: str, severity: Severity = "error") -> None:
        self.findings.append(Finding(severity=severity, where=self.label + where, what=what))

    def go_through(self, connection: sqlite3.Connection) -> None:
        ours = "FROM checkpoints WHERE size > ? AND size <= ?"
        sizes = {size - self._first for (size,) in connection.execute(f"SELECT size {ours}", (self._first, self._end))}
        self._hash_leaves(connection, sizes)
        self._check_checkpoints(connection)

    def follow(self, before: _Audit) -> None:
        """The first leaf names the last checkpoint of the log before, and what it says of its end is told."""
        named, expected = self._opening.get("object"), f"sha256:{sha256(before._last_note).hexdigest()}"
        if self._opening.get("kind") != "origin" or named != expected:
            self.error("leaf 0", f"does not name the last checkpoint of {before.origin}")
            return
        signed = self._opening.get("size")
        if isinstance(signed, int) and signed > before.tree.size:
            lost = f"{signed - before.tree.size} of {signed} leaves signed in {before.origin} were lost: {self._opening.get('reason')}"
            self.error("leaf 0", f"says that {lost}", severity="note")

    def _hash_leaves(self, connection: sqlite3.Connection, sizes: set[int]) -> None:
        within = (self._first, self._end)
        query = "SELECT level, idx, hash FROM nodes WHERE (idx << level) >= ? AND (idx << level) < ?"
        stored = {(level, index - (self._first >> level)): digest for level, index, digest in connection.execute(query, within)}
        query = "SELECT idx, exchange, body FROM leaves WHERE idx >= ? AND idx < ? ORDER BY idx"
        for place, exchange, body in connection.execute(query, within):
            index = place - self._first
            if index != self.tree.size:
                self.error(f"leaf {self.tree.size}", f"is missing: the next one there is leaf {index}")
                break
            leaf = _as_bytes(body)
            self._check_leaf(index, exchange, leaf)
            for level, node, digest in self.tree.grow(leaf):
                if level >= _LOWEST_STORED and stored.pop((level, node), None) != digest:
                    first = node << level
                    self.error(f"leaves {first} to {index}", f"are not what was hashed when they were written (subtree {level}/{node})")
            if self.tree.size in sizes:
                self._roots[self.tree.size] = self.tree.root()
        for level, node in sorted(stored):
            self.error(f"subtree {level}/{node}", "is stored and has no leaves")

    def _check_leaf(self, index: int, exchange: str | None, body: bytes) -> None:
        try:
            leaf = json.loads(body)
            at = leaf["at"]
            spelled = json.dumps(leaf, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            self.error(f"leaf {index}", f"is no leaf: {error}")
            return
        self._opening = self._opening or leaf
        if spelled != body or len(body) > _MAX_LEAF or leaf.get("v") != _LEAF_FORMAT:
            self.error(f"leaf {index}", f"is not the canonical form of a {_LEAF_FORMAT} of at most {_MAX_LEAF} bytes")
        about = _key(leaf)
        if about != exchange:
            self.error(f"leaf {index}", f"is filed under exchange {exchange} and speaks of {about}")
        if not isinstance(at, str) or _AT.fullmatch(at) is None:
            self.error(f"leaf {index}", f"has no time: {at!r}")
        elif at[:-1] < self._last_at:
            self.error(f"leaf {index}", f"is dated {at}, before the leaf ahead of it")
        else:
            self._last_at = at[:-1]

    def _check_checkpoints(self, connection: sqlite3.Connection) -> None:
        last = 0
        query = "SELECT size, note FROM checkpoints WHERE size > ? AND size <= ? ORDER BY size"
        for place, note in connection.execute(query, (self._first, self._end)):
            last = size = place - self._first
            self._last_note = _as_bytes(note)
            where = f"checkpoint {size}"
            try:
                origin, signed_size, root = self._open(_as_bytes(note))
            except ValueError as error:
                self.error(where, str(error))
                continue
            if (origin, signed_size) != (self.origin, size):
                self.error(where, f"speaks of {signed_size} leaves of {origin}")
            elif size not in self._roots:
                self.error(where, f"covers {size} leaves and {self.tree.size} are there")
            elif self._roots[size] == root:
                self._last_good = size
            elif not self._first_bad:
                self._first_bad = size
        if self._first_bad:
            where = (
                f"leaves {self._last_good} to {self._first_bad - 1}" if self._last_good < self._first_bad else f"leaf {self._first_bad - 1}"
            )
            self.error(
                where, f"are not what the checkpoint of {self._first_bad} leaves was signed over; every later root differs with them"
            )
        if last != self.tree.size:
            self.error("checkpoints", f"the last one covers {last} leaves and {self.tree.size} are there")

    def _open(self, note: bytes) -> tuple[str, int, bytes]:
        """Origin, size and root a checkpoint note states under the log's key. Raises ValueError."""
        text, blank, signatures = note.decode().rpartition("\n\n")
        text += "\n"
        for line in signatures.split("\n"):
            dash, _, rest = line.partition(" ")
            name, _, encoded = rest.partition(" ")
            blob = base64.b64decode(encoded, validate=True)
            if not (blank and dash == "\u2014" and name == self._name and blob[:4] == self._key_id):
                continue
            try:
                self._key.verify(blob[4:], text.encode())
            except InvalidSignature:
                raise ValueError("carries a signature of the log key that does not hold") from None
            origin, size, root, end = text.split("\n")
            if end or not size.isdecimal():
                raise ValueError("is signed and is no checkpoint")
            return origin, int(size), base64.b64decode(root, validate=True)
        raise ValueError("is not signed by the log key")

    def compare_mark(self, path: Path) -> None:
        try:
            version, origin, size, root, end = path.read_text("utf-8").split("\n")
            marked, expected = int(size), base64.b64decode(root, validate=True)
        except (OSError, ValueError) as error:
            self.error("mark", f"cannot be read ({error}): whether the database was put back from an older copy cannot be told")
            return
        if version != "yizhan-mark/1" or end or origin != self.origin:
            self.error("mark", f"is not the mark of {self.origin}")
        elif marked > self.tree.size:
            self.error(
                "mark", f"says {marked} leaves were signed and {self.tree.size} are there: the database was put back from an older copy"
            )
        elif marked and self._roots.get(marked) != expected:
            self.error("mark", f"says the root at {marked} leaves was another")


def _key(leaf: dict[str, Any]) -> str | None:
    """What a leaf is filed under: the exchange it names, with its sender where that is another."""
    sender = leaf.get("sender")
    return leaf.get("exchange") if sender is None else f"{leaf.get('exchange')}-{sender}"


def _as_bytes(value: object) -> bytes:
    """A column as bytes, even where somebody put something else."""
    return value if isinstance(value, bytes) else repr(value).encode()


def _read_vkey(vkey: str) -> tuple[str, bytes, Ed25519PublicKey]:
    """Name, key id and key of a C2SP verifier key. Raises ValueError."""
    name, key_id, encoded = vkey.split("+", 2)
    key = base64.b64decode(encoded, validate=True)
    computed = sha256(name.encode() + b"\n" + key).digest()[:4]
    if key[:1] != _ALGORITHM or computed.hex() != key_id:
        raise ValueError(f"not an Ed25519 verifier key: {vkey[:80]!r}")
    return name, computed, Ed25519PublicKey.from_public_bytes(key[1:])

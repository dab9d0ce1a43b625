"""``fsck``: proves that rows, blobs and log agree, with none of the code that writes them.

It reads the database through the bare driver, the blobs through the bare file system, and believes nothing but bytes and digests:

1. The database itself: readable, whole, no row without the row it refers to.
2. Every sealed exchange: transmittal bytes have the digest kept beside them and a signature that holds; they name this exchange, its
   sender, level, recipients and envelopes.
3. Every content: there, of the stated size, with the digest the transmittal was signed over; in its row or its blob.
4. Every receipt: its bytes have its digest and a signature that holds, and say what its columns say; its leaf is about it.
5. Every passage: in a state some leaf explains, and not behind what a later leaf says.
6. Every piece of due work is about an exchange that is there; every shelf holds what its name says.
7. Nothing lies about that nobody names: blobs, uploads that became blobs, files half written.

Whose signature it is was judged on arrival and is judged again with the evidence: no certificate chain is built here. The tree is the
business of ``audit verify``.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

from crypto.digests import Hasher, digest
from crypto.errors import YizhanError
from crypto.signed_data import SignedData
from gateway.store.explained import Word, objection
from gateway.store.findings import Finding, Severity, reading

_INLINE_CEILING = 64 * 1024  # as the writer has it; known here apart from its code
_ID_LENGTH = 36  # what a key begins with
_PIECE = 1024 * 1024


def fsck(database: Path, blobs: Path) -> tuple[Finding, ...]:
    """Everything that is not as it should be; never raises for what it finds."""
    check = _Check(blobs)
    try:
        with reading(database) as connection:
            check.go_through(connection)
    except (sqlite3.Error, FileNotFoundError) as error:
        check.find("error", database.name, f"cannot be read: {error}")
    return tuple(check.findings)


class _Check:
    """One pass over one home."""

    def __init__(self, blobs: Path) -> None:
        self.findings: list[Finding] = []
        self._blobs = blobs
        self._named: set[str] = set()  # blobs some row names

    def find(self, severity: Severity, where: str, what: str) -> None:
        self.findings.append(Finding(severity=severity, where=where, what=what))

    def go_through(self, connection: sqlite3.Connection) -> None:
        connection.row_factory = sqlite3.Row
        self._check_database(connection)
        for row in connection.execute(
            "SELECT s.*, c.body AS inline FROM sealed s LEFT JOIN contents c ON c.direction = s.direction AND c.exchange = s.exchange"
        ):
            self._guard(f"sealed {row['direction']} {row['exchange']}", partial(self._check_sealed, connection, row))
        self._guard("exchanges", partial(self._check_unsealed, connection))
        for row in connection.execute(
            "SELECT r.*, l.body AS leaf_body, s.transmittal_digest FROM receipts r LEFT JOIN leaves l ON l.idx = r.leaf "
            "LEFT JOIN sealed s ON s.direction = r.direction AND s.exchange = r.exchange"
        ):
            self._guard(f"receipt {row['digest']}", partial(self._check_receipt, row))
        self._guard("passages", partial(self._check_passages, connection))
        self._guard("work", partial(self._check_work, connection))
        self._guard("shelves", partial(self._check_shelves, connection))
        self._check_folder()

    def _guard(self, where: str, check: Callable[[], None]) -> None:
        """A row somebody bent may hold anything; whatever a check stumbles over is a finding and not the end of the pass."""
        try:
            check()
        except (TypeError, ValueError, AttributeError, KeyError) as error:
            self.find("error", where, f"cannot be understood: {error!r}")

    def _check_database(self, connection: sqlite3.Connection) -> None:
        for (verdict,) in connection.execute("PRAGMA integrity_check"):
            if verdict != "ok":
                self.find("error", "database", verdict)
        for table, rowid, parent, _ in connection.execute("PRAGMA foreign_key_check"):
            self.find("error", f"{table} row {rowid}", f"refers to a row of {parent} that is not there")

    # ---- sealed exchanges

    def _check_sealed(self, connection: sqlite3.Connection, row: sqlite3.Row) -> None:
        where = f"sealed {row['direction']} {row['exchange']}"
        self._compare(where, "the transmittal", row["transmittal"], row["transmittal_digest"])
        transmittal = _json(row["transmittal"])
        if transmittal is None:
            self.find("error", where, "the transmittal is no JSON object")
            return
        stated = _key(row["direction"], transmittal)
        if stated != row["exchange"]:
            self.find("error", where, f"the transmittal is that of {stated}")
        self._check_signature(where, row["nro"], row["transmittal"])
        self._check_exchange(connection, where, row, transmittal)
        listed = {one.get("org"): one.get("envelope") for one in transmittal.get("recipients", [])}
        key = (row["direction"], row["exchange"])
        self._check_envelopes(connection, key, listed)
        self._check_recipients(connection, key, set(listed))
        self._check_content(where, row, transmittal.get("content"))

    def _check_exchange(self, connection: sqlite3.Connection, where: str, row: sqlite3.Row, transmittal: dict[str, Any]) -> None:
        sender = transmittal["sender"]
        stated = {"level": transmittal["level"], "urgency": transmittal["urgency"], "suite": transmittal["suite"]}
        stated |= {"sender_org": sender["org"], "sender_gateway": sender["gateway"]}
        key = (row["direction"], row["exchange"])
        opened = connection.execute("SELECT * FROM exchanges WHERE direction = ? AND key = ?", key).fetchone()
        for column, value in stated.items():
            if opened is not None and opened[column] != value:
                self.find("error", f"exchanges {key[0]} {key[1]}", f"{column} is {opened[column]!r}, the transmittal says {value!r}")
        if _micros(transmittal["expires"]) != row["expires"]:
            self.find("error", where, f"does not expire at {transmittal['expires']}, as the transmittal says")

    def _check_envelopes(self, connection: sqlite3.Connection, key: tuple[str, str], listed: dict[str, str | None]) -> None:
        for org, body in connection.execute("SELECT org, body FROM envelopes WHERE direction = ? AND exchange = ?", key):
            where = f"envelopes {key[0]} {key[1]} {org}"
            expected = listed.get(org)
            if expected is None:
                self.find("error", where, "is for somebody the transmittal gives no envelope")
            else:
                self._compare(where, "the envelope", body, expected)

    def _check_recipients(self, connection: sqlite3.Connection, key: tuple[str, str], listed: set[str]) -> None:
        passages = {org for (org,) in connection.execute("SELECT recipient FROM passages WHERE direction = ? AND exchange = ?", key)}
        if not passages or passages - listed or (key[0] == "out" and listed - passages):
            self.find("error", f"passages {key[0]} {key[1]}", f"go to {sorted(passages)}, the transmittal to {sorted(listed)}")

    def _check_content(self, where: str, row: sqlite3.Row, stated: dict[str, Any] | None) -> None:
        size, inline, blob = row["content_size"], row["inline"], row["blob"]
        if blob is not None:
            self._named.add(blob)
        if size is None:  # a notice, or an arrival that was refused or is held before its content was taken in
            if inline is not None or blob is not None or (stated is not None and row["direction"] == "out"):
                self.find("error", where, "content and the row that speaks of it do not fit")
            return
        if stated is None or stated.get("size") != size:
            self.find("error", where, f"has content of {size} bytes, the transmittal states {stated and stated.get('size')}")
            return
        if (inline is None) == (blob is None):
            self.find("error", where, "content lies in a row or in a blob, not in both or neither")
        elif inline is not None:
            if len(inline) > _INLINE_CEILING:
                self.find("warning", f"contents {row['direction']} {row['exchange']}", f"{len(inline)} bytes in a row")
            self._compare(f"contents {row['direction']} {row['exchange']}", "the ciphertext", inline, stated["sealed"])
        else:
            self._check_blob(blob, size, stated["sealed"])

    def _check_blob(self, name: str, size: int, expected: str) -> None:
        path = self._blobs / name[:2] / name
        where = f"blob {name}"
        if not path.is_file():
            self.find("error", where, "is not there")
            return
        found = path.stat().st_size
        if found != size:
            self.find("error", where, f"has {found} bytes, not {size}")
            return
        hasher = Hasher("sm3" if expected.startswith("sm3:") else "sha256")
        with path.open("rb") as stream:
            while piece := stream.read(_PIECE):
                hasher.update(piece)
        if hasher.text() != expected:
            self.find("error", where, f"is not the ciphertext that was signed for: its digest is {hasher.text()}, not {expected}")

    def _check_unsealed(self, connection: sqlite3.Connection) -> None:
        """Rows that belong to a sealed exchange where there is none."""
        for table in ("envelopes", "contents"):
            for direction, exchange in connection.execute(
                f"SELECT DISTINCT t.direction, t.exchange FROM {table} t LEFT JOIN sealed s "  # noqa: S608  # two names of our own
                "ON s.direction = t.direction AND s.exchange = t.exchange WHERE s.exchange IS NULL"
            ):
                self.find("error", f"{table} {direction} {exchange}", "belongs to an exchange that was never sealed")
        for direction, exchange in connection.execute(
            "SELECT e.direction, e.key FROM exchanges e WHERE NOT EXISTS "
            "(SELECT 1 FROM passages p WHERE p.direction = e.direction AND p.exchange = e.key)"
        ):
            self.find("error", f"exchanges {direction} {exchange}", "goes to nobody")

    # ---- receipts

    def _check_receipt(self, row: sqlite3.Row) -> None:
        where = f"receipt {row['digest']} ({row['direction']})"
        self._compare(where, "the receipt", row["body"], row["digest"])
        if row["digest_key"] != int.from_bytes(bytes.fromhex(row["digest"].partition(":")[2][:16]), "big", signed=True):
            self.find("error", where, "cannot be found by its digest")
        receipt = _json(row["body"])
        if receipt is None:
            self.find("error", where, "is no JSON object")
            return
        said = (receipt.get("exchange"), receipt.get("recipient") or "", receipt.get("event"), receipt.get("by", {}).get("org"))
        if said != (row["exchange"][:_ID_LENGTH], row["recipient"], row["event"], row["issuer_org"]):
            self.find("error", where, f"says {said}, its row something else")
        if row["transmittal_digest"] is not None and receipt.get("transmittal") != row["transmittal_digest"]:
            self.find("error", where, "speaks of another transmittal")
        self._check_signature(where, row["signature"], row["body"])
        if row["leaf"] is None:
            self.find("error", where, "has no leaf")
        elif (_json(row["leaf_body"]) or {}).get("object") != row["digest"]:
            self.find("error", where, f"leaf {row['leaf']} is not about it")

    # ---- state and log

    def _check_passages(self, connection: sqlite3.Connection) -> None:
        events = {
            (direction, digest_): event for direction, digest_, event in connection.execute("SELECT direction, digest, event FROM receipts")
        }
        words: list[Word] = []
        of: tuple[str, str] | None = None
        for direction, exchange, recipient, state in connection.execute(
            "SELECT direction, exchange, recipient, state FROM passages ORDER BY direction, exchange, recipient"
        ):
            if of != (direction, exchange):
                of = (direction, exchange)
                words = list(_words(connection, direction, exchange, events))
            against = objection(direction, recipient, state, words)
            if against:
                self.find("error", f"passages {direction} {exchange} {recipient}", against)

    def _check_work(self, connection: sqlite3.Connection) -> None:
        known = {(direction, exchange) for direction, exchange in connection.execute("SELECT direction, key FROM exchanges")}
        for key, direction, exchange in connection.execute("SELECT key, direction, exchange FROM work"):
            if exchange and (direction, exchange) not in known:
                self.find("warning", f"work {key}", "is about an exchange that is not there")

    def _check_shelves(self, connection: sqlite3.Connection) -> None:
        for shelf, name, body in connection.execute("SELECT shelf, name, body FROM shelves"):
            where = f"shelf {shelf} {name}"
            if shelf in ("policy", "entry", "crl"):
                self._compare(where, "it", body, name)
            elif shelf == "certificate" and f"sha256:{sha256(body).hexdigest()}" != name:
                self.find("error", where, "is another certificate")
            elif shelf == "directory" and str((_json(body) or {}).get("version")) != name:
                self.find("error", where, "is another version")

    # ---- what nobody names

    def _check_folder(self) -> None:
        for path in sorted(self._blobs.glob("*/*")):
            if path.parent.name == "growing":
                self.find("note", f"blobs/growing/{path.name}", "was never finished; the next start removes it")
            elif path.name not in self._named:
                self.find("note", f"blob {path.name}", "is named by no exchange: its transaction never came")

    def _check_signature(self, where: str, signature: bytes, message: bytes) -> None:
        try:
            SignedData.from_der(signature).verify(message)
        except YizhanError as error:
            self.find("error", where, f"the signature does not hold: {error}")

    def _compare(self, where: str, what: str, data: bytes, expected: str) -> None:
        try:
            found = digest("sm3" if expected.startswith("sm3:") else "sha256", bytes(data))
        except TypeError:
            found = "not bytes at all"
        if found != expected:
            self.find("error", where, f"{what} is not what was kept: its digest is {found}, not {expected}")


def _words(connection: sqlite3.Connection, direction: str, exchange: str, events: dict[tuple[str, str], str]) -> Iterator[Word]:
    for index, body in connection.execute("SELECT idx, body FROM leaves WHERE exchange = ? ORDER BY idx", (exchange,)):
        leaf = _json(body) or {}
        yield Word(
            index=index,
            kind=str(leaf.get("kind")),
            outcome=str(leaf.get("outcome")),
            recipient=leaf.get("recipient"),
            event=events.get((direction, str(leaf.get("object")))),
        )


def _key(direction: str, transmittal: dict[str, Any]) -> str:
    """What an exchange is filed under: its id, with its sender where that is another."""
    return transmittal["id"] if direction == "out" else f"{transmittal['id']}-{transmittal['sender']['org']}"


def _micros(moment: str) -> int:
    """Microseconds since 1970, as the tables keep moments."""
    return (datetime.fromisoformat(moment) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def _json(data: object) -> dict[str, Any] | None:
    if not isinstance(data, bytes):
        return None
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None

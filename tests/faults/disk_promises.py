"""What a gateway promised in a recorded run, and whether the disk held it by then.

A promise is a run of bytes on its way to a peer, or a rename people see. Each names what must be durable first: a text (a receipt's
digest, a transmittal's digest, an exchange) that a transaction wrote. Durable is: the write-ahead log was synced by a call that began
after the transaction's last frame was written and ended before the promise left.
"""

from __future__ import annotations

import re
import struct
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from crypto.digests import digest
from crypto.suites import DigestName
from gateway.core.cover import LENGTH_BYTES, Cover
from gateway.net.frames import RECEIPTS_TYPE, unpack_answers, unpack_receipts
from tests.faults.disk_trace import Act

_FRAME = 24  # SQLite's file format, 4.1: header of a frame in the write-ahead log
_START = 32
_BLOB = re.compile(r"/blobs/[0-9a-f]{2}/([0-9a-f]{32})$")
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """``what`` left at the moment ``at``; every text of ``rests_on`` must stand in a synced transaction by then."""

    what: str
    at: int
    rests_on: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Transaction:
    """What one commit wrote to the log, from its first frame's beginning to its last frame's end, and when a sync covered it."""

    pages: bytes
    began: int
    written: int
    synced: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    kept: Counter[str]
    broken: tuple[str, ...]


# ---- the write-ahead log ---------------------------------------------------------------------------------------------------------


def transactions(acts: Sequence[Act]) -> list[Transaction]:
    """The commits of a run, from the frames as they were written."""
    log = [act for act in acts if act.path.endswith("-wal") and act.kind in ("write", "sync")]
    syncs = [(act.began, act.ended) for act in log if act.kind == "sync" and act.good]
    found: list[Transaction] = []
    pages, began, last = [], 0, False
    for act in log:
        if act.kind != "write" or act.offset < _START:
            continue
        if len(act.data) == _FRAME:
            began = began or act.began
            last = struct.unpack(">I", act.data[4:8])[0] != 0
            continue
        pages.append(act.data)
        if last:
            synced = min((end for begin, end in syncs if begin > act.ended), default=None)
            found.append(Transaction(pages=b"\0".join(pages), began=began, written=act.ended, synced=synced))
            pages, began, last = [], 0, False
    return found


# ---- promises --------------------------------------------------------------------------------------------------------------------


def promises(acts: Sequence[Act], plain: Path, home: Path) -> Iterator[Promise]:
    """Everything that left this gateway and is a promise."""
    yield from _spoken(acts, str(plain))
    for act in acts:
        if act.kind != "rename" or not act.good:
            continue
        place = Path(act.target)
        if place.parent == home / "office" / "sent" and not Path(act.path).name.startswith("."):
            yield Promise(what="offer settled", at=act.began, rests_on=(place.name,))
        if place.parent == home / "office" / "inbox" and _UUID.fullmatch(place.name):
            yield Promise(what="document delivered", at=act.began, rests_on=(place.name,))


def _spoken(acts: Sequence[Act], plain: str) -> Iterator[Promise]:
    streams: dict[int, bytearray] = {}
    for act in acts:
        if act.path != plain or act.kind != "write":
            continue
        head, _, data = act.data.partition(b"\n")
        number, length = map(int, head.split())
        assert len(data) == length, "one call, one run of bytes"
        stream = streams.setdefault(number, bytearray())
        stream += data
        while (message := _message(stream)) is not None:
            yield from _promised(*message, act.began)
    assert not any(streams.values()), "a message that never ended"


def _message(stream: bytearray) -> tuple[str, dict[str, str], bytes] | None:
    """Take one whole HTTP message off the front."""
    end = stream.find(b"\r\n\r\n")
    if end < 0:
        return None
    first, *lines = bytes(stream[:end]).decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    assert "transfer-encoding" not in headers, "this reader knows lengths alone"
    length = 0 if first.startswith("HTTP/1.1 204") else int(headers.get("content-length", "0"))
    if len(stream) < end + 4 + length:
        return None
    body = bytes(stream[end + 4 : end + 4 + length])
    del stream[: end + 4 + length]
    return first, headers, body


def _promised(first: str, headers: dict[str, str], body: bytes, at: int) -> Iterator[Promise]:
    kind = headers.get("content-type", "")
    if first.startswith("HTTP/1.1 200") and kind == RECEIPTS_TYPE:
        yield Promise(what="receipts in an answer", at=at, rests_on=_digests(body))
    elif first.startswith("HTTP/1.1 200") and b'"yizhan-answers/1"' in body:
        rests_on = tuple(answer.digest for answer in unpack_answers(body) if answer.code == "ok")
        yield Promise(what="receipts taken", at=at, rests_on=rests_on)
    elif first.startswith("POST /v1/receipts"):
        yield Promise(what="receipts brought", at=at, rests_on=_digests(body))
    elif first.startswith("POST /v1/exchanges"):
        end = LENGTH_BYTES + int.from_bytes(body[:LENGTH_BYTES], "big")
        transmittal = Cover.from_bytes(body[:end]).transmittal
        yield Promise(what="exchange sent", at=at, rests_on=(digest(_suite_digest(transmittal), transmittal),))


def _digests(frame: bytes) -> tuple[str, ...]:
    return tuple(digest(_suite_digest(receipt.body), receipt.body) for receipt in unpack_receipts(frame))


def _suite_digest(signed: bytes) -> DigestName:
    """The digest of its suite, by what stands in it."""
    return "sm3" if b'"sm3:' in signed else "sha256"


# ---- the verdict -----------------------------------------------------------------------------------------------------------------


def judge(acts: Sequence[Act], plain: Path, home: Path) -> Findings:
    """Hold every promise against the log, and every blob against its transaction."""
    commits = transactions(acts)
    kept: Counter[str] = Counter()
    broken: list[str] = []
    for promise in promises(acts, plain, home):
        for text in promise.rests_on:
            on = next((commit for commit in commits if text.encode() in commit.pages), None)
            if on is None or on.written > promise.at:
                broken.append(f"{promise.what}: {text} was not written by then")
            elif on.synced is None or on.synced > promise.at:
                broken.append(f"{promise.what}: {text} was not synced by then")
            else:
                kept[promise.what] += 1
    for name, trouble in _blobs(acts, commits):
        if trouble:
            broken.append(f"blob {name}: {trouble}")
        else:
            kept["blob before its transaction"] += 1
    return Findings(kept=kept, broken=tuple(broken))


def _blobs(acts: Sequence[Act], commits: Sequence[Transaction]) -> Iterator[tuple[str, str]]:
    """Each blob and what is wrong with it: bytes synced before the name, the name synced before the transaction that says it."""
    for act in acts:
        found = _BLOB.search(act.target) if act.kind == "rename" else None
        if found is None:
            continue
        name, folder = found[1], act.target.rpartition("/")[0]
        written = max((each.ended for each in acts if each.kind == "write" and each.file == act.file), default=0)
        synced = any(each.kind == "sync" and each.file == act.file and each.began > written and each.ended < act.began for each in acts)
        placed = min((each.ended for each in acts if each.kind == "sync" and each.path == folder and each.began > act.ended), default=None)
        named = min((commit.began for commit in commits if name.encode() in commit.pages), default=None)
        if not written:
            yield name, "no byte of it was seen"
        elif not synced:
            yield name, "its bytes were not synced before it got its name"
        elif placed is None or (named is not None and placed > named):
            yield name, "its folder was not synced before a transaction named it"
        else:
            yield name, ""

"""What happens in the demo city: documents made, put into outboxes, followed to their signature, compared, and tampering found.

Everything is looked at from outside, as the agencies' people and auditors would: folders, status.json, the read-only ledger.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from gateway.cli.city import Agency, City, CityFailed, read_status
from gateway.cli.office import put_into_outbox
from gateway.cli.specimens import Notice, budget_notice, budget_reply, budget_xlsx, large_chunks, notice_ofd, notice_pdf, secret_notice
from gateway.core.canonical import format_time
from gateway.core.leaf import Leaf, LeafKind
from gateway.home import Home
from gateway.reading import find_exchange, open_ledger
from gateway.store.audit import AuditReport, verify_log
from gateway.store.fsck import fsck

OFFICE = Agency(key="shizhengfu", code="113301000024890007", name="市政府办公室")
FINANCE = Agency(key="caizheng", code="11330100002489100W", name="市财政局")
HEALTH = Agency(key="weijian", code="11330100002489200J", name="市卫生健康委员会")
AGENCIES = (OFFICE, FINANCE, HEALTH)
NAMES = {agency.code: agency.name for agency in AGENCIES}

SEED = 2026  # the same documents each time
LARGE_BYTES = 64 * 1024 * 1024
FOLLOW_SECONDS = 90.0
SHA_PIECE = 1024 * 1024


@dataclass(slots=True, kw_only=True)
class Sent:
    """One document on its way, and what became of it."""

    sender: Agency
    recipients: tuple[Agency, ...]
    title: str
    files: tuple[Path, ...]
    source: str
    exchange: str = ""
    level: str = ""
    suite: str = ""
    states: dict[str, str] = field(default_factory=dict)
    receipts: list[dict[str, str]] = field(default_factory=list)
    delivered: dict[str, str] = field(default_factory=dict)
    identical: bool = False
    path: list[tuple[str, str, str]] = field(default_factory=list)  # (at, agency, what)


class Story:
    """The documents of one demo."""

    def __init__(self, city: City, today: date) -> None:
        self._city = city
        self._today = today
        self._drafts = city.folder / "drafts"
        self._drafts.mkdir()

    # ---- making and sending

    def budget_notice(self) -> Sent:
        """A notice with a spreadsheet, to two agencies."""
        notice = budget_notice(self._today, seed=SEED)
        table = self._draft("经费需求表.xlsx", budget_xlsx(self._today, seed=SEED))
        return self._send(OFFICE, (FINANCE, HEALTH), notice, "通知", (self._draft("通知.pdf", notice_pdf(notice)), table))

    def reply(self) -> Sent:
        """The health commission answers, in OFD."""
        asked = budget_notice(self._today, seed=SEED)
        notice = budget_reply(self._today, seed=SEED, to_number=asked.number)
        return self._send(HEALTH, (OFFICE,), notice, "函", (self._draft("复函.ofd", notice_ofd(notice)),))

    def large(self) -> Sent:
        """The notice passed on with one large attachment: it travels in resumable pieces."""
        notice = budget_notice(self._today, seed=SEED + 1)
        sample = self._drafts / "影像数据样本.zip"
        with sample.open("wb") as stream:
            for chunk in large_chunks(LARGE_BYTES, seed=SEED):
                stream.write(chunk)
        return self._send(OFFICE, (FINANCE,), notice, "通知", (self._draft("通知（二）.pdf", notice_pdf(notice)), sample))

    def secret(self) -> str:
        """A document marked 秘密: may not enter a network of commercial ciphers. The outbox folder's name."""
        notice = secret_notice(self._today, seed=SEED)
        body = self._draft("秘密.pdf", notice_pdf(notice))
        fields = {
            "title": "".join(notice.title),
            "level": "秘密",
            "secrecyTerm": "1年",
            "copyNumber": "000001",
            "classifier": "定密责任人",
            "type": "通知",
            "to": [FINANCE.code],
            "files": [{"name": body.name}],
        }
        return put_into_outbox(self._home(OFFICE), "secret", fields, [body]).name

    def _draft(self, name: str, content: bytes) -> Path:
        path = self._drafts / name
        path.write_bytes(content)
        return path

    def _send(self, sender: Agency, to: Sequence[Agency], notice: Notice, kind: str, files: tuple[Path, ...]) -> Sent:
        title = "".join(notice.title)
        document: dict[str, Any] = {
            "title": title,
            "level": "内部",
            "type": kind,
            "number": notice.number,
            "signature": [notice.signature],
            "to": [agency.code for agency in to],
            "files": [{"name": file.name} for file in files],
        }
        folder = put_into_outbox(self._home(sender), kind, document, files)
        return Sent(sender=sender, recipients=tuple(to), title=title, files=files, source=folder.name)

    # ---- following

    def await_delivery(self, sent: Sent) -> None:
        """Until every recipient's office holds it. Raises CityFailed."""
        self._await(sent, {"DELIVERED", "SIGNED_FOR"})

    def sign_for(self, sent: Sent) -> None:
        """The clerks of all recipients sign for it, and the sender learns of it. Raises CityFailed."""
        for agency in sent.recipients:
            folder = self._home(agency).office / "inbox" / sent.exchange
            (folder / "SIGNED").touch()
        self._await(sent, {"SIGNED_FOR"})

    def _await(self, sent: Sent, states: set[str]) -> None:
        deadline = time.monotonic() + FOLLOW_SECONDS
        while time.monotonic() < deadline:
            status = self._status(sent)
            recipients = status.get("recipients", [])
            if recipients and all(each["state"] in states for each in recipients):
                self._learn(sent, status)
                return
            time.sleep(0.1)
        raise CityFailed(f"{sent.title}: not {'/'.join(sorted(states))} in time", name=sent.sender.key, log=str(self._city.folder))

    def _status(self, sent: Sent) -> dict[str, Any]:
        place = self._home(sent.sender).office / "sent"
        if sent.exchange:
            return read_status(place / sent.exchange / "status.json")
        for folder in place.iterdir():
            status = read_status(folder / "status.json")
            if status.get("source") == sent.source:
                return status
        return {}

    def _learn(self, sent: Sent, status: dict[str, Any]) -> None:
        sent.exchange = status["exchange"]
        sent.states = {each["org"]: each["state"] for each in status["recipients"]}
        sent.receipts = [{"event": event["event"], "by": event["by"]} for each in status["recipients"] for event in each["events"]]
        sent.delivered = {agency.code: str(self._home(agency).office / "inbox" / sent.exchange) for agency in sent.recipients}

    # ---- looking

    def compare(self, sent: Sent) -> None:
        """Byte by byte: what was sent is what lies in every inbox."""
        original = {file.name: sha256(file) for file in sent.files}
        sent.identical = all(
            sha256(Path(folder) / name) == wanted for folder in sent.delivered.values() for name, wanted in original.items()
        )

    async def trace(self, sent: Sent) -> None:
        """The path hop by hop, from the audit logs of everybody involved."""
        steps: list[tuple[str, str, str]] = []
        for agency in (sent.sender, *sent.recipients):
            async with open_ledger(self._home(agency)) as ledger:
                row = await find_exchange(ledger, sent.exchange)
                sent.level, sent.suite = row.level, row.suite
                for _, body in await ledger.leaves(row.key):
                    leaf = Leaf.from_bytes(body)
                    if leaf.kind != LeafKind.RECEIPT:  # the receipt itself says more
                        steps.append((leaf.at, agency.name, leaf.kind.value))
                if agency is sent.sender:
                    steps += [
                        (format_time(receipt.at), agency.name, f"{receipt.event} ({NAMES[receipt.issuer_org]})")
                        for receipt in await ledger.receipts("out", sent.exchange)
                    ]
        sent.path = sorted(steps)

    def refusal(self, source: str) -> list[dict[str, str]]:
        """Why the marked document was refused. Raises CityFailed."""
        place = self._home(OFFICE).office / "refused" / source / "reasons.json"
        deadline = time.monotonic() + FOLLOW_SECONDS
        while time.monotonic() < deadline:
            found = read_status(place).get("reasons")
            if isinstance(found, list):
                return found
            time.sleep(0.1)
        raise CityFailed("the document marked 秘密 was not refused", name=OFFICE.key, log=str(place))

    def audits(self) -> dict[str, AuditReport]:
        """``audit verify`` of every agency."""
        return {agency.code: audit(self._home(agency)) for agency in AGENCIES}

    def tampering(self, sent: Sent) -> Iterator[tuple[str, bool, str]]:
        """One byte flipped in a copy of a gateway's records, twice: (what, found, how it was named)."""
        victim = self._home(sent.recipients[0])
        yield ("a byte of a stored document", *_flip_document(victim, self._city.folder / "tampered-document"))
        yield ("a byte of the audit log", *_flip_leaf(victim, self._city.folder / "tampered-log"))

    def _home(self, agency: Agency) -> Home:
        return self._city.homes[agency.key]


def audit(home: Home) -> AuditReport:
    """The audit of one home's log."""
    return verify_log(home.database, home.mark, home.log_key().verifier.vkey, home.log_origin() or "")


def sha256(file: Path) -> str:
    """The SHA-256 of a file, in pieces."""
    hasher = hashlib.sha256()
    with file.open("rb") as stream:
        while piece := stream.read(SHA_PIECE):
            hasher.update(piece)
    return hasher.hexdigest()


def _records_of(home: Home, target: Path) -> Path:
    """A consistent copy of a running gateway's records: database, mark and blobs."""
    target.mkdir()
    with (
        closing(sqlite3.connect(f"file:{home.database}?mode=ro", uri=True)) as source,
        closing(sqlite3.connect(target / "yizhan.db")) as copy,
    ):
        source.backup(copy)
    shutil.copy(home.mark, target / "mark")
    shutil.copytree(home.data / "blobs", target / "blobs")
    return target


def _flip_document(home: Home, target: Path) -> tuple[bool, str]:
    records = _records_of(home, target)
    blob = max((path for path in (records / "blobs").rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    with blob.open("r+b") as stream:
        stream.seek(blob.stat().st_size // 2)
        byte = stream.read(1)
        stream.seek(-1, 1)
        stream.write(bytes([byte[0] ^ 1]))
    errors = [finding for finding in fsck(records / "yizhan.db", records / "blobs") if finding.severity == "error"]
    return bool(errors), f"fsck: {errors[0].where}: {errors[0].what}" if errors else "not found"


def _flip_leaf(home: Home, target: Path) -> tuple[bool, str]:
    records = _records_of(home, target)
    with closing(sqlite3.connect(records / "yizhan.db")) as database:
        index, body = database.execute("SELECT idx, body FROM leaves ORDER BY idx LIMIT 1 OFFSET 1").fetchone()
        at = len(body) * 3 // 4
        database.execute("UPDATE leaves SET body = ? WHERE idx = ?", (body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :], index))
        database.commit()
    report = verify_log(records / "yizhan.db", records / "mark", home.log_key().verifier.vkey, home.log_origin() or "")
    errors = [finding for finding in report.findings if finding.severity == "error"]
    return bool(errors), f"audit verify: {errors[0].where}: {errors[0].what}" if errors else "not found"


def as_json(value: object) -> str:
    """JSON for people and programs."""
    return json.dumps(value, ensure_ascii=False, indent=2)

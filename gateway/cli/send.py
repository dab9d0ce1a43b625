"""``yizhan send``: put a document into the office's outgoing tray, checked first; with ``--wait``, follow it to its outcome."""

from __future__ import annotations

import argparse
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gateway.cli.command import Commands, home_argument, json_argument, now, open_home
from gateway.cli.office import office_folder, put_into_outbox, read_json
from gateway.cli.voice import OK, PROBLEM, Voice
from gateway.core.document_json import read_document_json
from gateway.core.errors import BadInput
from gateway.core.explain import Reason, explain
from gateway.home import Home

LOOK_SECONDS = 0.1
MAX_FOLDER_NAME = 60  # of the title; the folder's name is for people
# Where the sender need not wait on: delivered or better, or nothing more to come.
ARRIVED = frozenset({"DELIVERED", "SIGNED_FOR"})
FAILED = frozenset(
    {"REFUSED", "RETURNED", "NOT_SIGNED_FOR", "REFUSED_BY_RELAY", "REFUSED_BY_RECIPIENT", "EXPIRED", "STUCK", "WITHDRAWN", "VOIDED", "HELD"}
)


def add(parser: argparse.ArgumentParser, commands: Commands) -> None:
    """Say what it takes."""
    pick = commands.pick
    home_argument(parser, commands)
    parser.add_argument("--to", nargs="+", action="extend", required=True, metavar="CODE", help=pick("主送单位代码", "primary recipients"))
    parser.add_argument("--copy", nargs="+", action="extend", default=[], metavar="CODE", help=pick("抄送单位代码", "copy recipients"))
    parser.add_argument("--level", required=True, metavar="L", help=pick("密级，如 内部 或 internal", "level, such as internal"))
    parser.add_argument("--title", required=True, metavar="T", help=pick("标题", "title"))
    parser.add_argument("--number", metavar="N", help=pick("发文字号", "document number"))
    parser.add_argument("--type", metavar="T", help=pick("文种，默认 函", "document type; default 函"))
    parser.add_argument("--urgency", metavar="U", help=pick("紧急程度，默认 平件", "urgency; default routine"))
    parser.add_argument("--wait", type=float, default=0.0, metavar="SECONDS", help=pick("等待送达的秒数", "follow it for so long"))
    parser.add_argument(
        "files",
        nargs="+",
        type=Path,
        metavar="FILE",
        help=pick(
            "正文在前，附件随后；紧跟 --to 或 --copy 时先写 --",
            "the body first, then attachments; write -- before them right after --to or --copy",
        ),
    )
    json_argument(parser, commands)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, voice: Voice) -> int:
    """Check, lay out, mark ready; then follow when asked to."""
    home = open_home(arguments)
    document = _document(arguments)
    draft = read_document_json(json.dumps(document).encode(), now())
    _check_files(arguments.files)
    for warning in draft.warnings:
        voice.note(f"⚠ {warning.zh}", f"⚠ {warning.en}")
    folder = put_into_outbox(home, _folder_name(arguments.title), document, arguments.files)
    voice.say(f"已放入待发：{folder}", f"put into the outbox: {folder}")
    if arguments.wait <= 0:
        voice.value({"folder": str(folder), "source": folder.name})
        return OK
    return _follow(home, folder, arguments.wait, voice)


def _document(arguments: argparse.Namespace) -> dict[str, Any]:
    fields = {
        "title": arguments.title,
        "level": arguments.level,
        "to": arguments.to,
        "copy": arguments.copy,
        "number": arguments.number,
        "type": arguments.type,
        "urgency": arguments.urgency,
        "files": [{"name": file.name} for file in arguments.files],
    }
    return {name: value for name, value in fields.items() if value}


def _check_files(files: list[Path]) -> None:
    """Every file is there before anything is written."""
    reasons = [explain("cli/no-such-file", file=file, problem="no such file", at=str(file)) for file in files if not file.is_file()]
    if reasons:
        raise BadInput(reasons[0].en, reasons=tuple(reasons))


def _folder_name(title: str) -> str:
    return re.sub(r"[^\w\u4e00-\u9fff-]+", "_", title)[:MAX_FOLDER_NAME].strip("._") or "document"


# ---- following -------------------------------------------------------------------------------------------------------------------


def _follow(home: Home, folder: Path, seconds: float, voice: Voice) -> int:
    """Tell each step until every recipient has the document, one cannot get it, or the time is over."""
    office, deadline = office_folder(home), time.monotonic() + seconds
    shown: set[str] = set()
    status: dict[str, Any] = {}
    while True:
        if reasons := _refused(office, folder.name):
            voice.reasons(reasons)
            return PROBLEM
        status = _sent(office, folder.name) or status
        for line in _lines(status):
            if line not in shown:
                shown.add(line)
                voice.say(line, line)
        states = {each["state"] for each in status.get("recipients", ())}
        if states and states <= ARRIVED | FAILED:
            break
        if time.monotonic() >= deadline:
            voice.note("等待时间已到；网关会继续投递", "the time is over; the gateway goes on trying")
            break
        time.sleep(LOOK_SECONDS)
    voice.value({"folder": str(folder), "source": folder.name, "exchange": status.get("exchange"), "status": status})
    return OK if states and states <= ARRIVED else PROBLEM


def _lines(status: dict[str, Any]) -> Iterator[str]:
    if status:
        yield f"{status['exchange']}"
    for each in status.get("recipients", ()):
        yield f"  {each['org']} {each['name']}: {each['state']}"


def _sent(office: Path, source: str) -> dict[str, Any]:
    """The status of the exchange that came of this folder. New exchanges have the greatest ids, so the search starts there."""
    for place in sorted((office / "sent").glob("*"), reverse=True):
        status = read_json(place / "status.json")
        if status.get("source") == source:
            return status
    return {}


def _refused(office: Path, source: str) -> tuple[Reason, ...]:
    value = read_json(office / "refused" / source / "reasons.json")
    return tuple(
        Reason(**{name: str(each.get(name, "")) for name in ("rule", "zh", "en", "fix", "fix_zh", "at")})
        for each in value.get("reasons", ())
    )

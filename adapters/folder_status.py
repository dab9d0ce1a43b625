"""What the folder office shows its people: ``status.json`` beside a document and ``reasons.json`` beside a refused one.

status.json (``yizhan-status/1``): ``exchange, direction, title, updated, recipients[{org, name, state, at, events[{event, by, at}],
reasons[]?}], reasons[], deliver_by?, sign_for_by?, warnings[]?``; ours beside what the flow reports: ``source`` (the outbox name it came
from) and ``acts[{act, outcome, reasons[]}]``.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from adapters.folder_files import FileTooLarge, put, read_small
from crypto.errors import Malformed
from gateway.core.canonical import format_time, parse_time
from gateway.core.errors import PartChanged
from gateway.core.explain import Reason
from gateway.flow.ports import Delivery, Status

STATUS: Final = "status.json"
REASONS: Final = "reasons.json"
MAX_STATUS: Final = 4 * 1024 * 1024  # a thousand recipients with their receipts
_OWN_FIELDS: Final = ("source", "acts")  # what the adapter knows and no report carries
_STRIPES: Final = 64


class Striped:
    """Locks by exchange: two threads never write beside the same document at a time."""

    def __init__(self) -> None:
        self._locks = tuple(threading.Lock() for _ in range(_STRIPES))

    def of(self, exchange: str) -> threading.Lock:
        return self._locks[hash(exchange) % _STRIPES]


def pretty(value: object) -> bytes:
    """JSON for people and programs: fields in their order, indented."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"


def reason_fields(reasons: Sequence[Reason]) -> list[dict[str, str]]:
    return [
        {"rule": reason.rule, "at": reason.at, "zh": reason.zh, "en": reason.en, "fix": reason.fix, "fix_zh": reason.fix_zh}
        for reason in reasons
    ]


def reasons_json(reasons: Sequence[Reason]) -> bytes:
    return pretty({"v": "yizhan-reasons/1", "reasons": reason_fields(reasons)})


def first_status(exchange: str, source: str) -> bytes:
    """What stands beside a settled document until the flow reports; without ``updated``, so that any report replaces it."""
    return pretty({"v": "yizhan-status/1", "exchange": exchange, "direction": "out", "source": source, "recipients": [], "reasons": []})


def delivered_status(delivery: Delivery) -> bytes:
    """What stands beside a delivered document until the flow reports."""
    return pretty(
        {
            "v": "yizhan-status/1",
            "exchange": delivery.exchange,
            "direction": "in",
            "title": delivery.document.title,
            "updated": format_time(delivery.received),
            "recipients": [],
            "reasons": [],
        }
        | ({"sign_for_by": format_time(delivery.sign_for_by)} if delivery.sign_for_by else {})
    )


def read_status(folder: int) -> dict[str, Any]:
    """The status.json there, or nothing: people may have put anything in its place, and it can be reported again."""
    with suppress(OSError, FileTooLarge, PartChanged, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        value = msgspec.json.decode(read_small(STATUS, MAX_STATUS, below=folder))
        if isinstance(value, dict):
            return value
    return {}


def show(status: Status, folder: int) -> None:
    """Write the status, unless a later one stands there. Durable on return. Raises OSError."""
    there = read_status(folder)
    if _updated(there) > status.updated:
        return
    put(STATUS, pretty(_fields(status) | {name: there[name] for name in _OWN_FIELDS if name in there}), below=folder)


def _updated(fields: dict[str, Any]) -> datetime:
    """When that status was true; the beginning of time where it does not say."""
    with suppress(Malformed, KeyError, TypeError):
        return parse_time(fields["updated"])
    return datetime.min.replace(tzinfo=UTC)


def note_act(folder: int, act: str, outcome: str, reasons: Sequence[Reason]) -> None:
    """Write what became of a person's act into the status there. Durable on return. Raises OSError."""
    status = read_status(folder)
    noted = status.get("acts")
    acts = [each for each in noted if isinstance(each, dict) and each.get("act") != act] if isinstance(noted, list) else []
    put(STATUS, pretty(status | {"acts": [*acts, {"act": act, "outcome": outcome, "reasons": reason_fields(reasons)}]}), below=folder)


def _fields(status: Status) -> dict[str, Any]:
    return {
        "v": "yizhan-status/1",
        "exchange": status.exchange,
        "direction": status.direction,
        "title": status.title,
        "updated": format_time(status.updated),
        "recipients": [
            {
                "org": each.org,
                "name": each.name,
                "state": each.state,
                "at": format_time(each.at),
                "events": [{"event": event, "by": by, "at": at} for event, by, at in each.events],
            }
            | ({"reasons": reason_fields(each.reasons)} if each.reasons else {})
            for each in status.recipients
        ],
        "reasons": reason_fields(status.reasons),
    } | _deadlines(status)


def _deadlines(status: Status) -> dict[str, Any]:
    """By when something is wanted, and what is to be said about it; only where there is such a thing."""
    moments = {"deliver_by": status.deliver_by, "sign_for_by": status.sign_for_by}
    fields: dict[str, Any] = {name: format_time(moment) for name, moment in moments.items() if moment is not None}
    return fields | ({"warnings": reason_fields(status.warnings)} if status.warnings else {})

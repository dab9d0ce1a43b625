"""Why work failed the last time, as it is kept beside the work: a word in the clear, what was said sealed, for it may quote a document."""

from __future__ import annotations

import base64
from dataclasses import dataclass, replace
from datetime import datetime

import msgspec

from crypto.content_cipher import StorageKey
from crypto.errors import Unverified, YizhanError
from gateway.core.canonical import format_time, parse_time
from gateway.core.errors import PeerProblem
from gateway.core.explain import Reason, explain, explain_error
from gateway.core.step import SET_ASIDE, Work

# Tries of what our own code fails at before it is set aside: enough for a race or a moment's want of memory to pass (about two minutes),
# few enough that it does not crowd out others.
MAX_DEFECTS = 8


class _Kept(msgspec.Struct, frozen=True, kw_only=True):
    code: str
    at: str
    defects: int
    said: str  # a Reason, sealed, base64


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """The last failure of a work: its word, when, how many times our own code was at fault, and the reason for people where it opens."""

    code: str
    at: datetime
    defects: int
    reason: Reason | None


def is_defect(error: BaseException) -> bool:
    """Whether our own code is at fault. The operating system's refusals are conditions of the machine: they pass or an operator mends them."""
    return not isinstance(error, YizhanError | OSError | MemoryError)


def reason_of(error: BaseException) -> Reason:
    """What an error amounts to, in words for people; a defect by its type and place, for its message may be anything."""
    if isinstance(error, PeerProblem):
        return explain("queue/peer-says", problem=error.facts.get("problem", ""), said=error)
    if isinstance(error, YizhanError):
        return explain_error(error)
    if isinstance(error, OSError | MemoryError):
        return explain("queue/machine", kind=type(error).__name__, said=error)
    return explain("queue/defect", kind=type(error).__name__, said=error, place=_place(error))


def with_trouble(work: Work, error: BaseException, key: StorageKey, at: datetime) -> Work:
    """The work with why it failed; how often our own code was at fault is carried on."""
    before = defects_of(work)
    reason = reason_of(error)
    sealed = key.seal(msgspec.json.encode(reason), _bound(work))
    kept = _Kept(
        code=str(error.facts.get("problem") or reason.rule) if isinstance(error, YizhanError) else reason.rule,
        at=format_time(at),
        defects=before + is_defect(error),
        said=base64.b64encode(sealed).decode(),
    )
    return replace(work, trouble=msgspec.json.encode(kept))


def defects_of(work: Work) -> int:
    """How many of its tries our own code failed at."""
    return msgspec.json.decode(work.trouble, type=_Kept).defects if work.trouble else 0


def trouble_of(work: Work, key: StorageKey | None) -> Trouble | None:
    """What is kept of the last failure; without its words where the key is not the one they were sealed under."""
    if not work.trouble:
        return None
    kept = msgspec.json.decode(work.trouble, type=_Kept)
    reason = None
    if key is not None:
        try:
            reason = msgspec.json.decode(key.open(base64.b64decode(kept.said), _bound(work)), type=Reason)
        except Unverified:
            reason = None
    return Trouble(code=kept.code, at=parse_time(kept.at), defects=kept.defects, reason=reason)


def is_set_aside(work: Work) -> bool:
    """Whether it waits for a person."""
    return work.due >= SET_ASIDE


def _bound(work: Work) -> bytes:
    return f"yizhan/trouble/{work.key}".encode()


def _place(error: BaseException) -> str:
    """File and line that raised, without its path: enough for a report, and nothing of the document."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_name}:{trace.tb_lineno}" if trace is not None else ""

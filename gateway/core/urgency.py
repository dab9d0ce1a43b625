"""The four urgencies 紧急程度, fixed: policy files give each its deadline and weight.

Documents are marked 特急 or 加急, telegrams 特提, 特急, 加急 or 平急 (GB/T 9704-2012 7.2.3); one scale serves both.
"""

from __future__ import annotations

from dataclasses import dataclass

from crypto.errors import RemoteError


class UnknownUrgency(RemoteError):
    """No urgency has that id or Chinese name. Fact: ``urgency``."""

    code = "unknown-urgency"


@dataclass(frozen=True, slots=True, kw_only=True)
class Urgency:
    """One row of the table; a larger rank is more urgent."""

    id: str
    rank: int
    zh: str


ROUTINE = Urgency(id="routine", rank=0, zh="平件")
URGENT = Urgency(id="urgent", rank=1, zh="加急")
IMMEDIATE = Urgency(id="immediate", rank=2, zh="特急")
FLASH = Urgency(id="flash", rank=3, zh="特提")

URGENCIES: dict[str, Urgency] = {urgency.id: urgency for urgency in (ROUTINE, URGENT, IMMEDIATE, FLASH)}
OLD_WORDS: dict[str, Urgency] = {"急件": URGENT}  # abolished in 2012; understood, with a warning
_WORDS: dict[str, Urgency] = {
    **URGENCIES,
    **{urgency.zh: urgency for urgency in URGENCIES.values()},
    **OLD_WORDS,
    "平急": ROUTINE,
    "无": ROUTINE,
}


def urgency_named(word: str) -> Urgency:
    """The urgency of that id or Chinese name. Raises UnknownUrgency."""
    try:
        return _WORDS[word]
    except KeyError:
        raise UnknownUrgency(f"no urgency {word[:40]!r}", urgency=word[:40]) from None

"""The six levels 密级, fixed: policy files say how a level is handled, never what it is.

A level only ever goes up inside a gateway; ranks are compared, names never.
"""

from __future__ import annotations

from dataclasses import dataclass

from crypto.errors import RemoteError


class UnknownLevel(RemoteError):
    """No level has that id or Chinese name. Fact: ``level``."""

    code = "unknown-level"


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """One row of the table. ``longest_term`` is the longest secrecy term in years (保密法实施条例), 0 where none applies."""

    id: str
    rank: int
    zh: str
    state_secret: bool
    longest_term: int = 0


PUBLIC = Level(id="public", rank=0, zh="公开", state_secret=False)
INTERNAL = Level(id="internal", rank=1, zh="内部", state_secret=False)
WORK_SECRET = Level(id="work-secret", rank=2, zh="工作秘密", state_secret=False)
SECRET = Level(id="secret", rank=3, zh="秘密", state_secret=True, longest_term=10)
CONFIDENTIAL = Level(id="confidential", rank=4, zh="机密", state_secret=True, longest_term=20)
TOP_SECRET = Level(id="top-secret", rank=5, zh="绝密", state_secret=True, longest_term=30)

LEVELS: dict[str, Level] = {level.id: level for level in (PUBLIC, INTERNAL, WORK_SECRET, SECRET, CONFIDENTIAL, TOP_SECRET)}
_WORDS: dict[str, Level] = {**LEVELS, **{level.zh: level for level in LEVELS.values()}, "非密": PUBLIC}


def level_named(word: str) -> Level:
    """The level of that id or Chinese name. Raises UnknownLevel."""
    try:
        return _WORDS[word]
    except KeyError:
        raise UnknownLevel(f"no level {word[:40]!r}", level=word[:40]) from None

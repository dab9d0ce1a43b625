"""The rules no file can switch off.

They stand first in every decision and know nothing of the policy's levels, routes or flows; only a zone's profile concerns them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from gateway.core.explain import Reason, explain
from gateway.core.levels import Level
from gateway.core.policy.model import Zone

STATE_SECRET_COMMERCIAL = "builtin/state-secret-commercial"  # noqa: S105  a rule id, no password
LEVEL_MISSING = "builtin/level-missing"
PART_ABOVE_DOCUMENT = "builtin/part-above-document"


def state_secret_commercial(levels: Iterable[Level], zones: Iterable[Zone]) -> Iterator[Reason]:
    """Commercial ciphers may not protect state secrets (密码法 art. 7, 8): none of them enters a zone of that profile."""
    secrets = sorted({level.rank: level for level in levels if level.state_secret}.items(), reverse=True)
    for zone in zones:
        if zone.profile == "commercial":
            for _, level in secrets[:1]:
                yield explain(STATE_SECRET_COMMERCIAL, level=level.zh, level_id=level.id, zone=zone.name, zone_id=zone.id, at="level")


def level_missing() -> Reason:
    """A document nobody has marked waits for somebody who may."""
    return explain(LEVEL_MISSING, at="level")


def part_above_document(part: str, part_level: Level, level: Level) -> Reason:
    """The document has at least the level of its highest part (条例 art. 32)."""
    return explain(PART_ABOVE_DOCUMENT, part=part, part_level=part_level.zh, level=level.zh, level_id=part_level.id, at=part)

"""Reading the ``[degraded]`` tables: one a level, every key optional, what is left out is strict (docs/policy.md).

Here stand the complaints about one table; what two levels' tables say of each other is judged in ``sanity``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

from gateway.core.levels import level_named
from gateway.core.policy.degraded import (
    DEFAULT,
    LONGEST_CONFIRMATION,
    LONGEST_CRL_GRACE,
    LONGEST_DIRECTORY_GRACE,
    LONGEST_SILENCE,
    LONGEST_WAIT,
    NONE,
    STRICT,
    Allowance,
    DiskLimits,
)
from gateway.core.policy.toml_table import Table

LARGEST_DISK = 2**60  # bytes: beyond any disk, within any number we write
_CEILINGS: dict[str, tuple[timedelta, str]] = {
    "time_authority_wait": (LONGEST_WAIT, "after an hour without a token nobody vouches for our clock"),
    "crl_grace": (LONGEST_CRL_GRACE, "a certificate stolen today must be dead everywhere tomorrow"),
    "directory_grace": (LONGEST_DIRECTORY_GRACE, "an organisation taken out or a key replaced must be known everywhere after a weekend"),
    "clock_confirmation": (LONGEST_CONFIRMATION, "a clock nobody confirmed for an hour dates nothing"),
    "peer_warn_after": (LONGEST_SILENCE, "by then the attempts to reach it are used up"),
    "peer_escalate_after": (LONGEST_SILENCE, "by then the attempts to reach it are used up"),
}
_FORGIVING = ("time_authority", "time_authority_wait", "crl_grace", "directory_grace")
_DISK = ("disk_large", "disk_large_waits", "disk_routine_waits")


def read(file: Table) -> Mapping[str, Allowance]:
    """What each level may do while something is away; empty where the file has no such table."""
    if not file.has("degraded"):
        return {}
    table = file.table("degraded")
    found: dict[str, Allowance] = {}
    for key in table.values:
        level = table.level_of(key, key)
        if level.id in found:
            table.complain(key, f"level {level.id} stands here twice", "keep one of them")
        found[level.id] = table.table(key).read(_allowance)
    return found


def _allowance(table: Table) -> Allowance:
    strict = table.has("strict") and table.flag("strict")
    if strict:
        for key in _FORGIVING:
            if table.has(key):
                table.complain(key, "contradicts strict = true, which forgives nothing", "remove it, or write strict = false")
    base = STRICT if strict else DEFAULT
    spans: dict[str, Any] = {key: _span(table, key, getattr(base, key)) for key in _CEILINGS}
    allowance = replace(base, **spans, without_time_authority=_without_time_authority(table), disk=_disk(table))
    if allowance.peer_escalate_after < allowance.peer_warn_after:
        key = "peer_escalate_after" if table.has("peer_escalate_after") else "peer_warn_after"
        table.complain(key, "escalates before it warns", "make peer_escalate_after the longer one")
    level = level_named(table.path.rpartition(".")[2])
    if level.state_secret:
        for key in ("crl_grace", "directory_grace"):
            if getattr(allowance, key) > NONE:
                table.complain(key, f"{level.zh} is a state secret, for which nothing is forgiven", "remove it")
    return allowance


def _span(table: Table, key: str, default: timedelta) -> timedelta:
    if not table.has(key):
        return default
    span, (ceiling, reason) = table.duration(key), _CEILINGS[key]
    if span > ceiling:
        table.complain(key, f"is longer than {_spelled(ceiling)}: {reason}", f'write at most "{_spelled(ceiling)}"')
    return span


def _without_time_authority(table: Table) -> bool:
    if not table.has("time_authority"):
        return False
    goes_on = table.choice("time_authority", ("wait", "go-on")) == "go-on"
    if goes_on and table.has("time_authority_wait"):
        table.complain("time_authority_wait", 'can never apply: with time_authority = "go-on" nothing waits', "remove it")
    return goes_on


def _disk(table: Table) -> DiskLimits:
    large, large_waits, routine_waits = (table.size(key, LARGEST_DISK) if table.has(key) else 0 for key in _DISK)
    for key, other in (("disk_large", "disk_large_waits"), ("disk_large_waits", "disk_large")):
        if table.has(key) and not table.has(other):
            table.complain(key, f"says nothing without {other}", f"add {other}, or remove it")
    if large_waits and routine_waits > large_waits:
        table.complain("disk_routine_waits", "lets routine documents wait before large ones", "make it at most disk_large_waits")
    return DiskLimits(large=large, large_waits=large_waits, routine_waits=routine_waits)


def _spelled(span: timedelta) -> str:
    hours = int(span.total_seconds()) // 3600
    return f"{hours // 24}d" if hours > 72 else f"{hours}h"

"""Whether the tables of a policy make sense together: nothing contradictory, nothing that can never apply.

That a higher level never permits what a lower one refuses is judged here, once, so that no decision can ever show it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise

from gateway.core.levels import LEVELS, Level
from gateway.core.policy.model import Handling, Policy
from gateway.core.policy.toml_table import Source

_Finding = tuple[str, str, str]  # key, problem, fix


def judge(policy: Policy, source: Source) -> None:
    """Raises BadConfiguration for the first thing that does not make sense."""
    for check in (_empty, _twice, _zones, _levels, _rising, _flow_ends, _flows, _routes, _urgency, _degraded, _degraded_rising):
        for key, problem, fix in check(policy):
            source.complain(key, problem, fix)


def _empty(policy: Policy) -> Iterator[_Finding]:
    for key, rows in (("levels", policy.levels), ("zones", policy.zones), ("routes", policy.routes), ("tests", policy.tests)):
        if not rows:
            yield key, "is empty, so nothing could ever pass or be tested", f"write at least one of [{key}]"


def _twice(policy: Policy) -> Iterator[_Finding]:
    named = (
        ("flows", [flow.id for flow in policy.flows]),
        ("routes", [route.id for route in policy.routes]),
        ("tests", [case.name for case in policy.tests]),
    )
    for table, ids in named:
        for index, row_id in enumerate(ids):
            if row_id in ids[:index]:
                key = "name" if table == "tests" else "id"
                yield f"{table}[{index}].{key}", f"{row_id!r} stands here twice", "give each its own"


def _zones(policy: Policy) -> Iterator[_Finding]:
    for zone in policy.zones.values():
        if zone.profile == "commercial" and zone.highest.state_secret:
            yield (
                f"zones.{zone.id}.highest",
                f"{zone.highest.zh} is a state secret, which no zone of profile commercial may carry",
                'write "work-secret" or below, or profile = "classified" where certified ciphers are in use',
            )


def _levels(policy: Policy) -> Iterator[_Finding]:
    ranks = sorted(handling.level.rank for handling in policy.levels.values())
    if ranks != list(range(len(ranks))):
        missing = next(level for level in LEVELS.values() if level.id not in policy.levels)
        yield "levels", f"{missing.id} is missing below a level that may pass", f"add [levels.{missing.id}]"
    highest = max((zone.highest.rank for zone in policy.zones.values()), default=-1)
    for handling in policy.levels.values():
        if handling.level.rank > highest:
            yield f"levels.{handling.level.id}", "can never apply: no zone may carry this level", "remove it, or raise a zone's highest"


def _rising(policy: Policy) -> Iterator[_Finding]:
    rows = sorted(policy.levels.values(), key=lambda handling: handling.level.rank)
    for lower, higher in pairwise(rows):
        for key, looser in _looser(lower, higher):
            yield (
                f"levels.{higher.level.id}.{key}",
                f"permits what {lower.level.id} refuses ({looser}): a higher level may not be handled more freely",
                f"make it at least as strict as [levels.{lower.level.id}]",
            )


def _looser(lower: Handling, higher: Handling) -> Iterator[tuple[str, str]]:
    """(key, what) for everything the higher level permits and the lower one does not."""
    for key, permitted, allowed in (
        ("suites", higher.suites, lower.suites),
        ("types", higher.types, lower.types),
        ("authorities", higher.authorities, lower.authorities),
    ):
        extra = _beyond(permitted, allowed)
        if extra:
            yield key, extra
    if higher.max_size > lower.max_size:
        yield "largest", f"{higher.max_size} bytes"
    if lower.timestamp_required and not higher.timestamp_required:
        yield "timestamp", "no timestamp"
    if higher.approvals < lower.approvals:
        yield "approvals", f"{higher.approvals} approvals"


def _beyond(permitted: Iterable[str] | None, allowed: Iterable[str] | None) -> str:
    """What is permitted and not allowed, in words; None stands for everything."""
    if allowed is None:
        return ""
    return "any" if permitted is None else ", ".join(sorted(set(permitted) - set(allowed)))


def _flow_ends(policy: Policy) -> Iterator[_Finding]:
    for index, flow in enumerate(policy.flows):
        for key, zone_id in (("from", flow.origin), ("to", flow.target)):
            if zone_id not in policy.zones:
                yield f"flows[{index}].{key}", f"there is no zone {zone_id!r}", f"write one of {', '.join(policy.zones)}"


def _flows(policy: Policy) -> Iterator[_Finding]:
    for index, flow in enumerate(policy.flows):
        path = f"flows[{index}]"
        if flow.origin == flow.target:
            yield f"{path}.to", "is where it comes from; within a zone no flow is needed", "remove this flow, or name another zone"
        ceiling = min((policy.zones[flow.origin].highest, policy.zones[flow.target].highest), key=_rank)
        if flow.highest.rank > ceiling.rank:
            yield (
                f"{path}.highest",
                f"{flow.highest.id} can never cross: one of the zones ends at {ceiling.id}",
                f'write "{ceiling.id}" or below',
            )


def _routes(policy: Policy) -> Iterator[_Finding]:
    ceiling = max((handling.level for handling in policy.levels.values()), key=_rank)
    for index, route in enumerate(policy.routes):
        if route.highest.rank > ceiling.rank:
            yield (
                f"routes[{index}].highest",
                f"{route.highest.id} can never pass: the levels end at {ceiling.id}",
                f'write "{ceiling.id}" or below',
            )
        for key, prefixes in (("from", route.senders), ("to", route.recipients)):
            for prefix in prefixes:
                wider = [other for other in prefixes if other != prefix and prefix.startswith(other)]
                if wider:
                    yield f"routes[{index}].{key}", f"{prefix}* is covered by {wider[0]}*", "remove the narrower pattern"
        covering = _covering(policy, index)
        if covering:
            yield f"routes[{index}].id", f"can never matter: {covering} permits all of it", f"remove it, or narrow {covering}"


def _covering(policy: Policy, index: int) -> str:
    """The id of another route that permits everything this one does (of equal ones, an earlier), or nothing."""
    route = policy.routes[index]
    for position, other in enumerate(policy.routes):
        wide = other.highest.rank >= route.highest.rank and all(
            prefix.startswith(wider)
            for mine, wider in ((route.senders, other.senders), (route.recipients, other.recipients))
            for prefix in mine
        )
        equal = (
            wide
            and other.highest == route.highest
            and set(other.senders) == set(route.senders)
            and set(other.recipients) == set(route.recipients)
        )
        if wide and position != index and (not equal or position < index):
            return other.id
    return ""


def _urgency(policy: Policy) -> Iterator[_Finding]:
    rows = sorted(policy.urgency.values(), key=lambda pace: pace.urgency.rank)
    for calmer, hotter in pairwise(rows):
        path = f"urgency.{hotter.urgency.id}"
        if hotter.deliver_within > calmer.deliver_within:
            yield f"{path}.deliver_within", f"is later than that of {calmer.urgency.id}", "make it as soon or sooner"
        if hotter.weight < calmer.weight:
            yield f"{path}.weight", f"is lighter than that of {calmer.urgency.id}", "make it as heavy or heavier"
        if hotter.deliver_within > policy.longest_life:
            yield f"{path}.deliver_within", "is beyond the longest life of an exchange", "make it shorter than arrival.longest_life"


def _degraded(policy: Policy) -> Iterator[_Finding]:
    for level, allowance in policy.degraded.items():
        handling = policy.handling(level)
        if handling is None:
            yield f"degraded.{level}", "can never apply: this level does not pass", f"remove it, or add [levels.{level}]"
        elif allowance.without_time_authority and handling.timestamp_required:
            yield (
                f"degraded.{level}.time_authority",
                f"goes on without what levels.{level}.timestamp = true demands",
                'write "wait", or timestamp = false',
            )


def _degraded_rising(policy: Policy) -> Iterator[_Finding]:
    rows = sorted(policy.levels.values(), key=lambda handling: handling.level.rank)
    for lower, higher in pairwise(rows):
        low, high = policy.allowance(lower.level.id), policy.allowance(higher.level.id)
        looser = [key for (key, span), (_, bound) in zip(high.graces(), low.graces(), strict=True) if span > bound]
        if high.without_time_authority and not low.without_time_authority and not lower.timestamp_required:
            looser.append("time_authority")
        if low.strict and not high.strict:
            looser.append("strict")
        for key in looser:
            yield (
                f"degraded.{higher.level.id}.{key}",
                f"forgives more than at {lower.level.id}: a higher level may not be handled more freely",
                f"make it at least as strict as [degraded.{lower.level.id}]",
            )


def _rank(level: Level) -> int:
    return level.rank

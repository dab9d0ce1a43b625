"""From the bytes of a policy file to a Policy that makes sense, or a complaint naming file, line, key and remedy (docs/policy.md).

Three stages: read every table strictly (unknown, missing, wrong unit), judge the tables against each other (contradictory,
unreachable), then ask the policy the questions its own tests hold. A policy that fails one of them is never in force.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import cast

from crypto.digests import digest
from crypto.suites import SUITES
from gateway.core.levels import level_named
from gateway.core.policy import load_degraded
from gateway.core.policy.model import Case, Expected, Flow, Handling, Pace, Policy, Profile, Route, Zone
from gateway.core.policy.sanity import judge
from gateway.core.policy.toml_table import Table, check_name, parse
from gateway.core.policy.trial import run_tests
from gateway.core.urgency import URGENCIES

LARGEST = 64 * 1024**3  # the format's own ceiling (one AEAD nonce), to the unit a person would write
LONGEST_LIFE = timedelta(days=366)  # duplicate keys are kept this long beyond; an exchange that lives longer is an archive
MAX_VERSION = 2**53 - 1  # beyond it JSON readers built on doubles disagree
MAX_APPROVALS = 10  # nobody gathers more signatures for one document
MAX_WEIGHT = 1_000_000  # weights are compared, never added up

_POLICY_ID = re.compile(r"[a-z0-9]([a-z0-9._/-]{0,98}[a-z0-9])?", re.ASCII)
_PATTERN = re.compile(r"[0-9A-HJ-NPQRTUWXY]{18}|[0-9A-HJ-NPQRTUWXY]{0,17}\*", re.ASCII)
_MEDIA_TYPE = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,126}/[a-z0-9][a-z0-9!#$&^_.+-]{0,126}", re.ASCII)


def load_policy(data: bytes, source: str = "policy.toml") -> Policy:
    """The policy a file says. Raises BadConfiguration naming file and key, also when one of its own tests fails."""
    file = parse(data, source)
    policy = file.read(lambda table: _policy(table, digest("sha256", data)))
    judge(policy, file.source)
    run_tests(policy, file.source)
    return policy


def _policy(table: Table, file_digest: str) -> Policy:
    head = table.table("policy")
    policy_id, version = head.read(lambda rows: (_policy_id(rows), rows.number("version", 1, MAX_VERSION)))
    return Policy(
        id=policy_id,
        version=version,
        digest=file_digest,
        levels=_levels(table.table("levels")),
        zones=_zones(table.table("zones")),
        flows=tuple(row.read(_flow) for row in table.tables("flows")),
        routes=tuple(row.read(_route) for row in table.tables("routes")),
        urgency=table.table("urgency").read(_urgency),
        longest_life=table.table("arrival").read(_longest_life),
        tests=tuple(row.read(_case) for row in table.tables("tests")),
        degraded=load_degraded.read(table),
    )


def _policy_id(table: Table) -> str:
    policy_id = table.text("id", '"an-id"')
    if not _POLICY_ID.fullmatch(policy_id):
        table.complain("id", f"{policy_id!r} is no policy id", "write lower-case letters, digits and . _ / -")
    return policy_id


def _levels(table: Table) -> Mapping[str, Handling]:
    handlings = {}
    for key in table.values:
        level = table.level_of(key, key)
        if level.id in handlings:
            table.complain(key, f"level {level.id} stands here twice", "keep one of them")
        handlings[level.id] = table.table(key).read(_handling)
    return handlings


def _own_key(table: Table) -> str:
    """The last word of a table's header."""
    return table.path.rpartition(".")[2]


def _handling(table: Table) -> Handling:
    sign_for = table.flag("sign_for")
    if not sign_for and "sign_for_within" in table.values:
        table.complain("sign_for_within", "is a deadline for what sign_for = false does not ask for", "remove it, or write sign_for = true")
    return Handling(
        level=level_named(_own_key(table)),
        suites=_suites(table),
        timestamp_required=table.flag("timestamp"),
        authorities=table.texts_or_any("authorities", '["tsa-1"]'),
        max_size=table.size("largest", LARGEST),
        types=_media_types(table),
        sign_for_required=sign_for,
        sign_for_within=table.duration("sign_for_within") if sign_for else None,
        retention=table.duration("retention"),
        approvals=table.number("approvals", 0, MAX_APPROVALS),
    )


def _suites(table: Table) -> tuple[str, ...]:
    suites = table.texts("suites", '["gm-1", "intl-1"]')
    for suite in suites:
        if suite not in SUITES:
            table.complain("suites", f"there is no suite {suite!r}", f"write one or more of {', '.join(SUITES)}")
    return suites


def _media_types(table: Table) -> frozenset[str] | None:
    types = table.texts_or_any("types", '["application/pdf"]')
    for media_type in types or ():
        if not _MEDIA_TYPE.fullmatch(media_type):
            table.complain("types", f"{media_type!r} is no media type", 'write it in lower case, such as "application/pdf"')
    return None if types is None else frozenset(types)


def _zones(table: Table) -> Mapping[str, Zone]:
    return {key: table.table(key).read(_zone) for key in table.values if check_name(table.source, table.where(key), key)}


def _zone(table: Table) -> Zone:
    return Zone(
        id=_own_key(table),
        name=table.text("name"),
        profile=cast("Profile", table.choice("profile", ("commercial", "classified"))),
        highest=table.level("highest"),
    )


def _flow(table: Table) -> Flow:
    return Flow(
        id=table.name("id"),
        origin=table.name("from"),
        target=table.name("to"),
        both_ways=table.flag("both_ways"),
        highest=table.level("highest"),
        approvals=table.number("approvals", 0, MAX_APPROVALS),
    )


def _route(table: Table) -> Route:
    return Route(id=table.name("id"), senders=_patterns(table, "from"), recipients=_patterns(table, "to"), highest=table.level("highest"))


def _patterns(table: Table, key: str) -> tuple[str, ...]:
    patterns = table.texts(key, '["11*"]')
    for pattern in patterns:
        if not _PATTERN.fullmatch(pattern):
            table.complain(key, f"{pattern!r} matches no organisation code", 'write a whole code, or its beginning and *, such as "11*"')
    return tuple(pattern.removesuffix("*") for pattern in patterns)


def _urgency(table: Table) -> Mapping[str, Pace]:
    return {urgency_id: table.table(urgency_id).read(_pace) for urgency_id in URGENCIES}


def _pace(table: Table) -> Pace:
    reminders = table.take("remind_at", list, "[50, 80, 100]")
    if (
        len(reminders) > 10
        or any(type(percent) is not int or not 1 <= percent <= 1000 for percent in reminders)
        or reminders != sorted(set(reminders))
    ):
        table.complain("remind_at", "is no rising list of percentages of the deadline", "write at most ten, such as [50, 80, 100]")
    return Pace(
        urgency=URGENCIES[_own_key(table)],
        deliver_within=table.duration("deliver_within"),
        weight=table.number("weight", 0, MAX_WEIGHT),
        remind_at=tuple(reminders),
    )


def _longest_life(table: Table) -> timedelta:
    life = table.duration("longest_life")
    if life > LONGEST_LIFE:
        table.complain("longest_life", "is longer than a year", f'write at most "{LONGEST_LIFE.days}d"')
    return life


def _case(table: Table) -> Case:
    level = table.text("level")
    return Case(
        name=table.text("name"),
        side="send" if table.choice("side", ("send", "receive")) == "send" else "receive",
        level=None if level == "none" else table.level_of("level", level).id,
        urgency=table.choice("urgency", tuple(URGENCIES)),
        sender=table.text("from"),
        sender_zone=table.name("from_zone"),
        recipients=table.texts("to", '["11…"]'),
        recipient_zone=table.name("to_zone"),
        types=table.texts("types", '["application/pdf"]'),
        size=table.size("size", 2 * LARGEST),
        approvals=table.number("approvals", 0, MAX_APPROVALS),
        expect=cast("Expected", table.choice("expect", ("clearance", "hold", "refusal"))),
        rule=table.text("rule"),
    )

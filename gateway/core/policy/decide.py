"""The decision: pure, total, deny by default, and it names every reason at once.

The checks, in this order; the same ones for sending, relaying and receiving, except where a line says otherwise:
 1. built in: no state secret in a commercial zone; a document without a level is held; no part above its document
 2. what is named exists: level, urgency, recipients, zones
 3. the policy handles this level at all
 4. every zone on the way, the sender and each recipient may hold this level
 5. where zones differ, a flow lets it cross; for each recipient a route lets the sender write to it
 6. a suite the level allows is one the sender and every recipient have; the one already used is such a suite
 7. a timestamp is there where the level asks for one (receiving)
 8. size and media types
 9. the life asked for is within the longest, and not over
10. approvals (sending)
11. what is away is forgiven by the level's [degraded] table, and for no longer

One recipient that may not receive refuses the whole offer and is named.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from functools import lru_cache

from crypto.suites import SUITES, Suite
from gateway.core.explain import Reason, explain
from gateway.core.levels import LEVELS, Level
from gateway.core.policy.builtin import level_missing, part_above_document, state_secret_commercial
from gateway.core.policy.degraded import Lapse
from gateway.core.policy.model import Handling, Policy, Route, Zone
from gateway.core.policy.question import Party, Question
from gateway.core.policy.verdict import _DECIDED, Clearance, Hold, Refusal, Verdict
from gateway.core.urgency import URGENCIES

COVER_ALLOWANCE = 1024 * 1024  # ciphertext is larger than the parts by manifest and ZIP headers; judged exactly once parts are known


def decide(policy: Policy, question: Question) -> Verdict:
    """What the policy says to the question. Total: every question gets one of the three answers."""
    level = LEVELS.get(question.level) if question.level is not None else None
    zones = _zones(policy, question)
    refused = [*state_secret_commercial(_levels(question), zones.values()), *_parts_above(question, level), *_unknown(question, zones)]
    held = [level_missing()] if question.level is None else []
    created = question.created or question.at
    expires = question.expires or _longest(created, policy)
    refused += _lifetime(policy, question, created, expires)
    handling = policy.handling(level.id) if level else None
    if level is not None and handling is None:
        refused.append(explain("policy/level-not-handled", rule="levels", level=level.zh, level_id=level.id, at="level"))
    if level is not None and handling is not None:
        refused += _places(level, question, zones)
        refused += _crossings(policy, level, question, zones)
        refused += _routes_missing(policy, level, question)
        refused += _suite_missing(handling, question)
        refused += _content(handling, question)
        held += _approvals(policy, handling, question)
        held += _unforgiven(policy, handling, question)
    if refused:
        return Refusal(reasons=(*refused, *held))
    if held or level is None or handling is None:
        return Hold(reasons=tuple(held))
    return _clear(policy, handling, question, zones, expires)


def decide_parts(policy: Policy, question: Question) -> Verdict | None:
    """What ``decide`` says to a question it cleared a moment ago without its parts, now that they are known: the reasons it gives, or nothing.

    Only for a question that differs in ``parts`` alone, and in fewer lapses at most: whatever else could be refused or held was looked at.
    """
    handling = policy.handling(question.level or "")
    level = LEVELS.get(question.level or "")
    if level is None or handling is None:
        raise AssertionError("internal: parts of a question that was not cleared")
    refused = (
        *state_secret_commercial(_levels(question), _zones(policy, question).values()),
        *_parts_above(question, level),
        *_content(handling, question),
    )
    return Refusal(reasons=refused) if refused else None


# ---- 1. built in -----------------------------------------------------------------------------------------------------------------


def _levels(question: Question) -> Iterator[Level]:
    for word in (question.level, *(part.level for part in question.parts)):
        if word in LEVELS:
            yield LEVELS[word]


def _parts_above(question: Question, level: Level | None) -> Iterator[Reason]:
    for part in question.parts:
        part_level = LEVELS.get(part.level) if part.level is not None else None
        if part.level is not None and part_level is None:
            yield explain("policy/level-unknown", rule="levels", level=part.level, at=part.name)
        elif part_level is not None and level is not None and part_level.rank > level.rank:
            yield part_above_document(part.name, part_level, level)


# ---- 2. what is named exists -----------------------------------------------------------------------------------------------------


def _parties(question: Question) -> tuple[Party, ...]:
    return (question.sender, *question.recipients)


def _zones(policy: Policy, question: Question) -> dict[str, Zone]:
    """Every zone the document touches that the policy knows."""
    named = dict.fromkeys((*(party.zone for party in _parties(question)), *question.zones))
    return {zone: policy.zones[zone] for zone in named if zone in policy.zones}


def _unknown(question: Question, zones: dict[str, Zone]) -> Iterator[Reason]:
    if question.level is not None and question.level not in LEVELS:
        yield explain("policy/level-unknown", rule="levels", level=question.level, at="level")
    if question.urgency not in URGENCIES:
        yield explain("policy/urgency-unknown", rule="urgency", urgency=question.urgency, at="urgency")
    if not question.recipients:
        yield explain("policy/no-recipients", rule="routes", at="recipients")
    for party in _parties(question):
        if party.zone not in zones:
            yield explain("policy/zone-unknown", rule="zones", zone=party.zone, at=party.org)
        if party.highest_level not in LEVELS:
            yield explain("policy/level-unknown", rule="directory/highest-level", level=party.highest_level, at=party.org)
    for zone in question.zones:
        if zone not in zones:
            yield explain("policy/zone-unknown", rule="zones", zone=zone, at=zone)


# ---- 4. and 5. where it may be, and how it may get there -------------------------------------------------------------------------


def _places(level: Level, question: Question, zones: dict[str, Zone]) -> Iterator[Reason]:
    for zone in zones.values():
        if level.rank > zone.highest.rank:
            yield explain(
                "policy/zone-level",
                rule=f"zones/{zone.id}/highest",
                level=level.zh,
                level_id=level.id,
                zone=zone.name,
                highest=zone.highest.zh,
                at=zone.id,
            )
    for party in _parties(question):
        highest = LEVELS.get(party.highest_level)
        if highest is not None and level.rank > highest.rank:
            yield explain(
                "policy/organisation-level",
                rule="directory/highest-level",
                org=party.org,
                level=level.zh,
                level_id=level.id,
                highest=highest.zh,
                at=party.org,
            )


def _crossings(policy: Policy, level: Level, question: Question, zones: dict[str, Zone]) -> Iterator[Reason]:
    for recipient in question.recipients:
        origin, target = question.sender.zone, recipient.zone
        known = origin in zones and target in zones  # an unknown one was named already
        if known and origin != target and _crossing_approvals(policy, level, origin, target) is None:
            yield explain(
                "policy/no-flow",
                rule="flows",
                origin=origin,
                target=target,
                level=level.zh,
                level_id=level.id,
                org=recipient.org,
                at=recipient.org,
            )


def _crossing_approvals(policy: Policy, level: Level, origin: str, target: str) -> int | None:
    """How many approvals the easiest permitting flow asks for; None where none permits."""
    return min((flow.approvals for flow in policy.flows if flow.permits(origin, target, level)), default=None)


def _route(policy: Policy, level: Level, sender: str, recipient: str) -> Route | None:
    """The permitting route first in the alphabet, so that the order of the file means nothing."""
    return min((route for route in policy.routes if route.permits(sender, recipient, level)), key=lambda route: route.id, default=None)


def _routes_missing(policy: Policy, level: Level, question: Question) -> Iterator[Reason]:
    for recipient in question.recipients:
        if _route(policy, level, question.sender.org, recipient.org) is None:
            yield explain(
                "policy/no-route",
                rule="routes",
                sender=question.sender.org,
                org=recipient.org,
                level=level.zh,
                level_id=level.id,
                at=recipient.org,
            )


# ---- 6. the suite ----------------------------------------------------------------------------------------------------------------


def _suite(handling: Handling, question: Question) -> Suite | None:
    """The first suite of the level's list that everybody has, or the one wanted if it is such a suite."""
    for suite in handling.suites:
        wanted = question.suite is None or question.suite == suite
        if wanted and all(suite in party.suites for party in _parties(question)):
            return SUITES[suite]
    return None


def _suite_missing(handling: Handling, question: Question) -> Iterator[Reason]:
    if _suite(handling, question) is not None:
        return
    rule = f"levels/{handling.level.id}/suites"
    level, allowed = handling.level.zh, ", ".join(handling.suites)
    if question.suite is not None and question.suite not in handling.suites:
        yield explain(
            "policy/suite-not-allowed",
            rule=rule,
            suite=question.suite,
            level=level,
            level_id=handling.level.id,
            allowed=allowed,
            at="suite",
        )
        return
    usable = (question.suite,) if question.suite is not None else handling.suites
    without = [party.org for party in _parties(question) if not set(usable) & set(party.suites)]
    named = ", ".join(without) or ", ".join(party.org for party in _parties(question))
    yield explain(
        "policy/no-common-suite", rule=rule, level=level, level_id=handling.level.id, allowed=", ".join(usable), orgs=named, at="suite"
    )


# ---- 7. to 10. what is carried, how long, and with whose consent -----------------------------------------------------------------


def _content(handling: Handling, question: Question) -> Iterator[Reason]:
    level = handling.level
    if question.stamped is False and handling.timestamp_required and question.side != "send":
        yield explain("policy/timestamp-missing", rule=f"levels/{level.id}/timestamp", level=level.zh, level_id=level.id, at="nro.p7s")
    size, ceiling = _size(handling, question)
    if size > ceiling:
        yield explain(
            "policy/too-large",
            rule=f"levels/{level.id}/largest",
            size=size,
            largest=handling.max_size,
            level=level.zh,
            level_id=level.id,
            at="parts",
        )
    if handling.types is not None:
        for part in question.parts:
            if part.media_type not in handling.types:
                yield explain(
                    "policy/type",
                    rule=f"levels/{level.id}/types",
                    part=part.name,
                    type=part.media_type,
                    level=level.zh,
                    level_id=level.id,
                    at=part.name,
                )


def _size(handling: Handling, question: Question) -> tuple[int, int]:
    """What counts, and its ceiling."""
    if question.parts or question.size is None:
        return sum(part.size for part in question.parts), handling.max_size
    return question.size, handling.max_size + COVER_ALLOWANCE


def _longest(created: datetime, policy: Policy) -> datetime:
    try:
        return created + policy.longest_life
    except OverflowError:  # a calendar that ends; the answer must not
        return datetime.max.replace(tzinfo=created.tzinfo)


def _lifetime(policy: Policy, question: Question, created: datetime, expires: datetime) -> Iterator[Reason]:
    if expires - created > policy.longest_life:
        days = policy.longest_life.total_seconds() / 86_400
        yield explain("policy/life-too-long", rule="arrival/longest_life", expires=expires.isoformat(), days=f"{days:g}", at="expires")
    if expires <= created or question.at > expires:
        yield explain("policy/expired", rule="arrival/longest_life", expires=expires.isoformat(), at="expires")


def _approvals(policy: Policy, handling: Handling, question: Question) -> Iterator[Reason]:
    if question.side != "send":
        return
    level, origin = handling.level, question.sender.zone
    crossings = [
        _crossing_approvals(policy, level, origin, target) or 0
        for target in {party.zone for party in question.recipients}
        if target != origin
    ]
    needed = max([handling.approvals, *crossings])
    given = len({approval.by for approval in question.approvals if approval.covers == question.metadata_digest})
    if given < needed:
        rule = f"levels/{level.id}/approvals" if needed == handling.approvals else "flows"
        yield explain("policy/approvals", rule=rule, needed=needed, given=given, level=level.zh, level_id=level.id, at="approvals")


def _unforgiven(policy: Policy, handling: Handling, question: Question) -> Iterator[Reason]:
    """What is away waits for somebody to bring it back: never a refusal, which would be final."""
    allowance, level = policy.allowance(handling.level.id), handling.level
    for lapse in _lapses(question):
        until = allowance.until(lapse, timestamp_required=handling.timestamp_required)
        if question.at > until:
            yield explain(
                "policy/degraded",
                rule=f"degraded/{level.id}/{lapse.mode}",
                mode=lapse.mode,
                since=lapse.since.isoformat(),
                until=until.isoformat(),
                level=level.zh,
                level_id=level.id,
                at=lapse.mode,
            )


def _lapses(question: Question) -> tuple[Lapse, ...]:
    """What is away and matters here: who only receives needs no time authority, an arrival brings its token."""
    return tuple(lapse for lapse in question.lapses if lapse.mode != "time-authority" or question.side == "send")


def _forgiven(handling: Handling, question: Question) -> Iterator[Reason]:
    for lapse in _lapses(question):
        yield explain(
            "policy/grace",
            rule=f"degraded/{handling.level.id}/{lapse.mode}",
            mode=lapse.mode,
            since=lapse.since.isoformat(),
            level=handling.level.zh,
            level_id=handling.level.id,
            at=lapse.mode,
        )


# ---- permitted -------------------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=1024)  # the hot path: the same few routes, over and over
def _permitted(route: str, level: str) -> Reason:
    return explain("policy/permitted", rule=f"routes/{route}", route=route, level=LEVELS[level].zh, level_id=level)


def _clear(policy: Policy, handling: Handling, question: Question, zones: dict[str, Zone], expires: datetime) -> Clearance:
    suite, pace = _suite(handling, question), policy.urgency[question.urgency]
    routes = {_route(policy, handling.level, question.sender.org, recipient.org) for recipient in question.recipients}
    if suite is None or None in routes:
        raise AssertionError("internal: cleared without suite or route")
    return Clearance(
        metadata_digest=question.metadata_digest,
        part_digests=tuple(part.digest for part in question.parts),
        level=handling.level.id,
        urgency=question.urgency,
        sender=question.sender.org,
        recipients=frozenset(recipient.org for recipient in question.recipients),
        zones=frozenset(zones),
        links=frozenset(question.links),
        policy=policy.name,
        directory_version=question.directory_version,
        directory_digest=question.directory_digest,
        approvals=question.approvals,
        ends=expires,
        suite=suite,
        timestamp_required=handling.timestamp_required,
        allowed_authorities=handling.authorities,
        sign_for_required=handling.sign_for_required,
        sign_for_within=handling.sign_for_within,
        retention=handling.retention,
        expires=expires,
        deliver_within=pace.deliver_within,
        remind_at=pace.remind_at,
        priority=pace.weight,
        reasons=(
            *(_permitted(route, handling.level.id) for route in sorted(route.id for route in routes if route is not None)),
            *_forgiven(handling, question),
        ),
        graces=tuple(dict.fromkeys(lapse.mode for lapse in _lapses(question))),
        decided=_DECIDED,
    )

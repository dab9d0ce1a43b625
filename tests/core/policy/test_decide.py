"""Decisions: each rule by itself, and what holds for all of them."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto.suites import GM_1, INTL_1
from gateway.core.levels import LEVELS
from gateway.core.policy import Approval, Clearance, Hold, PartFacts, Party, Question, Refusal, decide, decide_parts, load_policy
from gateway.core.policy.decide import COVER_ALLOWANCE
from tests.core.policy.worlds import AT, BUREAU, COMPANY, OFFICE, POLICY, TEXT, part, party, question

MIB = 1024 * 1024


def rules(verdict) -> list[str]:
    return [reason.rule for reason in verdict.reasons]


# ---- permitted


def test_a_clearance_names_what_it_permits():
    asked = question(recipients=(party(BUREAU), party(COMPANY)), links=("gw-2",), approvals=(Approval(by="a", covers="sha256:m"),))
    cleared = decide(POLICY, asked)
    assert isinstance(cleared, Clearance)
    assert (cleared.metadata_digest, cleared.part_digests) == ("sha256:m", ("sha256:a.pdf",))
    assert (cleared.level, cleared.urgency, cleared.priority) == ("internal", "urgent", 10)
    assert (cleared.sender, cleared.recipients) == (OFFICE, {BUREAU, COMPANY})
    assert (cleared.zones, cleared.links) == ({"outer"}, {"gw-2"})
    assert cleared.policy == POLICY.name
    assert (cleared.policy.id, cleared.policy.version, cleared.policy.digest) == ("test", 3, POLICY.digest)
    assert (cleared.directory_version, cleared.directory_digest) == (7, "sha256:d")
    assert cleared.approvals == asked.approvals
    assert cleared.suite is GM_1
    assert (cleared.timestamp_required, cleared.allowed_authorities) == (True, ("tsa-1",))
    assert (cleared.sign_for_required, cleared.sign_for_within) == (True, timedelta(days=3))
    assert cleared.expires == cleared.ends == AT + timedelta(days=30)
    assert (cleared.deliver_within, cleared.remind_at) == (timedelta(hours=4), (50, 100))
    assert rules(cleared) == ["routes/government", "routes/listed"]


def test_the_first_suite_everybody_has_is_used():
    assert decide(POLICY, question(recipients=(party(suites=("intl-1",)),))).suite is INTL_1
    assert decide(POLICY, question(sender=party(suites=("intl-1", "gm-1")))).suite is GM_1
    assert decide(POLICY, question(suite="intl-1")).suite is INTL_1


def test_an_earlier_end_may_be_asked_for():
    cleared = decide(POLICY, question(expires=AT + timedelta(days=2)))
    assert cleared.expires == AT + timedelta(days=2)


# ---- held


def test_a_document_without_level_is_held():
    held = decide(POLICY, question(level=None))
    assert isinstance(held, Hold)
    assert rules(held) == ["builtin/level-missing"]


def test_a_document_without_level_is_not_held_but_refused_for_what_is_wrong_anyway():
    refused = decide(POLICY, question(level=None, recipients=(), urgency="soon"))
    assert isinstance(refused, Refusal)
    assert rules(refused) == ["urgency", "routes", "builtin/level-missing"]


@pytest.mark.parametrize(
    ("by", "held"),
    [((), True), (("a",), False), (("a", "b"), False)],
)
def test_approvals_are_waited_for(by, held):
    verdict = decide(POLICY, question(level="work-secret", approvals=tuple(Approval(by=name, covers="sha256:m") for name in by)))
    assert isinstance(verdict, Hold if held else Clearance)
    if held:
        assert rules(verdict) == ["levels/work-secret/approvals"]


@pytest.mark.parametrize(
    "approvals",
    [
        (Approval(by="a", covers="sha256:m"), Approval(by="a", covers="sha256:m")),
        (Approval(by="a", covers="sha256:m"), Approval(by="b", covers="sha256:other")),
    ],
)
def test_approvals_count_by_person_and_for_exactly_this(approvals):
    secret = {"level": "secret", "sender": party(zone="inner"), "recipients": (party(BUREAU, "inner"),)}
    assert isinstance(decide(POLICY, question(**secret, approvals=approvals)), Hold)
    two = (Approval(by="a", covers="sha256:m"), Approval(by="b", covers="sha256:m"))
    assert isinstance(decide(POLICY, question(**secret, approvals=two)), Clearance)


def test_a_border_may_ask_for_approvals_of_its_own():
    policy = load_policy(TEXT.replace('highest = "internal"\napprovals = 0', 'highest = "internal"\napprovals = 2').encode())
    held = decide(policy, question(recipients=(party(BUREAU, "inner"),)))
    assert isinstance(held, Hold)
    assert rules(held) == ["flows"]
    assert isinstance(decide(policy, question()), Clearance)


def test_the_recipient_asks_for_no_approvals():
    assert isinstance(decide(POLICY, question(side="receive", level="work-secret")), Clearance)


# ---- refused

SECRET = {"level": "secret", "sender": party(zone="inner"), "recipients": (party(BUREAU, "inner"),)}
TWO = (Approval(by="a", covers="sha256:m"), Approval(by="b", covers="sha256:m"))


@pytest.mark.parametrize(
    ("changes", "rule", "at"),
    [
        ({"level": "top-secret", "sender": party(zone="inner"), "recipients": (party(BUREAU, "inner"),)}, "levels", "level"),
        ({"level": "geheim"}, "levels", "level"),
        ({"urgency": "soon"}, "urgency", "urgency"),
        ({"recipients": ()}, "routes", "recipients"),
        ({"recipients": (party(BUREAU, "moon"),)}, "zones", BUREAU),
        ({"zones": ("moon",)}, "zones", "moon"),
        ({"recipients": (party(BUREAU), party(COMPANY, highest_level="public"))}, "directory/highest-level", COMPANY),
        ({"recipients": (party(BUREAU, highest_level="?"),)}, "directory/highest-level", BUREAU),
        ({"sender": party(highest_level="public")}, "directory/highest-level", OFFICE),
        ({"sender": party(zone="inner"), "recipients": (party(BUREAU),)}, "flows", BUREAU),
        ({"level": "work-secret", "recipients": (party(BUREAU), party(COMPANY)), "approvals": TWO}, "routes", COMPANY),
        ({"suite": "gm-2"}, "levels/internal/suites", "suite"),
        ({"suite": "gm-1", "recipients": (party(BUREAU, suites=("intl-1",)),)}, "levels/internal/suites", "suite"),
        ({"sender": party(suites=("gm-1",)), "recipients": (party(BUREAU, suites=("intl-1",)),)}, "levels/internal/suites", "suite"),
        ({"recipients": (party(BUREAU, suites=()),)}, "levels/internal/suites", "suite"),
        ({"side": "receive", "stamped": False}, "levels/internal/timestamp", "nro.p7s"),
        ({"parts": (part(size=MIB), part("b.pdf", size=1))}, "levels/internal/largest", "parts"),
        ({"parts": (part(), part("b.exe", "application/x-msdownload"))}, "levels/internal/types", "b.exe"),
        ({"parts": (part(level="work-secret"),)}, "builtin/part-above-document", "a.pdf"),
        ({"parts": (part(level="geheim"),)}, "levels", "a.pdf"),
        ({"expires": AT + timedelta(days=30, seconds=1)}, "arrival/longest_life", "expires"),
        ({"expires": AT}, "arrival/longest_life", "expires"),
        ({"created": AT - timedelta(days=2), "expires": AT - timedelta(days=1)}, "arrival/longest_life", "expires"),
        ({"zones": ("outer",), **SECRET, "approvals": TWO}, "builtin/state-secret-commercial", "level"),
    ],
)
def test_each_refusal(changes, rule, at):
    refused = decide(POLICY, question(**changes))
    assert isinstance(refused, Refusal)
    assert (rule, at) in [(reason.rule, reason.at) for reason in refused.reasons]
    assert {reason.rule for reason in refused.reasons} <= {rule, "zones/outer/highest"}


@pytest.mark.parametrize("level", ["secret", "confidential", "top-secret"])
@pytest.mark.parametrize("side", ["send", "relay", "receive"])
def test_no_state_secret_enters_a_commercial_zone(level, side):
    """Whatever else is permitted, and wherever on the way the zone lies."""
    for touched in ({"sender": party()}, {"recipients": (party(BUREAU, "inner"), party(COMPANY))}, {"zones": ("outer",)}):
        inner = {"sender": party(zone="inner"), "recipients": (party(BUREAU, "inner"),)}
        refused = decide(POLICY, question(**(inner | touched), level=level, side=side, approvals=TWO))
        assert isinstance(refused, Refusal)
        assert refused.reasons[0].rule == "builtin/state-secret-commercial"
        assert "密码法" in refused.reasons[0].zh


@pytest.mark.parametrize("level", [None, "public", "internal"])
def test_no_part_carries_a_state_secret_into_a_commercial_zone(level):
    refused = decide(POLICY, question(level=level, parts=(part(level="secret"),)))
    assert isinstance(refused, Refusal)
    assert refused.reasons[0].rule == "builtin/state-secret-commercial"


def test_state_secrets_pass_where_ciphers_are_certified():
    assert isinstance(decide(POLICY, question(**SECRET, approvals=TWO)), Clearance)


def test_every_reason_is_named_at_once():
    refused = decide(
        POLICY,
        question(
            level="work-secret",
            recipients=(party(COMPANY, highest_level="public"), party(BUREAU, "moon")),
            parts=(part(size=2 * MIB), part("b.exe", "application/x-msdownload", level="secret")),
            suite="x",
            expires=AT + timedelta(days=60),
        ),
    )
    assert isinstance(refused, Refusal)
    assert set(rules(refused)) == {
        "builtin/state-secret-commercial",
        "builtin/part-above-document",
        "zones",
        "arrival/longest_life",
        "directory/highest-level",
        "routes",
        "levels/work-secret/suites",
        "levels/work-secret/largest",
        "levels/work-secret/types",
        "levels/work-secret/approvals",
    }
    assert all(reason.zh and reason.en and reason.fix and reason.fix_zh for reason in refused.reasons)


def test_those_without_the_suite_are_named():
    refused = decide(POLICY, question(recipients=(party(BUREAU, suites=()), party(COMPANY))))
    assert BUREAU in refused.reasons[0].en
    assert COMPANY not in refused.reasons[0].en


def test_before_the_content_is_known_the_ciphertext_counts():
    assert isinstance(decide(POLICY, question(parts=(), size=MIB + COVER_ALLOWANCE)), Clearance)
    assert rules(decide(POLICY, question(parts=(), size=MIB + COVER_ALLOWANCE + 1))) == ["levels/internal/largest"]
    assert isinstance(decide(POLICY, question(parts=(part(size=MIB),), size=10 * MIB)), Clearance)
    assert isinstance(decide(POLICY, question(parts=(), size=None)), Clearance)


def test_a_token_is_only_missed_where_it_should_be_there():
    assert isinstance(decide(POLICY, question(stamped=False)), Clearance)
    assert isinstance(decide(POLICY, question(side="receive", stamped=True)), Clearance)


def test_the_calendar_may_end():
    late = datetime(9999, 12, 31, tzinfo=UTC)
    assert isinstance(decide(POLICY, question(at=late)), Clearance)


# ---- what holds for every question

ORGS = (OFFICE, BUREAU, COMPANY)
LEVEL_IDS = tuple(LEVELS)
PARTIES = st.builds(
    Party,
    org=st.sampled_from(ORGS),
    zone=st.sampled_from(["outer", "inner", "moon"]),
    highest_level=st.sampled_from([*LEVEL_IDS, "?"]),
    suites=st.sampled_from([("gm-1", "intl-1"), ("intl-1",), ("gm-1",), (), ("x",)]),
)
PARTS = st.builds(
    PartFacts,
    name=st.sampled_from(["a", "b"]),
    media_type=st.sampled_from(["application/pdf", "text/plain", "image/png"]),
    size=st.integers(0, 2 * MIB),
    digest=st.just("sha256:x"),
    level=st.sampled_from([None, *LEVEL_IDS, "?"]),
)
APPROVALS = st.lists(st.builds(Approval, by=st.sampled_from("abc"), covers=st.sampled_from(["sha256:m", "sha256:n"])), max_size=4).map(
    tuple
)
LIKELY = {
    "side": st.sampled_from(["send", "relay", "receive"]),
    "level": st.sampled_from(LEVEL_IDS),
    "urgency": st.sampled_from(["flash", "routine"]),
    "metadata_digest": st.just("sha256:m"),
    "sender": PARTIES,
    "recipients": st.lists(PARTIES, max_size=3).map(tuple),
    "at": st.just(AT),
    "directory_version": st.just(1),
    "directory_digest": st.just("sha256:d"),
    "parts": st.lists(PARTS, max_size=2).map(tuple),
    "approvals": APPROVALS,
    "stamped": st.sampled_from([None, True, False]),
    "suite": st.sampled_from([None, "gm-1", "intl-1", "x"]),
    "expires": st.none() | st.integers(-30, 60).map(lambda days: AT + timedelta(days=days)),
    "zones": st.sampled_from([(), ("inner",), ("outer",), ("moon",)]),
}
PLAUSIBLE = st.builds(
    question,
    level=st.sampled_from(LEVEL_IDS),
    side=st.sampled_from(["send", "receive"]),
    sender=st.builds(party, zone=st.sampled_from(["outer", "inner"])),
    recipients=st.lists(
        st.builds(party, org=st.sampled_from(ORGS), zone=st.sampled_from(["outer", "inner"]), highest_level=st.sampled_from(LEVEL_IDS)),
        min_size=1,
        max_size=2,
    ).map(tuple),
    approvals=APPROVALS,
)
ANY = st.builds(
    Question, **LIKELY | {"level": st.none() | st.text(max_size=5) | st.sampled_from(LEVEL_IDS), "urgency": st.text(max_size=5)}
)
QUESTIONS = st.builds(Question, **LIKELY) | PLAUSIBLE

FREEDOM = {Refusal: 0, Hold: 1, Clearance: 2}


def freedom(policy, asked) -> int:
    return FREEDOM[type(decide(policy, asked))]


@given(ANY | QUESTIONS)
def test_every_question_has_an_answer_with_reasons(asked):
    verdict = decide(POLICY, asked)
    assert isinstance(verdict, Clearance | Hold | Refusal)
    assert verdict.reasons
    assert decide(POLICY, asked) == verdict


@given(PLAUSIBLE | QUESTIONS, st.lists(PARTS, max_size=2).map(tuple), st.integers(0, 4 * MIB))
def test_the_parts_of_what_was_cleared_get_the_answer_the_whole_would_get(asked, parts, size):
    asked = replace(asked, parts=(), size=size)
    if isinstance(decide(POLICY, asked), Clearance):
        whole = decide(POLICY, replace(asked, parts=parts))
        assert decide_parts(POLICY, replace(asked, parts=parts)) == (None if isinstance(whole, Clearance) else whole)


@given(QUESTIONS, st.sampled_from(LEVEL_IDS))
def test_a_higher_level_never_gains_a_permission(asked, other):
    lower, higher = sorted((asked.level, other), key=lambda level: LEVELS[level].rank)
    bare = tuple(replace(each, level=None) for each in asked.parts)  # parts have the document's level
    assert freedom(POLICY, replace(asked, level=higher, parts=bare)) <= freedom(POLICY, replace(asked, level=lower, parts=bare))


@given(QUESTIONS, st.sampled_from(LEVEL_IDS))
def test_a_higher_part_never_gains_a_permission(asked, other):
    parts = tuple(replace(each, level=level) for each, level in zip(asked.parts, (other, asked.level), strict=False))
    bare = tuple(replace(each, level="public") for each in asked.parts)
    assert freedom(POLICY, replace(asked, parts=parts)) <= freedom(POLICY, replace(asked, parts=bare))


@given(QUESTIONS, st.sampled_from(LEVEL_IDS), st.integers(0, 2))
def test_a_lower_clearance_of_an_organisation_never_permits_more(asked, other, index):
    if not asked.recipients:
        return
    victim = asked.recipients[index % len(asked.recipients)]
    if victim.highest_level not in LEVELS or LEVELS[other].rank > LEVELS[victim.highest_level].rank:
        return
    lowered = tuple(replace(victim, highest_level=other) if each is victim else each for each in asked.recipients)
    assert freedom(POLICY, replace(asked, recipients=lowered)) <= freedom(POLICY, asked)


@given(QUESTIONS, st.sets(st.integers(0, 1)), st.booleans())
def test_fewer_routes_and_flows_never_permit_more(asked, kept, flows):
    smaller = replace(POLICY, routes=tuple(POLICY.routes[index] for index in kept), flows=POLICY.flows if flows else ())
    assert freedom(smaller, asked) <= freedom(POLICY, asked)


@given(QUESTIONS, st.sampled_from(LEVEL_IDS))
def test_a_lower_zone_never_permits_more(asked, other):
    zone = POLICY.zones["inner"]
    if LEVELS[other].rank <= zone.highest.rank:
        lowered = replace(POLICY, zones={**POLICY.zones, "inner": replace(zone, highest=LEVELS[other])})
        assert freedom(lowered, asked) <= freedom(POLICY, asked)


@given(QUESTIONS, PARTIES)
def test_one_more_recipient_never_permits_more(asked, another):
    if asked.recipients:
        assert freedom(POLICY, replace(asked, recipients=(*asked.recipients, another))) <= freedom(POLICY, asked)


@given(QUESTIONS)
def test_fewer_approvals_never_permit_more(asked):
    assert freedom(POLICY, replace(asked, approvals=())) <= freedom(POLICY, asked)


@given(QUESTIONS)
def test_the_order_of_rules_does_not_matter(asked):
    turned = replace(
        POLICY,
        routes=POLICY.routes[::-1],
        flows=POLICY.flows[::-1],
        levels=dict(reversed(POLICY.levels.items())),
        zones=dict(reversed(POLICY.zones.items())),
    )
    assert decide(turned, asked) == decide(POLICY, asked)


def test_the_order_of_recipients_does_not_matter():
    parties = (party(BUREAU), party(COMPANY, suites=("intl-1",)), party("12440100455350123F"))
    answers = [decide(POLICY, question(recipients=order)) for order in permutations(parties)]
    assert all(answer == answers[0] for answer in answers)
    assert isinstance(answers[0], Clearance)

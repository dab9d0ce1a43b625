"""The [degraded] tables: read strictly, bounded by ceilings, and laws: stricter tables and shorter graces never permit more."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.errors import BadConfiguration
from gateway.core.policy import MODES, Allowance, Clearance, Hold, Lapse, decide, load_policy
from gateway.core.policy.degraded import DEFAULT, NONE, STRICT, DiskLimits
from tests.core.policy.worlds import AT, POLICY, TEXT, question

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
LEVELS = ("public", "internal", "work-secret", "secret")


def loaded(tables: str, text: str = TEXT):
    return load_policy((text + tables).encode(), "test.toml")


def complaint(tables: str, text: str = TEXT) -> BadConfiguration:
    with pytest.raises(BadConfiguration) as caught:
        loaded(tables, text)
    error = caught.value
    assert error.fix
    assert error.line is not None
    assert error.line >= text.count("\n")
    assert str(error).startswith(f"test.toml:{error.line}: {error.key}: ")
    return error


# ---- reading ---------------------------------------------------------------------------------------------------------------------


def test_a_file_without_a_table_is_strict():
    for level in LEVELS:
        assert POLICY.allowance(level) == DEFAULT
    assert (DEFAULT.crl_grace, DEFAULT.directory_grace, DEFAULT.without_time_authority) == (NONE, NONE, False)
    assert POLICY.allowance(None) == POLICY.allowance("top-secret") == POLICY.allowance("nonsense") == STRICT


def test_a_table_is_read_whole():
    policy = loaded(
        """
[degraded.public]
time_authority_wait = "30min"
crl_grace = "6h"
directory_grace = "72h"
clock_confirmation = "20min"
disk_large = "1GiB"
disk_large_waits = "20GiB"
disk_routine_waits = "10GiB"
peer_warn_after = "5min"
peer_escalate_after = "1h"
[degraded.internal]
strict = true
clock_confirmation = "20min"
[degraded.work-secret]
strict = true
clock_confirmation = "15min"
[degraded.secret]
strict = true
clock_confirmation = "15min"
"""
    )
    assert policy.allowance("public") == Allowance(
        time_authority_wait=30 * MINUTE,
        crl_grace=6 * HOUR,
        directory_grace=72 * HOUR,
        clock_confirmation=20 * MINUTE,
        disk=DiskLimits(large=2**30, large_waits=20 * 2**30, routine_waits=10 * 2**30),
        peer_warn_after=5 * MINUTE,
        peer_escalate_after=HOUR,
    )
    assert policy.allowance("internal") == replace(STRICT, clock_confirmation=20 * MINUTE)


@pytest.mark.parametrize(
    ("table", "key", "fix"),
    [
        ("[degraded.public]\ncrl_grase = '6h'", "degraded.public.crl_grase", "did you mean 'crl_grace'?"),
        ("[degraded.everybody]\ncrl_grace = '6h'", "degraded.everybody", "write one of public"),
        ("[degraded.public]\ncrl_grace = 'PT6H'", "degraded.public.crl_grace", "write a whole number"),
        ("[degraded.public]\ncrl_grace = '25h'", "degraded.public.crl_grace", 'write at most "24h"'),
        ("[degraded.public]\ndirectory_grace = '73h'", "degraded.public.directory_grace", 'write at most "72h"'),
        ("[degraded.public]\ntime_authority_wait = '61min'", "degraded.public.time_authority_wait", 'write at most "1h"'),
        ("[degraded.public]\nclock_confirmation = '2h'", "degraded.public.clock_confirmation", 'write at most "1h"'),
        ("[degraded.public]\npeer_warn_after = '11d'", "degraded.public.peer_warn_after", 'write at most "10d"'),
        ("[degraded.public]\npeer_warn_after = '5h'", "degraded.public.peer_warn_after", "make peer_escalate_after"),
        ("[degraded.public]\nstrict = true\ncrl_grace = '6h'", "degraded.public.crl_grace", "remove it, or write strict = false"),
        ("[degraded.public]\nstrict = 1", "degraded.public.strict", "write strict = true or false"),
        ("[degraded.public]\ntime_authority = 'go-on'", "degraded.public.time_authority", 'write "wait"'),
        ("[degraded.public]\ntime_authority = 'ignore'", "degraded.public.time_authority", "write"),
        (
            "[degraded.public]\ntime_authority = 'go-on'\ntime_authority_wait = '1h'",
            "degraded.public.time_authority_wait",
            "remove it",
        ),
        ("[degraded.secret]\ncrl_grace = '1h'", "degraded.secret.crl_grace", "remove it"),
        ("[degraded.top-secret]\nstrict = true", "degraded.top-secret", "remove it, or add [levels.top-secret]"),
        ("[degraded.public]\ndisk_large = '1GiB'", "degraded.public.disk_large", "add disk_large_waits"),
        ("[degraded.public]\ndisk_large_waits = '1GiB'", "degraded.public.disk_large_waits", "add disk_large"),
        (
            "[degraded.public]\ndisk_large = '1GiB'\ndisk_large_waits = '1GiB'\ndisk_routine_waits = '2GiB'",
            "degraded.public.disk_routine_waits",
            "make it at most disk_large_waits",
        ),
        ("[degraded.internal]\ncrl_grace = '1h'", "degraded.internal.crl_grace", "[degraded.public]"),
        ("[degraded.public]\nclock_confirmation = '20min'", "degraded.internal.clock_confirmation", "[degraded.public]"),
        ("[degraded.public]\nstrict = true", "degraded.internal.time_authority_wait", "[degraded.public]"),
    ],
)
def test_it_refuses(table, key, fix):
    error = complaint("\n" + table + "\n") if "degraded.internal.c" not in key and "internal.t" not in key else None
    if error is None:  # what follows from another level's table may have no line of its own
        with pytest.raises(BadConfiguration) as caught:
            loaded("\n" + table + "\n")
        error = caught.value
    assert error.key == key
    assert fix in error.fix


def test_going_on_without_a_time_authority_is_for_levels_that_need_no_timestamp():
    unstamped = TEXT.replace("timestamp = true", "timestamp = false", 1)
    assert "[levels.public]" in unstamped.split("timestamp = false")[0]
    policy = loaded("\n[degraded.public]\ntime_authority = 'go-on'\n", unstamped)
    away = Lapse(mode="time-authority", since=AT)
    assert policy.allowance("public").permits(away, AT + 100 * HOUR, timestamp_required=False)
    assert not DEFAULT.permits(away, AT + MINUTE, timestamp_required=False), "without a word it waits"
    assert DEFAULT.permits(away, AT + HOUR, timestamp_required=True)
    assert not DEFAULT.permits(away, AT + HOUR + MINUTE, timestamp_required=True)


# ---- deciding --------------------------------------------------------------------------------------------------------------------


def forgiving(grace: timedelta):
    return replace(POLICY, degraded={level: Allowance(crl_grace=grace, directory_grace=grace) for level in LEVELS})


@pytest.mark.parametrize("mode", ["crl-stale", "directory-expired"])
def test_a_grace_permits_up_to_its_last_moment_and_says_so(mode):
    policy = forgiving(6 * HOUR)
    for age, verdict in ((6 * HOUR, Clearance), (6 * HOUR + timedelta(microseconds=1), Hold)):
        answer = decide(policy, question(lapses=(Lapse(mode=mode, since=AT - age),)))
        assert isinstance(answer, verdict)
        assert f"degraded/internal/{mode}" in [reason.rule for reason in answer.reasons]
    assert decide(policy, question(lapses=(Lapse(mode=mode, since=AT),))).graces == (mode,)


@pytest.mark.parametrize("mode", ["key-away", "disk-low", "clock"])
def test_for_some_things_no_grace_can_be_given(mode):
    assert isinstance(decide(forgiving(24 * HOUR), question(lapses=(Lapse(mode=mode, since=AT - MINUTE),))), Hold)


def test_nothing_away_nothing_said():
    verdict = decide(POLICY, question())
    assert isinstance(verdict, Clearance)
    assert verdict.graces == ()


def test_an_arrival_brings_its_token_and_needs_no_authority():
    away = (Lapse(mode="time-authority", since=AT - 30 * MINUTE),)
    policy = replace(POLICY, degraded=dict.fromkeys(LEVELS, STRICT))
    assert isinstance(decide(policy, question(lapses=away)), Hold)
    arrived = decide(policy, question(side="receive", suite="intl-1", stamped=True, lapses=away))
    assert isinstance(arrived, Clearance)
    assert arrived.graces == ()


# ---- laws ------------------------------------------------------------------------------------------------------------------------

SPANS = st.timedeltas(timedelta(0), timedelta(hours=80))
ALLOWANCES = st.builds(
    Allowance,
    without_time_authority=st.booleans(),
    time_authority_wait=SPANS,
    crl_grace=SPANS,
    directory_grace=SPANS,
    clock_confirmation=SPANS,
    disk=st.builds(DiskLimits, large=st.integers(0, 100), large_waits=st.integers(0, 100), routine_waits=st.integers(0, 100)),
)
MOMENTS = st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001  # bounds are naive here
NEAR = st.timedeltas(timedelta(hours=-90), timedelta(hours=5)).map(lambda span: AT + span)
LAPSES = st.builds(Lapse, mode=st.sampled_from(MODES), since=NEAR | MOMENTS)
KEYS = ("time_authority_wait", "crl_grace", "directory_grace")


def under(allowance: Allowance):
    return replace(POLICY, degraded=dict.fromkeys(LEVELS, allowance))


def never_later(stricter: Allowance, allowance: Allowance) -> None:
    """Whatever is away, the stricter one ends no later: said of each mode, for few random moments fall between two ends."""
    for mode in MODES:
        lapse = Lapse(mode=mode, since=AT)
        for stamped in (True, False):
            assert stricter.until(lapse, timestamp_required=stamped) <= allowance.until(lapse, timestamp_required=stamped)


def cleared(allowance: Allowance, asked) -> bool:
    return isinstance(decide(under(allowance), asked), Clearance)


@given(ALLOWANCES, st.lists(LAPSES, max_size=4), st.sampled_from(KEYS), st.fractions(0, 1))
def test_a_shorter_grace_never_permits_more(allowance, lapses, key, share):
    shorter = replace(allowance, **{key: getattr(allowance, key) * float(share)})
    asked = question(lapses=tuple(lapses))
    assert not cleared(shorter, asked) or cleared(allowance, asked)
    never_later(shorter, allowance)


@given(ALLOWANCES, ALLOWANCES, st.lists(LAPSES, max_size=4), st.booleans())
def test_a_stricter_table_never_permits_more(one, other, lapses, stamped):
    stricter = replace(
        one,
        without_time_authority=one.without_time_authority and other.without_time_authority,
        **{key: min(getattr(one, key), getattr(other, key)) for key in KEYS},
    )
    asked = question(lapses=tuple(lapses))
    for lenient in (one, other):
        never_later(stricter, lenient)
        assert not cleared(stricter, asked) or cleared(lenient, asked)
        for lapse in lapses:
            assert not stricter.permits(lapse, AT, timestamp_required=stamped) or lenient.permits(lapse, AT, timestamp_required=stamped)


@given(ALLOWANCES, st.lists(LAPSES, max_size=4), LAPSES)
def test_one_more_thing_away_never_permits_more(allowance, lapses, another):
    more, fewer = question(lapses=(*lapses, another)), question(lapses=tuple(lapses))
    assert not cleared(allowance, more) or cleared(allowance, fewer)


@given(ALLOWANCES, st.lists(LAPSES, max_size=4), st.timedeltas(timedelta(0), timedelta(hours=80)))
def test_time_going_by_never_permits_more(allowance, lapses, span):
    lapses = tuple(lapses)
    for lapse in lapses:
        if allowance.permits(lapse, AT + span, timestamp_required=True):
            assert allowance.permits(lapse, AT, timestamp_required=True)


@given(ALLOWANCES, st.lists(LAPSES, max_size=4))
def test_it_is_total_and_never_a_refusal_for_what_is_away(allowance, lapses):
    assert isinstance(decide(under(allowance), question(lapses=tuple(lapses))), Clearance | Hold)


@given(st.integers(0, 200), st.integers(0, 200), st.booleans(), ALLOWANCES, st.integers(0, 100))
def test_higher_thresholds_never_let_more_pass(free, size, routine, allowance, more):
    disk = allowance.disk
    stricter = replace(disk, large_waits=disk.large_waits + more, routine_waits=disk.routine_waits + more)
    assert not disk.waits(free=free, size=size, routine=routine) or stricter.waits(free=free, size=size, routine=routine)
    assert not disk.waits(free=free + more, size=size, routine=routine) or disk.waits(free=free, size=size, routine=routine)

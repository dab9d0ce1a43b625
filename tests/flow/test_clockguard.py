"""Whether our clock may be believed: every limit from both sides."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from gateway.flow.clockguard import TOKEN_AGE, TOLERANCE, ClockGuard, ClockUntrusted

NOW = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
TICK = timedelta(milliseconds=1)


@pytest.fixture
def guard():
    guard = ClockGuard()
    guard.saw_token(NOW, 100.0)
    return guard


def test_nothing_is_believed_before_the_first_token():
    guard = ClockGuard()
    assert guard.drift(NOW, 0.0) is None
    assert not guard.good(NOW, 0.0)
    with pytest.raises(ClockUntrusted) as refused:
        guard.check(NOW, 0.0)
    assert refused.value.drift is None


def test_a_clock_that_walks_with_the_monotonic_one_is_good(guard):
    assert guard.good(NOW, 100.0)
    assert guard.good(NOW + timedelta(minutes=59), 100.0 + 59 * 60)
    assert guard.drift(NOW + timedelta(minutes=5), 100.0 + 300) == timedelta(0)


@pytest.mark.parametrize("sign", [1, -1])
def test_drift_up_to_the_tolerance(guard, sign):
    assert guard.good(NOW + sign * TOLERANCE, 100.0)
    with pytest.raises(ClockUntrusted) as refused:
        guard.check(NOW + sign * (TOLERANCE + TICK), 100.0)
    assert refused.value.drift == pytest.approx(sign * 2.001)


@pytest.mark.parametrize("jump", [timedelta(minutes=10), timedelta(minutes=-10), timedelta(days=400)])
def test_a_clock_that_was_set(guard, jump):
    assert not guard.good(NOW + jump, 100.0 + 1)


def test_a_token_is_good_for_an_hour(guard):
    age = TOKEN_AGE.total_seconds()
    assert guard.good(NOW + TOKEN_AGE, 100.0 + age)
    assert not guard.good(NOW + TOKEN_AGE + TICK, 100.0 + age + 0.001)
    guard.saw_token(NOW + TOKEN_AGE, 100.0 + age)
    assert guard.good(NOW + TOKEN_AGE + TICK, 100.0 + age + 0.001)


def test_the_clock_is_not_behind_the_newest_leaf(guard):
    guard.saw_leaf(NOW + TOLERANCE)
    assert guard.good(NOW, 100.0)
    guard.saw_leaf(NOW + TOLERANCE + TICK)
    with pytest.raises(ClockUntrusted, match="behind our own audit log"):
        guard.check(NOW, 100.0)

"""When the next attempt is due."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.retry import FIRST_WAIT, LONGEST_WAIT, MAX_ATTEMPTS, SHORTEST_WAIT, next_attempt

AT = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.mark.parametrize(("attempts", "wait"), [(1, FIRST_WAIT), (2, 2 * FIRST_WAIT), (5, 16 * FIRST_WAIT), (30, LONGEST_WAIT)])
def test_the_ceiling_doubles_up_to_the_longest_wait(attempts, wait):
    assert next_attempt(attempts, AT, 1.0) == AT + wait


def test_jitter_is_full():
    assert next_attempt(5, AT, 0.5) == AT + 8 * FIRST_WAIT
    assert next_attempt(5, AT, 0.0) == AT + SHORTEST_WAIT


def test_used_up_attempts_end_it():
    assert next_attempt(MAX_ATTEMPTS - 1, AT, 1.0) is not None
    assert next_attempt(MAX_ATTEMPTS, AT, 1.0) is None
    assert next_attempt(10**9, AT, 1.0) is None


def test_attempts_outlast_a_holiday_and_end_within_the_life_of_an_exchange():
    average = sum((next_attempt(n, AT, 0.5) - AT for n in range(1, MAX_ATTEMPTS)), timedelta())
    assert timedelta(days=9) < average < timedelta(days=30)


@given(st.integers(1, MAX_ATTEMPTS - 1), st.floats(0, 1))
def test_the_wait_is_always_within_its_bounds(attempts, jitter):
    due = next_attempt(attempts, AT, jitter)
    assert due is not None
    assert SHORTEST_WAIT <= due - AT <= LONGEST_WAIT


@pytest.mark.parametrize(("attempts", "jitter"), [(0, 0.5), (-1, 0.5), (1, -0.1), (1, 1.1)])
def test_impossible_arguments_are_our_defect(attempts, jitter):
    with pytest.raises(AssertionError, match="internal"):
        next_attempt(attempts, AT, jitter)

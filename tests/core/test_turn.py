"""Whose turn it is: urgent first, and nothing for ever last."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.turn import A_FACTOR_OF_TEN, LONGEST_LEAD, lead, turn

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
moments = st.timedeltas(timedelta(0), timedelta(days=30)).map(lambda span: NOON + span)
weights = st.integers(0, 1 << 40)


@given(weights, weights, moments)
def test_of_what_became_due_together_the_heavier_goes_first(one, other, due):
    if lead(one) > lead(other):
        assert turn(one, due) < turn(other, due)


@given(weights, moments, moments)
def test_of_the_same_weight_the_older_goes_first(weight, one, other):
    if one < other:
        assert turn(weight, one) < turn(weight, other)


@given(weights, moments, weights, moments)
def test_nothing_waits_for_what_came_longer_after_it_than_the_lead(weight, due, other, later):
    if later - due > LONGEST_LEAD:
        assert turn(weight, due) < turn(other, later)


@pytest.mark.parametrize(("weight", "hours"), [(0, 0), (1, 0), (10, 1), (100, 2), (1000, 3), (10**6, 6), (10**9, 6)])
def test_a_factor_of_ten_is_worth_an_hour(weight, hours):
    assert abs(lead(weight) - hours * A_FACTOR_OF_TEN) < timedelta(seconds=1)

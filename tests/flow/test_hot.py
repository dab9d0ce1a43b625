"""What is kept in memory for a moment: bounded in bytes, the oldest goes first."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.flow.hot import Hot


def test_put_get_drop():
    hot = Hot(100)
    hot.put("a", 1, 10)
    assert hot.get("a") == 1
    hot.drop("a")
    hot.drop("a")
    assert hot.get("a") is None


def test_the_oldest_goes_first():
    hot = Hot(100)
    for key in "abcd":
        hot.put(key, key, 40)
    assert [hot.get(key) for key in "abcd"] == [None, None, "c", "d"]


def test_the_same_key_again_counts_once():
    hot = Hot(100)
    for value in range(10):
        hot.put("a", value, 60)
    hot.put("b", "b", 40)
    assert (hot.get("a"), hot.get("b")) == (9, "b")


def test_what_is_larger_than_everything_is_not_kept_and_pushes_nothing_out():
    hot = Hot(100)
    hot.put("a", 1, 50)
    hot.put("b", 2, 101)
    assert (hot.get("a"), hot.get("b")) == (1, None)


def test_a_value_that_became_too_large_takes_its_old_self_with_it():
    """Never an answer from before."""
    hot = Hot(100)
    hot.put("a", "old", 50)
    hot.put("a", "new", 200)
    assert hot.get("a") is None


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 60), st.booleans())))
def test_the_ceiling_holds_whatever_happens(acts):
    hot, sizes = Hot(100), {}
    for key, size, put in acts:
        if put:
            hot.put(key, (key, size), size)
            sizes[key] = size
        else:
            hot.drop(key)
            sizes.pop(key, None)
        kept = {key for key in sizes if hot.get(key) == (key, sizes[key])}
        assert sum(sizes[key] for key in kept) <= 100
        assert hot._used == sum(sizes[key] for key in kept)
        assert not put or size > 100 or key in kept

"""The table of levels."""

import pytest

from gateway.core.levels import LEVELS, UnknownLevel, level_named


def test_six_levels_rise():
    assert list(LEVELS) == ["public", "internal", "work-secret", "secret", "confidential", "top-secret"]
    assert [level.rank for level in LEVELS.values()] == [0, 1, 2, 3, 4, 5]


def test_state_secrets_are_the_upper_three():
    assert [level.zh for level in LEVELS.values() if level.state_secret] == ["秘密", "机密", "绝密"]
    assert [level.longest_term for level in LEVELS.values()] == [0, 0, 0, 10, 20, 30]


@pytest.mark.parametrize(
    ("word", "level"), [("内部", "internal"), ("internal", "internal"), ("非密", "public"), ("公开", "public"), ("绝密", "top-secret")]
)
def test_levels_have_an_id_and_a_chinese_name(word, level):
    assert level_named(word).id == level


@pytest.mark.parametrize("word", ["", "Public", "密", "内部 ", "x" * 1000])
def test_other_words_are_no_level(word):
    with pytest.raises(UnknownLevel) as caught:
        level_named(word)
    assert caught.value.level == word[:40]

"""The table of urgencies."""

import pytest

from gateway.core.urgency import OLD_WORDS, URGENCIES, UnknownUrgency, urgency_named


def test_four_urgencies_rise():
    assert [(urgency.id, urgency.rank) for urgency in URGENCIES.values()] == [("routine", 0), ("urgent", 1), ("immediate", 2), ("flash", 3)]


@pytest.mark.parametrize(
    ("word", "urgency"),
    [
        ("特提", "flash"),
        ("特急", "immediate"),
        ("加急", "urgent"),
        ("平急", "routine"),
        ("平件", "routine"),
        ("急件", "urgent"),
        ("flash", "flash"),
    ],
)
def test_the_words_of_documents_and_telegrams(word, urgency):
    assert urgency_named(word).id == urgency


def test_the_abolished_word_is_known_as_such():
    assert list(OLD_WORDS) == ["急件"]


def test_other_words_are_no_urgency():
    with pytest.raises(UnknownUrgency) as caught:
        urgency_named("火急")
    assert caught.value.urgency == "火急"
